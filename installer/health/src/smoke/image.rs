//! The image service stores bytes and gives the same bytes back.
use super::{fresh_name, remove, text_at};
use crate::{Check, Cloud, Seen};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde_json::json;

pub struct StoreImage;

const CONTENT: &[u8] = b"wright health check\n";

#[async_trait]
impl Check for StoreImage {
    fn name(&self) -> String {
        "image".to_owned()
    }

    fn tries(&self) -> String {
        "create an image, upload a few bytes, download them, delete it".to_owned()
    }

    fn next_step(&self) -> String {
        "read /var/log/glance/ on the controllers; see that its store has space".to_owned()
    }

    async fn run(&self, cloud: &Cloud) -> Result<Seen, String> {
        let body = json!({"name": fresh_name(), "disk_format": "raw", "container_format": "bare"});
        let image = cloud
            .client
            .post("image", "/v2/images", &body)
            .await
            .map_err(|e| e.to_string())?;
        let path = format!("/v2/images/{}", text_at(&image, "/id")?);
        let result = exchange(cloud, &path).await;
        remove(&cloud.client, "image", &path).await?;
        result?;
        Ok(Seen::Well(format!(
            "{} bytes stored and read back",
            CONTENT.len()
        )))
    }
}

async fn exchange(cloud: &Cloud, path: &str) -> Result<(), String> {
    let file = format!("{path}/file");
    let bytes = stream::iter([Ok(CONTENT.into())]).boxed();
    cloud
        .client
        .request(http::Method::PUT, "image", &file)
        .stream("application/octet-stream", bytes)
        .send()
        .await
        .map_err(|e| e.to_string())?;
    let answer = cloud
        .client
        .request(http::Method::GET, "image", &file)
        .header("accept", "*/*")
        .send()
        .await
        .map_err(|e| e.to_string())?;
    let got = answer.bytes().await.map_err(|e| e.to_string())?;
    if got != CONTENT {
        return Err(format!(
            "{} bytes came back instead of {}",
            got.len(),
            CONTENT.len()
        ));
    }
    Ok(())
}
