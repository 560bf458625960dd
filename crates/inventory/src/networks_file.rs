//! `networks.yml`: the six networks, each checked by itself and against the others.

use crate::network::{Network, NetworkName, Ranges};
use crate::range::AddressRange;
use crate::traffic::{self, Chosen};
use diagnostics::Diagnostics;
use indexmap::IndexMap;
use ipnetwork::Ipv4Network;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use yaml_source::{Fault, Key, Map, Node, Value};

/// What `networks.yml` says.
#[derive(Debug, Clone, Default)]
pub(crate) struct NetworksFile {
    pub networks: IndexMap<NetworkName, Network>,
    pub traffic: Chosen,
}

pub(crate) fn parse(root: &Node, diags: &mut Diagnostics) -> NetworksFile {
    let mut networks = IndexMap::new();
    let Some(top) = root.as_map("`networks.yml`", diags) else {
        return NetworksFile::default();
    };
    // The networks may stand alone or below the key `networks`.
    let map = match top.get("networks") {
        Some(node)
            if top
                .keys()
                .all(|key| ["networks", TRAFFIC].contains(&&*key.text)) =>
        {
            match node.as_map("`networks`", diags) {
                Some(map) => map,
                None => return NetworksFile::default(),
            }
        }
        _ => top,
    };
    for (key, node) in map {
        if key.text == TRAFFIC {
            continue;
        }
        let Ok(name) = key.text.parse::<NetworkName>() else {
            let words = NetworkName::words();
            diags.push(
                key.error(format!("there is no network `{}`", key.text))
                    .expected(format!("one of `{}`", words.join("`, `")))
                    .suggest(&key.text, words.into_iter().chain([TRAFFIC])),
            );
            continue;
        };
        if let Some(network) = network(name, key, node, diags) {
            networks.insert(name, network);
        }
    }
    networks.sort_unstable_keys();
    overlaps(&networks, map, diags);
    let traffic = top
        .get(TRAFFIC)
        .filter(|node| !node.is_null())
        .map(|node| traffic::parse(node, &networks, diags))
        .unwrap_or_default();
    NetworksFile { networks, traffic }
}

/// Beside the networks: which of them carries what.
const TRAFFIC: &str = "traffic";
const KEYS: [&str; 8] = [
    "cidr",
    "vlan",
    "mtu",
    "instance_mtu",
    "gateway",
    "dns",
    "ranges",
    "via",
];
/// What IPv6 needs at least (RFC 8200, section 5), and the largest frames that switches commonly take.
pub(crate) const MTU: std::ops::RangeInclusive<i64> = 1280..=9216;
/// What a tunnel adds to a packet: IPv4 20, UDP 8, Geneve 8 and OVN's options 8 (RFC 8926), Ethernet 14.
const TUNNEL: u16 = 58;

fn network(name: NetworkName, key: &Key, node: &Node, diags: &mut Diagnostics) -> Option<Network> {
    let what = format!("the network `{name}`");
    let map = node.as_map(&what, diags)?;
    map.check_keys(&what, &KEYS, diags);
    let vlan = map
        .get("vlan")
        .filter(|node| !node.is_null())
        .and_then(|node| number(node, "`vlan`", 1, 4094, diags));
    if let (NetworkName::Pxe, Some(_), Some((vlan, _))) = (name, vlan, map.get_entry("vlan")) {
        diags.push(
            vlan.error("the network `pxe` cannot have a VLAN tag")
                .hint("firmware boots over untagged frames: make it the port's native VLAN"),
        );
    }
    let mtu = match map.get("mtu").filter(|node| !node.is_null()) {
        Some(node) => number(node, "`mtu`", *MTU.start(), *MTU.end(), diags).unwrap_or(1500),
        None => 1500,
    };
    let instance_mtu = instance_mtu(name, mtu, map, key, diags);
    let dns = dns(map, diags);
    let via = via(map, diags);
    let cidr_node = map.required("cidr", &what, &key.span, diags)?;
    let cidr = cidr(cidr_node, diags)?;
    let mut network = Network {
        name,
        cidr,
        vlan,
        mtu,
        instance_mtu,
        gateway: None,
        dns,
        ranges: Ranges::default(),
        via,
        span: key.span.clone(),
    };
    network.gateway = map
        .get("gateway")
        .filter(|node| !node.is_null())
        .and_then(|node| gateway(node, &network, diags));
    if let Some(node) = map.get("ranges").filter(|node| !node.is_null()) {
        network.ranges = ranges(node, &network, diags);
    }
    if name == NetworkName::Pxe && !map.contains_key("gateway") {
        diags.push(
            key.error("the network `pxe` lacks `gateway`")
                .expected("the address that the deployment host has on it"),
        );
    }
    Some(network)
}

