//! CPU time of emulated machines, for deadlines that count progress; nothing for real ones.
use crate::environment::Environment;
use lab::{Accelerator, Folders, Lab, LabSpec};
use provision::nodes::Meter;
use state::EnvironmentFolder;
use std::sync::Arc;
use std::time::Duration;

/// Reads what the lab has recorded of its emulators; `None` where this environment is no running lab.
pub fn of(folder: &EnvironmentFolder, environment: &Environment) -> Option<Meter> {
    let spec = LabSpec::from_inventory(
        folder.environment(),
        &environment.inventory,
        &environment.plan,
    )
    .ok()?;
    let lab = Lab::new(
        spec,
        Folders::of(folder.environment(), folder.root()),
        Accelerator::Emulation,
    );
    if !lab.is_up() {
        return None;
    }
    Some(Arc::new(move |node: &str| {
        let machine = lab
            .status()
            .into_iter()
            .find(|machine| machine.name == node)?;
        machine.cpu_seconds.map(Duration::from_secs_f64)
    }))
}
