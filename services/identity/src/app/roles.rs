//! Which roles somebody has where, with what they imply.
//!
//! Does not know tokens.

use crate::store::entities::{assignment, implied_role, membership, role};
use openstack_types::NamedRef;
use sea_orm::{ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, QueryFilter};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where a role is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// On a project.
    Project(&'a str),
    /// On a domain.
    Domain(&'a str),
    /// On the system.
    System,
}

impl<'a> Target<'a> {
    /// As in the table: kind and id.
    pub fn columns(self) -> (&'static str, &'a str) {
        match self {
            Target::Project(id) => ("project", id),
            Target::Domain(id) => ("domain", id),
            Target::System => ("system", "all"),
        }
    }
}

/// Ids of the groups that a user is in.
pub async fn groups_of(db: &DatabaseConnection, user_id: &str) -> Result<Vec<String>, DbErr> {
    let rows = membership::Entity::find()
        .filter(membership::Column::UserId.eq(user_id))
        .all(db)
        .await?;
    Ok(rows.into_iter().map(|row| row.group_id).collect())
}

/// Every assignment of a user, own and by groups.
pub async fn assignments_of(
    db: &DatabaseConnection,
    user_id: &str,
) -> Result<Vec<assignment::Model>, DbErr> {
    let groups = groups_of(db, user_id).await?;
    let own = Condition::all()
        .add(assignment::Column::ActorKind.eq("user"))
        .add(assignment::Column::ActorId.eq(user_id));
    let mut any = Condition::any().add(own);
    if !groups.is_empty() {
        any = any.add(
            Condition::all()
                .add(assignment::Column::ActorKind.eq("group"))
                .add(assignment::Column::ActorId.is_in(groups)),
        );
    }
    assignment::Entity::find().filter(any).all(db).await
}

/// A user's roles on a target, with what they imply, by name.
pub async fn roles_on(
    db: &DatabaseConnection,
    user_id: &str,
    target: Target<'_>,
) -> Result<Vec<NamedRef>, DbErr> {
    let (kind, id) = target.columns();
    let direct = assignments_of(db, user_id)
        .await?
        .into_iter()
        .filter(|row| row.target_kind == kind && row.target_id == id)
        .map(|row| row.role_id);
    expand(db, direct).await
}

/// Adds implied roles, and names them all.
pub async fn expand(
    db: &DatabaseConnection,
    direct: impl IntoIterator<Item = String>,
) -> Result<Vec<NamedRef>, DbErr> {
    let mut todo: Vec<String> = direct.into_iter().collect();
    if todo.is_empty() {
        return Ok(Vec::new());
    }
    let mut implied: HashMap<String, Vec<String>> = HashMap::new();
    for row in implied_role::Entity::find().all(db).await? {
        implied
            .entry(row.prior_id)
            .or_default()
            .push(row.implied_id);
    }
    let mut found = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if found.insert(id.clone()) {
            todo.extend(implied.get(&id).into_iter().flatten().cloned());
        }
    }
    let rows = role::Entity::find()
        .filter(role::Column::Id.is_in(found))
        .all(db)
        .await?;
    let by_name: BTreeMap<String, String> =
        rows.into_iter().map(|row| (row.name, row.id)).collect();
    Ok(by_name
        .into_iter()
        .map(|(name, id)| NamedRef { id, name })
        .collect())
}
