//! Servers as JSON, by microversion. Knows nothing but the record and who asks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use openstack_types::Microversion;
use serde_json::{Map, Value, json};
use service_kit::{RequestContext, Rule};
use uuid::Uuid;

use super::{long_time, time};
use crate::store::flavors::Flavor;
use crate::store::servers::{Server, vm_state};

/// Floating addresses by port: fixed address and floating address.
pub type Floating = BTreeMap<Uuid, Vec<(IpAddr, IpAddr)>>;

/// Who asks, and with what the answer is filled.
pub struct View<'a> {
    /// Scheme, host and port for links.
    pub base: &'a str,
    /// Who asks.
    pub who: &'a RequestContext,
    /// Floating addresses.
    pub floating: &'a Floating,
}

/// `status` from the states.
pub fn status(vm: &str, task: Option<&str>) -> &'static str {
    match (vm, task) {
        (vm_state::ACTIVE, Some("rebooting")) => "REBOOT",
        (vm_state::ACTIVE, Some("rebooting_hard")) => "HARD_REBOOT",
        (vm_state::ACTIVE, _) => "ACTIVE",
        (vm_state::BUILDING, _) => "BUILD",
        (vm_state::STOPPED, _) => "SHUTOFF",
        (vm_state::PAUSED, _) => "PAUSED",
        (vm_state::SUSPENDED, _) => "SUSPENDED",
        (vm_state::ERROR, _) => "ERROR",
        (vm_state::DELETED, _) => "DELETED",
        _ => "UNKNOWN",
    }
}

/// The states that a status in a filter means.
pub fn states_of(status: &str) -> Option<&'static str> {
    Some(match status.to_ascii_uppercase().as_str() {
        "ACTIVE" | "REBOOT" | "HARD_REBOOT" => vm_state::ACTIVE,
        "BUILD" => vm_state::BUILDING,
        "SHUTOFF" => vm_state::STOPPED,
        "PAUSED" => vm_state::PAUSED,
        "SUSPENDED" => vm_state::SUSPENDED,
        "ERROR" => vm_state::ERROR,
        "DELETED" | "SOFT_DELETED" => vm_state::DELETED,
        _ => return None,
    })
}

