//! A client of one OVSDB database (RFC 7047): keeps a replica of the tables it monitors, sends transactions,
//! answers the server's probes, and connects again by itself. Deliberately does not know OVN: which tables
//! matter and what their rows mean is the caller's business.
//!
//! ```text
//!  Database (handle) ──mpsc──► task: connect ─► get_schema ─► monitor ─► serve ─┐
//!       ▲  replica, version                ▲                                   │ lost: back-off
//!       └──────────────── watch ◄──────────┴───────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::datum::Datum;
use super::framing::JsonObjects;
use super::tls::{self, TlsFiles};

/// How long a connection attempt, the schema or the first content may take.
const SETUP_LIMIT: Duration = Duration::from_secs(30);
/// How long a transaction may take. ovsdb-server itself drops peers that are silent for 5 s.
const TRANSACT_LIMIT: Duration = Duration::from_secs(30);
/// After this much silence we probe the server; after three times as much the connection counts as lost.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(8);
/// Transactions that may wait to be sent.
const QUEUE: usize = 64;

/// Why a transaction was not carried out, or why a database cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum OvsdbError {
    #[error(
        "`{0}` is not an OVSDB remote; write ssl:ADDRESS:PORT, tcp:ADDRESS:PORT or unix:PATH, several with commas between"
    )]
    Remote(String),
    #[error("`{0}` needs the files of a certificate: see [ovn.tls]")]
    NoCertificate(String),
    #[error("cannot reach database {database} at {remote}")]
    Connect {
        database: String,
        remote: String,
        #[source]
        source: std::io::Error,
    },
    #[error("no connection to database {0}")]
    NotConnected(String),
    #[error("database {database} did not answer {what} within {limit:?}")]
    TimedOut {
        database: String,
        what: &'static str,
        limit: Duration,
    },
    #[error("the connection to database {database} broke")]
    Broken {
        database: String,
        #[source]
        source: std::io::Error,
    },
    #[error("database {database} said something that RFC 7047 does not allow: {what}")]
    Protocol { database: String, what: String },
    /// The `error` and `details` of RFC 7047 section 4.1.3.
    #[error("database {database} refused the transaction: {error}: {details}")]
    Refused {
        database: String,
        error: String,
        details: String,
    },
}

/// One row of a monitored table, by column.
pub type Row = BTreeMap<String, Datum>;

/// The monitored content as of the last update.
#[derive(Debug, Default, Clone)]
pub struct Replica {
    tables: HashMap<String, HashMap<String, Row>>,
}

impl Replica {
    /// The rows of a table by UUID; empty for a table that is not monitored.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (&String, &Row)> {
        self.tables.get(table).into_iter().flatten()
    }

    /// Applies `<table-updates>` (RFC 7047 section 4.1.6).
    pub(super) fn apply(&mut self, updates: &Value) -> Result<(), String> {
        let tables = updates
            .as_object()
            .ok_or("table updates are not an object")?;
        for (table, rows) in tables {
            let known = self.tables.entry(table.clone()).or_default();
            for (uuid, update) in rows.as_object().ok_or("row updates are not an object")? {
                let Some(new) = update.get("new").and_then(Value::as_object) else {
                    known.remove(uuid);
                    continue;
                };
                let mut row = Row::new();
                for (column, value) in new {
                    let datum = Datum::decode(value)
                        .ok_or_else(|| format!("{table}.{column} holds {value}"))?;
                    row.insert(column.clone(), datum);
                }
                known.insert(uuid.clone(), row);
            }
        }
        Ok(())
    }
}

/// What is asked of a database: its name, where it is, and the tables and columns to keep.
#[derive(Debug, Clone)]
pub struct DatabaseSpec {
    pub name: &'static str,
    /// `ssl:ADDRESS:PORT`, `tcp:ADDRESS:PORT` or `unix:PATH`; several, with commas between, are tried in turn.
    pub remote: String,
    /// For `ssl` remotes.
    pub tls: Option<TlsFiles>,
    /// Columns that the server's schema lacks (an older OVN) are left out.
    pub monitored: &'static [(&'static str, &'static [&'static str])],
}

struct Transaction {
    operations: Vec<Value>,
    reply: oneshot::Sender<Result<Vec<Value>, OvsdbError>>,
}

