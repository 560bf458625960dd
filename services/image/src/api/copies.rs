//! `/internal/images/{id}/data`: copies between controllers, which know each other by a secret. The balancer lets nobody
//! in here from outside.
use super::Shared;
use crate::app::{copies, files::UploadError};
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode, header};
use service_kit::{ApiError, Path};
use tokio_util::io::ReaderStream;

/// To strangers there is nothing here.
fn check(app: &Shared, headers: &HeaderMap, id: &str) -> Result<(), ApiError> {
    let given = headers.get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok());
    let is_id = uuid::Uuid::try_parse(id).is_ok_and(|parsed| parsed.to_string() == id);
    match given.is_some_and(|given| app.peers.knows(given)) && is_id {
        true => Ok(()),
        false => Err(ApiError::not_found(
            "NotFound",
            "The resource could not be found.",
        )),
    }
}

pub async fn put(
    State(app): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    check(&app, &headers, &id)?;
    let sha512 = headers
        .get(copies::SHA512)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
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
    check(&app, &headers, &id)?;
    let file = match tokio::fs::File::open(app.files.path(&id)).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ApiError::not_found("NotFound", "It is not here."));
        }
        Err(error) => return Err(ApiError::internal(error)),
    };
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
