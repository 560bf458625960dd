//! The bus of one process: bounded queues in memory.
//!
//! Does not survive the process: the database is the record of what it announces.

use crate::{BACKLOG, Bus, BusError, Subscription};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

#[derive(Default)]
struct Topic {
    queue: Mutex<VecDeque<Value>>,
    arrived: Notify,
    closed: AtomicBool,
}

/// Queues in memory.
#[derive(Default)]
pub struct InProcessBus {
    topics: Mutex<HashMap<String, Arc<Topic>>>,
    closed: AtomicBool,
}

impl InProcessBus {
    /// No topic yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, BusError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(BusError::Closed);
        }
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(topics.entry(name.to_owned()).or_default()))
    }

    fn push(&self, topic: &str, message: Value) -> Result<(), BusError> {
        let topic = self.topic(topic)?;
        let mut queue = topic.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= BACKLOG {
            queue.pop_front();
        }
        queue.push_back(message);
        drop(queue);
        topic.arrived.notify_one();
        Ok(())
    }
}

#[async_trait]
impl Bus for InProcessBus {
    async fn publish(&self, topic: &str, message: Value) -> Result<(), BusError> {
        self.push(topic, message)
    }

    fn wake(&self, topic: &str) {
        // After the end there is nobody to wake.
        let _ = self.push(topic, json!({}));
    }

    async fn subscribe(&self, topic: &str) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(InProcessSubscription(self.topic(topic)?)))
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in topics.values() {
            topic.closed.store(true, Ordering::Release);
            topic.arrived.notify_waiters();
            topic.arrived.notify_one();
        }
    }
}

struct InProcessSubscription(Arc<Topic>);

#[async_trait]
impl Subscription for InProcessSubscription {
    async fn next(&mut self) -> Option<Value> {
        loop {
            let arrived = self.0.arrived.notified();
            tokio::pin!(arrived);
            // Registered before the look, so that nothing slips in between.
            arrived.as_mut().enable();
            let (message, more) = {
                let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
                (queue.pop_front(), !queue.is_empty())
            };
            if message.is_some() {
                if more {
                    // One permit may stand for several messages: pass it on.
                    self.0.arrived.notify_one();
                }
                return message;
            }
            if self.0.closed.load(Ordering::Acquire) {
                self.0.arrived.notify_one();
                return None;
            }
            arrived.await;
        }
    }
}
