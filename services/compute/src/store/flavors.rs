//! Flavors, key pairs, server groups, quotas: what users choose from and are held to.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait,
    QueryFilter, QueryOrder,
};
use serde::{Deserialize, Serialize};

use super::entities::{flavor, group, key_pair, quota};
use super::{StoreError, now};

/// A size of server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flavor {
    /// `flavorid`: chosen by the administrator, or a UUID.
    pub id: String,
    /// Name.
    pub name: String,
    /// MiB.
    pub ram: u64,
    /// Virtual processors.
    pub vcpus: u32,
    /// Root disk in GiB.
    pub disk: u64,
    /// Second disk in GiB.
    #[serde(default)]
    pub ephemeral: u64,
    /// Swap disk in MiB.
    #[serde(default)]
    pub swap: u64,
    /// Kept for its place in the API.
    #[serde(default)]
    pub rxtx_factor: f64,
    /// Seen by every project.
    #[serde(default)]
    pub is_public: bool,
    /// Words of the administrator.
    #[serde(default)]
    pub description: Option<String>,
    /// Pairs for the scheduler.
    #[serde(default)]
    pub extra_specs: BTreeMap<String, String>,
    /// Projects that see it although it is not public.
    #[serde(default)]
    pub projects: BTreeSet<String>,
}

fn read_flavor(row: flavor::Model) -> Result<Flavor, StoreError> {
    serde_json::from_str(&row.doc).map_err(|source| StoreError::Unreadable {
        what: "flavor",
        id: row.id,
        source,
    })
}

fn flavor_row(new: &Flavor) -> Result<flavor::ActiveModel, StoreError> {
    let doc = serde_json::to_string(new).map_err(|source| StoreError::Unreadable {
        what: "flavor",
        id: new.id.clone(),
        source,
    })?;
    Ok(flavor::ActiveModel {
        id: Set(new.id.clone()),
        name: Set(new.name.clone()),
        doc: Set(doc),
    })
}

/// All flavors by memory, then name.
pub async fn flavors(db: &impl ConnectionTrait) -> Result<Vec<Flavor>, StoreError> {
    let rows = flavor::Entity::find().all(db).await?;
    let mut out: Vec<Flavor> = rows
        .into_iter()
        .map(read_flavor)
        .collect::<Result<_, _>>()?;
    out.sort_by(|a, b| (a.ram, &a.name).cmp(&(b.ram, &b.name)));
    Ok(out)
}

