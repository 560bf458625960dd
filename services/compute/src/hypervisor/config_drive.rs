//! The documents that a guest reads about itself: on its config drive and from the metadata service, both from here.
//! Pure: a [`GuestSpec`] in, files out. The names and keys are those that cloud-init knows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::{FixedIp, GuestSpec, Interface};

/// The dated version of the documents that carries all keys we write.
pub const VERSION: &str = "2018-08-27";
/// Versions that are served; each has the same content, as old readers ignore new keys.
pub const VERSIONS: [&str; 4] = ["2015-10-15", "2016-06-30", VERSION, "latest"];

/// All files of the config drive. `random_seed` feeds the guest's random generator at its first boot.
pub fn files(spec: &GuestSpec, random_seed: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for version in [VERSION, "latest"] {
        let folder = format!("openstack/{version}");
        out.insert(
            format!("{folder}/meta_data.json"),
            bytes(&meta_data(spec, Some(random_seed))),
        );
        out.insert(
            format!("{folder}/network_data.json"),
            bytes(&network_data(&spec.interfaces)),
        );
        out.insert(format!("{folder}/vendor_data.json"), b"{}".to_vec());
        out.insert(format!("{folder}/vendor_data2.json"), b"{}".to_vec());
        if let Some(data) = user_data(spec) {
            out.insert(format!("{folder}/user_data"), data);
        }
    }
    out.insert(
        "ec2/latest/meta-data.json".to_owned(),
        bytes(&ec2_document(spec)),
    );
    if let Some(data) = user_data(spec) {
        out.insert("ec2/latest/user-data".to_owned(), data);
    }
    out
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The user data as the guest gets it. The API has checked that it is Base64.
pub fn user_data(spec: &GuestSpec) -> Option<Vec<u8>> {
    let text = spec.user_data.as_deref()?;
    base64::engine::general_purpose::STANDARD
        .decode(text.as_bytes())
        .ok()
}

/// `meta_data.json`.
pub fn meta_data(spec: &GuestSpec, random_seed: Option<&[u8]>) -> Value {
    let mut doc = Map::new();
    doc.insert("uuid".into(), json!(spec.id));
    doc.insert("name".into(), json!(spec.display_name));
    doc.insert("hostname".into(), json!(spec.hostname));
    doc.insert("launch_index".into(), json!(spec.launch_index));
    doc.insert("availability_zone".into(), json!(spec.availability_zone));
    doc.insert("project_id".into(), json!(spec.project_id));
    doc.insert("devices".into(), json!([]));
    doc.insert("dedicated_cpus".into(), json!([]));
    if !spec.metadata.is_empty() {
        doc.insert("meta".into(), json!(spec.metadata));
    }
    if !spec.keys.is_empty() {
        let public: BTreeMap<&str, &str> = spec
            .keys
            .iter()
            .map(|key| (key.name.as_str(), key.data.as_str()))
            .collect();
        doc.insert("public_keys".into(), json!(public));
        let keys: Vec<Value> = spec
            .keys
            .iter()
            .map(|key| json!({"name": key.name, "type": key.kind, "data": key.data}))
            .collect();
        doc.insert("keys".into(), json!(keys));
    }
    if let Some(seed) = random_seed {
        doc.insert(
            "random_seed".into(),
            json!(base64::engine::general_purpose::STANDARD.encode(seed)),
        );
    }
    Value::Object(doc)
}

/// `network_data.json`: links, networks on them, services.
pub fn network_data(interfaces: &[Interface]) -> Value {
    let mut links = Vec::new();
    let mut networks = Vec::new();
    let mut servers: Vec<IpAddr> = Vec::new();
    for interface in interfaces {
        let link = interface.tap();
        links.push(json!({
            "id": link,
            "vif_id": interface.port_id,
            "type": "ovs",
            "mtu": interface.mtu,
            "ethernet_mac_address": interface.mac,
        }));
        for ip in &interface.fixed_ips {
            let id = format!("network{}", networks.len());
            networks.push(network(&id, &link, interface, ip));
            for server in &ip.dns {
                if !servers.contains(server) {
                    servers.push(*server);
                }
            }
        }
    }
    let services: Vec<Value> = servers
        .iter()
        .map(|address| json!({"type": "dns", "address": address}))
        .collect();
    json!({"links": links, "networks": networks, "services": services})
}

/// With DHCP the guest is told only to ask; without, it is told everything.
fn network(id: &str, link: &str, interface: &Interface, ip: &FixedIp) -> Value {
    let family = if ip.address.is_ipv4() { "ipv4" } else { "ipv6" };
    if ip.dhcp && ip.address.is_ipv4() {
        return json!({"id": id, "type": "ipv4_dhcp", "link": link, "network_id": interface.network_id});
    }
    let mut routes = Vec::new();
    if let Some(gateway) = ip.gateway {
        let any = if gateway.is_ipv4() { "0.0.0.0" } else { "::" };
        routes.push(json!({"network": any, "netmask": any, "gateway": gateway}));
    }
    for (destination, next_hop) in &ip.routes {
        routes.push(json!({"network": destination.network(), "netmask": destination.mask(), "gateway": next_hop}));
    }
    let services: Vec<Value> = ip
        .dns
        .iter()
        .map(|address| json!({"type": "dns", "address": address}))
        .collect();
    json!({
        "id": id,
        "type": family,
        "link": link,
        "ip_address": ip.address,
        "netmask": ip.cidr.mask(),
        "routes": routes,
        "services": services,
        "network_id": interface.network_id,
    })
}

/// The EC2 view as one document; the metadata service walks it by path.
pub fn ec2_document(spec: &GuestSpec) -> Value {
    let first = |v4: bool| {
        spec.interfaces
            .iter()
            .flat_map(|i| &i.fixed_ips)
            .map(|ip| ip.address)
            .find(|a| a.is_ipv4() == v4)
    };
    let local = first(true);
    let public = spec
        .interfaces
        .iter()
        .flat_map(|i| &i.floating_ips)
        .map(|(_, floating)| *floating)
        .next();
    let mut doc = Map::new();
    // The EC2 form of an id: `i-` and eight hexadecimal digits, from the domain's number.
    let number = spec.domain_name.rsplit('-').next().unwrap_or_default();
    doc.insert(
        "ami-id".into(),
        json!(
            spec.image
                .as_ref()
                .map(|image| image.id.as_str())
                .unwrap_or_default()
        ),
    );
    doc.insert(
        "ami-launch-index".into(),
        json!(spec.launch_index.to_string()),
    );
    doc.insert("ami-manifest-path".into(), json!("unknown"));
    doc.insert(
        "block-device-mapping".into(),
        json!({"ami": "vda", "root": "/dev/vda"}),
    );
    doc.insert("hostname".into(), json!(spec.hostname));
    doc.insert("instance-action".into(), json!("none"));
    doc.insert("instance-id".into(), json!(format!("i-{number}")));
    doc.insert("instance-type".into(), json!(spec.flavor_name));
    doc.insert("local-hostname".into(), json!(spec.hostname));
    doc.insert(
        "local-ipv4".into(),
        json!(local.map(|a| a.to_string()).unwrap_or_default()),
    );
    doc.insert(
        "placement".into(),
        json!({"availability-zone": spec.availability_zone}),
    );
    doc.insert("public-hostname".into(), json!(spec.hostname));
    doc.insert(
        "public-ipv4".into(),
        json!(public.map(|a| a.to_string()).unwrap_or_default()),
    );
    if !spec.keys.is_empty() {
        let mut keys = Map::new();
        for (index, key) in spec.keys.iter().enumerate() {
            keys.insert(
                index.to_string(),
                json!({"_name": format!("{index}={}", key.name), "openssh-key": key.data}),
            );
        }
        doc.insert("public-keys".into(), Value::Object(keys));
    }
    doc.insert("reservation-id".into(), json!(format!("r-{number}")));
    doc.insert(
        "security-groups".into(),
        json!(spec.security_groups.join("\n")),
    );
    Value::Object(doc)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::hypervisor::{ImageRef, PublicKey};
    use uuid::Uuid;

    /// A guest with everything set, for the golden tests of this folder.
    pub(crate) fn sample() -> GuestSpec {
        GuestSpec {
            id: Uuid::from_u128(0x1111_1111_2222_4333_8444_0000_0000_0001),
            domain_name: "instance-0000002a".into(),
            display_name: "web & <co>".into(),
            hostname: "web-co".into(),
            project_id: "5f1c".into(),
            user_id: "77aa".into(),
            vcpus: 2,
            memory_mib: 512,
            root_gib: 4,
            flavor_name: "m1.small".into(),
            image: Some(ImageRef {
                id: "img-1".into(),
                disk_format: "qcow2".into(),
                size: Some(1),
                sha512: None,
                md5: None,
            }),
            kernel: None,
            ramdisk: None,
            command_line: None,
            interfaces: vec![
                Interface {
                    port_id: Uuid::from_u128(0xaaaa_aaaa_bbbb_4ccc_8ddd_0000_0000_0001),
                    network_id: Uuid::from_u128(7),
                    network_name: "private".into(),
                    mac: "fa:16:3e:00:00:01".into(),
                    mtu: Some(1442),
                    fixed_ips: vec![FixedIp {
                        address: "10.0.0.5".parse().expect("an address"),
                        subnet_id: "s1".into(),
                        cidr: "10.0.0.0/24".parse().expect("a network"),
                        gateway: Some("10.0.0.1".parse().expect("an address")),
                        dns: vec!["10.0.0.2".parse().expect("an address")],
                        routes: vec![],
                        dhcp: true,
                    }],
                    floating_ips: vec![(
                        "10.0.0.5".parse().expect("an address"),
                        "192.0.2.9".parse().expect("an address"),
                    )],
                    owned: true,
                },
                Interface {
                    port_id: Uuid::from_u128(0xaaaa_aaaa_bbbb_4ccc_8ddd_0000_0000_0002),
                    network_id: Uuid::from_u128(8),
                    network_name: "static".into(),
                    mac: "fa:16:3e:00:00:02".into(),
                    mtu: None,
                    fixed_ips: vec![FixedIp {
                        address: "192.168.9.7".parse().expect("an address"),
                        subnet_id: "s2".into(),
                        cidr: "192.168.9.0/25".parse().expect("a network"),
                        gateway: Some("192.168.9.1".parse().expect("an address")),
                        dns: vec!["9.9.9.9".parse().expect("an address")],
                        routes: vec![(
                            "172.16.0.0/12".parse().expect("a network"),
                            "192.168.9.2".parse().expect("an address"),
                        )],
                        dhcp: false,
                    }],
                    floating_ips: vec![],
                    owned: false,
                },
            ],
            metadata: [("role".to_owned(), "web".to_owned())].into(),
            keys: vec![PublicKey {
                name: "mine".into(),
                kind: "ssh".into(),
                data: "ssh-ed25519 AAAA me".into(),
            }],
            user_data: Some("IyEvYmluL3NoCg==".into()),
            availability_zone: "nova".into(),
            launch_index: 0,
            security_groups: vec!["default".into()],
        }
    }

    #[test]
    fn tree_of_the_drive() {
        let mut text = String::new();
        for (name, data) in files(&sample(), b"seed") {
            let data = String::from_utf8(data).expect("text");
            let pretty = serde_json::from_str::<Value>(&data).map_or(data.clone(), |v| {
                serde_json::to_string_pretty(&v).unwrap_or(data)
            });
            text.push_str(&format!("== {name}\n{pretty}\n"));
        }
        insta::assert_snapshot!(text);
    }
}
