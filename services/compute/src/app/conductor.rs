//! The conductor: takes accepted work through its steps. Each step may run again after a crash; what it finds done,
//! it does not do again.
//!
//! ```text
//!  server_create: scheduler → port → (agent: image, hypervisor) → ACTIVE
//!                     ▲ next host, at most `build_attempts` │ failed
//!                     └──────────────── clean ◄─────────────┘
//!  server_delete: (agent: destroy) → server_release: ports, claim, record
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::ConnectionTrait;
use serde_json::json;
use service_kit::store;
use service_kit::work::{self, NewOperation, Operation, WorkError, Worker};

use super::claims::{self, Claim};
use super::scheduler::{GroupPolicy, Request, select};
use super::{App, StepError, agent_queue, inventory, ports};
use crate::agent::protocol::AgentTask;
use crate::hypervisor::Step;
use crate::store::servers::{self, Filter, Server, vm_state};
use crate::store::{StoreError, flavors, now};

/// Name of the conductor's queue.
pub const QUEUE: &str = "conductor";
/// Schedule, ports, then the agent's turn.
pub const SERVER_CREATE: &str = "server_create";
/// The agent's turn, then release.
pub const SERVER_DELETE: &str = "server_delete";
/// Ports and claim are given back, and the record is marked deleted if the server is being deleted.
pub const SERVER_RELEASE: &str = "server_release";
/// Tell placement what a host offers.
pub const HOST_SYNC: &str = "host_sync";

/// A step that could not succeed for this long is given up.
const ATTEMPTS: u32 = 12;

/// Enqueues work of the conductor in the caller's transaction.
pub async fn enqueue(
    tx: &impl ConnectionTrait,
    kind: &str,
    target: &str,
) -> Result<(), StoreError> {
    let operation = NewOperation {
        queue: QUEUE.to_owned(),
        kind: kind.to_owned(),
        target: target.to_owned(),
        payload: json!({}),
    };
    work::enqueue(tx, operation).await?;
    Ok(())
}

/// Enqueues work of a host's agent in the caller's transaction.
pub async fn enqueue_agent(
    tx: &impl ConnectionTrait,
    host: &str,
    server_id: &str,
    task: &AgentTask,
) -> Result<(), StoreError> {
    let payload = serde_json::to_value(task).map_err(|source| StoreError::Unreadable {
        what: "task",
        id: server_id.to_owned(),
        source,
    })?;
    let operation = NewOperation {
        queue: agent_queue(host),
        kind: task.name().to_owned(),
        target: server_id.to_owned(),
        payload,
    };
    work::enqueue(tx, operation).await?;
    Ok(())
}

/// Does the conductor's work.
pub struct Conductor(pub Arc<App>);

#[async_trait]
impl Worker for Conductor {
    async fn handle(&self, operation: &Operation) -> Result<(), WorkError> {
        let app = &*self.0;
        let target = &operation.target;
        let result = match operation.kind.as_str() {
            SERVER_CREATE => server_create(app, target).await,
            SERVER_DELETE => server_delete(app, target).await,
            SERVER_RELEASE => server_release(app, target).await,
            HOST_SYNC => claims::sync_host(app, target).await,
            other => return Err(WorkError::Permanent(format!("unknown operation `{other}`"))),
        };
        let error = match result {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        tracing::warn!(server = %target, operation = %operation.kind, step = %error.step(), attempt = operation.attempts, "{}", error.message());
        let give_up = matches!(error, StepError::Never { .. }) || operation.attempts >= ATTEMPTS;
        if give_up && operation.kind == SERVER_CREATE {
            return give_up_building(app, target, &error)
                .await
                .map_err(|e| WorkError::Retry {
                    after: Duration::from_secs(5),
                    reason: e.to_string(),
                });
        }
        if give_up && operation.kind != HOST_SYNC {
            // The owner sees it, and deleting again starts anew; the operation itself goes on trying, slowly.
            let _ = change(app, target, |server| {
                server.set_fault(format!("{}: {}", error.step(), error.message()), "")
            })
            .await;
        }
        let after = if give_up {
            Duration::from_secs(60)
        } else {
            backoff(operation.attempts)
        };
        Err(WorkError::Retry {
            after,
            reason: error.to_string(),
        })
    }
}

fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(500u64 << attempt.min(6)).min(Duration::from_secs(20))
}

