//! Where the lab's machines are containers: each comes with its image's root, and is made its own node here instead of
//! by a network boot.
use super::blocking;
use crate::commands::deploy::images::{self, Images};
use crate::environment::Environment;
use crate::error::CommandError;
use crate::namespace;
use lab::{Lab, LabError, Power, RootImage};
use provision::{NodeSpec, contained};
use state::{EnvironmentFolder, Store};
use std::collections::BTreeMap;

/// Machines of the lab that are blank to the state are new ones, or stand for new ones: each begins with nothing but its image.
/// Where machines are emulated, the deployment installs them itself.
pub async fn make_blank(
    lab: &Lab,
    environment: &Environment,
    images: &Images,
    folder: &EnvironmentFolder,
    store: &Store,
) -> Result<(), CommandError> {
    if !lab.is_of_containers() {
        return Ok(());
    }
    let records = store.nodes().await.map_err(anyhow::Error::from)?;
    let is_installed = |name: &str| {
        let mut records = records.iter();
        records.any(|record| record.name == name && record.ssh_host_key.is_some())
    };
    let blank: Vec<String> = images
        .keys()
        .filter(|name| !is_installed(name))
        .cloned()
        .collect();
    if blank.is_empty() {
        return Ok(());
    }
    let (wiping, names) = (lab.clone(), blank.clone());
    in_lab(move || names.iter().try_for_each(|name| wiping.wipe(name))).await?;
    install(lab, environment, images, folder, store).await?;
    let starting = lab.clone();
    in_lab(move || {
        blank
            .iter()
            .try_for_each(|name| starting.power(name, Power::On))
    })
    .await
}

/// Work on the machines, from where their wires are made.
pub async fn in_lab(
    work: impl FnOnce() -> Result<(), LabError> + Send + 'static,
) -> Result<(), CommandError> {
    tokio::task::spawn_blocking(move || namespace::outside(work))
        .await
        .map_err(anyhow::Error::from)??
        .map_err(super::lab_error)
}

/// Gives every container its root, and makes a node of those that are none yet.
pub async fn install(
    lab: &Lab,
    environment: &Environment,
    images: &Images,
    folder: &EnvironmentFolder,
    store: &Store,
) -> Result<(), CommandError> {
    let root_image = |(node, image): (&String, &std::sync::Arc<_>)| {
        let image: &provision::manifest::ImageManifest = image;
        let root = RootImage {
            name: image.name.clone(),
            packed: image.disk_image.clone(),
            sha256: image.sha256.clone(),
            root_partition: image.root_partition,
        };
        (node.clone(), root)
    };
    let wanted: BTreeMap<String, RootImage> = images.iter().map(root_image).collect();
    let mounting = lab.clone();
    let roots = blocking(move || mounting.prepare(&wanted)).await?;
    let agent = images::agent()?;
    for (node, root) in &roots {
        let Some(image) = images.get(node) else {
            continue;
        };
        let failed = |text: String| CommandError::failed(text);
        let spec = NodeSpec::from_plan(&environment.plan, node, image.clone(), None)
            .map_err(|error| failed(error.to_string()))?;
        contained::install(folder, store, &spec, root, &agent)
            .await
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}
