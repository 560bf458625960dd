//! A lab with bonds and VLANs has a switch, which comes back when it died, notices pulled cables, and goes with the lab.
use std::{fs, process::Command};

use inventory::Firmware;
use lab::{
    Accelerator, Folders, Lab, LabSpec, Machine, MachineKind, Nic, Plug, SwitchPort, Wire, inside,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::machines::{Down, may_run};

/// A machine that boots from a bridge and has a bond of two with two VLANs.
fn spec(env: &str) -> LabSpec {
    let wire = |network: &str, vlan, address: [u8; 4]| Wire {
        network: network.into(),
        mtu: if vlan == Some(402) { 9000 } else { 1500 },
        vlan,
        host_addresses: vec![(address.into(), 24)],
    };
    let nic = |number: u8, plug| Nic {
        name: format!("net{number}"),
        mac: format!("52:54:00:fd:00:0{number}"),
        plug,
        boots: number == 0,
    };
    let member = Plug::Switch(SwitchPort {
        bond: Some("bond0".into()),
        untagged: None,
        tagged: vec![401, 402],
        mtu: 9000,
    });
    LabSpec {
        env: env.into(),
        wires: vec![
            wire("pxe", None, [10, 98, 0, 1]),
            wire("mgmt", Some(401), [10, 98, 1, 1]),
            wire("storage", Some(402), [10, 98, 2, 1]),
        ],
        machines: vec![Machine {
            name: "node-1".into(),
            memory_mib: 128,
            cpus: 1,
            disk_gib: 1,
            firmware: Firmware::Bios,
            translation_cache_mib: 32,
            nics: vec![
                nic(0, Plug::Bridge("pxe".into())),
                nic(1, member.clone()),
                nic(2, member),
            ],
            bmc: None,
        }],
    }
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_switch_comes_back_notices_cables_and_goes_with_the_lab() {
    let state = tempfile::tempdir().unwrap();
    let env = format!("s{}", std::process::id() % 100_000);
    let lab = Lab::new(
        spec(&env),
        Folders::of(&env, state.path()),
        MachineKind::Emulated(Accelerator::Emulation),
    );
    if !may_run(&lab, state.path()) {
        return;
    }
    let down = Down(&lab);
    let callback = ["/bin/true".to_owned()];
    lab.up("a-password", &callback).unwrap();
    let switch = lab.switch().unwrap();
    assert!(switch.is_on);
    let machine = lab.status()[0].pid;
    let addresses = || said(inside(&env, "ip").args(["-o", "-4", "address"]));
    let there = |text: &str| {
        ["10.98.0.1/24", "10.98.1.1/24", "10.98.2.1/24"].map(|address| text.contains(address))
    };
    assert_eq!(there(&addresses()), [true; 3]);

    let pid = fs::read_to_string(switch.folder.join("ovs-vswitchd.pid")).unwrap();
    kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    while lab.switch().unwrap().is_on {}
    lab.up("a-password", &callback).unwrap();
    assert!(lab.switch().unwrap().is_on);
    assert_eq!(there(&addresses()), [true; 3]);
    assert_eq!(lab.status()[0].pid, machine, "the machine goes on");

    let links = || {
        let socket = format!("--db=unix:{}/db.sock", switch.folder.display());
        let words = [
            &socket,
            "--bare",
            "--columns=link_state",
            "find",
            "Interface",
        ];
        let mut command = Command::new("ovs-vsctl");
        let down = said(command.args(words).arg("link_state=down"));
        down.lines().filter(|line| *line == "down").count()
    };
    let before = links();
    lab.cable("node-1", "net1", false).unwrap();
    wait_for(|| links() == before + 1);
    lab.cable("node-1", "net1", true).unwrap();
    wait_for(|| links() == before);
    let error = lab.cable("node-1", "net7", false).unwrap_err().to_string();
    assert!(error.contains("net0, net1, net2"), "{error}");

    drop(down);
    assert!(!lab.is_up() && !lab.switch().unwrap().is_on);
    assert!(!switch.folder.exists());
}

/// The switch hears of a link from the kernel.
fn wait_for(is_so: impl Fn() -> bool) {
    let noticed = (0..300).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        is_so()
    });
    assert!(noticed, "the switch did not notice");
}
