//! `/v2/images/{id}/file` and `/stage`: the data, up and down.

use super::Shared;
use crate::app::has_data;
use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, StatusCode, header};
use service_kit::{ApiError, Path, RequestContext};
use tokio_util::io::ReaderStream;

/// Names the store that data shall go to.
pub fn store_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("x-image-meta-store");
    value.and_then(|value| value.to_str().ok())
}

fn length_of(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH);
    value.and_then(|value| value.to_str().ok()?.parse().ok())
}

pub async fn upload(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let row = app.own(&context, &id, "upload_image").await?;
    app.upload(&context, row, body, length_of(&headers), store_of(&headers))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn stage(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let row = app.own(&context, &id, "modify_image").await?;
    app.stage(&context, row, body, length_of(&headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn download(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let row = app.visible(&context, &id).await?;
    if row.status == "deactivated" && !context.is_admin {
        return Err(ApiError::forbidden(
            "Forbidden",
            "The requested image has been deactivated. Image data download is forbidden.",
        ));
    }
    if !has_data(&row) {
        return Response::builder()
            .status(StatusCode::NO_CONTENT)
            .body(Body::empty())
            .map_err(ApiError::internal);
    }
    let sha512 = &row.os_hash_value;
    let body = match app.files.find(&id, sha512) {
        Some(path) => {
            let file = tokio::fs::File::open(path).await;
            let file = file.map_err(ApiError::internal)?;
            Body::from_stream(ReaderStream::with_capacity(file, 256 << 10))
        }
        None => match (app.open_elsewhere(&row).await, &app.peers) {
            (Some(data), _) => Body::from_stream(data),
            // A copy is on its way here; until it has come, another controller has it.
            (None, Some(peers)) => {
                let answer = peers.open(&id, sha512).await;
                Body::from_stream(answer.ok_or_else(|| lost(&id))?.bytes_stream())
            }
            (None, None) => return Err(lost(&id)),
        },
    };
    Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, row.size)
        .header("content-md5", row.checksum)
        .body(body)
        .map_err(ApiError::internal)
}

fn lost(id: &str) -> ApiError {
    ApiError::internal(format!("the data of image {id} are not to be found"))
}
