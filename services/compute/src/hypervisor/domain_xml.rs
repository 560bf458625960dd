//! A guest's definition as libvirt's domain XML. Pure: values in, text out; golden tests hold the text.
//! Knows no file system and no connection; the driver resolves every path beforehand.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{GuestSpec, Interface};

/// How guests are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtType {
    /// With the processor's help.
    Kvm,
    /// Emulated.
    Qemu,
}

impl VirtType {
    /// The word in the XML.
    pub fn as_str(self) -> &'static str {
        match self {
            VirtType::Kvm => "kvm",
            VirtType::Qemu => "qemu",
        }
    }
}

/// How interfaces are wired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wiring {
    /// A port of an Open vSwitch bridge, named by the port's id (libvirt insists on a UUID there).
    OpenVSwitch {
        /// The bridge.
        bridge: String,
        /// Whether the guest may leave checksums and segmentation to the host.
        offload: bool,
    },
    /// A port of a plain bridge.
    Bridge(String),
}

/// What the driver adds to a [`GuestSpec`]: paths and the host's settings.
#[derive(Debug, Clone)]
pub struct DomainOptions {
    /// KVM or emulation.
    pub virt_type: VirtType,
    /// `pc`, `q35`, ...
    pub machine: String,
    /// `host-passthrough`, `host-model`, `maximum`, or a model's name; `None`: QEMU's default.
    pub cpu: Option<String>,
    /// Root disk, qcow2.
    pub root_disk: Option<PathBuf>,
    /// `none` where the file system does O_DIRECT, else `writeback`.
    pub disk_cache: &'static str,
    /// ISO image.
    pub config_drive: Option<PathBuf>,
    /// Direct kernel boot.
    pub kernel: Option<PathBuf>,
    /// ... its ramdisk.
    pub ramdisk: Option<PathBuf>,
    /// The serial console's log.
    pub console_log: PathBuf,
    /// Address on which VNC listens; `None`: no screen.
    pub vnc_listen: Option<String>,
    /// Bridge of the interfaces.
    pub wiring: Wiring,
}

/// The domain's XML.
pub fn domain_xml(spec: &GuestSpec, options: &DomainOptions) -> String {
    let mut x = String::with_capacity(4096);
    let o = options;
    // Writing into a String cannot fail; the results are dropped for that reason.
    let _ = write!(
        x,
        "<domain type='{}'>\n <name>{}</name>\n <uuid>{}</uuid>\n <title>{}</title>\n \
         <memory unit='MiB'>{}</memory>\n <vcpu>{}</vcpu>\n",
        o.virt_type.as_str(),
        escape(&spec.domain_name),
        spec.id,
        escape(&spec.display_name.replace('\n', " ")),
        spec.memory_mib,
        spec.vcpus,
    );
    os(&mut x, spec, o);
    x.push_str(" <features><acpi/><apic/></features>\n");
    x.push_str(&cpu_xml(o.cpu.as_deref()));
    x.push_str(
        " <clock offset='utc'/>\n <on_poweroff>destroy</on_poweroff>\n <on_reboot>restart</on_reboot>\n \
         <on_crash>destroy</on_crash>\n <devices>\n",
    );
    disks(&mut x, o);
    for interface in &spec.interfaces {
        x.push_str(&interface_xml(interface, &o.wiring));
    }
    let _ = writeln!(
        x,
        "  <serial type='file'><source path='{}' append='on'/><target port='0'/></serial>",
        escape(&o.console_log.to_string_lossy())
    );
    if let Some(listen) = &o.vnc_listen {
        let _ = writeln!(
            x,
            "  <graphics type='vnc' port='-1' autoport='yes' listen='{}'/>",
            escape(listen)
        );
        x.push_str("  <video><model type='vga' vram='16384'/></video>\n");
    }
    x.push_str("  <controller type='usb' model='none'/>\n");
    x.push_str("  <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n");
    x.push_str("  <memballoon model='none'/>\n");
    x.push_str(" </devices>\n</domain>\n");
    x
}

fn os(x: &mut String, spec: &GuestSpec, o: &DomainOptions) {
    let _ = write!(
        x,
        " <os><type arch='x86_64' machine='{}'>hvm</type>",
        escape(&o.machine)
    );
    if let Some(kernel) = &o.kernel {
        let _ = write!(x, "<kernel>{}</kernel>", escape(&kernel.to_string_lossy()));
        if let Some(ramdisk) = &o.ramdisk {
            let _ = write!(x, "<initrd>{}</initrd>", escape(&ramdisk.to_string_lossy()));
        }
        let default = if o.root_disk.is_some() {
            "root=/dev/vda console=tty0 console=ttyS0"
        } else {
            "console=ttyS0"
        };
        let _ = write!(
            x,
            "<cmdline>{}</cmdline>",
            escape(spec.command_line.as_deref().unwrap_or(default))
        );
    } else {
        x.push_str("<boot dev='hd'/>");
    }
    x.push_str("</os>\n");
}

