//! Disks, mounted file systems, memory, processors, and whether the machine is a real one.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{line, names, read};
use crate::context::Context;

/// Sizes as Ansible prints them.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["Bytes", "KB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", UNITS[unit])
}

/// Every block device with its partitions, by the kernel's names.
pub fn devices(context: &Context<'_>) -> Value {
    let links = links(context);
    let mut out = Map::new();
    for name in names(context, "/sys/block") {
        let base = format!("/sys/block/{name}");
        let text = |file: &str| line(context, &format!("{base}/{file}"));
        let number = |file: &str| text(file).parse::<u64>().unwrap_or(0);
        let sector = number("queue/hw_sector_size").max(512);
        // The kernel counts sectors of 512 bytes, whatever the disk's are.
        let bytes = number("size") * 512;
        let mut partitions = Map::new();
        for part in names(context, &base)
            .iter()
            .filter(|part| part.starts_with(&name))
        {
            let inside = format!("{base}/{part}");
            let number = |file: &str| {
                line(context, &format!("{inside}/{file}"))
                    .parse::<u64>()
                    .unwrap_or(0)
            };
            let links = links.get(part).cloned().unwrap_or_else(no_links);
            partitions.insert(
                part.clone(),
                json!({
                    "start": number("start").to_string(),
                    "sectors": number("size").to_string(),
                    "sectorsize": sector,
                    "size": human(number("size") * 512),
                    "uuid": links["uuids"][0],
                    "holders": names(context, &format!("{inside}/holders")),
                    "links": links,
                }),
            );
        }
        let or_null = |text: String| {
            if text.is_empty() {
                Value::Null
            } else {
                text.into()
            }
        };
        let scheduler = text("queue/scheduler");
        let scheduler = scheduler
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map_or("", |(mode, _)| mode);
        let device = json!({
            "virtual": u8::from(!context.path(&format!("{base}/device")).exists()),
            "links": links.get(&name).cloned().unwrap_or_else(no_links),
            "vendor": or_null(text("device/vendor")),
            "model": or_null(text("device/model")),
            "serial": or_null(text("device/serial")),
            "removable": text("removable"),
            "rotational": text("queue/rotational"),
            "support_discard": text("queue/discard_granularity"),
            "scheduler_mode": scheduler,
            "sectors": number("size").to_string(),
            "sectorsize": sector.to_string(),
            "size": human(bytes),
            "host": "",
            "holders": names(context, &format!("{base}/holders")),
            "partitions": partitions,
        });
        out.insert(name, device);
    }
    out.into()
}

fn no_links() -> Value {
    json!({"ids": [], "labels": [], "masters": [], "uuids": []})
}

/// Other names of devices, as udev gives them.
fn links(context: &Context<'_>) -> BTreeMap<String, Value> {
    let mut out: BTreeMap<String, Value> = BTreeMap::new();
    for (folder, key) in [
        ("by-id", "ids"),
        ("by-label", "labels"),
        ("by-uuid", "uuids"),
    ] {
        let folder = format!("/dev/disk/{folder}");
        for name in names(context, &folder) {
            let target = std::fs::read_link(context.path(&format!("{folder}/{name}")));
            let Some(device) = target
                .ok()
                .and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()))
            else {
                continue;
            };
            let entry = out.entry(device).or_insert_with(no_links);
            if let Some(list) = entry[key].as_array_mut() {
                list.push(name.into());
            }
        }
    }
    out
}

