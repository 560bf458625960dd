//! One node's conversation with its agent: tasks go out, results come back, a dropped connection is resumed.
//!
//! After a reconnection everything that has no result yet is sent again under the same id; the agent runs nothing
//! twice and answers from its journal. How the bytes travel is the [`Transport`]'s business.
use std::sync::Arc;
use std::time::Duration;

use agent_protocol::PROTOCOL;
use agent_protocol::frame::{FrameError, decode, encode, first};
use agent_protocol::task::{FromAgent, Task, TaskResult, ToAgent};
use async_trait::async_trait;
use indexmap::IndexMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use crate::hosts::HostSpec;

mod held;
pub mod known_hosts;
pub mod local;
pub mod per_host;
pub mod ssh;

/// Bytes both ways, with an agent at the other end.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How nodes are reached.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Reaches the node. Everything asked of it afterwards goes over this one connection.
    async fn reach(&self, host: &HostSpec) -> Result<Box<dyn Reached>, ConnectError>;

    /// SHA-256 (hex) of the agent that nodes are to run; `None`: whichever they have.
    fn agent_sha256(&self) -> Option<&str> {
        None
    }
}

/// A node that has been reached. What [`Reached::attach`] gave keeps the connection open by itself.
#[async_trait]
pub trait Reached: Send + Sync {
    /// Opens a stream to the node's agent. A node without one gives a stream that ends at once.
    async fn attach(&self) -> Result<Box<dyn Stream>, ConnectError>;

    /// Puts the wanted agent on the node. Called when there is none, or another one, and at most once a run.
    async fn install_agent(&self) -> Result<(), ConnectError>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Worth another try.
    #[error("{0}")]
    Unreachable(String),
    /// Another try would end the same: wrong host key, key not accepted, other protocol.
    #[error("{0}")]
    Refused(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("{0}")]
    Unreachable(String),
    #[error("no result within {0} seconds")]
    Timeout(u32),
    #[error(
        "interrupted: the agent began this task and cannot say whether it was done, and doing it again could do harm"
    )]
    Interrupted,
    #[error("the task cannot be sent: {0}")]
    Unsendable(String),
}

/// Patience with a node.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For one attempt, up to the agent's greeting.
    pub connect: Duration,
    /// From the first failed attempt until a node that was never reached is given up.
    pub first: Duration,
    /// The same for one whose connection was lost.
    pub give_up: Duration,
    /// Longest pause between attempts.
    pub pause_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(60),
            first: Duration::from_secs(180),
            give_up: Duration::from_secs(180),
            pause_max: Duration::from_secs(5),
        }
    }
}

/// What a link tells beside results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    Connected,
    Waiting(String),
    Output { id: String, text: String },
}

/// A handle to the node's connection; the connection ends when the last handle is gone.
#[derive(Clone)]
pub struct Link {
    asks: mpsc::Sender<Ask>,
}

/// What a link is asked for.
enum Ask {
    Run(Box<Request>),
    Reboot(Reboot),
    Reset,
}

/// The node has begun to reboot.
struct Reboot {
    /// The boot that ends.
    boot_id: String,
    deadline: Instant,
    answer: oneshot::Sender<Result<(), LinkError>>,
}

struct Request {
    task: Task,
    answer: oneshot::Sender<Result<TaskResult, LinkError>>,
    deadline: Instant,
    cancelled: bool,
}

/// Beyond a task's own time limit: for the agent to notice and to answer.
const GRACE: Duration = Duration::from_secs(30);

impl Link {
    /// Starts the link; it connects when the first task comes.
    pub fn start(
        host: HostSpec,
        run: String,
        transport: Arc<dyn Transport>,
        patience: Patience,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let (asks, inbox) = mpsc::channel(64);
        let actor = Actor {
            host,
            run,
            transport,
            patience,
            events,
            inbox,
            open: IndexMap::new(),
            reboot: None,
            shown: None,
            installed: false,
            closed: false,
            losses: 0,
            reached: false,
        };
        tokio::spawn(actor.work());
        Link { asks }
    }

