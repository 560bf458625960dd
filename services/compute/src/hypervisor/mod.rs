//! What a compute agent needs from a hypervisor, and the plain values that describe a guest.
//! Two implementations stand behind [`Hypervisor`]: `libvirt` and `simulated`. Nothing here knows the database or
//! HTTP routes; images come through [`ImageSource`].

pub mod config_drive;
pub mod domain_xml;
pub mod image_cache;
pub mod iso9660;
pub mod libvirt;
pub mod simulated;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The step at which building or changing a guest failed: the word that log lines and faults carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Choosing a host and claiming its resources.
    Scheduler,
    /// Fetching the image or making disks from it.
    Image,
    /// Creating or binding ports.
    Port,
    /// Attaching volumes.
    Volume,
    /// Defining, starting or changing the guest.
    Hypervisor,
}

impl Step {
    /// The word for log lines and fault messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Scheduler => "scheduler",
            Step::Image => "image",
            Step::Port => "port",
            Step::Volume => "volume",
            Step::Hypervisor => "hypervisor",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed call, with the step it belongs to.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{step}: {message}")]
pub struct HypervisorError {
    /// Where it went wrong.
    pub step: Step,
    /// What went wrong, in words for the owner of the instance.
    pub message: String,
    /// Whether trying again on the same host can help (a connection was lost, for example).
    pub transient: bool,
}

impl HypervisorError {
    /// An error that will not go away by itself.
    pub fn new(step: Step, message: impl Into<String>) -> Self {
        Self {
            step,
            message: message.into(),
            transient: false,
        }
    }

    /// An error that may go away by itself.
    pub fn transient(step: Step, message: impl Into<String>) -> Self {
        Self {
            step,
            message: message.into(),
            transient: true,
        }
    }
}

/// Power states as the compute API numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerState {
    /// 0: the hypervisor does not say.
    NoState,
    /// 1
    Running,
    /// 3
    Paused,
    /// 4: not running, still defined.
    Shutdown,
    /// 6
    Crashed,
    /// 7: not running, memory saved on disk.
    Suspended,
}

impl PowerState {
    /// The number on the wire.
    pub fn code(self) -> i32 {
        match self {
            PowerState::NoState => 0,
            PowerState::Running => 1,
            PowerState::Paused => 3,
            PowerState::Shutdown => 4,
            PowerState::Crashed => 6,
            PowerState::Suspended => 7,
        }
    }
}

/// What a host offers; becomes its inventory in placement and its row in the list of hypervisors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// Logical processors.
    pub vcpus: u32,
    /// MiB of memory.
    pub memory_mib: u64,
    /// GiB of the file system that holds the instances.
    pub disk_gib: u64,
    /// GiB free there.
    pub disk_free_gib: u64,
    /// `QEMU`, `KVM` or `simulated`.
    pub hypervisor_type: String,
    /// As libvirt counts: major * 1 000 000 + minor * 1 000 + release.
    pub hypervisor_version: u64,
    /// Processor architecture, model, vendor, topology: shown by the hypervisor API as it is.
    pub cpu_info: serde_json::Value,
    /// Guests that run now, also ones that are not ours.
    pub running_guests: u32,
}

/// One image that a guest needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// The image's id.
    pub id: String,
    /// `raw`, `qcow2`, ... as the image service has it.
    pub disk_format: String,
    /// Size of the data in bytes, when the image service knows it.
    pub size: Option<u64>,
    /// SHA-512 of the data in hex (`os_hash_value`).
    pub sha512: Option<String>,
    /// MD5 of the data in hex (`checksum`); used when there is no SHA-512.
    pub md5: Option<String>,
}

/// One address of an interface, with what the guest must know about its subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedIp {
    /// The address.
    pub address: std::net::IpAddr,
    /// The subnet's id.
    pub subnet_id: String,
    /// The subnet, for example `10.0.0.0/24`.
    pub cidr: ipnetwork::IpNetwork,
    /// The subnet's router.
    pub gateway: Option<std::net::IpAddr>,
    /// Name servers.
    #[serde(default)]
    pub dns: Vec<std::net::IpAddr>,
    /// Further routes: destination and next hop.
    #[serde(default)]
    pub routes: Vec<(ipnetwork::IpNetwork, std::net::IpAddr)>,
    /// Whether the network answers DHCP.
    #[serde(default)]
    pub dhcp: bool,
}

/// A port of the network service, as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The port's id.
    pub port_id: Uuid,
    /// The network's id.
    pub network_id: Uuid,
    /// The network's name (the key of `addresses` in the API).
    pub network_name: String,
    /// `fa:16:3e:...`
    pub mac: String,
    /// Bytes.
    pub mtu: Option<u32>,
    /// Addresses.
    pub fixed_ips: Vec<FixedIp>,
    /// Floating addresses by fixed address, as last heard.
    #[serde(default)]
    pub floating_ips: Vec<(std::net::IpAddr, std::net::IpAddr)>,
    /// Made by us (and deleted with the server), or given by the user.
    #[serde(default)]
    pub owned: bool,
}

