//! `OS::Nova::Server`: an instance.
use super::{Cloud, Kind, Property, ResourceError, ResourceType, gone, lookup};
use async_trait::async_trait;
use base64::Engine;
use http::Method;
use serde_json::{Map, Value, json};

pub struct Server;

const PROPERTIES: &[Property] = &[
    Property::new(
        "name",
        Kind::String,
        "Name; made from the stack's unless given",
    )
    .in_place(),
    Property::new("image", Kind::String, "Image, by name or id"),
    Property::new("flavor", Kind::String, "Flavor, by name or id").required(),
    Property::new("key_name", Kind::String, "Key pair"),
    Property::new(
        "networks",
        Kind::List,
        "Networks: `{port}`, `{network, fixed_ip}` or `{uuid}` each",
    ),
    Property::new(
        "security_groups",
        Kind::List,
        "Security groups of ports that the server makes itself",
    ),
    Property::new(
        "user_data",
        Kind::String,
        "What the server runs at its first boot",
    ),
    Property::new("user_data_format", Kind::String, "`RAW` or `HEAT_CFNTOOLS`"),
    Property::new("availability_zone", Kind::String, "Availability zone"),
    Property::new(
        "config_drive",
        Kind::Boolean,
        "Whether there is a config drive",
    ),
    Property::new("metadata", Kind::Map, "Metadata of the server").in_place(),
    Property::new("admin_pass", Kind::String, "Administrator's password"),
    Property::new("scheduler_hints", Kind::Map, "Hints for the scheduler"),
    Property::new("tags", Kind::List, "Tags"),
];

/// The microversion from which servers have a description, by which an interrupted create is found again.
const DESCRIPTIONS: &str = "2.19";

/// Names in Nova are shorter than in Heat.
const NAME_LENGTH_MAX: usize = 53;

