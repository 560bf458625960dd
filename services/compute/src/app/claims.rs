//! Claims in placement: a server's share of a host, taken atomically there, so that two conductors never promise the
//! same memory twice.

use http::{Method, StatusCode};
use openstack_client::ClientError;
use serde_json::{Map, Value, json};

use super::scheduler::HostState;
use super::{App, StepError};
use crate::hypervisor::Step;
use crate::store::hosts::{self, Host};
use crate::store::servers::Server;

/// How a claim came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The host's resources are the server's.
    Taken,
    /// Somebody was quicker, or the host is full.
    Refused,
}

fn client(app: &App) -> openstack_client::Client {
    app.client.microversion("placement", "1.36")
}

fn failed(what: &str, error: &ClientError) -> StepError {
    StepError::client(Step::Scheduler, what, error)
}

fn resources(server: &Server) -> Value {
    let mut out = Map::new();
    let all = [
        ("VCPU", i64::from(server.vcpus)),
        ("MEMORY_MB", server.memory_mib),
        ("DISK_GB", server.disk_gib),
    ];
    for (class, amount) in all {
        // Placement knows no claim of nothing.
        if amount > 0 {
            out.insert(class.to_owned(), json!(amount));
        }
    }
    Value::Object(out)
}

/// Claims a host for a server. What the server held before (a claim from before a crash, or on another host) is
/// replaced in the same call.
pub async fn claim(app: &App, server: &Server, host: &HostState) -> Result<Claim, StepError> {
    let path = format!("/allocations/{}", server.id);
    let mut provider_known = false;
    for _ in 0..4 {
        let held: Value = client(app)
            .get("placement", &path)
            .await
            .map_err(|e| failed("reading the claim", &e))?;
        if held["allocations"]
            .get(&host.provider)
            .is_some_and(|a| a["resources"] == resources(server))
            && held["allocations"]
                .as_object()
                .is_some_and(|a| a.len() == 1)
        {
            return Ok(Claim::Taken);
        }
        let mut allocations = Map::new();
        allocations.insert(
            host.provider.clone(),
            json!({"resources": resources(server)}),
        );
        let body = json!({
            "allocations": allocations,
            "project_id": server.project_id,
            "user_id": server.user_id,
            "consumer_generation": held.get("consumer_generation").cloned().unwrap_or(Value::Null),
        });
        match client(app).put("placement", &path, &body).await {
            Ok(_) => return Ok(Claim::Taken),
            Err(ClientError::Fault {
                status: StatusCode::CONFLICT,
                kind,
                ..
            }) if kind == "placement.concurrent_update" => continue,
            Err(error) if error.is_conflict() => return Ok(Claim::Refused),
            // The host reported to us, but placement does not know it (any more): tell it, and try again.
            Err(error) if error.status() == Some(StatusCode::BAD_REQUEST) && !provider_known => {
                provider_known = true;
                sync_host(app, &host.host).await?;
            }
            Err(error) => return Err(failed("claiming resources", &error)),
        }
    }
    Ok(Claim::Refused)
}

/// Gives back all that a server holds.
pub async fn release(app: &App, server_id: &str) -> Result<(), StepError> {
    match client(app)
        .delete("placement", &format!("/allocations/{server_id}"))
        .await
    {
        Ok(()) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(failed("giving back resources", &error)),
    }
}

/// Tells placement what a host offers.
pub async fn sync_host(app: &App, name: &str) -> Result<(), StepError> {
    let Some(host) = hosts::find_host(&app.db, name).await? else {
        return Ok(());
    };
    let created = client(app)
        .post(
            "placement",
            "/resource_providers",
            &json!({"name": host.host, "uuid": host.id}),
        )
        .await;
    match created {
        Ok(_) => {}
        Err(error) if error.is_conflict() => {}
        Err(error) => return Err(failed("making the resource provider", &error)),
    }
    for _ in 0..4 {
        let path = format!("/resource_providers/{}", host.id);
        let provider: Value = client(app)
            .get("placement", &path)
            .await
            .map_err(|e| failed("reading the resource provider", &e))?;
        let body = json!({"resource_provider_generation": provider["generation"], "inventories": inventories(app, &host)});
        match client(app)
            .put("placement", &format!("{path}/inventories"), &body)
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) if error.is_conflict() => continue,
            Err(error) => return Err(failed("writing the inventory", &error)),
        }
    }
    Err(StepError::Later {
        step: Step::Scheduler,
        message: format!("the inventory of {name} is being changed by others"),
    })
}

fn inventories(app: &App, host: &Host) -> Value {
    let capacity = &host.capacity;
    let mut out = Map::new();
    let all = [
        (
            "VCPU",
            u64::from(capacity.vcpus),
            u64::from(capacity.vcpus),
            0,
            app.config.cpu_allocation_ratio,
        ),
        (
            "MEMORY_MB",
            capacity.memory_mib,
            capacity.memory_mib,
            app.config.reserved_host_memory_mib.min(capacity.memory_mib),
            app.config.ram_allocation_ratio,
        ),
        (
            "DISK_GB",
            capacity.disk_gib,
            capacity.disk_gib,
            0,
            app.config.disk_allocation_ratio,
        ),
    ];
    for (class, total, max_unit, reserved, ratio) in all {
        // Placement refuses an inventory of nothing.
        if total > 0 {
            out.insert(class.to_owned(), json!({
                "total": total, "reserved": reserved, "min_unit": 1, "max_unit": max_unit, "step_size": 1, "allocation_ratio": ratio,
            }));
        }
    }
    Value::Object(out)
}

/// Forgets a host in placement; refused there while servers hold parts of it.
pub async fn forget_host(app: &App, host: &Host) -> Result<(), StepError> {
    let path = format!("/resource_providers/{}", host.id);
    match client(app)
        .request(Method::DELETE, "placement", &path)
        .send()
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(failed("forgetting the resource provider", &error)),
    }
}
