//! The work queue on SQLite, MariaDB and PostgreSQL.

use async_trait::async_trait;
use bus::InProcessBus;
use sea_orm::DatabaseConnection;
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use serde_json::json;
use service_kit::{
    store,
    testing::databases,
    work::{self, NewOperation, Operation, Queue, WorkError, Worker},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(work::Migration)]
    }
}

fn operation(target: &str, number: u32) -> NewOperation {
    NewOperation {
        queue: "workers".into(),
        kind: "count".into(),
        target: target.into(),
        payload: json!({ "number": number }),
    }
}

async fn queue(db: &DatabaseConnection) -> Queue {
    databases::migrate_again::<Migrator>(db).await;
    Queue::new(db.clone(), Arc::new(InProcessBus::new()), "test", "workers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_once_in_order_and_only_with_commit() {
    databases::each(async |db| {
        let queue = queue(&db).await;
        let tx = store::begin(&db).await.unwrap();
        work::enqueue(&tx, operation("a", 0)).await.unwrap();
        tx.rollback().await.unwrap();
        for number in 1..=2 {
            let tx = store::begin(&db).await.unwrap();
            work::enqueue(&tx, operation("a", number)).await.unwrap();
            work::enqueue(&tx, operation("b", number)).await.unwrap();
            tx.commit().await.unwrap();
        }
        // Only the first of each target, whoever asks, and each once.
        let (one, two) = tokio::join!(queue.claim("w1", 10), queue.claim("w2", 10));
        let mut claimed: Vec<Operation> = one.unwrap().into_iter().chain(two.unwrap()).collect();
        claimed.sort_by(|a, b| a.target.cmp(&b.target));
        let seen: Vec<_> = claimed
            .iter()
            .map(|op| (op.target.as_str(), op.payload["number"].clone()))
            .collect();
        assert_eq!(seen, [("a", json!(1)), ("b", json!(1))]);
        // A lost claim finishes nothing.
        let stale = Operation {
            generation: 0,
            ..claimed[0].clone()
        };
        assert!(!queue.complete(&db, &stale).await.unwrap());
        assert!(queue.renew(&claimed[0]).await.unwrap());
        assert!(queue.complete(&db, &claimed[0]).await.unwrap());
        let retry = WorkError::Retry {
            after: Duration::from_secs(3600),
            reason: "later".into(),
        };
        assert!(queue.fail(&claimed[1], &retry).await.unwrap());
        // `a` goes on, `b` waits and holds its second one back.
        let next = queue.claim("w1", 10).await.unwrap();
        assert_eq!(next.len(), 1);
        assert_eq!(
            (next[0].target.as_str(), &next[0].payload["number"]),
            ("a", &json!(2))
        );
        assert!(
            queue
                .fail(&next[0], &WorkError::Permanent("never".into()))
                .await
                .unwrap()
        );
        assert_eq!(work::pending(&db, "a").await.unwrap(), []);
        assert_eq!(work::pending(&db, "b").await.unwrap().len(), 2);
    })
    .await;
}

struct Recorder {
    seen: Mutex<Vec<(String, u64)>>,
    done: tokio::sync::Notify,
}

#[async_trait]
impl Worker for Recorder {
    async fn handle(&self, operation: &Operation) -> Result<(), WorkError> {
        if operation.payload["number"] == 3 && operation.attempts == 1 {
            return Err(WorkError::Retry {
                after: Duration::ZERO,
                reason: "once".into(),
            });
        }
        let number = operation.payload["number"].as_u64().unwrap();
        self.seen
            .lock()
            .unwrap()
            .push((operation.target.clone(), number));
        self.done.notify_one();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_finish_everything_in_each_target_s_order() {
    databases::each(async |db| {
        let queue = queue(&db).await;
        let recorder = Arc::new(Recorder {
            seen: Mutex::default(),
            done: tokio::sync::Notify::new(),
        });
        let shutdown = CancellationToken::new();
        let workers: Vec<_> = (0..3)
            .map(|n| {
                let worker: Arc<dyn Worker> = recorder.clone();
                tokio::spawn(work::run(
                    queue.clone(),
                    format!("w{n}"),
                    4,
                    shutdown.clone(),
                    worker,
                ))
            })
            .collect();
        for number in 1..=5 {
            for target in ["x", "y", "z"] {
                let target = target.to_owned();
                store::retry(|| async {
                    let tx = store::begin(&db).await?;
                    work::enqueue(&tx, operation(&target, number)).await?;
                    tx.commit().await
                })
                .await
                .unwrap();
                queue.wake();
            }
        }
        let all = async {
            while recorder.seen.lock().unwrap().len() < 15 {
                recorder.done.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), all)
            .await
            .expect("every operation is handled");
        shutdown.cancel();
        for worker in workers {
            worker.await.unwrap();
        }
        let seen = recorder.seen.lock().unwrap().clone();
        for target in ["x", "y", "z"] {
            let numbers: Vec<u64> = seen
                .iter()
                .filter(|(t, _)| t == target)
                .map(|(_, n)| *n)
                .collect();
            assert_eq!(numbers, [1, 2, 3, 4, 5], "{target}");
        }
        for target in ["x", "y", "z"] {
            assert_eq!(work::pending(&db, target).await.unwrap(), []);
        }
    })
    .await;
}
