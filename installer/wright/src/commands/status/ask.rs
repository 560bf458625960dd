//! Asks all at once what the overview is made of: nodes by SSH, services at their health end points, the compute
//! service's API, and the state folder. Each has seconds, so that a dead node costs no more. Judges nothing.
use crate::cloud;
use crate::commands::verify::reach;
use crate::environment::{self, Environment};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use futures::StreamExt;
use health::SERVICES;
use health::overview::look::{self, Look};
use health::overview::{ComputeHost, Deployment, Run, Seen, SeenNode, SeenService};
use http::Method;
use inventory::NetworkName;
use openstack_client::{Client, Transport as Http};
use serde_json::Value;
use state::{EnvironmentFolder, Store};
use std::collections::BTreeMap;
use std::time::Duration;
use task_engine::link::Transport;
use task_engine::{HostSpec, Ssh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// For a node to let us in.
const REACH: Duration = Duration::from_secs(3);
/// For its answer; each part of the script ends before.
const ANSWER: Duration = Duration::from_secs(8);
/// For a service's health end point.
const HEALTH: Duration = Duration::from_secs(3);
/// For the compute service, a token before it included.
const API: Duration = Duration::from_secs(5);
/// Nodes and services asked at the same time: what a process may have open files for.
const AT_ONCE: usize = 400;
/// Runs among which the newest that was no plan is looked for.
const RUNS: u32 = 50;

pub struct Asker {
    environment: Environment,
    store: Store,
    ssh: Ssh,
    hosts: BTreeMap<String, HostSpec>,
    http: reqwest::Client,
    client: Client,
    name: String,
}

impl Asker {
    /// # Errors
    /// There is nothing yet that could be asked.
    pub async fn new(settings: &Settings, printer: &Printer) -> Result<Self, CommandError> {
        let nothing = || {
            CommandError::failed(format!("no node of `{}` is installed yet", settings.env)).hint(
                format!("`wright -e {} deploy` makes the cloud", settings.env),
            )
        };
        let folder = EnvironmentFolder::existing(&settings.state_dir, &settings.env);
        let (Some(folder), Some(store)) = (folder, environment::open_store(settings).await?) else {
            return Err(nothing());
        };
        let environment = environment::plan(settings, Some(&store), printer).await?;
        let hosts = reach::hosts(&environment, &store).await?;
        if hosts.is_empty() {
            return Err(nothing());
        }
        let ssh = Ssh::new(&folder.ssh_key(), None)
            .map_err(|error| {
                CommandError::failed(error.to_string()).hint("`wright deploy` makes the key")
            })?
            .with_agent_at(task_engine::link::ssh::AGENT_PATH, "sh -s");
        let client = cloud::client(&folder, &environment)?;
        let identity = cloud::auth_url(&environment)?;
        let Http::Http(http) = cloud::transport(&folder, &identity)? else {
            return Err(
                anyhow::anyhow!("services of this machine have no health end points").into(),
            );
        };
        Ok(Asker {
            environment,
            store,
            ssh,
            hosts,
            http,
            client,
            name: settings.env.clone(),
        })
    }

    /// # Errors
    /// The state folder cannot be read: whatever else is silent is part of what was seen.
    pub async fn ask(&self) -> Result<Seen, CommandError> {
        let plan = &self.environment.plan;
        // Hosts without cards, as one that others installed, are not ours to look at.
        let ours: Vec<_> = plan
            .nodes
            .values()
            .filter(|node| !node.interfaces.is_empty())
            .collect();
        let nodes = futures::stream::iter(ours.iter().map(async |node| SeenNode {
            name: node.name.clone(),
            groups: node.groups.clone(),
            look: self.look(&node.name).await,
        }));
        let controllers = ours.iter().filter(|node| node.in_group("controller"));
        let services = controllers.flat_map(|node| {
            let address = node.addresses.get(&NetworkName::Mgmt);
            SERVICES
                .iter()
                .filter_map(move |(name, port)| Some((name, &node.name, *address?, *port)))
        });
        let services =
            futures::stream::iter(
                services.map(async |(name, node, address, port)| SeenService {
                    name: (*name).to_owned(),
                    node: node.clone(),
                    up: self.healthy(&cloud::url(address, port)).await,
                }),
            );
        let (nodes, services, compute) = futures::join!(
            nodes.buffered(AT_ONCE).collect::<Vec<_>>(),
            services.buffered(AT_ONCE).collect::<Vec<_>>(),
            self.compute(),
        );
        let certificates = nodes.iter().filter_map(|node| {
            let pem = node.look.as_ref().ok()?.certificate.as_ref()?;
            Some((node.name.clone(), certificate_ends(pem)))
        });
        Ok(Seen {
            environment: self.name.clone(),
            now: chrono::Utc::now().timestamp(),
            addresses: [
                ("internal", plan.vips.internal),
                ("public", plan.vips.public),
            ]
            .into_iter()
            .filter_map(|(name, address)| Some((name.to_owned(), address?.into())))
            .collect(),
            services,
            compute: Some(compute),
            deployment: self.deployment().await?,
            certificate_ends: certificates.collect(),
            nodes,
        })
    }

    async fn look(&self, node: &str) -> Result<Look, String> {
        let host = self.hosts.get(node).ok_or(look::NOT_INSTALLED)?;
        let attach = async {
            let reached = self.ssh.reach(host).await?;
            reached.attach().await
        };
        let late = |limit: Duration| move |_| format!("no answer within {} s", limit.as_secs());
        let mut stream = timeout(REACH, attach)
            .await
            .map_err(late(REACH))?
            // The node is named by whoever tells this.
            .map_err(|error| error.to_string().replace(&format!("`{node}` at "), ""))?;
        let mut answer = Vec::new();
        let asked = async {
            stream.write_all(look::SCRIPT.as_bytes()).await?;
            stream.shutdown().await?;
            stream
                .take(look::LONGEST as u64)
                .read_to_end(&mut answer)
                .await
        };
        timeout(ANSWER, asked)
            .await
            .map_err(late(ANSWER))?
            .map_err(|error| error.to_string())?;
        look::parse(&String::from_utf8_lossy(&answer))
    }

    async fn healthy(&self, url: &str) -> Result<(), String> {
        let asked = self
            .http
            .get(format!("{url}/healthz"))
            .timeout(HEALTH)
            .send()
            .await;
        match asked {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answers {}", answer.status().as_u16())),
            Err(error) if error.is_timeout() => {
                Err(format!("no answer within {} s", HEALTH.as_secs()))
            }
            Err(error) if error.is_connect() => Err("nobody listens".to_owned()),
            Err(error) => Err(error.without_url().to_string()),
        }
    }

    async fn compute(&self) -> Result<Vec<ComputeHost>, String> {
        let request =
            self.client
                .request(Method::GET, "compute", "/os-services?binary=nova-compute");
        let said: Value = timeout(API, request.fetch())
            .await
            .map_err(|_| format!("no answer within {} s", API.as_secs()))?
            .map_err(|error| error.to_string())?;
        let services = said["services"]
            .as_array()
            .ok_or("not a list of services")?;
        let host = |service: &Value| {
            Some(ComputeHost {
                host: service["host"].as_str()?.to_owned(),
                up: service["state"] == "up",
                enabled: service["status"] == "enabled",
            })
        };
        Ok(services.iter().filter_map(host).collect())
    }

    async fn deployment(&self) -> Result<Deployment, CommandError> {
        let runs = self
            .store
            .runs(0, RUNS)
            .await
            .map_err(anyhow::Error::from)?;
        let last = runs.into_iter().find(|run| !run.check).map(|run| Run {
            at: run
                .started_at
                .to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            outcome: match run.success {
                Some(true) => "done",
                Some(false) => "failed",
                None => "running or interrupted",
            }
            .to_owned(),
        });
        let owed = self
            .store
            .owed_handlers()
            .await
            .map_err(anyhow::Error::from)?;
        let records = self.store.nodes().await.map_err(anyhow::Error::from)?;
        let deployed = provision::NodeState::Deployed.to_string();
        let planned = self
            .environment
            .plan
            .nodes
            .values()
            .filter(|node| !node.interfaces.is_empty());
        let missing = planned.filter(|node| {
            !records
                .iter()
                .any(|record| record.name == node.name && record.state == deployed)
        });
        Ok(Deployment {
            last,
            owed: owed.values().map(|handlers| handlers.len()).sum(),
            not_deployed: missing.map(|node| node.name.clone()).collect(),
        })
    }
}

/// When the first certificate of a PEM file ends, in seconds since 1970.
fn certificate_ends(pem: &str) -> Result<i64, String> {
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
    let certificate = pem.parse_x509().map_err(|error| error.to_string())?;
    Ok(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::certificate_ends;

    const PEM: &str = "\
-----BEGIN CERTIFICATE-----
MIIBNjCB6aADAgECAhRcac5Ie2x3zJjXRmMKTIF6cHOvBzAFBgMrZXAwETEPMA0G
A1UEAwwGbm9kZS0xMB4XDTI2MTEyNzE1NDkzNloXDTI3MTEyNzE1NDkzNlowETEP
MA0GA1UEAwwGbm9kZS0xMCowBQYDK2VwAyEAsI++sYHgNmWSJNbDXBFlfTrwfVFC
9VacgjxhjSMw2S6jUzBRMB0GA1UdDgQWBBRcli396IzLzLyMmtQ6HsF+/9KbGTAf
BgNVHSMEGDAWgBRcli396IzLzLyMmtQ6HsF+/9KbGTAPBgNVHRMBAf8EBTADAQH/
MAUGAytlcANBADoXI7qmFffVEryvEtK/hkAhNttH71cftRfdfMVVXnya2uJfuGdx
psUl6BhcLuGHTK3wyQJZWN1SZSyJFlISiQI=
-----END CERTIFICATE-----
";

    #[test]
    fn a_certificate_says_when_it_ends() {
        assert_eq!(certificate_ends(PEM), Ok(1_827_330_576));
        assert!(certificate_ends("no certificate").is_err());
        assert!(certificate_ends(&PEM[..200]).is_err());
    }
}
