//! `setup`: facts of the node, by Ansible's names.
//!
//! Read from `/proc`, `/sys` and `/etc`; the routing table from `/proc/net/route`, addresses from the kernel.
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use agent_protocol::task::TaskResult;
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::facts::{hardware, local, software};
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
    Arg::new("fact_path", Kind::Path, "folder of the node's own facts")
        .default("/etc/ansible/facts.d"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let mut facts = gather(context, args.need("fact_path"));
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

fn gather(context: &mut Context<'_>, local: &str) -> Map<String, Value> {
    let (time, local) = (software::date_time(context), local::gather(context, local));
    let context = &*context;
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
    let (processors, threads) = hardware::processors(&cpuinfo);
    fact("processor", processors.into());
    fact("processor_threads_per_core", threads.into());
    for (name, file) in [
        ("system_vendor", "sys_vendor"),
        ("product_name", "product_name"),
        ("product_serial", "product_serial"),
        ("product_uuid", "product_uuid"),
        ("product_version", "product_version"),
        ("bios_vendor", "bios_vendor"),
        ("bios_version", "bios_version"),
        ("bios_date", "bios_date"),
        ("board_name", "board_name"),
        ("board_vendor", "board_vendor"),
        ("board_serial", "board_serial"),
        ("chassis_vendor", "chassis_vendor"),
        ("chassis_serial", "chassis_serial"),
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

    fact("devices", hardware::devices(context));
    fact("mounts", hardware::mounts(context));
    fact("memory_mb", hardware::memory(&meminfo));
    let (guest, host) = hardware::virtualization(context);
    let (kind, role) = match (guest.first(), host.first()) {
        (Some(kind), _) => (*kind, "guest"),
        (None, Some(kind)) => (*kind, "host"),
        (None, None) => ("NA", "NA"),
    };
    fact("virtualization_type", kind.into());
    fact("virtualization_role", role.into());
    fact("virtualization_tech_guest", guest.into());
    fact("virtualization_tech_host", host.into());
    let (command_line, all) = software::command_line(&read("/proc/cmdline"));
    fact("cmdline", command_line);
    fact("proc_cmdline", all);
    fact("dns", software::dns(&read("/etc/resolv.conf")));
    fact("loadavg", software::load(&read("/proc/loadavg")));
    fact("date_time", time);
    fact("local", local);
    let version = line("/etc/debian_version");
    fact("lsb", software::lsb(&read("/etc/os-release"), &version));
    fact(
        "userspace_bits",
        if cfg!(target_pointer_width = "64") {
            "64"
        } else {
            "32"
        }
        .into(),
    );
    fact("userspace_architecture", std::env::consts::ARCH.into());
    let environment: Map<String, Value> = std::env::vars()
        .chain(context.environment.iter().cloned())
        .map(|(name, value)| (name, value.into()))
        .collect();
    fact("env", environment.into());
    for (name, value) in software::user(context)
        .into_iter()
        .chain(software::security(context))
    {
        fact(name, value);
    }
    for (name, value) in software::host_keys(context) {
        fact(&name, value);
    }
    if let Some((version, about)) = software::python(context) {
        fact("python_version", version.into());
        fact("python", about);
    }

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
    let sixes = |nic: &Value| nic["ipv6"].as_array().cloned().unwrap_or_default();
    fact(
        "all_ipv6_addresses",
        interfaces
            .values()
            .flat_map(sixes)
            .map(|six| six["address"].clone())
            .filter(|address| address != "::1")
            .collect::<Vec<_>>()
            .into(),
    );
    fact(
        "default_ipv6",
        default_ipv6(&read("/proc/net/ipv6_route"), &interfaces),
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
    let table = std::fs::read_to_string(context.path("/proc/net/if_inet6")).unwrap_or_default();
    let sixes = ipv6_addresses(&table);
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
        let six = sixes.get(&name).cloned().unwrap_or_default();
        if !six.is_empty() {
            nic["ipv6"] = six.into();
        }
        out.insert(name, nic);
    }
    out
}

/// Addresses by interface, from the text of `/proc/net/if_inet6`.
fn ipv6_addresses(table: &str) -> BTreeMap<String, Vec<Value>> {
    let mut out: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, _, prefix, scope, _, name] = fields.as_slice() else {
            continue;
        };
        let (Ok(bits), Ok(prefix)) = (
            u128::from_str_radix(address, 16),
            u8::from_str_radix(prefix, 16),
        ) else {
            continue;
        };
        let scope = match *scope {
            "00" => "global",
            "10" => "host",
            "20" => "link",
            "40" => "site",
            _ => "unknown",
        };
        let address = Ipv6Addr::from_bits(bits).to_string();
        out.entry((*name).to_owned())
            .or_default()
            .push(json!({"address": address, "prefix": prefix.to_string(), "scope": scope}));
    }
    out
}

/// The interface and gateway of the default route, from the text of `/proc/net/ipv6_route`.
fn default_ipv6(routes: &str, interfaces: &BTreeMap<String, Value>) -> Value {
    let zero = "0".repeat(32);
    for line in routes.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [target, "00", _, _, gateway, _, _, _, _, name] = fields.as_slice() else {
            continue;
        };
        if *target != zero || *gateway == zero {
            continue;
        }
        let (Ok(gateway), Some(nic)) = (u128::from_str_radix(gateway, 16), interfaces.get(*name))
        else {
            continue;
        };
        let own = nic["ipv6"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|six| six["scope"] == "global");
        let mut out = own.and_then(Value::as_object).cloned().unwrap_or_default();
        out.insert(
            "gateway".into(),
            Ipv6Addr::from_bits(gateway).to_string().into(),
        );
        out.insert("interface".into(), (*name).into());
        for key in ["macaddress", "mtu", "type"] {
            out.insert(key.into(), nic.get(key).cloned().unwrap_or(Value::Null));
        }
        return out.into();
    }
    json!({})
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
            (
                "/proc/net/if_inet6",
                "fd000000000000000000000000000011 03 40 00 80     eth1\nfe80000000000000505400fffeaa0002 03 40 20 80     eth1\n",
            ),
            (
                "/proc/net/ipv6_route",
                "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth1\n",
            ),
        ] {
            bench.write(path, content);
        }
        let mut facts = bench.run("setup", json!({})).data["ansible_facts"].clone();
        // What differs from one machine and moment to another.
        facts.as_object_mut().unwrap().retain(|name, _| {
            !["ansible_env", "ansible_date_time"].contains(&name.as_str())
                && !["ansible_user_", "ansible_real_", "ansible_effective_"]
                    .iter()
                    .any(|start| name.starts_with(start))
        });
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
