//! Image's logic: who sees which image, its life from `queued` to `active`, its data.

pub mod copies;
pub mod files;
pub mod inspect;

use crate::store::entities::{image, member};
use axum::body::Body;
use copies::Peers;
use files::{Files, UploadError};
use http::StatusCode;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseConnection, DbErr, EntityTrait,
    ExprTrait, IntoActiveModel, QueryFilter, sea_query::Expr,
};
use service_kit::{ApiError, RequestContext, store};
use std::sync::Arc;

/// What every handler works with.
pub struct App {
    /// Image's database.
    pub db: DatabaseConnection,
    /// The data.
    pub files: Arc<Files>,
    /// The other controllers, if there are any that have them, too.
    pub peers: Option<Arc<Peers>>,
    /// Largest image.
    pub max_bytes: u64,
    /// This host.
    pub host: String,
    /// For version documents.
    pub public_url: String,
}

/// µs since 1970.
pub fn now() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

fn no_image(id: &str) -> ApiError {
    ApiError::not_found("NotFound", format!("No image found with ID {id}"))
}

impl App {
    /// Uploads that this host had begun when it stopped may begin again.
    pub async fn forget_interrupted_uploads(&self) -> Result<(), DbErr> {
        image::Entity::update_many()
            .col_expr(image::Column::Status, Expr::value("queued"))
            .col_expr(image::Column::UploadHost, Expr::value(""))
            .filter(image::Column::Status.eq("saving"))
            .filter(image::Column::UploadHost.eq(&self.host))
            .exec(&self.db)
            .await
            .map(drop)
    }

    /// Projects that share an image, with their answer.
    pub async fn members(&self, id: &str) -> Result<Vec<member::Model>, DbErr> {
        member::Entity::find()
            .filter(member::Column::ImageId.eq(id))
            .all(&self.db)
            .await
    }

    /// An image that the caller may see; others do not exist for him.
    pub async fn visible(
        &self,
        context: &RequestContext,
        id: &str,
    ) -> Result<image::Model, ApiError> {
        let row = image::Entity::find_by_id(id)
            .one(&self.db)
            .await?
            .ok_or_else(|| no_image(id))?;
        if context.owns(&row.owner) || matches!(row.visibility.as_str(), "public" | "community") {
            return Ok(row);
        }
        if row.visibility == "shared"
            && self
                .members(id)
                .await?
                .iter()
                .any(|m| m.member_id == context.project_id)
        {
            return Ok(row);
        }
        Err(no_image(id))
    }

    /// An image that the caller may change.
    pub async fn own(
        &self,
        context: &RequestContext,
        id: &str,
        operation: &str,
    ) -> Result<image::Model, ApiError> {
        let row = self.visible(context, id).await?;
        if context.owns(&row.owner) {
            Ok(row)
        } else {
            Err(ApiError::policy(operation))
        }
    }

    /// Writes a changed row if nobody else has changed it meanwhile.
    pub async fn swap(&self, mut row: image::Model) -> Result<image::Model, ApiError> {
        let old = row.revision;
        row.revision += 1;
        row.updated_at = now();
        let id = row.id.clone();
        let mut active = row.clone().into_active_model().reset_all();
        active.id = Set(id.clone());
        let done = store::retry(|| {
            image::Entity::update_many()
                .set(active.clone())
                .filter(image::Column::Id.eq(&id))
                .filter(image::Column::Revision.eq(old))
                .exec(&self.db)
        })
        .await?;
        if done.rows_affected == 1 {
            return Ok(row);
        }
        match image::Entity::find_by_id(&id).one(&self.db).await? {
            Some(_) => Err(ApiError::conflict(
                "Conflict",
                format!("Image {id} was changed by somebody else; try again."),
            )),
            None => Err(no_image(&id)),
        }
    }

