//! Limits, quotas, usage, and server groups of projects.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext};
use uuid::Uuid;

use super::{State, bad, long_time, not_found, number, required_text};
use crate::store::entities::group;
use crate::store::flavors::{self, DEFAULT_QUOTAS};
use crate::store::now;
use crate::store::servers::{self, Filter, Server};

async fn used(app: &State, project: &str) -> Result<BTreeMap<&'static str, u64>, ApiError> {
    let usage = servers::usage_of_project(&app.db, project).await?;
    let groups = flavors::groups(&app.db, Some(project)).await?.len() as u64;
    Ok([
        ("instances", usage.instances),
        ("cores", usage.vcpus),
        ("ram", usage.memory_mib),
        ("server_groups", groups),
    ]
    .into())
}

/// GET `limits`.
pub async fn limits(
    app: State,
    who: RequestContext,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let project = match query.get("tenant_id") {
        Some(project) if who.owns(project) => project.to_owned(),
        Some(_) => return Err(ApiError::policy("os_compute_api:limits:other_project")),
        None => who.project_id.clone(),
    };
    let (limits, used) = (
        flavors::quotas(&app.db, &project).await?,
        used(&app, &project).await?,
    );
    let limit = |name: &str| limits.get(name).copied().unwrap_or(-1);
    let used = |name: &str| used.get(name).copied().unwrap_or(0);
    let mut absolute = json!({
        "maxTotalInstances": limit("instances"), "totalInstancesUsed": used("instances"),
        "maxTotalCores": limit("cores"), "totalCoresUsed": used("cores"),
        "maxTotalRAMSize": limit("ram"), "totalRAMUsed": used("ram"),
        "maxTotalKeypairs": limit("key_pairs"), "maxServerMeta": limit("metadata_items"),
        "maxServerGroups": limit("server_groups"), "totalServerGroupsUsed": used("server_groups"),
        "maxServerGroupMembers": limit("server_group_members"),
    });
    if !who.at_least(2, 39) {
        absolute["maxImageMeta"] = json!(limit("metadata_items"));
    }
    if !who.at_least(2, 57) {
        absolute["maxPersonality"] = json!(limit("injected_files"));
        absolute["maxPersonalitySize"] = json!(10_240);
    }
    if !who.at_least(2, 36) {
        for (name, value) in [
            ("maxSecurityGroups", -1),
            ("maxSecurityGroupRules", -1),
            ("maxTotalFloatingIps", -1),
            ("totalSecurityGroupsUsed", 0),
            ("totalFloatingIpsUsed", 0),
        ] {
            absolute[name] = json!(value);
        }
    }
    Ok(Json(json!({"limits": {"rate": [], "absolute": absolute}})))
}

fn quota_set(who: &RequestContext, id: Option<&str>, values: impl Fn(&str) -> Value) -> Value {
    let mut out = Map::new();
    if let Some(id) = id {
        out.insert("id".into(), json!(id));
    }
    for (name, _) in DEFAULT_QUOTAS {
        if name != "injected_files" || !who.at_least(2, 57) {
            out.insert(name.to_owned(), values(name));
        }
    }
    json!({"quota_set": out})
}

fn may_see(who: &RequestContext, project: &str) -> Result<(), ApiError> {
    if who.owns(project) {
        Ok(())
    } else {
        Err(ApiError::policy("os_compute_api:os-quota-sets:show"))
    }
}

/// GET `os-quota-sets/{id}`.
pub async fn quotas(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    may_see(&who, &id)?;
    let limits = flavors::quotas(&app.db, &id).await?;
    Ok(Json(quota_set(&who, Some(&id), |name| {
        json!(limits.get(name))
    })))
}

/// GET `os-quota-sets/{id}/defaults`.
pub async fn default_quotas(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let limits = flavors::quotas(&app.db, "default").await?;
    Ok(Json(quota_set(&who, Some(&id), |name| {
        json!(limits.get(name))
    })))
}

/// GET `os-quota-sets/{id}/detail`.
pub async fn quotas_detail(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    may_see(&who, &id)?;
    let (limits, used) = (flavors::quotas(&app.db, &id).await?, used(&app, &id).await?);
    Ok(Json(quota_set(
        &who,
        Some(&id),
        |name| json!({"limit": limits.get(name), "in_use": used.get(name).copied().unwrap_or(0), "reserved": 0}),
    )))
}

