//! Is the cloud well? Checks that say what they tried and what they saw.
//!
//! - sanity: units run, ports answer, clocks agree, certificates last; needs no user of the cloud;
//! - smoke: a token, an image, a network, a server, a stack, made and removed again.
//!
//! [`overview`] is the whole cloud at a glance: it tries nothing, and takes seconds.
//!
//! One check a file; adding one is a page in `docs/adding-a-health-check.md`. This crate does not know
//! how the cloud was deployed: it gets its nodes, a shell on them, and a client as [`Cloud`].
pub mod overview;
mod report;
mod sanity;
mod smoke;

use async_trait::async_trait;
use openstack_client::Client;
pub use report::{Finding, Report, Status};
pub use sanity::BALANCED_PORTS as SERVICES;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest that one check may take before it counts as failed; emulated machines are slow.
const CHECK_TIMEOUT: Duration = Duration::from_secs(900);
/// Sanity checks asked at the same time.
const AT_ONCE: usize = 32;

/// What the checks look at.
pub struct Cloud {
    pub nodes: Vec<Node>,
    /// Addresses that a controller holds, by name (`internal`, `public`).
    pub vips: BTreeMap<String, IpAddr>,
    /// Where the controllers' database server listens: it depends on which one it is.
    pub database_port: u16,
    pub shell: Arc<dyn NodeShell>,
    /// A client with the administrator's rights.
    pub client: Client,
    /// Image and flavor for the server of the smoke checks; `None` where the cloud has none yet.
    pub guest: Option<Guest>,
}

/// Ids of what a test server is made of.
#[derive(Debug, Clone)]
pub struct Guest {
    pub image: String,
    pub flavor: String,
}

/// A node as the checks see it.
#[derive(Debug, Clone)]
pub struct Node {
    pub name: String,
    pub groups: Vec<String>,
    /// By network name.
    pub addresses: BTreeMap<String, IpAddr>,
}

impl Node {
    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// Running a command on a node.
#[async_trait]
pub trait NodeShell: Send + Sync {
    /// Exit status and standard output of `argv` on `node`; the error says why it could not be run.
    async fn run(&self, node: &str, argv: &[&str]) -> Result<(i32, String), String>;
}

/// One thing that is checked. `run` gives what was seen, or what is wrong.
#[async_trait]
trait Check: Send + Sync {
    fn name(&self) -> String;
    /// What it does, as said to the operator.
    fn tries(&self) -> String;
    /// What to do when it fails.
    fn next_step(&self) -> String;
    async fn run(&self, cloud: &Cloud) -> Result<Seen, String>;
}

/// How a check that did not fail ended.
enum Seen {
    Well(String),
    /// Could not be tried, and why.
    Skipped(String),
}

/// Runs every check; `tell` hears of each as it ends.
pub async fn run(cloud: &Cloud, tell: &(dyn Fn(&Finding) + Sync)) -> Report {
    use futures::StreamExt;
    let mut findings = Vec::new();
    let checks = sanity::checks(cloud);
    let mut running = futures::stream::iter(
        checks
            .iter()
            .map(|check| one(check.as_ref(), "sanity", cloud)),
    )
    .buffered(AT_ONCE);
    while let Some(finding) = running.next().await {
        tell(&finding);
        findings.push(finding);
    }
    // Smoke checks build on each other (no server without a network): one after another.
    for check in smoke::checks() {
        let finding = one(check.as_ref(), "smoke", cloud).await;
        tell(&finding);
        findings.push(finding);
    }
    Report { findings }
}

async fn one(check: &dyn Check, group: &'static str, cloud: &Cloud) -> Finding {
    let begun = Instant::now();
    let result = tokio::time::timeout(CHECK_TIMEOUT, check.run(cloud))
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "it did not end within {} s",
                CHECK_TIMEOUT.as_secs()
            ))
        });
    let (status, saw) = match result {
        Ok(Seen::Well(saw)) => (Status::Passed, saw),
        Ok(Seen::Skipped(why)) => (Status::Skipped, why),
        Err(saw) => (Status::Failed, saw),
    };
    Finding {
        group,
        name: check.name(),
        status,
        tried: check.tries(),
        saw,
        next_step: (status == Status::Failed).then(|| check.next_step()),
        seconds: begun.elapsed().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openstack_client::{ClientOptions, Credentials, InProcess, Transport};

    struct Says(i32, String);

    #[async_trait]
    impl NodeShell for Says {
        async fn run(&self, _: &str, _: &[&str]) -> Result<(i32, String), String> {
            Ok((self.0, self.1.clone()))
        }
    }

    /// A cloud without nodes whose every command ends with `code` and prints `out`.
    pub fn cloud_saying(code: i32, out: &str) -> Cloud {
        let options = ClientOptions {
            auth_url: "http://127.0.0.1:5000/v3".into(),
            region: "RegionOne".into(),
            interface: openstack_types::Interface::Public,
        };
        Cloud {
            nodes: Vec::new(),
            vips: BTreeMap::new(),
            database_port: 3306,
            shell: Arc::new(Says(code, out.to_owned())),
            client: Client::new(
                Transport::InProcess(InProcess::default()),
                options,
                Credentials::None,
            ),
            guest: None,
        }
    }

    pub fn empty_cloud() -> Cloud {
        cloud_saying(0, "")
    }
}
