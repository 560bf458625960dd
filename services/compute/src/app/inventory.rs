//! Hosts as they are now: which are up, in which zone, how full. Feeds the scheduler and the lists of services,
//! hypervisors and zones.

use std::collections::{BTreeMap, BTreeSet};

use super::App;
use super::scheduler::{HostState, Ratios};
use crate::store::entities::service;
use crate::store::hosts::{self, Aggregate, COMPUTE};
use crate::store::{StoreError, now, servers};

/// Whether a service was heard from lately.
pub fn is_up(app: &App, service: &service::Model) -> bool {
    !service.forced_down && now() - service.seen_at <= (app.config.service_down_time * 1000) as i64
}

/// Zones of hosts by the aggregates; the first aggregate with a zone counts, a host can be in one zone only.
pub fn zones(aggregates: &[Aggregate]) -> BTreeMap<&str, &str> {
    let mut out = BTreeMap::new();
    for aggregate in aggregates {
        if let Some(zone) = aggregate.zone() {
            for host in &aggregate.doc.hosts {
                out.entry(host.as_str()).or_insert(zone);
            }
        }
    }
    out
}

/// The settings that bound promises.
pub fn ratios(app: &App) -> Ratios {
    Ratios {
        cpu: app.config.cpu_allocation_ratio,
        ram: app.config.ram_allocation_ratio,
        disk: app.config.disk_allocation_ratio,
    }
}

/// All hosts for the scheduler.
pub async fn host_states(app: &App) -> Result<Vec<HostState>, StoreError> {
    let (all, services, aggregates) = (
        hosts::hosts(&app.db).await?,
        hosts::services(&app.db).await?,
        hosts::aggregates(&app.db).await?,
    );
    let usage = servers::usage_by_host(&app.db).await?;
    let zones = zones(&aggregates);
    let services: BTreeMap<&str, &service::Model> = services
        .iter()
        .filter(|service| service.binary_name == COMPUTE)
        .map(|service| (service.host.as_str(), service))
        .collect();
    Ok(all
        .into_iter()
        .map(|host| {
            let used = usage.get(&host.host).copied().unwrap_or_default();
            let service = services.get(host.host.as_str());
            let mut metadata: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for aggregate in aggregates
                .iter()
                .filter(|aggregate| aggregate.doc.hosts.contains(&host.host))
            {
                for (key, value) in &aggregate.doc.metadata {
                    metadata
                        .entry(key.clone())
                        .or_default()
                        .insert(value.clone());
                }
            }
            HostState {
                zone: zones
                    .get(host.host.as_str())
                    .copied()
                    .unwrap_or(&app.config.default_availability_zone)
                    .to_owned(),
                enabled: service.is_some_and(|service| !service.disabled),
                up: service.is_some_and(|service| is_up(app, service)),
                vcpus: u64::from(host.capacity.vcpus),
                memory_mib: host
                    .capacity
                    .memory_mib
                    .saturating_sub(app.config.reserved_host_memory_mib),
                disk_gib: host.capacity.disk_gib,
                vcpus_used: used.vcpus,
                memory_used: used.memory_mib,
                disk_used: used.disk_gib,
                instances: used.instances,
                aggregate_metadata: metadata,
                provider: host.id,
                host: host.host,
            }
        })
        .collect())
}

/// Whether the agent of a host is up.
pub async fn agent_is_up(app: &App, host: &str) -> Result<bool, StoreError> {
    let services = hosts::services(&app.db).await?;
    Ok(services.iter().any(|service| {
        service.host == host && service.binary_name == COMPUTE && is_up(app, service)
    }))
}
