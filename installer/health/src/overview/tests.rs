//! The overview of clouds of several kinds, as people read it.
use super::look::{Disk, Raft, parse};
use super::*;

/// A controller's answer, as one of a real cloud gave it; the names of its cards are shortened.
const ANSWER: &str = r#"==begin addresses
3: eth1    inet 10.21.1.11/24 brd 10.21.1.255 scope global eth1\       valid_lft forever preferred_lft forever
3: eth1    inet 10.21.1.2/24 scope global secondary eth1\       valid_lft forever preferred_lft forever
==end addresses 0
==begin broker
{ok, "members rabbit@node-2,rabbit@node-1;running rabbit@node-1;partitions ;alarms disk at rabbit@node-1;"}
==end broker 0
==begin chassis
{"data":[[["uuid","757c"],"node-4.domain.tld","node-4.domain.tld",["map",[["datapath-type","netdev"],["ovn-cms-options","enable-chassis-as-gw"]]]]],"headings":["_uuid","name","hostname","other_config"]}
==end chassis 0
==begin clock
7F7F0101,,10,1700000000.1,-0.000120,0.0,0.0,0.0,0,0,0,0,0,Normal
==end clock 0
==begin connections
34
==end connections 0
==begin disks
Filesystem         1-blocks        Used   Available Capacity Mounted on
/dev/vda1  270553174016 50400854016 47171895296      52% /
Filesystem         1-blocks        Used   Available Capacity Mounted on
/dev/vda1  270553174016 50400854016 47171895296      52% /
==end disks 0
==begin gateways
{"data":[[["uuid","757c"]],[["set",[]]]],"headings":["chassis"]}
==end gateways 0
==begin raft-nb
ee14
Name: OVN_Northbound
Status: cluster member
Role: leader
Term: 1
Servers:
    5f32 (5f32 at tcp:10.21.1.13:6643) next_index=39 match_index=38 last msg 312 ms ago
    ee14 (ee14 at tcp:10.21.1.11:6643) (self) next_index=2 match_index=38
==end raft-nb 0
==begin raft-sb
ovs-appctl: cannot connect to "/run/ovn/ovnsb_db.ctl" (No such file or directory)
==end raft-sb 1
==begin units
nginx.service loaded failed failed A web server
==end units 0
==begin up
66242.68 21537.09
6609249
c276f2d5-6e72-4ac3-8b4b-942f7cb32e3d
==end up 0
==begin version
wright 0.1.0
==end version 0
==whole
"#;

#[test]
fn an_answer_is_read() {
    let look = parse(ANSWER).unwrap();
    insta::assert_debug_snapshot!(look);
}

#[test]
fn an_answer_that_was_cut_off_counts_as_none() {
    let cut = ANSWER.replace("==whole\n", "");
    assert!(
        parse(&cut)
            .unwrap_err()
            .starts_with("its answer is not whole: ==begin addresses")
    );
    assert_eq!(parse("").unwrap_err(), "it said nothing");
}

fn guards(of: &[(&str, &str, i64)]) -> serde_json::Value {
    let nodes = of.iter().map(|(name, state, seqno)| {
        let said = match *state {
            "silent" => serde_json::json!({"error": "no answer within 1500 ms"}),
            state => serde_json::json!({
                "server": {"state": "running", "node_state": state},
                "primary": state == "Synced", "uuid": "3a46ae16-ea75-11f1-915d-ff305f626da9", "seqno": seqno,
                "members": 3, "why": null, "command": null,
            }),
        };
        ((*name).to_owned(), said)
    });
    serde_json::json!({"nodes": nodes.collect::<serde_json::Map<_, _>>()})
}

