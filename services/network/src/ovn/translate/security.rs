//! Security groups: port groups and access control lists. Guarded ports drop whatever no rule allows; answers to
//! what was allowed pass by connection tracking.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::model::{Index, device_owner};
use crate::ovn::rows::{Column, Desired, RowKey, value};
use crate::store::entity::{security_group, security_group_rule};

/// The group of all guarded ports. Neutron's name for it.
const DROP_GROUP: &str = "neutron_pg_drop";
const DROP_PRIORITY: i64 = 1001;
const ALLOW_PRIORITY: i64 = 1002;

pub fn translate(index: &Index<'_>, desired: &mut Desired) {
    let guarded =
        index.topology.ports.iter().filter(|port| {
            port.port_security_enabled && !device_owner::is_trusted(&port.device_owner)
        });
    let guarded: Vec<&str> = guarded.map(|port| port.id.as_str()).collect();
    drop_group(&guarded, desired);

    let known: HashSet<&str> = guarded.into_iter().collect();
    let mut members: HashMap<&str, Vec<&str>> = HashMap::new();
    for member in &index.topology.port_groups {
        if known.contains(member.port_id.as_str()) {
            members
                .entry(&member.security_group_id)
                .or_default()
                .push(&member.port_id);
        }
    }
    let mut rules: BTreeMap<&str, Vec<&security_group_rule::Model>> = BTreeMap::new();
    for rule in &index.topology.rules {
        rules.entry(&rule.security_group_id).or_default().push(rule);
    }
    for group in &index.topology.security_groups {
        let rules = rules.get(group.id.as_str()).map_or(&[][..], Vec::as_slice);
        let acls = rules
            .iter()
            .map(|rule| allow(group, rule, desired))
            .collect();
        let ports = members
            .get(group.id.as_str())
            .map_or(&[][..], Vec::as_slice);
        let names = [("neutron:security_group_id", group.id.as_str())];
        let columns = vec![
            ("name", value(group_name(&group.id))),
            ("ports", Column::References(port_keys(ports))),
            ("acls", Column::References(acls)),
        ];
        desired.add("Port_Group", &group.id, &names, columns);
    }
}

fn drop_group(ports: &[&str], desired: &mut Desired) {
    let mut acl = |name: &str, direction: &str, priority: i64, matching: String, action: &str| {
        let columns = acl_columns(direction, priority, matching, action);
        desired.add("ACL", format!("{DROP_GROUP}/{name}"), &[], columns)
    };
    let acls = vec![
        acl(
            "in",
            "to-lport",
            DROP_PRIORITY,
            format!("outport == @{DROP_GROUP} && ip"),
            "drop",
        ),
        acl(
            "out",
            "from-lport",
            DROP_PRIORITY,
            format!("inport == @{DROP_GROUP} && ip"),
            "drop",
        ),
        // Asking for an address needs no rule. Renewals that a closed group drops are broadcast in the end.
        acl(
            "dhcp",
            "from-lport",
            ALLOW_PRIORITY,
            format!(
                "inport == @{DROP_GROUP} && ip4 && ip4.dst == 255.255.255.255 && udp && udp.src == 68 && udp.dst == 67"
            ),
            "allow",
        ),
        acl(
            "dhcpv6",
            "from-lport",
            ALLOW_PRIORITY,
            format!(
                "inport == @{DROP_GROUP} && ip6 && ip6.dst == ff02::1:2 && udp && udp.src == 546 && udp.dst == 547"
            ),
            "allow",
        ),
    ];
    let columns = vec![
        ("name", value(DROP_GROUP)),
        ("ports", Column::References(port_keys(ports))),
        ("acls", Column::References(acls)),
    ];
    desired.add("Port_Group", DROP_GROUP, &[], columns);
}