fn server_name(cloud: &Cloud) -> String {
    let name = &cloud.physical_name;
    match name.char_indices().rev().nth(NAME_LENGTH_MAX - 1) {
        // The end tells servers apart.
        Some((start, _)) => name[start..].trim_start_matches('-').to_owned(),
        None => name.clone(),
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

async fn networks(cloud: &Cloud, list: &Value) -> Result<Value, ResourceError> {
    let mut out = Vec::new();
    for entry in list.as_array().into_iter().flatten() {
        let mut network = Map::new();
        if let Some(port) = text(entry.get("port")) {
            network.insert(
                "port".to_owned(),
                json!(lookup::neutron(&cloud.client, "ports", port).await?),
            );
        } else if let Some(name) = text(entry.get("network")).or_else(|| text(entry.get("uuid"))) {
            network.insert(
                "uuid".to_owned(),
                json!(lookup::neutron(&cloud.client, "networks", name).await?),
            );
        } else {
            return Err(ResourceError::Failed(
                "an entry of `networks` has neither `port` nor `network`".to_owned(),
            ));
        }
        if let Some(address) = text(entry.get("fixed_ip")) {
            network.insert("fixed_ip".to_owned(), json!(address));
        }
        out.push(Value::Object(network));
    }
    Ok(Value::Array(out))
}

/// Ids of the ports that the properties name.
async fn ports(
    cloud: &Cloud,
    properties: &Map<String, Value>,
) -> Result<Vec<String>, ResourceError> {
    let mut ids = Vec::new();
    let networks = properties.get("networks").and_then(Value::as_array);
    for entry in networks.into_iter().flatten() {
        if let Some(port) = text(entry.get("port")) {
            ids.push(lookup::neutron(&cloud.client, "ports", port).await?);
        }
    }
    Ok(ids)
}

/// Whether a port is the server's; not, when there is no server.
async fn plugged(cloud: &Cloud, id: &str, port: &str) -> Result<bool, ResourceError> {
    let path = format!("/servers/{id}/os-interface/{port}");
    match cloud.client.get("compute", &path).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[async_trait]
impl ResourceType for Server {
    fn name(&self) -> &'static str {
        "OS::Nova::Server"
    }

    fn properties(&self) -> &'static [Property] {
        PROPERTIES
    }

    fn attribute_names(&self) -> &'static [&'static str] {
        &[
            "name",
            "addresses",
            "networks",
            "first_address",
            "instance_name",
            "accessIPv4",
            "accessIPv6",
            "show",
        ]
    }

    fn comes_after(&self) -> &'static [&'static str] {
        &["OS::Neutron::Subnet", "OS::Neutron::RouterInterface"]
    }

    async fn find(&self, cloud: &Cloud) -> Result<Option<String>, ResourceError> {
        let answer: Value = cloud
            .client
            .microversion("compute", DESCRIPTIONS)
            .request(Method::GET, "compute", "/servers/detail")
            .fetch()
            .await?;
        let servers = answer["servers"].as_array().cloned().unwrap_or_default();
        let found = servers
            .iter()
            .find(|server| server["description"] == cloud.physical_name.as_str());
        Ok(found
            .and_then(|server| server["id"].as_str())
            .map(str::to_owned))
    }

    async fn create(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError> {
        let mut server = Map::new();
        let name = properties
            .get("name")
            .cloned()
            .unwrap_or_else(|| json!(server_name(cloud)));
        server.insert("name".to_owned(), name);
        // Not the name: that may be the template's.
        server.insert("description".to_owned(), json!(cloud.physical_name));
        let flavor = text(properties.get("flavor")).unwrap_or_default();
        server.insert(
            "flavorRef".to_owned(),
            json!(lookup::flavor(&cloud.client, flavor).await?),
        );
        if let Some(image) = text(properties.get("image")) {
            server.insert(
                "imageRef".to_owned(),
                json!(lookup::image(&cloud.client, image).await?),
            );
        }
        if let Some(list) = properties.get("networks") {
            server.insert("networks".to_owned(), networks(cloud, list).await?);
        }
        if let Some(groups) = properties.get("security_groups").and_then(Value::as_array) {
            let names: Vec<Value> = groups.iter().map(|name| json!({ "name": name })).collect();
            server.insert("security_groups".to_owned(), Value::Array(names));
        }
        if let Some(data) = text(properties.get("user_data")) {
            server.insert(
                "user_data".to_owned(),
                json!(base64::engine::general_purpose::STANDARD.encode(data)),
            );
        }
        for (property, field) in [
            ("key_name", "key_name"),
            ("availability_zone", "availability_zone"),
            ("config_drive", "config_drive"),
            ("metadata", "metadata"),
            ("admin_pass", "adminPass"),
        ] {
            if let Some(value) = properties.get(property) {
                server.insert(field.to_owned(), value.clone());
            }
        }
        let mut body = json!({ "server": server });
        if let Some(hints) = properties.get("scheduler_hints") {
            body["os:scheduler_hints"] = hints.clone();
        }
        let answer = cloud
            .client
            .microversion("compute", DESCRIPTIONS)
            .post("compute", "/servers", &body)
            .await?;
        match answer["server"]["id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => Err(ResourceError::Failed(
                "the answer has no server.id".to_owned(),
            )),
        }
    }

    async fn is_ready(
        &self,
        cloud: &Cloud,
        id: &str,
        _: &Map<String, Value>,
    ) -> Result<bool, ResourceError> {
        let answer = cloud
            .client
            .get("compute", &format!("/servers/{id}"))
            .await?;
        let server = &answer["server"];
        match server["status"].as_str() {
            Some("ACTIVE") => Ok(true),
            Some("ERROR") => {
                let cause = server["fault"]["message"].as_str().unwrap_or("Unknown");
                let code = server["fault"]["code"]
                    .as_u64()
                    .map_or("Unknown".to_owned(), |code| code.to_string());
                Err(ResourceError::Failed(format!(
                    "Went to status ERROR due to \"Message: {cause}, Code: {code}\""
                )))
            }
            _ => Ok(false),
        }
    }

    async fn update(
        &self,
        cloud: &Cloud,
        id: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), ResourceError> {
        if old.get("name") != new.get("name") {
            let name = new
                .get("name")
                .cloned()
                .unwrap_or_else(|| json!(server_name(cloud)));
            cloud
                .client
                .put(
                    "compute",
                    &format!("/servers/{id}"),
                    &json!({"server": {"name": name}}),
                )
                .await?;
        }
        if old.get("metadata") != new.get("metadata") {
            let metadata = new.get("metadata").cloned().unwrap_or_else(|| json!({}));
            let path = format!("/servers/{id}/metadata");
            cloud
                .client
                .put("compute", &path, &json!({ "metadata": metadata }))
                .await?;
        }
        Ok(())
    }

    /// Ports that the template gave it go to the replacement.
    async fn let_go(
        &self,
        cloud: &Cloud,
        id: &str,
        properties: &Map<String, Value>,
    ) -> Result<bool, ResourceError> {
        let mut done = true;
        for port in ports(cloud, properties).await? {
            if plugged(cloud, id, &port).await? {
                let path = format!("/servers/{id}/os-interface/{port}");
                gone(cloud.client.delete("compute", &path).await)?;
                done = false;
            }
        }
        Ok(done)
    }

    async fn take_back(
        &self,
        cloud: &Cloud,
        id: &str,
        properties: &Map<String, Value>,
    ) -> Result<bool, ResourceError> {
        let mut done = true;
        for port in ports(cloud, properties).await? {
            if !plugged(cloud, id, &port).await? {
                let path = format!("/servers/{id}/os-interface");
                let body = json!({"interfaceAttachment": {"port_id": port}});
                cloud.client.post("compute", &path, &body).await?;
                done = false;
            }
        }
        Ok(done)
    }

    async fn delete(&self, cloud: &Cloud, id: &str) -> Result<(), ResourceError> {
        gone(
            cloud
                .client
                .delete("compute", &format!("/servers/{id}"))
                .await,
        )
    }

    async fn is_gone(&self, cloud: &Cloud, id: &str) -> Result<bool, ResourceError> {
        match cloud.client.get("compute", &format!("/servers/{id}")).await {
            Ok(answer) => match answer["server"]["status"].as_str() {
                Some("DELETED" | "SOFT_DELETED") => Ok(true),
                Some("ERROR") => {
                    // Deleting again is the way out of a failed delete.
                    gone(
                        cloud
                            .client
                            .delete("compute", &format!("/servers/{id}"))
                            .await,
                    )?;
                    Ok(false)
                }
                _ => Ok(false),
            },
            Err(error) if error.status().is_some_and(|status| status.as_u16() == 404) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn attributes(
        &self,
        cloud: &Cloud,
        id: &str,
        _: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        let answer = cloud
            .client
            .get("compute", &format!("/servers/{id}"))
            .await?;
        let server = answer["server"].clone();
        let mut networks = Map::new();
        let mut first = Value::Null;
        for (network, addresses) in server["addresses"].as_object().into_iter().flatten() {
            let list: Vec<Value> = addresses
                .as_array()
                .into_iter()
                .flatten()
                .map(|a| a["addr"].clone())
                .collect();
            if first.is_null() {
                first = list.first().cloned().unwrap_or(Value::Null);
            }
            networks.insert(network.clone(), Value::Array(list));
        }
        Ok(Map::from_iter([
            ("name".to_owned(), server["name"].clone()),
            ("addresses".to_owned(), server["addresses"].clone()),
            ("networks".to_owned(), Value::Object(networks)),
            ("first_address".to_owned(), first),
            (
                "instance_name".to_owned(),
                server["OS-EXT-SRV-ATTR:instance_name"].clone(),
            ),
            ("accessIPv4".to_owned(), server["accessIPv4"].clone()),
            ("accessIPv6".to_owned(), server["accessIPv6"].clone()),
            ("show".to_owned(), server),
        ]))
    }
}