/// One flavor.
pub async fn find_flavor(
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<Flavor>, StoreError> {
    flavor::Entity::find_by_id(id)
        .one(db)
        .await?
        .map(read_flavor)
        .transpose()
}

/// Writes a new flavor; a taken id or name is a database error (`service_kit::store::is_duplicate`).
pub async fn insert_flavor(db: &impl ConnectionTrait, new: &Flavor) -> Result<(), StoreError> {
    flavor::Entity::insert(flavor_row(new)?)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Writes a changed flavor.
pub async fn save_flavor(db: &impl ConnectionTrait, changed: &Flavor) -> Result<(), StoreError> {
    flavor::Entity::update(flavor_row(changed)?)
        .exec(db)
        .await?;
    Ok(())
}

/// Deletes a flavor; `false` when there was none.
pub async fn delete_flavor(db: &impl ConnectionTrait, id: &str) -> Result<bool, StoreError> {
    Ok(flavor::Entity::delete_by_id(id)
        .exec(db)
        .await?
        .rows_affected
        == 1)
}

/// Key pairs of a user by name.
pub async fn key_pairs(
    db: &impl ConnectionTrait,
    user_id: &str,
) -> Result<Vec<key_pair::Model>, StoreError> {
    let query = key_pair::Entity::find().filter(key_pair::Column::UserId.eq(user_id));
    Ok(query.order_by_asc(key_pair::Column::Name).all(db).await?)
}

/// One key pair.
pub async fn find_key_pair(
    db: &impl ConnectionTrait,
    user_id: &str,
    name: &str,
) -> Result<Option<key_pair::Model>, StoreError> {
    let query = key_pair::Entity::find().filter(key_pair::Column::UserId.eq(user_id));
    Ok(query
        .filter(key_pair::Column::Name.eq(name))
        .one(db)
        .await?)
}

/// Writes a new key pair; only the public half is ever kept.
pub async fn insert_key_pair(
    db: &impl ConnectionTrait,
    user_id: &str,
    name: &str,
    kind: &str,
    public_key: &str,
    fingerprint: &str,
) -> Result<key_pair::Model, StoreError> {
    let row = key_pair::ActiveModel {
        user_id: Set(user_id.to_owned()),
        name: Set(name.to_owned()),
        kind: Set(kind.to_owned()),
        public_key: Set(public_key.to_owned()),
        fingerprint: Set(fingerprint.to_owned()),
        created_at: Set(now()),
        ..Default::default()
    };
    Ok(key_pair::Entity::insert(row)
        .exec_with_returning(db)
        .await?)
}

/// Deletes a key pair; `false` when there was none.
pub async fn delete_key_pair(
    db: &impl ConnectionTrait,
    user_id: &str,
    name: &str,
) -> Result<bool, StoreError> {
    let query = key_pair::Entity::delete_many().filter(key_pair::Column::UserId.eq(user_id));
    Ok(query
        .filter(key_pair::Column::Name.eq(name))
        .exec(db)
        .await?
        .rows_affected
        > 0)
}

/// Server groups, of one project or of all.
pub async fn groups(
    db: &impl ConnectionTrait,
    project_id: Option<&str>,
) -> Result<Vec<group::Model>, StoreError> {
    let mut query = group::Entity::find();
    if let Some(project_id) = project_id {
        query = query.filter(group::Column::ProjectId.eq(project_id));
    }
    Ok(query.order_by_asc(group::Column::Name).all(db).await?)
}

/// One server group.
pub async fn find_group(
    db: &impl ConnectionTrait,
    id: &str,
) -> Result<Option<group::Model>, StoreError> {
    Ok(group::Entity::find_by_id(id).one(db).await?)
}

/// Writes a new server group.
pub async fn insert_group(db: &impl ConnectionTrait, new: group::Model) -> Result<(), StoreError> {
    let row: group::ActiveModel = new.into();
    group::Entity::insert(row.reset_all())
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Deletes a server group.
pub async fn delete_group(db: &impl ConnectionTrait, id: &str) -> Result<bool, StoreError> {
    Ok(group::Entity::delete_by_id(id)
        .exec(db)
        .await?
        .rows_affected
        == 1)
}

/// Limits of projects where nothing else was set: upstream's defaults. -1 is no limit.
pub const DEFAULT_QUOTAS: [(&str, i64); 8] = [
    ("instances", 10),
    ("cores", 20),
    ("ram", 51_200),
    ("metadata_items", 128),
    ("key_pairs", 100),
    ("server_groups", 10),
    ("server_group_members", 10),
    ("injected_files", 5),
];

/// The limits of a project: its own, else those of the class `default`, else upstream's.
pub async fn quotas(
    db: &impl ConnectionTrait,
    project_id: &str,
) -> Result<BTreeMap<String, i64>, StoreError> {
    let rows = quota::Entity::find()
        .filter(quota::Column::ProjectId.is_in([project_id, "default"]))
        .all(db)
        .await?;
    let mut out: BTreeMap<String, i64> = DEFAULT_QUOTAS
        .iter()
        .map(|(name, limit)| ((*name).to_owned(), *limit))
        .collect();
    for wanted in ["default", project_id] {
        for row in rows.iter().filter(|row| row.project_id == wanted) {
            out.insert(row.resource.clone(), row.hard_limit);
        }
    }
    Ok(out)
}

/// Sets one limit.
pub async fn set_quota(
    db: &impl ConnectionTrait,
    project_id: &str,
    resource: &str,
    limit: i64,
) -> Result<(), StoreError> {
    let row = quota::ActiveModel {
        project_id: Set(project_id.to_owned()),
        resource: Set(resource.to_owned()),
        hard_limit: Set(limit),
    };
    let known = quota::Entity::find_by_id((project_id.to_owned(), resource.to_owned()))
        .one(db)
        .await?;
    if known.is_some() {
        quota::Entity::update(row).exec(db).await?;
    } else {
        quota::Entity::insert(row)
            .exec_without_returning(db)
            .await?;
    }
    Ok(())
}

/// Back to the defaults.
pub async fn delete_quotas(db: &impl ConnectionTrait, project_id: &str) -> Result<(), StoreError> {
    quota::Entity::delete_many()
        .filter(quota::Column::ProjectId.eq(project_id))
        .exec(db)
        .await?;
    Ok(())
}