/// Changes a server in a transaction of its own, with whatever else `also` writes.
pub async fn change(app: &App, id: &str, with: impl Fn(&mut Server)) -> Result<Server, StoreError> {
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let mut server = required(&tx, id).await?;
        with(&mut server);
        servers::save(&tx, &mut server).await?;
        tx.commit().await?;
        Ok(server)
    })
    .await
}

async fn required(db: &impl ConnectionTrait, id: &str) -> Result<Server, StoreError> {
    servers::find(db, id)
        .await?
        .ok_or_else(|| StoreError::Missing {
            what: "server",
            id: id.to_owned(),
        })
}

fn is_leaving(server: &Server) -> bool {
    server.deleted_at.is_some() || server.task_state.as_deref() == Some("deleting")
}

async fn server_create(app: &App, id: &str) -> Result<(), StepError> {
    let Some(mut server) = servers::find(&app.db, id).await? else {
        return Ok(());
    };
    if is_leaving(&server)
        || server.vm_state != vm_state::BUILDING
        || server.task_state.as_deref() == Some("spawning")
    {
        return Ok(());
    }
    if server.host.is_none() {
        server = schedule(app, &server).await?;
    }
    let interfaces = ports::ensure(app, &server).await?;
    let host = server.host.clone().unwrap_or_default();
    let handed_over = store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let mut server = required(&tx, id).await?;
        if is_leaving(&server) || server.task_state.as_deref() == Some("spawning") {
            return Ok(false);
        }
        server.row.task_state = Some("spawning".to_owned());
        server.doc.interfaces = interfaces.clone();
        servers::save(&tx, &mut server).await?;
        enqueue_agent(&tx, &host, id, &AgentTask::Build).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(true)
    });
    if handed_over.await? {
        app.agent(&host).wake();
    }
    Ok(())
}

/// Chooses a host, claims it, and notes it.
async fn schedule(app: &App, server: &Server) -> Result<Server, StepError> {
    let hosts = inventory::host_states(app).await?;
    let request = Request {
        vcpus: server.vcpus as u64,
        memory_mib: server.memory_mib as u64,
        disk_gib: server.disk_gib as u64,
        zone: server.doc.wanted_zone.clone(),
        host: server.doc.wanted_host.clone(),
        excluded: server.doc.failed_hosts.clone(),
        extra_specs: server.doc.flavor.extra_specs.clone(),
        group: group_policy(app, server).await?,
    };
    let never = |message: String| StepError::Never {
        step: Step::Scheduler,
        message,
    };
    let mut chosen = None;
    let candidates = match select(&hosts, &request, &inventory::ratios(app)) {
        Ok(candidates) => candidates,
        // After a failed build the first cause is what its owner must know.
        Err(error) => {
            return Err(never(
                match (&server.doc.fault, server.doc.failed_hosts.is_empty()) {
                    (Some(fault), false) => {
                        format!("{error} The build failed before: {}", fault.message)
                    }
                    _ => error.to_string(),
                },
            ));
        }
    };
    for host in candidates {
        if claims::claim(app, server, host).await? == Claim::Taken {
            chosen = Some(host);
            break;
        }
        tracing::info!(server = %server.id, host = %host.host, "the host was taken by others");
    }
    let Some(host) = chosen else {
        return Err(never(
            "No valid host was found. Every host that fitted was taken by other servers meanwhile."
                .to_owned(),
        ));
    };
    // The name is its owner's: written so that it cannot be taken for another line.
    tracing::info!(server = %server.id, name = ?server.name, host = %host.host, "host chosen");
    let server = change(app, &server.id, |server| {
        server.row.host = Some(host.host.clone());
        server.doc.zone = Some(host.zone.clone());
        if !is_leaving(server) {
            server.row.task_state = Some("networking".to_owned());
        }
    });
    Ok(server.await?)
}

