//! Data that clients send: to become an image at once, or to be staged for an import.
//!
//! Either way they first come to the controllers' own files; what belongs elsewhere is brought there by the same durable work
//! that imports do, and the client waits for it.

use super::{
    App,
    files::{UploadError, Written},
    imports::{self, Order},
    inspect, no_image, now, quota, swap_in,
};
use crate::store::entities::image;
use axum::body::Body;
use http::StatusCode;
use sea_orm::{
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, ExprTrait, QueryFilter, UpdateMany,
    sea_query::Expr,
};
use service_kit::{ApiError, RequestContext, store, work};
use std::{io, time::Duration};

/// How often somebody who waits for a store looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a controller tells that data come, and after which time it is taken for gone; clocks may differ a little.
const TELL_EVERY: Duration = Duration::from_secs(60);
const LOST_AFTER: Duration = Duration::from_secs(600);

/// Data that have come, and whose row is not written yet.
struct Come {
    id: String,
    /// The row's status until then.
    meanwhile: &'static str,
    written: Written,
    virtual_size: i64,
    guard: BackToQueued,
}

impl App {
    /// Receives an image's data: `queued → saving → active`, or back to `queued`.
    pub async fn upload(
        &self,
        context: &RequestContext,
        row: image::Model,
        body: Body,
        length: Option<u64>,
        to: Option<&str>,
    ) -> Result<(), ApiError> {
        let to = match to {
            None => self.stores.default(),
            Some(name) => self.store(name)?,
        };
        let (id, name) = (row.id.clone(), to.name.clone());
        let come = self.receive(context, row, "saving", body, length).await?;
        if to.store.is_none() {
            let then = |row: &mut image::Model| {
                row.status = "active".to_owned();
                row.stores.clone_from(&name);
            };
            return self.settle(come, then, None).await;
        }
        let order = Order::for_upload(&name);
        self.settle(come, |_| (), Some(&order)).await?;
        self.queue.wake();
        self.wait_for(&id, &name).await
    }

    /// Until the data of an upload are in their store.
    async fn wait_for(&self, id: &str, store: &str) -> Result<(), ApiError> {
        loop {
            let row = image::Entity::find_by_id(id).one(&self.db).await?;
            match row.ok_or_else(|| no_image(id))?.status.as_str() {
                "saving" => tokio::time::sleep(LOOK_EVERY).await,
                "queued" => {
                    return Err(ApiError::unavailable(format!(
                        "The store {store} did not take the image's data: nothing was stored. Try again."
                    )));
                }
                _ => return Ok(()),
            }
        }
    }

    /// Receives data for an import: `queued → uploading`, or back to `queued`.
    pub async fn stage(
        &self,
        context: &RequestContext,
        row: image::Model,
        body: Body,
        length: Option<u64>,
    ) -> Result<(), ApiError> {
        let come = self
            .receive(context, row, "uploading", body, length)
            .await?;
        self.settle(come, |_| (), None).await
    }

    /// Writes what has come into the row, with the work that is still to be done.
    async fn settle(
        &self,
        come: Come,
        then: impl Fn(&mut image::Model),
        order: Option<&Order>,
    ) -> Result<(), ApiError> {
        let id = &come.id;
        let attempt = async || {
            let tx = store::begin(&self.db).await?;
            let row = image::Entity::find_by_id(id).one(&tx).await?;
            let Some(mut row) = row.ok_or_else(|| no_image(id)).map(|row| {
                (row.status == come.meanwhile && row.upload_host == self.host).then_some(row)
            })?
            else {
                return Err(ApiError::conflict(
                    "Conflict",
                    format!("Image {id} was changed while its data came."),
                ));
            };
            fill(&mut row, &come.written);
            row.virtual_size = come.virtual_size;
            row.upload_host = String::new();
            then(&mut row);
            if swap_in(&tx, row).await?.is_none() {
                return Ok(false);
            }
            if let Some(order) = order {
                work::enqueue(&tx, imports::operation(id, order)).await?;
            }
            tx.commit().await?;
            Ok::<_, ApiError>(true)
        };
        let done = loop {
            match store::retry(attempt).await {
                Ok(true) => break Ok(()),
                // Somebody has changed the row in between, its name for example.
                Ok(false) => {}
                Err(error) => break Err(error),
            }
        };
        match done {
            Ok(()) => come.guard.disarm(),
            // Deleted or changed while the data came: what is not in the table is not on disk.
            Err(_) => drop(self.files.remove(id, &come.written.sha512)),
        }
        done
    }

    /// Takes the data into the controllers' own files.
    async fn receive(
        &self,
        context: &RequestContext,
        mut row: image::Model,
        meanwhile: &'static str,
        body: Body,
        length: Option<u64>,
    ) -> Result<Come, ApiError> {
        let id = row.id.clone();
        if row.status != "queued" {
            let message = format!(
                "Image status transition from {} to {meanwhile} is not allowed",
                row.status
            );
            return Err(ApiError::conflict("Conflict", message));
        }
        if row.disk_format.is_empty() || row.container_format.is_empty() {
            return Err(ApiError::bad_request(
                "BadRequest",
                "Properties disk_format and container_format must be set prior to saving data.",
            ));
        }
        let of = if meanwhile == "saving" {
            quota::SIZE
        } else {
            quota::STAGED
        };
        let most = self.room(context, &row.owner, of).await?;
        if length.is_some_and(|length| length > most) {
            return Err(refusal(UploadError::TooLarge(most)));
        }
        row.status = meanwhile.to_owned();
        row.upload_host.clone_from(&self.host);
        let row = self.swap(row).await?;
        // Should this be dropped or refused where it stands: the guard's task puts the row back.
        let guard = BackToQueued {
            app: Some((self.db.clone(), id.clone(), self.host.clone())),
        };
        let take = self.take_in(&id, &row.disk_format, body.into_data_stream(), most);
        let (written, virtual_size) = tokio::select! {
            taken = take => taken?,
            never = self.tell_that_data_come(&id) => match never {},
        };
        Ok(Come {
            id,
            meanwhile,
            written,
            virtual_size,
            guard,
        })
    }