/// PUT `os-quota-sets/{id}`.
pub async fn set_quotas(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let wanted = body["quota_set"]
        .as_object()
        .ok_or_else(|| bad("Invalid input: 'quota_set' is a required property"))?;
    let used = used(&app, &id).await?;
    let force = super::flag(&body["quota_set"], "force")?.unwrap_or(false);
    for name in wanted
        .keys()
        .filter(|name| !["force", "tenant_id", "user_id"].contains(&name.as_str()))
    {
        if !DEFAULT_QUOTAS.iter().any(|(known, _)| known == name) {
            return Err(bad(format!(
                "Invalid input: Additional properties are not allowed ('{name}' was unexpected)"
            )));
        }
        let Some(limit) = number(&body["quota_set"], name)? else {
            continue;
        };
        let in_use = used.get(name.as_str()).copied().unwrap_or(0) as i64;
        if limit < -1 || (limit >= 0 && limit < in_use && !force) {
            return Err(bad(format!(
                "Quota limit {limit} for {name} must be greater than or equal to already used and reserved {in_use}."
            )));
        }
        flavors::set_quota(&app.db, &id, name, limit).await?;
    }
    let limits = flavors::quotas(&app.db, &id).await?;
    Ok(Json(quota_set(&who, None, |name| json!(limits.get(name)))))
}

/// DELETE `os-quota-sets/{id}`.
pub async fn delete_quotas(app: State, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    flavors::delete_quotas(&app.db, &id).await?;
    Ok(StatusCode::ACCEPTED)
}

fn period(query: &Query) -> Result<(i64, i64), ApiError> {
    let parse = |name: &str| -> Result<Option<i64>, ApiError> {
        let Some(text) = query.get(name) else {
            return Ok(None);
        };
        let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
        let time = formats
            .iter()
            .find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok());
        let time = time.or_else(|| {
            chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .ok()?
                .and_hms_opt(0, 0, 0)
        });
        time.map(|time| Some(time.and_utc().timestamp_millis()))
            .ok_or_else(|| bad(format!("Invalid time `{text}` for {name}.")))
    };
    let end = parse("end")?.unwrap_or_else(now);
    let start = parse("start")?.unwrap_or(end);
    if start > end {
        return Err(bad(
            "Invalid start time. The start time cannot occur after the end time.",
        ));
    }
    Ok((start, end))
}

fn usage_of(servers: &[&Server], project: &str, (start, end): (i64, i64), detailed: bool) -> Value {
    let (mut hours_sum, mut vcpu, mut memory, mut disk) = (0.0, 0.0, 0.0, 0.0);
    let mut list = Vec::new();
    for server in servers {
        let from = server
            .doc
            .launched_at
            .unwrap_or(server.created_at)
            .max(start);
        let to = server.deleted_at.unwrap_or(end).min(end);
        let hours = (to - from).max(0) as f64 / 3_600_000.0;
        hours_sum += hours;
        vcpu += hours * f64::from(server.vcpus);
        memory += hours * server.memory_mib as f64;
        disk += hours * server.disk_gib as f64;
        list.push(json!({
            "instance_id": server.id, "name": server.name, "tenant_id": server.project_id, "flavor": server.doc.flavor.name,
            "hours": hours, "vcpus": server.vcpus, "memory_mb": server.memory_mib, "local_gb": server.disk_gib, "state": server.vm_state,
            "started_at": long_time(server.created_at), "ended_at": server.deleted_at.map(long_time),
            "uptime": (server.deleted_at.unwrap_or_else(now) - server.created_at) / 1000,
        }));
    }
    let mut out = json!({
        "tenant_id": project, "start": long_time(start), "stop": long_time(end), "total_hours": hours_sum,
        "total_vcpus_usage": vcpu, "total_memory_mb_usage": memory, "total_local_gb_usage": disk,
    });
    if detailed {
        out["server_usages"] = json!(list);
    }
    out
}

async fn lived(
    app: &State,
    project: Option<&str>,
    (start, end): (i64, i64),
) -> Result<Vec<Server>, ApiError> {
    let mut all = servers::list(
        &app.db,
        &Filter {
            project_id: project.map(str::to_owned),
            ..Filter::default()
        },
    )
    .await?;
    all.extend(
        servers::list(
            &app.db,
            &Filter {
                project_id: project.map(str::to_owned),
                deleted: true,
                ..Filter::default()
            },
        )
        .await?,
    );
    all.retain(|server| server.created_at <= end && server.deleted_at.is_none_or(|at| at >= start));
    Ok(all)
}

