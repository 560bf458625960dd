//! `OS::Neutron::FloatingIPAssociation`: leads a floating IP to a port.
use crate::resources::{Cloud, Kind, Property, ResourceError, ResourceType, gone, lookup};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

pub struct FloatingIpAssociation;

const PROPERTIES: &[Property] = &[
    Property::new("floatingip_id", Kind::String, "Floating IP").required(),
    Property::new("port_id", Kind::String, "Port, by name or id").in_place(),
    Property::new(
        "fixed_ip_address",
        Kind::String,
        "Which of the port's addresses",
    )
    .in_place(),
];

async fn associate(
    cloud: &Cloud,
    properties: &Map<String, Value>,
) -> Result<String, ResourceError> {
    let id = properties
        .get("floatingip_id")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut body = Map::new();
    let port = match properties.get("port_id").and_then(Value::as_str) {
        Some(port) => json!(lookup::neutron(&cloud.client, "ports", port).await?),
        None => Value::Null,
    };
    body.insert("port_id".to_owned(), port);
    if let Some(address) = properties.get("fixed_ip_address") {
        body.insert("fixed_ip_address".to_owned(), address.clone());
    }
    cloud
        .client
        .put(
            "network",
            &format!("/v2.0/floatingips/{id}"),
            &json!({ "floatingip": body }),
        )
        .await?;
    Ok(id.to_owned())
}

#[async_trait]
impl ResourceType for FloatingIpAssociation {
    fn name(&self) -> &'static str {
        "OS::Neutron::FloatingIPAssociation"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn attribute_names(&self) -> &'static [&'static str] {
        &["show"]
    }

    fn comes_after(&self) -> &'static [&'static str] {
        &["OS::Neutron::RouterInterface"]
    }

    async fn create(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError> {
        associate(cloud, properties).await
    }

    async fn update(
        &self,
        cloud: &Cloud,
        _: &str,
        _: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), ResourceError> {
        associate(cloud, new).await.map(drop)
    }

    async fn delete(&self, cloud: &Cloud, id: &str) -> Result<(), ResourceError> {
        let body = json!({"floatingip": {"port_id": null}});
        gone(
            cloud
                .client
                .put("network", &format!("/v2.0/floatingips/{id}"), &body)
                .await
                .map(drop),
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
            .get("network", &format!("/v2.0/floatingips/{id}"))
            .await?;
        Ok(Map::from_iter([(
            "show".to_owned(),
            answer["floatingip"].clone(),
        )]))
    }
}
