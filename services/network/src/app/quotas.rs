//! Quotas: how many resources a project may have.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::{Map, Value, json};
use service_kit::ApiError;

use super::attributes::Attributes;
use super::{App, faults, write};
use crate::config::DEFAULT_QUOTAS;
use crate::store::TxError;
use crate::store::entity::{
    floating_ip, network, port, quota, router, security_group, security_group_rule, subnet,
};

/// Counts what `project` has of `resource`.
async fn used<C: sea_orm::ConnectionTrait>(
    db: &C,
    project: &str,
    resource: &str,
) -> Result<u64, sea_orm::DbErr> {
    macro_rules! count {
        ($table:ident) => {
            $table::Entity::find()
                .filter($table::Column::ProjectId.eq(project))
                .count(db)
                .await
        };
    }
    match resource {
        "network" => count!(network),
        "subnet" => count!(subnet),
        "port" => count!(port),
        "router" => count!(router),
        "floatingip" => count!(floating_ip),
        "security_group" => count!(security_group),
        "security_group_rule" => count!(security_group_rule),
        _ => Ok(0),
    }
}

impl App {
    /// Refuses when one more would be too many.
    pub async fn check_quota(
        &self,
        tx: &DatabaseTransaction,
        project: &str,
        resource: &str,
    ) -> Result<(), TxError> {
        let own = quota::Entity::find_by_id((project.to_owned(), resource.to_owned()))
            .one(tx)
            .await?;
        let limit = own.map_or_else(|| self.config.default_quota(resource), |row| row.hard_limit);
        match u64::try_from(limit) {
            Ok(limit) if used(tx, project, resource).await? >= limit => {
                Err(faults::over_quota(resource).into())
            }
            _ => Ok(()),
        }
    }

    /// A project's limits.
    pub async fn quota_show(&self, project: &str) -> Result<Value, ApiError> {
        let own = quota::Entity::find()
            .filter(quota::Column::ProjectId.eq(project))
            .all(&self.db)
            .await?;
        let limit = |name: &str| {
            own.iter()
                .find(|row| row.resource == name)
                .map_or_else(|| self.config.default_quota(name), |row| row.hard_limit)
        };
        let limits: Map<String, Value> = DEFAULT_QUOTAS
            .iter()
            .map(|(name, _)| ((*name).to_owned(), json!(limit(name))))
            .collect();
        Ok(Value::Object(limits))
    }

    /// The configured limits.
    pub fn quota_defaults(&self) -> Value {
        DEFAULT_QUOTAS
            .iter()
            .map(|(name, _)| ((*name).to_owned(), json!(self.config.default_quota(name))))
            .collect::<Map<_, _>>()
            .into()
    }

    /// Limits with what is used of them.
    pub async fn quota_details(&self, project: &str) -> Result<Value, ApiError> {
        let limits = self.quota_show(project).await?;
        let mut details = Map::new();
        for (name, limit) in limits.as_object().into_iter().flatten() {
            let used = used(&self.db, project, name).await?;
            details.insert(
                name.clone(),
                json!({"limit": limit, "used": used, "reserved": 0}),
            );
        }
        Ok(Value::Object(details))
    }

    pub async fn quota_update(
        &self,
        project: &str,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let written: Result<(), ApiError> = write!(self, tx => {
            for (name, _) in DEFAULT_QUOTAS {
                let Some(limit) = attributes.integer(name)? else { continue };
                if limit < -1 {
                    return Err(faults::invalid(name, format!("'{limit}' is not in the range -1 to 2147483647.")).into());
                }
                let row = quota::Model { project_id: project.to_owned(), resource: name.to_owned(), hard_limit: limit };
                let key = [quota::Column::ProjectId, quota::Column::Resource];
                quota::Entity::insert(sea_orm::IntoActiveModel::into_active_model(row))
                    .on_conflict(OnConflict::columns(key).update_column(quota::Column::HardLimit).to_owned())
                    .exec_without_returning(&tx)
                    .await?;
            }
        });
        written?;
        self.quota_show(project).await
    }

    /// Back to the configured limits.
    pub async fn quota_delete(&self, project: &str) -> Result<(), ApiError> {
        quota::Entity::delete_many()
            .filter(quota::Column::ProjectId.eq(project))
            .exec(&self.db)
            .await?;
        Ok(())
    }

    /// Projects that have limits of their own.
    pub async fn quota_list(&self) -> Result<Vec<Value>, ApiError> {
        let rows = quota::Entity::find().all(&self.db).await?;
        let projects: std::collections::BTreeSet<String> =
            rows.into_iter().map(|row| row.project_id).collect();
        let mut list = Vec::new();
        for project in projects {
            let mut limits = self.quota_show(&project).await?;
            limits["project_id"] = json!(project);
            limits["tenant_id"] = json!(project);
            list.push(limits);
        }
        Ok(list)
    }
}
