//! Simulated nodes: the agent's side of the protocol in this process, with a tiny world behind it and faults from a
//! seed.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_protocol::PROTOCOL;
use agent_protocol::frame::{decode, encode};
use agent_protocol::task::{Diff, FromAgent, Task, TaskResult, ToAgent};
use async_trait::async_trait;
use serde_json::{Value as Json, json};
use task_engine::HostSpec;
use task_engine::link::{ConnectError, Reached, Stream, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

/// What a node holds, and what has been done to it.
#[derive(Default, Debug, Clone)]
pub struct World {
    pub files: BTreeMap<String, String>,
    pub services: BTreeMap<String, String>,
    /// Command lines in the order in which they were run.
    pub commands: Vec<String>,
    /// Ids of tasks in the order in which their effect happened.
    pub effects: Vec<String>,
    /// Raw arguments that arrived, for looking for secrets.
    pub arrived: Vec<Json>,
}

#[derive(Default)]
pub struct Agent {
    world: World,
    /// The agent's journal: started without a result, or with one.
    journal: HashMap<String, Option<TaskResult>>,
    connections: u64,
    /// Reboots so far, and the connection that the newest one is through with.
    boots: u64,
    up_at: u64,
    /// Tasks that it still does before one fails without having done anything.
    pub fails_after: Option<u64>,
}

impl Agent {
    fn fails_now(&mut self) -> bool {
        match self.fails_after {
            Some(0) => self.fails_after.take().is_some(),
            Some(left) => {
                self.fails_after = Some(left - 1);
                false
            }
            None => false,
        }
    }
}

/// All nodes, and the faults that happen to them.
#[derive(Default)]
pub struct Sim {
    pub agents: Mutex<BTreeMap<String, Arc<Mutex<Agent>>>>,
    /// Connections are cut at random moments; 0: never.
    pub seed: u64,
    /// Nodes that do not answer at all.
    pub dead: Vec<String>,
    /// Nodes that answer with noise.
    pub hostile: Vec<String>,
    /// Nodes that answer every task with output without end.
    pub flooding: Vec<String>,
    /// Nodes that take every task and never answer.
    pub hanging: Vec<String>,
    /// Begins and ends of commands on all nodes, as they happen: node, `begin` or `end`, command line.
    pub happened: Happened,
}

pub type Happened = Arc<Mutex<Vec<(String, &'static str, String)>>>;

impl Sim {
    pub fn world(&self, node: &str) -> World {
        self.agent(node).lock().unwrap().world.clone()
    }

    pub fn connections(&self, node: &str) -> u64 {
        self.agent(node).lock().unwrap().connections
    }

    pub fn agent(&self, node: &str) -> Arc<Mutex<Agent>> {
        self.agents
            .lock()
            .unwrap()
            .entry(node.to_owned())
            .or_default()
            .clone()
    }
}

#[async_trait]
impl Transport for Sim {
    async fn reach(&self, host: &HostSpec) -> Result<Box<dyn Reached>, ConnectError> {
        Ok(Node::with(self.open(host)?))
    }
}

/// A node whose one stream is open already, and which has its agent.
pub struct Node(Mutex<Option<Box<dyn Stream>>>);

impl Node {
    pub fn with(stream: Box<dyn Stream>) -> Box<dyn Reached> {
        Box::new(Node(Mutex::new(Some(stream))))
    }
}

#[async_trait]
impl Reached for Node {
    async fn attach(&self) -> Result<Box<dyn Stream>, ConnectError> {
        Ok(self.0.lock().unwrap().take().expect("attached once"))
    }

    async fn install_agent(&self) -> Result<(), ConnectError> {
        Ok(())
    }
}

impl Sim {
    fn open(&self, host: &HostSpec) -> Result<Box<dyn Stream>, ConnectError> {
        if self.dead.contains(&host.name) {
            return Err(ConnectError::Unreachable(format!(
                "`{}`: connection refused",
                host.name
            )));
        }
        let agent = self.agent(&host.name);
        let number = {
            let mut agent = agent.lock().unwrap();
            agent.connections += 1;
            agent.connections
        };
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        if self.hostile.contains(&host.name) {
            tokio::spawn(async move {
                let mut stream = theirs;
                let _ = stream.write_all(&[0xff; 4096]).await;
            });
            return Ok(Box::new(ours));
        }
        if self.flooding.contains(&host.name) || self.hanging.contains(&host.name) {
            tokio::spawn(misbehave(theirs, self.flooding.contains(&host.name)));
            return Ok(Box::new(ours));
        }
        let faults = (self.seed != 0).then(|| Random(mix(self.seed, &host.name, number)));
        let (name, happened) = (host.name.clone(), self.happened.clone());
        tokio::spawn(serve(name, agent, theirs, faults, happened));
        Ok(Box::new(ours))
    }
}

/// Greets, and then says nothing that helps: output of the task for ever, or nothing at all.
async fn misbehave(mut stream: DuplexStream, floods: bool) {
    let hello = FromAgent::Hello {
        protocol: PROTOCOL,
        agent_sha256: "simulated".to_owned(),
        boot_id: "0".to_owned(),
    };
    let _ = stream.write_all(&encode(&hello).unwrap()).await;
    let mut buffer = Vec::new();
    loop {
        let message = match decode::<ToAgent>(&mut buffer) {
            Ok(Some(message)) => message,
            _ => match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            },
        };
        let ToAgent::Task(task) = message else {
            continue;
        };
        if !floods {
            continue;
        }
        loop {
            let output = FromAgent::Output {
                id: task.id.clone(),
                text: "x".repeat(10_000),
            };
            // Time passes, or the deadline would never come in a test whose clock stands still.
            tokio::time::sleep(Duration::from_millis(5)).await;
            if stream.write_all(&encode(&output).unwrap()).await.is_err() {
                return;
            }
        }
    }
}

/// A small generator, so that a seed gives the same faults everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn mix(seed: u64, name: &str, number: u64) -> u64 {
    name.bytes()
        .fold(seed.wrapping_mul(31).wrapping_add(number), |sum, byte| {
            sum.wrapping_mul(1_099_511_628_211)
                .wrapping_add(u64::from(byte))
        })
}

