//! Real agents in namespaces, asked by the real survey, judged by the real analysis.
use crate::wires::{self, CARDS, Wires, address};
use agent_protocol::frame::encode;
use agent_protocol::probe::{LinkSpec, Spec, ToProbe};
use async_trait::async_trait;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wiring::{Outcome, Pace, Plan, Reach, Report, Stream, analyse, survey};

const NONCE: &str = "00112233445566778899aabbccddeeff";

/// Agents are started in the nodes' namespaces.
struct Namespaces<'a>(&'a Wires);

#[async_trait]
impl Reach for Namespaces<'_> {
    async fn open(&self, node: &str, _: bool) -> Result<Box<dyn Stream>, String> {
        let namespace = self.0.name_of(&node.replace("node-", "n"));
        let mut command = tokio::process::Command::new("ip");
        command
            .args([
                "netns",
                "exec",
                &namespace,
                env!("CARGO_BIN_EXE_wright-agent"),
                "probe",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        match (child.stdout.take(), child.stdin.take()) {
            (Some(output), Some(input)) => Ok(Box::new(tokio::io::join(output, input))),
            _ => Err("no pipes".to_owned()),
        }
    }

    fn agent_sha256(&self) -> Option<&str> {
        None
    }
}

fn pace() -> Pace {
    Pace {
        at_once: 8,
        ..Pace::default()
    }
}

fn ask(wires: &Wires, plan: &Plan) -> (Vec<Outcome>, Report) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let begun = Instant::now();
    let reach = Namespaces(wires);
    let outcomes = runtime.block_on(survey(plan, &reach, &pace(), NONCE, &|_| {}));
    let asked = begun.elapsed();
    let report = analyse(plan, &outcomes, &[]);
    println!("{} nodes: asked in {asked:?}\n{report}", plan.nodes.len());
    (outcomes, report)
}

fn texts(report: &Report) -> Vec<&str> {
    report
        .findings
        .iter()
        .map(|finding| finding.text.as_str())
        .collect()
}

#[test]
fn agents_on_well_wired_nodes_find_nothing_and_leave_nothing() {
    let Some(mut wires) = Wires::new(5, "w") else {
        return;
    };
    // The gateway, and our own DHCP server.
    wires.stranger("router", 2, &[Ipv4Addr::new(10, 3, 0, 1)], wires::idle);
    wires.stranger(
        "boot",
        0,
        &[Ipv4Addr::new(10, 0, 0, 1)],
        wires::serve_dhcp(Ipv4Addr::new(10, 0, 0, 1)),
    );
    let (outcomes, report) = ask(&wires, &wires::plan(5));
    assert!(report.is_well() && report.findings.is_empty(), "{report}");
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Heard(heard)
        if heard.nics.iter().all(|nic| nic.fault.is_none() && nic.carrier)))
    );
    // Cards that were down are down again when the agents have ended.
    wait_for_cards(&wires, false);
}

