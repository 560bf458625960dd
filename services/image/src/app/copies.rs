//! The data of images on more than one controller, where each keeps them on its own disk: an upload is taken when at
//! least one other controller has it, too; what a controller misses it fetches; what it has no row for goes away.
//!
//! Controllers ask each other under `/internal/images/{id}/data`, with a secret that only they have. Does not know who may
//! see an image.
use super::{
    App,
    files::{Files, UploadError, name},
    is_whole, tasks,
};
use crate::store::entities::image;
use futures::StreamExt;
use http::{StatusCode, header};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};
use tokio_util::io::ReaderStream;

/// How often a controller looks for what it misses.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A peer that is gone must not hold an upload for minutes.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long a copy may stand still.
const IDLE: Duration = Duration::from_secs(30);
/// Rows read at once.
const PAGE: u64 = 500;
/// Data without a row may belong to an image whose row is about to be there.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);
/// Carries the digest of the data that is sent.
pub const SHA512: &str = "x-image-sha512";

/// The other controllers, at least one.
pub struct Peers {
    urls: Vec<String>,
    secret: String,
    client: reqwest::Client,
}

impl Peers {
    /// `urls` without a slash at their end, for example `https://10.20.1.12:9292`; `ca`: PEM of the only authority that is
    /// trusted.
    ///
    /// # Errors
    /// When the authority cannot be read.
    pub fn new(
        urls: Vec<String>,
        secret: String,
        ca: Option<&str>,
    ) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder();
        if let Some(ca) = ca {
            let trusted = reqwest::Certificate::from_pem_bundle(ca.as_bytes())?;
            builder = builder.tls_certs_only(trusted);
        }
        let client = builder
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(IDLE)
            .build()?;
        Ok(Self {
            urls,
            secret,
            client,
        })
    }

    /// Whether a caller has the controllers' secret.
    pub fn knows(&self, authorization: &str) -> bool {
        use subtle::ConstantTimeEq;
        let secret = authorization.strip_prefix("Bearer ").unwrap_or_default();
        !self.secret.is_empty() && bool::from(secret.as_bytes().ct_eq(self.secret.as_bytes()))
    }

    fn request(
        &self,
        method: http::Method,
        peer: &str,
        id: &str,
        sha512: &str,
    ) -> reqwest::RequestBuilder {
        let url = format!("{peer}/internal/images/{id}/data");
        let request = self.client.request(method, url);
        request.bearer_auth(&self.secret).header(SHA512, sha512)
    }

    /// Sends the file at `path` to every other controller at once; how many have it.
    pub async fn send(&self, id: &str, path: &Path, sha512: &str) -> usize {
        let sends = self.urls.iter().map(|peer| async move {
            match self.send_to(peer, id, path, sha512).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(id, peer, error, "a copy of an image could not be sent");
                    false
                }
            }
        });
        let sent = futures::future::join_all(sends).await;
        sent.into_iter().filter(|sent| *sent).count()
    }

    async fn send_to(&self, peer: &str, id: &str, path: &Path, sha512: &str) -> Result<(), String> {
        let file = tokio::fs::File::open(path).await.map_err(text)?;
        let length = file.metadata().await.map_err(text)?.len();
        let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, 256 << 10));
        let answer = self
            .request(http::Method::PUT, peer, id, sha512)
            .header(header::CONTENT_LENGTH, length)
            .body(body)
            .send()
            .await
            .map_err(text)?;
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(()),
            status => Err(format!("it answered {status}")),
        }
    }

    /// These data of an image from whoever has them; none when nobody answers with them.
    pub async fn open(&self, id: &str, sha512: &str) -> Option<reqwest::Response> {
        for peer in &self.urls {
            match self
                .request(http::Method::GET, peer, id, sha512)
                .send()
                .await
            {
                Ok(answer) if answer.status() == StatusCode::OK => return Some(answer),
                Ok(_) => {}
                Err(error) => tracing::debug!(id, peer, %error, "a peer does not answer"),
            }
        }
        None
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Takes a copy from a stream, if it is what `sha512` says.
///
/// # Errors
/// When it breaks off, or is something else.
pub async fn take<S, E>(
    files: &Files,
    id: &str,
    stream: S,
    max_bytes: u64,
    sha512: &str,
) -> Result<(), UploadError>
where
    S: futures::Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let mut written = files.receive(id, stream, max_bytes, 0, |_| Ok(())).await?;
    if written.sha512 != sha512 {
        return Err(UploadError::Refused(
            "the data are not what their digest says".to_owned(),
        ));
    }
    files.keep(id, &mut written)?;
    Ok(())
}

