//! Which roles somebody has where, with what they imply.
//!
//! Does not know tokens.

use super::inheritance::{Above, Implications, Tree, is_inherited};
use crate::store::entities::{assignment, implied_role, membership, project, role};
use openstack_types::NamedRef;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, Statement,
};
use std::collections::BTreeSet;

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

/// A user's roles on a target, with what they imply and what the target inherits, by name.
pub async fn roles_on(
    db: &DatabaseConnection,
    user_id: &str,
    target: Target<'_>,
) -> Result<Vec<NamedRef>, DbErr> {
    let (kind, id) = target.columns();
    let rows = assignments_of(db, user_id).await?;
    let above = match target {
        Target::Project(id) if rows.iter().any(|row| is_inherited(&row.target_kind)) => {
            above(db, id).await?
        }
        _ => Above::default(),
    };
    let held = rows
        .into_iter()
        .filter(|row| {
            (row.target_kind == kind && row.target_id == id)
                || above.covers(&row.target_kind, &row.target_id)
        })
        .map(|row| row.role_id);
    expand(db, held).await
}

/// What lies above a project, in one query however deep the tree is.
async fn above(db: &DatabaseConnection, id: &str) -> Result<Above, DbErr> {
    let backend = db.get_database_backend();
    let mark = match backend {
        DbBackend::Postgres => "$1",
        _ => "?",
    };
    // UNION, not UNION ALL: a loop, which should never be, ends.
    let sql = format!(
        "WITH RECURSIVE above (id, parent_id, domain_id) AS ( \
         SELECT id, parent_id, domain_id FROM projects WHERE id = {mark} \
         UNION SELECT p.id, p.parent_id, p.domain_id FROM projects p \
         JOIN above a ON p.id = a.parent_id \
         ) SELECT id, domain_id FROM above"
    );
    let statement = Statement::from_sql_and_values(backend, sql, [id.into()]);
    let mut above = Above::default();
    for row in db.query_all_raw(statement).await? {
        let found: String = row.try_get("", "id")?;
        if found == id {
            above.domain = row.try_get("", "domain_id")?;
        } else {
            above.projects.insert(found);
        }
    }
    Ok(above)
}

/// Ids of the objects of a kind (`project`, `domain`) on which a user has a role, inherited ones too.
pub async fn targets_of(
    db: &DatabaseConnection,
    user_id: &str,
    kind: &str,
) -> Result<BTreeSet<String>, DbErr> {
    let rows = assignments_of(db, user_id).await?;
    let inherits = kind == "project" && rows.iter().any(|row| is_inherited(&row.target_kind));
    let tree = if inherits {
        tree(db).await?
    } else {
        Tree::default()
    };
    let mut found = BTreeSet::new();
    for row in &rows {
        if row.target_kind == kind || (inherits && is_inherited(&row.target_kind)) {
            let reached = tree.reach(&row.target_kind, &row.target_id);
            found.extend(reached.into_iter().map(str::to_owned));
        }
    }
    Ok(found)
}

/// Every project.
pub async fn tree(db: &DatabaseConnection) -> Result<Tree, DbErr> {
    use project::Column;
    let rows: Vec<(String, String, String)> = project::Entity::find()
        .select_only()
        .columns([Column::Id, Column::ParentId, Column::DomainId])
        .filter(Column::IsDomain.eq(false))
        .into_tuple()
        .all(db)
        .await?;
    Ok(Tree::new(rows))
}

/// Which roles follow from which.
pub async fn implications(db: &DatabaseConnection) -> Result<Implications, DbErr> {
    let rows = implied_role::Entity::find().all(db).await?;
    Ok(Implications::new(
        rows.into_iter().map(|row| (row.prior_id, row.implied_id)),
    ))
}

/// Adds implied roles, and names them all; roles of a domain only stand for what they imply.
pub async fn expand(
    db: &DatabaseConnection,
    held: impl IntoIterator<Item = String>,
) -> Result<Vec<NamedRef>, DbErr> {
    let held: BTreeSet<String> = held.into_iter().collect();
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let implications = implications(db).await?;
    let found: BTreeSet<&str> = held
        .iter()
        .flat_map(|role| implications.closure(role))
        .map(|(role, _)| role)
        .collect();
    let rows = role::Entity::find()
        .filter(role::Column::Id.is_in(found))
        .filter(role::Column::DomainId.eq(""))
        .order_by_asc(role::Column::Name)
        .all(db)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| NamedRef {
            id: row.id,
            name: row.name,
        })
        .collect())
}
