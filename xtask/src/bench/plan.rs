//! The engine without machines: a plan for many simulated nodes, and tasks that do not apply. No peer can plan.
use super::Measurement;
use crate::cargo;
use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use std::process::Command;

const NODES: u32 = 1000;
const TASKS: u32 = 200;

pub fn run(_args: &[String]) -> Result<Vec<Measurement>> {
    let build = ["build", "--quiet", "--workspace", "--example", "plan_scale"];
    cargo::cargo(&build)?;
    let plan = simulated("mixed")?;
    let in_step = simulated("in-step")?;
    let skipped = simulated("skipped")?;
    let tasks = f64::from(NODES * TASKS);
    Ok(vec![
        Measurement::cost("plan, with its file", plan.seconds, "s").headline(),
        Measurement::cost("plan, memory", plan.mib, "MiB").headline(),
        Measurement::cost("plan, nodes in step", in_step.seconds, "s"),
        Measurement::cost("a skipped task", skipped.seconds * 1000.0 / tasks, "ms").headline(),
    ])
}

struct Cost {
    seconds: f64,
    mib: f64,
}

/// A process of its own for each, as its memory is measured.
fn simulated(kind: &str) -> Result<Cost> {
    let program = cargo::target().join("debug/examples/plan_scale");
    let output = Command::new(&program)
        .args([&NODES.to_string(), &TASKS.to_string(), kind])
        .output()
        .with_context(|| format!("cannot run `{}`", program.display()))?;
    if !output.status.success() {
        bail!("plan_scale: {}", String::from_utf8_lossy(&output.stderr));
    }
    let told: Json = serde_json::from_slice(&output.stdout)?;
    let figure = |name: &str| {
        told[name]
            .as_f64()
            .with_context(|| format!("plan_scale tells no `{name}`"))
    };
    Ok(Cost {
        seconds: figure("seconds_with_files")?,
        mib: figure("peak_kib")? / 1024.0,
    })
}
