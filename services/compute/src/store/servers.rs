//! Servers and what was done with them. A change reads the record, alters it and writes it back only if its revision
//! is still the same; the transaction as a whole is tried again otherwise.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::Expr,
};
use serde::{Deserialize, Serialize};

use super::entities::{action, server};
use super::flavors::Flavor;
use super::{StoreError, now};
use crate::hypervisor::{ImageRef, Interface, PublicKey};

/// What the server is doing in the long run: upstream's `vm_state`.
pub mod vm_state {
    #![allow(missing_docs)] // the words are upstream's
    pub const BUILDING: &str = "building";
    pub const ACTIVE: &str = "active";
    pub const STOPPED: &str = "stopped";
    pub const PAUSED: &str = "paused";
    pub const SUSPENDED: &str = "suspended";
    pub const ERROR: &str = "error";
    pub const DELETED: &str = "deleted";
}

/// A network or port that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WantedNic {
    /// A new port on this network, with this address if given.
    Network {
        /// Network id.
        id: String,
        /// Wanted address.
        fixed_ip: Option<String>,
    },
    /// A port that exists.
    Port(String),
}

/// Why the server is in state ERROR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// HTTP-like code, 500 nearly always.
    pub code: u16,
    /// For the owner.
    pub message: String,
    /// For the administrator.
    pub details: String,
    /// When.
    pub created_at: i64,
}

/// What is kept of a server beside its columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerDoc {
    /// As it was when the server was made: a flavor may change or go away later.
    pub flavor: Flavor,
    /// The image, with what is needed to fetch it.
    pub image: Option<ImageRef>,
    /// From the image's properties.
    #[serde(default)]
    pub kernel: Option<ImageRef>,
    /// From the image's properties.
    #[serde(default)]
    pub ramdisk: Option<ImageRef>,
    /// From the image's properties.
    #[serde(default)]
    pub command_line: Option<String>,
    /// Host name inside the guest.
    pub hostname: String,
    /// User's words.
    #[serde(default)]
    pub description: Option<String>,
    /// User's pairs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// User's tags.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Key for the first user.
    #[serde(default)]
    pub key: Option<PublicKey>,
    /// Base64.
    #[serde(default)]
    pub user_data: Option<String>,
    /// As asked for.
    #[serde(default)]
    pub config_drive: bool,
    /// Zone as asked for; empty: any.
    #[serde(default)]
    pub wanted_zone: Option<String>,
    /// Host as asked for (`zone:host`, or `host`).
    #[serde(default)]
    pub wanted_host: Option<String>,
    /// Networks as asked for.
    #[serde(default)]
    pub wanted_nics: Vec<WantedNic>,
    /// Names or ids, as asked for.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Server group.
    #[serde(default)]
    pub group: Option<String>,
    /// Zone in which it runs.
    #[serde(default)]
    pub zone: Option<String>,
    /// Ports as last known.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// Upstream's number.
    #[serde(default)]
    pub power_state: i32,
    /// 0..100.
    #[serde(default)]
    pub progress: u32,
    /// Why it is in ERROR.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// When it first ran.
    #[serde(default)]
    pub launched_at: Option<i64>,
    /// When it ended.
    #[serde(default)]
    pub terminated_at: Option<i64>,
    /// Who locked it: `owner` or `admin`.
    #[serde(default)]
    pub locked_by: Option<String>,
    /// Why.
    #[serde(default)]
    pub locked_reason: Option<String>,
    /// `r-...`: common to the servers of one request.
    #[serde(default)]
    pub reservation_id: String,
    /// Position among them.
    #[serde(default)]
    pub launch_index: u32,
    /// Hosts on which building failed.
    #[serde(default)]
    pub failed_hosts: Vec<String>,
}

/// A server.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// The columns. `row.doc` is not kept up to date: see `doc`.
    pub row: server::Model,
    /// The rest.
    pub doc: ServerDoc,
}

impl std::ops::Deref for Server {
    type Target = server::Model;

    fn deref(&self) -> &server::Model {
        &self.row
    }
}

impl Server {
    fn read(row: server::Model) -> Result<Self, StoreError> {
        let doc = serde_json::from_str(&row.doc).map_err(|source| StoreError::Unreadable {
            what: "server",
            id: row.id.clone(),
            source,
        })?;
        Ok(Server { row, doc })
    }

    /// `instance-0000002a`.
    pub fn domain_name(&self) -> String {
        format!("instance-{:08x}", self.row.number)
    }

