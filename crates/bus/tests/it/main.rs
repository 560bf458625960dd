//! The same tests on both kinds of bus. RabbitMQ runs as a child process when it is installed.

// Clippy allows these in tests, but knows helpers of tests only below `#[test]`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod broker;

use bus::{BACKLOG, Bus, InProcessBus, RabbitBus};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// RabbitMQ's first start costs more than a minute of CPU.
const PATIENCE: Duration = Duration::from_secs(60);

async fn next(subscription: &mut Box<dyn bus::Subscription>) -> Option<serde_json::Value> {
    tokio::time::timeout(PATIENCE, subscription.next())
        .await
        .expect("a message or the end comes in time")
}

async fn behaves(bus: Arc<dyn Bus>) {
    // A message waits for its subscriber.
    bus.publish("test.early", json!(1)).await.unwrap();
    let mut early = bus.subscribe("test.early").await.unwrap();
    assert_eq!(next(&mut early).await, Some(json!(1)));
    // Topics do not mix, and a waiting subscriber is woken.
    let mut other = bus.subscribe("test.other").await.unwrap();
    let waiting = tokio::spawn(async move { next(&mut other).await });
    bus.publish("test.early", json!("mine")).await.unwrap();
    bus.publish("test.other", json!("yours")).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Some(json!("yours")));
    assert_eq!(next(&mut early).await, Some(json!("mine")));
    // Each message goes to one subscriber.
    let (mut a, mut b) = (
        bus.subscribe("test.shared").await.unwrap(),
        bus.subscribe("test.shared").await.unwrap(),
    );
    for n in 0..10 {
        bus.publish("test.shared", json!(n)).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let message = tokio::time::timeout(PATIENCE, async {
            tokio::select! { m = a.next() => m, m = b.next() => m }
        });
        seen.push(message.await.unwrap().unwrap().as_i64().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    bus.close().await;
    assert_eq!(next(&mut early).await, None);
    assert!(bus.publish("test.early", json!(2)).await.is_err());
}

#[tokio::test]
async fn in_process() {
    behaves(Arc::new(InProcessBus::new())).await;
}

#[tokio::test]
async fn a_full_topic_drops_the_oldest() {
    let bus = InProcessBus::new();
    for n in 0..BACKLOG + 1 {
        bus.publish("test.full", json!(n)).await.unwrap();
    }
    let mut subscription = bus.subscribe("test.full").await.unwrap();
    assert_eq!(subscription.next().await, Some(json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq() {
    let broker = match broker::Broker::start().await {
        Ok(broker) => broker,
        Err(reason) => {
            eprintln!("skipped on RabbitMQ: {reason}");
            return;
        }
    };
    let stranger = RabbitBus::connect(&broker.url, None);
    assert!(stranger.publish("test.early", json!(0)).await.is_err());
    behaves(Arc::new(RabbitBus::connect(
        &broker.url,
        Some(broker.ca.clone()),
    )))
    .await;
}
