//! What agents tell and ask: heartbeats, claims of work, how it came out, which guests they have.
//! The agents' side of the same conversation is in `agent/`.

use std::time::Duration;

use service_kit::store;
use service_kit::work::{Operation, WorkError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::conductor::{self, enqueue, enqueue_agent};
use super::{App, agent_queue, servers as app_servers};
use crate::agent::protocol::{
    AgentOperation, AgentTask, ExpectedGuests, Guests, GuestsAnswer, Heartbeat, Outcome, Report,
};
use crate::hypervisor::{GuestSpec, PowerAction, PowerState};
use crate::store::hosts::{self, COMPUTE};
use crate::store::servers::{self, Filter, Server, vm_state};
use crate::store::{StoreError, answers, now};

/// An agent lives; what it offers goes to placement when that changed.
pub async fn heartbeat(app: &App, host: &str, beat: &Heartbeat) -> Result<(), StoreError> {
    let changed = store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        hosts::heartbeat(&tx, host, COMPUTE).await?;
        let changed = hosts::save_host(&tx, host, &beat.address, &beat.capacity).await?;
        if changed {
            enqueue(&tx, conductor::HOST_SYNC, host).await?;
        }
        tx.commit().await?;
        Ok::<_, StoreError>(changed)
    })
    .await?;
    if changed {
        app.conductor().wake();
    }
    Ok(())
}

