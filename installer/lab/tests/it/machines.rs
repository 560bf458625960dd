//! Machines that are turned on ask for an address over the wire; a BMC turns them off and on.
use std::{
    fs::{self, File},
    net::UdpSocket,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use inventory::Firmware;
use lab::{Accelerator, Bmc, Folders, Lab, LabSpec, Machine, MachineKind, Nic, Plug, Power, Wire};
use nix::sched::{CloneFlags, setns};

/// Firmware that used this much and asked for no address never will; on an idle machine it needs 1 to 8.
const CPU_SECONDS_MAX: f64 = 60.0;
/// Where nothing gets any CPU, somebody has to look.
const WALL_SECONDS_MAX: u64 = 600;

fn spec(env: &str) -> LabSpec {
    let machine = |number: u8, firmware| Machine {
        name: format!("node-{number}"),
        memory_mib: 256,
        cpus: 1,
        disk_gib: 2,
        firmware,
        translation_cache_mib: 64,
        nics: vec![Nic {
            name: "eth0".into(),
            mac: format!("52:54:00:fe:00:0{number}"),
            plug: Plug::Bridge("pxe".into()),
            boots: true,
        }],
        bmc: Some(Bmc {
            address: [10, 99, 9, 10 + number].into(),
            port: 623,
            user: "admin".into(),
        }),
    };
    let wire = |network: &str, addresses: &[[u8; 4]]| Wire {
        network: network.into(),
        mtu: 1500,
        vlan: None,
        host_addresses: addresses
            .iter()
            .map(|address| ((*address).into(), 24))
            .collect(),
    };
    LabSpec {
        env: env.into(),
        wires: vec![
            wire("pxe", &[[10, 99, 8, 1]]),
            wire("ipmi", &[[10, 99, 9, 1], [10, 99, 9, 11], [10, 99, 9, 12]]),
        ],
        machines: vec![machine(1, Firmware::Bios), machine(2, Firmware::UefiPxe)],
    }
}

/// Takes the lab down however the test ends.
pub(crate) struct Down<'a>(pub &'a Lab);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.down() {
            eprintln!("the lab was not taken down: {error}");
        }
    }
}

pub(crate) fn may_run(lab: &Lab, folder: &Path) -> bool {
    let shortfalls = lab.shortfalls(folder);
    for shortfall in &shortfalls {
        eprintln!("skipped: {shortfall}");
    }
    shortfalls.is_empty()
}

/// MACs of machines that broadcast a DHCPDISCOVER in the namespace, until there are `wanted` or nothing moves.
fn asking_for_addresses(lab: &Lab, wanted: usize) -> Vec<String> {
    let namespace =
        File::open(Path::new("/run/netns").join(lab::namespace(&lab.spec().env))).unwrap();
    std::thread::scope(|scope| {
        let listener = scope.spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let socket = UdpSocket::bind("0.0.0.0:67").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(500)))
                .unwrap();
            let mut found: Vec<String> = Vec::new();
            let begun = Instant::now();
            let mut packet = [0; 1500];
            while found.len() < wanted && begun.elapsed().as_secs() < WALL_SECONDS_MAX {
                // The client's hardware address is at 28 (RFC 2131, figure 1).
                if socket.recv(&mut packet).is_ok() {
                    let mac: Vec<String> = packet[28..34]
                        .iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect();
                    let mac = mac.join(":");
                    if !found.contains(&mac) {
                        found.push(mac);
                    }
                }
                let used = lab
                    .status()
                    .iter()
                    .filter_map(|s| s.cpu_seconds)
                    .fold(0.0, f64::max);
                if used > CPU_SECONDS_MAX {
                    break;
                }
            }
            found.sort();
            found
        });
        listener.join().unwrap()
    })
}

#[test]
fn machines_that_are_on_ask_for_an_address_and_down_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let env = format!("t{}", std::process::id() % 100_000);
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
    let first: Vec<_> = lab.status().into_iter().map(|s| s.pid.unwrap()).collect();
    lab.up("a-password", &callback).unwrap();
    let second: Vec<_> = lab.status().into_iter().map(|s| s.pid.unwrap()).collect();
    assert_eq!(first, second, "what runs goes on");
    assert_eq!(
        asking_for_addresses(&lab, 2),
        ["52:54:00:fe:00:01", "52:54:00:fe:00:02"]
    );
    lab.power("node-1", Power::Reset).unwrap();
    lab.power("node-1", Power::Off).unwrap();
    assert!(!lab.status()[0].is_on && lab.status()[1].is_on);
    assert!(
        lab.power("node-1", Power::Reset)
            .unwrap_err()
            .to_string()
            .contains("is off")
    );
    assert!(
        lab.power("node-9", Power::On)
            .unwrap_err()
            .to_string()
            .contains("node-1, node-2")
    );

    drop(down);
    assert!(!lab.is_up() && lab.status().iter().all(|status| !status.is_on));
    // One that nobody has reaped yet is a zombie, and dead.
    let runs = |pid: &&i32| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    };
    let left = first.iter().filter(runs).count();
    assert_eq!(left, 0, "emulators are still there");
}

#[test]
fn a_bmc_passes_on_what_it_is_asked() {
    let state = tempfile::tempdir().unwrap();
    let env = format!("b{}", std::process::id() % 100_000);
    let mut spec = spec(&env);
    spec.machines.truncate(1);
    let lab = Lab::new(
        spec,
        Folders::of(&env, state.path()),
        MachineKind::Emulated(Accelerator::Emulation),
    );
    if !may_run(&lab, state.path()) {
        return;
    }
    if Command::new("ipmitool").arg("-V").output().is_err() {
        return eprintln!("skipped: `ipmitool` is missing (package ipmitool)");
    }
    let _down = Down(&lab);
    // Stands in for `wright lab bmc`: writes down what it was called with and says that the power is on.
    let script = state.path().join("callback");
    let calls = state.path().join("calls");
    fs::write(
        &script,
        format!(
            "#!/bin/sh\necho \"$@\" >>{}\necho power:1\n",
            calls.display()
        ),
    )
    .unwrap();
    Command::new("chmod")
        .arg("+x")
        .arg(&script)
        .status()
        .unwrap();
    lab.up("a-password", &[script.display().to_string()])
        .unwrap();

    let ipmi = |words: &[&str]| {
        let mut command = lab::inside(&env, "ipmitool");
        command
            .args([
                "-I",
                "lanplus",
                "-C",
                "3",
                "-H",
                "10.99.9.11",
                "-U",
                "admin",
                "-E",
            ])
            .args(words);
        let output = command.env("IPMI_PASSWORD", "a-password").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    let mut said = String::new();
    for _ in 0..20 {
        said = ipmi(&["chassis", "power", "status"]);
        if said.contains("Chassis Power is on") {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(said.contains("Chassis Power is on"), "{said}");
    let said = ipmi(&["chassis", "power", "off"]);
    assert!(said.contains("Down/Off"), "{said}");
    let calls = fs::read_to_string(&calls).unwrap();
    let set = calls
        .lines()
        .find(|line| line.contains("set power"))
        .unwrap_or_default();
    let words: Vec<String> = set.split_whitespace().map(str::to_owned).collect();
    assert_eq!(words.first().map(String::as_str), Some("node-1"), "{calls}");
    // Behind the machine's name, what ipmi_sim says itself.
    assert_eq!(lab.bmc_request("node-1", &words[1..]).unwrap(), "");
    assert!(!lab.status()[0].is_on);
    assert_eq!(
        lab.bmc_request("node-1", &["get".into(), "power".into()])
            .unwrap(),
        "power:0\n"
    );
}
