//! What hangs below one server: addresses, metadata, tags, interfaces, actions.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use service_kit::request::base_url;
use service_kit::{ApiError, Json, Path, RequestContext};

use super::views::View;
use super::{State, bad, conflict, long_time, not_found};
use crate::agent::protocol::AgentTask;
use crate::app::conductor::change;
use crate::app::ports;
use crate::app::servers::{HostAction, act, check_unlocked, find};
use crate::hypervisor::Interface;
use crate::store::servers::{self as store, Server, vm_state};

async fn addresses(
    app: &State,
    who: &RequestContext,
    headers: &HeaderMap,
    id: &str,
) -> Result<serde_json::Map<String, Value>, ApiError> {
    let server = find(app, who, id).await?;
    let floating = ports::floating_ips(app, Some(&server.project_id)).await;
    let base = base_url(headers, &app.public_url);
    let mut all = View {
        base: &base,
        who,
        floating: &floating,
    }
    .addresses(&server);
    for list in all.values_mut() {
        for address in list.as_array_mut().into_iter().flatten() {
            *address = json!({"addr": address["addr"], "version": address["version"]});
        }
    }
    Ok(all)
}

/// GET `ips`.
pub async fn ips(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(
        json!({"addresses": addresses(&app, &who, &headers, &id).await?}),
    ))
}

/// GET `ips/{label}`.
pub async fn ips_of(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    Path((id, label)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let mut all = addresses(&app, &who, &headers, &id).await?;
    let list = all
        .remove(&label)
        .ok_or_else(|| not_found("Instance is not a member of specified network"))?;
    Ok(Json(json!({label: list})))
}

/// GET `metadata`.
pub async fn metadata(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(
        json!({"metadata": find(&app, &who, &id).await?.doc.metadata}),
    ))
}

async fn write_metadata(
    app: &State,
    who: &RequestContext,
    id: &str,
    new: &Value,
    replace: bool,
) -> Result<Json<Value>, ApiError> {
    check_unlocked(who, &find(app, who, id).await?)?;
    let new = super::servers::metadata(new)?;
    let server = change(app, id, |server| {
        if replace {
            server.doc.metadata.clear();
        }
        server.doc.metadata.extend(new.clone());
    })
    .await?;
    Ok(Json(json!({"metadata": server.doc.metadata})))
}

/// POST `metadata`: adds.
pub async fn add_metadata(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    write_metadata(&app, &who, &id, &body["metadata"], false).await
}

/// PUT `metadata`: replaces.
pub async fn replace_metadata(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    write_metadata(&app, &who, &id, &body["metadata"], true).await
}

/// GET `metadata/{key}`.
pub async fn metadata_item(
    app: State,
    who: RequestContext,
    Path((id, key)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let server = find(&app, &who, &id).await?;
    let value = server
        .doc
        .metadata
        .get(&key)
        .ok_or_else(|| not_found("Metadata item was not found"))?;
    Ok(Json(json!({"meta": {key: value}})))
}

/// PUT `metadata/{key}`.
pub async fn set_metadata_item(
    app: State,
    who: RequestContext,
    Path((id, key)): Path<(String, String)>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    if body["meta"]
        .as_object()
        .is_none_or(|meta| meta.len() != 1 || !meta.contains_key(&key))
    {
        return Err(bad("Request body and URI mismatch"));
    }
    write_metadata(&app, &who, &id, &body["meta"], false).await?;
    Ok(Json(json!({"meta": body["meta"]})))
}

/// DELETE `metadata/{key}`.
pub async fn delete_metadata_item(
    app: State,
    who: RequestContext,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let server = find(&app, &who, &id).await?;
    check_unlocked(&who, &server)?;
    if !server.doc.metadata.contains_key(&key) {
        return Err(not_found("Metadata item was not found"));
    }
    change(&app, &id, |server| {
        server.doc.metadata.remove(&key);
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_tag(tag: &str) -> Result<(), ApiError> {
    if tag.is_empty() || tag.chars().count() > 60 || tag.contains(['/', ',']) {
        return Err(bad(format!(
            "Invalid tag `{tag}`: 1 to 60 characters without '/' and ','."
        )));
    }
    Ok(())
}

/// GET `tags`.
pub async fn tags(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"tags": find(&app, &who, &id).await?.doc.tags})))
}

/// PUT `tags`.
pub async fn replace_tags(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &who, &id).await?;
    let tags = super::servers::strings(&body["tags"])?;
    tags.iter().try_for_each(|tag| check_tag(tag))?;
    let server = change(&app, &id, |server| {
        server.doc.tags = tags.iter().cloned().collect()
    })
    .await?;
    Ok(Json(json!({"tags": server.doc.tags})))
}

