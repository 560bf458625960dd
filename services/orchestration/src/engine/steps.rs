//! One resource's steps against the cloud, each written to the store before and after.
use super::{Stop, Traversal};
use crate::{
    resources::{self, Cloud, ResourceError, ResourceType},
    store::{Resource, now},
};
use serde_json::{Map, Value};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// First and longest pause between two looks at something that is under way.
const POLL_FIRST: Duration = Duration::from_millis(100);
const POLL_LONGEST: Duration = Duration::from_secs(2);
/// How often something that may succeed later is tried.
const TRIES: u32 = 60;
/// The same for a create or an update that meets a conflict: mostly a name or an address that is taken,
/// or a quota, which time does not mend. A delete waits for what still uses the thing.
const TRIES_AT_CONFLICT: u32 = 8;

pub(crate) fn json_map(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

/// A resource's failure in Heat's words.
fn failure(action: &str, name: &str, error: &ResourceError) -> Stop {
    Stop::Failed(format!(
        "Resource {action} failed: resources.{name}: {error}"
    ))
}

impl Traversal<'_> {
    pub(crate) fn cloud(&self, resource: &Resource) -> Cloud {
        let short: String = resource
            .id
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(12)
            .collect();
        Cloud {
            client: self.client.clone(),
            physical_name: format!("{}-{}-{short}", self.stack.name, resource.name),
        }
    }

    /// Makes the resource, or goes on making it; its attributes.
    pub(crate) async fn create(
        &self,
        kind: &dyn ResourceType,
        row: &mut Resource,
    ) -> Result<(), Stop> {
        let cloud = self.cloud(row);
        let properties = json_map(&row.properties);
        if row.physical_id.is_none() {
            // Unless the row is new, an interrupted worker may have made it; so may a try whose
            // answer was lost.
            let tried = AtomicBool::new(row.updated_at != row.created_at);
            let made = self
                .patiently(TRIES_AT_CONFLICT, || async {
                    if tried.swap(true, Ordering::Relaxed)
                        && let Some(id) = kind.find(&cloud).await?
                    {
                        return Ok(id);
                    }
                    kind.create(&cloud, &properties).await
                })
                .await;
            match made {
                Ok(id) => {
                    row.physical_id = Some(id);
                    row.updated_at = now();
                    // A database that is away is no fault of the resource: the operation is taken up again.
                    self.store.resource_note(row).await?;
                }
                Err(error) => return self.finish(row, "CREATE", Err(error)).await,
            }
        }
        let result = async {
            let id = row.physical_id.clone().unwrap_or_default();
            self.wait(|| kind.is_ready(&cloud, &id, &properties))
                .await?;
            self.patiently(TRIES, || kind.attributes(&cloud, &id, &properties))
                .await
        }
        .await;
        self.finish(row, "CREATE", result).await
    }

    /// Changes a resource in place.
    pub(crate) async fn update(
        &self,
        kind: &dyn ResourceType,
        row: &mut Resource,
        new: &Map<String, Value>,
    ) -> Result<(), Stop> {
        self.mark(row, "UPDATE", "IN_PROGRESS", "state changed")
            .await?;
        let cloud = self.cloud(row);
        let old = json_map(&row.properties);
        let id = row.physical_id.clone().unwrap_or_default();
        let result = async {
            self.patiently(TRIES_AT_CONFLICT, || kind.update(&cloud, &id, &old, new))
                .await?;
            self.wait(|| kind.is_ready(&cloud, &id, new)).await?;
            self.patiently(TRIES, || kind.attributes(&cloud, &id, new))
                .await
        }
        .await;
        if result.is_ok() {
            row.properties = Value::Object(new.clone()).to_string();
        }
        self.finish(row, "UPDATE", result).await
    }

    /// Removes a resource and forgets its row.
    pub(crate) async fn delete(
        &self,
        kind: Option<&dyn ResourceType>,
        row: &mut Resource,
    ) -> Result<(), Stop> {
        if let (Some(kind), false) = (kind, row.retain) {
            if row.action != "DELETE" || row.status != "IN_PROGRESS" {
                self.mark(row, "DELETE", "IN_PROGRESS", "state changed")
                    .await?;
            }
            let cloud = self.cloud(row);
            let result: Result<(), ResourceError> = async {
                let id = match &row.physical_id {
                    Some(id) => Some(id.clone()),
                    // A create that was interrupted may have left something behind.
                    None => self.patiently(TRIES, || kind.find(&cloud)).await?,
                };
                if let Some(id) = id {
                    self.patiently(TRIES, || kind.delete(&cloud, &id)).await?;
                    self.wait(|| kind.is_gone(&cloud, &id)).await?;
                }
                Ok(())
            }
            .await;
            if let Err(error) = result {
                self.check().await?;
                self.mark(row, "DELETE", "FAILED", &error.to_string())
                    .await?;
                return Err(failure("DELETE", &row.name, &error));
            }
        }
        row.action = "DELETE".to_owned();
        row.status = "COMPLETE".to_owned();
        row.status_reason = "state changed".to_owned();
        self.store.resource_remove(row).await?;
        Ok(())
    }

    /// Has resources that are replaced give back what the replacement needs.
    pub(crate) async fn let_go(&self, rows: &[Resource]) -> Result<(), Stop> {
        for row in rows {
            let kind = resources::find(self.types, &row.type_name);
            if let (Some(kind), Some(id)) = (kind, &row.physical_id) {
                let (cloud, properties) = (self.cloud(row), json_map(&row.properties));
                self.wait(|| kind.let_go(&cloud, id, &properties))
                    .await
                    .map_err(|error| failure("CREATE", &row.name, &error))?;
            }
        }
        Ok(())
    }

    /// Has a resource take that again.
    pub(crate) async fn take_back(&self, row: &Resource) -> Result<(), Stop> {
        let kind = resources::find(self.types, &row.type_name);
        if let (Some(kind), Some(id)) = (kind, &row.physical_id) {
            let (cloud, properties) = (self.cloud(row), json_map(&row.properties));
            self.wait(|| kind.take_back(&cloud, id, &properties))
                .await
                .map_err(|error| failure("UPDATE", &row.name, &error))?;
        }
        Ok(())
    }

    pub(crate) async fn mark(
        &self,
        row: &mut Resource,
        action: &str,
        status: &str,
        reason: &str,
    ) -> Result<(), Stop> {
        row.action = action.to_owned();
        row.status = status.to_owned();
        row.status_reason = reason.to_owned();
        row.updated_at = now().max(row.created_at + 1);
        self.store.resource_save(row).await?;
        Ok(())
    }

    async fn finish(
        &self,
        row: &mut Resource,
        action: &str,
        result: Result<Map<String, Value>, ResourceError>,
    ) -> Result<(), Stop> {
        match result {
            Ok(attributes) => {
                row.attributes = Value::Object(attributes).to_string();
                self.mark(row, action, "COMPLETE", "state changed").await
            }
            Err(error) => {
                // What a newer operation took over is that operation's to judge.
                self.check().await?;
                self.mark(row, action, "FAILED", &error.to_string()).await?;
                Err(failure(action, &row.name, &error))
            }
        }
    }

    /// Tries again what may succeed later, with growing pauses, until the operation's time is up; at
    /// conflicts only so many times.
    async fn patiently<T, F, Fut>(&self, conflicts: u32, step: F) -> Result<T, ResourceError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, ResourceError>>,
    {
        let mut pause = POLL_FIRST;
        let mut tries = 0;
        loop {
            match step().await {
                Err(error @ (ResourceError::Later(_) | ResourceError::Conflict(_))) => {
                    tries += 1;
                    let most = match error {
                        ResourceError::Conflict(_) => conflicts,
                        _ => TRIES,
                    };
                    let void = !self.store.is_current(&self.stack).await.unwrap_or(true);
                    if tries >= most || void || now() > self.stack.deadline {
                        return Err(ResourceError::Failed(error.to_string()));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(POLL_LONGEST);
                }
                other => return other,
            }
        }
    }

    /// Looks again and again until something under way has ended.
    async fn wait<F, Fut>(&self, look: F) -> Result<(), ResourceError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<bool, ResourceError>>,
    {
        let mut pause = POLL_FIRST;
        while !self.patiently(TRIES, &look).await? {
            if now() > self.stack.deadline {
                return Err(ResourceError::Failed("Timed out".to_owned()));
            }
            if !self.store.is_current(&self.stack).await.unwrap_or(true) {
                return Err(ResourceError::Failed(
                    "a newer operation has begun".to_owned(),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_LONGEST);
        }
        Ok(())
    }
}
