//! Installing nodes: starting the boot server, waiting for every node, telling how far each is.
use super::binary::Offered;
use super::images::Images;
use crate::args::deploy::DeployArgs;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::lab_meter;
use crate::printer::Printer;
use provision::provisioner::all_installed;
use provision::{Event, NodeSpec, Patience, ProvisionSpec, Provisioner};
use state::{EnvironmentFolder, Store};
use std::collections::BTreeMap;
use tokio::sync::broadcast::error::RecvError;

/// The name under which nodes fetch the `wright` program.
pub const WRIGHT_FILE: &str = "wright.zst";

pub async fn start(
    args: &DeployArgs,
    folder: &EnvironmentFolder,
    store: &Store,
    environment: &Environment,
    images: &Images,
    wright: &Offered,
) -> Result<Provisioner, CommandError> {
    let nodes = images
        .iter()
        .map(|(node, image)| NodeSpec::from_plan(&environment.plan, node, image.clone(), None))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CommandError::failed(error.to_string()))?;
    let spec = ProvisionSpec {
        folder: folder.clone(),
        store: store.clone(),
        plan: environment.plan.clone(),
        nodes,
        files: BTreeMap::from([(WRIGHT_FILE.to_owned(), wright.path.clone())]),
        authorized_keys: Vec::new(),
        kernel_arguments: args.kernel_arguments.clone(),
        patience: Patience::default(),
        meter: lab_meter::of(folder, environment),
    };
    Provisioner::start(spec).await.map_err(|error| {
        CommandError::failed(error.to_string()).hint(
            "the boot server needs its address on `pxe`, and ports 67, 69 and 7080 for itself",
        )
    })
}

/// Waits until every node is installed; fails with every node that is not, and where it stopped.
pub async fn wait(provisioner: &Provisioner, printer: &Printer) -> Result<(), CommandError> {
    let mut events = provisioner.events();
    let printer = *printer;
    let teller = tokio::spawn(async move {
        let mut tenths: BTreeMap<String, u64> = BTreeMap::new();
        loop {
            match events.recv().await {
                Ok(event) => tell(&printer, &event, &mut tenths),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    let outcomes = provisioner.wait().await;
    teller.abort();
    let outcomes = outcomes.map_err(anyhow::Error::from)?;
    if all_installed(&outcomes) {
        return Ok(());
    }
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.installed)
        .map(|outcome| {
            format!(
                "{}: {}",
                outcome.node,
                outcome.reason.as_deref().unwrap_or("no reason is known")
            )
        })
        .collect();
    Err(CommandError::failed(format!("not installed:\n  {}", failed.join("\n  ")))
        .hint("`wright lab console NODE` or the machine's own console shows its last words; run `deploy` again to go on"))
}

/// One line for each thing worth knowing: states, and each tenth of a disk written.
fn tell(printer: &Printer, event: &Event, tenths: &mut BTreeMap<String, u64>) {
    let text = match event {
        Event::State {
            node,
            state,
            reason,
        } => match reason {
            Some(reason) => format!("{node}: {} ({reason})", state.as_str()),
            None => format!("{node}: {}", state.as_str()),
        },
        Event::Step {
            node,
            step: provision::Step::Write,
            done,
            total,
        } if *total > 0 => {
            let tenth = done * 10 / total;
            if tenths.insert(node.clone(), tenth) == Some(tenth) {
                return;
            }
            format!("{node}: writing the disk, {} %", tenth * 10)
        }
        Event::Step { node, step, .. } => format!("{node}: {}", step_word(*step)),
        Event::UnknownMachine { mac } => {
            format!("a machine that the inventory does not know asks for an address: {mac}")
        }
        Event::Warning { node, text } => format!("{node}: warning: {text}"),
    };
    printer.event("provision", &text, event);
}

fn step_word(step: provision::Step) -> String {
    serde_json::to_value(step)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}
