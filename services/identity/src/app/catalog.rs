//! The service catalogue for one scope.
//!
//! Does not know who asks.

use super::endpoint_filter::Association;
use crate::store::entities::{endpoint, service};
use openstack_types::{CatalogEndpoint, CatalogService, Interface};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder};

/// Enabled services with their enabled endpoints; of a project that endpoints are associated with, those alone, and the
/// services that have one. `otherwise_all` is what a project without any sees. URLs that need a project are left out without
/// one, as upstream.
pub async fn catalog(
    db: &DatabaseConnection,
    user_id: &str,
    project_id: Option<&str>,
    otherwise_all: bool,
) -> Result<Vec<CatalogService>, DbErr> {
    let services = service::Entity::find()
        .filter(service::Column::Enabled.eq(true))
        .order_by_asc(service::Column::ServiceType)
        .all(db)
        .await?;
    let mut endpoints = endpoint::Entity::find()
        .filter(endpoint::Column::Enabled.eq(true))
        .order_by_asc(endpoint::Column::Id)
        .all(db)
        .await?;
    let mut filtered = false;
    if let Some(id) = project_id {
        let association = Association::of(db, id).await?;
        if !otherwise_all || endpoints.iter().any(|row| association.holds(row)) {
            endpoints.retain(|row| association.holds(row));
            filtered = true;
        }
    }
    Ok(services
        .into_iter()
        .filter(|row| {
            !filtered
                || endpoints
                    .iter()
                    .any(|endpoint| endpoint.service_id == row.id)
        })
        .map(|row| CatalogService {
            endpoints: endpoints
                .iter()
                .filter(|endpoint| endpoint.service_id == row.id)
                .filter_map(|endpoint| {
                    let region =
                        (!endpoint.region_id.is_empty()).then(|| endpoint.region_id.clone());
                    Some(CatalogEndpoint {
                        id: endpoint.id.clone(),
                        interface: Interface::parse(&endpoint.interface)?,
                        region_id: region.clone(),
                        region,
                        url: fill_in(&endpoint.url, user_id, project_id)?,
                    })
                })
                .collect(),
            id: row.id,
            service_type: row.service_type,
            name: row.name,
        })
        .collect())
}

/// `%(project_id)s`, `$(tenant_id)s` and their like.
fn fill_in(url: &str, user_id: &str, project_id: Option<&str>) -> Option<String> {
    let mut out = url.to_owned();
    for name in ["project_id", "tenant_id", "user_id"] {
        for sign in ["%", "$"] {
            let mark = format!("{sign}({name})s");
            if out.contains(&mark) {
                let value = if name == "user_id" {
                    user_id
                } else {
                    project_id?
                };
                out = out.replace(&mark, value);
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::fill_in;

    #[test]
    fn fills_in_or_leaves_out() {
        assert_eq!(
            fill_in("http://h/v1/%(tenant_id)s", "u", Some("p")).as_deref(),
            Some("http://h/v1/p")
        );
        assert_eq!(fill_in("http://h/AUTH_$(project_id)s", "u", None), None);
        assert_eq!(fill_in("http://h", "u", None).as_deref(), Some("http://h"));
    }
}
