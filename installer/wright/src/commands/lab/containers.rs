//! Where the lab's machines are containers: each comes with its image's root, and is made its own node here instead of
//! by a network boot.
use super::blocking;
use crate::commands::deploy::images::{self, Images};
use crate::environment::Environment;
use crate::error::CommandError;
use lab::{Lab, RootImage};
use provision::{NodeSpec, contained};
use state::{EnvironmentFolder, Store};
use std::collections::BTreeMap;

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
