//! A node that is a container comes with its image below it: what is left of installing it is to make that one node of
//! it, by the agent's own hand and with the orders that a machine would get. No boot, no disk, no token.
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use agent_protocol::enrol::{Image, InstallOrders, NextBoot, SeedFile};
use russh::keys::PublicKey;
use state::{EnvironmentFolder, Store};

use crate::cards::{self, CardsError};
use crate::machine::Happening;
use crate::nodes::{Refusal, happened};
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
    let orders = orders(spec, network, machine_id, authorized_key);
    let host_key = seed(&orders, root, agent).map_err(|said| ContainedError::Agent {
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

fn orders(
    spec: &NodeSpec,
    network: Vec<SeedFile>,
    machine_id: String,
    authorized_key: String,
) -> InstallOrders {
    let image = &spec.image;
    InstallOrders {
        disk: None,
        image: Image {
            url: String::new(),
            sha256: image.sha256.clone(),
            compressed_bytes: image.compressed_bytes,
            disk_bytes: image.disk_bytes,
            root_partition: image.root_partition,
            kernel: image.kernel_release.clone(),
        },
        next: NextBoot::Reboot,
        hostname: spec.name.clone(),
        fqdn: spec.fqdn.clone(),
        machine_id,
        authorized_keys: vec![authorized_key],
        files: files([network, spec.files.clone()].concat()),
    }
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
    let mut key = PublicKey::from_openssh(printed.trim())
        .map_err(|error| format!("it gave no host key: {error}"))?;
    key.set_comment("");
    key.to_openssh().map_err(|error| error.to_string())
}
