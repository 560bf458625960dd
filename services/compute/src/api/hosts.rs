//! `/os-services`, `/os-hypervisors`, `/os-availability-zone`: the cloud as its administrator sees it.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Page, Path, Query, RequestContext};

use super::{State, bad, conflict, flag, long_time, not_found, required_text, text};
use crate::app::inventory::{is_up, zones as zones_of};
use crate::store::entities::service;
use crate::store::hosts::{self, COMPUTE, Host};
use crate::store::servers::{self, Filter, Usage};

fn service_view(
    app: &State,
    row: &service::Model,
    zones: &BTreeMap<&str, &str>,
    who: &RequestContext,
) -> Value {
    let zone = if row.binary_name == COMPUTE {
        zones
            .get(row.host.as_str())
            .copied()
            .unwrap_or(&app.config.default_availability_zone)
    } else {
        "internal"
    };
    let mut out = json!({
        "id": if who.at_least(2, 53) { json!(row.id) } else { json!(row.number) },
        "binary": row.binary_name, "host": row.host, "zone": zone,
        "status": if row.disabled { "disabled" } else { "enabled" },
        "state": if is_up(app, row) { "up" } else { "down" },
        "updated_at": long_time(row.seen_at), "disabled_reason": row.disabled_reason,
    });
    if who.at_least(2, 11) {
        out["forced_down"] = json!(row.forced_down);
    }
    out
}

/// GET `os-services`, by host and binary.
pub async fn services(
    app: State,
    who: RequestContext,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let aggregates = hosts::aggregates(&app.db).await?;
    let zones = zones_of(&aggregates);
    let rows = hosts::services(&app.db).await?;
    let shown = rows.iter().filter(|row| {
        query.get("host").is_none_or(|host| row.host == host)
            && query
                .get("binary")
                .is_none_or(|binary| row.binary_name == binary)
    });
    Ok(Json(
        json!({"services": shown.map(|row| service_view(&app, row, &zones, &who)).collect::<Vec<_>>()}),
    ))
}

/// PUT `os-services/{id}`: by id from 2.53; before, the word is the action and the body names the service.
pub async fn update_service(
    app: State,
    who: RequestContext,
    Path(word): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let rows = hosts::services(&app.db).await?;
    if who.at_least(2, 53) {
        let mut row = rows
            .into_iter()
            .find(|row| row.id == word)
            .ok_or_else(|| not_found(format!("Service {word} could not be found.")))?;
        if row.binary_name != COMPUTE {
            return Err(bad(format!(
                "Updating a {} service is not supported. Only nova-compute services can be updated.",
                row.binary_name
            )));
        }
        match body["status"].as_str() {
            Some("enabled") => (row.disabled, row.disabled_reason) = (false, None),
            Some("disabled") => {
                (row.disabled, row.disabled_reason) = (true, text(&body, "disabled_reason", 255)?)
            }
            Some(other) => {
                return Err(bad(format!(
                    "Invalid input for field/attribute status. Value: {other}."
                )));
            }
            None => {}
        }
        if let Some(forced) = flag(&body, "forced_down")? {
            row.forced_down = forced;
        }
        hosts::save_service(&app.db, &row).await?;
        let aggregates = hosts::aggregates(&app.db).await?;
        return Ok(Json(
            json!({"service": service_view(&app, &row, &zones_of(&aggregates), &who)}),
        ));
    }
    let (host, binary) = (
        required_text(&body, "host", 255)?,
        required_text(&body, "binary", 255)?,
    );
    let mut row = rows
        .into_iter()
        .find(|row| row.host == host && row.binary_name == binary)
        .ok_or_else(|| not_found(format!("Could not find binary {binary} on host {host}.")))?;
    let mut out = Map::new();
    out.insert("binary".into(), json!(binary));
    out.insert("host".into(), json!(host));
    match word.as_str() {
        "enable" => {
            (row.disabled, row.disabled_reason) = (false, None);
            out.insert("status".into(), json!("enabled"));
        }
        "disable" => {
            (row.disabled, row.disabled_reason) = (true, None);
            out.insert("status".into(), json!("disabled"));
        }
        "disable-log-reason" => {
            let reason = required_text(&body, "disabled_reason", 255)?;
            out.insert("status".into(), json!("disabled"));
            out.insert("disabled_reason".into(), json!(reason));
            (row.disabled, row.disabled_reason) = (true, Some(reason));
        }
        "force-down" if who.at_least(2, 11) => {
            row.forced_down =
                flag(&body, "forced_down")?.ok_or_else(|| bad("Missing parameter forced_down"))?;
            out.insert("forced_down".into(), json!(row.forced_down));
        }
        _ => return Err(not_found("Unknown action")),
    }
    hosts::save_service(&app.db, &row).await?;
    Ok(Json(json!({"service": out})))
}

