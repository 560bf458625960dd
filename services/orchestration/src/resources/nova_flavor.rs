//! `OS::Nova::Flavor`: the size of a server. Needs the administrator's rights.
use super::{Cloud, Kind, Property, ResourceError, ResourceType, gone};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

pub struct Flavor;

const PROPERTIES: &[Property] = &[
    Property::new(
        "name",
        Kind::String,
        "Name; made from the stack's unless given",
    ),
    Property::new("ram", Kind::Integer, "Memory in MiB").required(),
    Property::new("vcpus", Kind::Integer, "Virtual CPUs").required(),
    Property::new("disk", Kind::Integer, "Root disk in GiB"),
    Property::new("swap", Kind::Integer, "Swap in MiB"),
    Property::new("ephemeral", Kind::Integer, "Second disk in GiB"),
    Property::new("flavorid", Kind::String, "Id; chosen unless given"),
    Property::new("is_public", Kind::Boolean, "Visible to all projects"),
    Property::new("extra_specs", Kind::Map, "Extra specs").in_place(),
];

async fn set_extra_specs(
    cloud: &Cloud,
    id: &str,
    properties: &Map<String, Value>,
) -> Result<(), ResourceError> {
    if let Some(specs) = properties.get("extra_specs") {
        cloud
            .client
            .post(
                "compute",
                &format!("/flavors/{id}/os-extra_specs"),
                &json!({ "extra_specs": specs }),
            )
            .await?;
    }
    Ok(())
}

#[async_trait]
impl ResourceType for Flavor {
    fn name(&self) -> &'static str {
        "OS::Nova::Flavor"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn attribute_names(&self) -> &'static [&'static str] {
        &["is_public", "extra_specs", "show"]
    }

    async fn find(&self, cloud: &Cloud) -> Result<Option<String>, ResourceError> {
        let answer = cloud.client.get("compute", "/flavors").await?;
        let flavors = answer["flavors"].as_array().cloned().unwrap_or_default();
        let found = flavors
            .iter()
            .find(|flavor| flavor["name"] == cloud.physical_name.as_str());
        Ok(found
            .and_then(|flavor| flavor["id"].as_str())
            .map(str::to_owned))
    }

    async fn create(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError> {
        let mut body = properties.clone();
        body.remove("extra_specs");
        body.entry("name")
            .or_insert_with(|| json!(cloud.physical_name));
        body.entry("disk").or_insert_with(|| json!(0));
        if let Some(id) = body.remove("flavorid") {
            body.insert("id".to_owned(), id);
        }
        for (from, to) in [
            ("ephemeral", "OS-FLV-EXT-DATA:ephemeral"),
            ("is_public", "os-flavor-access:is_public"),
        ] {
            if let Some(value) = body.remove(from) {
                body.insert(to.to_owned(), value);
            }
        }
        let answer = cloud
            .client
            .post("compute", "/flavors", &json!({ "flavor": body }))
            .await?;
        Ok(answer["flavor"]["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    async fn is_ready(
        &self,
        cloud: &Cloud,
        id: &str,
        properties: &Map<String, Value>,
    ) -> Result<bool, ResourceError> {
        set_extra_specs(cloud, id, properties).await?;
        Ok(true)
    }

    async fn delete(&self, cloud: &Cloud, id: &str) -> Result<(), ResourceError> {
        gone(
            cloud
                .client
                .delete("compute", &format!("/flavors/{id}"))
                .await,
        )
    }

    async fn attributes(
        &self,
        cloud: &Cloud,
        id: &str,
        properties: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        let answer = cloud
            .client
            .get("compute", &format!("/flavors/{id}"))
            .await?;
        let flavor = answer["flavor"].clone();
        let specs = properties
            .get("extra_specs")
            .cloned()
            .unwrap_or_else(|| json!({}));
        Ok(Map::from_iter([
            (
                "is_public".to_owned(),
                flavor["os-flavor-access:is_public"].clone(),
            ),
            ("extra_specs".to_owned(), specs),
            ("show".to_owned(), flavor),
        ]))
    }
}