/// File systems on devices and shares, with their sizes.
pub fn mounts(context: &Context<'_>) -> Value {
    let links = links(context);
    let mut out = Vec::new();
    let table = read(context, "/proc/self/mounts");
    for entry in table.lines() {
        let fields: Vec<&str> = entry.split(' ').collect();
        let [device, mount, kind, options, dump, pass] = fields.as_slice() else {
            continue;
        };
        let on_device = device.starts_with('/');
        // A share that does not answer would hold up all other facts.
        let on_share = device.contains(":/");
        if (!on_device && !on_share) || *kind == "none" {
            continue;
        }
        let mount = mount.replace("\\040", " ").replace("\\011", "\t");
        let name = std::fs::canonicalize(context.path(device))
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_else(|| device.rsplit('/').next().unwrap_or_default().to_owned());
        let uuid = links
            .get(&name)
            .and_then(|links| links["uuids"][0].as_str())
            .unwrap_or("N/A");
        let mut about = json!({
            "device": device, "mount": mount, "fstype": kind, "options": options,
            "dump": dump.parse::<u32>().unwrap_or(0), "passno": pass.parse::<u32>().unwrap_or(0),
            "uuid": uuid,
        });
        if on_device && let Ok(found) = nix::sys::statvfs::statvfs(&context.path(&mount)) {
            let block = found.fragment_size();
            for (key, value) in [
                ("block_size", block),
                ("block_total", found.blocks()),
                ("block_available", found.blocks_available()),
                (
                    "block_used",
                    found.blocks().saturating_sub(found.blocks_free()),
                ),
                ("size_total", found.blocks().saturating_mul(block)),
                (
                    "size_available",
                    found.blocks_available().saturating_mul(block),
                ),
                ("inode_total", found.files()),
                ("inode_available", found.files_available()),
                (
                    "inode_used",
                    found.files().saturating_sub(found.files_free()),
                ),
            ] {
                about[key] = value.into();
            }
        }
        out.push(about);
    }
    out.into()
}

/// Memory in MiB, from the text of `/proc/meminfo`.
pub fn memory(meminfo: &str) -> Value {
    let mib = |wanted: &str| -> u64 {
        meminfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| *key == wanted)
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0)
            / 1024
    };
    let (total, free) = (mib("MemTotal"), mib("MemFree"));
    let spare = free + mib("Cached") + mib("Buffers");
    let (swap, swap_free) = (mib("SwapTotal"), mib("SwapFree"));
    json!({
        "real": {"total": total, "free": free, "used": total.saturating_sub(free)},
        "nocache": {"free": spare, "used": total.saturating_sub(spare)},
        "swap": {"total": swap, "free": swap_free, "used": swap.saturating_sub(swap_free), "cached": mib("SwapCached")},
    })
}

/// Number, vendor and model of each processor, one after another, and threads of a core.
pub fn processors(cpuinfo: &str) -> (Vec<String>, u64) {
    let mut out = Vec::new();
    let field = |block: &str, wanted: &str| {
        block
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim() == wanted)
            .map(|(_, value)| value.trim().to_owned())
    };
    let mut threads = 1;
    let mut block = String::new();
    for line in cpuinfo.lines().chain(["processor:"]) {
        if line.starts_with("processor") && !block.is_empty() {
            for name in ["processor", "vendor_id", "model name"] {
                out.extend(field(&block, name));
            }
            let number = |name: &str| field(&block, name)?.parse::<u64>().ok();
            if let (Some(siblings), Some(cores @ 1..)) = (number("siblings"), number("cpu cores")) {
                threads = (siblings / cores).max(1);
            }
            block.clear();
        }
        block.push_str(line);
        block.push('\n');
    }
    (out, threads)
}

