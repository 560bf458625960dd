//! Faults of every kind, one after the other, on one real cluster: it comes back by itself, from the newest node, and
//! all nodes hold the same data. One test, as making the cluster costs most of its time.

use crate::cluster::{CONFIG, Cluster, missing};
use database::state::Phase;
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The guard as a process: `Cluster` runs this binary again with only this test. Otherwise it does nothing.
#[test]
fn guard_process() {
    let Ok(path) = std::env::var(CONFIG) else {
        return;
    };
    let config = database::config::load(Path::new(&path)).expect("a good configuration");
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(database::serve(config))
        .unwrap();
}

#[test]
fn a_cluster_survives() {
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let _alone = crate::ALONE.lock();
    let mut c = Cluster::new();
    (0..3).for_each(|i| c.start_guard(i));
    c.wait_healthy("fresh: all three are there", 90);
    assert_eq!(c.beginnings(), [1, 0, 0], "the first by name begins");
    c.sql(1, "CREATE DATABASE t").unwrap();
    c.sql(1, "CREATE TABLE t.t (id INT PRIMARY KEY, v VARCHAR(40))")
        .unwrap();
    let mut rows = 0;
    let mut write = |c: &Cluster, i: usize| {
        rows += 1;
        // As a client does: again, while the cluster finds itself.
        c.wait("written", 20, |c| {
            c.sql(i, &format!("REPLACE INTO t.t VALUES ({rows}, UUID())"))
                .is_ok()
        });
        rows
    };
    let n = write(&c, 2);
    c.same_data(n);

    // One server dies: the others go on, it comes back.
    c.kill_servers(&[2]);
    c.wait("one killed: told", 5, |c| {
        c.healthz(2).is_some_and(|(s, _)| s == 503)
    });
    let n = write(&c, 0);
    c.wait_healthy("one killed: it is back", 40);
    c.same_data(n);

    // Its data are unlike the others': they put it out, and it takes a whole copy.
    c.sql(
        2,
        &format!("BEGIN NOT ATOMIC SET wsrep_on = OFF; DELETE FROM t.t WHERE id = {n}; END"),
    )
    .unwrap();
    c.sql(0, &format!("UPDATE t.t SET v = 'x' WHERE id = {n}"))
        .unwrap();
    c.wait("other data: told", 5, |c| {
        c.healthz(2).is_some_and(|(s, _)| s == 503)
    });
    c.wait_healthy("other data: a copy was taken", 50);
    c.same_data(n);

    // One node with its guard.
    c.kill_guard(1);
    c.kill_servers(&[1]);
    c.wait_gone(1);
    c.start_guard(1);
    c.wait_healthy("guard and server of one killed: back", 40);

    // The guard alone: the server does not notice.
    c.kill_guard(0);
    let n = write(&c, 0);
    c.start_guard(0);
    c.wait_healthy("a guard killed: back", 10);
    c.same_data(n);

    // Two at once: the third is left outside, becomes Primary, and the others join it.
    c.kill_servers(&[0, 1]);
    c.wait("two killed: told", 10, |c| {
        c.healthz(2).is_some_and(|(s, _)| s == 503)
    });
    c.wait_healthy("two killed: back", 60);
    c.same_data(n);

    // A cable: the lonely node serves nobody and changes nothing.
    c.cable(2, false);
    c.wait("cut off: the others serve", 15, |c| {
        c.healthz(0).is_some_and(|(s, _)| s == 200)
            && c.state(0).is_ok_and(|state| state.members == Some(2))
            && c.sql(2, "SELECT 1 FROM t.t").is_err()
    });
    let n = write(&c, 0);
    let lonely = c.sql(2, "INSERT INTO t.t VALUES (0, 0)");
    assert!(lonely.is_err(), "no writes outside: {lonely:?}");
    c.cable(2, true);
    // Its guard was not heard while it was cut off, and may not have noticed anything.
    c.wait("cut off: back in the cluster", 40, |c| {
        c.state(0).is_ok_and(|state| state.members == Some(3))
            && c.sql(2, "SELECT 1 FROM t.t").is_ok()
    });
    c.wait_healthy("cut off: together again", 40);
    c.same_data(n);

    // All at once; one guard is frozen meanwhile.
    c.freeze_guard(1, true);
    c.kill_servers(&[0, 1, 2]);
    (0..3).for_each(|i| c.wait_gone(i));
    // With `pc.recovery=FALSE` Galera keeps no record of the view: nothing but positions decides.
    (0..3).for_each(|i| assert!(!c.data(i).join("gvwstate.dat").exists()));
    std::thread::sleep(Duration::from_secs(4));
    for i in [0, 2] {
        assert_ne!(
            c.phase(i),
            Some(Phase::Bootstrapping),
            "one guard is not heard"
        );
    }
    c.freeze_guard(1, false);
    c.wait_healthy("all killed: back", 60);
    c.same_data(n);

    // A node that stopped in good order, long before the others died, must not begin, although it is heard first.
    c.kill_guard(0);
    c.signal_server(0, Signal::SIGTERM);
    c.wait_gone(0);
    for _ in 0..3 {
        write(&c, 1);
    }
    let n = write(&c, 2);
    let before = c.beginnings();
    (1..3).for_each(|i| c.kill_guard(i));
    c.kill_servers(&[1, 2]);
    (1..3).for_each(|i| c.wait_gone(i));
    c.start_guard(0);
    c.wait("stale node: waits for the others", 10, |c| {
        c.state(0)
            .is_ok_and(|s| s.why.is_some_and(|why| why.contains("`b` (not heard)")))
    });
    // After the time that waiting is given, the operator is asked; the others come in time all the same.
    c.wait("stale node: asks", 30, |c| {
        c.phase(0) == Some(Phase::AskOperator)
    });
    (1..3).for_each(|i| c.start_guard(i));
    c.wait_healthy("all power lost, one stale: back", 60);
    assert_eq!(c.beginnings()[0], before[0], "the stale node has not begun");
    c.same_data(n);

    // Data of another history: nobody begins, the operator decides.
    (0..3).for_each(|i| c.kill_guard(i));
    c.kill_servers(&[0, 1, 2]);
    (0..3).for_each(|i| c.wait_gone(i));
    let grastate = c.data(2).join("grastate.dat");
    let other = "version: 2.1\nuuid: 11111111-2222-11e4-aa94-5255b1455aa0\nseqno: 5\nsafe_to_bootstrap: 1\n";
    fs::write(grastate, other).unwrap();
    (0..3).for_each(|i| c.start_guard(i));
    c.wait("two histories: all ask", 30, |c| {
        (0..3).all(|i| c.phase(i) == Some(Phase::AskOperator))
    });
    c.bootstrap(1).unwrap();
    c.wait("two histories: decided", 40, |c| {
        (0..2).all(|i| c.healthz(i).is_some_and(|(s, _)| s == 200))
    });
    assert!(c.bootstrap(2).is_err(), "refused while a cluster runs");
    c.wait("two histories: the other node keeps its own", 30, |c| {
        c.state(2).is_ok_and(|state| {
            state.phase == Phase::AskOperator
                && state
                    .command
                    .is_some_and(|command| command.starts_with("mv "))
        })
    });
    c.set_data_aside(2);
    c.wait_healthy("two histories: the other node took the cluster's data", 60);
    c.same_data(n);
}
