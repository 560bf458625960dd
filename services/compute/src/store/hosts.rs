//! Hosts, the services on them, and aggregates.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    sea_query::Expr,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::entities::{aggregate, host, service};
use super::{StoreError, now};
use crate::hypervisor::Capacity;

/// The binary's name of a compute agent.
pub const COMPUTE: &str = "nova-compute";

/// A compute node.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Number in the API before microversion 2.53.
    pub number: i64,
    /// Id, also in placement.
    pub id: String,
    /// FQDN.
    pub host: String,
    /// Its address on the management network.
    pub address: String,
    /// What it offers.
    pub capacity: Capacity,
}

fn read_host(row: host::Model) -> Result<Host, StoreError> {
    let capacity =
        serde_json::from_str(&row.capacity).map_err(|source| StoreError::Unreadable {
            what: "host",
            id: row.host.clone(),
            source,
        })?;
    Ok(Host {
        number: row.number,
        id: row.id,
        host: row.host,
        address: row.address,
        capacity,
    })
}

/// All compute nodes by name.
pub async fn hosts(db: &impl ConnectionTrait) -> Result<Vec<Host>, StoreError> {
    let rows = host::Entity::find()
        .order_by_asc(host::Column::Host)
        .all(db)
        .await?;
    rows.into_iter().map(read_host).collect()
}

/// One compute node by name.
pub async fn find_host(db: &impl ConnectionTrait, name: &str) -> Result<Option<Host>, StoreError> {
    host::Entity::find()
        .filter(host::Column::Host.eq(name))
        .one(db)
        .await?
        .map(read_host)
        .transpose()
}

/// Notes what a host offers; `true` when that is new.
pub async fn save_host(
    db: &impl ConnectionTrait,
    name: &str,
    address: &str,
    capacity: &Capacity,
) -> Result<bool, StoreError> {
    let text = serde_json::to_string(capacity).map_err(|source| StoreError::Unreadable {
        what: "host",
        id: name.to_owned(),
        source,
    })?;
    let known = find_host(db, name).await?;
    match known {
        None => {
            let row = host::ActiveModel {
                id: Set(Uuid::new_v4().to_string()),
                host: Set(name.to_owned()),
                address: Set(address.to_owned()),
                capacity: Set(text),
                updated_at: Set(now()),
                ..Default::default()
            };
            host::Entity::insert(row).exec_without_returning(db).await?;
            Ok(true)
        }
        Some(known) if known.capacity == *capacity && known.address == address => Ok(false),
        Some(known) => {
            host::Entity::update_many()
                .col_expr(host::Column::Capacity, Expr::value(text))
                .col_expr(host::Column::Address, Expr::value(address))
                .col_expr(host::Column::UpdatedAt, Expr::value(now()))
                .filter(host::Column::Host.eq(name))
                .exec(db)
                .await?;
            // Free disk space and running guests change all the time and do not concern placement.
            let (a, b) = (&known.capacity, capacity);
            Ok((a.vcpus, a.memory_mib, a.disk_gib) != (b.vcpus, b.memory_mib, b.disk_gib))
        }
    }
}

/// Deletes a compute node's record.
pub async fn delete_host(db: &impl ConnectionTrait, name: &str) -> Result<(), StoreError> {
    host::Entity::delete_many()
        .filter(host::Column::Host.eq(name))
        .exec(db)
        .await?;
    Ok(())
}

/// All services by number.
pub async fn services(db: &impl ConnectionTrait) -> Result<Vec<service::Model>, StoreError> {
    Ok(service::Entity::find()
        .order_by_asc(service::Column::Number)
        .all(db)
        .await?)
}