/// Checks that the tunnels' network has room for what instances send.
fn instance_mtu(
    name: NetworkName,
    mtu: u16,
    map: &Map,
    key: &Key,
    diags: &mut Diagnostics,
) -> Option<u16> {
    let entry = map
        .get_entry("instance_mtu")
        .filter(|(_, node)| !node.is_null());
    if name != NetworkName::Private {
        if let Some((key, _)) = entry {
            diags.push(
                key.error(format!("the network `{name}` has no `instance_mtu`"))
                    .hint("instances' packets are tunnelled over `private`: set it there"),
            );
        }
        return None;
    }
    let wanted =
        entry.and_then(|(_, node)| number(node, "`instance_mtu`", *MTU.start(), *MTU.end(), diags));
    // Without a wish, as much as IPv6 needs.
    let least = wanted.unwrap_or(1280) + TUNNEL;
    if mtu < least {
        let at = map.get("mtu").map_or(&key.span, |node| &node.span);
        let fault = at
            .error(format!(
                "the `mtu` of `private` is {mtu}, too small for the tunnels of instances"
            ))
            .expected(format!("at least {least}"));
        diags.push(match (wanted, entry) {
            (Some(wanted), Some((key, _))) => fault
                .related(&key.span, format!("{wanted} of it are the instances'"))
                .hint(format!(
                    "a tunnel adds {TUNNEL} bytes to each packet (Geneve over IPv4)"
                )),
            _ => fault.hint(format!(
                "a tunnel adds {TUNNEL} bytes to each packet, and IPv6 needs packets of 1280"
            )),
        });
    }
    wanted
}

fn via(map: &Map, diags: &mut Diagnostics) -> Option<NetworkName> {
    let node = map.get("via").filter(|node| !node.is_null())?;
    let text = node.as_str("`via`", diags)?;
    let name = text.parse().ok();
    if name.is_none() {
        let words = NetworkName::words();
        diags.push(
            node.error(format!("there is no network `{text}`"))
                .expected("the network through which the deployment host reaches this one")
                .suggest(text, words),
        );
    }
    name
}

fn number(node: &Node, what: &str, min: i64, max: i64, diags: &mut Diagnostics) -> Option<u16> {
    let number = node.as_int(what, diags)?;
    match u16::try_from(number) {
        Ok(small) if (min..=max).contains(&number) => Some(small),
        _ => {
            diags.push(
                node.error(format!("{what} is {number}"))
                    .expected(format!("a number from {min} to {max}")),
            );
            None
        }
    }
}

fn cidr(node: &Node, diags: &mut Diagnostics) -> Option<Ipv4Network> {
    let text = node.as_str("`cidr`", diags)?;
    let expected = "an IPv4 network such as `10.20.0.0/24`";
    // Without the slash the parser would take it for a network of one address.
    let parsed = text
        .contains('/')
        .then(|| Ipv4Network::from_str(text).ok())
        .flatten();
    let Some(cidr) = parsed else {
        diags.push(
            node.error(format!("`{text}` is not a network"))
                .expected(expected),
        );
        return None;
    };
    if cidr.network() != cidr.ip() {
        diags.push(
            node.error(format!("`{text}` is an address in a network"))
                .expected(expected)
                .hint(format!(
                    "the network is `{}/{}`",
                    cidr.network(),
                    cidr.prefix()
                )),
        );
        return None;
    }
    if !(8..=29).contains(&cidr.prefix()) {
        diags.push(
            node.error(format!(
                "`/{}` does not fit a network of hosts",
                cidr.prefix()
            ))
            .expected("a prefix from /8 to /29"),
        );
        return None;
    }
    Some(cidr)
}

/// A host's address in the network: neither the network's own nor the broadcast address.
fn is_host_address(cidr: Ipv4Network, address: Ipv4Addr) -> bool {
    cidr.contains(address) && address != cidr.network() && address != cidr.broadcast()
}

fn gateway(node: &Node, network: &Network, diags: &mut Diagnostics) -> Option<Ipv4Addr> {
    let text = node.as_str("`gateway`", diags)?;
    let address = text.parse().ok();
    if let Some(address) = address
        && is_host_address(network.cidr, address)
    {
        return Some(address);
    }
    diags.push(
        node.error(match address {
            None => format!("`{text}` is not an IPv4 address"),
            Some(_) => format!("`{text}` is not a host's address in {}", network.cidr),
        })
        .expected(format!("an address in {}", network.cidr)),
    );
    None
}