    /// Runs one task on the node and waits for its result, across reconnections.
    pub async fn run(&self, task: Task) -> Result<TaskResult, LinkError> {
        let gone = || LinkError::Unreachable("the connection has been given up".to_owned());
        let deadline =
            Instant::now() + Duration::from_secs(u64::from(task.timeout_seconds)) + GRACE;
        let (answer, result) = oneshot::channel();
        let request = Request {
            task,
            answer,
            deadline,
            cancelled: false,
        };
        self.asks
            .send(Ask::Run(Box::new(request)))
            .await
            .map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// Ends the connection: the next task makes a new one, and what is open now is asked again there.
    pub async fn reset(&self) {
        // A link that is gone has no connection.
        let _ = self.asks.send(Ask::Reset).await;
    }

    /// Waits until the node, which has begun to reboot, answers in another boot than `boot_id`.
    pub async fn rebooted(&self, boot_id: &str, within: Duration) -> Result<(), LinkError> {
        let gone = || LinkError::Unreachable("the connection has been given up".to_owned());
        let (answer, result) = oneshot::channel();
        let reboot = Reboot {
            boot_id: boot_id.to_owned(),
            deadline: Instant::now() + within,
            answer,
        };
        self.asks
            .send(Ask::Reboot(reboot))
            .await
            .map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

struct Actor {
    host: HostSpec,
    run: String,
    transport: Arc<dyn Transport>,
    patience: Patience,
    events: mpsc::Sender<LinkEvent>,
    inbox: mpsc::Receiver<Ask>,
    /// Sent or to be sent, without a result, in their order.
    open: IndexMap<String, Request>,
    /// A reboot that is to be waited for before anything else.
    reboot: Option<Reboot>,
    /// When output was passed on last.
    shown: Option<Instant>,
    installed: bool,
    closed: bool,
    /// Connections lost since the last result.
    losses: u32,
    /// There was a connection in this run.
    reached: bool,
}

/// A node that takes a task and drops the connection this often, without one result between, is given up.
const LOSSES_MAX: u32 = 12;

/// A peer that reads nothing for so long is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two pieces of output that are passed on, and the length of one.
const OUTPUT_PAUSE: Duration = Duration::from_millis(50);
const OUTPUT_CHARS_MAX: usize = 4096;

/// Between two looks whether a node is up again, and for one of them.
const REBOOT_PAUSE: Duration = Duration::from_secs(1);
const REBOOT_LOOK: Duration = Duration::from_secs(20);

struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// The boot of the node that answers.
    boot_id: String,
}

enum Lost {
    /// The node reboots, or a new connection is wanted.
    OnPurpose,
    Connection(String),
    Protocol(String),
}

impl Actor {
    async fn work(mut self) {
        let mut connection: Option<Connection> = None;
        loop {
            if let Some(reboot) = self.reboot.take() {
                drop(connection.take());
                connection = self.await_boot(reboot).await;
            }
            if self.open.is_empty() {
                if self.closed {
                    return;
                }
                // Idle: nothing is read here. A connection that dropped meanwhile is noticed at the next task.
                match self.inbox.recv().await {
                    Some(Ask::Run(request)) => self.take(*request),
                    Some(Ask::Reboot(reboot)) => {
                        self.reboot = Some(reboot);
                        continue;
                    }
                    Some(Ask::Reset) => {
                        drop(connection.take());
                        continue;
                    }
                    None => return,
                };
                if let Some(mut live) = connection.take()
                    && self.send_open(&mut live).await.is_ok()
                {
                    connection = Some(live);
                }
            }
            let mut live = match connection.take() {
                Some(live) => live,
                None => match self.connect().await {
                    Ok(live) => live,
                    Err(error) => {
                        self.give_up(&error.to_string());
                        continue;
                    }
                },
            };
            match self.converse(&mut live).await {
                Ok(()) => connection = Some(live),
                Err(Lost::OnPurpose) => {}
                Err(Lost::Connection(reason)) => {
                    self.losses += 1;
                    if self.losses > LOSSES_MAX {
                        self.give_up(&format!(
                            "the connection was lost {LOSSES_MAX} times in a row: {reason}"
                        ));
                    } else {
                        self.tell(LinkEvent::Waiting(reason)).await;
                    }
                }
                Err(Lost::Protocol(reason)) => self.give_up(&reason),
            }
        }
    }

    /// Sends and receives until nothing is open.
    async fn converse(&mut self, live: &mut Connection) -> Result<(), Lost> {
        while !self.open.is_empty() {
            let deadline = self.open.values().map(|request| request.deadline).min();
            let deadline = deadline.unwrap_or_else(|| Instant::now() + GRACE);
            tokio::select! {
                request = self.inbox.recv(), if !self.closed => match request {
                    Some(Ask::Run(request)) => {
                        let id = self.take(*request);
                        self.send_one(live, &id).await?;
                    }
                    Some(Ask::Reboot(reboot)) => {
                        self.reboot = Some(reboot);
                        return Err(Lost::OnPurpose);
                    }
                    Some(Ask::Reset) => return Err(Lost::OnPurpose),
                    None => self.closed = true,
                },
                read = live.stream.read_buf(&mut live.buffer) => match read {
                    Ok(0) => return Err(Lost::Connection("the connection was closed".to_owned())),
                    Ok(_) => self.receive(live).await?,
                    Err(error) => return Err(Lost::Connection(error.to_string())),
                },
                () = tokio::time::sleep_until(deadline) => self.expire(live).await?,
            }
        }
        Ok(())
    }

    fn take(&mut self, request: Request) -> String {
        let id = request.task.id.clone();
        self.open.insert(id.clone(), request);
        id
    }

    async fn receive(&mut self, live: &mut Connection) -> Result<(), Lost> {
        let mut taken = 0;
        loop {
            let message = first::<FromAgent>(&live.buffer[taken..]).map_err(|error| {
                Lost::Protocol(format!("the node's agent speaks another language: {error}"))
            })?;
            let Some((message, length)) = message else {
                live.buffer.drain(..taken);
                return Ok(());
            };
            taken += length;
            let (id, result) = match message {
                FromAgent::Hello { .. } => continue,
                FromAgent::Output { id, text } => {
                    self.output(id, text);
                    continue;
                }
                FromAgent::Done { id, result } => (id, Ok(result)),
                FromAgent::Interrupted { id } => (id, Err(LinkError::Interrupted)),
            };
            if let Some(request) = self.open.shift_remove(&id) {
                self.losses = 0;
                let result = match request.cancelled {
                    true => Err(LinkError::Timeout(request.task.timeout_seconds)),
                    false => result,
                };
                let _ = request.answer.send(result);
            }
        }
    }

    /// Passes output on for the live line: not more than one can read, and nothing when nobody keeps up.
    fn output(&mut self, id: String, mut text: String) {
        let now = Instant::now();
        if self.shown.is_some_and(|shown| now - shown < OUTPUT_PAUSE) {
            return;
        }
        self.shown = Some(now);
        if let Some((end, _)) = text.char_indices().nth(OUTPUT_CHARS_MAX) {
            text.truncate(end);
        }
        let _ = self.events.try_send(LinkEvent::Output { id, text });
    }

    /// Cancels what is overdue; what is still there one grace later has no result.
    async fn expire(&mut self, live: &mut Connection) -> Result<(), Lost> {
        let now = Instant::now();
        let overdue: Vec<String> = self
            .open
            .iter()
            .filter(|(_, request)| request.deadline <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in overdue {
            let Some(request) = self.open.get_mut(&id) else {
                continue;
            };
            if request.cancelled {
                if let Some(request) = self.open.shift_remove(&id) {
                    let _ = request
                        .answer
                        .send(Err(LinkError::Timeout(request.task.timeout_seconds)));
                }
                continue;
            }
            request.cancelled = true;
            request.deadline = now + GRACE;
            write(live, &ToAgent::Cancel { id }).await?;
        }
        Ok(())
    }

    /// Looks again and again until the node answers in another boot.
    async fn await_boot(&mut self, reboot: Reboot) -> Option<Connection> {
        loop {
            let left = reboot.deadline.saturating_duration_since(Instant::now());
            match timeout(REBOOT_LOOK.min(left), self.attempt()).await {
                Ok(Ok(live)) if live.boot_id != reboot.boot_id => {
                    self.tell(LinkEvent::Connected).await;
                    let _ = reboot.answer.send(Ok(()));
                    return Some(live);
                }
                Ok(Err(ConnectError::Refused(reason))) => {
                    let _ = reboot.answer.send(Err(LinkError::Unreachable(reason)));
                    return None;
                }
                _ => {}
            }
            if Instant::now() >= reboot.deadline {
                let late = "it did not come back from its reboot in time".to_owned();
                let _ = reboot.answer.send(Err(LinkError::Unreachable(late)));
                return None;
            }
            sleep(REBOOT_PAUSE).await;
        }
    }

    /// Connects, greets, puts the right agent there if need be, and sends what is open.
    async fn connect(&mut self) -> Result<Connection, ConnectError> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(200);
        let mut told = String::new();
        loop {
            let error = match timeout(self.patience.connect, self.attempt()).await {
                Ok(Ok(connection)) => {
                    self.reached = true;
                    self.tell(LinkEvent::Connected).await;
                    return Ok(connection);
                }
                Ok(Err(error @ ConnectError::Refused(_))) => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => ConnectError::Unreachable(format!(
                    "no answer within {} seconds",
                    self.patience.connect.as_secs_f32()
                )),
            };
            let most = match self.reached {
                true => self.patience.give_up,
                false => self.patience.first,
            };
            if began.elapsed() + pause > most {
                return Err(error);
            }
            // Once for each cause: it can take minutes.
            let reason = error.to_string();
            if reason != told {
                self.tell(LinkEvent::Waiting(reason.clone())).await;
                told = reason;
            }
            sleep(pause).await;
            pause = (pause * 2).min(self.patience.pause_max);
        }
    }

    async fn attempt(&mut self) -> Result<Connection, ConnectError> {
        let node = self.transport.reach(&self.host).await?;
        loop {
            let stream = node.attach().await?;
            let mut live = Connection {
                stream,
                buffer: Vec::new(),
                boot_id: String::new(),
            };
            let hello = ToAgent::Hello {
                protocol: PROTOCOL,
                run: self.run.clone(),
                node: self.host.name.clone(),
            };
            let greeting = match write(&mut live, &hello).await {
                Ok(()) => greeting(&mut live).await,
                Err(lost) => Err(lost),
            };
            let wanted = self.transport.agent_sha256().map(str::to_owned);
            match greeting {
                Ok((protocol, sha256, boot_id)) => {
                    live.boot_id = boot_id;
                    let right = protocol == PROTOCOL
                        && wanted.as_ref().is_none_or(|wanted| *wanted == sha256);
                    if !right && wanted.is_some() && !self.installed {
                        self.installed = true;
                        node.install_agent().await?;
                        continue;
                    }
                    if protocol != PROTOCOL {
                        return Err(ConnectError::Refused(format!(
                            "the node's agent speaks protocol {protocol}, not {PROTOCOL}"
                        )));
                    }
                }
                Err(_) if wanted.is_some() && !self.installed => {
                    self.installed = true;
                    node.install_agent().await?;
                    continue;
                }
                Err(Lost::Connection(reason)) => {
                    return Err(ConnectError::Unreachable(format!("agent: {reason}")));
                }
                Err(Lost::Protocol(reason)) => return Err(ConnectError::Refused(reason)),
                Err(Lost::OnPurpose) => {}
            }
            return match self.send_open(&mut live).await {
                Ok(()) => Ok(live),
                Err(Lost::Connection(reason) | Lost::Protocol(reason)) => {
                    Err(ConnectError::Unreachable(reason))
                }
                Err(Lost::OnPurpose) => Err(ConnectError::Unreachable("it reboots".to_owned())),
            };
        }
    }

    async fn send_open(&mut self, live: &mut Connection) -> Result<(), Lost> {
        let ids: Vec<String> = self.open.keys().cloned().collect();
        for id in ids {
            self.send_one(live, &id).await?;
        }
        Ok(())
    }

    async fn send_one(&mut self, live: &mut Connection, id: &str) -> Result<(), Lost> {
        let Some(request) = self.open.get(id) else {
            return Ok(());
        };
        match encode(&ToAgent::Task(Box::new(request.task.clone()))) {
            Ok(bytes) => write_bytes(live, &bytes).await,
            // The task is at fault, not the connection.
            Err(error @ (FrameError::TooLong(_) | FrameError::Json(_))) => {
                if let Some(request) = self.open.shift_remove(id) {
                    let _ = request
                        .answer
                        .send(Err(LinkError::Unsendable(error.to_string())));
                }
                Ok(())
            }
        }
    }

    fn give_up(&mut self, reason: &str) {
        for (_, request) in self.open.drain(..) {
            let _ = request
                .answer
                .send(Err(LinkError::Unreachable(reason.to_owned())));
        }
    }

    async fn tell(&self, event: LinkEvent) {
        let _ = self.events.send(event).await;
    }
}

async fn write(live: &mut Connection, message: &ToAgent) -> Result<(), Lost> {
    let bytes = encode(message).map_err(|error| Lost::Protocol(error.to_string()))?;
    write_bytes(live, &bytes).await
}

async fn write_bytes(live: &mut Connection, bytes: &[u8]) -> Result<(), Lost> {
    let writing = async {
        live.stream.write_all(bytes).await?;
        live.stream.flush().await
    };
    match timeout(WRITE_TIMEOUT, writing).await {
        Ok(result) => result.map_err(|error| Lost::Connection(error.to_string())),
        Err(_) => Err(Lost::Connection(format!(
            "the node read nothing for {} seconds",
            WRITE_TIMEOUT.as_secs()
        ))),
    }
}

/// Protocol, SHA-256 and boot from the agent's first message.
async fn greeting(live: &mut Connection) -> Result<(u32, String, String), Lost> {
    loop {
        match decode::<FromAgent>(&mut live.buffer) {
            Ok(Some(FromAgent::Hello {
                protocol,
                agent_sha256,
                boot_id,
            })) => return Ok((protocol, agent_sha256, boot_id)),
            Ok(Some(_)) => {
                return Err(Lost::Protocol(
                    "the node's agent did not greet first".to_owned(),
                ));
            }
            Ok(None) => {}
            Err(error) => {
                return Err(Lost::Protocol(format!(
                    "what answers on the node is no agent: {error}"
                )));
            }
        }
        match live.stream.read_buf(&mut live.buffer).await {
            Ok(0) => return Err(Lost::Connection("it ended before it greeted".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(Lost::Connection(error.to_string())),
        }
    }
}
