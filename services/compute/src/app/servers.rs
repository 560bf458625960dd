//! Acting on servers, as the API's files ask: checks, one durable transaction, a wake-up.

use std::time::Duration;

use service_kit::{ApiError, RequestContext, store};
use uuid::Uuid;

use super::conductor::{self, enqueue, enqueue_agent};
use super::{App, inventory};
use crate::agent::protocol::AgentTask;
use crate::hypervisor::PowerAction;
use crate::store::servers::{self, Server, vm_state};
use crate::store::{StoreError, answers};

/// A server of the caller that still lives; 404 for everybody else's, and for deleted ones also to an admin.
pub async fn find(app: &App, who: &RequestContext, id: &str) -> Result<Server, ApiError> {
    match servers::find(&app.db, id).await? {
        Some(server) if who.owns(&server.project_id) && server.deleted_at.is_none() => Ok(server),
        _ => Err(ApiError::not_found(
            "itemNotFound",
            format!("Instance {id} could not be found."),
        )),
    }
}

/// Changes a server if it is still as it was; nothing happens otherwise.
pub async fn change_if(
    app: &App,
    id: &str,
    revision: i64,
    with: impl Fn(&mut Server),
) -> Result<(), StoreError> {
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let Some(mut server) = servers::find(&tx, id).await? else {
            return Ok(());
        };
        if server.revision != revision {
            return Ok(());
        }
        with(&mut server);
        servers::save(&tx, &mut server).await?;
        tx.commit().await?;
        Ok(())
    })
    .await
}

/// Refuses what a lock forbids.
pub fn check_unlocked(who: &RequestContext, server: &Server) -> Result<(), ApiError> {
    if server.doc.locked_by.is_some() && !who.is_admin {
        return Err(ApiError::conflict(
            "conflictingRequest",
            format!("Instance {} is locked", server.id),
        ));
    }
    Ok(())
}

fn wrong_state(server: &Server, action: &str) -> ApiError {
    let (name, value) = match &server.task_state {
        Some(task) => ("task_state", task.as_str()),
        None => ("vm_state", server.vm_state.as_str()),
    };
    ApiError::conflict(
        "conflictingRequest",
        format!(
            "Cannot '{action}' instance {} while it is in {name} {value}",
            server.id
        ),
    )
}

/// An action that the server's host carries out.
pub struct HostAction<'a> {
    /// Its name for messages and the list of actions.
    pub name: &'a str,
    /// States in which it makes sense.
    pub allowed: &'a [&'a str],
    /// What the server is doing meanwhile.
    pub task_state: &'a str,
    /// What the agent does.
    pub task: AgentTask,
}

/// Accepts an action: state, record and operation in one transaction.
pub async fn act(
    app: &App,
    who: &RequestContext,
    id: &str,
    action: HostAction<'_>,
) -> Result<(), ApiError> {
    let host = store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let Some(mut server) = servers::find(&tx, id).await? else {
            return Err(ApiError::not_found(
                "itemNotFound",
                format!("Instance {id} could not be found."),
            ));
        };
        check_unlocked(who, &server)?;
        // A hard reboot is the way out of a task that hangs.
        let busy = server.task_state.is_some()
            && !(action.name == "reboot"
                && action.task_state == "rebooting_hard"
                && server.task_state.as_deref() != Some("deleting"));
        if busy || !action.allowed.contains(&server.vm_state.as_str()) {
            return Err(wrong_state(&server, action.name));
        }
        let Some(host) = server.host.clone() else {
            return Err(ApiError::conflict(
                "conflictingRequest",
                format!("Instance {id} is not ready: it has no host."),
            ));
        };
        server.row.task_state = Some(action.task_state.to_owned());
        servers::begin_action(&tx, &server, action.name, &who.request_id, &who.user_id).await?;
        servers::save(&tx, &mut server).await?;
        enqueue_agent(&tx, &host, id, &action.task).await?;
        tx.commit().await?;
        Ok(host)
    })
    .await?;
    app.agent(&host).wake();
    Ok(())
}

/// A change of the power state by its name in the API.
pub async fn power(
    app: &App,
    who: &RequestContext,
    id: &str,
    action: PowerAction,
) -> Result<(), ApiError> {
    use vm_state::{ACTIVE, ERROR, PAUSED, STOPPED, SUSPENDED};
    let (name, allowed, task_state): (&str, &[&str], &str) = match action {
        PowerAction::Start => ("start", &[STOPPED], "powering-on"),
        PowerAction::Stop => ("stop", &[ACTIVE, ERROR, PAUSED], "powering-off"),
        PowerAction::SoftReboot => ("reboot", &[ACTIVE], "rebooting"),
        PowerAction::HardReboot => (
            "reboot",
            &[ACTIVE, STOPPED, PAUSED, SUSPENDED, ERROR],
            "rebooting_hard",
        ),
        PowerAction::Pause => ("pause", &[ACTIVE], "pausing"),
        PowerAction::Unpause => ("unpause", &[PAUSED], "unpausing"),
        PowerAction::Suspend => ("suspend", &[ACTIVE], "suspending"),
        PowerAction::Resume => ("resume", &[SUSPENDED], "resuming"),
    };
    act(
        app,
        who,
        id,
        HostAction {
            name,
            allowed,
            task_state,
            task: AgentTask::Power { action },
        },
    )
    .await
}

/// Accepts the deletion of a server; again is no error.
pub async fn delete(app: &App, who: &RequestContext, id: &str) -> Result<(), ApiError> {
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let Some(mut server) = servers::find(&tx, id)
            .await?
            .filter(|server| server.deleted_at.is_none())
        else {
            return Err(ApiError::not_found(
                "itemNotFound",
                format!("Instance {id} could not be found."),
            ));
        };
        check_unlocked(who, &server)?;
        if server.task_state.as_deref() != Some("deleting") {
            server.row.task_state = Some("deleting".to_owned());
            servers::begin_action(&tx, &server, "delete", &who.request_id, &who.user_id).await?;
            servers::save(&tx, &mut server).await?;
            enqueue(&tx, conductor::SERVER_DELETE, id).await?;
        }
        tx.commit().await?;
        Ok(())
    })
    .await?;
    app.conductor().wake();
    Ok(())
}

/// How long a request waits for a console.
const CONSOLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The console's text, from the host.
pub async fn console_output(
    app: &App,
    server: &Server,
    lines: Option<usize>,
) -> Result<String, ApiError> {
    let Some(host) = &server.host else {
        return Err(ApiError::conflict(
            "conflictingRequest",
            format!("Instance {} is not ready", server.id),
        ));
    };
    if !inventory::agent_is_up(app, host).await? {
        return Err(ApiError::conflict(
            "conflictingRequest",
            format!("The compute service of host {host} is down: its console cannot be read now."),
        ));
    }
    let answer = Uuid::new_v4().to_string();
    enqueue_agent(
        &app.db,
        host,
        &server.id,
        &AgentTask::Console {
            lines,
            answer: answer.clone(),
        },
    )
    .await?;
    app.agent(host).wake();
    let deadline = tokio::time::Instant::now() + CONSOLE_TIMEOUT;
    let mut pause = Duration::from_millis(5);
    while tokio::time::Instant::now() < deadline {
        match answers::take(&app.db, &answer).await? {
            Some(Ok(text)) => return Ok(text),
            Some(Err(message)) => return Err(ApiError::not_found("itemNotFound", message)),
            None => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
    Err(ApiError::unavailable(format!(
        "The host {host} did not answer in time."
    )))
}