impl Interface {
    /// The name of the tap device on the host: `tap` and the first eleven characters of the port's id, as
    /// operators know it; 14 characters, the kernel allows 15.
    pub fn tap(&self) -> String {
        let id = self.port_id.to_string();
        format!("tap{}", &id[..11])
    }
}

/// A public key of the owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// Name of the key pair.
    pub name: String,
    /// `ssh` or `x509`.
    pub kind: String,
    /// The key's line.
    pub data: String,
}

/// All that a host must know to build a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// The server's id, and the domain's UUID.
    pub id: Uuid,
    /// `instance-0000002a`: the domain's name.
    pub domain_name: String,
    /// The server's name.
    pub display_name: String,
    /// Host name inside the guest.
    pub hostname: String,
    /// Owner.
    pub project_id: String,
    /// Owner.
    pub user_id: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// MiB.
    pub memory_mib: u64,
    /// Root disk in GiB; 0 = as large as the image.
    pub root_gib: u64,
    /// The flavor's name, for the metadata service.
    pub flavor_name: String,
    /// The root disk's image.
    pub image: Option<ImageRef>,
    /// Direct kernel boot, from the image's property `kernel_id`.
    #[serde(default)]
    pub kernel: Option<ImageRef>,
    /// ... and `ramdisk_id`.
    #[serde(default)]
    pub ramdisk: Option<ImageRef>,
    /// ... and `os_command_line`.
    #[serde(default)]
    pub command_line: Option<String>,
    /// Ports, in the order of the request.
    pub interfaces: Vec<Interface>,
    /// `meta` of the request.
    pub metadata: std::collections::BTreeMap<String, String>,
    /// Keys for the first user.
    pub keys: Vec<PublicKey>,
    /// Base64, as the user sent it.
    pub user_data: Option<String>,
    /// Zone in which the server runs.
    pub availability_zone: String,
    /// Position among the servers of one request.
    pub launch_index: u32,
    /// Names of the security groups, for the metadata service.
    #[serde(default)]
    pub security_groups: Vec<String>,
}

/// Where images come from: the image service, or a folder in tests.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// Writes the image's data to `target`, a file that does not exist yet.
    async fn download(&self, image_id: &str, target: &Path) -> Result<(), HypervisorError>;
}

/// Changes of a running or stopped guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Power on; nothing when it runs.
    Start,
    /// Ask the guest to shut down, then pull the plug.
    Stop,
    /// Ask the guest to restart; becomes a hard reboot when it does not.
    SoftReboot,
    /// Pull the plug and start again from the definition.
    HardReboot,
    /// Freeze.
    Pause,
    /// Go on.
    Unpause,
    /// Save memory to disk.
    Suspend,
    /// Start from saved memory.
    Resume,
}

/// A guest that the hypervisor knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestState {
    /// The server's id.
    pub id: Uuid,
    /// Its state.
    pub power_state: PowerState,
}

/// A hypervisor on this host. Each call may be repeated: what is done already is not done again.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// What the host offers.
    async fn capacity(&self) -> Result<Capacity, HypervisorError>;
    /// Builds disks and definition, and starts the guest.
    async fn spawn(
        &self,
        spec: &GuestSpec,
        images: &dyn ImageSource,
    ) -> Result<(), HypervisorError>;
    /// Changes the power state and returns the new one.
    async fn power(
        &self,
        spec: &GuestSpec,
        action: PowerAction,
    ) -> Result<PowerState, HypervisorError>;
    /// Asks the guest to shut down, then pulls the plug; no error when it is off.
    async fn shut_down(&self, id: Uuid) -> Result<(), HypervisorError>;
    /// Stops the guest, forgets it, and deletes its disks.
    async fn destroy(&self, id: Uuid) -> Result<(), HypervisorError>;
    /// The state of one guest; `None` when it is not known here.
    async fn power_state(&self, id: Uuid) -> Result<Option<PowerState>, HypervisorError>;
    /// All of our guests.
    async fn list(&self) -> Result<Vec<GuestState>, HypervisorError>;
    /// The last `lines` lines of the serial console (all that is kept, when `None`).
    async fn console_output(
        &self,
        id: Uuid,
        lines: Option<usize>,
    ) -> Result<String, HypervisorError>;
    /// Plugs an interface; also in a stopped guest.
    async fn attach_interface(
        &self,
        spec: &GuestSpec,
        interface: &Interface,
    ) -> Result<(), HypervisorError>;
    /// Unplugs it.
    async fn detach_interface(
        &self,
        spec: &GuestSpec,
        interface: &Interface,
    ) -> Result<(), HypervisorError>;
    /// A copy of the root disk as a qcow2 file of its own, consistent as after a power cut. The caller deletes it.
    async fn snapshot(&self, id: Uuid) -> Result<PathBuf, HypervisorError>;
}

/// The last `lines` lines of `text`; all of it when `None`.
pub(crate) fn last_lines(text: &str, lines: Option<usize>) -> String {
    let Some(lines) = lines else {
        return text.to_owned();
    };
    let all: Vec<&str> = text.lines().collect();
    let mut out = all[all.len().saturating_sub(lines)..].join("\n");
    if text.ends_with('\n') && !out.is_empty() {
        out.push('\n');
    }
    out
}
