//! The nodes of a run: who may boot what, who gets a token, what is made of the agent's reports.
//!
//! Every change of a node's state is durable before anyone is told of it. What is lost with the process (how far
//! a download is, who may fetch a token now) comes again by itself when the node asks again.
//!
//! Deliberately not here: HTTP (`enrol`), DHCP (`boot`), and when a run ends (`provisioner`).
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent_protocol::enrol::{self, Failure, Hardware, Installed, Orders};
use boot::policy::Fetched;
use boot::{BootChoice, BootPolicy, Mac, Observed};
use chrono::{DateTime, Utc};
use rand::TryRngCore;
use sha2::{Digest, Sha256};
use state::{NodeRecord, StateError, Store, Token};
use subtle::ConstantTimeEq;
use tokio::sync::broadcast;

use crate::machine::{Happening, NodeState, UnknownState};
use crate::orders;
use crate::progress::{Event, Moment, Patience, Progress, Step};
use crate::spec::NodeSpec;
use crate::ssh_key;

/// How often one run lets a node boot the ramdisk before it is said to loop.
const BOOTS: u32 = 5;
/// A token's life from when it was last used.
const TOKEN_LIFE: chrono::TimeDelta = chrono::TimeDelta::hours(2);
/// For a machine that is known but has no orders.
const ASK_AGAIN_SECONDS: u32 = 10;
/// Longest reason kept, in characters.
const REASON: usize = 2000;

/// CPU time of the emulated machine behind a node; `None` when there is none.
pub type Meter = Arc<dyn Fn(&str) -> Option<Duration> + Send + Sync>;

/// Why a node's report was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("this token is not the one of {0}")]
    OtherMachine(String),
    #[error("{0}")]
    Unfit(String),
    #[error("node {node} is {state}: {happening:?} does not follow")]
    OutOfOrder {
        node: String,
        state: NodeState,
        happening: Happening,
    },
    #[error("'{0}' is not an OpenSSH public key")]
    HostKey(String),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    UnknownState(#[from] UnknownState),
    #[error("the system's random number source failed: {0}")]
    Random(String),
}

/// What the enrolment and the boot server share.
pub struct Nodes {
    specs: HashMap<Mac, NodeSpec>,
    live: Mutex<HashMap<Mac, Live>>,
    /// One durable change at a time.
    writing: tokio::sync::Mutex<()>,
    store: Store,
    base_url: String,
    authorized_keys: Vec<String>,
    kernel_arguments: Vec<String>,
    events: broadcast::Sender<Event>,
    meter: Option<Meter>,
    began: Instant,
}

/// What a run knows of a node beside its row.
#[derive(Debug, Clone)]
struct Live {
    state: NodeState,
    reason: Option<String>,
    installed: bool,
    /// This run may install it.
    armed: bool,
    /// It was given the script that fetches a token.
    token_due: bool,
    tokens_given: u32,
    token: Option<Token>,
    progress: Progress,
}

/// How a node came out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    pub node: String,
    pub state: NodeState,
    pub reason: Option<String>,
    /// Its disk holds a system of ours, whatever came after.
    pub installed: bool,
}

/// What [`Nodes::open`] needs.
pub(crate) struct Setting {
    pub store: Store,
    pub base_url: String,
    pub authorized_keys: Vec<String>,
    pub kernel_arguments: Vec<String>,
    pub meter: Option<Meter>,
    pub events: broadcast::Sender<Event>,
}

/// Writes down that something happened to a node, with what `edit` sets along with it.
///
/// # Errors
/// [`Refusal::OutOfOrder`] when it cannot happen in the node's state; nothing is changed then.
pub async fn happened(
    store: &Store,
    node: &str,
    happening: Happening,
    edit: impl FnOnce(&mut NodeRecord) + Send,
) -> Result<NodeRecord, Refusal> {
    let mut record = store
        .ensure_node(node, NodeState::Discovered.as_str())
        .await?;
    let state: NodeState = record.state.parse()?;
    let next = state
        .after(happening, record.ssh_host_key.is_some())
        .ok_or_else(|| Refusal::OutOfOrder {
            node: node.to_owned(),
            state,
            happening,
        })?;
    record.state = next.as_str().to_owned();
    if next != NodeState::Failed {
        record.reason = None;
    }
    edit(&mut record);
    store.update_node(&mut record).await?;
    Ok(record)
}

