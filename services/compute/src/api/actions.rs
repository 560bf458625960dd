//! `POST /servers/{id}/action`: one key names the action.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, RequestContext};

use super::{State, bad, conflict, number, required_text, text};
use crate::agent::protocol::AgentTask;
use crate::app::conductor::change;
use crate::app::servers::{self, HostAction, check_unlocked};
use crate::hypervisor::PowerAction;
use crate::store::servers::{Server, vm_state};

/// POST.
pub async fn act(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    let server = servers::find(&app, &who, &id).await?;
    let mut keys = body.as_object().into_iter().flatten();
    let (Some((name, arguments)), None) = (keys.next(), keys.next()) else {
        return Err(bad("The request body must name exactly one action."));
    };
    let accepted = StatusCode::ACCEPTED.into_response();
    let power = match name.as_str() {
        "os-start" => PowerAction::Start,
        "os-stop" => PowerAction::Stop,
        "pause" => PowerAction::Pause,
        "unpause" => PowerAction::Unpause,
        "suspend" => PowerAction::Suspend,
        "resume" => PowerAction::Resume,
        "reboot" => match arguments["type"]
            .as_str()
            .unwrap_or_default()
            .to_ascii_uppercase()
            .as_str()
        {
            "SOFT" => PowerAction::SoftReboot,
            "HARD" => PowerAction::HardReboot,
            other => {
                return Err(bad(format!(
                    "Invalid input for field/attribute type. Value: {other}. It is not one of ['HARD', 'Hard', 'hard', 'SOFT', 'Soft', 'soft']"
                )));
            }
        },
        "lock" => {
            let reason = text(arguments, "locked_reason", 255)?;
            let by = if who.is_admin && server.project_id != who.project_id {
                "admin"
            } else {
                "owner"
            };
            change(&app, &id, |server| {
                server.doc.locked_by = Some(by.to_owned());
                server.doc.locked_reason = reason.clone();
            })
            .await?;
            return Ok(accepted);
        }
        "unlock" => {
            if server.doc.locked_by.as_deref() == Some("admin") && !who.is_admin {
                return Err(ApiError::policy(
                    "os_compute_api:os-lock-server:unlock:unlock_override",
                ));
            }
            change(&app, &id, |server| {
                server.doc.locked_by = None;
                server.doc.locked_reason = None;
            })
            .await?;
            return Ok(accepted);
        }
        "os-resetState" => return reset_state(&app, &who, &id, arguments).await,
        "os-getConsoleOutput" => {
            let lines = number(arguments, "length")?.and_then(|lines| usize::try_from(lines).ok());
            return Ok(Json(
                json!({"output": servers::console_output(&app, &server, lines).await?}),
            )
            .into_response());
        }
        "forceDelete" => {
            servers::delete(&app, &who, &id).await?;
            return Ok(accepted);
        }
        "addSecurityGroup" | "removeSecurityGroup" => {
            check_unlocked(&who, &server)?;
            security_group(&app, &who, &server, arguments, name == "addSecurityGroup").await?;
            return Ok(accepted);
        }
        "createImage" => return create_image(&app, &who, &server, arguments).await,
        _ => return Err(bad(format!("There is no such action: {name}"))),
    };
    servers::power(&app, &who, &id, power).await?;
    Ok(accepted)
}