/// A handle on the database; cheap to clone.
#[derive(Clone)]
pub struct Database {
    name: &'static str,
    shared: Arc<Shared>,
    transactions: mpsc::Sender<Transaction>,
    version: watch::Receiver<u64>,
}

#[derive(Default)]
struct Shared {
    content: RwLock<Content>,
}

#[derive(Default)]
struct Content {
    connected: bool,
    replica: Replica,
    schema: BTreeMap<String, BTreeSet<String>>,
}

impl Database {
    /// Starts the task that keeps the connection, on `tasks`, until `shutdown`.
    pub fn open(
        spec: DatabaseSpec,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Database, OvsdbError> {
        let remotes = spec
            .remote
            .split(',')
            .map(|remote| Remote::parse(remote, spec.tls.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let (transactions, queue) = mpsc::channel(QUEUE);
        let (changed, version) = watch::channel(0);
        let shared = Arc::new(Shared::default());
        let name = spec.name;
        let keeper = Keeper {
            spec,
            remotes,
            shared: shared.clone(),
            changed,
        };
        tasks.spawn(async move { keeper.run(queue, shutdown).await });
        Ok(Database {
            name,
            shared,
            transactions,
            version,
        })
    }

    /// Calls `look` with the replica, or fails while there is no connection: old content is not shown as new.
    pub fn read<T>(&self, look: impl FnOnce(&Replica, &Schema<'_>) -> T) -> Result<T, OvsdbError> {
        let content = self
            .shared
            .content
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if !content.connected {
            return Err(OvsdbError::NotConnected(self.name.to_owned()));
        }
        Ok(look(
            &content.replica,
            &Schema {
                tables: &content.schema,
            },
        ))
    }

    /// Changes whenever the content or the connection changed.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.clone()
    }

    /// Carries out the operations in one transaction; the results are those of RFC 7047 section 5.2.
    pub async fn transact(&self, operations: Vec<Value>) -> Result<Vec<Value>, OvsdbError> {
        let (reply, answer) = oneshot::channel();
        let limit = TRANSACT_LIMIT;
        let timed_out = || OvsdbError::TimedOut {
            database: self.name.to_owned(),
            what: "a transaction",
            limit,
        };
        let send = async {
            let gone = || OvsdbError::NotConnected(self.name.to_owned());
            self.transactions
                .send(Transaction { operations, reply })
                .await
                .map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        timeout(limit, send).await.map_err(|_| timed_out())?
    }
}

/// Tables and columns that the server has.
pub struct Schema<'a> {
    tables: &'a BTreeMap<String, BTreeSet<String>>,
}

impl Schema<'_> {
    pub fn has(&self, table: &str, column: &str) -> bool {
        self.tables
            .get(table)
            .is_some_and(|columns| columns.contains(column))
    }
}

#[derive(Debug, Clone)]
enum Remote {
    Ssl(String, TlsFiles),
    Tcp(String),
    Unix(String),
}

impl Remote {
    fn parse(text: &str, tls: Option<&TlsFiles>) -> Result<Remote, OvsdbError> {
        match text.trim().split_once(':') {
            Some(("ssl", address)) if address.contains(':') => match tls {
                Some(files) => Ok(Remote::Ssl(address.to_owned(), files.clone())),
                None => Err(OvsdbError::NoCertificate(text.trim().to_owned())),
            },
            Some(("tcp", address)) if address.contains(':') => Ok(Remote::Tcp(address.to_owned())),
            Some(("unix", path)) if !path.is_empty() => Ok(Remote::Unix(path.to_owned())),
            _ => Err(OvsdbError::Remote(text.to_owned())),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Ssl(address, _) => write!(f, "ssl:{address}"),
            Remote::Tcp(address) => write!(f, "tcp:{address}"),
            Remote::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Wire = Framed<Box<dyn Stream>, JsonObjects>;

/// The task behind a [`Database`].
struct Keeper {
    spec: DatabaseSpec,
    remotes: Vec<Remote>,
    shared: Arc<Shared>,
    changed: watch::Sender<u64>,
}

impl Keeper {
    async fn run(self, mut queue: mpsc::Receiver<Transaction>, shutdown: CancellationToken) {
        let mut back_off = Duration::from_millis(100);
        for remote in self.remotes.iter().cycle() {
            let connected = tokio::select! {
                () = shutdown.cancelled() => return,
                connected = self.connect(remote) => connected,
            };
            let lost = match connected {
                Ok(mut wire) => {
                    back_off = Duration::from_millis(100);
                    tracing::info!(database = self.spec.name, %remote, "connected");
                    let served = self.serve(&mut wire, &mut queue, &shutdown).await;
                    self.publish(|content| content.connected = false);
                    match served {
                        Ok(()) => return,
                        Err(lost) => lost,
                    }
                }
                Err(failed) => failed,
            };
            tracing::warn!(database = self.spec.name, error = %chain(&lost), "will connect again");
            let pause = tokio::time::sleep(back_off);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = &mut pause => break,
                    transaction = queue.recv() => match transaction {
                        // Who waits learns now that nothing was done; he has his own way of trying again.
                        Some(Transaction { reply, .. }) => _ = reply.send(Err(self.not_connected())),
                        None => return,
                    },
                }
            }
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }

    async fn connect(&self, remote: &Remote) -> Result<Wire, OvsdbError> {
        let setup = async {
            let stream = open_stream(remote).await;
            let stream = stream.map_err(|source| OvsdbError::Connect {
                database: self.spec.name.to_owned(),
                remote: remote.to_string(),
                source,
            })?;
            let mut wire = Framed::new(stream, JsonObjects::default());
            let schema = parse_schema(
                &self
                    .call(&mut wire, "get_schema", json!([self.spec.name]))
                    .await?,
            );
            let content = self
                .call(&mut wire, "monitor", self.monitor_request(&schema))
                .await?;
            let mut replica = Replica::default();
            replica
                .apply(&content)
                .map_err(|what| self.protocol(what))?;
            self.publish(|shared| {
                *shared = Content {
                    connected: true,
                    replica,
                    schema,
                }
            });
            Ok(wire)
        };
        let timed_out = || OvsdbError::TimedOut {
            database: self.spec.name.to_owned(),
            what: "the first request",
            limit: SETUP_LIMIT,
        };
        timeout(SETUP_LIMIT, setup).await.map_err(|_| timed_out())?
    }

    fn monitor_request(&self, schema: &BTreeMap<String, BTreeSet<String>>) -> Value {
        let mut requests = serde_json::Map::new();
        for (table, columns) in self.spec.monitored {
            if let Some(known) = schema.get(*table) {
                let present: Vec<_> = columns
                    .iter()
                    .filter(|column| known.contains(**column))
                    .collect();
                requests.insert((*table).to_owned(), json!({ "columns": present }));
            }
        }
        json!([self.spec.name, Value::Null, requests])
    }

    /// One call while nothing else is under way; probes are answered meanwhile.
    async fn call(
        &self,
        wire: &mut Wire,
        method: &str,
        params: Value,
    ) -> Result<Value, OvsdbError> {
        self.send(
            wire,
            json!({"method": method, "params": params, "id": method}),
        )
        .await?;
        loop {
            let message = self.receive(wire).await?;
            if message["id"] == method && message.get("method").is_none() {
                return match &message["error"] {
                    Value::Null => Ok(message["result"].clone()),
                    error => Err(self.refused(error)),
                };
            }
            self.answer_echo(wire, &message).await?;
        }
    }

    /// Serves one connection. `Ok` means that nobody wants it any more.
    async fn serve(
        &self,
        wire: &mut Wire,
        queue: &mut mpsc::Receiver<Transaction>,
        shutdown: &CancellationToken,
    ) -> Result<(), OvsdbError> {
        let mut waiting: HashMap<u64, oneshot::Sender<Result<Vec<Value>, OvsdbError>>> =
            HashMap::new();
        let mut next_id = 0u64;
        let mut heard = Instant::now();
        let mut probe = tokio::time::interval(PROBE_INTERVAL);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                transaction = queue.recv() => {
                    let Some(Transaction { operations, reply }) = transaction else { return Ok(()) };
                    next_id += 1;
                    waiting.insert(next_id, reply);
                    let mut params = vec![json!(self.spec.name)];
                    params.extend(operations);
                    self.send(wire, json!({"method": "transact", "params": params, "id": next_id})).await?;
                }
                message = self.receive(wire) => {
                    let message = message?;
                    heard = Instant::now();
                    match message.get("method").and_then(Value::as_str) {
                        Some("update") => {
                            let updates = message["params"].get(1).cloned().unwrap_or(Value::Null);
                            let mut failed = None;
                            self.publish(|content| failed = content.replica.apply(&updates).err());
                            if let Some(what) = failed {
                                return Err(self.protocol(what));
                            }
                        }
                        Some(_) => self.answer_echo(wire, &message).await?,
                        None => {
                            if let Some(reply) = message["id"].as_u64().and_then(|id| waiting.remove(&id)) {
                                // The caller may have stopped waiting; then nobody wants the answer.
                                _ = reply.send(self.transaction_result(&message));
                            }
                        }
                    }
                }
                _ = probe.tick() => {
                    if heard.elapsed() > 3 * PROBE_INTERVAL {
                        return Err(OvsdbError::TimedOut { database: self.spec.name.to_owned(), what: "a probe", limit: 3 * PROBE_INTERVAL });
                    }
                    if heard.elapsed() >= PROBE_INTERVAL {
                        self.send(wire, json!({"method": "echo", "params": [], "id": "probe"})).await?;
                    }
                }
            }
        }
    }

    /// A transaction failed if any of its operations did; one element more than operations tells of the commit.
    fn transaction_result(&self, message: &Value) -> Result<Vec<Value>, OvsdbError> {
        if !message["error"].is_null() {
            return Err(self.refused(&message["error"]));
        }
        let results = message["result"]
            .as_array()
            .cloned()
            .ok_or_else(|| self.protocol("a result that is no array".into()))?;
        match results
            .iter()
            .find(|result| result.get("error").is_some_and(|error| !error.is_null()))
        {
            Some(failed) => Err(self.refused(failed)),
            None => Ok(results),
        }
    }

    async fn answer_echo(&self, wire: &mut Wire, message: &Value) -> Result<(), OvsdbError> {
        if message["method"] == "echo" {
            self.send(
                wire,
                json!({"result": message["params"], "error": null, "id": message["id"]}),
            )
            .await?;
        }
        Ok(())
    }

    async fn send(&self, wire: &mut Wire, message: Value) -> Result<(), OvsdbError> {
        let timed_out = || OvsdbError::TimedOut {
            database: self.spec.name.to_owned(),
            what: "a message",
            limit: TRANSACT_LIMIT,
        };
        let sent = timeout(TRANSACT_LIMIT, wire.send(message))
            .await
            .map_err(|_| timed_out())?;
        sent.map_err(|source| OvsdbError::Broken {
            database: self.spec.name.to_owned(),
            source,
        })
    }

    async fn receive(&self, wire: &mut Wire) -> Result<Value, OvsdbError> {
        let closed =
            || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server closed it");
        let received = wire.next().await.unwrap_or_else(|| Err(closed()));
        received.map_err(|source| OvsdbError::Broken {
            database: self.spec.name.to_owned(),
            source,
        })
    }

    fn publish(&self, change: impl FnOnce(&mut Content)) {
        change(
            &mut self
                .shared
                .content
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        );
        self.changed.send_modify(|version| *version += 1);
    }

    fn not_connected(&self) -> OvsdbError {
        OvsdbError::NotConnected(self.spec.name.to_owned())
    }

    fn protocol(&self, what: String) -> OvsdbError {
        OvsdbError::Protocol {
            database: self.spec.name.to_owned(),
            what,
        }
    }

    fn refused(&self, error: &Value) -> OvsdbError {
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let (error, details) = match error.get("error") {
            Some(kind) => (
                text(kind),
                error.get("details").map(text).unwrap_or_default(),
            ),
            None => (text(error), String::new()),
        };
        OvsdbError::Refused {
            database: self.spec.name.to_owned(),
            error,
            details,
        }
    }
}

async fn open_stream(remote: &Remote) -> std::io::Result<Box<dyn Stream>> {
    Ok(match remote {
        Remote::Ssl(address, files) => Box::new(tls::connect(address, files).await?),
        Remote::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Remote::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

fn parse_schema(schema: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let tables = schema["tables"].as_object().into_iter().flatten();
    let columns = |table: &Value| {
        table["columns"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    };
    tables
        .map(|(name, table)| (name.clone(), columns(table)))
        .collect()
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