impl Nodes {
    /// Arms every node that is not installed yet.
    pub(crate) async fn open(specs: Vec<NodeSpec>, setting: Setting) -> Result<Self, Refusal> {
        let began = Instant::now();
        let Setting {
            store,
            base_url,
            authorized_keys,
            kernel_arguments,
            meter,
            events,
        } = setting;
        let nodes = Self {
            specs: specs
                .into_iter()
                .map(|spec| (spec.boot_mac, spec))
                .collect(),
            live: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            store,
            base_url,
            authorized_keys,
            kernel_arguments,
            events,
            meter,
            began,
        };
        for (mac, spec) in &nodes.specs {
            let record = nodes
                .store
                .ensure_node(&spec.name, NodeState::Discovered.as_str())
                .await?;
            let installed = record.ssh_host_key.is_some();
            let record = if installed {
                record
            } else {
                happened(&nodes.store, &spec.name, Happening::Armed, |record| {
                    record.boot_mac = Some(mac.to_string());
                })
                .await?
            };
            let live = Live {
                state: record.state.parse()?,
                reason: record.reason,
                installed,
                armed: !installed,
                token_due: false,
                tokens_given: 0,
                token: record.token,
                progress: Progress::new(nodes.now(&spec.name)),
            };
            nodes.live().insert(*mac, live);
        }
        Ok(nodes)
    }

    /// The node whose token this is. Takes the same time for every wrong token.
    pub(crate) fn authenticate(&self, token: &str) -> Option<Mac> {
        let hash = digest(token);
        let now = Utc::now();
        let mut found = None;
        for (mac, live) in self.live().iter_mut() {
            let Some(own) = &mut live.token else { continue };
            let equal: bool = own.hash.as_bytes().ct_eq(hash.as_bytes()).into();
            if equal && own.expires_at > now {
                own.expires_at = expiry(now);
                found = Some(*mac);
            }
        }
        found
    }

    /// A hardware report: checked, kept, answered with orders.
    pub(crate) async fn hardware(&self, mac: Mac, report: Hardware) -> Result<Orders, Refusal> {
        let Some(spec) = self.specs.get(&mac) else {
            return Err(Refusal::OtherMachine(mac.to_string()));
        };
        if !report.boot_mac.eq_ignore_ascii_case(&mac.to_string()) {
            self.warn(
                &spec.name,
                format!(
                    "a machine that booted from {} reported with its token",
                    report.boot_mac
                ),
            );
            return Err(Refusal::OtherMachine(report.boot_mac));
        }
        let (installed, armed, state) = self
            .with(mac, |live| (live.installed, live.armed, live.state))
            .unwrap_or((false, false, NodeState::Failed));
        if installed {
            return Ok(Orders::BootDisk);
        }
        if !armed {
            let (node, happening) = (spec.name.clone(), Happening::HardwareFits);
            return Err(Refusal::OutOfOrder {
                node,
                state,
                happening,
            });
        }
        self.step(mac, Step::Hardware, 0, 0);
        let network_files = match orders::check(spec, &report) {
            Ok(files) => files,
            Err(reason) => {
                self.fail(mac, &format!("hardware: {reason}")).await?;
                return Err(Refusal::Unfit(reason));
            }
        };
        let kept = serde_json::to_value(&report).map_err(|source| StateError::Json {
            what: "hardware",
            source,
        })?;
        let record = self
            .change(mac, spec, Happening::HardwareFits, |record| {
                record.hardware = Some(kept);
                record
                    .machine_id
                    .get_or_insert_with(|| uuid::Uuid::new_v4().simple().to_string());
            })
            .await?;
        let machine_id = record.machine_id.unwrap_or_default();
        self.change(mac, spec, Happening::OrdersGiven, |_| {})
            .await?;
        let orders = orders::orders(
            spec,
            &report.kernel,
            network_files,
            &self.base_url,
            &machine_id,
            &self.authorized_keys,
        );
        Ok(Orders::Install(Box::new(orders)))
    }

    pub(crate) fn progress(&self, mac: Mac, report: &enrol::Progress) {
        if let Some(step) = Step::from_stage(&report.stage) {
            self.step(mac, step, report.done.min(report.total), report.total);
        }
    }