/// Claims work for a host's agent, waiting up to `wait` when there is none. Nothing is claimed for an agent that is
/// `gone`: its successor would have to wait until that lease has run out.
pub async fn claim(
    app: &App,
    host: &str,
    limit: usize,
    wait: Duration,
    gone: &CancellationToken,
) -> Result<Vec<AgentOperation>, StoreError> {
    let queue = app.agent(host);
    let deadline = tokio::time::Instant::now() + wait;
    // Subscribed before the first look, so that what comes in between is not missed.
    let mut subscription = app
        .bus
        .subscribe(&format!("compute.{}", agent_queue(host)))
        .await
        .ok();
    loop {
        let mut out = Vec::new();
        if gone.is_cancelled() {
            return Ok(out);
        }
        for operation in queue.claim(host, limit.clamp(1, 100)).await? {
            out.extend(resolve(app, host, operation).await?);
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !out.is_empty() || left.is_zero() || app.shutdown.is_cancelled() {
            return Ok(out);
        }
        let woken = async {
            match &mut subscription {
                Some(subscription) => subscription.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        // Looked at from time to time without a wake-up too: one may be lost, and leases run out silently.
        tokio::select! {
            alive = woken => if !alive { subscription = None },
            () = tokio::time::sleep(left.min(Duration::from_secs(5))) => {}
            () = gone.cancelled() => {}
            () = app.shutdown.cancelled() => {}
        }
    }
}

/// An operation with the guest as it shall be now.
async fn resolve(
    app: &App,
    host: &str,
    operation: Operation,
) -> Result<Option<AgentOperation>, StoreError> {
    let queue = app.agent(host);
    let (Ok(task), Ok(id)) = (
        serde_json::from_value(operation.payload.clone()),
        operation.target.parse(),
    ) else {
        tracing::error!(operation = %operation.id, kind = %operation.kind, "an operation that cannot be read");
        queue
            .fail(
                &operation,
                &WorkError::Permanent("cannot be read".to_owned()),
            )
            .await?;
        return Ok(None);
    };
    let server = servers::find(&app.db, &operation.target).await?;
    let spec = server
        .as_ref()
        .map(|server| guest_spec(app, server))
        .transpose()?;
    Ok(Some(AgentOperation {
        id: operation.id,
        generation: operation.generation,
        server: id,
        task,
        spec,
    }))
}

/// A server as its host must know it.
pub fn guest_spec(app: &App, server: &Server) -> Result<GuestSpec, StoreError> {
    let doc = &server.doc;
    let domain = &app.config.dhcp_domain;
    let id: Uuid = server.id.parse().map_err(|_| StoreError::Missing {
        what: "server",
        id: server.id.clone(),
    })?;
    Ok(GuestSpec {
        id,
        domain_name: server.domain_name(),
        display_name: server.name.clone(),
        hostname: if domain.is_empty() {
            doc.hostname.clone()
        } else {
            format!("{}.{domain}", doc.hostname)
        },
        project_id: server.project_id.clone(),
        user_id: server.user_id.clone(),
        vcpus: doc.flavor.vcpus,
        memory_mib: doc.flavor.ram,
        root_gib: doc.flavor.disk,
        flavor_name: doc.flavor.name.clone(),
        image: doc.image.clone(),
        kernel: doc.kernel.clone(),
        ramdisk: doc.ramdisk.clone(),
        command_line: doc.command_line.clone(),
        interfaces: doc.interfaces.clone(),
        metadata: doc.metadata.clone(),
        keys: doc.key.iter().cloned().collect(),
        user_data: doc.user_data.clone(),
        availability_zone: doc
            .zone
            .clone()
            .unwrap_or_else(|| app.config.default_availability_zone.clone()),
        launch_index: doc.launch_index,
        security_groups: if doc.security_groups.is_empty() {
            vec!["default".to_owned()]
        } else {
            doc.security_groups.clone()
        },
    })
}

fn claimed(id: &str, generation: i64, server: Uuid) -> Operation {
    Operation {
        id: id.to_owned(),
        kind: String::new(),
        target: server.to_string(),
        payload: serde_json::Value::Null,
        generation,
        attempts: 0,
    }
}

/// An agent is still at it; `false` when the claim is not its own any more.
pub async fn renew(app: &App, host: &str, id: &str, generation: i64) -> Result<bool, StoreError> {
    Ok(app
        .agent(host)
        .renew(&claimed(id, generation, Uuid::nil()))
        .await?)
}

/// How an operation came out; `false` when the claim was lost, or this was reported before.
pub async fn report(app: &App, host: &str, id: &str, report: &Report) -> Result<bool, StoreError> {
    let queue = app.agent(host);
    let operation = claimed(id, report.generation, report.server);
    if let Outcome::Retry { message } = &report.outcome {
        let again = WorkError::Retry {
            after: Duration::from_secs(5),
            reason: message.clone(),
        };
        return Ok(queue.fail(&operation, &again).await?);
    }
    if let Outcome::Failed { step, message } = &report.outcome {
        tracing::warn!(server = %report.server, host, %step, task = report.task.name(), "{message}");
    }
    let held = store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        if !queue.complete(&tx, &operation).await? {
            return Ok(false);
        }
        apply(app, &tx, host, report).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(true)
    })
    .await?;
    if held {
        app.conductor().wake();
        queue.wake(); // the next operation on the same guest was waiting for this one
    }
    Ok(held)
}

/// Writes what an outcome means for the server.
async fn apply(
    app: &App,
    tx: &sea_orm::DatabaseTransaction,
    host: &str,
    report: &Report,
) -> Result<(), StoreError> {
    let id = report.server.to_string();
    if let AgentTask::Console { answer, .. } = &report.task {
        let text = match &report.outcome {
            Outcome::Done { text, .. } => Ok(text.clone().unwrap_or_default()),
            Outcome::Failed { message, .. } | Outcome::Retry { message } => Err(message.clone()),
        };
        return answers::insert(tx, answer, text).await;
    }
    let Some(mut server) = servers::find(tx, &id).await? else {
        return Ok(());
    };
    if server.deleted_at.is_some() {
        return Ok(());
    }
    let leaving = server.task_state.as_deref() == Some("deleting");
    match (&report.task, &report.outcome) {
        (AgentTask::Destroy, Outcome::Done { .. }) => {
            enqueue(tx, conductor::SERVER_RELEASE, &id).await?;
            return Ok(());
        }
        (AgentTask::Clean, _) => return Ok(()),
        (AgentTask::Build, Outcome::Failed { step, message }) if !leaving => {
            build_failed(app, tx, &mut server, host, *step, message).await?;
        }
        (_, Outcome::Done { power_state, .. }) => {
            done(&mut server, &report.task, *power_state, leaving);
            if !leaving {
                servers::finish_actions(tx, &server, None).await?;
            }
        }
        (task, Outcome::Failed { step, message }) => {
            failed(&mut server, task, *step, message, leaving);
            servers::finish_actions(tx, &server, Some(&format!("{step}: {message}"))).await?;
        }
        (_, Outcome::Retry { .. }) => return Ok(()),
    }
    servers::save(tx, &mut server).await
}

fn done(server: &mut Server, task: &AgentTask, power_state: Option<i32>, leaving: bool) {
    if let Some(power_state) = power_state {
        server.doc.power_state = power_state;
    }
    let state = match task {
        AgentTask::Build => {
            server.doc.progress = 100;
            server.doc.launched_at.get_or_insert_with(now);
            server.doc.fault = None;
            server.doc.failed_hosts.clear();
            Some(vm_state::ACTIVE)
        }
        AgentTask::Power { action } => Some(match action {
            PowerAction::Start
            | PowerAction::SoftReboot
            | PowerAction::HardReboot
            | PowerAction::Unpause
            | PowerAction::Resume => vm_state::ACTIVE,
            PowerAction::Stop => vm_state::STOPPED,
            PowerAction::Pause => vm_state::PAUSED,
            PowerAction::Suspend => vm_state::SUSPENDED,
        }),
        AgentTask::DetachInterface { interface } => {
            server
                .doc
                .interfaces
                .retain(|other| other.port_id != interface.port_id);
            None
        }
        _ => None,
    };
    if let Some(state) = state {
        server.row.vm_state = state.to_owned();
        if state == vm_state::ACTIVE {
            server.doc.fault = None;
        }
    }
    if !leaving {
        server.row.task_state = None;
    }
}

fn failed(
    server: &mut Server,
    task: &AgentTask,
    step: crate::hypervisor::Step,
    message: &str,
    leaving: bool,
) {
    let words = format!("{} failed at step {step}: {message}", task.name());
    match task {
        // The guest is as it was: a failed copy or plug does not make the server useless.
        AgentTask::Snapshot { .. } => server.row.task_state = None,
        AgentTask::AttachInterface { interface } => {
            server
                .doc
                .interfaces
                .retain(|other| other.port_id != interface.port_id);
            server.row.task_state = None;
        }
        AgentTask::DetachInterface { .. } => server.row.task_state = None,
        _ if leaving && !matches!(task, AgentTask::Destroy) => {}
        _ => server.set_fault(words, format!("step: {step}")),
    }
}

/// The next host, or state ERROR after the last attempt. Either way the failed host is cleaned.
async fn build_failed(
    app: &App,
    tx: &sea_orm::DatabaseTransaction,
    server: &mut Server,
    host: &str,
    step: crate::hypervisor::Step,
    message: &str,
) -> Result<(), StoreError> {
    let id = server.id.clone();
    enqueue_agent(tx, host, &id, &AgentTask::Clean).await?;
    server.doc.failed_hosts.push(host.to_owned());
    let attempts = server.doc.failed_hosts.len();
    let words = format!("Build of instance {id} aborted at step {step}: {message}");
    server.set_fault(
        words.clone(),
        format!("step: {step}; host: {host}; attempt {attempts}"),
    );
    if attempts < app.config.build_attempts as usize && server.doc.wanted_host.is_none() {
        server.row.vm_state = vm_state::BUILDING.to_owned();
        server.row.task_state = Some("scheduling".to_owned());
        server.row.host = None;
        return enqueue(tx, conductor::SERVER_CREATE, &id).await;
    }
    servers::finish_actions(tx, server, Some(&words)).await?;
    enqueue(tx, conductor::SERVER_RELEASE, &id).await
}

/// The guests that should be running on a host, for an agent that has just started.
pub async fn expected_guests(app: &App, host: &str) -> Result<ExpectedGuests, StoreError> {
    let filter = Filter {
        host: Some(host.to_owned()),
        ..Filter::default()
    };
    let servers = servers::list(&app.db, &filter).await?;
    let running = servers
        .iter()
        // Whatever is under way now is done by its own operation.
        .filter(|server| server.vm_state == vm_state::ACTIVE && server.task_state.is_none())
        .map(|server| guest_spec(app, server));
    Ok(ExpectedGuests {
        running: running.collect::<Result<_, _>>()?,
    })
}

/// Compares the guests that an agent has with the servers of its host: a guest that stopped by itself is noticed, a
/// guest of a server that was deleted while the host was away is to be destroyed. Guests of servers that we do not
/// know are never touched.
pub async fn guests(app: &App, host: &str, seen: &Guests) -> Result<GuestsAnswer, StoreError> {
    let known = servers::list(
        &app.db,
        &Filter {
            host: Some(host.to_owned()),
            ..Filter::default()
        },
    )
    .await?;
    let mut answer = GuestsAnswer::default();
    for guest in &seen.guests {
        if known.iter().any(|server| server.id == guest.id.to_string()) {
            continue;
        }
        if let Some(server) = servers::find(&app.db, &guest.id.to_string()).await?
            && server.deleted_at.is_some()
        {
            answer.destroy.push(guest.id);
        }
    }
    for server in known {
        // Whatever is under way now tells its own result.
        if server.task_state.is_some()
            || server.vm_state == vm_state::BUILDING
            || server.vm_state == vm_state::ERROR
        {
            continue;
        }
        let state = seen
            .guests
            .iter()
            .find(|guest| guest.id.to_string() == server.id)
            .map(|guest| guest.power_state);
        let Some((vm, power)) = noticed(&server, state) else {
            continue;
        };
        tracing::warn!(server = %server.id, host, was = %server.vm_state, power_state = ?state, "the guest changed its power state by itself");
        let revision = server.revision;
        app_servers::change_if(app, &server.id, revision, |server| {
            server.row.vm_state = vm.to_owned();
            server.doc.power_state = power;
        })
        .await?;
    }
    Ok(answer)
}

/// What a guest's power state means for a server that nothing is being done with.
fn noticed(server: &Server, state: Option<PowerState>) -> Option<(&'static str, i32)> {
    let power = state.unwrap_or(PowerState::NoState);
    let vm = match (server.vm_state.as_str(), power) {
        (
            vm_state::ACTIVE | vm_state::PAUSED,
            PowerState::Shutdown | PowerState::Crashed | PowerState::NoState,
        ) => vm_state::STOPPED,
        (vm_state::ACTIVE | vm_state::PAUSED, PowerState::Suspended) => vm_state::SUSPENDED,
        (vm_state::STOPPED | vm_state::SUSPENDED | vm_state::PAUSED, PowerState::Running) => {
            vm_state::ACTIVE
        }
        (vm_state::ACTIVE, PowerState::Paused) => vm_state::PAUSED,
        _ => return None,
    };
    let power = if power == PowerState::NoState {
        PowerState::Shutdown
    } else {
        power
    };
    Some((vm, power.code()))
}

/// The server that has an address on a network: whose metadata a guest may read.
pub async fn by_address(
    app: &App,
    host: &str,
    network: Uuid,
    address: std::net::IpAddr,
) -> Result<Option<Server>, StoreError> {
    let known = servers::list(
        &app.db,
        &Filter {
            host: Some(host.to_owned()),
            ..Filter::default()
        },
    )
    .await?;
    Ok(known.into_iter().find(|server| {
        let mut interfaces = server
            .doc
            .interfaces
            .iter()
            .filter(|interface| interface.network_id == network);
        interfaces.any(|interface| interface.fixed_ips.iter().any(|ip| ip.address == address))
    }))
}
