//! Values that several tests start from.
use std::sync::Arc;

use agent_protocol::enrol::{Disk, Hardware, Nic, SeedFile};
use boot::Mac;
use inventory::{Files, TextFile};
use network_plan::NodePlan;

use crate::manifest::ImageManifest;
use crate::spec::NodeSpec;

pub fn spec(name: &str, number: u8) -> NodeSpec {
    let boot_mac = Mac([0x52, 0x54, 0, 0x20, number, 0]);
    NodeSpec {
        name: name.into(),
        fqdn: format!("{name}.domain.tld"),
        boot_mac,
        address: format!("10.20.0.1{number}/24").parse().unwrap(),
        network: node(number),
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

/// `pxe` on the first card, `mgmt` and `app` on the second.
pub fn node(number: u8) -> NodePlan {
    let nics = "{eth0: [pxe], eth1: [mgmt, app]}";
    let macs = [0, 1].map(|card| format!("eth{card}: '52:54:00:20:{number:02x}:{card:02x}'"));
    planned(&format!("macs: {{{}}}, nics: {nics}", macs.join(", ")))
}

/// The plan of a controller with these variables.
pub fn planned(variables: &str) -> NodePlan {
    let text = |name: &str, text: String| {
        Some(TextFile {
            name: name.into(),
            text,
        })
    };
    let networks = "pxe: {cidr: 10.20.0.0/24, gateway: 10.20.0.1}
mgmt: {cidr: 10.20.1.0/24}
app: {cidr: 10.20.2.0/24, vlan: 12}\n";
    let (inventory, faults) = inventory::assemble(&Files {
        hosts: text(
            "hosts.yml",
            format!("controller:\n  hosts:\n    node-1: {{{variables}}}\n"),
        ),
        networks: text("networks.yml", networks.into()),
        ..Files::default()
    });
    assert!(!faults.has_errors(), "{faults}");
    let (plan, _) = network_plan::plan(&inventory, &Default::default()).unwrap();
    plan.nodes["node-1"].clone()
}

pub fn hardware(number: u8) -> Hardware {
    let nic = |card: u8| Nic {
        name: format!("eth{card}"),
        mac: format!("52:54:00:20:{number:02x}:{card:02x}"),
        driver: Some("virtio_net".into()),
        carrier: true,
        ..Nic::default()
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
