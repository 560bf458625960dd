//! Image's logic: who sees which image, its life from `queued` to `active`, its data.

pub mod copies;
pub mod files;
pub mod imports;
pub mod inspect;
pub mod quota;
pub mod stores;
pub mod tasks;
mod upload;
pub mod web;

use crate::store::entities::{image, member};
use copies::Peers;
use files::Files;
use quota::Quotas;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr,
    EntityTrait, IntoActiveModel, QueryFilter, sea_query::Expr,
};
use service_kit::{
    ApiError, RequestContext, store,
    work::{self, Queue},
};
use std::sync::Arc;
use stores::Stores;
use tokio_util::sync::CancellationToken;
use web::Web;

/// What every handler works with.
pub struct App {
    /// Image's database.
    pub db: DatabaseConnection,
    /// The data.
    pub files: Arc<Files>,
    /// The other controllers, if there are any that have them, too.
    pub peers: Option<Arc<Peers>>,
    /// Where data are kept.
    pub stores: Stores,
    /// Fetches from the web.
    pub web: Web,
    /// Ways of import that are offered.
    pub import_methods: Vec<imports::Way>,
    /// Projects' limits.
    pub quotas: Quotas,
    /// Imports, and removal from stores.
    pub queue: Queue,
    /// Cancelled when the service stops.
    pub stop: CancellationToken,
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

/// That there is no such image, or that the caller may not know of it.
pub fn no_image(id: &str) -> ApiError {
    ApiError::not_found("NotFound", format!("No image found with ID {id}"))
}

/// The fault of what was asked for in a wrong way.
pub fn wrong(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("BadRequest", message)
}

impl App {
    /// Uploads that this host had begun when it stopped may begin again.
    pub async fn forget_interrupted_uploads(&self) -> Result<(), DbErr> {
        image::Entity::update_many()
            .col_expr(image::Column::Status, Expr::value("queued"))
            .col_expr(image::Column::UploadHost, Expr::value(""))
            .filter(image::Column::Status.is_in(["saving", "uploading"]))
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
    pub async fn swap(&self, row: image::Model) -> Result<image::Model, ApiError> {
        let id = row.id.clone();
        match store::retry(|| swap_in(&self.db, row.clone())).await? {
            Some(row) => Ok(row),
            None => Err(self.overtaken(&id).await),
        }
    }

    /// Why a row could not be swapped.
    pub async fn overtaken(&self, id: &str) -> ApiError {
        match image::Entity::find_by_id(id).one(&self.db).await {
            Ok(Some(_)) => ApiError::conflict(
                "Conflict",
                format!("Image {id} was changed by somebody else; try again."),
            ),
            Ok(None) => no_image(id),
            Err(error) => error.into(),
        }
    }

    /// Changes a row as it is now, whoever else changes it meanwhile; none when there is none.
    pub async fn change(
        &self,
        id: &str,
        with: impl Fn(&mut image::Model),
    ) -> Result<Option<image::Model>, DbErr> {
        loop {
            let Some(mut row) = image::Entity::find_by_id(id).one(&self.db).await? else {
                return Ok(None);
            };
            with(&mut row);
            if let Some(row) = store::retry(|| swap_in(&self.db, row.clone())).await? {
                return Ok(Some(row));
            }
        }
    }

    /// Deletes the row, then the data.
    pub async fn delete(&self, id: &str) -> Result<(), ApiError> {
        let gone = loop {
            let gone = store::retry(async || {
                let tx = store::begin(&self.db).await?;
                let row = image::Entity::find_by_id(id).one(&tx).await?;
                let row = row.ok_or_else(|| no_image(id))?;
                if row.protected {
                    return Err(ApiError::forbidden(
                        "Forbidden",
                        format!("Image {id} is protected and cannot be deleted."),
                    ));
                }
                let deleted = image::Entity::delete_many()
                    .filter(image::Column::Id.eq(id))
                    .filter(image::Column::Revision.eq(row.revision))
                    .exec(&tx)
                    .await?;
                if deleted.rows_affected == 0 {
                    return Ok(None);
                }
                member::Entity::delete_many()
                    .filter(member::Column::ImageId.eq(id))
                    .exec(&tx)
                    .await?;
                // An import may be bringing them somewhere now: removal comes after it.
                let mut stores = stores_of(&row);
                stores.extend(imports::targets(&tx, id).await?);
                stores.sort();
                stores.dedup();
                if !row.os_hash_value.is_empty() {
                    let stores = self.elsewhere(&stores);
                    for operation in imports::removals(id, &row.os_hash_value, stores) {
                        work::enqueue(&tx, operation).await?;
                    }
                }
                tx.commit().await?;
                Ok::<_, ApiError>(Some(row))
            })
            .await?;
            if let Some(gone) = gone {
                break gone;
            }
        };
        self.queue.wake();
        if !gone.os_hash_value.is_empty()
            && let Err(error) = self.files.remove(id, &gone.os_hash_value)
        {
            tracing::warn!(id, %error, "the data of a deleted image are left behind");
        }
        Ok(())
    }

    /// Those of some stores that are not the controllers' own files.
    pub fn elsewhere<'a>(&self, names: &'a [String]) -> impl Iterator<Item = &'a String> {
        let own = self.stores.own().map(str::to_owned);
        names
            .iter()
            .filter(move |name| Some(name.as_str()) != own.as_deref())
    }

    /// The stores that have an image's data; rows of versions that knew only one do not say it.
    pub fn stores_of(&self, row: &image::Model) -> Vec<String> {
        self.stores_by(&row.status, &row.stores)
    }

    /// The same, of a row's status and what it says.
    pub fn stores_by(&self, status: &str, stores: &str) -> Vec<String> {
        let stores = names(stores);
        match (is_whole(status), stores.is_empty(), self.stores.own()) {
            (true, true, Some(own)) => vec![own.to_owned()],
            _ => stores,
        }
    }
}

/// Whether an image's data are whole and where they belong.
pub fn has_data(row: &image::Model) -> bool {
    is_whole(&row.status)
}

/// The same, by a row's status.
pub fn is_whole(status: &str) -> bool {
    matches!(status, "active" | "deactivated")
}

/// The stores that a row names.
pub fn stores_of(row: &image::Model) -> Vec<String> {
    names(&row.stores)
}

/// Names with commas between them.
pub fn names(text: &str) -> Vec<String> {
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Writes a changed row; none when somebody else has changed or removed it meanwhile.
pub async fn swap_in(
    db: &impl ConnectionTrait,
    mut row: image::Model,
) -> Result<Option<image::Model>, DbErr> {
    let old = row.revision;
    row.revision += 1;
    row.updated_at = now();
    let mut active = row.clone().into_active_model().reset_all();
    active.id = Set(row.id.clone());
    let done = image::Entity::update_many()
        .set(active)
        .filter(image::Column::Id.eq(&row.id))
        .filter(image::Column::Revision.eq(old))
        .exec(db)
        .await?;
    Ok((done.rows_affected == 1).then_some(row))
}
