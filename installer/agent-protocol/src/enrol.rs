//! The ramdisk's conversation with the boot server, JSON bodies over HTTP.
//!
//! Every request carries `Authorization: Bearer <token>`; the token came to the node as
//! [`TOKEN_PATH`] in a second initrd that the boot server gives out once.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `POST /agent/v1/hardware` | [`Hardware`] | [`Orders`] |
//! | `POST /agent/v1/progress` | [`Progress`] | 204 |
//! | `POST /agent/v1/installed` | [`Installed`] | 204 |
//! | `POST /agent/v1/failed` | [`Failure`] | 204 |
use serde::{Deserialize, Serialize};

/// Where the token lies in the ramdisk's file system.
pub const TOKEN_PATH: &str = "/etc/wright/token";
/// Kernel command line keys: the boot server's base URL and the MAC that the node booted from.
pub const CMDLINE_SERVER: &str = "wright.server";
pub const CMDLINE_MAC: &str = "wright.mac";

/// What a machine is made of, as the ramdisk sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    pub protocol: u32,
    /// MAC of the NIC that booted, lower case with colons.
    pub boot_mac: String,
    pub vendor: Option<String>,
    pub product: Option<String>,
    pub serial: Option<String>,
    pub uuid: Option<String>,
    /// `bios` or `uefi`.
    pub firmware: String,
    pub cpu_model: String,
    pub cpu_count: u32,
    pub memory_bytes: u64,
    pub nics: Vec<Nic>,
    pub disks: Vec<Disk>,
    /// `uname -r` of the ramdisk: switch_root is only ordered when the image carries the same.
    pub kernel: String,
}

/// A network card. What an agent of an earlier version does not report is missing here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    pub name: String,
    pub mac: String,
    /// Kernel driver, for example `ixgbe`.
    #[serde(default)]
    pub driver: Option<String>,
    /// For example `0000:00:03.0`.
    #[serde(default)]
    pub pci_path: Option<String>,
    /// Of the link as it is now; `None` while it is down, and of cards that do not say.
    #[serde(default)]
    pub speed_mbit: Option<u32>,
    /// The highest that the card can do, whether a cable is in it or not.
    #[serde(default)]
    pub max_speed_mbit: Option<u32>,
    /// Whether there is a link. A card that nobody has switched on has none.
    #[serde(default)]
    pub carrier: bool,
}

impl Nic {
    /// What to compare cards by: what it can do, or if it does not say, what it does.
    #[must_use]
    pub fn speed(&self) -> Option<u32> {
        self.max_speed_mbit.max(self.speed_mbit)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Kernel name, for example `vda`.
    pub name: String,
    pub size_bytes: u64,
    pub rotational: bool,
    pub serial: Option<String>,
    pub model: Option<String>,
}

/// The boot server's answer to a hardware report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Orders {
    /// Ask again after this many seconds.
    Wait { seconds: u32 },
    /// Write the image and become this node.
    Install(Box<InstallOrders>),
    /// The disk already holds an installed system: boot it.
    BootDisk,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallOrders {
    /// Kernel name of the target disk; `None`: the smallest non-removable disk that holds the image.
    pub disk: Option<String>,
    pub image: Image,
    pub next: NextBoot,
    /// Host name without domain, and with it.
    pub hostname: String,
    pub fqdn: String,
    /// 32 hex digits.
    pub machine_id: String,
    /// OpenSSH public keys for root.
    pub authorized_keys: Vec<String>,
    /// Files to write below the new root after the image is down (networkd units, hosts, ...).
    pub files: Vec<SeedFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Absolute URL of the zstd-compressed disk image.
    pub url: String,
    /// SHA-256 of the compressed stream, lower-case hex.
    pub sha256: String,
    pub compressed_bytes: u64,
    /// Size of the disk image once unpacked.
    pub disk_bytes: u64,
    /// Number of the root partition (1-based) that is grown to the end of the disk.
    pub root_partition: u32,
    /// `uname -r` of the kernel inside the image.
    pub kernel: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextBoot {
    /// Go on into the installed system without a firmware pass; needs equal kernels.
    SwitchRoot,
    Kexec,
    /// The reference path.
    Reboot,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedFile {
    /// Absolute path in the installed system.
    pub path: String,
    /// Octal permission bits, for example 0o600.
    pub mode: u32,
    pub content: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// One of `inspect`, `discard`, `write`, `verify`, `grow`, `seed`, `commit`.
    pub stage: String,
    pub done: u64,
    pub total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The new SSH host key's public part, one OpenSSH line (`ssh-ed25519 AAAA...`).
    pub ssh_host_key: String,
    /// SHA-256 of the compressed stream as received.
    pub image_sha256: String,
    pub seconds: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub stage: String,
    pub reason: String,
}
