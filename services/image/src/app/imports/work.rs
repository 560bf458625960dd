//! Doing imports: by whichever controller claims the operation, again from where it stands when that one has gone.
//!
//! ```text
//!   data here? ── no ──► fetch ──► into each store in turn ──► active, task `success`
//!                          │              │
//!                          └── fault ─────┴──► taken back: queued, task `failure`
//! ```
//!
//! Each step is in the row when it is done, so that a second attempt skips it. What an attempt has put somewhere is removed
//! when the image was deleted meanwhile. Does not know who asked.

use super::{IMPORT, Order, REMOVE, Way, list, removals, set_lists};
use crate::{
    app::{
        App, copies,
        files::{self, Written},
        stores::{Data, StoreFault},
        stores_of, swap_in, tasks,
        upload::fill,
    },
    store::entities::image,
};
use async_trait::async_trait;
use futures::StreamExt;
use sea_orm::{DbErr, EntityTrait};
use service_kit::{
    store,
    work::{NewOperation, Operation, WorkError, Worker, enqueue, pending},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Longest pause, in seconds, between two tries to remove data from a store: so long an import of the same image may wait.
const LONGEST_PAUSE: u64 = 60;

/// Does the operations of the queue.
pub struct Importer(pub Arc<App>);

/// Why an import stops.
enum Stop {
    /// For the user.
    Failed(String),
    /// The image was deleted.
    Gone,
    /// Somebody else goes on.
    Later(String),
}

impl From<DbErr> for Stop {
    fn from(error: DbErr) -> Self {
        Stop::Later(error.to_string())
    }
}

fn later(reason: impl ToString, after: u64) -> WorkError {
    WorkError::Retry {
        after: Duration::from_secs(after),
        reason: reason.to_string(),
    }
}

/// The file with an image's data; made for this and removed with it, or the controllers' own.
enum Source {
    Own(PathBuf),
    Fetched(Written),
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Source::Own(path) => path,
            Source::Fetched(written) => written.path(),
        }
    }
}

#[async_trait]
impl Worker for Importer {
    async fn handle(&self, operation: &Operation) -> Result<(), WorkError> {
        match operation.kind.as_str() {
            IMPORT => self.import(operation).await,
            REMOVE => self.remove(operation).await,
            kind => Err(WorkError::Permanent(format!(
                "no operation is called {kind}"
            ))),
        }
    }
}

impl Importer {
    async fn remove(&self, operation: &Operation) -> Result<(), WorkError> {
        let word = |name: &str| operation.payload[name].as_str().unwrap_or_default();
        let Some(named) = self.0.stores.get(word("store")) else {
            let lost = format!(
                "{} is left in {}, which is not configured",
                word("name"),
                word("store")
            );
            return Err(WorkError::Permanent(lost));
        };
        let Some(store) = &named.store else {
            return Ok(());
        };
        let wanted = self.wanted(&operation.target, word("store"), word("name"));
        if wanted.await.map_err(|error| later(error, 1))? {
            return Ok(());
        }
        let Err(fault) = store.remove(word("name")).await else {
            return Ok(());
        };
        // An import of the image does not wait for a store that does not answer: this one goes behind it.
        let gives_way = self.give_way(operation).await;
        if gives_way.map_err(|error| later(error, 1))? {
            return Ok(());
        }
        let pause = 1u64 << operation.attempts.min(6);
        Err(later(fault, pause.min(LONGEST_PAUSE)))
    }

    /// Whether an image has just these data in a store after all: the same may have been imported again.
    async fn wanted(&self, id: &str, store: &str, name: &str) -> Result<bool, DbErr> {
        let row = image::Entity::find_by_id(id).one(&self.0.db).await?;
        Ok(row.is_some_and(|row| {
            files::name(id, &row.os_hash_value) == name
                && stores_of(&row).iter().any(|one| one == store)
        }))
    }

    /// Puts a removal behind an import that waits for it; `false` when none does.
    async fn give_way(&self, operation: &Operation) -> Result<bool, DbErr> {
        let app = &self.0;
        let waiting = pending(&app.db, &operation.target).await?;
        if !waiting.iter().any(|other| other.kind == IMPORT) {
            return Ok(false);
        }
        store::retry(async || {
            let tx = store::begin(&app.db).await?;
            if !app.queue.complete(&tx, operation).await? {
                return Ok(());
            }
            let again = NewOperation {
                queue: super::QUEUE.to_owned(),
                kind: REMOVE.to_owned(),
                target: operation.target.clone(),
                payload: operation.payload.clone(),
            };
            enqueue(&tx, again).await?;
            tx.commit().await
        })
        .await?;
        Ok(true)
    }

