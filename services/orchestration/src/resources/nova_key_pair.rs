//! `OS::Nova::KeyPair`: a public key that servers accept; its name is its id.
use super::{Cloud, Kind, Property, ResourceError, ResourceType, gone};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

pub struct KeyPair;

const PROPERTIES: &[Property] = &[
    Property::new("name", Kind::String, "Name").required(),
    Property::new("public_key", Kind::String, "Public key in OpenSSH's form").required(),
    Property::new("type", Kind::String, "`ssh` or `x509`"),
];

#[async_trait]
impl ResourceType for KeyPair {
    fn name(&self) -> &'static str {
        "OS::Nova::KeyPair"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn attribute_names(&self) -> &'static [&'static str] {
        &["public_key", "show"]
    }

    async fn create(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError> {
        let body = json!({"keypair": {"name": properties["name"], "public_key": properties["public_key"]}});
        let answer = cloud.client.post("compute", "/os-keypairs", &body).await?;
        Ok(answer["keypair"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    async fn delete(&self, cloud: &Cloud, id: &str) -> Result<(), ResourceError> {
        gone(
            cloud
                .client
                .delete("compute", &format!("/os-keypairs/{id}"))
                .await,
        )
    }

    async fn attributes(
        &self,
        cloud: &Cloud,
        id: &str,
        _: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        let answer = cloud
            .client
            .get("compute", &format!("/os-keypairs/{id}"))
            .await?;
        let pair = answer["keypair"].clone();
        Ok(Map::from_iter([
            ("public_key".to_owned(), pair["public_key"].clone()),
            ("show".to_owned(), pair),
        ]))
    }
}
