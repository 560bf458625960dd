//! `OS::Neutron::RouterInterface`: a router's leg in a subnet, or on a port.
use crate::resources::{Cloud, Kind, Property, ResourceError, ResourceType, gone, lookup};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

pub struct RouterInterface;

const PROPERTIES: &[Property] = &[
    Property::new("router", Kind::String, "Router, by name or id"),
    Property::new("router_id", Kind::String, "Router: use `router`"),
    Property::new("subnet", Kind::String, "Subnet, by name or id"),
    Property::new("subnet_id", Kind::String, "Subnet: use `subnet`"),
    Property::new("port", Kind::String, "Port, by name or id"),
    Property::new("port_id", Kind::String, "Port: use `port`"),
];

fn given<'a>(properties: &'a Map<String, Value>, names: [&str; 2]) -> Option<&'a str> {
    names
        .iter()
        .find_map(|name| properties.get(*name))
        .and_then(Value::as_str)
}

/// `<router>:subnet_id=<id>` or `<router>:port_id=<id>`, as Heat writes it.
fn split(id: &str) -> Result<(&str, &str, &str), ResourceError> {
    id.split_once(':')
        .and_then(|(router, rest)| {
            rest.split_once('=')
                .map(|(key, value)| (router, key, value))
        })
        .ok_or_else(|| ResourceError::Failed(format!("\"{id}\" is no router interface")))
}

#[async_trait]
impl ResourceType for RouterInterface {
    fn name(&self) -> &'static str {
        "OS::Neutron::RouterInterface"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn attribute_names(&self) -> &'static [&'static str] {
        &[]
    }

    async fn create(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError> {
        let client = &cloud.client;
        let Some(router) = given(properties, ["router", "router_id"]) else {
            return Err(ResourceError::Failed(
                "Property router not assigned".to_owned(),
            ));
        };
        let router = lookup::neutron(client, "routers", router).await?;
        let (key, value) = match (
            given(properties, ["subnet", "subnet_id"]),
            given(properties, ["port", "port_id"]),
        ) {
            (Some(subnet), None) => (
                "subnet_id",
                lookup::neutron(client, "subnets", subnet).await?,
            ),
            (None, Some(port)) => ("port_id", lookup::neutron(client, "ports", port).await?),
            _ => {
                return Err(ResourceError::Failed(
                    "either `subnet` or `port` must be given".to_owned(),
                ));
            }
        };
        let path = format!("/v2.0/routers/{router}/add_router_interface");
        match client.put("network", &path, &json!({ key: value })).await {
            // An interrupted create has made it already.
            Err(error)
                if error.status().is_some_and(|status| status.as_u16() == 400)
                    && error.to_string().contains("already has a port on subnet") => {}
            other => drop(other?),
        }
        Ok(format!("{router}:{key}={value}"))
    }

    async fn delete(&self, cloud: &Cloud, id: &str) -> Result<(), ResourceError> {
        let (router, key, value) = split(id)?;
        let path = format!("/v2.0/routers/{router}/remove_router_interface");
        gone(
            cloud
                .client
                .put("network", &path, &json!({ key: value }))
                .await
                .map(drop),
        )
    }

    async fn attributes(
        &self,
        _: &Cloud,
        _: &str,
        _: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        Ok(Map::new())
    }
}
