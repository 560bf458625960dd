//! Wake-ups inside a service: its API tells its workers that there is work.
//!
//! The database is the record of work; a message here only says "look now", so it may
//! be lost or come twice without harm. A topic is a queue: each message goes to one of
//! its subscribers, and waits for one when there is none. The bus does not know what is
//! done on waking, and is never used between services.
//!
//! Topics are named `<service>.<role>[.<host>]`, for example `compute.agent.node-4`.

mod in_process;
mod rabbit;

pub use in_process::InProcessBus;
pub use rabbit::RabbitBus;

use async_trait::async_trait;
use serde_json::Value;

/// Messages that wait in one topic; older ones are dropped first.
pub const BACKLOG: usize = 1024;

/// The bus did not take a message or a subscription.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// The bus is being stopped.
    #[error("the bus is closed")]
    Closed,
    /// The broker cannot be reached now; the bus goes on trying.
    #[error("message broker: {0}")]
    Broker(String),
    /// The broker did not confirm in time.
    #[error("the message broker did not confirm a message on `{topic}` within {seconds} s")]
    Unconfirmed {
        /// Topic of the message.
        topic: String,
        /// How long was waited.
        seconds: u64,
    },
}

impl From<lapin::Error> for BusError {
    fn from(error: lapin::Error) -> Self {
        BusError::Broker(error.to_string())
    }
}

/// Carries wake-ups.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Returns when the message is held by the bus (by a broker: confirmed).
    async fn publish(&self, topic: &str, message: Value) -> Result<(), BusError>;

    /// Publishes `{}` soon, without waiting for it: a request's answer must not hang on the bus. Several wake-ups of one
    /// topic may become one, and one may be lost.
    fn wake(&self, topic: &str);

    /// Takes part in receiving a topic's messages.
    async fn subscribe(&self, topic: &str) -> Result<Box<dyn Subscription>, BusError>;

    /// Stops; waiting subscribers get the end.
    async fn close(&self);
}

/// One subscriber of a topic.
#[async_trait]
pub trait Subscription: Send {
    /// The next message; nothing when the bus has been closed. Safe to drop while waiting.
    async fn next(&mut self) -> Option<Value>;
}