fn allow(
    group: &security_group::Model,
    rule: &security_group_rule::Model,
    desired: &mut Desired,
) -> RowKey {
    let direction = if rule.direction == "ingress" {
        "to-lport"
    } else {
        "from-lport"
    };
    let action = if group.stateful {
        "allow-related"
    } else {
        "allow-stateless"
    };
    let columns = acl_columns(direction, ALLOW_PRIORITY, matching(rule), action);
    desired.add(
        "ACL",
        &rule.id,
        &[("neutron:security_group_rule_id", &rule.id)],
        columns,
    )
}

fn acl_columns(
    direction: &str,
    priority: i64,
    matching: String,
    action: &str,
) -> Vec<(&'static str, Column)> {
    vec![
        ("direction", value(direction)),
        ("priority", value(priority)),
        ("match", value(matching)),
        ("action", value(action)),
    ]
}

/// The rule in OVN's match language.
fn matching(rule: &security_group_rule::Model) -> String {
    let ingress = rule.direction == "ingress";
    let (ip, icmp) = if rule.ethertype == "IPv4" {
        ("ip4", "icmp4")
    } else {
        ("ip6", "icmp6")
    };
    let mut parts = vec![
        format!(
            "{} == @{}",
            if ingress { "outport" } else { "inport" },
            group_name(&rule.security_group_id)
        ),
        ip.to_owned(),
    ];
    let peer = if ingress { "src" } else { "dst" };
    if let Some(prefix) = rule
        .remote_ip_prefix
        .as_deref()
        .filter(|prefix| !prefix.ends_with("/0"))
    {
        parts.push(format!("{ip}.{peer} == {prefix}"));
    }
    if let Some(group) = &rule.remote_group_id {
        // OVN keeps these address sets for each port group.
        parts.push(format!("{ip}.{peer} == ${}_{ip}", group_name(group)));
    }
    let (from, to) = (rule.port_range_min, rule.port_range_max);
    match rule.protocol.as_deref().and_then(protocol_number) {
        None => {}
        Some(1 | 58) => {
            parts.push(icmp.to_owned());
            parts.extend(from.map(|kind| format!("{icmp}.type == {kind}")));
            parts.extend(to.map(|code| format!("{icmp}.code == {code}")));
        }
        Some(number @ (6 | 17 | 132)) => {
            let name = match number {
                6 => "tcp",
                17 => "udp",
                _ => "sctp",
            };
            parts.push(name.to_owned());
            match (from, to) {
                (Some(1), Some(65535)) | (None, None) => {}
                (Some(from), Some(to)) if from == to => parts.push(format!("{name}.dst == {from}")),
                (from, to) => {
                    parts.extend(from.map(|from| format!("{name}.dst >= {from}")));
                    parts.extend(to.map(|to| format!("{name}.dst <= {to}")));
                }
            }
        }
        Some(number) => parts.push(format!("ip.proto == {number}")),
    }
    parts.join(" && ")
}

/// The IANA number of a protocol that a rule names, or `None` for "any" and for what is none.
pub fn protocol_number(name: &str) -> Option<u8> {
    Some(match name.to_ascii_lowercase().as_str() {
        "icmp" => 1,
        "igmp" => 2,
        "ipip" => 4,
        "tcp" => 6,
        "egp" => 8,
        "udp" => 17,
        "dccp" => 33,
        "ipv6-encap" => 41,
        "ipv6-route" => 43,
        "ipv6-frag" => 44,
        "rsvp" => 46,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" | "ipv6-icmp" => 58,
        "ipv6-nonxt" => 59,
        "ipv6-opts" => 60,
        "ospf" => 89,
        "vrrp" => 112,
        "pgm" => 113,
        "sctp" => 132,
        "udplite" => 136,
        number => return number.parse().ok(),
    })
}

fn group_name(id: &str) -> String {
    format!("pg_{}", id.replace('-', "_"))
}

fn port_keys(ports: &[&str]) -> Vec<RowKey> {
    ports
        .iter()
        .map(|port| RowKey {
            table: "Logical_Switch_Port",
            key: (*port).to_owned(),
        })
        .collect()
}
