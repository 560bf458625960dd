//! `setup`: facts of the node, by Ansible's names.
//!
//! Read from `/proc`, `/sys` and `/etc`; the routing table from `/proc/net/route`, addresses from the kernel.
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use agent_protocol::task::TaskResult;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::glob;

pub const SETUP: Module = Module::new("setup", "Gather facts", Effect::Reads, ARGS, run);

const ARGS: &[Arg] = &[
    Arg::new(
        "filter",
        Kind::List,
        "patterns of the facts wanted, without ansible_",
    ),
    Arg::new(
        "gather_subset",
        Kind::List,
        "accepted for compatibility: all are cheap",
    ),
    Arg::new("gather_timeout", Kind::Int, "accepted for compatibility"),
    Arg::new("fact_path", Kind::Path, "accepted for compatibility"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let mut facts = gather(context);
    if let Some(patterns) = args.list("filter").filter(|patterns| !patterns.is_empty()) {
        facts.retain(|name, _| {
            patterns.iter().any(|pattern| {
                glob::matches(pattern, name)
                    || glob::matches(pattern, name.trim_start_matches("ansible_"))
            })
        });
    }
    Ok(changed(false).with("ansible_facts", facts))
}

fn gather(context: &Context<'_>) -> Map<String, Value> {
    let read = |path: &str| std::fs::read_to_string(context.path(path)).unwrap_or_default();
    let line = |path: &str| read(path).trim().to_owned();
    let mut facts = Map::new();
    let mut fact = |name: &str, value: Value| drop(facts.insert(format!("ansible_{name}"), value));

    let hostname = Some(line("/proc/sys/kernel/hostname"))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| line("/etc/hostname"));
    let short = hostname.split('.').next().unwrap_or_default().to_owned();
    let fqdn = fqdn(&read("/etc/hosts"), &short).unwrap_or_else(|| hostname.clone());
    fact(
        "domain",
        fqdn.split_once('.').map_or("", |(_, domain)| domain).into(),
    );
    fact("fqdn", fqdn.into());
    fact("nodename", hostname.into());
    fact("hostname", short.into());

    fact("kernel", line("/proc/sys/kernel/osrelease").into());
    fact("kernel_version", line("/proc/sys/kernel/version").into());
    fact("system", "Linux".into());
    fact("architecture", std::env::consts::ARCH.into());
    fact("machine", std::env::consts::ARCH.into());
    fact("machine_id", line("/etc/machine-id").into());
    fact(
        "service_mgr",
        if context.path("/run/systemd/system").is_dir() {
            "systemd"
        } else {
            "unknown"
        }
        .into(),
    );
    fact(
        "pkg_mgr",
        if context.path("/usr/bin/apt-get").exists() {
            "apt"
        } else {
            "unknown"
        }
        .into(),
    );
    for (name, value) in distribution(&read("/etc/os-release"), &line("/etc/debian_version")) {
        fact(name, value.into());
    }

    let meminfo = read("/proc/meminfo");
    let memory = memory_mib(&meminfo);
    let mib = |key: &str| Value::from(memory.get(key).copied().unwrap_or(0));
    for (name, key) in [
        ("memtotal_mb", "MemTotal"),
        ("memfree_mb", "MemFree"),
        ("swaptotal_mb", "SwapTotal"),
        ("swapfree_mb", "SwapFree"),
    ] {
        fact(name, mib(key));
    }
    let cpuinfo = read("/proc/cpuinfo");
    let field = |wanted: &str| {
        cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| key.trim() == wanted)
            .map(|(_, value)| value.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let vcpus = field("processor").len();
    let sockets = field("physical id")
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    fact("processor_vcpus", vcpus.into());
    fact("processor_nproc", vcpus.into());
    fact("processor_count", sockets.max(1).into());
    fact(
        "processor_cores",
        field("cpu cores")
            .first()
            .and_then(|cores| cores.parse::<u32>().ok())
            .unwrap_or(1)
            .into(),
    );
    fact("processor", field("model name").into());
    for (name, file) in [
        ("system_vendor", "sys_vendor"),
        ("product_name", "product_name"),
        ("product_serial", "product_serial"),
        ("product_uuid", "product_uuid"),
    ] {
        fact(name, line(&format!("/sys/class/dmi/id/{file}")).into());
    }
    fact(
        "uptime_seconds",
        read("/proc/uptime")
            .split('.')
            .next()
            .and_then(|seconds| seconds.parse::<u64>().ok())
            .unwrap_or(0)
            .into(),
    );

    let interfaces = interfaces(context);
    fact(
        "interfaces",
        interfaces.keys().cloned().collect::<Vec<_>>().into(),
    );
    fact(
        "all_ipv4_addresses",
        interfaces
            .values()
            .filter_map(|nic| nic["ipv4"]["address"].as_str())
            .filter(|address| !address.starts_with("127."))
            .collect::<Vec<_>>()
            .into(),
    );
    fact(
        "default_ipv4",
        default_ipv4(&read("/proc/net/route"), &interfaces),
    );
    for (name, value) in interfaces {
        // Ansible puts the interface's name into the fact's; a dash or dot is no part of a variable.
        fact(&name.replace(['-', '.', ':'], "_"), value);
    }
    facts
}

/// The first full name that `/etc/hosts` has for the host.
fn fqdn(hosts: &str, short: &str) -> Option<String> {
    hosts
        .lines()
        .map(|line| {
            line.split('#')
                .next()
                .unwrap_or_default()
                .split_whitespace()
        })
        .find_map(|mut words| {
            words.next()?;
            let names: Vec<&str> = words.collect();
            let is_ours = names
                .iter()
                .any(|name| name.split('.').next() == Some(short));
            names
                .into_iter()
                .find(|name| is_ours && name.contains('.'))
                .map(str::to_owned)
        })
}

fn distribution(os_release: &str, debian_version: &str) -> Vec<(&'static str, String)> {
    let field = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
            .unwrap_or_default()
    };
    let id = field("ID");
    let mut name = id.clone();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    // Debian's os-release has no point release; its own file has.
    let version = if id == "debian" && debian_version.starts_with(|c: char| c.is_ascii_digit()) {
        debian_version.to_owned()
    } else {
        field("VERSION_ID")
    };
    let family = if id == "debian" || field("ID_LIKE").split(' ').any(|like| like == "debian") {
        "Debian".to_owned()
    } else {
        name.clone()
    };
    vec![
        ("distribution", name),
        (
            "distribution_major_version",
            version.split('.').next().unwrap_or_default().to_owned(),
        ),
        ("distribution_version", version),
        ("distribution_release", field("VERSION_CODENAME")),
        ("os_family", family),
    ]
}

