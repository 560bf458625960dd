//! A hypervisor in memory: thousands of instances on a laptop, and faults on demand. Same trait, same errors, same
//! states as the real one. Which call fails is decided by the seed and the call's number, so a run can be repeated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{
    Capacity, GuestSpec, GuestState, Hypervisor, HypervisorError, ImageSource, Interface,
    PowerAction, PowerState, Step,
};

/// What the simulated host offers and how it fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedSettings {
    /// Logical processors.
    pub vcpus: u32,
    /// MiB.
    pub memory_mib: u64,
    /// GiB.
    pub disk_gib: u64,
    /// Every how many calls that change a guest one fails; 0: none.
    pub fail_every: u32,
    /// Which of them.
    pub seed: u64,
}

impl Default for SimulatedSettings {
    fn default() -> Self {
        Self {
            vcpus: 10_000,
            memory_mib: 40_000_000,
            disk_gib: 1_000_000,
            fail_every: 0,
            seed: 0,
        }
    }
}

struct Guest {
    power_state: PowerState,
    console: String,
    interfaces: Vec<Uuid>,
}

#[derive(Default)]
struct World {
    guests: BTreeMap<Uuid, Guest>,
    calls: u64,
}

/// The driver.
pub struct SimulatedDriver {
    settings: SimulatedSettings,
    world: Mutex<World>,
}

impl SimulatedDriver {
    /// An empty host.
    pub fn new(settings: SimulatedSettings) -> Self {
        Self {
            settings,
            world: Mutex::default(),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that changes something, and fails it when the plan says so.
    fn change(&self, step: Step) -> Result<MutexGuard<'_, World>, HypervisorError> {
        let mut world = self.world();
        world.calls += 1;
        let every = u64::from(self.settings.fail_every);
        if every != 0 && (world.calls + self.settings.seed).is_multiple_of(every) {
            return Err(HypervisorError::new(
                step,
                format!(
                    "simulated fault (call {}, seed {})",
                    world.calls, self.settings.seed
                ),
            ));
        }
        Ok(world)
    }

    /// A guest dies outside of our control; for tests of the power state check.
    pub fn crash(&self, id: Uuid) {
        if let Some(guest) = self.world().guests.get_mut(&id) {
            guest.power_state = PowerState::Shutdown;
        }
    }
}

fn unknown() -> HypervisorError {
    HypervisorError::new(Step::Hypervisor, "the guest is not defined on this host")
}

#[async_trait]
impl Hypervisor for SimulatedDriver {
    async fn capacity(&self) -> Result<Capacity, HypervisorError> {
        let running = self
            .world()
            .guests
            .values()
            .filter(|guest| guest.power_state == PowerState::Running)
            .count();
        Ok(Capacity {
            vcpus: self.settings.vcpus,
            memory_mib: self.settings.memory_mib,
            disk_gib: self.settings.disk_gib,
            disk_free_gib: self.settings.disk_gib,
            hypervisor_type: "simulated".into(),
            hypervisor_version: 1_000_000,
            cpu_info: json!({"arch": "x86_64", "model": "simulated", "vendor": "", "topology": {"sockets": 1, "cores": self.settings.vcpus, "threads": 1}, "features": []}),
            running_guests: running as u32,
        })
    }

    async fn spawn(
        &self,
        spec: &GuestSpec,
        _images: &dyn ImageSource,
    ) -> Result<(), HypervisorError> {
        let mut world = self.change(Step::Hypervisor)?;
        let guest = world.guests.entry(spec.id).or_insert_with(|| Guest {
            power_state: PowerState::Running,
            console: format!("{} booted\n", spec.hostname),
            interfaces: spec
                .interfaces
                .iter()
                .map(|interface| interface.port_id)
                .collect(),
        });
        guest.power_state = PowerState::Running;
        Ok(())
    }

    async fn power(
        &self,
        spec: &GuestSpec,
        action: PowerAction,
    ) -> Result<PowerState, HypervisorError> {
        let mut world = self.change(Step::Hypervisor)?;
        // A simulated host has no memory of its own: after a restart the guests are what the service says they are.
        let guest = world.guests.entry(spec.id).or_insert_with(|| Guest {
            power_state: PowerState::Shutdown,
            console: String::new(),
            interfaces: spec
                .interfaces
                .iter()
                .map(|interface| interface.port_id)
                .collect(),
        });
        let booted = matches!(action, PowerAction::SoftReboot | PowerAction::HardReboot)
            || (action == PowerAction::Start && guest.power_state == PowerState::Shutdown);
        if booted {
            guest
                .console
                .push_str(&format!("{} booted\n", spec.hostname));
        }
        guest.power_state = match action {
            PowerAction::Start
            | PowerAction::SoftReboot
            | PowerAction::HardReboot
            | PowerAction::Unpause
            | PowerAction::Resume => PowerState::Running,
            PowerAction::Stop => PowerState::Shutdown,
            PowerAction::Pause => PowerState::Paused,
            PowerAction::Suspend => PowerState::Suspended,
        };
        Ok(guest.power_state)
    }

