//! Installing nodes: starting the boot server, waiting for every node, telling how far each is.
use super::binary::Offered;
use super::images::Images;
use super::{running_lab, wake};
use crate::args::deploy::DeployArgs;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::live::Live;
use crate::printer::Printer;
use inventory::NetworkName;
use lab::Lab;
use provision::manifest::ImageManifest;
use provision::provisioner::all_installed;
use provision::{Event, NodeSpec, Patience, ProvisionSpec, Provisioner};
use state::{EnvironmentFolder, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// Lines of a console that are shown of a node that failed.
const LAST_WORDS: usize = 12;
/// The name under which nodes fetch the `wright` program.
pub const WRIGHT_FILE: &str = "wright.zst";

pub async fn start(
    args: &DeployArgs,
    folder: &EnvironmentFolder,
    store: &Store,
    environment: &Environment,
    images: &Images,
    wright: &Offered,
    lab: Option<&Lab>,
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
        strangers: environment
            .inventory
            .networks
            .get(&NetworkName::Pxe)
            .and_then(|network| network.ranges.dhcp),
        files: BTreeMap::from([(WRIGHT_FILE.to_owned(), wright.path.clone())]),
        authorized_keys: Vec::new(),
        kernel_arguments: args.kernel_arguments.clone(),
        patience: Patience::default(),
        meter: lab.map(running_lab::meter),
    };
    Provisioner::start(spec).await.map_err(|error| {
        CommandError::failed(error.to_string()).hint(
            "the boot server needs its address on `pxe`, and ports 67, 69 and 7080 for itself",
        )
    })
}

/// Waits until every node is installed; fails with every node that is not, where it stopped, and the last words on
/// its console where there is one to be read.
pub async fn wait(
    provisioner: &Provisioner,
    images: &Images,
    lab: Option<&Lab>,
    printer: &Printer,
) -> Result<(), CommandError> {
    let mut events = provisioner.events();
    let telling = *printer;
    let teller = tokio::spawn(async move {
        let mut tenths: BTreeMap<String, u64> = BTreeMap::new();
        let mut live = telling.live();
        loop {
            match events.recv().await {
                Ok(event) => tell(&telling, &mut live, &event, &mut tenths),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    let waker =
        lab.map(|lab| tokio::spawn(wake::silent(lab.clone(), provisioner.outlook(), *printer)));
    let outcomes = provisioner.wait().await;
    teller.abort();
    if let Some(waker) = waker {
        waker.abort();
    }
    let outcomes = outcomes.map_err(anyhow::Error::from)?;
    if all_installed(&outcomes) {
        return Ok(());
    }
    let mut failed = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.installed) {
        let reason = outcome.reason.as_deref().unwrap_or("no reason is known");
        let mut text = format!("{}: {reason}", outcome.node);
        let words = lab.map(|lab| lab.last_words(&outcome.node, LAST_WORDS));
        for line in words.unwrap_or_default() {
            text += &format!("\n    | {line}");
        }
        failed.push(text);
        if let Some(image) = images
            .get(&outcome.node)
            .filter(|_| reason.starts_with("verify:"))
        {
            discard_if_damaged(image, printer).await;
        }
    }
    let hint = match lab {
        Some(_) => "`wright lab console NODE` shows more; `wright lab up` goes on",
        None => "the machine's own console shows its last words; `wright deploy` goes on",
    };
    Err(CommandError::failed(format!("not installed:\n  {}", failed.join("\n  "))).hint(hint))
}

/// A node found that an image is not what it should be: if it is the file here that was damaged, it is removed, so
/// that the next run builds it anew instead of failing for ever.
async fn discard_if_damaged(image: &Arc<ImageManifest>, printer: &Printer) {
    let looked_at = image.clone();
    let is_intact = tokio::task::spawn_blocking(move || looked_at.is_intact()).await;
    let Some(folder) = image.disk_image.parent() else {
        return;
    };
    if matches!(is_intact, Ok(Ok(false))) && std::fs::remove_dir_all(folder).is_ok() {
        printer.warn(&format!(
            "image `{}` was damaged in the cache and is removed: the next run builds it anew",
            image.name
        ));
    }
}

/// One line for each thing worth knowing: states, and each tenth of a disk written.
fn tell(printer: &Printer, live: &mut Live, event: &Event, tenths: &mut BTreeMap<String, u64>) {
    let (node, doing) = match event {
        Event::State {
            node,
            state,
            reason,
        } => match reason {
            Some(reason) => (node, format!("{} ({reason})", state.as_str())),
            None => (node, state.as_str().to_owned()),
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
            (node, format!("writing the disk, {} %", tenth * 10))
        }
        Event::Step { node, step, .. } => (node, step_word(*step)),
        Event::UnknownMachine { mac } => {
            let text =
                format!("a machine that the inventory does not know asks for an address: {mac}");
            return printer.event("provision", &text, event);
        }
        Event::Warning { node, text } => {
            return printer.event("provision", &format!("{node}: warning: {text}"), event);
        }
    };
    printer.step(live, node, &doing, "provision", event);
}

fn step_word(step: provision::Step) -> String {
    serde_json::to_value(step)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}
