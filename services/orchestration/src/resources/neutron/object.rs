//! A resource that is one object of the network API: created by POST, changed by PUT, removed by DELETE.
//! What differs between the types is data: see `tables.rs`.
use crate::resources::{Cloud, Property, ResourceError, ResourceType, gone, lookup};
use async_trait::async_trait;
use http::Method;
use serde_json::{Map, Value, json};

/// How a property becomes a field of the API's object.
#[derive(Clone, Copy)]
pub enum To {
    /// As it is, under this name.
    Field(&'static str),
    /// The id of an object of this collection, under this name.
    Id(&'static str, &'static str),
    /// Ids of objects of this collection, under this name.
    Ids(&'static str, &'static str),
    /// A list of `{subnet, ip_address}`.
    FixedIps,
    /// `{network, enable_snat, external_fixed_ips}`.
    Gateway,
    /// Made with calls of their own, after the group itself.
    Rules,
    /// Fields that the template names itself.
    ValueSpecs,
}

/// One type's data.
pub struct Table {
    pub type_name: &'static str,
    /// `networks`; hyphens as in the URL.
    pub collection: &'static str,
    /// `network`; underscores as in the body.
    pub key: &'static str,
    /// Fields that may carry the physical name, by which an interrupted create is found again: the
    /// first that the template leaves free does.
    pub marks: &'static [&'static str],
    pub properties: &'static [Property],
    pub fields: &'static [(&'static str, To)],
    pub attributes: &'static [&'static str],
    pub comes_after: &'static [&'static str],
}

