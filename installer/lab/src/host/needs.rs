//! What a host needs of the machine: programs with their Debian packages, and root's rights.
use crate::checks::{install_line, missing};

/// Programs and files, with their Debian packages.
const PROGRAMS: &[(&str, &str)] = &[
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("libvirtd", "libvirt-daemon-system"),
    ("nsenter", "util-linux"),
    ("ovn-controller", "ovn-host"),
    ("ovn-northd", "ovn-central"),
    ("ovs-vsctl", "openvswitch-switch"),
    ("ovs-vswitchd", "openvswitch-switch"),
    ("ovsdb-server", "openvswitch-switch"),
    ("ovsdb-tool", "openvswitch-switch"),
    ("qemu-img", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];
const FILES: &[(&str, &str)] = &[
    (
        "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so",
        "libvirt-daemon-driver-qemu",
    ),
    ("/usr/share/ovn/ovn-nb.ovsschema", "ovn-central"),
    ("/usr/share/ovn/ovn-sb.ovsschema", "ovn-central"),
];

/// Everything that stands in the way of a host on this machine, one sentence each; nothing is changed.
pub fn host_shortfalls() -> Vec<String> {
    let mut found = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        found.push(
            "root's rights are needed: network namespaces are made (run it with sudo)".to_owned(),
        );
    }
    found.extend(install_line(&missing(PROGRAMS.iter(), FILES.iter())));
    found
}