    /// Tells from time to time that data come still: the others do not take this controller for gone.
    async fn tell_that_data_come(&self, id: &str) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            let told = image::Entity::update_many()
                .col_expr(image::Column::UpdatedAt, Expr::value(now()))
                .filter(image::Column::Id.eq(id))
                .filter(image::Column::UploadHost.eq(&self.host))
                .exec(&self.db)
                .await;
            if let Err(error) = told {
                tracing::warn!(id, %error, "it cannot be told that data come still");
            }
        }
    }

    /// Uploads whose controller has not told for long that their data come may begin again.
    pub async fn forget_lost_uploads(&self) -> Result<(), DbErr> {
        let lost = i64::try_from(LOST_AFTER.as_micros()).unwrap_or(i64::MAX);
        let done = back_to_queued()
            .filter(image::Column::UploadHost.ne(""))
            .filter(image::Column::UpdatedAt.lt(now() - lost))
            .exec(&self.db)
            .await?;
        if done.rows_affected > 0 {
            tracing::warn!(
                uploads = done.rows_affected,
                "uploads whose controller has gone are given up"
            );
        }
        Ok(())
    }

    /// Writes a stream of at most so many bytes into the controllers' own files, of which one other must have a copy where there are others; also
    /// tells the size of the disk inside.
    pub async fn take_in<S, E>(
        &self,
        id: &str,
        format: &str,
        stream: S,
        most: u64,
    ) -> Result<(Written, i64), ApiError>
    where
        S: futures::Stream<Item = Result<bytes::Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let mut virtual_size = -1;
        let head = |head: &[u8]| {
            virtual_size = inspect::inspect(format, head)?.virtual_size.unwrap_or(-1);
            Ok(())
        };
        let mut written = self
            .files
            .receive(id, stream, most, inspect::HEAD, head)
            .await
            .map_err(refusal)?;
        self.files
            .keep(id, &mut written)
            .map_err(|error| refusal(error.into()))?;
        self.share(id, &written.sha512).await?;
        if format == "raw" {
            virtual_size = i64::try_from(written.size).unwrap_or(i64::MAX);
        }
        Ok((written, virtual_size))
    }

    /// Sends data of this controller's to the others, if there are any; when none takes them, they are removed here, too.
    pub async fn share(&self, id: &str, sha512: &str) -> Result<(), ApiError> {
        if let Some(peers) = &self.peers
            && peers.send(id, &self.files.path(id, sha512), sha512).await == 0
        {
            let _ = self.files.remove(id, sha512);
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "No other controller could take a copy of the image: nothing was stored. Try again.",
            ));
        }
        Ok(())
    }
}

/// Puts into a row what its data are.
pub fn fill(row: &mut image::Model, written: &Written) {
    row.size = i64::try_from(written.size).unwrap_or(i64::MAX);
    row.checksum.clone_from(&written.md5);
    row.os_hash_value.clone_from(&written.sha512);
}

fn refusal(error: UploadError) -> ApiError {
    let too_large =
        |message: String| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", message);
    match error {
        UploadError::CutOff(_) => ApiError::bad_request("BadRequest", error.to_string()),
        UploadError::Refused(message) => ApiError::bad_request("BadRequest", message),
        UploadError::TooLarge(_) => too_large(error.to_string()),
        UploadError::Disk(cause)
            if matches!(
                cause.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            too_large("There is not enough room for the image: nothing was stored.".to_owned())
                .with_cause(cause)
        }
        UploadError::Disk(_) => ApiError::internal(error),
    }
}

/// The statement that puts images whose data come back to `queued`; it wants to be told which.
fn back_to_queued() -> UpdateMany<image::Entity> {
    image::Entity::update_many()
        .col_expr(image::Column::Status, Expr::value("queued"))
        .col_expr(image::Column::UploadHost, Expr::value(""))
        .col_expr(
            image::Column::Revision,
            Expr::col(image::Column::Revision).add(1),
        )
        .filter(image::Column::Status.is_in(["saving", "uploading"]))
}

/// Puts an image back to `queued` when its upload ends in any other way than well.
struct BackToQueued {
    app: Option<(DatabaseConnection, String, String)>,
}

impl BackToQueued {
    fn disarm(mut self) {
        self.app = None;
    }
}

impl Drop for BackToQueued {
    fn drop(&mut self) {
        let Some((db, id, host)) = self.app.take() else {
            return;
        };
        tokio::spawn(async move {
            let done = back_to_queued()
                .filter(image::Column::Id.eq(&id))
                .filter(image::Column::UploadHost.eq(host))
                .exec(&db)
                .await;
            if let Err(error) = done {
                tracing::warn!(id, %error, "an image stays as it is until the service starts again");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_as_such() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let told = refusal(UploadError::Disk(full));
        assert_eq!(told.status, StatusCode::PAYLOAD_TOO_LARGE);
        let broken = refusal(UploadError::Disk(io::Error::other("broken")));
        assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