/// What the machine runs in, and what can run in it.
pub fn virtualization(context: &Context<'_>) -> (Vec<&'static str>, Vec<&'static str>) {
    let mut guest = Vec::new();
    let container = line(context, "/run/systemd/container");
    let container = match container.as_str() {
        "" if context.path("/.dockerenv").exists() => "docker",
        "" if context.path("/run/.containerenv").exists() => "podman",
        "systemd-nspawn" => "systemd-nspawn",
        "lxc" | "lxc-libvirt" => "lxc",
        "docker" => "docker",
        "podman" => "podman",
        "" => "",
        _ => "container",
    };
    if !container.is_empty() {
        guest.extend([container, "container"]);
        guest.dedup();
    }
    let vendor = line(context, "/sys/class/dmi/id/sys_vendor");
    let product = line(context, "/sys/class/dmi/id/product_name");
    let bios = line(context, "/sys/class/dmi/id/bios_vendor");
    let machine = if product.starts_with("VMware") {
        "VMware"
    } else if product == "VirtualBox" || vendor == "innotek GmbH" {
        "virtualbox"
    } else if vendor == "Xen" || product.contains("HVM domU") {
        "xen"
    } else if vendor == "Microsoft Corporation" && product == "Virtual Machine" {
        "VirtualPC"
    } else if [
        "KVM",
        "OpenStack Compute",
        "OpenStack Nova",
        "Google Compute Engine",
        "RHEV Hypervisor",
        "oVirt Node",
    ]
    .iter()
    .any(|known| product.starts_with(known))
        || vendor == "QEMU"
        || vendor == "Amazon EC2"
        || bios == "Amazon EC2"
        || read(context, "/proc/cpuinfo").contains("QEMU Virtual CPU")
    {
        "kvm"
    } else {
        ""
    };
    if !machine.is_empty() {
        guest.push(machine);
    }
    let mut host = Vec::new();
    let modules = read(context, "/proc/modules");
    if container.is_empty() {
        for (module, kind) in [("kvm", "kvm"), ("vboxdrv", "virtualbox")] {
            if modules
                .lines()
                .any(|line| line.split(' ').next() == Some(module))
            {
                host.push(kind);
            }
        }
    }
    (guest, host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use std::os::unix::fs::symlink;

    fn bench() -> Bench {
        let bench = Bench::new();
        for (file, text) in [
            ("size", "41943040\n"),
            ("removable", "0\n"),
            ("queue/rotational", "1\n"),
            ("queue/hw_sector_size", "512\n"),
            ("queue/scheduler", "[mq-deadline] none\n"),
            ("vda1/start", "2048\n"),
            ("vda1/size", "1048576\n"),
            ("holders/keep", ""),
        ] {
            bench.write(&format!("/sys/block/vda/{file}"), text);
        }
        bench.write("/dev/vda1", "");
        std::fs::create_dir_all(bench.path("/dev/disk/by-uuid")).unwrap();
        symlink("../../vda1", bench.path("/dev/disk/by-uuid/ABCD-0123")).unwrap();
        bench.write("/proc/self/mounts", "proc /proc proc rw 0 0\n/dev/vda1 /boot\\040x vfat rw,relatime 0 2\n10.0.0.1:/srv /srv nfs rw 0 0\n");
        bench.write("/boot x/keep", "");
        bench
    }

    #[test]
    fn disks_and_mounts_are_described() {
        let bench = bench();
        let (devices, mut mounts) = bench.context(|context| (devices(context), mounts(context)));
        for mount in mounts.as_array_mut().unwrap() {
            let sizes = ["block_", "size_", "inode_"];
            mount
                .as_object_mut()
                .unwrap()
                .retain(|key, _| !sizes.iter().any(|start| key.starts_with(start)));
        }
        insta::assert_json_snapshot!((devices, mounts));
    }

    #[test]
    fn processors_memory_and_sizes() {
        let cpuinfo = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: X\nsiblings\t: 4\ncpu cores\t: 2\n\nprocessor\t: 1\nvendor_id\t: GenuineIntel\nmodel name\t: X\n";
        assert_eq!(
            processors(cpuinfo),
            (
                ["0", "GenuineIntel", "X", "1", "GenuineIntel", "X"]
                    .map(str::to_owned)
                    .to_vec(),
                2
            )
        );
        assert_eq!(
            memory("MemTotal: 4096 kB\nMemFree: 1024 kB\nCached: 1024 kB\n")["nocache"],
            json!({"free": 2, "used": 2})
        );
        assert_eq!(human(20 << 30), "20.00 GB");
        assert_eq!(human(0), "0.00 Bytes");
    }

    #[test]
    fn machines_and_containers_are_told_apart() {
        let bench = Bench::new();
        let ask = || bench.context(|context| virtualization(context));
        assert_eq!(ask(), (vec![], vec![]));
        bench.write("/sys/class/dmi/id/sys_vendor", "QEMU\n");
        bench.write("/proc/modules", "kvm 1 1 - Live 0x0\n");
        assert_eq!(ask(), (vec!["kvm"], vec!["kvm"]));
        bench.write("/run/systemd/container", "systemd-nspawn\n");
        assert_eq!(ask(), (vec!["systemd-nspawn", "container", "kvm"], vec![]));
    }
}
