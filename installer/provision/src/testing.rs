//! Values that several tests start from.
use std::sync::Arc;

use agent_protocol::enrol::{Disk, Hardware, Nic, SeedFile};
use boot::Mac;

use crate::manifest::ImageManifest;
use crate::spec::NodeSpec;

pub fn spec(name: &str, number: u8) -> NodeSpec {
    let boot_mac = Mac([0x52, 0x54, 0, 0x20, number, 0]);
    NodeSpec {
        name: name.into(),
        fqdn: format!("{name}.domain.tld"),
        boot_mac,
        address: format!("10.20.0.1{number}/24").parse().unwrap(),
        nics: vec![
            ("eth0".into(), boot_mac),
            ("eth1".into(), Mac([0x52, 0x54, 0, 0x20, number, 1])),
        ],
        image: Arc::new(ImageManifest {
            name: "base".into(),
            disk_image: "/nonexistent/disk.zst".into(),
            sha256: "ab".repeat(32),
            compressed_bytes: 118_000_000,
            disk_bytes: 1 << 30,
            root_partition: 2,
            kernel_release: "6.1.0-56-cloud-amd64".into(),
            kernel: "/nonexistent/vmlinuz".into(),
            ramdisk: "/nonexistent/ramdisk".into(),
        }),
        disk: None,
        files: vec![SeedFile {
            path: "/etc/hosts".into(),
            mode: 0o644,
            content: "127.0.0.1 localhost\n".into(),
        }],
    }
}

pub fn hardware(number: u8) -> Hardware {
    let nic = |card: u8| Nic {
        name: format!("eth{card}"),
        mac: format!("52:54:00:20:{number:02x}:{card:02x}"),
        driver: Some("virtio_net".into()),
        pci_path: None,
        speed_mbit: None,
        carrier: true,
    };
    Hardware {
        protocol: agent_protocol::PROTOCOL,
        boot_mac: nic(0).mac,
        vendor: Some("QEMU".into()),
        product: None,
        serial: None,
        uuid: None,
        firmware: "bios".into(),
        cpu_model: "QEMU Virtual CPU".into(),
        cpu_count: 2,
        memory_bytes: 1536 << 20,
        nics: vec![nic(0), nic(1)],
        disks: vec![Disk {
            name: "vda".into(),
            size_bytes: 10 << 30,
            rotational: false,
            serial: None,
            model: None,
        }],
        kernel: "6.1.0-56-cloud-amd64".into(),
    }
}
