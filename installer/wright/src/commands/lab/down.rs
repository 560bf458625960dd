//! `wright lab down`: machines off, wires and disks gone. What was installed on them is forgotten with them.
use super::{blocking, planned};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use anyhow::Context;
use diagnostics::ExitStatus;
use state::{EnvironmentFolder, EnvironmentLock};

/// A playbook's newest run is the only one that could go on.
const RUNS_LOOKED_AT: u32 = 1000;

pub async fn run(
    purge: bool,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let planned = planned(settings, printer).await?;
    let state = |error: state::StateError| CommandError::failed(error.to_string());
    let folder = EnvironmentFolder::existing(&settings.state_dir, &settings.env);
    let lock = folder
        .as_ref()
        .map(|folder| EnvironmentLock::acquire(folder, "lab"))
        .transpose()
        .map_err(state)?;
    let (was_up, lab) = (planned.lab.is_up(), planned.lab);
    blocking(move || lab.down()).await?;
    if let Some(store) = planned.store {
        // Their disks are gone: they are blank machines again, and no run can go on.
        for node in store.nodes().await.map_err(state)? {
            store.remove_node(&node.name).await.map_err(state)?;
        }
        for run in store.runs(0, RUNS_LOOKED_AT).await.map_err(state)? {
            if run.ended_at.is_none() {
                let report = serde_json::json!({ "abandoned": "the lab was taken down" });
                store
                    .end_run(&run.id, false, &report)
                    .await
                    .map_err(state)?;
            }
        }
    }
    drop(lock);
    if purge && settings.state_dir.exists() {
        std::fs::remove_dir_all(&settings.state_dir)
            .with_context(|| format!("cannot remove `{}`", settings.state_dir.display()))?;
    }
    printer.say(match was_up {
        true => "the lab is down",
        false => "the lab was not up",
    });
    Ok(ExitStatus::Done)
}
