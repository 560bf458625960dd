//! The bus over RabbitMQ: quorum queues, publisher confirms, and a reconnect loop of its own.
//!
//! `lapin`'s own recovery is not relied upon: any error, and any confirm that does not come in
//! time, drops the connection, and the loop builds a new one. Does not know what is announced.

use crate::{BACKLOG, Bus, BusError, Subscription};
use async_trait::async_trait;
use futures::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions,
    },
    tcp::OwnedTLSConfig,
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

/// How long the broker may take for one answer.
const OPERATION: Duration = Duration::from_secs(10);
/// How long a broker may take until it lets in; the next one is tried after it. And for a farewell, which a dead one
/// does not answer.
const CONNECT: Duration = Duration::from_secs(3);
const FAREWELL: Duration = Duration::from_secs(1);
/// Heartbeats, seconds: a broker whose machine is gone is noticed after two of them.
const HEARTBEAT: u16 = 4;
/// Bytes in a frame. A connection keeps 64 of them: with the broker's wish of 128 KiB that would be 8 MiB for each
/// subscriber, and wake-ups are small.
const FRAME: u32 = 8192;
/// Pauses between two attempts to connect: each twice the one before.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Messages that one subscriber holds unacknowledged.
const PREFETCH: u16 = 16;

struct Shared {
    /// Tried in turn, from the one that answered last.
    urls: Vec<String>,
    answered: AtomicUsize,
    /// PEM of the authority that signed the brokers' certificates, beside the system's.
    ca: Option<String>,
    closed: CancellationToken,
    publisher: Mutex<Option<Publisher>>,
    /// Topics to be woken: at most as many as there are workers.
    sleeping: std::sync::Mutex<BTreeSet<String>>,
    sleepers: Notify,
}

struct Publisher {
    connection: Connection,
    channel: Channel,
    declared: HashSet<String>,
}

/// The bus over RabbitMQ.
#[derive(Clone)]
pub struct RabbitBus {
    shared: Arc<Shared>,
}

impl RabbitBus {
    /// `amqps://USER:PASSWORD@HOST:PORT/VHOST`, several separated by commas; `ca` as PEM. Connects at first use. Must be
    /// called within a runtime: wake-ups are sent by a task that ends with the bus.
    pub fn connect(urls: &str, ca: Option<String>) -> Self {
        let urls = urls
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(str::to_owned)
            .collect();
        let shared = Shared {
            urls,
            answered: AtomicUsize::new(0),
            ca,
            closed: CancellationToken::new(),
            publisher: Mutex::new(None),
            sleeping: std::sync::Mutex::default(),
            sleepers: Notify::new(),
        };
        let shared = Arc::new(shared);
        tokio::spawn(Arc::clone(&shared).wake_sleepers());
        RabbitBus { shared }
    }
}

impl Shared {
    /// One attempt on each broker.
    async fn open(&self) -> Result<(Connection, Channel), BusError> {
        let mut last = BusError::Broker("no URL is configured".to_owned());
        let first = self.answered.load(Ordering::Relaxed);
        for index in (0..self.urls.len()).map(|step| (first + step) % self.urls.len()) {
            let attempt = async {
                let mut uri: AMQPUri = self.urls[index].parse().map_err(|reason: String| {
                    BusError::Broker(format!("broker's URL: {reason}"))
                })?;
                uri.query.heartbeat.get_or_insert(HEARTBEAT);
                uri.query.frame_max.get_or_insert(FRAME);
                let tls = OwnedTLSConfig {
                    cert_chain: self.ca.clone(),
                    ..OwnedTLSConfig::default()
                };
                let runtime = lapin::runtime::default_runtime()?;
                let properties = ConnectionProperties::default();
                let connection =
                    Connection::connect_uri_with_config(uri, properties, tls, runtime).await?;
                let channel = connection.create_channel().await?;
                Ok::<_, BusError>((connection, channel))
            };
            match tokio::time::timeout(CONNECT, attempt).await {
                Ok(Ok(pair)) => {
                    self.answered.store(index, Ordering::Relaxed);
                    return Ok(pair);
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = BusError::Broker(format!("no connection within {CONNECT:?}")),
            }
        }
        Err(last)
    }

    /// Publishes the wake-ups one after the other, until the bus is closed.
    async fn wake_sleepers(self: Arc<Self>) {
        loop {
            let next = self
                .sleeping
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_first();
            match next {
                Some(topic) => {
                    if let Err(error) = self.publish(&topic, json!({})).await {
                        tracing::debug!(topic, %error, "wake-up lost");
                    }
                }
                None => tokio::select! {
                    () = self.sleepers.notified() => {}
                    () = self.closed.cancelled() => return,
                },
            }
        }
    }

    async fn publish(&self, topic: &str, message: Value) -> Result<(), BusError> {
        if self.closed.is_cancelled() {
            return Err(BusError::Closed);
        }
        let mut slot = self.publisher.lock().await;
        let mut last = BusError::Closed;
        // The second try is on a fresh connection: the first may have found a dead one.
        for _ in 0..2 {
            let mut publisher = match slot.take() {
                Some(publisher) => publisher,
                None => {
                    let (connection, channel) = self.open().await?;
                    in_time(channel.confirm_select(ConfirmSelectOptions::default())).await?;
                    Publisher {
                        connection,
                        channel,
                        declared: HashSet::new(),
                    }
                }
            };
            match publisher.send(topic, &message).await {
                Ok(()) => {
                    *slot = Some(publisher);
                    return Ok(());
                }
                Err(error) => {
                    farewell(&publisher.connection).await;
                    last = error;
                }
            }
        }
        Err(last)
    }
}

impl Publisher {
    /// Returns with the broker's confirmation.
    async fn send(&mut self, topic: &str, message: &Value) -> Result<(), BusError> {
        if !self.declared.contains(topic) {
            in_time(declare(&self.channel, topic)).await?;
            self.declared.insert(topic.to_owned());
        }
        let body = message.to_string();
        let confirm = async {
            let properties = BasicProperties::default().with_delivery_mode(2);
            let options = BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            };
            self.channel
                .basic_publish(
                    "".into(),
                    topic.into(),
                    options,
                    body.as_bytes(),
                    properties,
                )
                .await?
                .await
        };
        let confirmation = match tokio::time::timeout(OPERATION, confirm).await {
            Ok(result) => result?,
            Err(_) => {
                return Err(BusError::Unconfirmed {
                    topic: topic.to_owned(),
                    seconds: OPERATION.as_secs(),
                });
            }
        };
        if confirmation.is_ack() {
            Ok(())
        } else {
            Err(BusError::Broker(format!(
                "the broker refused a message on `{topic}`"
            )))
        }
    }
}

