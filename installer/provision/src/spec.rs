//! What a node is to become: the part of network plan and inventory that installing it needs.
use std::net::Ipv4Addr;
use std::sync::Arc;

use boot::Mac;
use inventory::NetworkName;
use ipnetwork::Ipv4Network;
use network_plan::{NetworkPlan, NodePlan};

use crate::manifest::ImageManifest;
use agent_protocol::enrol::SeedFile;

/// A node to install.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Inventory name; its host name without domain.
    pub name: String,
    pub fqdn: String,
    /// The card on `pxe`.
    pub boot_mac: Mac,
    /// Its address on `pxe`, reserved for it while it boots.
    pub address: Ipv4Network,
    /// Its part of the network plan: cards, of which the machine must have all, and what lies on them. Of some only
    /// its hardware report tells which they are.
    pub network: NodePlan,
    pub image: Arc<ImageManifest>,
    /// Kernel name of the disk to install on; `None`: the agent chooses.
    pub disk: Option<String>,
    /// Files of the installed system that do not depend on its cards.
    pub files: Vec<SeedFile>,
}

/// Why the plan does not say enough to install a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error(
        "network 'pxe' has no gateway: it is the deployment host's address, which nodes boot from"
    )]
    NoDeploymentAddress,
    #[error("the network plan has no node '{0}'")]
    UnknownNode(String),
    #[error("node {0} has no card on network 'pxe': it cannot be installed over the network")]
    NoBootCard(String),
    #[error("node {0} has no address on network 'pxe'")]
    NoBootAddress(String),
}

impl NodeSpec {
    /// Takes from the plan what installing `node` needs.
    ///
    /// # Errors
    /// When the plan gives the node nothing to boot from.
    pub fn from_plan(
        plan: &NetworkPlan,
        node: &str,
        image: Arc<ImageManifest>,
        disk: Option<String>,
    ) -> Result<Self, SpecError> {
        let planned = plan
            .nodes
            .get(node)
            .ok_or_else(|| SpecError::UnknownNode(node.to_owned()))?;
        let boot_mac = planned
            .boot_mac
            .ok_or_else(|| SpecError::NoBootCard(node.to_owned()))?;
        let address = planned
            .interface_on(NetworkName::Pxe)
            .and_then(|interface| interface.address)
            .ok_or_else(|| SpecError::NoBootAddress(node.to_owned()))?;
        let files = network_plan::system_files(plan, planned);
        Ok(Self {
            name: planned.name.clone(),
            fqdn: planned.fqdn.clone(),
            boot_mac: Mac(boot_mac.octets()),
            address,
            network: planned.clone(),
            image,
            disk,
            files: files.into_iter().map(seed_file).collect(),
        })
    }
}

/// A file of the plan, in the agent's words.
#[must_use]
pub(crate) fn seed_file(file: network_plan::SeedFile) -> SeedFile {
    SeedFile {
        path: file.path,
        mode: file.mode,
        content: file.content,
    }
}

/// The deployment host's address on the boot network, and that network.
///
/// # Errors
/// When `pxe` or its gateway is missing from the plan.
pub fn boot_network(plan: &NetworkPlan) -> Result<(Ipv4Addr, Ipv4Network), SpecError> {
    let address = plan
        .deployment_address()
        .ok_or(SpecError::NoDeploymentAddress)?;
    let network = plan
        .networks
        .get(&NetworkName::Pxe)
        .ok_or(SpecError::NoDeploymentAddress)?;
    Ok((address, network.cidr))
}
