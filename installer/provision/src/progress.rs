//! How far each node has come, and whether it still moves: the live side of a run, for people and for the
//! deadline that counts progress.
//!
//! Deliberately not here: what is durable (node states), and any clock; times come in as values.
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::machine::NodeState;

/// The last thing that was seen of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    PowerOn,
    Dhcp,
    Script,
    Kernel,
    Token,
    Ramdisk,
    Hardware,
    Discard,
    Write,
    Verify,
    Grow,
    Seed,
    Commit,
    Installed,
}

impl Step {
    /// From the agent's word for a stage.
    #[must_use]
    pub fn from_stage(stage: &str) -> Option<Self> {
        Some(match stage {
            "inspect" => Self::Hardware,
            "discard" => Self::Discard,
            "write" => Self::Write,
            "verify" => Self::Verify,
            "grow" => Self::Grow,
            "seed" => Self::Seed,
            "commit" => Self::Commit,
            _ => return None,
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::PowerOn => {
                "power-on (nothing was heard from it: is it on, and does it boot from the network?)"
            }
            Self::Dhcp => "DHCP (it has an address but fetched no boot script)",
            Self::Script => "the boot script (it fetched no kernel)",
            Self::Kernel => "the kernel",
            Self::Token => "its token",
            Self::Ramdisk => "the ramdisk (the agent in it did not report: see the console)",
            Self::Hardware => "the hardware report",
            Self::Discard => "emptying the disk",
            Self::Write => "writing the disk",
            Self::Verify => "verifying the image",
            Self::Grow => "growing the file system",
            Self::Seed => "writing its configuration",
            Self::Commit => "making the disk bootable",
            Self::Installed => "installation",
        })
    }
}

/// A moment by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Since the run began.
    pub wall: Duration,
    /// What the emulated machine has computed since it was switched on; `None` for a real one.
    pub cpu: Option<Duration>,
}

/// How long a node may stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// By the wall. Servers take minutes before their firmware asks anything.
    pub wall: Duration,
    /// By the CPU time of an emulated machine, which counts nothing while others have the processor.
    pub cpu: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(900),
            cpu: Duration::from_secs(150),
        }
    }
}

/// One node's progress.
#[derive(Debug, Clone)]
pub struct Progress {
    pub step: Step,
    pub done: u64,
    pub total: u64,
    moved_at: Moment,
}

impl Progress {
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self {
            step: Step::PowerOn,
            done: 0,
            total: 0,
            moved_at: now,
        }
    }

    /// Something was seen; true if it is news. The same thing again is no movement: a machine that asks DHCP for
    /// ever does not progress. Going back is one (it was restarted): loops are ended by the count of tokens.
    pub fn moved(&mut self, step: Step, done: u64, total: u64, now: Moment) -> bool {
        // Firmware and iPXE both ask DHCP, some times over, and again after a script that says "wait".
        let repeats = step == Step::Dhcp && matches!(self.step, Step::Dhcp | Step::Script);
        let news = (step, done) != (self.step, self.done) && !repeats;
        if news {
            *self = Self {
                step,
                done,
                total,
                moved_at: now,
            };
        }
        news
    }

    /// Whether it has stood still for longer than it may.
    #[must_use]
    pub fn stalled(&self, now: Moment, patience: Patience) -> bool {
        let cpu = match (now.cpu, self.moved_at.cpu) {
            // Less than before: the machine was switched off and on.
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => Duration::ZERO,
        };
        cpu > patience.cpu || now.wall.saturating_sub(self.moved_at.wall) > patience.wall
    }

    /// Seconds by the wall since it last moved.
    #[must_use]
    pub fn still_for(&self, now: Moment) -> Duration {
        now.wall.saturating_sub(self.moved_at.wall)
    }

    /// Where it stopped, for a message.
    #[must_use]
    pub fn place(&self) -> String {
        match self.done.saturating_mul(100).checked_div(self.total) {
            Some(percent) if self.step == Step::Write => format!("{} at {percent} %", self.step),
            _ => self.step.to_string(),
        }
    }
}

/// Told while a run goes on; one line per node can be drawn from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Durable by the time that it is told.
    State {
        node: String,
        state: NodeState,
        reason: Option<String>,
    },
    /// A node came one step further; bytes where a step has them, else zeros.
    Step {
        node: String,
        step: Step,
        done: u64,
        total: u64,
    },
    /// A machine that the inventory does not know asked for an address.
    UnknownMachine { mac: boot::Mac },
    /// Worth telling, changes nothing.
    Warning { node: String, text: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: u64, cpu: u64) -> Moment {
        Moment {
            wall: Duration::from_secs(wall),
            cpu: Some(Duration::from_secs(cpu)),
        }
    }

    #[test]
    fn only_news_move_the_clock() {
        let patience = Patience {
            wall: Duration::from_secs(600),
            cpu: Duration::from_secs(60),
        };
        let mut progress = Progress::new(at(0, 0));
        assert!(progress.moved(Step::Dhcp, 0, 0, at(10, 10)));
        assert!(
            !progress.moved(Step::Dhcp, 0, 0, at(60, 60)),
            "asking again is no progress"
        );
        assert!(progress.stalled(at(71, 71), patience) && !progress.stalled(at(70, 70), patience));
        assert!(
            !progress.stalled(at(610, 20), patience),
            "others had the processor"
        );
        assert!(progress.stalled(at(611, 20), patience), "for too long");
        assert!(
            !progress.stalled(at(90, 1), patience),
            "it was switched off and on"
        );
        assert!(progress.moved(Step::Script, 0, 0, at(80, 80)));
        assert!(!progress.moved(Step::Dhcp, 0, 0, at(90, 90)));
        assert!(progress.moved(Step::Write, 50, 200, at(100, 100)));
        assert!(progress.moved(Step::Write, 51, 200, at(110, 110)));
        assert_eq!(progress.place(), "writing the disk at 25 %");
        assert!(
            progress.moved(Step::Dhcp, 0, 0, at(180, 0)),
            "it was restarted"
        );
    }
}