/// Without an explicit close the connection's task complains at the runtime's end.
async fn farewell(connection: &Connection) {
    let _ = tokio::time::timeout(FAREWELL, connection.close(200, "".into())).await;
}

async fn declare(channel: &Channel, topic: &str) -> Result<(), lapin::Error> {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments.insert(
        "x-max-length".into(),
        AMQPValue::LongLongInt(BACKLOG as i64),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(topic.into(), options, arguments)
        .await
        .map(drop)
}

async fn in_time<T>(work: impl Future<Output = Result<T, lapin::Error>>) -> Result<T, BusError> {
    match tokio::time::timeout(OPERATION, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(BusError::Broker(format!("no answer within {OPERATION:?}"))),
    }
}

#[async_trait]
impl Bus for RabbitBus {
    async fn publish(&self, topic: &str, message: Value) -> Result<(), BusError> {
        self.shared.publish(topic, message).await
    }

    fn wake(&self, topic: &str) {
        let mut sleeping = self
            .shared
            .sleeping
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !sleeping.contains(topic) {
            sleeping.insert(topic.to_owned());
            self.shared.sleepers.notify_one();
        }
    }

    async fn subscribe(&self, topic: &str) -> Result<Box<dyn Subscription>, BusError> {
        if self.shared.closed.is_cancelled() {
            return Err(BusError::Closed);
        }
        Ok(Box::new(RabbitSubscription {
            shared: Arc::clone(&self.shared),
            topic: topic.to_owned(),
            open: None,
        }))
    }

    async fn close(&self) {
        self.shared.closed.cancel();
        if let Some(publisher) = self.shared.publisher.lock().await.take() {
            farewell(&publisher.connection).await;
        }
    }
}

struct RabbitSubscription {
    shared: Arc<Shared>,
    topic: String,
    open: Option<(Connection, Consumer)>,
}

impl RabbitSubscription {
    async fn open(&self) -> Result<(Connection, Consumer), BusError> {
        let (connection, channel) = self.shared.open().await?;
        in_time(declare(&channel, &self.topic)).await?;
        in_time(channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let consumer = in_time(channel.basic_consume(
            self.topic.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        ))
        .await?;
        Ok((connection, consumer))
    }

    /// The next message, however often the connection is lost meanwhile.
    async fn receive(&mut self) -> Value {
        let mut pause = SHORTEST_PAUSE;
        loop {
            if self
                .open
                .as_ref()
                .is_some_and(|(connection, _)| !connection.status().connected())
            {
                self.open = None;
            }
            match &mut self.open {
                None => match self.open().await {
                    Ok(pair) => self.open = Some(pair),
                    Err(error) => {
                        tracing::warn!(topic = self.topic, %error, "message broker: trying again");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                },
                // A connection may die without the stream's end: look at it every few seconds.
                Some((_, consumer)) => {
                    match tokio::time::timeout(Duration::from_secs(5), consumer.next()).await {
                        Err(_) => pause = SHORTEST_PAUSE,
                        Ok(Some(Ok(delivery))) => {
                            // Taken: the database is the record of the work itself.
                            if in_time(delivery.ack(BasicAckOptions::default()))
                                .await
                                .is_err()
                            {
                                self.open = None;
                            }
                            return serde_json::from_slice(&delivery.data).unwrap_or(Value::Null);
                        }
                        // A queue whose member is away takes a consumer and drops it at once, again and again.
                        Ok(_) => {
                            self.open = None;
                            tokio::time::sleep(pause).await;
                            pause = (pause * 2).min(LONGEST_PAUSE);
                        }
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Subscription for RabbitSubscription {
    async fn next(&mut self) -> Option<Value> {
        let closed = self.shared.closed.clone();
        tokio::select! {
            message = self.receive() => return Some(message),
            () = closed.cancelled() => {}
        }
        if let Some((connection, _)) = self.open.take() {
            farewell(&connection).await;
        }
        None
    }
}