/// One attach. With faults the stream ends before or after some message, and the world's change may be done or not.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    name: String,
    agent: Arc<Mutex<Agent>>,
    mut stream: S,
    mut faults: Option<Random>,
    happened: Happened,
) {
    let mut buffer = Vec::new();
    let mut cut = |chance: u64| {
        faults
            .as_mut()
            .is_some_and(|random| random.below(100) < chance)
    };
    loop {
        let message = match decode::<ToAgent>(&mut buffer) {
            Ok(Some(message)) => message,
            Ok(None) => match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            },
            Err(_) => return,
        };
        let answer = match message {
            ToAgent::Hello { .. } => {
                let agent = agent.lock().unwrap();
                // For a while the old boot still answers.
                let boot = agent.boots - u64::from(agent.connections < agent.up_at);
                FromAgent::Hello {
                    protocol: PROTOCOL,
                    agent_sha256: "simulated".to_owned(),
                    boot_id: boot.to_string(),
                }
            }
            ToAgent::Cancel { id } => {
                let result = TaskResult {
                    failed: true,
                    msg: "cancelled".to_owned(),
                    ..TaskResult::default()
                };
                FromAgent::Done { id, result }
            }
            ToAgent::Task(task) => {
                if cut(15) {
                    return;
                }
                if task.module == "hang" {
                    continue;
                }
                let line = task
                    .args
                    .get("cmd")
                    .and_then(Json::as_str)
                    .unwrap_or_default();
                let note = |what| {
                    if task.module == "command" && !task.check {
                        let entry = (name.clone(), what, line.to_owned());
                        happened.lock().unwrap().push(entry);
                    }
                };
                note("begin");
                if let Some(seconds) = line.strip_prefix("sleep ").filter(|_| !task.check) {
                    tokio::time::sleep(Duration::from_secs(seconds.parse().unwrap())).await;
                }
                let answer = answer(&agent, &task);
                note("end");
                // The result is in the agent's journal, the controller does not hear of it.
                if cut(15) {
                    return;
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
                answer
            }
        };
        if stream.write_all(&encode(&answer).unwrap()).await.is_err() {
            return;
        }
        if cut(10) {
            return;
        }
    }
}

