//! Every situation of three nodes, each in one of a dozen states: what all three decide, side by side.

use super::limits;
use database::core::data::{Data, Position};
use database::core::decide::{Action, Heard, Situation, decide};
use database::core::report::{Running, Server};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn at(history: u128, seqno: i64) -> Position {
    Position {
        uuid: Uuid::from_u128(history),
        seqno,
    }
}

fn stopped(data: Data) -> Server {
    Server::Stopped { data: Some(data) }
}

fn running(primary: bool, seqno: i64, members: u32) -> Server {
    Server::Running(Running {
        primary,
        position: Some(at(1, seqno)),
        settled: true,
        node_state: if primary { "Synced" } else { "Initialized" }.to_owned(),
        writable: primary,
        serves_as_donor: false,
        members,
        view: None,
    })
}

/// Whether the node can be heard, and how its server is.
fn states() -> Vec<(bool, Server)> {
    let busy = Server::Busy {
        what: "starts".to_owned(),
    };
    let mut states: Vec<(bool, Server)> = vec![
        stopped(Data::At(at(1, 5))),
        stopped(Data::At(at(1, 7))),
        stopped(Data::Fresh),
        stopped(Data::Incomplete(Some(at(1, 9)))),
        Server::Stopped { data: None },
        busy,
        running(false, 5, 1),
        running(false, 7, 1),
        running(false, 7, 2),
        running(false, 7, 3),
        running(true, 8, 1),
    ]
    .into_iter()
    .map(|server| (true, server))
    .collect();
    states.push((false, stopped(Data::At(at(1, 6)))));
    states.push((false, running(true, 8, 1)));
    states
}

/// One that the others have put out does not wait for what will not come.
#[test]
fn one_with_other_data_stops_at_once() {
    let Server::Running(out) = running(false, 7, 0) else {
        unreachable!();
    };
    let out = Server::Running(Running {
        node_state: "Inconsistent".to_owned(),
        ..out
    });
    let world = [
        &(true, running(true, 8, 2)),
        &(true, running(true, 8, 2)),
        &(true, out),
    ];
    let actions = decisions(&world, Duration::ZERO);
    assert!(
        matches!(actions[2], Action::StopLocal { .. }),
        "{actions:#?}"
    );
    assert_eq!(actions[..2], [Action::Keep, Action::Keep]);
}

fn decisions(world: &[&(bool, Server); 3], undecided: Duration) -> [Action; 3] {
    let limits = limits();
    std::array::from_fn(|me| {
        let heard = |i: usize| {
            // Who cannot be heard cannot hear either.
            (world[i].0 && world[me].0).then(|| Heard {
                server: world[i].1.clone(),
                acting: false,
                age: Duration::from_secs(1),
            })
        };
        let peers: BTreeMap<String, Option<Heard>> = (0..3)
            .filter(|i| *i != me)
            .map(|i| (NAMES[i].to_owned(), heard(i)))
            .collect();
        decide(&Situation {
            me: NAMES[me],
            own: &world[me].1,
            peers: &peers,
            undecided,
            outside: undecided,
            could_join: undecided,
            limits: &limits,
        })
    })
}

fn begins(action: &Action) -> bool {
    matches!(action, Action::Bootstrap | Action::PcBootstrap)
}

#[test]
fn every_situation_of_three_nodes() {
    let states = states();
    let mut seen = BTreeMap::<&str, usize>::new();
    for (x, y, z) in (0..states.len().pow(3)).map(|n| {
        let k = states.len();
        (n % k, n / k % k, n / k / k)
    }) {
        let world = [&states[x], &states[y], &states[z]];
        let servers = world.map(|(_, server)| server);
        for undecided in [0, 30, 3600].map(Duration::from_secs) {
            let actions = decisions(&world, undecided);
            let told = || format!("{world:#?} after {undecided:?}: {actions:#?}");
            let unheard = world.iter().any(|(heard, _)| !heard);
            let primary = servers.iter().any(|s| s.primary().is_some());
            let unknown = servers.iter().any(|s| s.data().is_none());
            let newest = servers
                .iter()
                .filter_map(|s| Some(s.data()?.position()?.seqno))
                .max();
            let beginners = actions.iter().filter(|a| begins(a)).count();
            assert!(beginners <= 1, "two begin: {}", told());
            if unheard || primary || unknown {
                assert_eq!(beginners, 0, "{}", told());
            }
            for (me, action) in actions.iter().enumerate() {
                let seqno = servers[me].data().and_then(|d| Some(d.position()?.seqno));
                match action {
                    Action::Keep => {
                        assert!(servers[me].primary().is_some(), "{}", told());
                        *seen.entry("keep").or_default() += 1;
                    }
                    Action::Join => {
                        assert!(
                            primary && matches!(servers[me], Server::Stopped { .. }),
                            "{}",
                            told()
                        );
                        *seen.entry("join").or_default() += 1;
                    }
                    Action::Bootstrap | Action::PcBootstrap => {
                        assert_eq!(seqno, newest, "below the newest: {}", told());
                        let runs = matches!(servers[me], Server::Running(_));
                        assert_eq!(runs, *action == Action::PcBootstrap, "{}", told());
                        *seen
                            .entry(if runs { "pc" } else { "bootstrap" })
                            .or_default() += 1;
                    }
                    Action::StopLocal { .. } => {
                        assert!(servers[me].primary().is_none(), "{}", told());
                        assert!(matches!(servers[me], Server::Running(_)), "{}", told());
                        *seen.entry("stop").or_default() += 1;
                    }
                    Action::AskOperator { .. } => {
                        *seen.entry("ask").or_default() += 1;
                    }
                    Action::Wait { why } => assert!(!why.is_empty()),
                }
            }
            // Progress: everything is known, whole somewhere or fresh everywhere, and nobody is Primary.
            let whole = newest.is_some() || servers.iter().all(|s| s.data() == Some(Data::Fresh));
            if !unheard && !primary && !unknown && whole && undecided.as_secs() > 0 {
                let moves = actions
                    .iter()
                    .filter(|a| begins(a) || matches!(a, Action::StopLocal { .. }))
                    .count();
                assert!(moves > 0, "nobody moves: {}", told());
            }
        }
    }
    for kind in ["keep", "join", "bootstrap", "pc", "stop", "ask"] {
        assert!(
            seen.get(kind).is_some_and(|n| *n > 10),
            "{kind} is tried: {seen:?}"
        );
    }
}