    /// Receives an image's data: `queued → saving → active`, or back to `queued`.
    pub async fn upload(&self, mut row: image::Model, body: Body) -> Result<(), ApiError> {
        let id = row.id.clone();
        if row.status != "queued" {
            let message = format!(
                "Image status transition from {} to saving is not allowed",
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
        row.status = "saving".to_owned();
        row.upload_host = self.host.clone();
        let row = self.swap(row).await?;
        // Should the client go away, this request is dropped where it stands: the guard's task puts the row back.
        let mut guard = BackToQueued {
            app: Some((self.db.clone(), id.clone())),
        };
        let format = row.disk_format.clone();
        let mut virtual_size = -1;
        let head = |head: &[u8]| {
            virtual_size = inspect::inspect(&format, head)?.virtual_size.unwrap_or(-1);
            Ok(())
        };
        let received = self
            .files
            .receive(
                &id,
                body.into_data_stream(),
                self.max_bytes,
                inspect::HEAD,
                head,
            )
            .await;
        let mut written = received.map_err(|error| match error {
            UploadError::CutOff(_) => ApiError::bad_request("BadRequest", error.to_string()),
            UploadError::Refused(message) => ApiError::bad_request("BadRequest", message),
            UploadError::TooLarge(_) => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestTooLarge",
                error.to_string(),
            ),
            UploadError::Disk(_) => ApiError::internal(error),
        })?;
        self.files
            .keep(&id, &mut written)
            .map_err(ApiError::internal)?;
        let path = self.files.path(&id, &written.sha512);
        if let Some(peers) = &self.peers
            && peers.send(&id, &path, &written.sha512).await == 0
        {
            let _ = self.files.remove(&id, &written.sha512);
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "No other controller could take a copy of the image: nothing was stored. Try again.",
            ));
        }
        let mut row = image::Entity::find_by_id(&id)
            .one(&self.db)
            .await?
            .ok_or_else(|| no_image(&id))?;
        row.status = "active".to_owned();
        row.upload_host = String::new();
        row.size = i64::try_from(written.size).unwrap_or(i64::MAX);
        row.virtual_size = if format == "raw" {
            row.size
        } else {
            virtual_size
        };
        row.checksum = written.md5.clone();
        row.os_hash_value = written.sha512.clone();
        match self.swap(row).await {
            Ok(_) => {
                guard.app = None;
                Ok(())
            }
            Err(error) => {
                // Deleted or changed while the data came: what is not in the table is not on disk.
                let _ = self.files.remove(&id, &written.sha512);
                Err(error)
            }
        }
    }

    /// Deletes the row, then the data.
    pub async fn delete(&self, row: image::Model) -> Result<(), ApiError> {
        if row.protected {
            return Err(ApiError::forbidden(
                "Forbidden",
                format!("Image {} is protected and cannot be deleted.", row.id),
            ));
        }
        store::retry(async || {
            let tx = store::begin(&self.db).await?;
            member::Entity::delete_many()
                .filter(member::Column::ImageId.eq(&row.id))
                .exec(&tx)
                .await?;
            image::Entity::delete_by_id(&row.id).exec(&tx).await?;
            tx.commit().await
        })
        .await?;
        if let Err(error) = self.files.remove(&row.id, &row.os_hash_value) {
            tracing::warn!(id = row.id, %error, "the data of a deleted image is left behind");
        }
        Ok(())
    }
}

/// Puts an image back to `queued` when its upload ends in any other way than well.
struct BackToQueued {
    app: Option<(DatabaseConnection, String)>,
}

impl Drop for BackToQueued {
    fn drop(&mut self) {
        let Some((db, id)) = self.app.take() else {
            return;
        };
        tokio::spawn(async move {
            let done = image::Entity::update_many()
                .col_expr(image::Column::Status, Expr::value("queued"))
                .col_expr(image::Column::UploadHost, Expr::value(""))
                .col_expr(
                    image::Column::Revision,
                    Expr::col(image::Column::Revision).add(1),
                )
                .filter(image::Column::Id.eq(&id))
                .filter(image::Column::Status.eq("saving"))
                .exec(&db)
                .await;
            if let Err(error) = done {
                tracing::warn!(id, %error, "an image stays in `saving` until the service starts again");
            }
        });
    }
}