    /// Puts the server into state ERROR with a cause.
    pub fn set_fault(&mut self, message: impl Into<String>, details: impl Into<String>) {
        self.row.vm_state = vm_state::ERROR.to_owned();
        self.row.task_state = None;
        self.doc.fault = Some(Fault {
            code: 500,
            message: message.into(),
            details: details.into(),
            created_at: now(),
        });
    }
}

/// What a new server is made of.
#[derive(Debug, Clone)]
pub struct NewServer {
    /// Id.
    pub id: String,
    /// Owner.
    pub project_id: String,
    /// Owner.
    pub user_id: String,
    /// Name.
    pub name: String,
    /// Everything else.
    pub doc: ServerDoc,
}

/// Writes a new server.
pub async fn insert(db: &impl ConnectionTrait, new: NewServer) -> Result<Server, StoreError> {
    let at = now();
    let doc = new.doc;
    let row = server::ActiveModel {
        id: Set(new.id),
        project_id: Set(new.project_id),
        user_id: Set(new.user_id),
        name: Set(new.name),
        host: Set(None),
        vm_state: Set(vm_state::BUILDING.to_owned()),
        task_state: Set(Some("scheduling".to_owned())),
        image_id: Set(doc
            .image
            .as_ref()
            .map(|image| image.id.clone())
            .unwrap_or_default()),
        flavor_id: Set(doc.flavor.id.clone()),
        vcpus: Set(doc.flavor.vcpus as i32),
        memory_mib: Set(doc.flavor.ram as i64),
        disk_gib: Set((doc.flavor.disk + doc.flavor.ephemeral) as i64),
        created_at: Set(at),
        updated_at: Set(at),
        deleted_at: Set(None),
        revision: Set(1),
        doc: Set(text(&doc)?),
        ..Default::default()
    };
    let row = server::Entity::insert(row).exec_with_returning(db).await?;
    Ok(Server { row, doc })
}

fn text(doc: &ServerDoc) -> Result<String, StoreError> {
    serde_json::to_string(doc).map_err(|source| StoreError::Unreadable {
        what: "server",
        id: String::new(),
        source,
    })
}

/// One server; `None` when there is none. Deleted ones are found too.
pub async fn find(db: &impl ConnectionTrait, id: &str) -> Result<Option<Server>, StoreError> {
    server::Entity::find()
        .filter(server::Column::Id.eq(id))
        .one(db)
        .await?
        .map(Server::read)
        .transpose()
}

/// Writes a changed server back, if nobody else changed it since it was read.
pub async fn save(db: &impl ConnectionTrait, server: &mut Server) -> Result<(), StoreError> {
    use server::Column as C;
    let row = &server.row;
    let at = now();
    let result = server::Entity::update_many()
        .col_expr(C::Name, Expr::value(row.name.clone()))
        .col_expr(C::Host, Expr::value(row.host.clone()))
        .col_expr(C::VmState, Expr::value(row.vm_state.clone()))
        .col_expr(C::TaskState, Expr::value(row.task_state.clone()))
        .col_expr(C::ImageId, Expr::value(row.image_id.clone()))
        .col_expr(C::UpdatedAt, Expr::value(at))
        .col_expr(C::DeletedAt, Expr::value(row.deleted_at))
        .col_expr(C::Revision, Expr::value(row.revision + 1))
        .col_expr(C::Doc, Expr::value(text(&server.doc)?))
        .filter(C::Number.eq(row.number))
        .filter(C::Revision.eq(row.revision))
        .exec(db)
        .await?;
    if result.rows_affected != 1 {
        return Err(StoreError::Changed {
            what: "server",
            id: row.id.clone(),
        });
    }
    server.row.revision += 1;
    server.row.updated_at = at;
    Ok(())
}

/// What a list is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// `None`: of all projects.
    pub project_id: Option<String>,
    /// Owner.
    pub user_id: Option<String>,
    /// Where it runs.
    pub host: Option<String>,
    /// States.
    pub vm_states: Option<Vec<String>>,
    /// Flavor id.
    pub flavor_id: Option<String>,
    /// Image id.
    pub image_id: Option<String>,
    /// Deleted servers instead of living ones.
    pub deleted: bool,
    /// Changed at or after this time; includes deleted ones.
    pub changes_since: Option<i64>,
}

