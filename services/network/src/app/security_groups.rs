//! Security groups, and the `default` one that each project has.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, ModelTrait, QueryFilter,
    QueryOrder,
};
use serde_json::Value;
use service_kit::{ApiError, RequestContext};

use super::attributes::Attributes;
use super::{App, faults, new_id, owner, owns, privileged, write};
use crate::store::entity::{port_security_group, security_group, security_group_rule};
use crate::store::{self, TxError, now};
use crate::views;

/// Attributes of the request to create one.
pub const CREATE: [&str; 5] = ["name", "description", "project_id", "tenant_id", "stateful"];
/// Attributes of the request to change one.
pub const UPDATE: [&str; 3] = ["name", "description", "stateful"];

impl App {
    pub async fn security_group_list(
        &self,
        caller: &RequestContext,
        project: Option<&str>,
    ) -> Result<Vec<Value>, ApiError> {
        // As upstream: asking for a project's groups makes its default one.
        let asked = project
            .filter(|project| owns(caller, project))
            .unwrap_or(&caller.project_id);
        if !asked.is_empty() {
            self.ensure_default_group(asked).await?;
        }
        let mut query = security_group::Entity::find()
            .order_by_asc(security_group::Column::CreatedAt)
            .order_by_asc(security_group::Column::Id);
        if !privileged(caller) {
            query = query.filter(security_group::Column::ProjectId.eq(&caller.project_id));
        }
        self.group_views(query.all(&self.db).await?).await
    }

    pub async fn security_group_show(
        &self,
        caller: &RequestContext,
        id: &str,
    ) -> Result<Value, ApiError> {
        let row = security_group::Entity::find_by_id(id).one(&self.db).await?;
        let row = row
            .filter(|row| owns(caller, &row.project_id))
            .ok_or_else(|| faults::not_found("security_group", id))?;
        Ok(self.group_views(vec![row]).await?.remove(0))
    }

    async fn group_views(&self, rows: Vec<security_group::Model>) -> Result<Vec<Value>, ApiError> {
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let tags = store::tags(&self.db, &ids).await?;
        let mut query = security_group_rule::Entity::find()
            .order_by_asc(security_group_rule::Column::CreatedAt)
            .order_by_asc(security_group_rule::Column::Id);
        if let [only] = ids.as_slice() {
            query = query.filter(security_group_rule::Column::SecurityGroupId.eq(only));
        }
        let all = query.all(&self.db).await?;
        let mut rules: BTreeMap<&str, Vec<&security_group_rule::Model>> = BTreeMap::new();
        for rule in &all {
            rules.entry(&rule.security_group_id).or_default().push(rule);
        }
        Ok(rows
            .iter()
            .map(|row| {
                let rules = rules.get(row.id.as_str()).map_or(&[][..], Vec::as_slice);
                views::security_group(row, rules, tags.get(&row.id).map_or(&[], Vec::as_slice))
            })
            .collect())
    }

    pub async fn security_group_create(
        &self,
        caller: &RequestContext,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let project = owner(caller, attributes, "security_group")?;
        let name = attributes.text("name")?.unwrap_or_default();
        if name == "default" {
            return Err(ApiError::conflict(
                "SecurityGroupDefaultAlreadyExists",
                "Default security group already exists.",
            ));
        }
        let description = attributes.text("description")?.unwrap_or_default();
        let stateful = attributes.flag("stateful")?.unwrap_or(true);
        let made: Result<String, ApiError> = write!(self, tx => {
            self.check_quota(&tx, &project, "security_group").await?;
            let row = new_group(&project, &name, &description, stateful, None);
            insert_group(&tx, &row).await?;
            row.id
        });
        self.security_group_show(caller, &made?).await
    }

    pub async fn security_group_update(
        &self,
        caller: &RequestContext,
        id: &str,
        attributes: &Attributes,
    ) -> Result<Value, ApiError> {
        let written: Result<(), ApiError> = write!(self, tx => {
            let mut row = own_group(&tx, caller, id).await?;
            let name = attributes.text("name")?;
            if row.default_of == row.project_id && name.is_some() {
                return Err(ApiError::conflict("SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.").into());
            }
            row.name = name.unwrap_or(row.name);
            row.description = attributes.text("description")?.unwrap_or(row.description);
            row.stateful = attributes.flag("stateful")?.unwrap_or(row.stateful);
            store::save_security_group(&tx, row).await?;
        });
        written?;
        self.security_group_show(caller, id).await
    }

