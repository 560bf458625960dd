//! The engine: brings a stack's resources to what its definition says.
//!
//! ```text
//!  operation (traversal n) ─► converge: each resource when what it needs is ready
//!                               create | update in place | replace | leave alone
//!                          ─► clean up: what is no longer wanted, dependents first
//!                          ─► COMPLETE, FAILED, or roll back to the previous definition
//! ```
//!
//! Each step is written before it is waited for, so that a worker that takes over after a crash goes on where
//! the other stopped. A newer traversal makes an older one's work void: it stops before its next step.
mod acting;
mod cleanup;
mod converge;
mod implicit;
mod scope;
mod steps;

use crate::{
    app::definition::Definition,
    resources::ResourceType,
    store::{Stack, StackState, Store, now},
};
use async_trait::async_trait;
pub use converge::{Decision, decide};
use hot::{Bound, Pseudo};
pub use implicit::implicit;
use openstack_client::Client;
pub use scope::{Snapshot, StackScope};
use sea_orm::DbErr;
use service_kit::work::{Operation, WorkError, Worker};
use std::{sync::Arc, time::Duration};

pub use acting::{create_trust, delete_trust};

/// Resources of one stack that are worked on at the same time.
const PARALLEL: usize = 64;

/// Why a traversal ended before its goal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// A newer operation has taken the stack.
    #[error("a newer operation has begun")]
    Superseded,
    #[error("{0}")]
    Failed(String),
    /// The database did not answer; the operation is taken up again.
    #[error("database: {0}")]
    Store(#[from] DbErr),
}

/// Does the operations of the queue `engine`.
pub struct Engine {
    pub store: Store,
    pub types: Arc<Vec<Box<dyn ResourceType>>>,
    /// With the service's own credentials.
    pub client: Client,
    pub region: String,
}

/// One traversal of one stack.
pub(crate) struct Traversal<'a> {
    pub store: &'a Store,
    pub types: &'a [Box<dyn ResourceType>],
    pub stack: Stack,
    /// Acts as the stack's user.
    pub client: Client,
}

#[async_trait]
impl Worker for Engine {
    async fn handle(&self, operation: &Operation) -> Result<(), WorkError> {
        let later = |error: &dyn std::fmt::Display| WorkError::Retry {
            after: Duration::from_secs(2),
            reason: error.to_string(),
        };
        let traversal = operation.payload["traversal"].as_i64().unwrap_or_default();
        loop {
            let Some(stack) = self
                .store
                .stack(&operation.target)
                .await
                .map_err(|e| later(&e))?
            else {
                return Ok(());
            };
            // A rollback is the next traversal of the same operation.
            let ours = stack.traversal == traversal
                || (stack.traversal == traversal + 1 && stack.action == "ROLLBACK");
            if !ours || stack.status != "IN_PROGRESS" {
                return Ok(());
            }
            match self.run(stack).await {
                Ok(true) => {}
                Ok(false) | Err(Stop::Superseded) => return Ok(()),
                Err(error) => return Err(later(&error)),
            }
        }
    }
}

impl Engine {
    /// Runs a stack's current traversal to its end; `true` when a rollback has been begun.
    async fn run(&self, stack: Stack) -> Result<bool, Stop> {
        let action = stack.action.clone();
        tracing::info!(
            stack = stack.id,
            name = stack.name,
            action,
            traversal = stack.traversal,
            "stack operation"
        );
        let Some(client) = acting::client(&self.client, &stack) else {
            let reason = "the stack has no trust, so that nobody can act for its user";
            return self.failed(&stack, reason).await;
        };
        let traversal = Traversal {
            store: &self.store,
            types: &self.types,
            stack: stack.clone(),
            client,
        };
        match traversal.run(&self.region).await {
            Ok(()) => {
                let gone = action == "DELETE";
                if gone {
                    acting::delete_trust(&self.client, &stack).await;
                }
                let reason = format!("Stack {action} completed successfully");
                let state = StackState {
                    action: &action,
                    status: "COMPLETE",
                    reason: &reason,
                };
                // A create that was rolled back leaves an empty stack behind, as in Heat.
                self.store.stack_change(&stack, state, gone).await?;
                Ok(false)
            }
            Err(Stop::Failed(reason)) => self.failed(&stack, &reason).await,
            Err(other) => Err(other),
        }
    }

    /// Marks the stack FAILED, or begins its rollback.
    async fn failed(&self, stack: &Stack, reason: &str) -> Result<bool, Stop> {
        let action = stack.action.as_str();
        tracing::warn!(
            stack = stack.id,
            name = stack.name,
            action,
            reason,
            "stack operation failed"
        );
        if stack.disable_rollback || !["CREATE", "UPDATE"].contains(&action) {
            let state = StackState {
                action,
                status: "FAILED",
                reason,
            };
            self.store.stack_change(stack, state, false).await?;
            return Ok(false);
        }
        let back = format!("Rolling back: {reason}");
        let begun = self
            .store
            .stack_roll_back(stack, &back, now() + stack.timeout_mins * 60_000)
            .await?;
        Ok(begun)
    }
}

impl Traversal<'_> {
    async fn run(&self, region: &str) -> Result<(), Stop> {
        let bound = match self.goal() {
            Some(definition) => Some(self.bind(&definition, region)?),
            None => None,
        };
        if let Some(bound) = &bound {
            self.converge(bound).await?;
        }
        self.clean_up(bound.as_ref()).await
    }

    /// What the stack shall become; nothing for a delete.
    fn goal(&self) -> Option<String> {
        match self.stack.action.as_str() {
            "DELETE" => None,
            "ROLLBACK" => self.stack.previous.clone(),
            _ => Some(self.stack.definition.clone()),
        }
    }

    fn bind(&self, definition: &str, region: &str) -> Result<Bound, Stop> {
        let definition: Definition = serde_json::from_str(definition)
            .map_err(|e| Stop::Failed(format!("the stored definition: {e}")))?;
        definition
            .bind(&pseudo(&self.stack, region))
            .map_err(|e| Stop::Failed(e.message))
    }

    /// Ends this traversal's work when it is no longer the newest, or has taken too long.
    pub(crate) async fn check(&self) -> Result<(), Stop> {
        if !self.store.is_current(&self.stack).await? {
            return Err(Stop::Superseded);
        }
        if now() > self.stack.deadline {
            return Err(Stop::Failed("Timed out".to_owned()));
        }
        Ok(())
    }
}

/// What a stack's pseudo parameters give.
pub fn pseudo(stack: &Stack, region: &str) -> Pseudo {
    Pseudo {
        stack_id: format!(
            "arn:openstack:heat::{}:stacks/{}/{}",
            stack.project_id, stack.name, stack.id
        ),
        stack_name: stack.name.clone(),
        project_id: stack.project_id.clone(),
        region: region.to_owned(),
    }
}