async fn group_policy(app: &App, server: &Server) -> Result<Option<GroupPolicy>, StepError> {
    let Some(id) = &server.doc.group else {
        return Ok(None);
    };
    let Some(group) = flavors::find_group(&app.db, id).await? else {
        return Ok(None);
    };
    let members = servers::list(
        &app.db,
        &Filter {
            project_id: Some(group.project_id.clone()),
            ..Filter::default()
        },
    )
    .await?;
    let hosts = members
        .iter()
        .filter(|other| other.id != server.id && other.doc.group.as_ref() == Some(id))
        .filter_map(|other| other.host.clone());
    Ok(Some(GroupPolicy {
        policy: group.policy,
        hosts: hosts.collect(),
    }))
}

/// The server goes into state ERROR with its cause, and what it held is given back.
async fn give_up_building(app: &App, id: &str, error: &StepError) -> Result<(), StoreError> {
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let Some(mut server) = servers::find(&tx, id).await? else {
            return Ok(());
        };
        if is_leaving(&server) {
            return Ok(());
        }
        let message = match error.step() {
            Step::Scheduler => error.message().to_owned(),
            step => format!(
                "Build of instance {id} aborted at step {step}: {}",
                error.message()
            ),
        };
        servers::finish_actions(&tx, &server, Some(&message)).await?;
        server.set_fault(message, format!("step: {}", error.step()));
        servers::save(&tx, &mut server).await?;
        enqueue(&tx, SERVER_RELEASE, id).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(())
    })
    .await?;
    app.conductor().wake();
    Ok(())
}

async fn server_delete(app: &App, id: &str) -> Result<(), StepError> {
    let Some(server) = servers::find(&app.db, id).await? else {
        return Ok(());
    };
    if server.deleted_at.is_some() {
        return Ok(());
    }
    // A host that is gone cannot be asked: its agent cleans up when it comes back (see `agents::guests`).
    let host = match &server.host {
        Some(host) if inventory::agent_is_up(app, host).await? => Some(host.clone()),
        _ => None,
    };
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        match &host {
            Some(host) => enqueue_agent(&tx, host, id, &AgentTask::Destroy).await?,
            None => enqueue(&tx, SERVER_RELEASE, id).await?,
        }
        tx.commit().await?;
        Ok::<_, StoreError>(())
    })
    .await?;
    match &host {
        Some(host) => app.agent(host).wake(),
        None => app.conductor().wake(),
    }
    Ok(())
}

async fn server_release(app: &App, id: &str) -> Result<(), StepError> {
    let Some(server) = servers::find(&app.db, id).await? else {
        return Ok(());
    };
    if server.deleted_at.is_some() {
        return Ok(());
    }
    ports::release_all(app, &server).await?;
    claims::release(app, id).await?;
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let mut server = required(&tx, id).await?;
        server.doc.interfaces.clear();
        if is_leaving(&server) {
            let at = now();
            server.row.deleted_at = Some(at);
            server.row.vm_state = vm_state::DELETED.to_owned();
            server.row.task_state = None;
            server.doc.terminated_at = Some(at);
            server.doc.power_state = 0;
            // Not needed any more, and not ours to keep.
            server.doc.user_data = None;
            servers::finish_actions(&tx, &server, None).await?;
        } else {
            server.row.host = None;
        }
        servers::save(&tx, &mut server).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(())
    })
    .await?;
    tracing::info!(server = id, "resources given back");
    Ok(())
}
