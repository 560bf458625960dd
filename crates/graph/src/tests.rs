//! The graph's own tests: states, thresholds, cycles, and properties over random graphs.
use super::*;
use proptest::prelude::*;

fn graph(edges: &[(&'static str, &'static str)]) -> Graph<&'static str, ()> {
    let mut graph = Graph::new();
    for &(before, after) in edges {
        for key in [before, after] {
            let _ = graph.add_node(key, ());
        }
        graph.add_edge(&before, &after).unwrap();
    }
    graph
}

#[test]
fn ready_follows_what_finishes_in_the_order_added() {
    let mut graph = graph(&[("db", "api"), ("queue", "api"), ("api", "check")]);
    assert_eq!(graph.ready(), ["db", "queue"]);
    graph.start(&"db").unwrap();
    assert_eq!(graph.ready(), ["queue"]);
    assert_eq!(
        graph.finish(&"db", Outcome::Done).unwrap().ready,
        Vec::<&str>::new()
    );
    assert_eq!(
        graph.finish(&"queue", Outcome::Done).unwrap().ready,
        ["api"]
    );
    assert_eq!(
        graph.finish(&"api", Outcome::Done).unwrap().ready,
        ["check"]
    );
    graph.finish(&"check", Outcome::Done).unwrap();
    assert!(graph.is_finished());
    insta::assert_snapshot!(graph.to_string());
}

#[test]
fn a_failure_is_the_cause_of_all_that_is_not_run() {
    let mut graph = graph(&[("db", "api"), ("api", "check"), ("queue", "check")]);
    let progress = graph.finish(&"db", Outcome::Failed).unwrap();
    assert_eq!(progress.not_run, ["api", "check"]);
    assert_eq!(
        graph.state(&"check"),
        Some(&State::NotRun { because: "db" })
    );
    graph.finish(&"queue", Outcome::Done).unwrap();
    assert!(graph.is_finished());
}

#[test]
fn thresholds_open_early_and_close_only_when_out_of_reach() {
    for (need, opens_after, survives) in [
        (Need::All, 4, 0),
        (Need::AtLeast(1), 1, 3),
        (Need::Percent(50), 2, 2),
        (Need::Percent(60), 3, 1),
    ] {
        let build = || {
            let mut graph = Graph::new();
            for key in 0..4 {
                graph.add_node(key, ()).unwrap();
            }
            graph.add_node_needing(9, (), need).unwrap();
            for key in 0..4 {
                graph.add_edge(&key, &9).unwrap();
            }
            graph
        };
        let mut graph = build();
        let opened = (0..4).find(|key| graph.finish(key, Outcome::Done).unwrap().ready == [9]);
        assert_eq!(opened.map(|key| key + 1), Some(opens_after), "{need:?}");
        let mut graph = build();
        let closed = (0..4).find(|key| graph.finish(key, Outcome::Failed).unwrap().not_run == [9]);
        assert_eq!(closed, Some(survives), "{need:?}");
    }
}

#[test]
fn a_cycle_is_named_as_a_path() {
    let graph = graph(&[
        ("start", "keystone"),
        ("keystone", "haproxy"),
        ("haproxy", "keystone"),
    ]);
    let error = graph.check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "dependency cycle: keystone → haproxy → keystone"
    );
    assert!(graph.order().is_err());
    let mut alone = Graph::new();
    alone.add_node("a", ()).unwrap();
    alone.add_edge(&"a", &"a").unwrap();
    assert_eq!(
        alone.check().unwrap_err().to_string(),
        "dependency cycle: a → a"
    );
}

#[test]
fn a_graph_can_grow_while_it_runs() {
    let mut graph = graph(&[("a", "b")]);
    graph.finish(&"a", Outcome::Done).unwrap();
    graph.add_node("included", ()).unwrap();
    graph.add_edge(&"a", &"included").unwrap();
    graph.add_edge(&"included", &"b").unwrap();
    assert_eq!(graph.ready(), ["included"]);
    assert!(matches!(
        graph.add_edge(&"b", &"a"),
        Err(GraphError::WrongState { .. })
    ));
    assert!(matches!(
        graph.add_node("a", ()),
        Err(GraphError::Duplicate(_))
    ));
    assert!(matches!(
        graph.finish(&"x", Outcome::Done),
        Err(GraphError::Unknown(_))
    ));
}

proptest! {
    #[test]
    fn every_random_graph_either_has_a_named_cycle_or_comes_to_its_end(
        edges in prop::collection::vec((0usize..12, 0usize..12), 0..30),
        failing in prop::collection::hash_set(0usize..12, 0..3),
    ) {
        let mut graph = Graph::new();
        for key in 0..12 {
            graph.add_node(key, ()).unwrap();
        }
        for (before, after) in &edges {
            graph.add_edge(before, after).unwrap();
        }
        match graph.check() {
            Err(GraphError::Cycle(path)) => {
                let path: Vec<usize> = path.iter().map(|key| key.parse().unwrap()).collect();
                prop_assert!(path.len() > 1 && path.first() == path.last());
                for step in path.windows(2) {
                    prop_assert!(edges.contains(&(step[0], step[1])), "no edge {step:?}");
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
            Ok(()) => {
                prop_assert_eq!(graph.order().unwrap().len(), 12);
                let mut ended = Vec::new();
                while let Some(&key) = graph.ready().first() {
                    for before in graph.before(&key) {
                        prop_assert!(ended.contains(before));
                    }
                    graph.start(&key).unwrap();
                    let outcome = if failing.contains(&key) { Outcome::Failed } else { Outcome::Done };
                    graph.finish(&key, outcome).unwrap();
                    ended.push(key);
                }
                prop_assert!(graph.is_finished());
            }
        }
    }
}