/// DELETE `os-services/{id}`: with the compute node and its provider, once it has no servers.
pub async fn delete_service(app: State, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let rows = hosts::services(&app.db).await?;
    let row = rows
        .iter()
        .find(|row| row.id == id || row.number.to_string() == id)
        .ok_or_else(|| not_found(format!("Service {id} could not be found.")))?;
    if row.binary_name == COMPUTE {
        let held = servers::list(
            &app.db,
            &Filter {
                host: Some(row.host.clone()),
                ..Filter::default()
            },
        )
        .await?;
        if !held.is_empty() {
            return Err(conflict(
                "Unable to delete compute service that is hosting instances. Migrate or delete the instances first.",
            ));
        }
        if let Some(host) = hosts::find_host(&app.db, &row.host).await? {
            crate::app::claims::forget_host(&app, &host)
                .await
                .map_err(|error| conflict(error.to_string()))?;
            hosts::delete_host(&app.db, &row.host).await?;
        }
    }
    hosts::delete_service(&app.db, row.number).await?;
    Ok(StatusCode::NO_CONTENT)
}

struct Fleet {
    hosts: Vec<Host>,
    services: Vec<service::Model>,
    usage: BTreeMap<String, Usage>,
}

impl Fleet {
    async fn read(app: &State) -> Result<Self, ApiError> {
        Ok(Fleet {
            hosts: hosts::hosts(&app.db).await?,
            services: hosts::services(&app.db).await?,
            usage: servers::usage_by_host(&app.db).await?,
        })
    }

    fn service(&self, host: &Host) -> Option<&service::Model> {
        self.services
            .iter()
            .find(|service| service.binary_name == COMPUTE && service.host == host.host)
    }

    fn short(&self, app: &State, host: &Host, who: &RequestContext) -> Value {
        let service = self.service(host);
        json!({
            "id": if who.at_least(2, 53) { json!(host.id) } else { json!(host.number) },
            "hypervisor_hostname": host.host,
            "state": if service.is_some_and(|service| is_up(app, service)) { "up" } else { "down" },
            "status": if service.is_some_and(|service| service.disabled) { "disabled" } else { "enabled" },
        })
    }

    fn full(&self, app: &State, host: &Host, who: &RequestContext) -> Value {
        let (used, capacity) = (
            self.usage.get(&host.host).copied().unwrap_or_default(),
            &host.capacity,
        );
        let (memory_used, disk_used) = (
            used.memory_mib + app.config.reserved_host_memory_mib,
            used.disk_gib,
        );
        let mut out = self.short(app, host, who);
        let service = self.service(host);
        let more = json!({
            "service": {
                "id": service.map(|service| if who.at_least(2, 53) { json!(service.id) } else { json!(service.number) }),
                "host": host.host,
                "disabled_reason": service.and_then(|service| service.disabled_reason.clone()),
            },
            "host_ip": host.address,
            "hypervisor_type": capacity.hypervisor_type,
            "hypervisor_version": capacity.hypervisor_version,
            "cpu_info": if who.at_least(2, 28) { capacity.cpu_info.clone() } else { json!(capacity.cpu_info.to_string()) },
            "vcpus": capacity.vcpus, "vcpus_used": used.vcpus,
            "memory_mb": capacity.memory_mib, "memory_mb_used": memory_used,
            "free_ram_mb": capacity.memory_mib as i64 - memory_used as i64,
            "local_gb": capacity.disk_gib, "local_gb_used": disk_used,
            "free_disk_gb": capacity.disk_gib as i64 - disk_used as i64,
            "disk_available_least": capacity.disk_free_gib,
            "running_vms": used.instances, "current_workload": 0,
        });
        if let (Some(out), Value::Object(more)) = (out.as_object_mut(), more) {
            out.extend(more);
        }
        out
    }
}

