//! Identity gives a token, and says that it is good.
use crate::{Check, Cloud, Seen};
use async_trait::async_trait;

pub struct IssueToken;

#[async_trait]
impl Check for IssueToken {
    fn name(&self) -> String {
        "token".to_owned()
    }

    fn tries(&self) -> String {
        "issue a token with the administrator's password and validate it".to_owned()
    }

    fn next_step(&self) -> String {
        "read /var/log/keystone/ on the controllers; run `openstack token issue`".to_owned()
    }

    async fn run(&self, cloud: &Cloud) -> Result<Seen, String> {
        let token = cloud.client.token().await.map_err(|e| e.to_string())?;
        let secret = cloud
            .client
            .token_secret()
            .await
            .map_err(|e| e.to_string())?;
        let secret = secret.to_str().map_err(|e| e.to_string())?;
        cloud
            .client
            .request(http_get(), "identity", "/auth/tokens")
            .header("x-subject-token", secret)
            .fetch::<serde_json::Value>()
            .await
            .map_err(|e| e.to_string())?;
        let services = token.catalog.as_ref().map_or(0, Vec::len);
        Ok(Seen::Well(format!(
            "a token with {services} services in its catalogue"
        )))
    }
}

fn http_get() -> http::Method {
    http::Method::GET
}
