//! Which endpoints a project's catalogue shows: those that are associated with it, one by one or by groups.
//! Does not know what a catalogue looks like.

use crate::store::{
    endpoint_filter::{group, project_endpoint, project_group},
    entities::endpoint,
};
use openstack_types::Interface;
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_kit::ApiError;
use std::collections::HashSet;

/// What the endpoints of a group have in common; nothing at all is every endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
}

impl Filters {
    /// As a request has them.
    pub fn read(value: &Value) -> Result<Self, ApiError> {
        let filters: Filters = serde_json::from_value(value.clone()).map_err(|_| invalid())?;
        let known = |word: &String| Interface::parse(word).is_some();
        if !value.is_object() || !filters.interface.as_ref().is_none_or(known) {
            return Err(invalid());
        }
        Ok(filters)
    }

    /// Whether an endpoint belongs to the group.
    pub fn fit(&self, endpoint: &endpoint::Model) -> bool {
        let same = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        same(&self.service_id, &endpoint.service_id)
            && same(&self.region_id, &endpoint.region_id)
            && same(&self.interface, &endpoint.interface)
    }
}

impl group::Model {
    /// What its endpoints have in common. What cannot be read fits nothing rather than everything.
    pub fn fits(&self, endpoint: &endpoint::Model) -> bool {
        serde_json::from_str::<Filters>(&self.filters).is_ok_and(|filters| filters.fit(endpoint))
    }
}

fn invalid() -> ApiError {
    ApiError::bad_request(
        "BadRequest",
        "Invalid input for field 'filters' of endpoint_group: expected an object of service_id, region_id and interface (public, internal or admin).",
    )
}

/// Everything that is associated with one project.
#[derive(Debug, Default)]
pub struct Association {
    endpoints: HashSet<String>,
    groups: Vec<group::Model>,
}

impl Association {
    /// Reads it.
    pub async fn of(db: &DatabaseConnection, project_id: &str) -> Result<Self, DbErr> {
        let endpoints = project_endpoint::Entity::find()
            .filter(project_endpoint::Column::ProjectId.eq(project_id))
            .all(db)
            .await?;
        Ok(Association {
            endpoints: endpoints.into_iter().map(|row| row.endpoint_id).collect(),
            groups: groups_of(db, project_id).await?,
        })
    }

    /// Whether it holds an endpoint.
    pub fn holds(&self, endpoint: &endpoint::Model) -> bool {
        self.endpoints.contains(&endpoint.id) || self.groups.iter().any(|g| g.fits(endpoint))
    }
}

/// The groups that are associated with a project.
pub async fn groups_of(
    db: &DatabaseConnection,
    project_id: &str,
) -> Result<Vec<group::Model>, DbErr> {
    let rows = project_group::Entity::find()
        .filter(project_group::Column::ProjectId.eq(project_id))
        .all(db)
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids = rows.into_iter().map(|row| row.endpoint_group_id);
    group::Entity::find()
        .filter(group::Column::Id.is_in(ids))
        .all(db)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoint() -> endpoint::Model {
        endpoint::Model {
            id: "e".into(),
            service_id: "s".into(),
            interface: "public".into(),
            region_id: "r".into(),
            url: String::new(),
            enabled: true,
        }
    }

    #[test]
    fn groups_hold_what_fits_all_their_filters() {
        for (filters, fits) in [
            (json!({}), true),
            (json!({"interface": "public"}), true),
            (
                json!({"interface": "public", "service_id": "s", "region_id": "r"}),
                true,
            ),
            (json!({"interface": "public", "service_id": "other"}), false),
            (json!({"region_id": "other"}), false),
        ] {
            assert_eq!(
                Filters::read(&filters).unwrap().fit(&endpoint()),
                fits,
                "{filters}"
            );
        }
    }

    #[test]
    fn unknown_filters_are_refused() {
        for wrong in [
            json!(null),
            json!("public"),
            json!([]),
            json!({"color": "red"}),
            json!({"interface": "private"}),
            json!({"service_id": 7}),
        ] {
            assert_eq!(Filters::read(&wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
