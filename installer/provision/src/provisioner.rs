//! A run: arms the nodes that are not installed, serves them, waits until each is installed or has failed.
//!
//! Killed and started again it goes on: states and tokens are in `state.db`, installed nodes are passed over.
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boot::dhcp::{DhcpPolicy, Reservation};
use boot::server::DEBIAN_LOADERS;
use boot::{BootConfig, BootError, BootServer};
use inventory::AddressRange;
use network_plan::NetworkPlan;
use state::{EnvironmentFolder, Store};
use tokio::sync::broadcast;

use crate::enrol;
use crate::nodes::{Meter, Nodes, Outcome, Refusal, Setting};
use crate::progress::{Event, Patience};
use crate::spec::{NodeSpec, SpecError, boot_network};
use crate::ssh_key::{self, SshKeyError};

/// Port of the boot server's HTTP, as in `docs/ports.md`.
pub const HTTP_PORT: u16 = 7080;
/// Events that a slow listener may be behind before it loses the oldest.
const BACKLOG: usize = 4096;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LEASE_SECONDS: u32 = 3600;

/// What a run needs.
pub struct ProvisionSpec {
    pub folder: EnvironmentFolder,
    pub store: Store,
    pub plan: NetworkPlan,
    pub nodes: Vec<NodeSpec>,
    /// Addresses on `pxe` for machines that are no nodes; without, they get none. They are given nothing to boot.
    pub strangers: Option<AddressRange>,
    /// Offered as `/files/<name>` while the provisioner lives.
    pub files: BTreeMap<String, PathBuf>,
    /// Keys for root on every node beside the environment's own.
    pub authorized_keys: Vec<String>,
    /// For the ramdisk's kernel, for example `wright.debug`. Never a secret.
    pub kernel_arguments: Vec<String>,
    pub patience: Patience,
    /// Reads the CPU time of emulated machines.
    pub meter: Option<Meter>,
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Nodes(#[from] Refusal),
    #[error(transparent)]
    SshKey(#[from] SshKeyError),
    #[error(
        "no network interface has {0}, the deployment host's address on network 'pxe' (its gateway)"
    )]
    NoInterface(Ipv4Addr),
    #[error("network interfaces cannot be listed: {0}")]
    Interfaces(nix::errno::Errno),
    #[error("two different images are named '{0}'")]
    ImageNames(String),
    #[error("there is no node to install")]
    NoNodes,
}

/// A running boot server with its nodes. Keep it while roles fetch files from it.
pub struct Provisioner {
    nodes: Arc<Nodes>,
    server: BootServer,
    events: broadcast::Sender<Event>,
    patience: Patience,
}

impl Provisioner {
    /// Arms the nodes and begins to serve.
    ///
    /// # Errors
    /// What is missing or in the way; nothing runs then, and no node was changed unless the ports were taken.
    pub async fn start(spec: ProvisionSpec) -> Result<Self, ProvisionError> {
        let (server, network) = boot_network(&spec.plan)?;
        let interface = interface_with(server)?;
        // One kernel and ramdisk serve all: an image with another kernel is entered by kexec.
        let ramdisk_of = spec
            .nodes
            .first()
            .ok_or(ProvisionError::NoNodes)?
            .image
            .clone();
        let mut images = BTreeMap::new();
        for image in spec.nodes.iter().map(|node| &node.image) {
            if let Some(other) = images.insert(image.name.clone(), image.clone())
                && other.sha256 != image.sha256
            {
                return Err(ProvisionError::ImageNames(image.name.clone()));
            }
        }
        let reservations = spec.nodes.iter().map(|node| {
            (
                node.boot_mac,
                Reservation {
                    address: node.address.ip(),
                    hostname: node.name.clone(),
                },
            )
        });
        let dhcp = DhcpPolicy {
            server,
            http_port: HTTP_PORT,
            network,
            gateway: Some(server),
            dns: Vec::new(),
            lease_seconds: LEASE_SECONDS,
            reservations: reservations.collect(),
            pool: spec.strangers.map(|range| (range.first(), range.last())),
        };
        let mut authorized_keys = vec![ssh_key::ensure(&spec.folder)?];
        authorized_keys.extend(spec.authorized_keys);
        let (events, _) = broadcast::channel(BACKLOG);
        let setting = Setting {
            store: spec.store,
            base_url: dhcp.base_url(),
            authorized_keys,
            kernel_arguments: spec.kernel_arguments,
            meter: spec.meter,
            events: events.clone(),
        };
        let nodes = Arc::new(Nodes::open(spec.nodes, setting).await?);
        let config = BootConfig {
            interface,
            dhcp,
            kernel: ramdisk_of.kernel.clone(),
            ramdisk: ramdisk_of.ramdisk.clone(),
            images: images
                .into_iter()
                .map(|(name, image)| (name, image.disk_image.clone()))
                .collect(),
            files: spec.files,
            loaders: DEBIAN_LOADERS.into(),
        };
        let server = BootServer::start(config, nodes.clone(), enrol::routes(nodes.clone()))?;
        Ok(Self {
            nodes,
            server,
            events,
            patience: spec.patience,
        })
    }

    /// What happens from now on. A listener that is too slow loses the oldest events, never a state: those are
    /// in [`Provisioner::outcomes`].
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// For example `http://10.20.0.1:7080`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.server.base_url()
    }

    /// How every node stands now.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.nodes.outcomes()
    }

    /// To look at the nodes from elsewhere while the run goes on.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        Outlook(self.nodes.clone())
    }

    /// Waits until every node is installed or has failed. A node fails by its own report, or by standing still
    /// for longer than the run's patience; the reason then says where it stopped.
    ///
    /// # Errors
    /// When states cannot be written.
    pub async fn wait(&self) -> Result<Vec<Outcome>, ProvisionError> {
        while !self.nodes.settled() {
            tokio::time::sleep(LOOK_EVERY).await;
            self.nodes.fail_stalled(self.patience).await?;
        }
        Ok(self.outcomes())
    }

    /// Ends the boot server.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// A view on the nodes of a run.
#[derive(Clone)]
pub struct Outlook(Arc<Nodes>);

impl Outlook {
    /// Nodes that are to be installed and that nothing was heard of in this run.
    #[must_use]
    pub fn unheard(&self) -> BTreeSet<String> {
        self.0.unheard()
    }
}

/// Whether all nodes are installed, whatever came after.
#[must_use]
pub fn all_installed(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| outcome.installed)
}

fn interface_with(address: Ipv4Addr) -> Result<String, ProvisionError> {
    let found = nix::ifaddrs::getifaddrs().map_err(ProvisionError::Interfaces)?;
    for interface in found {
        let own = interface
            .address
            .as_ref()
            .and_then(|own| own.as_sockaddr_in())
            .map(|own| IpAddr::V4(own.ip()));
        if own == Some(IpAddr::V4(address)) {
            return Ok(interface.interface_name);
        }
    }
    Err(ProvisionError::NoInterface(address))
}
