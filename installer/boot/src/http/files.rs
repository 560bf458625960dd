//! Files as response bodies, streamed in big chunks with their length; never loaded whole.
use std::path::Path;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// Each chunk costs one hop to a blocking thread: big ones keep a gigabit line busy on little CPU.
const CHUNK: usize = 1 << 20;

/// The whole file, or 404/500. Ranges are not offered: iPXE and the agent fetch from the start.
pub(crate) async fn stream(path: &Path) -> Response {
    let opened = async {
        let file = tokio::fs::File::open(path).await?;
        let length = file.metadata().await?.len();
        std::io::Result::Ok((file, length))
    };
    match opened.await {
        Ok((mut file, length)) => {
            file.set_max_buf_size(CHUNK);
            // Never more than the length announced, should the file grow meanwhile.
            let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK));
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_LENGTH, length.to_string()),
            ];
            (headers, body).into_response()
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::error!(path = %path.display(), "a file that is offered is not there");
            StatusCode::NOT_FOUND.into_response()
        }
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "a file that is offered cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
