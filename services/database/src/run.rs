//! The guard at work: one loop looks at the server, decides and acts; one more for each other guard asks what it
//! knows. All that is decided is in `core`; here it is only done, one thing after the other.

use crate::config::Config;
use crate::core::data::Position;
use crate::core::decide::Action;
use crate::core::guard::{Answer, Begin, Guard, Step};
use crate::core::report::Server;
use crate::local::Local;
use crate::peers::Peers;
use crate::state::{Phase, Promised, State, words};
use crate::units::Units;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// Between two looks at the local server.
const LOOK: Duration = Duration::from_millis(400);
/// Between two questions to another guard.
const ASK: Duration = Duration::from_millis(700);
/// After a claim that was refused, so that two claimants do not meet again and again.
const AFTER_REFUSAL: Duration = Duration::from_millis(500);
/// How long a server that was started as the first of its cluster may take to come up: InnoDB may have to recover.
const BEGIN: Duration = Duration::from_secs(900);
/// And then to be Primary.
const BEGIN_RUNNING: Duration = Duration::from_secs(30);

/// What the loops and the HTTP side share.
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    guard: Mutex<Guard>,
    told: Mutex<Told>,
    started: Instant,
}

/// For people: kept beside the guard, decides nothing.
struct Told {
    action: Action,
    since: SystemTime,
    last_error: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held has ended the process's loop; what is in it is still the last known.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// A guard that has looked at nothing yet.
    pub fn new(config: Arc<Config>) -> Self {
        let guard = Guard::new(
            &config.name,
            config.nodes.keys().cloned(),
            config.limits.clone(),
            Duration::ZERO,
        );
        let action = guard.action().clone();
        Self {
            config,
            guard: Mutex::new(guard),
            told: Mutex::new(Told {
                action,
                since: SystemTime::now(),
                last_error: None,
            }),
            started: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        lock(&self.guard)
    }

    /// Whether the load balancer may send users here; if not, why.
    pub fn healthy(&self) -> Result<(), String> {
        let now = self.now();
        let guard = self.guard();
        guard.server(now).serves(guard.others_synced(now))
    }

    /// For `/v1/state`.
    pub fn state(&self) -> State {
        let now = self.now();
        let guard = self.guard();
        let told = lock(&self.told);
        let (why, command) = words(&told.action);
        let why = match guard.pause(now) {
            Some(pause) if matches!(told.action, Action::Join | Action::Bootstrap) => {
                Some(format!(
                    "the server ended {} times; the next start is in {} s",
                    guard.failures(),
                    pause.as_secs() + 1
                ))
            }
            _ => why,
        };
        let mut state = State {
            report: guard.report(now),
            phase: Phase::of(&told.action),
            why,
            command,
            since: chrono::DateTime::<chrono::Utc>::from(told.since)
                .to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            uuid: None,
            seqno: None,
            primary: false,
            members: None,
            view: None,
            last_error: told.last_error.clone(),
            failures: guard.failures(),
        };
        state.fill();
        state
    }

    /// For `/v1/promise`.
    pub fn promise(&self, from: &str) -> Promised {
        let now = self.now();
        let Answer { promised, report } = self.guard().promise(from, now);
        tracing::info!(
            from,
            promised,
            "asked to promise that nothing is begun here"
        );
        Promised { promised, report }
    }

    /// For `/v1/bootstrap`.
    pub fn order(&self) -> Result<(), String> {
        let now = self.now();
        let result = self.guard().order(now);
        match &result {
            Ok(()) => tracing::warn!("the operator orders that the cluster begins here"),
            Err(why) => tracing::warn!(why, "the operator's order is refused"),
        }
        result
    }

    fn failed(&self, what: &str, why: &str) {
        tracing::warn!(why, "{what}");
        lock(&self.told).last_error = Some(format!("{what}: {why}"));
    }

    /// Tells a decision when it is another one than before.
    fn tell(&self, action: &Action) {
        let mut told = lock(&self.told);
        if *action == told.action {
            return;
        }
        if Phase::of(action) != Phase::of(&told.action) {
            told.since = SystemTime::now();
        }
        told.action = action.clone();
        drop(told);
        match action {
            Action::Keep => tracing::info!("the server is in the Primary component"),
            Action::Wait { why } => tracing::info!("waiting: {why}"),
            Action::Join => tracing::info!("starting the server to join the cluster"),
            Action::Bootstrap => {
                tracing::info!("this node has the newest data and begins the cluster")
            }
            Action::PcBootstrap => {
                tracing::info!("this server has the newest data and becomes Primary")
            }
            Action::StopLocal { why } => tracing::warn!("stopping the server: {why}"),
            Action::AskOperator { why, command } => {
                tracing::error!("the operator must decide: {why}: {command}");
            }
        }
    }
}

/// Looks, decides and acts until `shutdown`. `first_synced` is called once, when the server is Synced for the first
/// time. The server is not touched by the end of the guard.
pub async fn work(
    shared: Arc<Shared>,
    units: Arc<dyn Units>,
    peers: Peers,
    shutdown: CancellationToken,
    first_synced: impl FnOnce() + Send,
) {
    let mut worker = Worker {
        local: Local::new(Arc::clone(&shared.config), Arc::clone(&units)),
        shared,
        units,
        peers,
        begun: None,
    };
    let mut first_synced = Some(first_synced);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = worker.turn() => {}
        }
        let server = worker.shared.guard().server(worker.shared.now());
        if server.primary().is_some_and(|running| running.synced())
            && let Some(tell) = first_synced.take()
        {
            tell();
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Asks one other guard for its state, again and again.
pub async fn ask(shared: Arc<Shared>, peers: Peers, name: String, shutdown: CancellationToken) {
    let Some(address) = shared.config.nodes.get(&name).copied() else {
        return;
    };
    let mut silent = false;
    loop {
        let sent = shared.now();
        match peers.state(address).await {
            Ok(state) if state.report.name == name => {
                if silent {
                    tracing::info!(peer = name, "is heard again");
                    silent = false;
                }
                shared.guard().hear(&name, state.report, sent, shared.now());
            }
            Ok(state) => {
                tracing::warn!(
                    peer = name,
                    says = state.report.name,
                    "another guard answers at its address"
                );
            }
            Err(why) if !silent => {
                tracing::warn!(peer = name, why, "is not heard");
                silent = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(ASK) => {}
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    units: Arc<dyn Units>,
    local: Local,
    peers: Peers,
    /// The server was started as the first of the cluster, and is watched until that led somewhere.
    begun: Option<Instant>,
}

impl Worker {
    async fn turn(&mut self) {
        self.look().await;
        self.watch_beginning();
        let now = self.shared.now();
        let (step, action, position) = {
            let mut guard = self.shared.guard();
            if self.local.files_changed() {
                guard.forget_data();
            }
            let position = guard.server(now).data().and_then(|data| data.position());
            let step = guard.next(now);
            (step, guard.action().clone(), position)
        };
        self.shared.tell(&action);
        match step {
            Step::Rest => {}
            Step::ReadData => self.read_data().await,
            Step::Start => {
                let started = self.units.start(false, position).await;
                self.given("the server cannot be started", started).await;
            }
            Step::Stop => {
                let stopped = self.units.stop().await;
                self.given("the server cannot be stopped", stopped).await;
            }
            Step::Claim { ask } => self.claim(&ask, position).await,
        }
    }

    async fn look(&mut self) {
        // What is seen is as old as the question.
        let now = self.shared.now();
        let seen = self.local.look().await;
        let members = match &seen {
            Server::Running(running) if running.primary => running.members,
            _ => 0,
        };
        let ended = self.shared.guard().observe(seen, now);
        metrics::gauge!("database_primary_members").set(members);
        metrics::gauge!("database_healthy").set(u8::from(self.shared.healthy().is_ok()));
        if ended {
            metrics::counter!("database_server_ends").increment(1);
            let lines = self.units.last_lines().await;
            self.shared.failed("the server ended", &lines);
        }
    }

    /// A step was given to the system, or could not be: from here on its doing is seen by looking.
    async fn given(&mut self, what: &str, result: Result<(), String>) {
        if let Err(why) = result {
            self.shared.failed(what, &why);
        }
        self.look().await;
        self.shared.guard().finished();
    }

    async fn read_data(&mut self) {
        let data = self.local.read_data().await;
        match &data {
            Ok(data) => tracing::info!("the server is stopped: {data}"),
            Err(why) => self
                .shared
                .failed("what the data are worth cannot be read", why),
        }
        let now = self.shared.now();
        let mut guard = self.shared.guard();
        guard.data_read(data.ok(), now);
        guard.finished();
    }

    async fn claim(&mut self, ask: &[String], position: Option<Position>) {
        let asked = ask.iter().filter_map(|name| {
            let address = *self.shared.config.nodes.get(name)?;
            let (peers, me) = (&self.peers, &self.shared.config.name);
            Some(async move { (name.clone(), peers.promise(address, me).await) })
        });
        let mut answers = BTreeMap::new();
        for (name, answer) in join_all(asked).await {
            match answer {
                Ok(Promised { promised, report }) => {
                    answers.insert(name, Answer { promised, report });
                }
                Err(why) => tracing::warn!(peer = name, why, "gives no promise"),
            }
        }
        self.look().await;
        let now = self.shared.now();
        let begin = self.shared.guard().promised(answers, now);
        match begin {
            Err(why) => {
                tracing::info!(why, "the cluster does not begin here");
                let names = self.shared.config.nodes.keys();
                let place = names
                    .take_while(|name| **name != self.shared.config.name)
                    .count();
                tokio::time::sleep(AFTER_REFUSAL * u32::try_from(place + 1).unwrap_or(1)).await;
            }
            Ok(Begin::Bootstrap) => {
                metrics::counter!("database_beginnings").increment(1);
                let started = match self.local.make_safe() {
                    Ok(()) => self.units.start(true, position).await,
                    Err(why) => Err(why),
                };
                self.begin("the cluster cannot begin here", started).await;
            }
            Ok(Begin::PcBootstrap) => {
                metrics::counter!("database_beginnings").increment(1);
                let made = self.local.pc_bootstrap().await;
                let made = made.map_err(|error| error.to_string());
                self.begin("the server cannot be made Primary", made).await;
            }
        }
    }

    /// The claim lasts until the beginning led somewhere.
    async fn begin(&mut self, what: &str, result: Result<(), String>) {
        if result.is_err() {
            return self.given(what, result).await;
        }
        self.look().await;
        self.begun = Some(Instant::now());
    }

    fn watch_beginning(&mut self) {
        let Some(begun) = self.begun else { return };
        let mut guard = self.shared.guard();
        let over = match guard.server(self.shared.now()) {
            Server::Stopped { .. } => true,
            Server::Running(running) => running.primary || begun.elapsed() > BEGIN_RUNNING,
            Server::Busy { .. } => begun.elapsed() > BEGIN,
        };
        if over {
            guard.finished();
            self.begun = None;
        }
    }
}