    async fn import(&self, operation: &Operation) -> Result<(), WorkError> {
        let order: Order = serde_json::from_value(operation.payload.clone())
            .map_err(|error| WorkError::Permanent(error.to_string()))?;
        let id = operation.target.as_str();
        let app = &self.0;
        if let Some(task) = &order.task {
            match tasks::begin(&app.db, task).await {
                // An earlier attempt has got to the end.
                Ok(false) => return Ok(()),
                Ok(true) => {}
                Err(error) => return Err(later(error, 1)),
            }
        }
        let outcome = match self.run(operation, &order).await {
            Ok(()) => return Ok(()),
            Err(Stop::Later(reason)) => return Err(later(reason, 1)),
            Err(Stop::Gone) => self.clear(id, &order).await,
            Err(Stop::Failed(reason)) => self.undo(operation, &order, &reason).await,
        };
        outcome.map_err(|error| later(error, 1))
    }

    /// The whole import, or what is left of it.
    async fn run(&self, operation: &Operation, order: &Order) -> Result<(), Stop> {
        let (app, id) = (&self.0, operation.target.as_str());
        let row = image::Entity::find_by_id(id).one(&app.db).await?;
        let mut row = row.ok_or(Stop::Gone)?;
        let expected = match order.way {
            None => "saving",
            Some(Way::CopyImage) => "active",
            Some(_) => "importing",
        };
        if row.status != expected {
            // An upload has no task that tells an earlier attempt's end.
            return match order.way {
                None => Ok(()),
                Some(_) => Err(Stop::Failed(format!(
                    "the image has become '{}' meanwhile",
                    row.status
                ))),
            };
        }
        if row.os_hash_value.is_empty() {
            row = self.fetch(row, order).await?;
        }
        let todo = |row: &image::Model| -> Vec<String> {
            let (done, failed) = (stores_of(row), list(row, super::FAILED));
            let all = order.stores.iter();
            all.filter(|store| !done.contains(store) && !failed.contains(store))
                .cloned()
                .collect()
        };
        let names = todo(&row);
        if !names.is_empty() {
            let source = self.source(&row).await?;
            for name in names {
                let put = self.put(&name, &row, source.path()).await;
                if let Err(fault) = &put {
                    tracing::warn!(id, store = name, %fault, "a store did not take an image");
                }
                if app.stop.is_cancelled() && put.is_err() {
                    return Err(Stop::Later("this controller stops".to_owned()));
                }
                let ok = put.is_ok();
                let changed = app.change(id, |row| {
                    let (mut done, mut failed) = (stores_of(row), list(row, super::FAILED));
                    let into = if ok { &mut done } else { &mut failed };
                    if !into.contains(&name) {
                        into.push(name.clone());
                    }
                    done.sort();
                    row.stores = done.join(",");
                    let left: Vec<String> =
                        todo(row).into_iter().filter(|left| *left != name).collect();
                    set_lists(row, &left, &failed);
                });
                row = changed.await?.ok_or(Stop::Gone)?;
            }
        }
        let failed = list(&row, super::FAILED);
        let none = !order
            .stores
            .iter()
            .any(|store| stores_of(&row).contains(store));
        if !failed.is_empty() && (order.all_must_succeed || none) {
            return Err(Stop::Failed(format!(
                "these stores did not take the data: {}",
                failed.join(", ")
            )));
        }
        self.finish(row, operation, order).await
    }