/// Notes that a service lives; makes its record at the first time.
pub async fn heartbeat(
    db: &impl ConnectionTrait,
    host: &str,
    binary: &str,
) -> Result<(), StoreError> {
    let seen = service::Entity::update_many()
        .col_expr(service::Column::SeenAt, Expr::value(now()))
        .filter(service::Column::Host.eq(host))
        .filter(service::Column::BinaryName.eq(binary))
        .exec(db)
        .await?;
    if seen.rows_affected > 0 {
        return Ok(());
    }
    let row = service::ActiveModel {
        id: Set(Uuid::new_v4().to_string()),
        host: Set(host.to_owned()),
        binary_name: Set(binary.to_owned()),
        seen_at: Set(now()),
        disabled: Set(false),
        disabled_reason: Set(None),
        forced_down: Set(false),
        ..Default::default()
    };
    match service::Entity::insert(row)
        .exec_without_returning(db)
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if service_kit::store::is_duplicate(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes what an administrator changed of a service.
pub async fn save_service(
    db: &impl ConnectionTrait,
    changed: &service::Model,
) -> Result<(), StoreError> {
    service::Entity::update_many()
        .col_expr(service::Column::Disabled, Expr::value(changed.disabled))
        .col_expr(
            service::Column::DisabledReason,
            Expr::value(changed.disabled_reason.clone()),
        )
        .col_expr(
            service::Column::ForcedDown,
            Expr::value(changed.forced_down),
        )
        .filter(service::Column::Number.eq(changed.number))
        .exec(db)
        .await?;
    Ok(())
}

/// Deletes a service's record.
pub async fn delete_service(db: &impl ConnectionTrait, number: i64) -> Result<(), StoreError> {
    service::Entity::delete_by_id(number).exec(db).await?;
    Ok(())
}

/// What is kept of an aggregate beside its name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AggregateDoc {
    /// Hosts in it.
    #[serde(default)]
    pub hosts: BTreeSet<String>,
    /// Pairs for the scheduler; `availability_zone` makes it a zone.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: i64,
    /// When it was last changed.
    #[serde(default)]
    pub updated_at: Option<i64>,
}

/// A set of hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Number.
    pub id: i64,
    /// UUID.
    pub uuid: String,
    /// Name.
    pub name: String,
    /// Hosts and pairs.
    pub doc: AggregateDoc,
    revision: i64,
}

impl Aggregate {
    /// The zone that it makes.
    pub fn zone(&self) -> Option<&str> {
        self.doc
            .metadata
            .get("availability_zone")
            .map(String::as_str)
    }
}

fn read_aggregate(row: aggregate::Model) -> Result<Aggregate, StoreError> {
    let doc = serde_json::from_str(&row.doc).map_err(|source| StoreError::Unreadable {
        what: "aggregate",
        id: row.name.clone(),
        source,
    })?;
    Ok(Aggregate {
        id: row.id,
        uuid: row.uuid,
        name: row.name,
        doc,
        revision: row.revision,
    })
}

/// All aggregates by number.
pub async fn aggregates(db: &impl ConnectionTrait) -> Result<Vec<Aggregate>, StoreError> {
    let rows = aggregate::Entity::find()
        .order_by_asc(aggregate::Column::Id)
        .all(db)
        .await?;
    rows.into_iter().map(read_aggregate).collect()
}

/// Makes an aggregate; a taken name is a database error.
pub async fn insert_aggregate(
    db: &impl ConnectionTrait,
    name: &str,
    doc: AggregateDoc,
) -> Result<Aggregate, StoreError> {
    let text = serde_json::to_string(&doc).map_err(|source| StoreError::Unreadable {
        what: "aggregate",
        id: name.to_owned(),
        source,
    })?;
    let row = aggregate::ActiveModel {
        uuid: Set(Uuid::new_v4().to_string()),
        name: Set(name.to_owned()),
        revision: Set(1),
        doc: Set(text),
        ..Default::default()
    };
    read_aggregate(
        aggregate::Entity::insert(row)
            .exec_with_returning(db)
            .await?,
    )
}

/// Writes a changed aggregate, if nobody else changed it since it was read.
pub async fn save_aggregate(
    db: &impl ConnectionTrait,
    changed: &Aggregate,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(&changed.doc).map_err(|source| StoreError::Unreadable {
        what: "aggregate",
        id: changed.name.clone(),
        source,
    })?;
    let result = aggregate::Entity::update_many()
        .col_expr(aggregate::Column::Name, Expr::value(changed.name.clone()))
        .col_expr(aggregate::Column::Doc, Expr::value(text))
        .col_expr(
            aggregate::Column::Revision,
            Expr::value(changed.revision + 1),
        )
        .filter(aggregate::Column::Id.eq(changed.id))
        .filter(aggregate::Column::Revision.eq(changed.revision))
        .exec(db)
        .await?;
    if result.rows_affected == 1 {
        Ok(())
    } else {
        Err(StoreError::Changed {
            what: "aggregate",
            id: changed.name.clone(),
        })
    }
}

/// Deletes an aggregate; `false` when there was none.
pub async fn delete_aggregate(db: &impl ConnectionTrait, id: i64) -> Result<bool, StoreError> {
    Ok(aggregate::Entity::delete_by_id(id)
        .exec(db)
        .await?
        .rows_affected
        == 1)
}