fn dns(map: &Map, diags: &mut Diagnostics) -> Vec<IpAddr> {
    let Some(node) = map.get("dns").filter(|node| !node.is_null()) else {
        return Vec::new();
    };
    let items = match &node.value {
        Value::String(_) => std::slice::from_ref(node),
        _ => match node.as_seq("`dns`", diags) {
            Some(items) => items,
            None => return Vec::new(),
        },
    };
    let mut servers = Vec::new();
    for item in items {
        let Some(text) = item.as_str("a DNS server", diags) else {
            continue;
        };
        match text.parse() {
            Ok(address) => servers.push(address),
            Err(_) => diags.push(
                item.error(format!("`{text}` is not an address"))
                    .expected("the address of a DNS server"),
            ),
        }
    }
    servers
}

fn ranges(node: &Node, network: &Network, diags: &mut Diagnostics) -> Ranges {
    let name = network.name;
    let what = format!("`ranges` of the network `{name}`");
    let mut ranges = Ranges::default();
    let Some(map) = node.as_map(&what, diags) else {
        return ranges;
    };
    map.check_keys(&what, &["nodes", "vips", "dhcp", "floating"], diags);
    let mut seen: Vec<(&Key, AddressRange)> = Vec::new();
    for (key, node) in map {
        if node.is_null() {
            continue;
        }
        let Some(range) = range(node, network, diags) else {
            continue;
        };
        for (other, taken) in &seen {
            if range.overlaps(taken) {
                diags.push(
                    node.error(format!(
                        "the range `{}` of `{name}` overlaps with `{}`",
                        key.text, other.text
                    ))
                    .related(&other.span, "the other range"),
                );
            }
        }
        if let Some(gateway) = network.gateway.filter(|gateway| range.contains(*gateway)) {
            diags.push(node.error(format!(
                "the range `{}` of `{name}` holds the gateway {gateway}",
                key.text
            )));
        }
        seen.push((key, range));
        match key.text.as_str() {
            "nodes" => ranges.nodes = Some(range),
            "vips" => ranges.vips = Some(range),
            "dhcp" => ranges.dhcp = Some(range),
            "floating" if name == NetworkName::App => ranges.floating = Some(range),
            "floating" => diags.push(
                key.error(format!("the network `{name}` has no floating addresses"))
                    .hint("floating addresses are on `app`"),
            ),
            _ => {}
        }
    }
    ranges
}

fn range(node: &Node, network: &Network, diags: &mut Diagnostics) -> Option<AddressRange> {
    let text = node.as_str("a range", diags)?;
    let range: AddressRange = match text.parse() {
        Ok(range) => range,
        Err(error) => {
            let error: crate::AddressRangeError = error;
            let first = network.cidr.network().to_bits();
            let sample = |n: u32| Ipv4Addr::from_bits(first.saturating_add(n));
            diags.push(node.error(error.to_string()).expected(format!(
                "first and last address: `{}-{}`",
                sample(2),
                sample(5)
            )));
            return None;
        }
    };
    for end in [range.first(), range.last()] {
        if !is_host_address(network.cidr, end) {
            diags.push(
                node.error(format!(
                    "the range's end {end} is not a host's address in {}",
                    network.cidr
                ))
                .expected(format!("addresses in {}", network.cidr)),
            );
            return None;
        }
    }
    Some(range)
}

fn overlaps(networks: &IndexMap<NetworkName, Network>, map: &Map, diags: &mut Diagnostics) {
    let place = |name: NetworkName| {
        map.get(name.as_str())
            .and_then(Node::map)
            .and_then(|map| map.get("cidr"))
            .map(|node| node.span.clone())
    };
    for (index, (name, network)) in networks.iter().enumerate() {
        for (other_name, other) in &networks[..index] {
            if !network.cidr.overlaps(other.cidr) {
                continue;
            }
            if let (Some(here), Some(there)) = (place(*name), place(*other_name)) {
                diags.push(
                    here.error(format!(
                        "the networks `{name}` ({}) and `{other_name}` ({}) overlap",
                        network.cidr, other.cidr
                    ))
                    .related(&there, "the other network")
                    .hint("each network needs addresses of its own"),
                );
            }
        }
    }
}