/// Servers, the newest first.
pub async fn list(db: &impl ConnectionTrait, filter: &Filter) -> Result<Vec<Server>, StoreError> {
    use server::Column as C;
    let mut condition = Condition::all();
    if let Some(at) = filter.changes_since {
        condition = condition.add(C::UpdatedAt.gte(at));
    } else if filter.deleted {
        condition = condition.add(C::DeletedAt.is_not_null());
    } else {
        condition = condition.add(C::DeletedAt.is_null());
    }
    let columns = [
        (C::ProjectId, &filter.project_id),
        (C::UserId, &filter.user_id),
        (C::Host, &filter.host),
        (C::FlavorId, &filter.flavor_id),
        (C::ImageId, &filter.image_id),
    ];
    for (column, wanted) in columns {
        if let Some(wanted) = wanted {
            condition = condition.add(column.eq(wanted));
        }
    }
    if let Some(states) = &filter.vm_states {
        condition = condition.add(C::VmState.is_in(states));
    }
    let rows = server::Entity::find()
        .filter(condition)
        .order_by_desc(C::Number)
        .all(db)
        .await?;
    rows.into_iter().map(Server::read).collect()
}

/// What the servers of a host, or of a project, use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Servers.
    pub instances: u64,
    /// Virtual processors.
    pub vcpus: u64,
    /// MiB.
    pub memory_mib: u64,
    /// GiB.
    pub disk_gib: u64,
}

async fn usage(
    db: &impl ConnectionTrait,
    by: server::Column,
    only: Option<&str>,
) -> Result<BTreeMap<String, Usage>, StoreError> {
    use server::Column as C;
    let mut query = server::Entity::find()
        .select_only()
        .column(by)
        .column(C::Vcpus)
        .column(C::MemoryMib)
        .column(C::DiskGib)
        .filter(C::DeletedAt.is_null());
    if let Some(only) = only {
        query = query.filter(by.eq(only));
    }
    let rows: Vec<(Option<String>, i32, i64, i64)> = query.into_tuple().all(db).await?;
    let mut out: BTreeMap<String, Usage> = BTreeMap::new();
    for (key, vcpus, memory, disk) in rows {
        let Some(key) = key else { continue };
        let usage = out.entry(key).or_default();
        usage.instances += 1;
        usage.vcpus += vcpus as u64;
        usage.memory_mib += memory as u64;
        usage.disk_gib += disk as u64;
    }
    Ok(out)
}

/// Usage of every host that has servers.
pub async fn usage_by_host(
    db: &impl ConnectionTrait,
) -> Result<BTreeMap<String, Usage>, StoreError> {
    usage(db, server::Column::Host, None).await
}

/// Usage of one project.
pub async fn usage_of_project(
    db: &impl ConnectionTrait,
    project_id: &str,
) -> Result<Usage, StoreError> {
    Ok(usage(db, server::Column::ProjectId, Some(project_id))
        .await?
        .remove(project_id)
        .unwrap_or_default())
}

/// Notes that something was begun with a server.
pub async fn begin_action(
    db: &impl ConnectionTrait,
    server: &Server,
    name: &str,
    request_id: &str,
    user_id: &str,
) -> Result<(), StoreError> {
    let row = action::ActiveModel {
        server_id: Set(server.id.clone()),
        request_id: Set(request_id.to_owned()),
        action: Set(name.to_owned()),
        project_id: Set(server.project_id.clone()),
        user_id: Set(user_id.to_owned()),
        host: Set(server.host.clone()),
        started_at: Set(now()),
        finished_at: Set(None),
        message: Set(String::new()),
        ..Default::default()
    };
    action::Entity::insert(row)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// Notes that what was begun has ended, with an error's text if it failed.
pub async fn finish_actions(
    db: &impl ConnectionTrait,
    server: &Server,
    error: Option<&str>,
) -> Result<(), StoreError> {
    action::Entity::update_many()
        .col_expr(action::Column::FinishedAt, Expr::value(Some(now())))
        .col_expr(action::Column::Host, Expr::value(server.host.clone()))
        .col_expr(
            action::Column::Message,
            Expr::value(error.unwrap_or_default()),
        )
        .filter(action::Column::ServerId.eq(&server.id))
        .filter(action::Column::FinishedAt.is_null())
        .exec(db)
        .await?;
    Ok(())
}

/// What was done with a server, the newest first.
pub async fn actions(
    db: &impl ConnectionTrait,
    server_id: &str,
) -> Result<Vec<action::Model>, StoreError> {
    let query = action::Entity::find().filter(action::Column::ServerId.eq(server_id));
    Ok(query.order_by_desc(action::Column::Seq).all(db).await?)
}