    /// Keeps the host key; from now on the node boots its disk. Reporting the same again is well.
    pub(crate) async fn installed(&self, mac: Mac, report: Installed) -> Result<(), Refusal> {
        let Some(spec) = self.specs.get(&mac) else {
            return Err(Refusal::OtherMachine(mac.to_string()));
        };
        let bad_key = || Refusal::HostKey(report.ssh_host_key.chars().take(80).collect());
        let key = ssh_key::host_key(&report.ssh_host_key).ok_or_else(bad_key)?;
        if self.with(mac, |live| live.installed) == Some(true) {
            let known = self
                .store
                .node(&spec.name)
                .await?
                .and_then(|record| record.ssh_host_key);
            return if known.as_deref() == Some(&key) {
                Ok(())
            } else {
                Err(bad_key())
            };
        }
        if report.image_sha256 != spec.image.sha256 {
            let reason = format!(
                "it wrote an image {}, ordered was {}",
                report.image_sha256, spec.image.sha256
            );
            self.fail(mac, &reason).await?;
            return Err(Refusal::Unfit(reason));
        }
        self.change(mac, spec, Happening::Installed, |record| {
            record.ssh_host_key = Some(key);
            record.image_sha256 = Some(report.image_sha256);
        })
        .await?;
        self.with(mac, |live| (live.installed, live.armed) = (true, false));
        self.step(mac, Step::Installed, 0, 0);
        Ok(())
    }

    /// The agent gave up.
    pub(crate) async fn failed(&self, mac: Mac, report: &Failure) -> Result<(), Refusal> {
        let text = format!("{}: {}", report.stage, report.reason);
        match (self.specs.get(&mac), self.with(mac, |live| live.installed)) {
            // The disk is whole: only the way into it failed, and a restart is another way.
            (Some(spec), Some(true)) => {
                self.warn(&spec.name, text);
                Ok(())
            }
            _ => self.fail(mac, &text).await,
        }
    }

    /// Fails every armed node that has stood still for too long.
    pub(crate) async fn fail_stalled(&self, patience: Patience) -> Result<(), Refusal> {
        for (mac, spec) in &self.specs {
            let now = self.now(&spec.name);
            let stalled = self.with(*mac, |live| {
                (live.armed && live.progress.stalled(now, patience)).then(|| {
                    (
                        live.progress.place(),
                        live.progress.still_for(now).as_secs(),
                    )
                })
            });
            if let Some(Some((place, seconds))) = stalled {
                self.fail(
                    *mac,
                    &format!(
                        "nothing was heard from it for {seconds} s; it came as far as {place}"
                    ),
                )
                .await?;
            }
        }
        Ok(())
    }

    /// True when no node is being installed any more.
    pub(crate) fn settled(&self) -> bool {
        self.live().values().all(|live| !live.armed)
    }

    /// Nodes that are armed and have not been heard of.
    pub(crate) fn unheard(&self) -> BTreeSet<String> {
        let live = self.live();
        let unheard = live
            .iter()
            .filter(|(_, live)| live.armed && live.progress.step == Step::PowerOn);
        unheard
            .filter_map(|(mac, _)| Some(self.specs.get(mac)?.name.clone()))
            .collect()
    }