/// Waits until the cards of node-1 are up, or down.
fn wait_for_cards(wires: &Wires, up: bool) {
    let since = Instant::now();
    loop {
        let shown = Command::new("ip")
            .args(["-n", &wires.name_of("n1"), "-o", "link", "show", "up"])
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        if CARDS.iter().all(|card| shown.contains(card) == up) {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "up:\n{shown}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_controller_that_hangs_up_leaves_the_cards_as_they_were() {
    let Some(wires) = Wires::new(1, "g") else {
        return;
    };
    let mut agent = Command::new("ip")
        .args([
            "netns",
            "exec",
            &wires.name_of("n1"),
            env!("CARGO_BIN_EXE_wright-agent"),
            "probe",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let link = |nic: &str| LinkSpec {
        nic: nic.into(),
        vlan: None,
        mtu: 1500,
        address: None,
        gateway: None,
        ask_for: Vec::new(),
        ask_dhcp: false,
    };
    let spec = Spec {
        nonce: NONCE.into(),
        node: 0,
        nodes: 1,
        links_max: 3,
        links: CARDS.map(link).into(),
        rounds: 3,
        spread_ms: 1000,
        dns: Vec::new(),
        time: Vec::new(),
    };
    let mut input = agent.stdin.take().unwrap();
    input
        .write_all(&encode(&ToProbe::Spec(Box::new(spec))).unwrap())
        .unwrap();
    wait_for_cards(&wires, true);
    input.write_all(&encode(&ToProbe::Send).unwrap()).unwrap();
    drop(input);
    assert!(!agent.wait().unwrap().success());
    wait_for_cards(&wires, false);
}

#[test]
fn each_fault_is_seen_and_its_cable_named() {
    let Some(mut wires) = Wires::new(10, "f") else {
        return;
    };
    wires.stranger("router", 2, &[Ipv4Addr::new(10, 3, 0, 1)], wires::idle);
    // Not plugged into the switch; no link; another bridge; a small MTU; a tag that is dropped.
    wires.switch("link set p2-1 nomaster\nlink set p3-2 down\nlink set p4-0 master br2\nlink set p5-2 mtu 1400");
    let is_dropped = wires.drop_tag(6, 1, 102);
    // The address of node-7 and the virtual one; a DHCP server; two VRRP routers, one with our id.
    wires.stranger(
        "twin",
        2,
        &[address(3, 7), Ipv4Addr::new(10, 3, 0, 5)],
        wires::idle,
    );
    let server = Ipv4Addr::new(10, 0, 0, 77);
    wires.stranger("dhcp", 0, &[server], wires::serve_dhcp(server));
    wires.stranger("vrrp", 0, &[], || {
        for id in [51, 10] {
            wires::send_frame(&wires::advertisement(id, Ipv4Addr::new(10, 0, 0, 250)), 1);
        }
        std::thread::sleep(Duration::from_millis(500));
    });
    let (_, report) = ask(&wires, &wires::plan(10));
    let told = texts(&report);
    let mut expected = vec![
        "node-2 eth1 has a link, but hears nobody and is heard by nobody on `mgmt` (VLAN 101) and `app` (VLAN 102), where 9 others see each other",
        "node-3 eth2 has no link: nothing is at the other end; it is to carry `storage`",
        "node-4 eth0 is on the wire of `storage`; it should be on that of `pxe`, where 9 others see each other",
        "frames of 3000 bytes do not pass to or from node-5 eth2 on `storage`, though small ones do (8 others)",
    ];
    if is_dropped {
        expected.push(
            "node-6 eth1 does not see `app` (VLAN 102) of node-1 eth1, which 7 others do; on the same card `mgmt` (VLAN 101) passes",
        );
    }
    for text in &expected {
        assert!(told.contains(text), "untold: {text}\n{report}");
    }
    let about = |words: &[&str]| {
        told.iter()
            .filter(|text| words.iter().all(|word| text.contains(word)))
            .count()
    };
    assert_eq!(
        about(&[
            "10.3.0.17, planned for node-7 eth2",
            "is also that of",
            "no node of the inventory"
        ]),
        1,
        "{report}"
    );
    assert_eq!(
        about(&["10.3.0.5, a virtual address of `storage`, is in use by"]),
        1,
        "{report}"
    );
    assert_eq!(
        about(&[
            "a foreign DHCP server, 10.0.0.77",
            "serves `pxe`",
            "8 others hear it"
        ]),
        1,
        "{report}"
    );
    assert_eq!(
        about(&[
            "a foreign VRRP router, id 51, speaks on `pxe`: 10.0.0.250",
            "would not stay"
        ]),
        1,
        "{report}"
    );
    assert_eq!(
        about(&[
            "a foreign VRRP router, id 10, speaks on `pxe`",
            "none that the controllers use"
        ]),
        1,
        "{report}"
    );
    // And nothing that is not so.
    assert_eq!(told.len(), expected.len() + 5, "{report}");
}

#[test]
fn a_hostile_machine_does_no_harm() {
    let Some(mut wires) = Wires::new(4, "h") else {
        return;
    };
    wires.stranger("router", 2, &[Ipv4Addr::new(10, 3, 0, 1)], wires::idle);
    // Garbage of every type that is listened to; some of it with the nonce, which is on the wire for all to see.
    let garbage: Vec<Vec<u8>> = [0x88b5u16, 0x0806, 0x0800]
        .iter()
        .map(|ethertype| {
            let mut frame = vec![0xff; 12];
            frame.extend(ethertype.to_be_bytes());
            frame.extend((0..500u32).map(|at| (at * 7 % 251) as u8));
            frame
        })
        .chain([wires::advertisement(200, Ipv4Addr::BROADCAST), knowing()])
        .collect();
    for (name, bridge) in [("evil0", 0), ("evil1", 1), ("evil2", 2)] {
        let garbage = garbage.clone();
        wires.stranger(name, bridge, &[], move || {
            garbage
                .iter()
                .for_each(|frame| wires::send_frame(frame, 200));
            std::thread::sleep(Duration::from_millis(5));
        });
    }
    let (outcomes, report) = ask(&wires, &wires::plan(4));
    for outcome in &outcomes {
        let Outcome::Heard(heard) = outcome else {
            panic!("a node was lost: {outcome:?}");
        };
        assert!(serde_json::to_vec(heard).unwrap().len() < 64 << 10);
    }
    let is_flood = |kind: &str| ["foreign_vrrp", "lost_frames"].contains(&kind);
    assert!(
        report.findings.iter().all(|finding| is_flood(finding.kind)),
        "{report}"
    );
}

/// A probe frame of this run, from a node that there is not.
fn knowing() -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    frame.extend([0x88, 0xb5]);
    frame.extend((0..16u8).map(|at| at * 0x11));
    frame.extend([0xff; 4]);
    frame.extend([0, 0, 0, 46]);
    frame.resize(60, 0);
    frame
}

/// By hand: `cargo test -p agent --test it -- --ignored --nocapture many_nodes`.
#[test]
#[ignore = "takes a while and the whole machine"]
fn many_nodes_are_asked_within_a_minute() {
    let nodes = std::env::var("NODES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(50);
    let Some(mut wires) = Wires::new(nodes, "m") else {
        return;
    };
    wires.stranger("router", 2, &[Ipv4Addr::new(10, 3, 0, 1)], wires::idle);
    wires.switch("link set p2-1 nomaster");
    let begun = Instant::now();
    let (_, report) = ask(&wires, &wires::plan(nodes));
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(report.findings.len(), 1, "{report}");
}