/// Three controllers and `computes` compute nodes, all well.
fn cloud(computes: usize) -> Seen {
    let look = |n: usize| Look {
        up_seconds: 7_000 + n as u64 * 100,
        boot: format!("c276f2d5-{n}"),
        version: Some("0.1.0".into()),
        clock: Some(look::Clock::Off(0.000_1 * n as f64)),
        disks: vec![Disk {
            mount: "/".into(),
            bytes: 100 << 30,
            free: (80 - n as u64 % 50) << 30,
        }],
        ..Look::default()
    };
    let raft = |role: &str| Raft {
        role: role.into(),
        term: Some(4),
        members: 3,
    };
    let controllers = (1..=3).map(|n| {
        let mut look = look(n);
        let role = if n == 1 { "leader" } else { "follower" };
        look.raft = BTreeMap::from([("northbound", raft(role)), ("southbound", raft(role))]);
        look.guards = Some(guards(&[
            ("node-1", "Synced", 2045),
            ("node-2", "Synced", 2045),
            ("node-3", "Synced", 2044),
        ]));
        look.connections = Some(if n == 1 { 34 } else { 0 });
        let names = ["node-1", "node-2", "node-3"].map(str::to_owned).to_vec();
        look.broker = Some(look::Broker::Members {
            all: names.clone(),
            running: names,
            partitions: Vec::new(),
            alarms: Vec::new(),
        });
        if n == 1 {
            look.addresses = vec![[10, 21, 1, 2].into(), [10, 21, 4, 2].into()];
        }
        look.chassis = Some((4..4 + computes).map(chassis).collect());
        SeenNode {
            name: format!("node-{n}"),
            groups: vec!["controller".into()],
            look: Ok(look),
        }
    });
    let others = (4..4 + computes).map(|n| SeenNode {
        name: format!("node-{n}"),
        groups: vec!["compute".into()],
        look: Ok(Look {
            ovn_controller: Some("connected".into()),
            ..look(n)
        }),
    });
    let nodes: Vec<SeenNode> = controllers.chain(others).collect();
    let services = ["identity", "image", "compute"]
        .into_iter()
        .flat_map(|name| {
            (1..=3).map(move |n| SeenService {
                name: name.to_owned(),
                node: format!("node-{n}"),
                up: Ok(()),
            })
        });
    Seen {
        environment: "lab-ha".into(),
        now: 1_795_000_000,
        addresses: BTreeMap::from([
            ("internal".into(), [10, 21, 1, 2].into()),
            ("public".into(), [10, 21, 4, 2].into()),
        ]),
        services: services.collect(),
        compute: Some(Ok((4..4 + computes)
            .map(|n| ComputeHost {
                host: format!("node-{n}.domain.tld"),
                up: true,
                enabled: true,
            })
            .collect())),
        deployment: Deployment {
            last: Some(Run {
                at: "2026-11-27T15:16:02Z".into(),
                outcome: "done".into(),
            }),
            ..Deployment::default()
        },
        certificate_ends: BTreeMap::new(),
        nodes,
    }
}

fn chassis(n: usize) -> Chassis {
    Chassis {
        name: format!("node-{n}.domain.tld"),
        hostname: format!("node-{n}.domain.tld"),
        gateway: true,
        carries: usize::from(n == 4),
    }
}

#[test]
fn a_cloud_that_is_well() {
    let mut seen = cloud(2);
    for node in ["node-1", "node-2"] {
        seen.certificate_ends
            .insert(node.into(), Ok(seen.now + 300 * 86_400));
    }
    let overview = Overview::of(&seen);
    assert!(overview.well);
    insta::assert_snapshot!(overview);
}

/// What the other controllers say while the first has lost its power.
fn without_the_first() -> Seen {
    let mut seen = cloud(2);
    seen.nodes[0].look = Err("no answer within 3 s".into());
    for n in [1, 2] {
        let look = seen.nodes[n].look.as_mut().unwrap();
        look.guards = Some(guards(&[
            ("node-1", "silent", 0),
            ("node-2", "Synced", 2101),
            ("node-3", "Synced", 2101),
        ]));
        look.broker = Some(look::Broker::Members {
            all: ["node-1", "node-2", "node-3"].map(str::to_owned).to_vec(),
            running: ["node-2", "node-3"].map(str::to_owned).to_vec(),
            partitions: Vec::new(),
            alarms: Vec::new(),
        });
        if n == 1 {
            look.addresses = vec![[10, 21, 1, 2].into(), [10, 21, 4, 2].into()];
            look.connections = Some(31);
            for raft in look.raft.values_mut() {
                raft.role = "leader".into();
                raft.term = Some(5);
            }
        }
    }
    for service in seen
        .services
        .iter_mut()
        .filter(|service| service.node == "node-1")
    {
        service.up = Err("no answer within 3 s".into());
    }
    seen
}