    /// How every node stands, by name.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        let live = self.live();
        let mut outcomes: Vec<Outcome> = self
            .specs
            .iter()
            .filter_map(|(mac, spec)| {
                let Live {
                    state,
                    reason,
                    installed,
                    ..
                } = live.get(mac)?.clone();
                Some(Outcome {
                    node: spec.name.clone(),
                    state,
                    reason,
                    installed,
                })
            })
            .collect();
        outcomes.sort_by(|one, other| one.node.cmp(&other.node));
        outcomes
    }

    /// Its token stays: should it only have been slow, it may still report that it is installed.
    async fn fail(&self, mac: Mac, reason: &str) -> Result<(), Refusal> {
        let Some(spec) = self.specs.get(&mac) else {
            return Err(Refusal::OtherMachine(mac.to_string()));
        };
        let reason: String = reason
            .chars()
            .filter(|c| !c.is_control() || *c == '\n')
            .take(REASON)
            .collect();
        self.change(mac, spec, Happening::Failed, |record| {
            // The first reason is the cause, later ones follow from it.
            record.reason.get_or_insert(reason);
        })
        .await?;
        self.with(mac, |live| (live.armed, live.token_due) = (false, false));
        Ok(())
    }

    async fn change(
        &self,
        mac: Mac,
        spec: &NodeSpec,
        happening: Happening,
        edit: impl FnOnce(&mut NodeRecord) + Send,
    ) -> Result<NodeRecord, Refusal> {
        let _writing = self.writing.lock().await;
        let record = happened(&self.store, &spec.name, happening, edit).await?;
        let state = record.state.parse()?;
        self.with(mac, |live| {
            live.state = state;
            live.reason.clone_from(&record.reason);
            // The expiry in memory is the later one; a new token replaces it.
            if live.token.as_ref().map(|token| &token.hash)
                != record.token.as_ref().map(|token| &token.hash)
            {
                live.token.clone_from(&record.token);
            }
        });
        tracing::info!(node = spec.name, %state, reason = record.reason, "node state");
        self.tell(Event::State {
            node: spec.name.clone(),
            state,
            reason: record.reason.clone(),
        });
        Ok(record)
    }

    fn step(&self, mac: Mac, step: Step, done: u64, total: u64) {
        let Some(spec) = self.specs.get(&mac) else {
            return;
        };
        let now = self.now(&spec.name);
        // An installed node that boots once more is no step of its installation.
        let counts = |live: &Live| !live.installed || step == Step::Installed;
        if self.with(mac, |live| {
            counts(live) && live.progress.moved(step, done, total, now)
        }) == Some(true)
        {
            tracing::debug!(node = spec.name, %step, done, total, "node step");
            self.tell(Event::Step {
                node: spec.name.clone(),
                step,
                done,
                total,
            });
        }
    }

    fn warn(&self, node: &str, text: String) {
        tracing::warn!(node, text);
        self.tell(Event::Warning {
            node: node.to_owned(),
            text,
        });
    }

    /// Nobody need listen: the states are in the database.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn now(&self, node: &str) -> Moment {
        Moment {
            wall: self.began.elapsed(),
            cpu: self.meter.as_ref().and_then(|meter| meter(node)),
        }
    }

    /// No holder of this lock can panic half way through a change: poisoning is ignored.
    fn live(&self) -> MutexGuard<'_, HashMap<Mac, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, mac: Mac, change: impl FnOnce(&mut Live) -> T) -> Option<T> {
        self.live().get_mut(&mac).map(change)
    }

    async fn give_token(&self, mac: Mac, spec: &NodeSpec) -> Result<String, Refusal> {
        let mut bytes = [0; 32];
        rand::rngs::OsRng
            .try_fill_bytes(&mut bytes)
            .map_err(|error| Refusal::Random(error.to_string()))?;
        let token = hex::encode(bytes);
        let kept = Token {
            hash: digest(&token),
            expires_at: expiry(Utc::now()),
        };
        self.change(mac, spec, Happening::BootedRamdisk, |record| {
            record.token = Some(kept)
        })
        .await?;
        Ok(token)
    }
}

#[async_trait::async_trait]
impl BootPolicy for Nodes {
    async fn choose(&self, mac: Mac) -> BootChoice {
        let wait = BootChoice::Wait {
            seconds: ASK_AGAIN_SECONDS,
        };
        let Some(spec) = self.specs.get(&mac) else {
            return wait;
        };
        let Some((installed, armed, boots)) =
            self.with(mac, |live| (live.installed, live.armed, live.tokens_given))
        else {
            return wait;
        };
        if installed {
            return BootChoice::Disk;
        }
        if !armed {
            return wait;
        }
        if boots >= BOOTS {
            let reason =
                format!("it booted the installer {boots} times without finishing: see its console");
            if let Err(error) = self.fail(mac, &reason).await {
                tracing::error!(node = spec.name, %error, "node state");
            }
            return wait;
        }
        self.with(mac, |live| live.token_due = true);
        BootChoice::Ramdisk {
            address: spec.address,
            arguments: self.kernel_arguments.clone(),
        }
    }

    async fn take_token(&self, mac: Mac) -> Option<String> {
        let spec = self.specs.get(&mac)?;
        let due = self.with(mac, |live| {
            let due = live.armed && live.token_due;
            live.token_due = false;
            live.tokens_given += u32::from(due);
            due
        })?;
        if !due {
            return None;
        }
        match self.give_token(mac, spec).await {
            Ok(token) => Some(token),
            Err(error) => {
                tracing::error!(node = spec.name, %error, "no token can be given");
                None
            }
        }
    }

    fn observe(&self, observed: Observed) {
        match observed {
            Observed::Dhcp { mac, .. } => self.step(mac, Step::Dhcp, 0, 0),
            Observed::Http { mac, what } => match what {
                Fetched::Script => self.step(mac, Step::Script, 0, 0),
                Fetched::Kernel => self.step(mac, Step::Kernel, 0, 0),
                Fetched::Token => self.step(mac, Step::Token, 0, 0),
                Fetched::Ramdisk => self.step(mac, Step::Ramdisk, 0, 0),
                // The agent tells how far it is with the image.
                Fetched::Loader | Fetched::Image | Fetched::File => {}
            },
            Observed::Unknown { mac } => self.tell(Event::UnknownMachine { mac }),
        }
    }
}

fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

fn expiry(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TOKEN_LIFE
}