fn memory_mib(meminfo: &str) -> BTreeMap<&str, u64> {
    meminfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(key, rest)| {
            Some((
                key,
                rest.split_whitespace().next()?.parse::<u64>().ok()? / 1024,
            ))
        })
        .collect()
}

fn interfaces(context: &Context<'_>) -> BTreeMap<String, Value> {
    let addresses = if context.is_live() {
        ipv4_addresses()
    } else {
        BTreeMap::new()
    };
    let Ok(folder) = std::fs::read_dir(context.path("/sys/class/net")) else {
        return BTreeMap::new();
    };
    let mut out = BTreeMap::new();
    for name in folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let line = |file: &str| {
            std::fs::read_to_string(context.path(&format!("/sys/class/net/{name}/{file}")))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let mut nic = json!({
            "device": name,
            "active": line("operstate") == "up" || name == "lo",
            "macaddress": line("address"),
            "mtu": line("mtu").parse::<u32>().unwrap_or(0),
            "type": if name == "lo" { "loopback" } else if context.path(&format!("/sys/class/net/{name}/bridge")).exists() { "bridge" } else { "ether" },
        });
        if let Some((address, netmask)) = addresses.get(&name) {
            let network = Ipv4Addr::from_bits(address.to_bits() & netmask.to_bits());
            nic["ipv4"] = json!({
                "address": address.to_string(), "netmask": netmask.to_string(), "network": network.to_string(),
                "prefix": netmask.to_bits().count_ones().to_string(),
                "broadcast": Ipv4Addr::from_bits(address.to_bits() | !netmask.to_bits()).to_string(),
            });
        }
        out.insert(name, nic);
    }
    out
}