async fn reset_state(
    app: &State,
    who: &RequestContext,
    id: &str,
    arguments: &Value,
) -> Result<Response, ApiError> {
    if !who.is_admin {
        return Err(ApiError::policy(
            "os_compute_api:os-admin-actions:reset_state",
        ));
    }
    let state = match arguments["state"].as_str() {
        Some("active") => vm_state::ACTIVE,
        Some("error") => vm_state::ERROR,
        _ => {
            return Err(bad(
                "Invalid input for field/attribute state. It is not one of ['active', 'error']",
            ));
        }
    };
    change(app, id, |server| {
        server.row.vm_state = state.to_owned();
        server.row.task_state = None;
    })
    .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Changes the groups of every port of the server, as its user.
async fn security_group(
    app: &State,
    who: &RequestContext,
    server: &Server,
    arguments: &Value,
    add: bool,
) -> Result<(), ApiError> {
    let wanted = required_text(arguments, "name", 255)?;
    let user = app.client.with_token(&who.secret);
    let groups = user.get("network", "/v2.0/security-groups").await?;
    let all = groups["security_groups"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mine = |group: &&Value| {
        who.is_admin
            || group["project_id"] == *who.project_id
            || group["tenant_id"] == *who.project_id
    };
    let found = all
        .iter()
        .filter(mine)
        .find(|group| group["id"] == *wanted || group["name"] == *wanted);
    let Some((id, name)) = found.and_then(|group| {
        Some((
            group["id"].as_str()?.to_owned(),
            group["name"].as_str()?.to_owned(),
        ))
    }) else {
        return Err(super::not_found(format!(
            "Security group {wanted} not found for project {}.",
            who.project_id
        )));
    };
    let ports = crate::app::ports::of_server(app, &server.id)
        .await
        .map_err(|error| ApiError::unavailable(error.to_string()))?;
    if ports.is_empty() {
        return Err(bad(format!(
            "Instance {} has no port to which a security group could be added.",
            server.id
        )));
    }
    for port in ports {
        let mut groups = port.security_groups.clone();
        groups.retain(|group| *group != id);
        if add {
            groups.push(id.clone());
        }
        if groups != port.security_groups {
            user.put(
                "network",
                &format!("/v2.0/ports/{}", port.id),
                &json!({"port": {"security_groups": groups}}),
            )
            .await?;
        }
    }
    change(app, &server.id, |server| {
        let names = &mut server.doc.security_groups;
        if names.is_empty() {
            names.push("default".to_owned());
        }
        names.retain(|known| *known != name && *known != id);
        if add {
            names.push(name.clone());
        }
    })
    .await?;
    Ok(())
}

async fn create_image(
    app: &State,
    who: &RequestContext,
    server: &Server,
    arguments: &Value,
) -> Result<Response, ApiError> {
    let name = required_text(arguments, "name", 255)?;
    if !matches!(
        server.vm_state.as_str(),
        vm_state::ACTIVE | vm_state::STOPPED | vm_state::PAUSED | vm_state::SUSPENDED
    ) || server.task_state.is_some()
    {
        return Err(conflict(format!(
            "Cannot 'createImage' instance {} while it is in vm_state {}",
            server.id, server.vm_state
        )));
    }
    let mut image = json!({
        "name": name, "disk_format": "qcow2", "container_format": "bare", "visibility": "private",
        "min_disk": server.doc.flavor.disk, "instance_uuid": server.id, "image_type": "snapshot",
        "base_image_ref": server.image_id,
    });
    for (key, value) in super::servers::metadata(&arguments["metadata"])? {
        image[key] = json!(value);
    }
    let made = app
        .client
        .with_token(&who.secret)
        .post("image", "/v2/images", &image)
        .await?;
    let image_id = made["id"].as_str().unwrap_or_default().to_owned();
    let action = HostAction {
        name: "createImage",
        allowed: &[
            vm_state::ACTIVE,
            vm_state::STOPPED,
            vm_state::PAUSED,
            vm_state::SUSPENDED,
        ],
        task_state: "image_snapshot",
        task: AgentTask::Snapshot {
            image_id: image_id.clone(),
        },
    };
    if let Err(error) = servers::act(app, who, &server.id, action).await {
        // The image would wait for its data for ever.
        let _ = app
            .client
            .with_token(&who.secret)
            .delete("image", &format!("/v2/images/{image_id}"))
            .await;
        return Err(error);
    }
    if who.at_least(2, 45) {
        return Ok((StatusCode::ACCEPTED, Json(json!({"image_id": image_id}))).into_response());
    }
    let endpoint = app.client.endpoint("image").await.unwrap_or_default();
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, format!("{endpoint}/images/{image_id}"))],
    )
        .into_response())
}