impl View<'_> {
    fn at_least(&self, minor: u16) -> bool {
        self.who.microversion >= Microversion::new(2, minor)
    }

    /// Links of a server.
    pub fn links(&self, kind: &str, id: &str) -> Value {
        json!([
            {"rel": "self", "href": format!("{}/v2.1/{kind}/{id}", self.base)},
            {"rel": "bookmark", "href": format!("{}/{kind}/{id}", self.base)},
        ])
    }

    /// Id, name and links.
    pub fn short(&self, server: &Server) -> Value {
        json!({"id": server.id, "name": server.name, "links": self.links("servers", &server.id)})
    }

    /// `addresses`: by network's name.
    pub fn addresses(&self, server: &Server) -> Map<String, Value> {
        let mut out: Map<String, Value> = Map::new();
        for interface in &server.doc.interfaces {
            let list = out
                .entry(interface.network_name.clone())
                .or_insert_with(|| json!([]));
            let Some(list) = list.as_array_mut() else {
                continue;
            };
            let mut add = |address: &IpAddr, kind: &str| {
                list.push(json!({
                    "addr": address, "version": if address.is_ipv4() { 4 } else { 6 },
                    "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": interface.mac,
                }));
            };
            for ip in &interface.fixed_ips {
                add(&ip.address, "fixed");
                for (fixed, floating) in self.floating.get(&interface.port_id).into_iter().flatten()
                {
                    if *fixed == ip.address {
                        add(floating, "floating");
                    }
                }
            }
        }
        out
    }

    /// The whole server.
    pub fn full(&self, server: &Server) -> Value {
        let (row, doc) = (&server.row, &server.doc);
        let mut out = json!({
            "id": row.id,
            "name": row.name,
            "status": status(&row.vm_state, row.task_state.as_deref()),
            "tenant_id": row.project_id,
            "user_id": row.user_id,
            "metadata": doc.metadata,
            "hostId": host_id(server),
            "image": match &doc.image {
                Some(image) => json!({"id": image.id, "links": [{"rel": "bookmark", "href": format!("{}/images/{}", self.base, image.id)}]}),
                None => json!(""),
            },
            "flavor": self.flavor(&doc.flavor),
            "created": time(row.created_at),
            "updated": time(row.updated_at),
            "addresses": self.addresses(server),
            "accessIPv4": "",
            "accessIPv6": "",
            "links": self.links("servers", &row.id),
            "OS-DCF:diskConfig": "MANUAL",
            "OS-EXT-AZ:availability_zone": doc.zone.clone().unwrap_or_default(),
            "config_drive": if doc.config_drive { "True" } else { "" },
            "key_name": doc.key.as_ref().map(|key| &key.name),
            "OS-SRV-USG:launched_at": doc.launched_at.map(long_time),
            "OS-SRV-USG:terminated_at": doc.terminated_at.map(long_time),
            "OS-EXT-STS:task_state": row.task_state,
            "OS-EXT-STS:vm_state": row.vm_state,
            "OS-EXT-STS:power_state": doc.power_state,
            "os-extended-volumes:volumes_attached": [],
        });
        let mut set = |name: &str, value: Value| out[name] = value;
        if matches!(row.vm_state.as_str(), vm_state::BUILDING | vm_state::ACTIVE) {
            set("progress", json!(doc.progress));
        }
        if !doc.interfaces.is_empty() || row.vm_state == vm_state::ACTIVE {
            let names: Vec<&str> = if doc.security_groups.is_empty() {
                vec!["default"]
            } else {
                doc.security_groups.iter().map(String::as_str).collect()
            };
            set(
                "security_groups",
                json!(
                    names
                        .iter()
                        .map(|name| json!({"name": name}))
                        .collect::<Vec<_>>()
                ),
            );
        }
        if let Some(fault) = &doc.fault
            && row.vm_state == vm_state::ERROR
        {
            let mut shown = json!({"code": fault.code, "created": time(fault.created_at), "message": fault.message});
            if self.who.is_admin && !fault.details.is_empty() {
                shown["details"] = json!(fault.details);
            }
            set("fault", shown);
        }
        let inside = self.who.allows(Rule::Service);
        if inside {
            set("OS-EXT-SRV-ATTR:host", json!(row.host));
            set("OS-EXT-SRV-ATTR:hypervisor_hostname", json!(row.host));
            set("OS-EXT-SRV-ATTR:instance_name", json!(server.domain_name()));
        }
        if inside && self.at_least(3) {
            set("OS-EXT-SRV-ATTR:hostname", json!(doc.hostname));
            set("OS-EXT-SRV-ATTR:reservation_id", json!(doc.reservation_id));
            set("OS-EXT-SRV-ATTR:launch_index", json!(doc.launch_index));
            set(
                "OS-EXT-SRV-ATTR:kernel_id",
                json!(
                    doc.kernel
                        .as_ref()
                        .map(|image| image.id.as_str())
                        .unwrap_or_default()
                ),
            );
            set(
                "OS-EXT-SRV-ATTR:ramdisk_id",
                json!(
                    doc.ramdisk
                        .as_ref()
                        .map(|image| image.id.as_str())
                        .unwrap_or_default()
                ),
            );
            set("OS-EXT-SRV-ATTR:root_device_name", json!("/dev/vda"));
            set("OS-EXT-SRV-ATTR:user_data", json!(doc.user_data));
        }
        if self.at_least(9) {
            set("locked", json!(doc.locked_by.is_some()));
        }
        if inside && self.at_least(16) {
            set(
                "host_status",
                json!(if row.host.is_some() { "UP" } else { "" }),
            );
        }
        if self.at_least(19) {
            set("description", json!(doc.description));
        }
        if self.at_least(26) {
            set("tags", json!(doc.tags));
        }
        if self.at_least(63) {
            set("trusted_image_certificates", Value::Null);
        }
        if self.at_least(71) {
            set("server_groups", json!(doc.group.iter().collect::<Vec<_>>()));
        }
        if self.at_least(73) {
            set("locked_reason", json!(doc.locked_reason));
        }
        out
    }

    /// A flavor inside a server: a reference before 2.47, its figures since.
    fn flavor(&self, flavor: &Flavor) -> Value {
        if !self.at_least(47) {
            return json!({"id": flavor.id, "links": [{"rel": "bookmark", "href": format!("{}/flavors/{}", self.base, flavor.id)}]});
        }
        json!({
            "original_name": flavor.name, "vcpus": flavor.vcpus, "ram": flavor.ram, "disk": flavor.disk,
            "ephemeral": flavor.ephemeral, "swap": flavor.swap, "extra_specs": flavor.extra_specs,
        })
    }
}

/// Tells the owner whether two servers share a host, and not which.
pub fn host_id(server: &Server) -> String {
    use sha2::{Digest, Sha224};
    match &server.host {
        Some(host) => hex::encode(Sha224::digest(format!("{}{host}", server.project_id))),
        None => String::new(),
    }
}