#[test]
fn a_controller_that_lost_its_power() {
    insta::assert_snapshot!(Overview::of(&without_the_first()));
}

#[test]
fn each_fault_is_told_with_what_to_do() {
    let mut seen = cloud(2);
    let look = seen.nodes[1].look.as_mut().unwrap();
    look.addresses = vec![[10, 21, 1, 2].into()];
    look.failed_units = vec!["nginx.service".into()];
    look.clock = Some(look::Clock::Off(-3.2));
    look.disks[0].free = 1 << 30;
    look.broker = Some(look::Broker::Silent("the broker does not run".into()));
    look.raft.get_mut("southbound").unwrap().role = "candidate".into();
    look.guards.as_mut().unwrap()["nodes"]["node-2"] = serde_json::json!({
        "server": {"state": "stopped"}, "primary": false, "uuid": "0dae1307-1606-11e4-aa94-5255b1455aa0", "seqno": 7,
        "why": "the data here are not of the history of the running cluster", "command": "mv /var/lib/mysql /var/lib/mysql.old",
    });
    seen.nodes[3].look.as_mut().unwrap().ovn_controller = Some("not connected".into());
    seen.services[1].up = Err("it answers 503".into());
    seen.compute = Some(Err("no answer within 5 s".into()));
    seen.certificate_ends
        .insert("node-3".into(), Ok(seen.now + 3 * 86_400));
    seen.deployment.owed = 2;
    seen.deployment.not_deployed = vec!["node-6".into()];
    seen.deployment.last = Some(Run {
        at: "2026-11-27T15:16:02Z".into(),
        outcome: "failed".into(),
    });
    insta::assert_snapshot!(Overview::of(&seen));
}

#[test]
fn a_thousand_nodes_are_no_thousand_lines() {
    let mut seen = cloud(1000);
    for node in seen.nodes.iter_mut().skip(100).take(40) {
        node.look = Err("no answer within 3 s".into());
    }
    if let Some(Ok(hosts)) = &mut seen.compute {
        for host in hosts.iter_mut().skip(97).take(40) {
            host.up = false;
        }
    }
    let text = Overview::of(&seen).to_string();
    assert!(text.lines().count() < 30, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn one_controller_has_no_cluster() {
    let mut seen = cloud(1);
    seen.nodes.drain(1..3);
    seen.services.retain(|service| service.node == "node-1");
    let look = seen.nodes[0].look.as_mut().unwrap();
    look.guards = None;
    look.broker = Some(look::Broker::Members {
        all: vec!["node-1".into()],
        running: vec!["node-1".into()],
        partitions: Vec::new(),
        alarms: Vec::new(),
    });
    for raft in look.raft.values_mut() {
        *raft = Raft {
            role: "alone".into(),
            term: None,
            members: 0,
        };
    }
    let overview = Overview::of(&seen);
    assert!(overview.well, "{overview}");
    seen.nodes[0].look.as_mut().unwrap().connections = None;
    assert!(!Overview::of(&seen).well);
}

#[test]
fn changes_are_a_line_each_and_what_moves_is_none() {
    let before = Overview::of(&cloud(2)).facts();
    let mut later = cloud(2);
    later.nodes[0].look.as_mut().unwrap().up_seconds += 60;
    assert!(between(&before, &Overview::of(&later).facts()).is_empty());
    let after = Overview::of(&without_the_first()).facts();
    insta::assert_snapshot!(between(&before, &after).join("\n"));
    let dark = Facts::new();
    assert_eq!(
        between(&Overview::of(&cloud(1000)).facts(), &dark).len(),
        21
    );
}
