//! What the boot server asks of whoever knows the nodes, and what it tells them.
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::Mac;

/// Decides what a machine that asks is given. `provision` implements it over the node states.
#[async_trait::async_trait]
pub trait BootPolicy: Send + Sync + 'static {
    /// A machine with a reserved address asks, from that address, what to boot.
    async fn choose(&self, mac: Mac) -> BootChoice;

    /// The one-time token for a machine that was told to boot the ramdisk; `None` when it is not due one. The
    /// caller has checked that the request comes from the machine's reserved address.
    async fn take_token(&self, mac: Mac) -> Option<String>;

    /// Something was seen on the wire; must return at once.
    fn observe(&self, observed: Observed);
}

/// What a machine is to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootChoice {
    /// Our kernel and ramdisk, with this address for the ramdisk to use.
    Ramdisk {
        /// Address and prefix length.
        address: Ipv4Network,
        /// Further kernel arguments; none may hold blanks or control characters.
        arguments: Vec<String>,
    },
    /// The system on its disk.
    Disk,
    /// Nothing yet: ask again after so many seconds.
    Wait { seconds: u32 },
}

/// What was seen of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// A DHCP request of a machine that the policy knows, which was answered.
    Dhcp { mac: Mac, address: Ipv4Addr },
    /// A request over HTTP from a machine's reserved address.
    Http { mac: Mac, what: Fetched },
    /// A machine that no reservation names asked for an address for the first time; it got no answer.
    Unknown { mac: Mac },
}

/// What a machine fetched over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    Loader,
    Script,
    Kernel,
    Ramdisk,
    Token,
    Image,
    File,
}
