//! QEMU's arguments for one machine. Pure.
use std::path::{Path, PathBuf};

use inventory::Firmware;

use crate::{
    accelerator::Accelerator,
    names,
    spec::{Machine, Plug},
};

/// OVMF's code, and the store of variables that each machine gets a copy of.
pub(crate) const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(crate) const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Where a machine's files lie.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub disk: PathBuf,
    pub variables: PathBuf,
    pub pid: PathBuf,
    pub qmp: PathBuf,
    pub console: PathBuf,
    pub console_log: PathBuf,
}

/// The arguments by which QEMU is this machine. It goes into the background when its sockets are there.
pub(crate) fn arguments(
    env: &str,
    machine: &Machine,
    files: &Files,
    accelerator: Accelerator,
) -> Vec<String> {
    let mut arguments = Arguments(Vec::new());
    arguments.add("-name", format!("wl-{env}-{}", machine.name));
    arguments.add(
        "-machine",
        if machine.firmware == Firmware::Bios {
            "pc"
        } else {
            "q35"
        },
    );
    match accelerator {
        Accelerator::Kvm => {
            arguments.add("-accel", "kvm");
            arguments.add("-cpu", "host");
        }
        Accelerator::Emulation => {
            arguments.add(
                "-accel",
                format!("tcg,thread=multi,tb-size={}", machine.translation_cache_mib),
            );
            // SVM with nested paging: guests on compute nodes run eight times faster than by emulation there.
            arguments.add("-cpu", "qemu64,+svm,+npt");
        }
    }
    arguments.add("-m", machine.memory_mib.to_string());
    arguments.add("-smp", machine.cpus.to_string());
    arguments.add("-display", "none");
    arguments.flag("-no-user-config");
    arguments.flag("-nodefaults");
    arguments.add(
        "-smbios",
        format!(
            "type=1,manufacturer=Stackwright,product=Lab,serial={}",
            machine.name
        ),
    );
    if machine.firmware != Firmware::Bios {
        arguments.add(
            "-drive",
            format!("if=pflash,unit=0,format=raw,readonly=on,file={OVMF_CODE}"),
        );
        arguments.add(
            "-drive",
            format!(
                "if=pflash,unit=1,format=raw,file={}",
                value(&files.variables)
            ),
        );
    }
    // The disk first: once it is installed, a node starts from it whatever the boot server would say.
    arguments.add(
        "-drive",
        format!(
            "if=none,id=disk,format=raw,cache=unsafe,discard=unmap,detect-zeroes=off,file={}",
            value(&files.disk)
        ),
    );
    arguments.add("-device", "virtio-blk-pci,drive=disk,bootindex=1");
    for nic in &machine.nics {
        let tap = names::tap(env, &machine.name, &nic.name);
        // A switch in user space sees frames before any card fills in checksums, and cannot cut large ones: the guest
        // is offered neither. A bond speaks LACP only on cards that say what they can do.
        let (host, guest) = match nic.plug {
            Plug::Bridge(_) => ("", ""),
            Plug::Switch(_) => (",vnet_hdr=off", ",speed=10000,duplex=full"),
        };
        arguments.add(
            "-netdev",
            format!(
                "tap,id={},ifname={tap},script=no,downscript=no{host}",
                nic.name
            ),
        );
        let boot = match (nic.boots, machine.firmware) {
            (true, Firmware::UefiPxe) => ",bootindex=2,romfile=",
            (true, _) => ",bootindex=2",
            // Without its ROM the NIC is not tried, which saves seconds.
            (false, _) => ",romfile=",
        };
        arguments.add(
            "-device",
            format!(
                "virtio-net-pci,netdev={},mac={}{guest}{boot}",
                nic.name, nic.mac
            ),
        );
    }
    arguments.add("-device", "virtio-rng-pci");
    arguments.add(
        "-chardev",
        format!(
            "socket,id=console,server=on,wait=off,path={},logfile={},logappend=on",
            value(&files.console),
            value(&files.console_log)
        ),
    );
    arguments.add("-serial", "chardev:console");
    arguments.add(
        "-qmp",
        format!("unix:{},server=on,wait=off", value(&files.qmp)),
    );
    arguments.add("-pidfile", files.pid.display().to_string());
    arguments.flag("-daemonize");
    arguments.0
}

