//! A node that is a container comes with its image below it: what is left of installing it is to make that one node of
//! it, by the agent's own hand and with the orders that a machine would get. No boot, no disk, no token.
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use agent_protocol::enrol::{InstallOrders, SeedFile};
use state::{EnvironmentFolder, Store};

use crate::cards::{self, CardsError};
use crate::machine::Happening;
use crate::nodes::{Refusal, happened};
use crate::orders;
use crate::spec::NodeSpec;
use crate::ssh_key::{self, SshKeyError};

/// Why a container is no node.
#[derive(Debug, thiserror::Error)]
pub enum ContainedError {
    #[error(transparent)]
    Key(#[from] SshKeyError),
    #[error(transparent)]
    Cards(#[from] CardsError),
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error("{node}: the agent could not make it a node: {said}")]
    Agent { node: String, said: String },
}

/// Makes the node `spec` of the root file system at `root`, unless it is installed already. `agent` is the static agent.
///
/// # Errors
/// When the agent fails, or the node is in a state that has no installation.
pub async fn install(
    folder: &EnvironmentFolder,
    store: &Store,
    spec: &NodeSpec,
    root: &Path,
    agent: &Path,
) -> Result<(), ContainedError> {
    let known = store.node(&spec.name).await.map_err(Refusal::from)?;
    if known.is_some_and(|record| record.ssh_host_key.is_some()) {
        return Ok(());
    }
    let authorized_key = ssh_key::ensure(folder)?;
    let steps = [
        Happening::Armed,
        Happening::BootedRamdisk,
        Happening::HardwareFits,
        Happening::OrdersGiven,
    ];
    let mut machine_id = String::new();
    for step in steps {
        let record = happened(store, &spec.name, step, |record| {
            record.boot_mac = Some(spec.boot_mac.to_string());
            record
                .machine_id
                .get_or_insert_with(|| uuid::Uuid::new_v4().simple().to_string());
        })
        .await?;
        machine_id = record.machine_id.unwrap_or_default();
    }
    let network = cards::network_files(&spec.network, None)?;
    // Neither an image is fetched nor a kernel started.
    let keys = [authorized_key];
    let mut orders = orders::orders(spec, "", network, "", &machine_id, &keys);
    orders.files = files(orders.files);
    let (root, agent) = (root.to_owned(), agent.to_owned());
    let seeded = tokio::task::spawn_blocking(move || seed(&orders, &root, &agent)).await;
    let host_key = seeded
        .map_err(|error| error.to_string())
        .and_then(|seeded| seeded)
        .map_err(|said| ContainedError::Agent {
            node: spec.name.clone(),
            said,
        })?;
    happened(store, &spec.name, Happening::Installed, |record| {
        record.ssh_host_key = Some(host_key);
        record.image_sha256 = Some(spec.image.sha256.clone());
    })
    .await?;
    Ok(())
}

/// A container's cards have no permanent address, and its root is mounted from outside.
fn files(mut files: Vec<SeedFile>) -> Vec<SeedFile> {
    for file in &mut files {
        file.content = file.content.replace("PermanentMACAddress=", "MACAddress=");
    }
    files.push(SeedFile {
        path: "/etc/fstab".to_owned(),
        mode: 0o644,
        content: String::new(),
    });
    files
}

/// Lets the agent write below `root`; the node's SSH host key as it is kept, or what went wrong.
fn seed(orders: &InstallOrders, root: &Path, agent: &Path) -> Result<String, String> {
    let text = serde_json::to_vec(orders).map_err(|error| error.to_string())?;
    let mut child = Command::new(agent)
        .arg("seed")
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", agent.display()))?;
    if let Some(mut input) = child.stdin.take() {
        // If it ended early, its own message says more than the broken pipe.
        let _ = input.write_all(&text);
    }
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    ssh_key::host_key(&printed).ok_or_else(|| format!("it gave no host key: {}", printed.trim()))
}
