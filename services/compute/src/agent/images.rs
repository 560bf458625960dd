//! Images from the image service, and snapshots to it.

use std::path::Path;

use async_trait::async_trait;
use futures::StreamExt as _;
use http::Method;
use openstack_client::Client;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

use crate::hypervisor::{HypervisorError, ImageSource, Step};

/// How long the image service may be silent within a transfer.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The image service.
pub struct ImageService {
    /// Calls to it.
    pub client: Client,
}

#[async_trait]
impl ImageSource for ImageService {
    async fn download(&self, image_id: &str, target: &Path) -> Result<(), HypervisorError> {
        let failed = |error: String, transient| HypervisorError {
            step: Step::Image,
            message: format!("image {image_id}: {error}"),
            transient,
        };
        let request = self
            .client
            .request(Method::GET, "image", &format!("/v2/images/{image_id}/file"))
            .header("accept", "application/octet-stream");
        let mut response = request
            .send()
            .await
            .map_err(|error| failed(error.message(), error.is_transient()))?;
        let disk = |error: std::io::Error| {
            failed(
                format!("cannot write `{}`: {error}", target.display()),
                false,
            )
        };
        let mut file = tokio::fs::File::create(target).await.map_err(disk)?;
        loop {
            let chunk = tokio::time::timeout(SILENCE, response.body.next())
                .await
                .map_err(|_| failed("the image service fell silent".to_owned(), true))?;
            match chunk {
                None => break,
                Some(Ok(bytes)) => file.write_all(&bytes).await.map_err(disk)?,
                Some(Err(error)) => {
                    return Err(failed(format!("the download was cut off: {error}"), true));
                }
            }
        }
        file.flush().await.map_err(disk)
    }
}

impl ImageService {
    /// Sends a file as an image's data.
    pub async fn upload(&self, image_id: &str, source: &Path) -> Result<(), HypervisorError> {
        let failed = |error: String, transient| HypervisorError {
            step: Step::Image,
            message: format!("image {image_id}: {error}"),
            transient,
        };
        let file = tokio::fs::File::open(source).await.map_err(|error| {
            failed(
                format!("cannot read `{}`: {error}", source.display()),
                false,
            )
        })?;
        let stream = ReaderStream::with_capacity(file, 1 << 20).boxed();
        let request = self
            .client
            .request(Method::PUT, "image", &format!("/v2/images/{image_id}/file"))
            .stream("application/octet-stream", stream);
        request
            .send()
            .await
            .map(drop)
            .map_err(|error| failed(error.message(), error.is_transient()))
    }
}