    pub async fn security_group_delete(
        &self,
        caller: &RequestContext,
        id: &str,
    ) -> Result<(), ApiError> {
        write!(self, tx => {
            let row = own_group(&tx, caller, id).await?;
            if row.default_of == row.project_id && !caller.is_admin {
                return Err(ApiError::conflict("SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.").into());
            }
            let used = port_security_group::Entity::find().filter(port_security_group::Column::SecurityGroupId.eq(id));
            if used.one(&tx).await?.is_some() {
                return Err(ApiError::conflict("SecurityGroupInUse", format!("Security Group {id} in use.")).into());
            }
            row.delete(&tx).await?;
        })
    }

    async fn ensure_default_group(&self, project: &str) -> Result<(), ApiError> {
        let known =
            security_group::Entity::find().filter(security_group::Column::DefaultOf.eq(project));
        if known.one(&self.db).await?.is_some() {
            return Ok(());
        }
        write!(self, tx => {
            self.default_group(&tx, project).await?;
        })
    }

    /// The project's default group, made if need be: out goes everything, in comes what its own members send.
    pub async fn default_group(
        &self,
        tx: &DatabaseTransaction,
        project: &str,
    ) -> Result<String, TxError> {
        let known = security_group::Entity::find()
            .filter(security_group::Column::DefaultOf.eq(project))
            .one(tx)
            .await?;
        if let Some(row) = known {
            return Ok(row.id);
        }
        let row = new_group(
            project,
            "default",
            "Default security group",
            true,
            Some(project),
        );
        insert_group(tx, &row).await?;
        for ethertype in ["IPv4", "IPv6"] {
            let rule = security_group_rule::Model {
                direction: "ingress".to_owned(),
                remote_group_id: Some(row.id.clone()),
                ..open_rule(&row, ethertype)
            };
            security_group_rule::Entity::insert(rule.into_active_model())
                .exec_without_returning(tx)
                .await?;
        }
        Ok(row.id)
    }
}

fn new_group(
    project: &str,
    name: &str,
    description: &str,
    stateful: bool,
    default_of: Option<&str>,
) -> security_group::Model {
    let (id, time) = (new_id(), now());
    security_group::Model {
        default_of: default_of.map_or_else(|| id.clone(), str::to_owned),
        id,
        project_id: project.to_owned(),
        name: name.to_owned(),
        description: description.to_owned(),
        stateful,
        revision: 1,
        created_at: time.clone(),
        updated_at: time,
    }
}

/// A rule that lets everything of one IP version out.
fn open_rule(group: &security_group::Model, ethertype: &str) -> security_group_rule::Model {
    security_group_rule::Model {
        id: new_id(),
        project_id: group.project_id.clone(),
        security_group_id: group.id.clone(),
        description: String::new(),
        direction: "egress".to_owned(),
        ethertype: ethertype.to_owned(),
        protocol: None,
        port_range_min: None,
        port_range_max: None,
        remote_ip_prefix: None,
        remote_group_id: None,
        created_at: now(),
    }
}

/// Writes a group with the rules that each new one has.
async fn insert_group(
    tx: &DatabaseTransaction,
    row: &security_group::Model,
) -> Result<(), TxError> {
    security_group::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(tx)
        .await?;
    for ethertype in ["IPv4", "IPv6"] {
        security_group_rule::Entity::insert(open_rule(row, ethertype).into_active_model())
            .exec_without_returning(tx)
            .await?;
    }
    Ok(())
}

/// A group that the caller may change.
pub async fn own_group(
    tx: &DatabaseTransaction,
    caller: &RequestContext,
    id: &str,
) -> Result<security_group::Model, TxError> {
    let found = security_group::Entity::find_by_id(id).one(tx).await?;
    Ok(found
        .filter(|row| owns(caller, &row.project_id))
        .ok_or_else(|| faults::not_found("security_group", id))?)
}
