//! Node states and what leads from one to the next.
//!
//! ```text
//!  discovered ─boots ramdisk─► inspecting ─hardware fits─► ready ─orders given─► provisioning ─installed─► provisioned
//!      ▲                         ▲   │                       │                      │   │                      │
//!      │                         └───┴─── boots ramdisk ─────┴──────────────────────┘   │            deployment starts
//!    armed                                                                              │                      ▼
//!      │                                                                                │     ┌─────────── deploying ─done─► deployed
//!    failed ◄───────────────── fails, from any state before `provisioned` ──────────────┘     │             ▲    ▲              │
//!      ▲ └───────────────────── deployment starts (only once installed) ──────────────────────┼─────────────┘    └─ starts ─────┘
//!      └──────────────────────────────────────── fails ───────────────────────────────────────┘
//! ```
//!
//! A failed node that reports all the same that it is installed is `provisioned`: it was slow.
//!
//! Deliberately not here: who says that something happened, and where the state is kept.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Known, and may boot the ramdisk once armed.
    Discovered,
    /// Booted the ramdisk; its hardware report is awaited.
    Inspecting,
    /// Its hardware fits what the inventory says.
    Ready,
    /// Has its orders and writes its disk.
    Provisioning,
    /// Installed, with a host key that is known.
    Provisioned,
    /// Its roles are being run.
    Deploying,
    Deployed,
    /// The reason stands beside it.
    Failed,
}

/// Something that happened to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// A run wants it installed.
    Armed,
    /// It fetched its token, so it boots the ramdisk.
    BootedRamdisk,
    HardwareFits,
    OrdersGiven,
    Installed,
    DeploymentStarted,
    DeploymentDone,
    Failed,
}

impl NodeState {
    pub const ALL: [Self; 8] = [
        Self::Discovered,
        Self::Inspecting,
        Self::Ready,
        Self::Provisioning,
        Self::Provisioned,
        Self::Deploying,
        Self::Deployed,
        Self::Failed,
    ];

    /// The state after something happened; `None` when it cannot happen in this state. `installed` says
    /// whether the node's disk holds a system of ours: such a node is never installed again.
    #[must_use]
    pub fn after(self, happening: Happening, installed: bool) -> Option<Self> {
        use Happening as H;
        Some(match (self, happening) {
            // A run that goes on finds nodes half way: their tokens still hold.
            (Self::Discovered | Self::Inspecting | Self::Ready | Self::Provisioning, H::Armed) => {
                self
            }
            (Self::Failed, H::Armed) if !installed => Self::Discovered,
            (
                Self::Discovered | Self::Inspecting | Self::Ready | Self::Provisioning,
                H::BootedRamdisk,
            ) => Self::Inspecting,
            // An agent that got no answer reports again.
            (Self::Inspecting | Self::Ready | Self::Provisioning, H::HardwareFits) => Self::Ready,
            (Self::Ready, H::OrdersGiven) => Self::Provisioning,
            // Given up as standing still, and then it came: its disk is whole.
            (Self::Provisioning, H::Installed) => Self::Provisioned,
            (Self::Failed, H::Installed) if !installed => Self::Provisioned,
            (Self::Provisioned | Self::Deploying | Self::Deployed, H::DeploymentStarted) => {
                Self::Deploying
            }
            (Self::Failed, H::DeploymentStarted) if installed => Self::Deploying,
            (Self::Deploying, H::DeploymentDone) => Self::Deployed,
            (
                Self::Discovered
                | Self::Inspecting
                | Self::Ready
                | Self::Provisioning
                | Self::Deploying
                | Self::Failed,
                H::Failed,
            ) => Self::Failed,
            _ => return None,
        })
    }

    /// As in `state.db` and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Inspecting => "inspecting",
            Self::Ready => "ready",
            Self::Provisioning => "provisioning",
            Self::Provisioned => "provisioned",
            Self::Deploying => "deploying",
            Self::Deployed => "deployed",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The word is no state's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a node state")]
pub struct UnknownState(String);

impl FromStr for NodeState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_table() {
        use Happening as H;
        let happenings = [
            H::Armed,
            H::BootedRamdisk,
            H::HardwareFits,
            H::OrdersGiven,
            H::Installed,
            H::DeploymentStarted,
            H::DeploymentDone,
            H::Failed,
        ];
        let mut text = String::new();
        for installed in [false, true] {
            text += if installed {
                "\nwith a system on its disk\n"
            } else {
                "with a blank disk\n"
            };
            for state in NodeState::ALL {
                assert_eq!(state.as_str().parse(), Ok(state));
                for happening in happenings {
                    if let Some(next) = state.after(happening, installed) {
                        text += &format!("{state:>12} + {happening:?} -> {next}\n");
                    }
                }
            }
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn an_installed_node_is_never_armed_again() {
        for state in [
            NodeState::Provisioned,
            NodeState::Deploying,
            NodeState::Deployed,
            NodeState::Failed,
        ] {
            assert_eq!(state.after(Happening::Armed, true), None, "{state}");
        }
    }
}
