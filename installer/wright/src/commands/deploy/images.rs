//! Node images for the environment: one for each set of packages that its nodes' roles ask for.
use crate::commands::build::with_builder;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::Diagnostics;
use inventory::DatabaseEngine;
use provision::image::ImageRecipe;
use provision::manifest::ImageManifest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use task_engine::parse::Playbook;
use yaml_source::Fault;

/// By node.
pub type Images = BTreeMap<String, Arc<ImageManifest>>;

/// The static agent: `WRIGHT_AGENT` names it, or it lies beside this program or where `cargo xtask` builds it.
pub fn agent() -> Result<PathBuf, CommandError> {
    let program = std::env::current_exe().map_err(anyhow::Error::from)?;
    let named = std::env::var_os("WRIGHT_AGENT").map(PathBuf::from);
    provision::agent_program::find(named, &program).map_err(|error| {
        CommandError::failed(error.to_string())
            .hint("`cargo xtask lab` builds a static one; or name one by the variable WRIGHT_AGENT")
    })
}

/// Recipes by name of the image, and the image of each node.
pub type Recipes = (BTreeMap<String, ImageRecipe>, BTreeMap<String, String>);

/// What each node is to be installed from.
pub fn recipes(environment: &Environment, playbook: &Playbook) -> Result<Recipes, CommandError> {
    let mut packages_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut faults = Diagnostics::new();
    for (name, role) in &playbook.roles {
        packages_of.insert(
            name,
            packages(
                &role.path.join("meta/image.yml"),
                environment.inventory.database_engine,
                &mut faults,
            ),
        );
    }
    faults.into_result(())?;
    let hosts: Vec<task_engine::HostSpec> = environment
        .plan
        .nodes
        .values()
        .map(|node| super::hosts::bare(&node.name, node.groups.clone()))
        .collect();
    let mut of_node: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for play in &playbook.plays {
        let (chosen, _) = task_engine::select(&hosts, &play.hosts);
        for host in chosen {
            let set = of_node.entry(host.name.clone()).or_default();
            for used in &play.roles {
                set.extend(
                    packages_of
                        .get(used.role.name.as_str())
                        .into_iter()
                        .flatten()
                        .cloned(),
                );
            }
        }
    }
    let mut recipes: BTreeMap<String, ImageRecipe> = BTreeMap::new();
    let mut image_of = BTreeMap::new();
    for node in environment
        .plan
        .nodes
        .values()
        .filter(|node| node.boot_mac.is_some())
    {
        let packages = of_node.remove(&node.name).unwrap_or_default();
        let kind = ["controller", "hybrid", "compute", "storage"]
            .into_iter()
            .find(|group| node.in_group(group));
        let kind = kind.unwrap_or("node");
        // Nodes of one kind share an image unless their roles differ.
        let name = (0..)
            .map(|n| {
                if n == 0 {
                    kind.to_owned()
                } else {
                    format!("{kind}-{n}")
                }
            })
            .find(|name| {
                recipes
                    .get(name)
                    .is_none_or(|recipe| recipe.packages == packages)
            })
            .unwrap_or_default();
        image_of.insert(node.name.clone(), name.clone());
        recipes.entry(name.clone()).or_insert(ImageRecipe {
            name,
            packages,
            kernel_arguments: Vec::new(),
        });
    }
    Ok((recipes, image_of))
}

/// The packages that a role's `meta/image.yml` lists; none where there is no such file. Instead of a list there may be one
/// for each database server.
fn packages(path: &Path, engine: DatabaseEngine, faults: &mut Diagnostics) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Vec::new();
    };
    let document = match yaml_source::parse(&path.display().to_string(), &text) {
        Ok(document) => document,
        Err(found) => {
            faults.extend(found);
            return Vec::new();
        }
    };
    let Some(map) = document.root.as_map("an image's description", faults) else {
        return Vec::new();
    };
    map.check_keys("an image's description", &["packages"], faults);
    let Some(packages) = map.get("packages") else {
        faults.push(
            document
                .root
                .error("an image's description lacks `packages`"),
        );
        return Vec::new();
    };
    let list = match packages.map() {
        None => packages.as_seq("`packages`", faults),
        Some(by_engine) => {
            let names = DatabaseEngine::ALL.map(DatabaseEngine::name);
            by_engine.check_keys("`packages`", &names, faults);
            by_engine
                .get(engine.name())
                .and_then(|node| node.as_seq("`packages` of a database server", faults))
        }
    };
    list.into_iter()
        .flatten()
        .filter_map(|node| node.as_str("a package's name", faults).map(str::to_owned))
        .collect()
}

/// Builds, or takes from the cache, what the nodes are installed from.
pub async fn build(
    settings: &Settings,
    environment: &Environment,
    playbook: &Playbook,
    printer: &Printer,
) -> Result<Images, CommandError> {
    let (recipes, image_of) = recipes(environment, playbook)?;
    let agent = agent()?;
    let built = with_builder(settings, printer, move |builder| {
        let build = |(name, recipe)| Ok((name, Arc::new(builder.node_image(&recipe, &agent)?)));
        recipes
            .into_iter()
            .map(build)
            .collect::<Result<BTreeMap<_, _>, _>>()
    })
    .await?;
    Ok(image_of
        .into_iter()
        .filter_map(|(node, name)| Some((node, built.get(&name)?.clone())))
        .collect())
}
