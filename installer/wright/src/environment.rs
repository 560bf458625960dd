//! Inventory, earlier allocations and network plan of the environment: what most commands begin
//! with. Looks only; keeping new allocations is [`keep`].

use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use inventory::Inventory;
use network_plan::{Allocations, NetworkPlan};
use state::{EnvironmentFolder, Store};

/// The environment as it is planned.
pub struct Environment {
    /// For commands that need more than the plan says.
    pub inventory: Inventory,
    pub plan: NetworkPlan,
    allocations: Allocations,
    /// Version of the allocations that the plan was made from.
    version: i64,
}

/// The environment's `state.db` if there is one; looking must not make it.
pub async fn open_store(settings: &Settings) -> Result<Option<Store>, CommandError> {
    let folder = EnvironmentFolder::existing(&settings.state_dir, &settings.env);
    let Some(folder) = folder.filter(|folder| folder.database().exists()) else {
        return Ok(None);
    };
    match Store::open(&folder).await {
        Ok(store) => Ok(Some(store)),
        Err(cause) => Err(CommandError::failed(format!(
            "cannot read the state in `{}`: {cause}",
            settings.state_dir.display()
        ))
        .hint("was it made by another user? `--state-dir` chooses another folder")),
    }
}

/// Reads and checks the inventory, and plans from it and what is in `store`. Warnings go to the
/// printer.
///
/// # Errors
/// All faults of the inventory; if there are none, all of the plan.
pub async fn plan(
    settings: &Settings,
    store: Option<&Store>,
    printer: &Printer,
) -> Result<Environment, CommandError> {
    let (inventory, findings) = inventory::load(&settings.inventory_dir);
    if findings.has_errors() {
        return Err(findings.into());
    }
    printer.warnings(&findings);
    let (earlier, version) = match store {
        Some(store) => {
            let found = store
                .allocations::<Allocations>()
                .await
                .map_err(anyhow::Error::from)?;
            (found.document.unwrap_or_default(), found.version)
        }
        None => (Allocations::default(), 0),
    };
    let (plan, allocations) = network_plan::plan(&inventory, &earlier)?;
    Ok(Environment {
        inventory,
        plan,
        allocations,
        version,
    })
}

/// Keeps the plan's allocations: from now on those addresses do not move.
///
/// # Errors
/// Another process kept some since the plan was made.
pub async fn keep(environment: &Environment, store: &Store) -> Result<(), CommandError> {
    store
        .replace_allocations(environment.version, &environment.allocations)
        .await
        .map(|_| ())
        .map_err(|cause| {
            CommandError::failed(format!("cannot keep the addresses: {cause}"))
                .hint("is another `wright` at work on this environment? Run the command again")
        })
}

#[cfg(test)]
impl Environment {
    /// Of an inventory without faults, in a state folder without anything.
    pub fn for_tests(inventory_dir: &std::path::Path) -> Self {
        let (inventory, _) = inventory::load(inventory_dir);
        let (plan, allocations) = network_plan::plan(&inventory, &Allocations::default()).unwrap();
        Self {
            inventory,
            plan,
            allocations,
            version: 0,
        }
    }
}