fn with_servers(out: &mut Value, all: &[servers::Server], host: &str) {
    let list: Vec<Value> = all
        .iter()
        .filter(|server| server.host.as_deref() == Some(host))
        .map(|server| json!({"uuid": server.id, "name": server.domain_name()}))
        .collect();
    if !list.is_empty() {
        out["servers"] = json!(list);
    }
}

async fn list(
    app: &State,
    who: &RequestContext,
    query: &Query,
    full: bool,
) -> Result<Json<Value>, ApiError> {
    let fleet = Fleet::read(app).await?;
    let pattern = query
        .get("hypervisor_hostname_pattern")
        .filter(|_| who.at_least(2, 53));
    let chosen: Vec<&Host> = fleet
        .hosts
        .iter()
        .filter(|host| pattern.is_none_or(|pattern| host.host.contains(pattern)))
        .collect();
    if chosen.is_empty() && pattern.is_some() {
        return Err(not_found(format!(
            "No hypervisor matching '{}' could be found.",
            pattern.unwrap_or_default()
        )));
    }
    let (chosen, _) = if who.at_least(2, 33) {
        Page::from_query(query, 1000)?.cut(chosen, |host| host.id.as_str())?
    } else {
        (chosen, false)
    };
    let members = if query.flag("with_servers").unwrap_or(false) && who.at_least(2, 53) {
        servers::list(&app.db, &Filter::default()).await?
    } else {
        Vec::new()
    };
    let shown = chosen.iter().map(|host| {
        let mut out = if full {
            fleet.full(app, host, who)
        } else {
            fleet.short(app, host, who)
        };
        with_servers(&mut out, &members, &host.host);
        out
    });
    Ok(Json(json!({"hypervisors": shown.collect::<Vec<_>>()})))
}

/// GET `os-hypervisors`.
pub async fn hypervisors(
    app: State,
    who: RequestContext,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    list(&app, &who, &query, false).await
}

/// GET `os-hypervisors/detail`.
pub async fn hypervisors_detail(
    app: State,
    who: RequestContext,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    list(&app, &who, &query, true).await
}

/// GET `os-hypervisors/{id}`.
pub async fn show_hypervisor(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let fleet = Fleet::read(&app).await?;
    let host = fleet
        .hosts
        .iter()
        .find(|host| host.id == id || host.number.to_string() == id)
        .ok_or_else(|| not_found(format!("Compute host {id} could not be found.")))?;
    let mut out = fleet.full(&app, host, &who);
    if query.flag("with_servers").unwrap_or(false) && who.at_least(2, 53) {
        with_servers(
            &mut out,
            &servers::list(
                &app.db,
                &Filter {
                    host: Some(host.host.clone()),
                    ..Filter::default()
                },
            )
            .await?,
            &host.host,
        );
    }
    Ok(Json(json!({"hypervisor": out})))
}

