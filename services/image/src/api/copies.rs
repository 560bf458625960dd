//! `/internal/images/{id}/data`: copies between controllers, which know each other by a secret. The balancer lets nobody
//! in here from outside.
use super::Shared;
use crate::app::{copies, files::UploadError};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode, header};
use service_kit::{ApiError, Path};
use tokio_util::io::ReaderStream;

/// The digest that a controller names; to strangers, and for what is no image, there is nothing here.
fn check<'a>(app: &Shared, headers: &'a HeaderMap, id: &str) -> Result<&'a str, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_peer = app.peers.as_ref().is_some_and(|peers| {
        text(header::AUTHORIZATION.as_str()).is_some_and(|given| peers.knows(given))
    });
    let is_id = uuid::Uuid::try_parse(id).is_ok_and(|parsed| parsed.to_string() == id);
    let is_digest = |digest: &&str| {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        digest.len() == 128 && digest.bytes().all(is_hex)
    };
    text(copies::SHA512)
        .filter(is_digest)
        .filter(|_| is_peer && is_id)
        .ok_or_else(|| ApiError::not_found("NotFound", "The resource could not be found."))
}

pub async fn put(
    State(app): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let sha512 = check(&app, &headers, &id)?;
    let stream = body.into_data_stream();
    copies::take(&app.files, &id, stream, app.max_bytes, sha512)
        .await
        .map_err(|error| match error {
            UploadError::Disk(_) => ApiError::internal(error),
            _ => ApiError::bad_request("BadRequest", error.to_string()),
        })?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn get(
    State(app): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let sha512 = check(&app, &headers, &id)?;
    let Some(path) = app.files.find(&id, sha512) else {
        return Err(ApiError::not_found("NotFound", "It is not here."));
    };
    let file = tokio::fs::File::open(path)
        .await
        .map_err(ApiError::internal)?;
    let length = file.metadata().await.map_err(ApiError::internal)?.len();
    Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, length)
        .body(Body::from_stream(ReaderStream::with_capacity(
            file,
            256 << 10,
        )))
        .map_err(ApiError::internal)
}
