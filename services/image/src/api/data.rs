//! `/v2/images/{id}/file`: the data, up and down.

use super::Shared;
use axum::{body::Body, extract::State, response::Response};
use http::{StatusCode, header};
use service_kit::{ApiError, Path, RequestContext};
use tokio_util::io::ReaderStream;

pub async fn upload(
    State(app): State<Shared>,
    context: RequestContext,
    Path(id): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let row = app.own(&context, &id, "upload_image").await?;
    app.upload(row, body).await?;
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
    if row.status != "active" && row.status != "deactivated" {
        return Response::builder()
            .status(StatusCode::NO_CONTENT)
            .body(Body::empty())
            .map_err(ApiError::internal);
    }
    let sha512 = &row.os_hash_value;
    let body = match (app.files.find(&id, sha512), &app.peers) {
        (Some(path), _) => {
            let file = tokio::fs::File::open(path).await;
            let file = file.map_err(ApiError::internal)?;
            Body::from_stream(ReaderStream::with_capacity(file, 256 << 10))
        }
        // A copy is on its way here; until it has come, another controller has it.
        (None, Some(peers)) => {
            let answer = peers.open(&id, sha512).await;
            Body::from_stream(answer.ok_or_else(|| lost(&id))?.bytes_stream())
        }
        (None, None) => return Err(lost(&id)),
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
