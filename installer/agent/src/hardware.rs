//! What a machine is made of, read from `/sys` and `/proc` below a root folder.
//!
//! A missing or unreadable file is a missing fact, never an error: firmware tables of real machines
//! are full of holes. It knows no network and writes nothing. What a card could do is in no file: `link_speed` asks.
mod link_speed;

use std::fs;
use std::path::Path;

use agent_protocol::PROTOCOL;
use agent_protocol::enrol::{Disk, Hardware, Nic};

/// Block devices of these kinds are never an installation target.
const NOT_DISKS: [&str; 9] = [
    "loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtdblock",
];

/// Reads the whole report. `boot_mac` is what the boot server said on the kernel command line.
pub fn read(root: &Path, boot_mac: &str) -> Hardware {
    let dmi = |name: &str| fact(root, &format!("sys/class/dmi/id/{name}"));
    let (cpu_model, cpu_count) = processors(&text(root, "proc/cpuinfo"));
    Hardware {
        protocol: PROTOCOL,
        boot_mac: boot_mac.to_ascii_lowercase(),
        vendor: dmi("sys_vendor"),
        product: dmi("product_name"),
        serial: dmi("product_serial"),
        uuid: dmi("product_uuid"),
        firmware: if root.join("sys/firmware/efi").exists() {
            "uefi"
        } else {
            "bios"
        }
        .to_owned(),
        cpu_model,
        cpu_count,
        memory_bytes: memory_bytes(&text(root, "proc/meminfo")),
        nics: nics(root),
        disks: disks(root),
        kernel: fact(root, "proc/sys/kernel/osrelease").unwrap_or_default(),
    }
}

/// Model name and number of logical processors in the text of `/proc/cpuinfo`.
fn processors(cpuinfo: &str) -> (String, u32) {
    let fields = || cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let model = fields()
        .find(|(key, _)| key.trim() == "model name")
        .map(|(_, value)| value.trim().to_owned());
    let count = fields()
        .filter(|(key, _)| key.trim() == "processor")
        .count();
    (model.unwrap_or_default(), count as u32)
}

fn memory_bytes(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

/// Physical NICs in name order: those with a device behind them (no bridges, no `lo`).
fn nics(root: &Path) -> Vec<Nic> {
    entries(root, "sys/class/net")
        .into_iter()
        .filter(|name| {
            root.join("sys/class/net")
                .join(name)
                .join("device")
                .exists()
        })
        .map(|name| {
            let base = format!("sys/class/net/{name}");
            let link_name = |link: &str| {
                fs::read_link(root.join(&base).join(link))
                    .ok()
                    .and_then(|target| Some(target.file_name()?.to_str()?.to_owned()))
            };
            Nic {
                mac: fact(root, &format!("{base}/address"))
                    .unwrap_or_default()
                    .to_ascii_lowercase(),
                driver: link_name("device/driver"),
                pci_path: fs::canonicalize(root.join(&base).join("device"))
                    .ok()
                    .and_then(|path| pci_address(&path)),
                // -1 or an error while the link is down, or always with virtio.
                speed_mbit: fact(root, &format!("{base}/speed"))
                    .and_then(|speed| speed.parse().ok()),
                max_speed_mbit: (root == Path::new("/"))
                    .then(|| link_speed::highest(&name))
                    .flatten(),
                carrier: fact(root, &format!("{base}/carrier")).as_deref() == Some("1"),
                name,
            }
        })
        .collect()
}

/// The last `domain:bus:device.function` in a path: a virtio device lies below its PCI function.
fn pci_address(path: &Path) -> Option<String> {
    path.components()
        .rev()
        .filter_map(|part| part.as_os_str().to_str())
        .find(|part| {
            let shape: String = part
                .chars()
                .map(|c| if c.is_ascii_hexdigit() { 'h' } else { c })
                .collect();
            shape == "hhhh:hh:hh.h"
        })
        .map(str::to_owned)
}

/// Fixed disks in name order.
fn disks(root: &Path) -> Vec<Disk> {
    entries(root, "sys/block")
        .into_iter()
        .filter(|name| !NOT_DISKS.iter().any(|kind| name.starts_with(kind)))
        .filter_map(|name| {
            let value = |file: &str| fact(root, &format!("sys/block/{name}/{file}"));
            if value("removable").as_deref() == Some("1") {
                return None;
            }
            // The kernel counts in sectors of 512 bytes, whatever the disk's own sector size is.
            let size_bytes = value("size")?.parse::<u64>().ok()?.checked_mul(512)?;
            (size_bytes > 0).then(|| Disk {
                size_bytes,
                rotational: value("queue/rotational").as_deref() == Some("1"),
                serial: value("serial").or_else(|| value("device/serial")),
                model: value("device/model"),
                name: name.clone(),
            })
        })
        .collect()
}

fn entries(root: &Path, folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root.join(folder))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn text(root: &Path, file: &str) -> String {
    fs::read(root.join(file))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// A one-line file's trimmed content; empty is the same as absent.
fn fact(root: &Path, file: &str) -> Option<String> {
    let value = text(root, file).trim().to_owned();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A machine with one virtio NIC, one bridge, one disk, one CD-ROM and one loop device.
    fn machine() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let file = |name: &str, content: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        file(
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: QEMU Virtual CPU\n\nprocessor\t: 1\nmodel name\t: QEMU Virtual CPU\n",
        );
        file(
            "proc/meminfo",
            "MemTotal:        1009632 kB\nMemFree:          512 kB\n",
        );
        file("proc/sys/kernel/osrelease", "6.1.0-56-cloud-amd64\n");
        file("sys/class/dmi/id/sys_vendor", "QEMU\n");
        file("sys/class/dmi/id/product_serial", "  \n");
        let pci = "sys/devices/pci0000:00/0000:00:03.0/virtio0";
        file(&format!("{pci}/net/eth0/address"), "52:54:00:AA:00:01\n");
        file(&format!("{pci}/net/eth0/carrier"), "1\n");
        file(&format!("{pci}/net/eth0/speed"), "-1\n");
        file("sys/bus/virtio/drivers/virtio_net/bind", "");
        symlink(
            "../../../../bus/virtio/drivers/virtio_net",
            root.join(pci).join("driver"),
        )
        .unwrap();
        symlink("../../../virtio0", root.join(pci).join("net/eth0/device")).unwrap();
        fs::create_dir_all(root.join("sys/class/net")).unwrap();
        symlink(
            "../../devices/pci0000:00/0000:00:03.0/virtio0/net/eth0",
            root.join("sys/class/net/eth0"),
        )
        .unwrap();
        file("sys/class/net/br0/address", "52:54:00:aa:00:02\n");
        file("sys/block/vda/size", "8388608\n");
        file("sys/block/vda/removable", "0\n");
        file("sys/block/vda/serial", "disk-1\n");
        file("sys/block/vda/queue/rotational", "1\n");
        file("sys/block/sr0/size", "2048\n");
        file("sys/block/loop0/size", "2048\n");
        file("sys/block/sdb/size", "2048\n");
        file("sys/block/sdb/removable", "1\n");
        folder
    }

    #[test]
    fn a_virtual_machine_is_read_from_its_files() {
        let folder = machine();
        let report = read(folder.path(), "52:54:00:AA:00:01");
        insta::assert_json_snapshot!(report);
    }

    #[test]
    fn an_empty_root_gives_an_empty_report() {
        let folder = tempfile::tempdir().unwrap();
        let report = read(folder.path(), "");
        assert_eq!(
            (report.cpu_count, report.memory_bytes, report.disks.len()),
            (0, 0, 0)
        );
    }
}
