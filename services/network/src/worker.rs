//! Brings the virtual network in line with the database, and ports' states in line with the virtual network.
//!
//! It looks when the bus wakes it, when the driver's content changes, and every so often anyway. It holds no queue:
//! each look compares everything, so a wake-up that is lost or comes twice does no harm.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::SYNC_TOPIC;
use crate::driver::{Driver, DriverError};
use crate::model::{Topology, device_owner};
use crate::ovn::ovsdb::chain;
use crate::store;

/// Pause before another try, growing to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often chassis are asked for a sign of life.
const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// The worker and what it works on.
pub struct Worker {
    pub db: DatabaseConnection,
    pub driver: Arc<dyn Driver>,
    pub bus: Arc<dyn bus::Bus>,
    pub resync: Duration,
    pub tasks: TaskTracker,
}

#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("cannot read or write the database")]
    Store(#[from] sea_orm::DbErr),
    #[error("cannot bring the virtual network in line")]
    Driver(#[from] DriverError),
}

impl Worker {
    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut wake_ups = self.wake_ups(shutdown.clone());
        let mut resync = tokio::time::interval(self.resync);
        let mut probe = tokio::time::interval(PROBE_INTERVAL);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retry_at: Option<Instant> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = probe.tick() => {
                    if let Err(error) = self.driver.probe_chassis().await {
                        tracing::debug!(error = %chain(&error), "cannot ask chassis for a sign of life");
                    }
                    continue;
                }
                changed = wake_ups.changed() => if changed.is_err() { return },
                _ = resync.tick() => {}
                () = sleep_until(retry_at) => {}
            }
            // Whatever woke us up to here is covered by this look.
            wake_ups.mark_unchanged();
            match self.look().await {
                Ok(()) => (retry_at, pause) = (None, FIRST_PAUSE),
                Err(error) => {
                    match &error {
                        SyncError::Driver(DriverError::Outrun) => {
                            tracing::debug!("another controller was faster; looking again")
                        }
                        other => tracing::warn!(error = %chain(other), ?pause, "will try again"),
                    }
                    retry_at = Some(Instant::now() + pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// One channel for all that wakes the worker; wake-ups while it works melt into one.
    fn wake_ups(&self, shutdown: CancellationToken) -> watch::Receiver<u64> {
        let (sender, receiver) = watch::channel(0);
        let sender = Arc::new(sender);
        for mut changes in self.driver.changes() {
            let (sender, shutdown) = (sender.clone(), shutdown.clone());
            self.tasks.spawn(async move {
                loop {
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        changed = changes.changed() => if changed.is_err() { return },
                    }
                    sender.send_modify(|count| *count += 1);
                }
            });
        }
        let bus = self.bus.clone();
        self.tasks.spawn(async move {
            loop {
                // Until the broker can be reached the periodic look must do.
                let subscribed = tokio::select! {
                    () = shutdown.cancelled() => return,
                    subscribed = bus.subscribe(SYNC_TOPIC) => subscribed,
                };
                match subscribed {
                    Ok(mut subscription) => loop {
                        let message = tokio::select! {
                            () = shutdown.cancelled() => return,
                            message = subscription.next() => message,
                        };
                        if message.is_none() {
                            return;
                        }
                        sender.send_modify(|count| *count += 1);
                    },
                    Err(bus::BusError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(%error, "cannot listen on the bus; trying again");
                        tokio::time::sleep(LONGEST_PAUSE).await;
                    }
                }
            }
        });
        receiver
    }

    async fn look(&self) -> Result<(), SyncError> {
        // First the generation, then the database: see `Driver::generation`.
        let generation = self.driver.generation()?;
        let topology = store::load_topology(&self.db).await?;
        let applied = self.driver.apply(&topology, generation).await?;
        if applied != Default::default() {
            let crate::driver::Applied {
                inserted,
                updated,
                deleted,
            } = applied;
            tracing::info!(
                inserted,
                updated,
                deleted,
                "virtual network brought in line"
            );
        }
        self.settle_status(&topology).await
    }

    /// Writes down which ports are plugged.
    async fn settle_status(&self, topology: &Topology) -> Result<(), SyncError> {
        let up: BTreeSet<String> = self.driver.ports_up()?;
        let (mut active, mut down) = (Vec::new(), Vec::new());
        for port in &topology.ports {
            let is_up = match port.device_owner.as_str() {
                device_owner::FLOATING_IP => continue,
                // A router's port is there as soon as the router is.
                device_owner::ROUTER_INTERFACE | device_owner::ROUTER_GATEWAY => true,
                _ => up.contains(&port.id),
            };
            match (is_up, port.status.as_str()) {
                (true, "ACTIVE") | (false, "DOWN") => {}
                (true, _) => active.push(port.id.clone()),
                (false, _) => down.push(port.id.clone()),
            }
        }
        store::set_port_status(&self.db, &active, "ACTIVE").await?;
        store::set_port_status(&self.db, &down, "DOWN").await?;
        Ok(())
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
