//! Working off the graph: units whose predecessors are done run in parallel, one a node at a time.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use graph::{Graph, Outcome, State};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::node::lock;
use super::walk::Walk;
use super::{Engine, seconds};
use crate::event::{Event, Failure, Recap, RunReport};
use crate::plan::{Key, Order, Planner, Unit, Work};

/// Works the graph off; where plays can be planned only now, plans on.
pub(super) async fn work_off(
    engine: Arc<Engine>,
    mut graph: Graph<Key, Unit>,
    mut planner: Planner,
) -> RunReport {
    let began = Instant::now();
    let roles = graph
        .keys()
        .filter(|key| matches!(key, Key::Unit { .. }))
        .count();
    let mut nodes: BTreeMap<String, Recap> = BTreeMap::new();
    for key in graph.keys() {
        if let Key::Unit { node, .. } = key {
            nodes.entry(node.clone()).or_default();
        }
    }
    let names = engine
        .nodes()
        .iter()
        .map(|node| node.spec.name.clone())
        .filter(|name| nodes.contains_key(name))
        .collect();
    let (run, check) = (engine.spec.run.clone(), engine.check());
    engine
        .tell(Event::RunStarted {
            run: run.clone(),
            check,
            nodes: names,
            roles,
        })
        .await;

    let permits = match engine.spec.order {
        Order::Declared => engine.spec.limits.nodes.max(1),
        // Nodes that go in step wait for each other, and none can wait for its turn meanwhile.
        Order::Linear => Semaphore::MAX_PERMITS,
    };
    let permits = Arc::new(Semaphore::new(permits));
    let mut running: JoinSet<(Key, Outcome)> = JoinSet::new();
    loop {
        // What is done at once can make more ready: nothing of it waits for a unit that runs.
        loop {
            let ready = graph.ready();
            if ready.is_empty() {
                break;
            }
            for key in ready {
                match graph.payload(&key).cloned() {
                    Some(Unit::Work(work)) if graph.start(&key).is_ok() => {
                        let (engine, permits) = (engine.clone(), permits.clone());
                        running.spawn(async move { (key, run_unit(engine, work, permits).await) });
                    }
                    Some(Unit::Expand(from)) => {
                        expand(&engine, &mut graph, &mut planner, from, &mut nodes);
                        end(&engine, &mut graph, &key, Outcome::Done, &mut nodes).await;
                    }
                    _ => end(&engine, &mut graph, &key, Outcome::Done, &mut nodes).await,
                }
            }
        }
        match running.join_next().await {
            Some(Ok((key, outcome))) => end(&engine, &mut graph, &key, outcome, &mut nodes).await,
            // A unit that panicked is our own fault; its node's other units cannot go on, so the run ends here.
            Some(Err(error)) => {
                let failure = internal(format!("internal error: {error}"));
                lock(&engine.failures).push((failure, Vec::new()));
                break;
            }
            None => break,
        }
    }
    running.shutdown().await;

    for (name, recap) in &mut nodes {
        if let Some(node) = engine.node(name) {
            let not_run = recap.not_run;
            *recap = lock(&node.recap).clone();
            recap.not_run += not_run;
        }
    }
    let failures = std::mem::take(&mut *lock(&engine.failures));
    let failures = failures.into_iter().map(|(mut failure, budgets)| {
        engine.spec.hidden.failure(&mut failure);
        failure.tolerated = budgets.iter().any(|budget| budget.tolerates());
        failure
    });
    let failures = failures.collect();
    let report = RunReport {
        run,
        nodes,
        failures,
        seconds: seconds(began.elapsed()),
    };
    engine.tell(Event::RunDone(report.clone())).await;
    report
}

/// Plans on from a play, with the groups and nodes that tasks have made by now.
fn expand(
    engine: &Engine,
    graph: &mut Graph<Key, Unit>,
    planner: &mut Planner,
    from: usize,
    nodes: &mut BTreeMap<String, Recap>,
) {
    engine.renew_plays(from);
    let hosts = engine.hosts_now();
    if let Err(faults) = planner.extend(graph, &engine.playbook, &hosts, from) {
        let msg = format!("what comes after cannot be planned: {faults}");
        lock(&engine.failures).push((internal(msg), Vec::new()));
    }
    for key in graph.keys() {
        let Key::Unit { node, play, .. } = key else {
            continue;
        };
        let recap = nodes.entry(node.clone()).or_default();
        // The node failed before: it has no part in what comes now.
        if *play >= from && matches!(graph.state(key), Some(State::NotRun { .. })) {
            recap.not_run += 1;
            if let Some(Unit::Work(work)) = graph.payload(key) {
                engine.pace.leave(work);
            }
        }
    }
}

/// A failure that is no node's.
fn internal(msg: String) -> Failure {
    Failure {
        node: String::new(),
        role: String::new(),
        task: String::new(),
        msg,
        tolerated: false,
    }
}

/// Ends a vertex and tells, once a node, what is not run because of it.
async fn end(
    engine: &Engine,
    graph: &mut Graph<Key, Unit>,
    key: &Key,
    outcome: Outcome,
    nodes: &mut BTreeMap<String, Recap>,
) {
    let Ok(progress) = graph.finish(key, outcome) else {
        return;
    };
    let mut lost: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in progress.not_run {
        if let Some(Unit::Work(work)) = graph.payload(&key) {
            engine.pace.leave(work);
        }
        if let Key::Unit { node, label, .. } = key {
            nodes.entry(node.clone()).or_default().not_run += 1;
            lost.entry(node).or_default().push(label);
        }
    }
    for (node, roles) in lost {
        engine
            .tell(Event::NotRun {
                node,
                roles,
                because: key.to_string(),
            })
            .await;
    }
}

async fn run_unit(engine: Arc<Engine>, work: Arc<Work>, permits: Arc<Semaphore>) -> Outcome {
    // The semaphore is never closed, so this waits until it is this unit's turn.
    let _permit = permits.acquire().await;
    let Some(node) = engine.node(&work.node) else {
        return Outcome::Failed;
    };
    let ended = lock(&node.ended).contains(&work.play_number);
    let outcome = match ended {
        true => Outcome::Done,
        false => Walk::new(engine.clone(), node, work.clone()).run().await,
    };
    if work.is_last || outcome == Outcome::Failed || ended {
        engine.pace.leave(&work);
    }
    outcome
}