/// DELETE `tags`.
pub async fn delete_tags(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    find(&app, &who, &id).await?;
    change(&app, &id, |server| server.doc.tags.clear()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// GET `tags/{tag}`.
pub async fn show_tag(
    app: State,
    who: RequestContext,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let server = find(&app, &who, &id).await?;
    if server.doc.tags.contains(&tag) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(not_found(format!("Server {id} has no tag '{tag}'")))
    }
}

/// PUT `tags/{tag}`.
pub async fn add_tag(
    app: State,
    who: RequestContext,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let server = find(&app, &who, &id).await?;
    check_tag(&tag)?;
    if server.doc.tags.contains(&tag) {
        return Ok(StatusCode::NO_CONTENT);
    }
    change(&app, &id, |server| {
        server.doc.tags.insert(tag.clone());
    })
    .await?;
    Ok(StatusCode::CREATED)
}

/// DELETE `tags/{tag}`.
pub async fn delete_tag(
    app: State,
    who: RequestContext,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let server = find(&app, &who, &id).await?;
    if !server.doc.tags.contains(&tag) {
        return Err(not_found(format!("Server {id} has no tag '{tag}'")));
    }
    change(&app, &id, |server| {
        server.doc.tags.remove(&tag);
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// GET `os-security-groups`: the groups of the server's ports.
pub async fn security_groups(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &who, &id).await?;
    let ports = ports::of_server(&app, &id)
        .await
        .map_err(|error| ApiError::unavailable(error.to_string()))?;
    let groups = app
        .client
        .with_token(&who.secret)
        .get("network", "/v2.0/security-groups")
        .await?;
    let used = groups["security_groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|group| {
            ports
                .iter()
                .any(|port| port.security_groups.iter().any(|id| group["id"] == **id))
        });
    let shown: Vec<Value> = used.map(|group| json!({"id": group["id"], "name": group["name"], "description": group["description"], "tenant_id": group["project_id"], "rules": []})).collect();
    Ok(Json(json!({"security_groups": shown})))
}

fn interface_view(interface: &Interface, state: &str) -> Value {
    json!({
        "port_id": interface.port_id, "net_id": interface.network_id, "mac_addr": interface.mac, "port_state": state,
        "fixed_ips": interface.fixed_ips.iter().map(|ip| json!({"subnet_id": ip.subnet_id, "ip_address": ip.address})).collect::<Vec<_>>(),
    })
}

async fn plugged(app: &State, server: &Server) -> Result<Vec<Value>, ApiError> {
    let ports = ports::of_server(app, &server.id)
        .await
        .map_err(|error| ApiError::unavailable(error.to_string()))?;
    Ok(server
        .doc
        .interfaces
        .iter()
        .map(|interface| {
            let state = ports
                .iter()
                .find(|port| port.id == interface.port_id)
                .map_or("DOWN", |port| port.status.as_str());
            interface_view(interface, state)
        })
        .collect())
}

/// GET `os-interface`.
pub async fn interfaces(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let server = find(&app, &who, &id).await?;
    Ok(Json(
        json!({"interfaceAttachments": plugged(&app, &server).await?}),
    ))
}

/// GET `os-interface/{port}`.
pub async fn show_interface(
    app: State,
    who: RequestContext,
    Path((id, port)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let server = find(&app, &who, &id).await?;
    let found = plugged(&app, &server)
        .await?
        .into_iter()
        .find(|interface| interface["port_id"] == *port);
    found
        .map(|interface| Json(json!({"interfaceAttachment": interface})))
        .ok_or_else(|| not_found(format!("Port id {port} could not be found.")))
}

const PLUGGABLE: &[&str] = &[vm_state::ACTIVE, vm_state::STOPPED, vm_state::PAUSED];

/// POST `os-interface`: an existing port, or a new one on a network.
pub async fn attach_interface(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let server = find(&app, &who, &id).await?;
    check_unlocked(&who, &server)?;
    if server.task_state.is_some() || !PLUGGABLE.contains(&server.vm_state.as_str()) {
        return Err(conflict(format!(
            "Cannot 'attach_interface' instance {id} while it is in vm_state {}",
            server.vm_state
        )));
    }
    let wanted = &body["interfaceAttachment"];
    let user = app.client.with_token(&who.secret);
    let (port_id, owned) = match (wanted["port_id"].as_str(), wanted["net_id"].as_str()) {
        (Some(port), _) => (port.to_owned(), false),
        (None, Some(network)) => {
            let mut port = json!({"network_id": network, "device_id": id, "project_id": server.project_id, "admin_state_up": true});
            if let Some(address) = wanted["fixed_ips"][0]["ip_address"].as_str() {
                port["fixed_ips"] = json!([{"ip_address": address}]);
            }
            let made = app
                .client
                .post("network", "/v2.0/ports", &json!({"port": port}))
                .await
                .map_err(|error| bad(error.message()))?;
            (
                made["port"]["id"].as_str().unwrap_or_default().to_owned(),
                true,
            )
        }
        (None, None) => return Err(bad("Either port_id or net_id is needed.")),
    };
    let port = ports::find(&user, &port_id)
        .await
        .map_err(|error| not_found(error.message()))?;
    let ours = owned && port.device_id == id;
    if !port.device_id.is_empty() && !ours {
        return Err(bad(format!("Port {port_id} is still in use.")));
    }
    let binding = json!({"port": {
        "device_id": id, "binding:host_id": server.host,
        "device_owner": format!("compute:{}", server.doc.zone.as_deref().unwrap_or(&app.config.default_availability_zone)),
    }});
    app.client
        .put("network", &format!("/v2.0/ports/{port_id}"), &binding)
        .await
        .map_err(|error| bad(error.message()))?;
    let described = ports::describe(&app, &[(port, owned)])
        .await
        .map_err(|error| ApiError::unavailable(error.to_string()))?;
    let Some(interface) = described.into_iter().next() else {
        return Err(ApiError::internal("the port could not be described"));
    };
    // The record first: whatever happens later, the port is known to be the server's.
    change(&app, &id, |server| {
        if !server
            .doc
            .interfaces
            .iter()
            .any(|known| known.port_id == interface.port_id)
        {
            server.doc.interfaces.push(interface.clone());
        }
    })
    .await?;
    let action = HostAction {
        name: "attach_interface",
        allowed: PLUGGABLE,
        task_state: "attaching_interface",
        task: AgentTask::AttachInterface {
            interface: interface.clone(),
        },
    };
    act(&app, &who, &id, action).await?;
    Ok(Json(
        json!({"interfaceAttachment": interface_view(&interface, "DOWN")}),
    ))
}

/// DELETE `os-interface/{port}`.
pub async fn detach_interface(
    app: State,
    who: RequestContext,
    Path((id, port)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let server = find(&app, &who, &id).await?;
    let interface = server
        .doc
        .interfaces
        .iter()
        .find(|interface| interface.port_id.to_string() == port)
        .cloned();
    let interface =
        interface.ok_or_else(|| not_found(format!("Port id {port} could not be found.")))?;
    let action = HostAction {
        name: "detach_interface",
        allowed: PLUGGABLE,
        task_state: "detaching_interface",
        task: AgentTask::DetachInterface { interface },
    };
    act(&app, &who, &id, action).await?;
    Ok(StatusCode::ACCEPTED)
}

/// GET `os-volume_attachments`: none yet.
pub async fn volumes(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &who, &id).await?;
    Ok(Json(json!({"volumeAttachments": []})))
}

/// GET `migrations`: none is ever in progress.
pub async fn migrations(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &who, &id).await?;
    Ok(Json(json!({"migrations": []})))
}

fn action_view(row: &crate::store::entities::action::Model, who: &RequestContext) -> Value {
    let failed = !row.message.is_empty();
    let mut out = json!({
        "action": row.action, "instance_uuid": row.server_id, "request_id": row.request_id, "user_id": row.user_id,
        "project_id": row.project_id, "start_time": long_time(row.started_at), "message": if failed { json!("Error") } else { Value::Null },
    });
    if who.at_least(2, 58) {
        out["updated_at"] = json!(long_time(row.finished_at.unwrap_or(row.started_at)));
    }
    out
}

/// GET `os-instance-actions`.
pub async fn actions(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&app, &who, &id).await?;
    let rows = store::actions(&app.db, &id).await?;
    Ok(Json(
        json!({"instanceActions": rows.iter().map(|row| action_view(row, &who)).collect::<Vec<_>>()}),
    ))
}

/// GET `os-instance-actions/{request}`.
pub async fn show_action(
    app: State,
    who: RequestContext,
    Path((id, request)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    find(&app, &who, &id).await?;
    let rows = store::actions(&app.db, &id).await?;
    let row = rows
        .iter()
        .find(|row| row.request_id == request)
        .ok_or_else(|| {
            not_found(format!(
                "Action for request_id {request} on instance {id} not found"
            ))
        })?;
    let mut out = action_view(row, &who);
    let mut event = json!({
        "event": format!("compute_{}_instance", row.action), "start_time": long_time(row.started_at), "finish_time": row.finished_at.map(long_time),
        "result": row.finished_at.map(|_| if row.message.is_empty() { "Success" } else { "Error" }),
    });
    if who.is_admin {
        event["traceback"] = if row.message.is_empty() {
            Value::Null
        } else {
            json!(row.message)
        };
        event["host"] = json!(row.host);
    }
    out["events"] = json!([event]);
    Ok(Json(json!({"instanceAction": out})).into_response())
}