/// GET `os-simple-tenant-usage`.
pub async fn usages(app: State, query: Query) -> Result<Json<Value>, ApiError> {
    let period = period(&query)?;
    let all = lived(&app, None, period).await?;
    let mut by_project: BTreeMap<&str, Vec<&Server>> = BTreeMap::new();
    for server in &all {
        by_project
            .entry(server.project_id.as_str())
            .or_default()
            .push(server);
    }
    let detailed = query.flag("detailed").unwrap_or(false);
    Ok(Json(
        json!({"tenant_usages": by_project.iter().map(|(project, servers)| usage_of(servers, project, period, detailed)).collect::<Vec<_>>()}),
    ))
}

/// GET `os-simple-tenant-usage/{id}`.
pub async fn usage(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    if !who.owns(&id) {
        return Err(ApiError::policy(
            "os_compute_api:os-simple-tenant-usage:show",
        ));
    }
    let period = period(&query)?;
    let all = lived(&app, Some(&id), period).await?;
    if all.is_empty() {
        return Ok(Json(json!({"tenant_usage": {}})));
    }
    Ok(Json(
        json!({"tenant_usage": usage_of(&all.iter().collect::<Vec<_>>(), &id, period, true)}),
    ))
}

async fn group_view(
    app: &State,
    who: &RequestContext,
    group: &group::Model,
) -> Result<Value, ApiError> {
    let members = servers::list(
        &app.db,
        &Filter {
            project_id: Some(group.project_id.clone()),
            ..Filter::default()
        },
    )
    .await?;
    let members: Vec<&str> = members
        .iter()
        .filter(|server| server.doc.group.as_ref() == Some(&group.id))
        .map(|server| server.id.as_str())
        .collect();
    let mut out = json!({"id": group.id, "name": group.name, "members": members});
    if who.at_least(2, 64) {
        out["policy"] = json!(group.policy);
        out["rules"] = json!({});
    } else {
        out["policies"] = json!([group.policy]);
        out["metadata"] = json!({});
    }
    if who.at_least(2, 13) {
        out["project_id"] = json!(group.project_id);
        out["user_id"] = json!(group.user_id);
    }
    Ok(out)
}

/// GET `os-server-groups`.
pub async fn groups(
    app: State,
    who: RequestContext,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let all = who.is_admin && query.flag("all_projects").unwrap_or(false);
    let mut out = Vec::new();
    for group in flavors::groups(&app.db, if all { None } else { Some(&who.project_id) }).await? {
        out.push(group_view(&app, &who, &group).await?);
    }
    Ok(Json(json!({"server_groups": out})))
}

async fn find_group(app: &State, who: &RequestContext, id: &str) -> Result<group::Model, ApiError> {
    match flavors::find_group(&app.db, id).await? {
        Some(group) if who.owns(&group.project_id) => Ok(group),
        _ => Err(not_found(format!(
            "Instance group {id} could not be found."
        ))),
    }
}

/// GET of one.
pub async fn show_group(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let group = find_group(&app, &who, &id).await?;
    Ok(Json(
        json!({"server_group": group_view(&app, &who, &group).await?}),
    ))
}

/// POST.
pub async fn create_group(
    app: State,
    who: RequestContext,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let wanted = &body["server_group"];
    let policy = if who.at_least(2, 64) {
        &wanted["policy"]
    } else {
        &wanted["policies"][0]
    };
    let policy = policy.as_str().filter(|policy| match *policy {
        "affinity" | "anti-affinity" => true,
        "soft-affinity" | "soft-anti-affinity" => who.at_least(2, 15),
        _ => false,
    });
    let policy = policy.ok_or_else(|| {
        bad("Invalid input for field/attribute policies: expected affinity or anti-affinity.")
    })?;
    let limit = flavors::quotas(&app.db, &who.project_id)
        .await?
        .get("server_groups")
        .copied()
        .unwrap_or(-1);
    if limit >= 0 && flavors::groups(&app.db, Some(&who.project_id)).await?.len() as i64 >= limit {
        return Err(ApiError::forbidden(
            "forbidden",
            "Quota exceeded, too many server groups.",
        ));
    }
    let group = group::Model {
        id: Uuid::new_v4().to_string(),
        project_id: who.project_id.clone(),
        user_id: who.user_id.clone(),
        name: required_text(wanted, "name", 190)?,
        policy: policy.to_owned(),
    };
    flavors::insert_group(&app.db, group.clone()).await?;
    Ok(Json(
        json!({"server_group": group_view(&app, &who, &group).await?}),
    ))
}

/// DELETE.
pub async fn delete_group(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    find_group(&app, &who, &id).await?;
    flavors::delete_group(&app.db, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