    /// The last step: the image is what it should be, and its task tells so.
    async fn finish(
        &self,
        mut row: image::Model,
        operation: &Operation,
        order: &Order,
    ) -> Result<(), Stop> {
        let app = &self.0;
        // Data that were only on their way to other stores, which the row names already.
        let own = app.stores.own();
        if !stores_of(&row)
            .iter()
            .any(|store| Some(store.as_str()) == own)
        {
            let _ = app.files.remove(&row.id, &row.os_hash_value);
        }
        loop {
            if row.status != "deactivated" {
                row.status = "active".to_owned();
            }
            let failed = list(&row, super::FAILED);
            if order.way.is_some() {
                set_lists(&mut row, &[], &failed);
            }
            let done = store::retry(async || {
                let tx = store::begin(&app.db).await?;
                if swap_in(&tx, row.clone()).await?.is_none() {
                    return Ok(Some(false));
                }
                if let Some(task) = &order.task {
                    tasks::end(&tx, task, Ok(&row.id)).await?;
                }
                // Whoever sees the image finds no import of it any more.
                if !app.queue.complete(&tx, operation).await? {
                    return Ok(None);
                }
                tx.commit().await?;
                Ok::<_, DbErr>(Some(true))
            })
            .await?;
            match done {
                Some(true) => break,
                Some(false) => {}
                None => return Err(Stop::Later("the claim was lost".to_owned())),
            }
            let now = image::Entity::find_by_id(&row.id).one(&app.db).await?;
            row = now.ok_or(Stop::Gone)?;
        }
        tracing::info!(id = row.id, stores = row.stores, "an image was imported");
        Ok(())
    }

    /// Gets the data from the web and writes into the row what they are.
    async fn fetch(&self, row: image::Model, order: &Order) -> Result<image::Model, Stop> {
        let app = &self.0;
        let address = order.address.as_deref().unwrap_or_default();
        let get = async {
            let download = app.web.open(address).await.map_err(Stop::Failed)?;
            let most = order.most;
            if download.length.is_some_and(|length| length > most) {
                return Err(Stop::Failed(format!(
                    "{address} is larger than {most} bytes"
                )));
            }
            app.take_in(&row.id, &row.disk_format, download.data, most)
                .await
                .map_err(|error| {
                    if error.message.is_empty() {
                        // What is wrong with our disks is not for users.
                        tracing::error!(id = row.id, %error, "fetched data could not be kept");
                        return Stop::Failed("the data could not be kept".to_owned());
                    }
                    Stop::Failed(error.message)
                })
        };
        let (written, virtual_size) = tokio::select! {
            got = get => got?,
            () = app.stop.cancelled() => return Err(Stop::Later("this controller stops".to_owned())),
        };
        let changed = app.change(&row.id, |row| {
            fill(row, &written);
            row.virtual_size = virtual_size;
        });
        match changed.await? {
            Some(row) => Ok(row),
            None => {
                let _ = app.files.remove(&row.id, &written.sha512);
                Err(Stop::Gone)
            }
        }
    }

    /// A file here with the data.
    async fn source(&self, row: &image::Model) -> Result<Source, Stop> {
        let app = &self.0;
        let (id, sha512) = (row.id.as_str(), row.os_hash_value.as_str());
        if let Some(path) = app.files.find(id, sha512) {
            return Ok(Source::Own(path));
        }
        let lost =
            |why: &dyn std::fmt::Display| Stop::Failed(format!("the data cannot be read: {why}"));
        if let Some(peers) = &app.peers
            && let Some(answer) = peers.open(id, sha512).await
        {
            let stream = answer.bytes_stream().boxed();
            copies::take(&app.files, id, stream, app.max_bytes, sha512)
                .await
                .map_err(|error| lost(&error))?;
            return Ok(Source::Own(app.files.path(id, sha512)));
        }
        let stream = app.open_elsewhere(row).await;
        let stream = stream.ok_or_else(|| lost(&"no store gives them"))?;
        let written = app
            .files
            .receive(id, stream, app.max_bytes, 0, |_| Ok(()))
            .await
            .map_err(|error| lost(&error))?;
        if written.sha512 != sha512 {
            return Err(lost(&"they are not what their digest says"));
        }
        Ok(Source::Fetched(written))
    }

    /// Brings the data into one store.
    async fn put(&self, name: &str, row: &image::Model, path: &Path) -> Result<(), StoreFault> {
        let app = &self.0;
        let Some(named) = app.stores.get(name) else {
            return Err(StoreFault("it is not configured".to_owned()));
        };
        let (id, sha512) = (row.id.as_str(), row.os_hash_value.as_str());
        let file = files::name(id, sha512);
        match &named.store {
            Some(store) => tokio::select! {
                put = store.put(&file, path) => put,
                () = app.stop.cancelled() => Err(StoreFault("this controller stops".to_owned())),
            },
            // Staged and fetched data are in the controllers' own files already; copied ones come from elsewhere.
            None if app.files.find(id, sha512).is_some() => Ok(()),
            None => {
                let file = tokio::fs::File::open(path).await;
                let file = file.map_err(|error| StoreFault::of("cannot read", error))?;
                let stream = tokio_util::io::ReaderStream::with_capacity(file, 256 << 10);
                copies::take(&app.files, id, stream, app.max_bytes, sha512)
                    .await
                    .map_err(|error| StoreFault::of("cannot write", error))?;
                let shared = app.share(id, sha512).await;
                shared.map_err(|error| StoreFault(error.message))
            }
        }
    }