    async fn shut_down(&self, id: Uuid) -> Result<(), HypervisorError> {
        if let Some(guest) = self.change(Step::Hypervisor)?.guests.get_mut(&id) {
            guest.power_state = PowerState::Shutdown;
        }
        Ok(())
    }

    async fn destroy(&self, id: Uuid) -> Result<(), HypervisorError> {
        self.change(Step::Hypervisor)?.guests.remove(&id);
        Ok(())
    }

    async fn power_state(&self, id: Uuid) -> Result<Option<PowerState>, HypervisorError> {
        Ok(self.world().guests.get(&id).map(|guest| guest.power_state))
    }

    async fn list(&self) -> Result<Vec<GuestState>, HypervisorError> {
        Ok(self
            .world()
            .guests
            .iter()
            .map(|(id, guest)| GuestState {
                id: *id,
                power_state: guest.power_state,
            })
            .collect())
    }

    async fn console_output(
        &self,
        id: Uuid,
        lines: Option<usize>,
    ) -> Result<String, HypervisorError> {
        Ok(self
            .world()
            .guests
            .get(&id)
            .map(|guest| super::last_lines(&guest.console, lines))
            .unwrap_or_default())
    }

    async fn attach_interface(
        &self,
        spec: &GuestSpec,
        interface: &Interface,
    ) -> Result<(), HypervisorError> {
        let mut world = self.change(Step::Port)?;
        let guest = world.guests.get_mut(&spec.id).ok_or_else(unknown)?;
        if !guest.interfaces.contains(&interface.port_id) {
            guest.interfaces.push(interface.port_id);
        }
        Ok(())
    }

    async fn detach_interface(
        &self,
        spec: &GuestSpec,
        interface: &Interface,
    ) -> Result<(), HypervisorError> {
        let mut world = self.change(Step::Port)?;
        let guest = world.guests.get_mut(&spec.id).ok_or_else(unknown)?;
        guest.interfaces.retain(|port| *port != interface.port_id);
        Ok(())
    }

    async fn snapshot(&self, id: Uuid) -> Result<PathBuf, HypervisorError> {
        let world = self.change(Step::Image)?;
        if !world.guests.contains_key(&id) {
            return Err(unknown());
        }
        let path = std::env::temp_dir().join(format!("wright-snapshot-{}.raw", Uuid::new_v4()));
        std::fs::write(&path, format!("snapshot of {id}\n"))
            .map_err(|e| HypervisorError::new(Step::Image, e.to_string()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::config_drive::tests::sample;

    struct NoImages;

    #[async_trait]
    impl ImageSource for NoImages {
        async fn download(&self, _: &str, _: &std::path::Path) -> Result<(), HypervisorError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn life_of_a_guest() {
        let driver = SimulatedDriver::new(SimulatedSettings::default());
        let spec = sample();
        driver.spawn(&spec, &NoImages).await.expect("spawned");
        driver
            .spawn(&spec, &NoImages)
            .await
            .expect("again changes nothing");
        assert_eq!(driver.list().await.expect("a list").len(), 1);
        assert_eq!(
            driver
                .power(&spec, PowerAction::Stop)
                .await
                .expect("stopped"),
            PowerState::Shutdown
        );
        assert_eq!(
            driver
                .power(&spec, PowerAction::Start)
                .await
                .expect("started"),
            PowerState::Running
        );
        assert_eq!(
            driver.console_output(spec.id, Some(1)).await.expect("text"),
            "web-co booted\n"
        );
        driver.destroy(spec.id).await.expect("destroyed");
        assert_eq!(driver.power_state(spec.id).await.expect("an answer"), None);
    }

    #[tokio::test]
    async fn faults_follow_the_seed() {
        let run = |seed| async move {
            let driver = SimulatedDriver::new(SimulatedSettings {
                fail_every: 3,
                seed,
                ..SimulatedSettings::default()
            });
            let mut failed = Vec::new();
            for n in 0..9 {
                if driver.destroy(Uuid::from_u128(n)).await.is_err() {
                    failed.push(n);
                }
            }
            failed
        };
        assert_eq!(run(0).await, [2, 5, 8]);
        assert_eq!(run(1).await, [1, 4, 7]);
    }
}
