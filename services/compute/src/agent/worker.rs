//! One operation from claim to report, with its lease kept alive.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::Agent;
use super::images::ImageService;
use super::protocol::{AgentOperation, AgentTask, Held, Outcome, Renewal, Report};
use crate::hypervisor::{GuestSpec, HypervisorError, Step};

/// A third of the lease's time.
const RENEW: Duration = Duration::from_secs(20);

/// Does operations.
pub struct Worker {
    /// The agent.
    pub agent: Arc<Agent>,
    /// Where images come from.
    pub images: Arc<ImageService>,
}

impl Worker {
    /// Does one operation and reports it. When the lease is lost, whoever has it now goes on: the work here is dropped
    /// at its next pause, and every step of it may be repeated.
    pub async fn run(&self, operation: AgentOperation) {
        let (server, task) = (operation.server, operation.task.name());
        let outcome = tokio::select! {
            result = self.perform(&operation) => match result {
                Ok(outcome) => outcome,
                Err(error) if error.transient => {
                    tracing::warn!(%server, task, step = %error.step, error = %error.message, "trying again later");
                    Outcome::Retry { message: error.to_string() }
                }
                Err(error) => {
                    tracing::error!(%server, task, step = %error.step, error = %error.message, "failed");
                    Outcome::Failed { step: error.step, message: error.message }
                }
            },
            () = self.keep(&operation) => {
                tracing::warn!(%server, task, "the claim was lost");
                return;
            }
        };
        let report = Report {
            generation: operation.generation,
            server,
            task: operation.task.clone(),
            outcome,
        };
        let path = format!("operations/{}/report", operation.id);
        let mut pause = Duration::from_millis(100);
        // The result must arrive: until it does, the operation counts as unfinished, and after the lease it is done again.
        for _ in 0..10 {
            match self.agent.post::<Held>(&path, &report).await {
                Ok(_) => {
                    tracing::info!(%server, task, "reported");
                    return;
                }
                Err(error) => tracing::warn!(%server, task, %error, "cannot report"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }

    async fn keep(&self, operation: &AgentOperation) {
        let path = format!("operations/{}/renew", operation.id);
        loop {
            tokio::time::sleep(RENEW).await;
            match self
                .agent
                .post::<Held>(
                    &path,
                    &Renewal {
                        generation: operation.generation,
                    },
                )
                .await
            {
                Ok(Held { held: true }) => {}
                Ok(Held { held: false }) => return,
                Err(error) => {
                    tracing::warn!(operation = %operation.id, %error, "cannot renew the claim")
                }
            }
        }
    }

    async fn perform(&self, operation: &AgentOperation) -> Result<Outcome, HypervisorError> {
        let driver = &self.agent.driver;
        let id = operation.server;
        let done = |power_state: Option<i32>| Outcome::Done {
            power_state,
            text: None,
        };
        // Only these need no record of the server.
        match &operation.task {
            AgentTask::Destroy | AgentTask::Clean => {
                driver.destroy(id).await?;
                return Ok(done(Some(0)));
            }
            AgentTask::Console { lines, .. } => {
                let text = driver.console_output(id, *lines).await?;
                return Ok(Outcome::Done {
                    power_state: None,
                    text: Some(text),
                });
            }
            _ => {}
        }
        let Some(spec) = &operation.spec else {
            return Err(HypervisorError::new(
                Step::Hypervisor,
                "the server's record is gone",
            ));
        };
        match &operation.task {
            AgentTask::Build => {
                driver.spawn(spec, &*self.images).await?;
                self.wait_for_ports(spec).await?;
            }
            AgentTask::Power { action } => {
                return Ok(done(Some(driver.power(spec, *action).await?.code())));
            }
            AgentTask::AttachInterface { interface } => {
                driver.attach_interface(spec, interface).await?
            }
            AgentTask::DetachInterface { interface } => {
                driver.detach_interface(spec, interface).await?;
                self.release_port(&interface.port_id.to_string(), interface.owned)
                    .await?;
            }
            AgentTask::Snapshot { image_id } => {
                let file = driver.snapshot(id).await?;
                let sent = self.images.upload(image_id, &file).await;
                let _ = tokio::fs::remove_file(&file).await;
                sent?;
            }
            AgentTask::Destroy | AgentTask::Clean | AgentTask::Console { .. } => {}
        }
        Ok(done(
            driver.power_state(id).await?.map(|state| state.code()),
        ))
    }

    async fn release_port(&self, port: &str, owned: bool) -> Result<(), HypervisorError> {
        let (client, path) = (&self.agent.client, format!("/v2.0/ports/{port}"));
        let result = if owned {
            client.delete("network", &path).await
        } else {
            let body = serde_json::json!({"port": {"device_id": "", "device_owner": "", "binding:host_id": ""}});
            client.put("network", &path, &body).await.map(drop)
        };
        match result {
            Err(error) if !error.is_not_found() => Err(HypervisorError {
                step: Step::Port,
                message: error.message(),
                transient: error.is_transient(),
            }),
            _ => Ok(()),
        }
    }

    /// Waits until the network service says that the guest's ports are plugged, as long as the configuration allows.
    async fn wait_for_ports(&self, spec: &GuestSpec) -> Result<(), HypervisorError> {
        let limit = Duration::from_secs(self.agent.config.vif_plugging_timeout);
        if limit.is_zero() || spec.interfaces.is_empty() {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + limit;
        let mut pause = Duration::from_millis(100);
        loop {
            let request = self
                .agent
                .client
                .request(Method::GET, "network", "/v2.0/ports")
                .query("device_id", spec.id);
            let waiting = match request.fetch::<Value>().await {
                Ok(answer) => {
                    let ports = answer["ports"].as_array().cloned().unwrap_or_default();
                    let waiting: Vec<String> = ports
                        .iter()
                        .filter(|port| port["status"] != "ACTIVE")
                        .map(|port| port["id"].as_str().unwrap_or_default().to_owned())
                        .collect();
                    if waiting.is_empty() {
                        return Ok(());
                    }
                    waiting.join(", ")
                }
                Err(error) => error.to_string(),
            };
            if tokio::time::Instant::now() >= deadline {
                let message = format!(
                    "ports did not become active within {} s: {waiting}",
                    limit.as_secs()
                );
                if self.agent.config.vif_plugging_is_fatal {
                    return Err(HypervisorError::new(Step::Port, message));
                }
                tracing::warn!(server = %spec.id, step = %Step::Port, "{message}; going on without them");
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}
