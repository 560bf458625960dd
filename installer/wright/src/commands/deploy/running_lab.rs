//! The lab that an environment runs on, for a deployment that is told of a lab by nothing but its wires: the
//! machines' CPU time, power and last words. For real machines there is none.
use crate::commands::lab::{containers, kind};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::settings::Settings;
use lab::{Folders, Lab, LabSpec, Power};
use provision::nodes::Meter;
use std::sync::Arc;
use std::time::Duration;

/// `None` where this environment is no running lab.
pub fn of(settings: &Settings, environment: &Environment) -> Option<Lab> {
    let spec =
        LabSpec::from_inventory(&settings.env, &environment.inventory, &environment.plan).ok()?;
    let folders = Folders::of(&settings.env, &settings.state_dir);
    let lab = Lab::new(spec, folders, kind(settings));
    lab.is_up().then_some(lab)
}

/// New machines for nodes that are replaced: off and on with blank disks, so that they look for a network to boot from.
/// Containers are made anew by the deployment, from its images.
pub async fn renew(
    settings: &Settings,
    environment: &Environment,
    nodes: &[String],
) -> Result<(), CommandError> {
    let Some(lab) = of(settings, environment).filter(|lab| !lab.is_of_containers()) else {
        return Ok(());
    };
    let nodes = nodes.to_vec();
    containers::in_lab(move || {
        nodes.iter().try_for_each(|node| {
            lab.wipe(node)?;
            lab.power(node, Power::On)
        })
    })
    .await
}

/// CPU time of emulated machines, for deadlines that count progress.
pub fn meter(lab: &Lab) -> Meter {
    let lab = lab.clone();
    Arc::new(move |node: &str| {
        let machine = lab
            .status()
            .into_iter()
            .find(|machine| machine.name == node)?;
        machine.cpu_seconds.map(Duration::from_secs_f64)
    })
}