/// GET `os-hypervisors/statistics`: sums.
pub async fn statistics(app: State, who: RequestContext) -> Result<Json<Value>, ApiError> {
    let fleet = Fleet::read(&app).await?;
    let all: Vec<Value> = fleet
        .hosts
        .iter()
        .map(|host| fleet.full(&app, host, &who))
        .collect();
    let mut out = Map::new();
    for name in [
        "vcpus",
        "vcpus_used",
        "memory_mb",
        "memory_mb_used",
        "free_ram_mb",
        "local_gb",
        "local_gb_used",
        "free_disk_gb",
        "disk_available_least",
        "running_vms",
        "current_workload",
    ] {
        out.insert(
            name.to_owned(),
            json!(
                all.iter()
                    .filter_map(|host| host[name].as_i64())
                    .sum::<i64>()
            ),
        );
    }
    out.insert("count".into(), json!(all.len()));
    Ok(Json(json!({"hypervisor_statistics": out})))
}

/// GET `os-hypervisors/{pattern}/search`.
pub async fn search(
    app: State,
    who: RequestContext,
    Path(pattern): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let fleet = Fleet::read(&app).await?;
    let shown: Vec<Value> = fleet
        .hosts
        .iter()
        .filter(|host| host.host.contains(&pattern))
        .map(|host| fleet.short(&app, host, &who))
        .collect();
    if shown.is_empty() {
        return Err(not_found(format!(
            "No hypervisor matching '{pattern}' could be found."
        )));
    }
    Ok(Json(json!({"hypervisors": shown})))
}

/// GET `os-hypervisors/{pattern}/servers`.
pub async fn hypervisor_servers(
    app: State,
    who: RequestContext,
    Path(pattern): Path<String>,
) -> Result<Response, ApiError> {
    let fleet = Fleet::read(&app).await?;
    let members = servers::list(&app.db, &Filter::default()).await?;
    let shown: Vec<Value> = fleet
        .hosts
        .iter()
        .filter(|host| host.host.contains(&pattern))
        .map(|host| {
            let mut out = fleet.short(&app, host, &who);
            with_servers(&mut out, &members, &host.host);
            out
        })
        .collect();
    if shown.is_empty() {
        return Err(not_found(format!(
            "No hypervisor matching '{pattern}' could be found."
        )));
    }
    Ok(Json(json!({"hypervisors": shown})).into_response())
}

/// GET `os-availability-zone`.
pub async fn zones(app: State) -> Result<Json<Value>, ApiError> {
    zone_list(&app, false).await
}

/// GET `os-availability-zone/detail`.
pub async fn zones_detail(app: State) -> Result<Json<Value>, ApiError> {
    zone_list(&app, true).await
}

async fn zone_list(app: &State, detail: bool) -> Result<Json<Value>, ApiError> {
    let (aggregates, rows) = (
        hosts::aggregates(&app.db).await?,
        hosts::services(&app.db).await?,
    );
    let zones = zones_of(&aggregates);
    let mut by_zone: BTreeMap<&str, (bool, Map<String, Value>)> = BTreeMap::new();
    let mut inside = Map::new();
    for row in &rows {
        let entry = json!({row.binary_name.clone(): {"created_at": Value::Null, "updated_at": long_time(row.seen_at), "active": !row.disabled, "available": is_up(app, row)}});
        if row.binary_name != COMPUTE {
            let services = inside.entry(row.host.clone()).or_insert_with(|| json!({}));
            services[&row.binary_name] = entry[&row.binary_name].clone();
            continue;
        }
        let zone = zones
            .get(row.host.as_str())
            .copied()
            .unwrap_or(&app.config.default_availability_zone);
        let slot = by_zone.entry(zone).or_default();
        slot.0 |= !row.disabled && is_up(app, row);
        slot.1.insert(row.host.clone(), entry);
    }
    let mut out: Vec<Value> = Vec::new();
    if detail && !inside.is_empty() {
        out.push(
            json!({"zoneName": "internal", "zoneState": {"available": true}, "hosts": inside}),
        );
    }
    let names: BTreeSet<&str> = by_zone.keys().copied().collect();
    for name in names {
        let Some((available, hosts)) = by_zone.remove(name) else {
            continue;
        };
        out.push(json!({"zoneName": name, "zoneState": {"available": available}, "hosts": if detail { Value::Object(hosts) } else { Value::Null }}));
    }
    Ok(Json(json!({"availabilityZoneInfo": out})))
}
