//! The cards of a machine and the bonds made of them, as the inventory names them: types only.
//!
//! A *carrier* is what networks lie on: a card, or a bond of cards. Which card of a real machine a
//! [`CardMatch`] means is found out when the machine has reported what it has, and not here.

use crate::{MacAddress, NetworkName};
use serde::{Deserialize, Serialize};
use std::fmt;
use yaml_source::Span;

/// A network card.
#[derive(Debug, Clone)]
pub struct Nic {
    pub name: String,
    /// From `macs`, and then it alone says which card this is. `None`: `matching` says it.
    pub mac: Option<MacAddress>,
    pub matching: Option<CardMatch>,
    /// What lies on the card itself, at most one of them without a VLAN tag. Empty for a member of a bond.
    pub networks: Vec<NetworkName>,
    /// Bytes, where `nics` sets it; otherwise the networks do.
    pub mtu: Option<u16>,
    /// Where `nics` names it, or `macs` if only that does.
    pub span: Span,
}

/// Several cards that are one.
#[derive(Debug, Clone)]
pub struct Bond {
    pub name: String,
    /// Names of cards of the same machine, at least one; each belongs to this bond only.
    pub members: Vec<String>,
    pub mode: BondMode,
    /// Milliseconds between two looks at the members' links.
    pub miimon_ms: u32,
    pub networks: Vec<NetworkName>,
    /// Bytes, where `nics` sets it; otherwise the networks do.
    pub mtu: Option<u16>,
    pub span: Span,
}

/// How the members of a bond share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode")]
pub enum BondMode {
    /// One member works, another takes over when its link goes. Needs nothing of the switches.
    #[serde(rename = "active-backup")]
    ActiveBackup,
    /// All work: link aggregation by LACP (IEEE 802.1AX, once 802.3ad), which the switches must speak.
    #[serde(rename = "802.3ad")]
    Lacp {
        lacp_rate: LacpRate,
        hash_policy: HashPolicy,
    },
}

impl BondMode {
    /// As in the inventory and in `[Bond] Mode=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ActiveBackup => "active-backup",
            Self::Lacp { .. } => "802.3ad",
        }
    }
}

/// How often the other side is asked for LACP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LacpRate {
    /// Every second; a member that no longer hears any is left out after three.
    Fast,
    /// Every 30 seconds.
    Slow,
}

impl LacpRate {
    pub const ALL: [Self; 2] = [Self::Fast, Self::Slow];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Slow => "slow",
        }
    }
}

/// What decides which member a frame leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HashPolicy {
    #[serde(rename = "layer2")]
    Layer2,
    #[serde(rename = "layer2+3")]
    Layer23,
    /// Addresses and ports, so that two hosts can use more than one member.
    #[serde(rename = "layer3+4")]
    Layer34,
    #[serde(rename = "encap2+3")]
    Encap23,
    #[serde(rename = "encap3+4")]
    Encap34,
}

impl HashPolicy {
    pub const ALL: [Self; 5] = [
        Self::Layer2,
        Self::Layer23,
        Self::Layer34,
        Self::Encap23,
        Self::Encap34,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layer2 => "layer2",
            Self::Layer23 => "layer2+3",
            Self::Layer34 => "layer3+4",
            Self::Encap23 => "encap2+3",
            Self::Encap34 => "encap3+4",
        }
    }
}

/// Which card is meant, by what it is: everything that is set must fit. Shown as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardMatch {
    /// The kernel driver's name, `ixgbe`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub driver: Option<String>,
    /// PCI address, `0000:3b:00.0`, in lower case.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub speed: Option<Speed>,
    /// The how-many-th of those that fit, from 0, in the order of their PCI addresses. `None`: only one fits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u16>,
}

/// A card's speed as a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// The highest that any card of the machine has.
    Fastest,
    /// Mbit/s.
    Mbit(u32),
}

impl fmt::Display for CardMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.driver
                .as_ref()
                .map(|driver| format!("driver: {driver}")),
            self.path.as_ref().map(|path| format!("path: \"{path}\"")),
            self.speed.map(|speed| match speed {
                Speed::Fastest => "speed: fastest".to_owned(),
                Speed::Mbit(mbit) => format!("speed: {mbit}"),
            }),
            self.index.map(|index| format!("index: {index}")),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        write!(f, "{{{}}}", words.join(", "))
    }
}

/// What networks lie on.
#[derive(Debug, Clone, Copy)]
pub enum Carrier<'a> {
    Card(&'a Nic),
    Bond(&'a Bond),
}

impl<'a> Carrier<'a> {
    pub fn name(self) -> &'a str {
        match self {
            Self::Card(nic) => &nic.name,
            Self::Bond(bond) => &bond.name,
        }
    }

    pub fn networks(self) -> &'a [NetworkName] {
        match self {
            Self::Card(nic) => &nic.networks,
            Self::Bond(bond) => &bond.networks,
        }
    }

    /// Bytes, where `nics` sets it.
    pub fn mtu(self) -> Option<u16> {
        match self {
            Self::Card(nic) => nic.mtu,
            Self::Bond(bond) => bond.mtu,
        }
    }

    /// Names of the bond's cards; none of a card.
    pub fn members(self) -> &'a [String] {
        match self {
            Self::Card(_) => &[],
            Self::Bond(bond) => &bond.members,
        }
    }
}
