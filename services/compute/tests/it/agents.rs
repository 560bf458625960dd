//! What agents do beside the work that they are given.

use std::sync::Arc;

use compute::AgentConfig;
use compute::config::DriverKind;
use compute::hypervisor::simulated::{SimulatedDriver, SimulatedSettings};
use compute::hypervisor::{Hypervisor, PowerState};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_what_ran_runs_again() {
    let world = World::new(0).await;
    let driver = Arc::new(SimulatedDriver::new(SimulatedSettings::default()));
    let config = AgentConfig {
        driver: DriverKind::Simulated,
        resume_guests: true,
        ..AgentConfig::default()
    };
    let power = CancellationToken::new();
    let agent = world
        .agent("node-9", driver.clone(), config.clone(), power.clone())
        .await;
    world
        .until("the host", async |w| {
            w.get("/os-hypervisors")
                .await
                .to_string()
                .contains("node-9")
        })
        .await;
    let there = json!({"availability_zone": "nova:node-9"});
    let runs = world.boot("runs", there.clone()).await;
    let off = world.boot("off", there).await;
    for id in [&runs, &off] {
        world.until_status(id, "ACTIVE").await;
    }
    world.action(&off, json!({"os-stop": null})).await;
    world.until_status(&off, "SHUTOFF").await;

    power.cancel();
    agent.wait().await;
    let ids = [&runs, &off].map(|id| id.parse().expect("a UUID"));
    for id in ids {
        driver.crash(id);
    }

    let power = CancellationToken::new();
    let agent = world
        .agent("node-9", driver.clone(), config, power.clone())
        .await;
    let state = async |id| driver.power_state(id).await.expect("a state");
    world
        .until("the guest runs again", async |_| {
            state(ids[0]).await == Some(PowerState::Running)
        })
        .await;
    // Work is asked for after that: so this shows that nothing else was started.
    world.action(&runs, json!({"os-stop": null})).await;
    world.until_status(&runs, "SHUTOFF").await;
    assert_eq!(state(ids[1]).await, Some(PowerState::Shutdown));
    assert_eq!(world.server(&off).await["status"], "SHUTOFF");
    power.cancel();
    agent.wait().await;
}
