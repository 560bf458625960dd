//! What the operator may set: for the service on controllers, and for the agent on compute nodes.

use std::path::PathBuf;

use serde::Deserialize;

use crate::hypervisor::domain_xml::VirtType;
use crate::hypervisor::simulated::SimulatedSettings;

/// The compute service on a controller.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Run a simulated compute node in this process, under the controller's own host name.
    pub simulate: Option<SimulatedSettings>,
    /// Zone of hosts that are in no aggregate with one.
    pub default_availability_zone: String,
    /// How many virtual processors may be promised for each logical one.
    pub cpu_allocation_ratio: f64,
    /// The same for memory.
    pub ram_allocation_ratio: f64,
    /// The same for disk.
    pub disk_allocation_ratio: f64,
    /// MiB of memory that a host keeps for itself.
    pub reserved_host_memory_mib: u64,
    /// A service that was not heard from for so many seconds is down.
    pub service_down_time: u64,
    /// On how many hosts building a server is tried.
    pub build_attempts: u32,
    /// Operations that one controller works on at a time.
    pub conductor_workers: usize,
    /// Domain that is appended to host names of servers for the metadata; empty: none.
    pub dhcp_domain: String,
    /// Flavors to make at the first start, when there are none.
    pub flavors: Vec<FlavorConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            simulate: None,
            default_availability_zone: "nova".into(),
            cpu_allocation_ratio: 4.0,
            ram_allocation_ratio: 1.0,
            disk_allocation_ratio: 1.0,
            reserved_host_memory_mib: 512,
            service_down_time: 45,
            build_attempts: 3,
            conductor_workers: 16,
            dhcp_domain: String::new(),
            flavors: Vec::new(),
        }
    }
}

/// A flavor that is made at the first start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlavorConfig {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// MiB.
    pub ram: u64,
    /// Virtual processors.
    pub vcpus: u32,
    /// GiB.
    pub disk: u64,
}

/// Which driver an agent uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// Real guests.
    Libvirt,
    /// Guests in memory.
    Simulated,
}

/// `kvm`, `qemu`, or `auto`: KVM where a probe guest really runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VirtChoice {
    /// Find out.
    Auto,
    /// KVM.
    Kvm,
    /// Emulation.
    Qemu,
}

impl VirtChoice {
    /// `None` for `auto`.
    pub fn fixed(self) -> Option<VirtType> {
        match self {
            VirtChoice::Auto => None,
            VirtChoice::Kvm => Some(VirtType::Kvm),
            VirtChoice::Qemu => Some(VirtType::Qemu),
        }
    }
}

/// The agent on a compute node.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// Real or simulated guests.
    pub driver: DriverKind,
    /// The simulated host, when `driver = "simulated"`.
    pub simulated: SimulatedSettings,
    /// Where libvirtd is.
    pub libvirt_uri: String,
    /// KVM or emulation.
    pub virt_type: VirtChoice,
    /// Folder of disks, consoles and cached images; libvirt's user must be able to read it.
    pub instances: PathBuf,
    /// Machine type.
    pub machine: String,
    /// Processor model; default: the host's own with KVM, QEMU's default in emulation.
    pub cpu: Option<String>,
    /// Address on which the guests' screens listen (VNC); none: no screens.
    pub vnc_listen: Option<String>,
    /// Open vSwitch's integration bridge.
    pub integration_bridge: String,
    /// Open vSwitch's database, for example `unix:/run/openvswitch/db.sock`; none: where its tools look by themselves.
    pub ovsdb: Option<String>,
    /// Network namespace that the bridge and the guests are in; none: the agent's own.
    pub network_namespace: Option<String>,
    /// Whether guests leave checksums and segmentation to the host. A switch in user space sees packets before anybody
    /// has filled them in: with one, pings pass and TCP does not.
    pub offload: bool,
    /// Seconds a guest may take to shut down before its plug is pulled.
    pub shutdown_timeout: u64,
    /// Seconds to wait for the ports of a new guest to become active; 0: do not wait.
    pub vif_plugging_timeout: u64,
    /// Whether a server whose ports did not become active in time goes into state ERROR.
    pub vif_plugging_is_fatal: bool,
    /// Guests that are worked on at a time.
    pub workers: usize,
    /// This node's address on the management network, shown as the hypervisor's `host_ip`.
    pub address: String,
    /// Serve 169.254.169.254 in a network namespace per network (needs root and Open vSwitch).
    pub metadata: bool,
    /// What those namespaces are called: this, and the network's id.
    pub metadata_prefix: String,
    /// When the agent starts, start guests that were running when the host went down.
    pub resume_guests: bool,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            driver: DriverKind::Libvirt,
            simulated: SimulatedSettings::default(),
            libvirt_uri: "qemu:///system".into(),
            virt_type: VirtChoice::Auto,
            instances: "/var/lib/nova/instances".into(),
            machine: "pc".into(),
            cpu: None,
            vnc_listen: Some("127.0.0.1".into()),
            integration_bridge: "br-int".into(),
            ovsdb: None,
            network_namespace: None,
            offload: true,
            shutdown_timeout: 60,
            vif_plugging_timeout: 60,
            vif_plugging_is_fatal: false,
            workers: 4,
            address: "127.0.0.1".into(),
            metadata: true,
            metadata_prefix: "ovnmeta-".into(),
            resume_guests: false,
        }
    }
}