#[test]
fn different_histories_are_for_the_operator() {
    let (a, b) = (
        (true, stopped(Data::At(at(1, 5)))),
        (true, stopped(Data::At(at(2, 9)))),
    );
    let actions = decisions(&[&a, &b, &a], Duration::ZERO);
    for action in &actions {
        assert!(matches!(action, Action::AskOperator { .. }), "{action:?}");
    }
    // Also towards a cluster that runs: joining would overwrite what is here.
    let primary = (true, running(true, 8, 1));
    let [_, action, _] = decisions(&[&primary, &b, &primary], Duration::ZERO);
    let Action::AskOperator { why, command } = action else {
        panic!("{action:?}");
    };
    assert!(why.contains("overwrite"), "{why}");
    assert!(command.starts_with("mv /var/lib/mysql "), "{command}");
    // And towards one that was begun from an older node.
    let newer = (true, stopped(Data::At(at(1, 11))));
    let [_, action, _] = decisions(&[&primary, &newer, &primary], Duration::ZERO);
    assert!(
        matches!(&action, Action::AskOperator { why, .. } if why.contains("3 transactions")),
        "{action:?}"
    );
}

#[test]
fn a_server_comes_back_only_when_the_others_have_let_go_of_it() {
    let own = (true, stopped(Data::At(at(1, 5))));
    let soon = Duration::from_secs(2);
    let counted = (true, running(true, 8, 3));
    let [action, ..] = decisions(&[&own, &counted, &counted], soon);
    assert!(
        matches!(&action, Action::Wait { why } if why.contains("still counts")),
        "{action:?}"
    );
    let alone = (true, running(true, 8, 2));
    let [action, ..] = decisions(&[&own, &alone, &alone], soon);
    assert_eq!(action, Action::Join);
    // Not for ever, and not when the third one may be elsewhere.
    let [action, ..] = decisions(&[&own, &counted, &counted], Duration::from_secs(20));
    assert_eq!(action, Action::Join);
    let unheard = (false, running(true, 8, 2));
    let [action, ..] = decisions(&[&own, &alone, &unheard], soon);
    assert_eq!(action, Action::Join);
    // Two that could join do so one after the other.
    let only = (true, running(true, 8, 1));
    let [first, second, _] = decisions(&[&own, &own, &only], soon);
    assert_eq!(first, Action::Join);
    assert!(
        matches!(&second, Action::Wait { why } if why.contains("`a` joins first")),
        "{second:?}"
    );
}

#[test]
fn what_is_old_counts_as_not_heard() {
    let own = stopped(Data::At(at(1, 5)));
    let limits = limits();
    let decide_at = |age: u64| {
        let heard = Heard {
            server: running(true, 8, 1),
            acting: false,
            age: Duration::from_secs(age),
        };
        let peers = BTreeMap::from([("b".to_owned(), Some(heard))]);
        decide(&Situation {
            me: "a",
            own: &own,
            peers: &peers,
            undecided: Duration::from_secs(age),
            outside: Duration::ZERO,
            could_join: Duration::from_secs(3600),
            limits: &limits,
        })
    };
    assert_eq!(decide_at(3), Action::Join);
    assert!(matches!(decide_at(4), Action::Wait { why } if why.contains("`b` (not heard)")));
    assert!(matches!(decide_at(600), Action::AskOperator { why, .. } if why.contains("are lost")));
}

#[test]
fn one_node_begins_alone_whatever_it_finds() {
    let peers = BTreeMap::new();
    let limits = limits();
    for data in [
        None,
        Some(Data::Fresh),
        Some(Data::At(at(1, 5))),
        Some(Data::Incomplete(None)),
    ] {
        let own = Server::Stopped { data };
        let action = decide(&Situation {
            me: "a",
            own: &own,
            peers: &peers,
            undecided: Duration::ZERO,
            outside: Duration::ZERO,
            could_join: Duration::from_secs(3600),
            limits: &limits,
        });
        assert_eq!(action, Action::Bootstrap);
    }
}

#[test]
fn the_words_for_the_operator() {
    let (seven, five, away) = (
        (true, stopped(Data::At(at(1, 7)))),
        (true, stopped(Data::At(at(1, 5)))),
        (false, stopped(Data::Fresh)),
    );
    let mut lines = Vec::new();
    for seconds in [20, 700] {
        for (name, action) in NAMES
            .iter()
            .zip(decisions(
                &[&five, &seven, &away],
                Duration::from_secs(seconds),
            ))
            .take(2)
        {
            lines.push(match action {
                Action::Wait { why } => format!("{name} after {seconds} s waits: {why}"),
                Action::AskOperator { why, command } => {
                    format!("{name} after {seconds} s asks: {why}\n  {command}")
                }
                other => format!("{name} after {seconds} s: {other:?}"),
            });
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}
