//! The service's database: tables, and the queries that more than one resource needs. Knows no HTTP and no OVN.

pub mod entity;
mod migration;
pub mod values;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use sea_orm::sea_query::Expr;
use sea_orm::{
    AccessMode, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, EntityTrait, IntoActiveModel, IsolationLevel, Order, QueryFilter, QueryOrder, SqlErr,
    TransactionTrait,
};
use service_kit::ApiError;
use service_kit::store::Conflict;

use crate::model::Topology;
use entity::{
    allocation, floating_ip, network, port, port_security_group, router, router_interface,
    security_group, security_group_rule, subnet, tag,
};

pub use migration::Migrator;

/// Rows asked for by id at once; databases limit the number of parameters.
const CHUNK: usize = 500;

/// Why a transaction was not committed.
#[derive(Debug, thiserror::Error)]
pub enum TxError {
    /// The caller's fault, or another resource stands in the way.
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Db(#[from] DbErr),
    /// Somebody else changed the row since it was read.
    #[error("the row was changed by another request")]
    Stale,
}

impl Conflict for TxError {
    /// Unique and foreign keys are the last guard behind checks that say the same in words: who runs into one lost
    /// a race, and on the next try the check tells him.
    fn is_conflict(&self) -> bool {
        match self {
            TxError::Api(_) => false,
            TxError::Stale => true,
            TxError::Db(error) => {
                let key = matches!(
                    error.sql_err(),
                    Some(
                        SqlErr::UniqueConstraintViolation(_)
                            | SqlErr::ForeignKeyConstraintViolation(_)
                    )
                );
                key || error.is_conflict()
            }
        }
    }
}

impl From<TxError> for ApiError {
    fn from(error: TxError) -> ApiError {
        match error {
            TxError::Api(error) => error,
            TxError::Db(error) => ApiError::internal(error),
            TxError::Stale => ApiError::conflict(
                "RetryRequest",
                "The resource is being changed by other requests; try again.",
            ),
        }
    }
}

/// Now, as the API prints it.
pub fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes a changed row if it is still the revision that was read, and counts the revision on.
macro_rules! saver {
    ($name:ident, $table:ident) => {
        pub async fn $name(
            tx: &DatabaseTransaction,
            mut row: $table::Model,
        ) -> Result<$table::Model, TxError> {
            let read = row.revision;
            row.revision += 1;
            row.updated_at = now();
            let changed = row.clone().into_active_model();
            let written = $table::Entity::update_many()
                .set(sea_orm::ActiveModelTrait::reset_all(changed))
                .filter($table::Column::Id.eq(&row.id))
                .filter($table::Column::Revision.eq(read))
                .exec(tx)
                .await?;
            if written.rows_affected == 1 {
                Ok(row)
            } else {
                Err(TxError::Stale)
            }
        }
    };
}

saver!(save_network, network);
saver!(save_subnet, subnet);
saver!(save_port, port);
saver!(save_router, router);
saver!(save_floating_ip, floating_ip);
saver!(save_security_group, security_group);

/// The whole virtual network, in one consistent read.
pub async fn load_topology(db: &DatabaseConnection) -> Result<Topology, DbErr> {
    // One snapshot, so that a port is not seen without its addresses. SQLite's transactions are such by themselves.
    let tx = if db.get_database_backend() == DbBackend::Sqlite {
        db.begin().await?
    } else {
        db.begin_with_config(
            Some(IsolationLevel::RepeatableRead),
            Some(AccessMode::ReadOnly),
        )
        .await?
    };
    macro_rules! all {
        ($table:ident, $($column:ident),+) => {
            $table::Entity::find()$(.order_by($table::Column::$column, Order::Asc))+.all(&tx).await?
        };
    }
    let topology = Topology {
        networks: all!(network, Id),
        subnets: all!(subnet, Id),
        ports: all!(port, Id),
        allocations: all!(allocation, SubnetId, IpAddress),
        routers: all!(router, Id),
        router_interfaces: all!(router_interface, RouterId, SubnetId),
        floating_ips: all!(floating_ip, Id),
        security_groups: all!(security_group, Id),
        rules: all!(security_group_rule, Id),
        port_groups: all!(port_security_group, PortId, SecurityGroupId),
    };
    tx.commit().await?;
    Ok(topology)
}

/// Sets the status of ports; returns how many rows changed.
pub async fn set_port_status(
    db: &DatabaseConnection,
    ids: &[String],
    status: &str,
) -> Result<u64, DbErr> {
    let mut changed = 0;
    for ids in ids.chunks(CHUNK) {
        let update = port::Entity::update_many()
            .col_expr(port::Column::Status, Expr::value(status))
            .filter(port::Column::Id.is_in(ids.iter().cloned()))
            .filter(port::Column::Status.ne(status));
        changed += update.exec(db).await?.rows_affected;
    }
    Ok(changed)
}

/// Addresses of ports, by port, in order.
pub async fn allocations<C: ConnectionTrait>(
    db: &C,
    ports: &[String],
) -> Result<BTreeMap<String, Vec<allocation::Model>>, DbErr> {
    let mut found: BTreeMap<String, Vec<allocation::Model>> = BTreeMap::new();
    for ids in ports.chunks(CHUNK) {
        let rows = allocation::Entity::find()
            .filter(allocation::Column::PortId.is_in(ids.iter().cloned()))
            .all(db)
            .await?;
        for row in rows {
            found.entry(row.port_id.clone()).or_default().push(row);
        }
    }
    for list in found.values_mut() {
        list.sort_by_key(|row| row.ip_address.parse::<IpAddr>().ok());
    }
    Ok(found)
}

/// Addresses of a subnet that are in use.
pub async fn used_addresses<C: ConnectionTrait>(
    db: &C,
    subnet: &str,
) -> Result<HashSet<IpAddr>, DbErr> {
    let rows = allocation::Entity::find()
        .filter(allocation::Column::SubnetId.eq(subnet))
        .all(db)
        .await?;
    Ok(rows
        .iter()
        .filter_map(|row| row.ip_address.parse().ok())
        .collect())
}

/// Security groups of ports, by port.
pub async fn groups_of_ports<C: ConnectionTrait>(
    db: &C,
    ports: &[String],
) -> Result<BTreeMap<String, Vec<String>>, DbErr> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ids in ports.chunks(CHUNK) {
        let of_ports = port_security_group::Column::PortId.is_in(ids.iter().cloned());
        let query = port_security_group::Entity::find().filter(of_ports);
        for row in query
            .order_by_asc(port_security_group::Column::SecurityGroupId)
            .all(db)
            .await?
        {
            found
                .entry(row.port_id)
                .or_default()
                .push(row.security_group_id);
        }
    }
    Ok(found)
}

/// Tags of resources, by resource, sorted.
pub async fn tags<C: ConnectionTrait>(
    db: &C,
    resources: &[String],
) -> Result<BTreeMap<String, Vec<String>>, DbErr> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ids in resources.chunks(CHUNK) {
        let of_these = tag::Column::ResourceId.is_in(ids.iter().cloned());
        for row in tag::Entity::find()
            .filter(of_these)
            .order_by_asc(tag::Column::Tag)
            .all(db)
            .await?
        {
            found.entry(row.resource_id).or_default().push(row.tag);
        }
    }
    Ok(found)
}