fn answer(agent: &Mutex<Agent>, task: &Task) -> FromAgent {
    let mut agent = agent.lock().unwrap();
    let id = task.id.clone();
    match agent.journal.get(&id) {
        Some(Some(result)) => {
            return FromAgent::Done {
                id,
                result: result.clone(),
            };
        }
        Some(None) if task.module == "command" => return FromAgent::Interrupted { id },
        _ => {}
    }
    agent.journal.insert(id.clone(), None);
    agent
        .world
        .arrived
        .push(json!({"module": task.module, "args": task.args, "environment": task.environment}));
    let result = match task.module.as_str() {
        "reboot" if !task.check => {
            let old = agent.boots.to_string();
            agent.boots += 1;
            agent.up_at = agent.connections + 3;
            agent.world.effects.push(task.id.clone());
            let data = json!({"rebooting": true, "rebooted": false, "boot_id": old});
            TaskResult {
                changed: true,
                data: data.as_object().cloned().unwrap(),
                ..TaskResult::default()
            }
        }
        _ if agent.fails_now() => TaskResult {
            failed: true,
            msg: "injected".to_owned(),
            ..TaskResult::default()
        },
        _ => module(&mut agent.world, task),
    };
    agent.journal.insert(id.clone(), Some(result.clone()));
    FromAgent::Done { id, result }
}

/// Enough of a few modules to tell changed from unchanged.
fn module(world: &mut World, task: &Task) -> TaskResult {
    let text = |name: &str| {
        task.args
            .get(name)
            .map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
    };
    let changed = |changed: bool| TaskResult {
        changed,
        ..TaskResult::default()
    };
    let failed = |msg: &str| TaskResult {
        failed: true,
        msg: msg.to_owned(),
        ..TaskResult::default()
    };
    match task.module.as_str() {
        "ping" => changed(false),
        "setup" => {
            let facts =
                json!({"ansible_hostname": "sim", "ansible_default_ipv4": {"address": "10.0.0.1"}});
            TaskResult {
                data: [("ansible_facts".to_owned(), facts)].into_iter().collect(),
                ..changed(false)
            }
        }
        "copy" | "template" => {
            let (dest, content) = (
                text("dest").unwrap_or_default(),
                text("content").unwrap_or_default(),
            );
            let before = world.files.get(&dest).cloned().unwrap_or_default();
            if world.files.get(&dest) == Some(&content) {
                return changed(false);
            }
            if !task.check {
                world.effects.push(task.id.clone());
                world.files.insert(dest.clone(), content.clone());
            }
            let diff = vec![Diff {
                header: dest,
                before,
                after: content,
            }];
            TaskResult {
                diff: if task.diff { diff } else { Vec::new() },
                ..changed(true)
            }
        }
        "stat" => {
            let exists = world.files.contains_key(&text("path").unwrap_or_default());
            TaskResult {
                data: [("stat".to_owned(), json!({"exists": exists}))]
                    .into_iter()
                    .collect(),
                ..changed(false)
            }
        }
        "service" => {
            let (name, wanted) = (
                text("name").unwrap_or_default(),
                text("state").unwrap_or_default(),
            );
            if wanted == "started" && world.services.contains_key(&name) {
                return changed(false);
            }
            if !task.check {
                world.effects.push(task.id.clone());
                world.services.insert(name, wanted);
            }
            changed(true)
        }
        "command" => {
            let line = text("cmd").unwrap_or_default();
            if task.check {
                return TaskResult {
                    skipped: true,
                    msg: "Command was not run in check mode".to_owned(),
                    ..changed(false)
                };
            }
            world.effects.push(task.id.clone());
            world.commands.push(line.clone());
            let count = world
                .commands
                .iter()
                .filter(|other| **other == line)
                .count();
            let mut result = match line.strip_prefix("false") {
                Some(_) => failed("non-zero return code"),
                None => changed(true),
            };
            let user = task
                .become_user
                .clone()
                .unwrap_or_else(|| "root".to_owned());
            result.data.insert(
                "stdout".to_owned(),
                json!(line.strip_prefix("echo ").unwrap_or(&line)),
            );
            result
                .data
                .insert("rc".to_owned(), json!(i32::from(result.failed)));
            result.data.insert("count".to_owned(), json!(count));
            result.data.insert("user".to_owned(), json!(user));
            result
        }
        other => failed(&format!("there is no module `{other}`")),
    }
}