/// First IPv4 address and netmask of each interface.
fn ipv4_addresses() -> BTreeMap<String, (Ipv4Addr, Ipv4Addr)> {
    let Ok(addresses) = nix::ifaddrs::getifaddrs() else {
        return BTreeMap::new();
    };
    let mut out = BTreeMap::new();
    for entry in addresses {
        let ip = |address: Option<nix::sys::socket::SockaddrStorage>| {
            address.and_then(|address| address.as_sockaddr_in().map(|internet| internet.ip()))
        };
        if let (Some(address), Some(netmask)) = (ip(entry.address), ip(entry.netmask)) {
            out.entry(entry.interface_name)
                .or_insert((address, netmask));
        }
    }
    out
}

/// The interface and gateway of the default route, together with the interface's address.
fn default_ipv4(routes: &str, interfaces: &BTreeMap<String, Value>) -> Value {
    let mut best: Option<(u32, &str, Ipv4Addr)> = None;
    for line in routes.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, "00000000", gateway, _, _, _, metric, "00000000", ..] = fields.as_slice() else {
            continue;
        };
        // The kernel prints the address as a number in the machine's byte order.
        let (Ok(gateway), Ok(metric)) = (u32::from_str_radix(gateway, 16), metric.parse::<u32>())
        else {
            continue;
        };
        if best.is_none_or(|(least, ..)| metric < least) {
            best = Some((metric, name, Ipv4Addr::from(gateway.to_ne_bytes())));
        }
    }
    let Some((_, name, gateway)) = best else {
        return json!({});
    };
    let nic = interfaces.get(name).cloned().unwrap_or(json!({}));
    let mut out = match nic.get("ipv4") {
        Some(Value::Object(ipv4)) => ipv4.clone(),
        _ => Map::new(),
    };
    out.insert("gateway".into(), gateway.to_string().into());
    out.insert("interface".into(), name.into());
    for key in ["macaddress", "mtu", "type"] {
        out.insert(key.into(), nic.get(key).cloned().unwrap_or(Value::Null));
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;

    #[test]
    fn facts_bear_ansibles_names() {
        let bench = Bench::new();
        for (path, content) in [
            ("/proc/sys/kernel/hostname", "node-1\n"),
            ("/proc/sys/kernel/osrelease", "6.1.0-56-cloud-amd64\n"),
            (
                "/etc/hosts",
                "127.0.0.1 localhost\n10.20.0.11 node-1.domain.tld node-1\n",
            ),
            (
                "/etc/os-release",
                "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n",
            ),
            ("/etc/debian_version", "12.9\n"),
            ("/proc/meminfo", "MemTotal: 1009632 kB\nMemFree: 51200 kB\n"),
            (
                "/proc/cpuinfo",
                "processor: 0\nmodel name: QEMU\nphysical id: 0\ncpu cores: 2\nprocessor: 1\nmodel name: QEMU\nphysical id: 0\n",
            ),
            (
                "/proc/net/route",
                "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\neth1 00000000 0100140A 0003 0 0 100 00000000 0 0 0\n",
            ),
            ("/sys/class/net/eth1/address", "52:54:00:aa:00:02\n"),
            ("/sys/class/net/eth1/operstate", "up\n"),
            ("/sys/class/net/eth1/mtu", "1500\n"),
        ] {
            bench.write(path, content);
        }
        let facts = bench.run("setup", json!({})).data["ansible_facts"].clone();
        insta::assert_json_snapshot!(facts);
        let few = bench
            .run(
                "setup",
                json!({"filter": ["distribution*", "ansible_fqdn"]}),
            )
            .data["ansible_facts"]
            .clone();
        assert_eq!(few.as_object().unwrap().len(), 5);
    }

    #[test]
    fn an_empty_root_still_gives_facts() {
        assert_eq!(
            Bench::new().run("setup", json!({})).data["ansible_facts"]["ansible_processor_vcpus"],
            0
        );
    }
}
