//! Reading the inventory of a data centre: `wright check`, which plans its networks, too, against `ansible-inventory`.
use super::Measurement;
use crate::{cargo, python};
use anyhow::{Context, Result};
use std::{
    process::{Command, Stdio},
    time::Instant,
};

const RUNS: usize = 5;

pub fn run(_args: &[String]) -> Result<Vec<Measurement>> {
    cargo::cargo(&["build", "--quiet", "--package", "wright"])?;
    let inventory = cargo::root().join("inventories/datacenter");
    let state = cargo::cache().join("bench-inventory");
    let mut ours = Command::new(cargo::wright());
    ours.args(["-e", "datacenter", "check", "--inventory"])
        .arg(&inventory)
        .arg("--state-dir")
        .arg(&state);
    let ours = median(&mut ours)?;
    let peer = python::environment("bench-tasks", super::tasks::PEERS).and_then(|bin| {
        let mut command = Command::new(bin.join("ansible-inventory"));
        median(
            command
                .arg("--list")
                .arg("-i")
                .arg(inventory.join("hosts.yml"))
                .env("LC_ALL", "C.UTF-8"),
        )
    });
    Ok(vec![Measurement::cost("check", ours, "s").against(peer)])
}

/// Seconds from start to end, the middle one of a few runs.
fn median(command: &mut Command) -> Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        cargo::check(command.stdout(Stdio::null()).stdin(Stdio::null()))?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    seconds
        .get(RUNS / 2)
        .copied()
        .context("nothing was measured")
}