    /// Takes an import back: data that it brought go, and the image is as it was before.
    async fn undo(&self, operation: &Operation, order: &Order, reason: &str) -> Result<(), DbErr> {
        let (app, id) = (&self.0, operation.target.as_str());
        let own = app.stores.own();
        let is_own = |store: &String| Some(store.as_str()) == own;
        tracing::warn!(id, reason, "an import is taken back");
        loop {
            let Some(old) = image::Entity::find_by_id(id).one(&app.db).await? else {
                return self.clear(id, order).await;
            };
            let mut row = old.clone();
            let copy = order.way == Some(Way::CopyImage);
            let mut stores = stores_of(&row);
            // What was there before a copy was no part of the order.
            stores.retain(|store| !order.stores.contains(store));
            row.stores = stores.join(",");
            if order.way.is_some() {
                let failed = list(&row, super::FAILED);
                let failed = if failed.is_empty() {
                    order.stores.clone()
                } else {
                    failed
                };
                set_lists(&mut row, &[], &failed);
            }
            if !copy && matches!(row.status.as_str(), "importing" | "saving") {
                row.status = "queued".to_owned();
                (row.size, row.virtual_size) = (-1, -1);
                row.checksum = String::new();
                row.os_hash_value = String::new();
            }
            let done = store::retry(async || {
                let tx = store::begin(&app.db).await?;
                if swap_in(&tx, row.clone()).await?.is_none() {
                    return Ok(None);
                }
                // A store that failed may have taken the data all the same.
                if !old.os_hash_value.is_empty() {
                    for operation in removals(id, &old.os_hash_value, app.elsewhere(&order.stores))
                    {
                        enqueue(&tx, operation).await?;
                    }
                }
                if let Some(task) = &order.task {
                    tasks::end(&tx, task, Err(reason)).await?;
                }
                // Lost to somebody else: he does it, from where it stands.
                if !app.queue.complete(&tx, operation).await? {
                    return Ok(Some(false));
                }
                tx.commit().await?;
                Ok::<_, DbErr>(Some(true))
            })
            .await?;
            let Some(ours) = done else { continue };
            // Only now, when no row wants them any more.
            if ours && !old.os_hash_value.is_empty() && !stores_of(&row).iter().any(is_own) {
                let _ = app.files.remove(id, &old.os_hash_value);
            }
            app.queue.wake();
            return Ok(());
        }
    }

    /// Clears away what an import has brought here for an image that is deleted. What it has put into other stores is removed
    /// by operations that the deletion has written: they come after this one.
    async fn clear(&self, id: &str, order: &Order) -> Result<(), DbErr> {
        let app = &self.0;
        for (name, _) in app.files.list() {
            if name.starts_with(id) {
                let _ = app.files.remove_name(&name);
            }
        }
        if let Some(task) = &order.task {
            tasks::end(&app.db, task, Err("the image was deleted")).await?;
        }
        Ok(())
    }
}

impl App {
    /// Data from the store with the greatest weight that gives them.
    pub async fn open_elsewhere(&self, row: &image::Model) -> Option<Data> {
        let name = files::name(&row.id, &row.os_hash_value);
        let names = self.stores_of(row);
        let mut stores: Vec<_> = names
            .iter()
            .filter_map(|name| self.stores.get(name))
            .collect();
        stores.sort_by_key(|store| -store.common.weight);
        for named in stores {
            let Some(store) = &named.store else { continue };
            match store.get(&name).await {
                Ok(Some(data)) => return Some(data),
                Ok(None) => tracing::warn!(
                    id = row.id,
                    store = named.name,
                    "data are not where they should be"
                ),
                Err(fault) => {
                    tracing::warn!(id = row.id, store = named.name, %fault, "a store does not answer")
                }
            }
        }
        None
    }
}