/// Fetches what is missing here, removes what no row names, and forgets old tasks, until the service stops.
pub async fn keep_whole(app: Arc<App>) {
    loop {
        if let Err(error) = look(&app).await {
            tracing::warn!(%error, "copies of images could not be looked after");
        }
        if let Err(error) = app.forget_lost_uploads().await {
            tracing::warn!(%error, "uploads that are lost could not be given up");
        }
        if let Err(error) = tasks::forget(&app.db).await {
            tracing::warn!(%error, "old tasks could not be forgotten");
        }
        tokio::select! {
            () = app.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn look(app: &App) -> Result<(), sea_orm::DbErr> {
    // Before the rows: what comes while they are read is not taken for what nobody knows.
    let here = app.files.list();
    let (mut known, mut moving) = (HashSet::new(), HashSet::new());
    let mut after = String::new();
    loop {
        let rows: Vec<(String, String, String, String)> = image::Entity::find()
            .select_only()
            .columns([
                image::Column::Id,
                image::Column::Status,
                image::Column::OsHashValue,
                image::Column::Stores,
            ])
            .filter(image::Column::Id.gt(&after))
            .order_by_asc(image::Column::Id)
            .limit(PAGE)
            .into_tuple()
            .all(&app.db)
            .await?;
        let Some((last, ..)) = rows.last() else {
            break;
        };
        after.clone_from(last);
        for (id, status, sha512, stores) in &rows {
            let belongs = if is_whole(status) {
                let stores = app.stores_by(status, stores);
                stores
                    .iter()
                    .any(|name| Some(name.as_str()) == app.stores.own())
            } else {
                // Under way: what has come is wanted, and what comes has no digest yet.
                if status != "queued" {
                    moving.insert(id.clone());
                }
                !sha512.is_empty()
            };
            if !belongs {
                continue;
            }
            if let Some(peers) = &app.peers
                && app.files.find(id, sha512).is_none()
            {
                fetch(&app.files, peers, id, app.max_bytes, sha512).await;
            }
            known.insert(name(id, sha512));
            known.insert(id.clone());
        }
    }
    for (name, changed) in here {
        let id = name.split('.').next().unwrap_or_default();
        let old = changed.elapsed().is_ok_and(|age| age > ORPHAN_AGE);
        // Data whose image was deleted while this controller was away, and those of uploads that were not taken.
        if old
            && !known.contains(&name)
            && !moving.contains(id)
            && let Err(error) = app.files.remove_name(&name)
        {
            tracing::warn!(name, %error, "the data of a deleted image are left behind");
        }
    }
    Ok(())
}

async fn fetch(files: &Files, peers: &Peers, id: &str, max_bytes: u64, sha512: &str) {
    let Some(answer) = peers.open(id, sha512).await else {
        tracing::warn!(id, "no controller that answers has the data of this image");
        return;
    };
    let stream = answer.bytes_stream().boxed();
    match take(files, id, stream, max_bytes, sha512).await {
        Ok(()) => tracing::info!(id, "a copy of an image was fetched"),
        Err(error) => tracing::warn!(id, %error, "a copy of an image could not be fetched"),
    }
}