pub struct Object(pub &'static Table);

impl Object {
    fn collection(&self) -> String {
        format!("/v2.0/{}", self.0.collection)
    }

    fn path(&self, id: &str) -> String {
        format!("/v2.0/{}/{id}", self.0.collection)
    }

    /// The object's fields for these properties; only those in `only` if given.
    async fn body(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
        only: Option<&[&str]>,
    ) -> Result<Map<String, Value>, ResourceError> {
        let client = &cloud.client;
        let mut body = Map::new();
        for (name, to) in self.0.fields {
            if only.is_some_and(|only| !only.contains(name)) {
                continue;
            }
            let Some(value) = properties.get(*name) else {
                // Taken out of the template: what Neutron itself begins with, where that is plain.
                match to {
                    _ if only.is_none() => {}
                    To::Field("name") => {
                        body.insert("name".to_owned(), json!(cloud.physical_name));
                    }
                    To::Field(field @ ("description" | "device_id" | "device_owner")) => {
                        body.insert((*field).to_owned(), json!(""));
                    }
                    To::Field(
                        field @ ("dns_nameservers" | "host_routes" | "allowed_address_pairs"),
                    ) => {
                        body.insert((*field).to_owned(), json!([]));
                    }
                    To::Field(field @ "fixed_ip_address") | To::Id(field, _) => {
                        body.insert((*field).to_owned(), Value::Null);
                    }
                    To::Gateway => {
                        body.insert("external_gateway_info".to_owned(), json!({}));
                    }
                    _ => {}
                }
                continue;
            };
            match to {
                To::Field(field) => {
                    body.insert((*field).to_owned(), value.clone());
                }
                To::Id(field, collection) => {
                    let id = lookup::neutron(client, collection, text(value)).await?;
                    body.insert((*field).to_owned(), json!(id));
                }
                To::Ids(field, collection) => {
                    let mut ids = Vec::new();
                    for item in value.as_array().into_iter().flatten() {
                        ids.push(lookup::neutron(client, collection, text(item)).await?);
                    }
                    body.insert((*field).to_owned(), json!(ids));
                }
                To::FixedIps => {
                    body.insert("fixed_ips".to_owned(), fixed_ips(cloud, value).await?);
                }
                To::Gateway => {
                    let mut info = value.as_object().cloned().unwrap_or_default();
                    if let Some(network) = info.remove("network") {
                        let id = lookup::neutron(client, "networks", text(&network)).await?;
                        info.insert("network_id".to_owned(), json!(id));
                    }
                    if let Some(ips) = info.remove("external_fixed_ips") {
                        info.insert(
                            "external_fixed_ips".to_owned(),
                            fixed_ips(cloud, &ips).await?,
                        );
                    }
                    body.insert("external_gateway_info".to_owned(), Value::Object(info));
                }
                To::ValueSpecs => body.extend(value.as_object().cloned().unwrap_or_default()),
                To::Rules => {}
            }
        }
        Ok(body)
    }

    /// Makes the group's rules what the template says. The default ones, which let everything out, stay
    /// unless the template has its own of that direction.
    async fn set_rules(
        &self,
        cloud: &Cloud,
        group: &str,
        properties: &Map<String, Value>,
    ) -> Result<(), ResourceError> {
        let mut missing = wanted_rules(cloud, group, properties).await?;
        let own_egress = missing.iter().any(|rule| rule["direction"] == "egress");
        let answer: Value = cloud
            .client
            .request(Method::GET, "network", "/v2.0/security-group-rules")
            .query("security_group_id", group)
            .fetch()
            .await?;
        let there = answer["security_group_rules"].as_array();
        for rule in there.into_iter().flatten() {
            let default = rule["direction"] == "egress" && rule["protocol"].is_null();
            if let Some(at) = missing.iter().position(|wanted| same_rule(wanted, rule)) {
                missing.swap_remove(at);
            } else if own_egress || !default {
                let path = format!("/v2.0/security-group-rules/{}", text(&rule["id"]));
                gone(cloud.client.delete("network", &path).await)?;
            }
        }
        for rule in missing {
            let body = json!({ "security_group_rule": rule });
            let path = "/v2.0/security-group-rules";
            match cloud.client.post("network", path, &body).await {
                // The service sees the same rule in what differs in its writing only.
                Err(error) if error.is_conflict() && error.message().contains("exists") => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    fn has_rules(&self) -> bool {
        self.0.fields.iter().any(|(_, to)| matches!(to, To::Rules))
    }

    async fn show(&self, cloud: &Cloud, id: &str) -> Result<Map<String, Value>, ResourceError> {
        let answer = cloud.client.get("network", &self.path(id)).await?;
        Ok(answer[self.0.key].as_object().cloned().unwrap_or_default())
    }
}

/// The template's rules as the API's objects.
async fn wanted_rules(
    cloud: &Cloud,
    group: &str,
    properties: &Map<String, Value>,
) -> Result<Vec<Value>, ResourceError> {
    let mut rules = Vec::new();
    let given = properties.get("rules").and_then(Value::as_array);
    for rule in given.into_iter().flatten() {
        let mut rule = rule.as_object().cloned().unwrap_or_default();
        rule.retain(|_, value| !value.is_null());
        if rule
            .remove("remote_mode")
            .is_some_and(|mode| mode == "remote_group_id")
        {
            let named = rule
                .remove("remote_group_id")
                .unwrap_or_else(|| json!(group));
            let id = lookup::neutron(&cloud.client, "security-groups", text(&named)).await?;
            rule.insert("remote_group_id".to_owned(), json!(id));
        }
        rule.entry("direction").or_insert_with(|| json!("ingress"));
        rule.entry("ethertype").or_insert_with(|| json!("IPv4"));
        rule.insert("security_group_id".to_owned(), json!(group));
        rules.push(Value::Object(rule));
    }
    Ok(rules)
}

/// Whether a rule that is there is the one that is wanted; what is absent is null.
fn same_rule(wanted: &Value, there: &Value) -> bool {
    [
        "direction",
        "ethertype",
        "protocol",
        "port_range_min",
        "port_range_max",
        "remote_ip_prefix",
        "remote_group_id",
    ]
    .iter()
    .all(|field| {
        let plain = |value: &Value| match value {
            Value::Number(number) => number.to_string(),
            other => text(other).to_lowercase(),
        };
        plain(&wanted[*field]) == plain(&there[*field])
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn fixed_ips(cloud: &Cloud, value: &Value) -> Result<Value, ResourceError> {
    let mut out = Vec::new();
    for entry in value.as_array().into_iter().flatten() {
        let mut ip = Map::new();
        if let Some(subnet) = entry
            .get("subnet")
            .or_else(|| entry.get("subnet_id"))
            .filter(|v| !v.is_null())
        {
            let id = lookup::neutron(&cloud.client, "subnets", text(subnet)).await?;
            ip.insert("subnet_id".to_owned(), json!(id));
        }
        if let Some(address) = entry.get("ip_address").filter(|v| !v.is_null()) {
            ip.insert("ip_address".to_owned(), address.clone());
        }
        out.push(Value::Object(ip));
    }
    Ok(Value::Array(out))
}

#[async_trait]
impl ResourceType for Object {
    fn name(&self) -> &'static str {
        self.0.type_name
    }

    fn properties(&self) -> &'static [Property] {
        self.0.properties
    }

    fn attribute_names(&self) -> &'static [&'static str] {
        self.0.attributes
    }

    fn comes_after(&self) -> &'static [&'static str] {
        self.0.comes_after
    }

    async fn find(&self, cloud: &Cloud) -> Result<Option<String>, ResourceError> {
        for mark in self.0.marks {
            let answer: Value = cloud
                .client
                .request(Method::GET, "network", &self.collection())
                .query(mark, &cloud.physical_name)
                .fetch()
                .await?;
            let list = &answer[self.0.collection.replace('-', "_")];
            // The filter is not trusted: what bears another mark is another's.
            let ours = list
                .as_array()
                .into_iter()
                .flatten()
                .find(|object| object[*mark] == cloud.physical_name.as_str());
            if let Some(id) = ours.and_then(|object| object["id"].as_str()) {
                return Ok(Some(id.to_owned()));
            }
        }
        Ok(None)
    }

    async fn create(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError> {
        let mut body = self.body(cloud, properties, None).await?;
        if let Some(free) = self.0.marks.iter().find(|mark| !body.contains_key(**mark)) {
            body.insert((*free).to_owned(), json!(cloud.physical_name));
        }
        let answer = cloud
            .client
            .post("network", &self.collection(), &json!({ self.0.key: body }))
            .await?;
        let id = text(&answer[self.0.key]["id"]).to_owned();
        if id.is_empty() {
            return Err(ResourceError::Failed(format!(
                "the answer has no {}.id",
                self.0.key
            )));
        }
        Ok(id)
    }

    async fn is_ready(
        &self,
        cloud: &Cloud,
        id: &str,
        properties: &Map<String, Value>,
    ) -> Result<bool, ResourceError> {
        if self.has_rules() {
            self.set_rules(cloud, id, properties).await?;
        }
        let object = self.show(cloud, id).await?;
        match object.get("status").and_then(Value::as_str) {
            Some("ERROR") => Err(ResourceError::Failed(format!(
                "Went to status ERROR due to \"{}\"",
                self.0.key
            ))),
            // A port is DOWN until something is plugged into it, a floating IP until it has a port.
            Some("BUILD" | "PENDING_CREATE" | "PENDING_UPDATE") => Ok(false),
            _ => Ok(true),
        }
    }

    async fn update(
        &self,
        cloud: &Cloud,
        id: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), ResourceError> {
        let changed: Vec<&str> = self
            .0
            .fields
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| old.get(*name) != new.get(*name))
            .collect();
        let body = self.body(cloud, new, Some(&changed)).await?;
        if !body.is_empty() {
            cloud
                .client
                .put("network", &self.path(id), &json!({ self.0.key: body }))
                .await?;
        }
        Ok(())
    }

    async fn delete(&self, cloud: &Cloud, id: &str) -> Result<(), ResourceError> {
        gone(cloud.client.delete("network", &self.path(id)).await)
    }

    async fn attributes(
        &self,
        cloud: &Cloud,
        id: &str,
        _: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError> {
        let mut object = self.show(cloud, id).await?;
        object.insert("show".to_owned(), Value::Object(object.clone()));
        Ok(object)
    }
}