/// A path inside of an option: QEMU takes two commas for one.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

struct Arguments(Vec<String>);

impl Arguments {
    fn add(&mut self, option: &str, value: impl Into<String>) {
        self.0.extend([option.to_owned(), value.into()]);
    }

    fn flag(&mut self, option: &str) {
        self.0.push(option.to_owned());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::spec::{Bmc, LabSpec, Nic, Plug, SwitchPort, Wire};

    pub(crate) fn small_lab() -> LabSpec {
        let wire = |network: &str, address: [u8; 4]| Wire {
            network: network.into(),
            mtu: 1500,
            vlan: None,
            host_addresses: vec![(address.into(), 24)],
        };
        let machine = |number: u8, firmware| Machine {
            name: format!("node-{number}"),
            memory_mib: 1024,
            cpus: 1,
            disk_gib: 8,
            firmware,
            translation_cache_mib: 128 * u32::from(number),
            nics: ["pxe", "mgmt"]
                .into_iter()
                .enumerate()
                .map(|(index, network)| Nic {
                    name: format!("eth{index}"),
                    mac: format!("52:54:00:aa:0{number}:0{index}"),
                    plug: Plug::Bridge(network.into()),
                    boots: index == 0,
                })
                .collect(),
            bmc: Some(Bmc {
                address: [10, 99, 0, 100 + number].into(),
                port: 623,
                user: "admin".into(),
            }),
        };
        LabSpec {
            env: "lab".into(),
            wires: vec![wire("pxe", [10, 99, 0, 1]), wire("mgmt", [10, 99, 1, 1])],
            machines: vec![machine(1, Firmware::Bios), machine(2, Firmware::UefiPxe)],
        }
    }

    /// The same machines; node-1 has a bond of two with VLANs, node-2 a trunk with a network without a tag.
    pub(crate) fn trunk_lab() -> LabSpec {
        let mut spec = small_lab();
        spec.wires[1].vlan = Some(401);
        spec.wires.push(Wire {
            network: "storage".into(),
            mtu: 9000,
            vlan: Some(4094),
            host_addresses: vec![([10, 99, 2, 1].into(), 24)],
        });
        let port = |bond: Option<&str>, untagged, tagged| {
            Plug::Switch(SwitchPort {
                bond: bond.map(str::to_owned),
                untagged,
                tagged,
                mtu: 9000,
            })
        };
        let [first, second] = &mut spec.machines[..] else {
            unreachable!("small_lab has two machines");
        };
        let mut nic = first.nics[1].clone();
        nic.plug = port(Some("bond0"), None, vec![401, 4094]);
        first.nics[1] = nic.clone();
        first.nics.push(Nic {
            name: "eth2".into(),
            mac: "52:54:00:aa:01:02".into(),
            ..nic
        });
        second.nics[1].plug = port(None, Some(4094), vec![401]);
        spec
    }

    fn shown(machine: &Machine, accelerator: Accelerator) -> String {
        let folder = Path::new("/state,x");
        let files = Files {
            disk: folder.join("disk.img"),
            variables: folder.join("vars.fd"),
            pid: "/run/pid".into(),
            qmp: "/run/qmp".into(),
            console: "/run/console".into(),
            console_log: folder.join("console.log"),
        };
        arguments("lab", machine, &files, accelerator).join("\n")
    }

    #[test]
    fn a_bios_machine_boots_its_disk_and_then_ipxe_in_the_nic() {
        insta::assert_snapshot!(shown(&small_lab().machines[0], Accelerator::Emulation));
    }

    #[test]
    fn a_card_on_the_switch_leaves_nothing_to_the_host() {
        let shown = shown(&trunk_lab().machines[0], Accelerator::Emulation);
        let is_card = |line: &&str| line.starts_with("tap,") || line.starts_with("virtio-net");
        let cards: Vec<&str> = shown.lines().filter(is_card).collect();
        insta::assert_snapshot!(cards.join("\n"));
    }

    #[test]
    fn a_uefi_machine_boots_by_its_own_pxe() {
        insta::assert_snapshot!(shown(&small_lab().machines[1], Accelerator::Kvm));
    }
}
