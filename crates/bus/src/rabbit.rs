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
};
use serde_json::Value;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// How long the broker may take for one answer.
const OPERATION: Duration = Duration::from_secs(10);
/// Pauses between two attempts to connect: each twice the one before.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Messages that one subscriber holds unacknowledged.
const PREFETCH: u16 = 16;

struct Shared {
    /// Tried in turn.
    urls: Vec<String>,
    /// PEM of the authority that signed the brokers' certificates, beside the system's.
    ca: Option<String>,
    closed: CancellationToken,
    publisher: Mutex<Option<Publisher>>,
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
    /// `amqps://USER:PASSWORD@HOST:PORT/VHOST`, several separated by commas; `ca` as PEM. Connects at first use.
    pub fn connect(urls: &str, ca: Option<String>) -> Self {
        let urls = urls
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(str::to_owned)
            .collect();
        let shared = Shared {
            urls,
            ca,
            closed: CancellationToken::new(),
            publisher: Mutex::new(None),
        };
        RabbitBus {
            shared: Arc::new(shared),
        }
    }
}

impl Shared {
    /// One attempt on each broker.
    async fn open(&self) -> Result<(Connection, Channel), BusError> {
        let mut last = BusError::Broker("no URL is configured".to_owned());
        for url in &self.urls {
            let attempt = async {
                let tls = OwnedTLSConfig {
                    cert_chain: self.ca.clone(),
                    ..OwnedTLSConfig::default()
                };
                let runtime = lapin::runtime::default_runtime()?;
                let properties = ConnectionProperties::default();
                let connection =
                    Connection::connect_with_config(url, properties, tls, runtime).await?;
                let channel = connection.create_channel().await?;
                Ok::<_, lapin::Error>((connection, channel))
            };
            match tokio::time::timeout(OPERATION, attempt).await {
                Ok(Ok(pair)) => return Ok(pair),
                Ok(Err(error)) => last = BusError::Broker(error.to_string()),
                Err(_) => last = BusError::Broker(format!("no connection within {OPERATION:?}")),
            }
        }
        Err(last)
    }
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
        Ok(Err(error)) => Err(BusError::Broker(error.to_string())),
        Err(_) => Err(BusError::Broker(format!("no answer within {OPERATION:?}"))),
    }
}

#[async_trait]
impl Bus for RabbitBus {
    async fn publish(&self, topic: &str, message: Value) -> Result<(), BusError> {
        if self.shared.closed.is_cancelled() {
            return Err(BusError::Closed);
        }
        let mut slot = self.shared.publisher.lock().await;
        let mut last = BusError::Closed;
        // The second try is on a fresh connection: the first may have found a dead one.
        for _ in 0..2 {
            let mut publisher = match slot.take() {
                Some(publisher) => publisher,
                None => {
                    let (connection, channel) = self.shared.open().await?;
                    in_time(channel.confirm_select(ConfirmSelectOptions::default())).await?;
                    Publisher {
                        connection,
                        channel,
                        declared: HashSet::new(),
                    }
                }
            };
            let sent = async {
                if !publisher.declared.contains(topic) {
                    in_time(declare(&publisher.channel, topic)).await?;
                    publisher.declared.insert(topic.to_owned());
                }
                let body = message.to_string();
                let confirm = async {
                    let properties = BasicProperties::default().with_delivery_mode(2);
                    let options = BasicPublishOptions {
                        mandatory: true,
                        ..BasicPublishOptions::default()
                    };
                    publisher
                        .channel
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
                    Ok(result) => result.map_err(|error| BusError::Broker(error.to_string()))?,
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
            .await;
            match sent {
                Ok(()) => {
                    *slot = Some(publisher);
                    return Ok(());
                }
                Err(error) => {
                    let _ =
                        tokio::time::timeout(OPERATION, publisher.connection.close(200, "".into()))
                            .await;
                    last = error;
                }
            }
        }
        Err(last)
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
            // Without an explicit close the connection's task complains at the runtime's end.
            let _ =
                tokio::time::timeout(OPERATION, publisher.connection.close(200, "".into())).await;
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
            let _ = tokio::time::timeout(OPERATION, connection.close(200, "".into())).await;
        }
        None
    }
}