/// The processor: nothing for the default, else a mode or a model.
pub(super) fn cpu_xml(cpu: Option<&str>) -> String {
    match cpu {
        None => String::new(),
        Some(mode @ ("host-passthrough" | "host-model" | "maximum")) => {
            format!(" <cpu mode='{mode}'/>\n")
        }
        Some(model) => format!(
            " <cpu mode='custom' match='exact'><model fallback='allow'>{}</model></cpu>\n",
            escape(model)
        ),
    }
}

fn disks(x: &mut String, o: &DomainOptions) {
    if let Some(path) = &o.root_disk {
        let _ = writeln!(
            x,
            "  <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='{}' discard='unmap'/>\
             <source file='{}'/><target dev='vda' bus='virtio'/></disk>",
            o.disk_cache,
            escape(&path.to_string_lossy()),
        );
    }
    if let Some(path) = &o.config_drive {
        // A read-only virtio disk rather than a CD-ROM: kernels made for clouds have no IDE or SATA driver, and
        // cloud-init finds the drive by its label. Target `vdz` leaves `vdb` and on to volumes.
        let _ = writeln!(
            x,
            "  <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/>\
             <target dev='vdz' bus='virtio'/><readonly/></disk>",
            escape(&path.to_string_lossy()),
        );
    }
}

/// One interface, also for plugging into a running guest.
pub fn interface_xml(interface: &Interface, wiring: &Wiring) -> String {
    let mut x = String::new();
    let _ = write!(
        x,
        "  <interface type='bridge'><mac address='{}'/>",
        escape(&interface.mac)
    );
    match wiring {
        Wiring::OpenVSwitch { bridge, .. } => {
            let _ = write!(
                x,
                "<source bridge='{}'/><virtualport type='openvswitch'><parameters interfaceid='{}'/></virtualport>",
                escape(bridge),
                interface.port_id,
            );
        }
        Wiring::Bridge(bridge) => {
            let _ = write!(x, "<source bridge='{}'/>", escape(bridge));
        }
    }
    let _ = write!(
        x,
        "<target dev='{}'/><model type='virtio'/>",
        interface.tap()
    );
    if let Some(mtu) = interface.mtu {
        let _ = write!(x, "<mtu size='{mtu}'/>");
    }
    if matches!(wiring, Wiring::OpenVSwitch { offload: false, .. }) {
        x.push_str(
            "<driver><host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off'/>\
             <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/></driver>",
        );
    }
    // No option ROM: guests boot from disk, and each ROM costs the firmware time.
    x.push_str("<rom enabled='no'/></interface>\n");
    x
}

/// Text for use in an element or an attribute. Characters that XML 1.0 cannot hold are dropped.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if (c as u32) < 0x20 || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::config_drive::tests::sample;
    use proptest::prelude::*;

    fn options() -> DomainOptions {
        DomainOptions {
            virt_type: VirtType::Kvm,
            machine: "pc".into(),
            cpu: Some("host-passthrough".into()),
            root_disk: Some("/var/lib/nova/instances/x/disk".into()),
            disk_cache: "none",
            config_drive: Some("/var/lib/nova/instances/x/config.iso".into()),
            kernel: None,
            ramdisk: None,
            console_log: "/var/lib/nova/instances/x/console.log".into(),
            vnc_listen: Some("127.0.0.1".into()),
            wiring: Wiring::OpenVSwitch {
                bridge: "br-int".into(),
                offload: true,
            },
        }
    }

    #[test]
    fn disk_boot() {
        insta::assert_snapshot!(domain_xml(&sample(), &options()));
    }

    #[test]
    fn kernel_boot_emulated_without_a_screen() {
        let mut spec = sample();
        spec.interfaces.truncate(1);
        let options = DomainOptions {
            virt_type: VirtType::Qemu,
            cpu: Some("qemu64".into()),
            root_disk: None,
            config_drive: None,
            kernel: Some("/k/vmlinuz".into()),
            ramdisk: Some("/k/initrd".into()),
            vnc_listen: None,
            wiring: Wiring::Bridge("br0".into()),
            ..options()
        };
        insta::assert_snapshot!(domain_xml(&spec, &options));
    }

    #[test]
    fn a_switch_in_user_space_gets_whole_packets() {
        let wiring = Wiring::OpenVSwitch {
            bridge: "br-int".into(),
            offload: false,
        };
        let xml = interface_xml(&sample().interfaces[0], &wiring);
        assert!(
            xml.contains("<driver><host csum='off' gso='off'") && xml.contains("<guest csum='off'"),
            "{xml}"
        );
    }

    proptest! {
        #[test]
        fn names_never_break_out(name in any::<String>()) {
            let mut spec = sample();
            spec.display_name = name;
            let xml = domain_xml(&spec, &options());
            let title = xml.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap_or_default();
            prop_assert!(!title.contains(['<', '>', '\'', '"']));
            prop_assert_eq!(xml.matches("</domain>").count(), 1);
        }
    }
}
