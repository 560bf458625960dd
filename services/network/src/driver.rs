//! What the service asks of whatever realises the virtual network, and a simulated one that realises nothing:
//! it plugs each port that has a host at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use crate::model::{Chassis, Topology, device_owner};
use crate::ovn::ovsdb::OvsdbError;
use crate::ovn::translate::{self, Settings};

/// State of the back end that a write is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub u64);

/// What an application changed, in rows of the back end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    pub inserted: usize,
    pub updated: usize,
    pub deleted: usize,
}

/// Why the virtual network could not be brought about; the next try may well succeed.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("another controller wrote in the meantime")]
    Outrun,
    #[error("the northbound database has no NB_Global row; ovn-northd has not run yet")]
    NotInitialised,
    #[error(transparent)]
    Ovsdb(#[from] OvsdbError),
}

/// Realises the virtual network.
#[async_trait::async_trait]
pub trait Driver: Send + Sync {
    /// To be read before the database is: then a write never rests on older rows than an earlier write did.
    fn generation(&self) -> Result<Generation, DriverError>;

    /// Brings everything in line, or nothing.
    async fn apply(&self, topology: &Topology, read: Generation) -> Result<Applied, DriverError>;

    /// Ids of the ports that are plugged.
    fn ports_up(&self) -> Result<BTreeSet<String>, DriverError>;

    /// The chassis, as of `now` (seconds since 1970).
    fn chassis(&self, now: i64) -> Result<Vec<Chassis>, DriverError>;

    /// Change when ports or chassis may have changed.
    fn changes(&self) -> Vec<watch::Receiver<u64>>;

    /// Asks all chassis for a sign of life; it shows in [`Driver::chassis`] later.
    async fn probe_chassis(&self) -> Result<(), DriverError>;
}

/// The simulated driver.
#[derive(Default)]
pub struct SimulatedDriver {
    state: Mutex<Simulated>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct Simulated {
    generation: u64,
    rows: usize,
    up: BTreeSet<String>,
    hosts: BTreeSet<String>,
}

impl SimulatedDriver {
    fn state(&self) -> MutexGuard<'_, Simulated> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[async_trait::async_trait]
impl Driver for SimulatedDriver {
    fn generation(&self) -> Result<Generation, DriverError> {
        Ok(Generation(self.state().generation))
    }

    async fn apply(
        &self,
        topology: &Topology,
        Generation(read): Generation,
    ) -> Result<Applied, DriverError> {
        // Translated all the same: what OVN would be told is worked out in simulation too.
        let rows = translate::northbound(topology, &Settings::default())
            .rows
            .len();
        let plugged = topology.ports.iter().filter(|port| {
            !port.host_id.is_empty() && port.device_owner != device_owner::FLOATING_IP
        });
        let up: BTreeSet<String> = plugged.clone().map(|port| port.id.clone()).collect();
        let hosts = plugged.map(|port| port.host_id.clone()).collect();
        let mut state = self.state();
        if state.generation != read {
            return Err(DriverError::Outrun);
        }
        let applied = Applied {
            inserted: rows.saturating_sub(state.rows),
            updated: 0,
            deleted: state.rows.saturating_sub(rows),
        };
        let changed = state.up != up;
        *state = Simulated {
            generation: read + 1,
            rows,
            up,
            hosts,
        };
        drop(state);
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
        Ok(applied)
    }

    fn ports_up(&self) -> Result<BTreeSet<String>, DriverError> {
        Ok(self.state().up.clone())
    }

    fn chassis(&self, now: i64) -> Result<Vec<Chassis>, DriverError> {
        let hosts = self.state().hosts.clone().into_iter();
        Ok(hosts
            .map(|host| Chassis {
                name: host.clone(),
                hostname: host,
                alive: true,
                heard_at: now,
                ..Chassis::default()
            })
            .collect())
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.version.subscribe()]
    }

    async fn probe_chassis(&self) -> Result<(), DriverError> {
        Ok(())
    }
}
