//! The simulated cloud's network API: objects, and what refuses to go while something else needs it.
use super::cloud::{Call, Refusal, Table, refuse};
use http::{Method, StatusCode};
use serde_json::{Value, json};

/// Collections and their keys in bodies.
const KEYS: &[(&str, &str)] = &[
    ("networks", "network"),
    ("subnets", "subnet"),
    ("ports", "port"),
    ("routers", "router"),
    ("security-groups", "security_group"),
    ("security-group-rules", "security_group_rule"),
    ("floatingips", "floatingip"),
];

pub fn answer(table: &mut Table, call: &Call) -> Result<Value, Refusal> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    if let ["routers", router, action] = path.as_slice() {
        return interface(table, router, action, &call.body);
    }
    let Some((collection, key)) = KEYS.iter().find(|(name, _)| path.first() == Some(name)) else {
        return refuse(StatusCode::NOT_FOUND, format!("no {path:?}"));
    };
    match (&call.method, path.get(1)) {
        (&Method::GET, None) => {
            let found: Vec<&Value> = table
                .all(collection)
                .filter(|object| {
                    call.query
                        .iter()
                        .all(|(name, value)| name == "fields" || object[name] == value.as_str())
                })
                .collect();
            Ok(json!({ collection.replace('-', "_"): found }))
        }
        (&Method::GET, Some(id)) => Ok(json!({ *key: table.get(collection, id)? })),
        (&Method::POST, None) => {
            let object = create(table, collection, call.body[key].clone())?;
            Ok(json!({ *key: object }))
        }
        (&Method::PUT, Some(id)) => {
            let mut object = table.get(collection, id)?.clone();
            for (name, value) in call.body[key].as_object().unwrap() {
                object[name] = value.clone();
            }
            table.put(collection, object.clone());
            Ok(json!({ *key: object }))
        }
        (&Method::DELETE, Some(id)) => {
            table.get(collection, id)?;
            if let Some(user) = user_of(table, collection, id) {
                return refuse(
                    StatusCode::CONFLICT,
                    format!("{collection} {id} is used by {user}"),
                );
            }
            table.remove(collection, id)?;
            if *collection == "security-groups" {
                let group = json!(id);
                table.objects.retain(|(of, _), o| {
                    of != "security-group-rules" || o["security_group_id"] != group
                });
            }
            Ok(Value::Null)
        }
        _ => refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{} {path:?}", call.method),
        ),
    }
}

fn create(table: &mut Table, collection: &str, mut object: Value) -> Result<Value, Refusal> {
    let id = table.new_id();
    let number = table.next;
    object["id"] = json!(id);
    for (field, of) in [
        ("network_id", "networks"),
        ("floating_network_id", "networks"),
        ("security_group_id", "security-groups"),
        ("port_id", "ports"),
    ] {
        if let Some(needed) = object[field].as_str() {
            table.get(of, needed)?;
        }
    }
    match collection {
        "ports" => {
            let network = object["network_id"].clone();
            let subnet = match object["fixed_ips"][0]["subnet_id"].as_str() {
                Some(subnet) => table.get("subnets", subnet)?["id"].clone(),
                None => match table.all("subnets").find(|s| s["network_id"] == network) {
                    Some(subnet) => subnet["id"].clone(),
                    None => return refuse(StatusCode::BAD_REQUEST, "the network has no subnet"),
                },
            };
            let address = format!("192.168.{}.{}", number / 250, number % 250);
            object["fixed_ips"] = json!([{"subnet_id": subnet, "ip_address": address}]);
            object["status"] = json!("DOWN");
        }
        "floatingips" => {
            if let Some(port) = object["port_id"].as_str() {
                let subnet = table.get("ports", port)?["fixed_ips"][0]["subnet_id"].clone();
                if !table
                    .all("interfaces")
                    .any(|leg| leg["subnet_id"] == subnet)
                {
                    return refuse(StatusCode::NOT_FOUND, "no router leads to the port");
                }
            }
            object["floating_ip_address"] = json!(format!("172.24.4.{number}"));
        }
        "security-groups" => {
            for family in ["IPv4", "IPv6"] {
                let rule = table.new_id();
                table.put(
                    "security-group-rules",
                    json!({"id": rule, "security_group_id": id, "direction": "egress",
                        "ethertype": family, "protocol": null}),
                );
            }
        }
        "security-group-rules" => {
            let same = |other: &Value| {
                [
                    "security_group_id",
                    "direction",
                    "protocol",
                    "port_range_min",
                    "port_range_max",
                ]
                .iter()
                .all(|field| other[field] == object[field])
            };
            if table.all("security-group-rules").any(same) {
                return refuse(StatusCode::CONFLICT, "the rule exists");
            }
        }
        _ => object["status"] = json!("ACTIVE"),
    }
    table.put(collection, object.clone());
    Ok(object)
}

/// What keeps an object from being deleted.
fn user_of(table: &Table, collection: &str, id: &str) -> Option<String> {
    let by = |of: &str, test: &dyn Fn(&Value) -> bool| {
        table
            .all(of)
            .find(|object| test(object))
            .map(|object| format!("{of} {}", object["id"]))
    };
    let lists = |object: &Value, id: &str| {
        let groups = object["security_groups"].as_array();
        groups.is_some_and(|groups| groups.iter().any(|group| group == id))
    };
    match collection {
        "networks" => by("ports", &|port| port["network_id"] == id),
        "subnets" => by("ports", &|port| port["fixed_ips"][0]["subnet_id"] == id)
            .or_else(|| by("interfaces", &|leg| leg["subnet_id"] == id)),
        "routers" => by("interfaces", &|leg| leg["router_id"] == id),
        "security-groups" => by("ports", &|port| lists(port, id)),
        "ports" => by("servers", &|server| server["port_id"] == id),
        _ => None,
    }
}

fn interface(
    table: &mut Table,
    router: &str,
    action: &str,
    body: &Value,
) -> Result<Value, Refusal> {
    table.get("routers", router)?;
    let subnet = body["subnet_id"].as_str().unwrap_or_default();
    table.get("subnets", subnet)?;
    let id = format!("{router}/{subnet}");
    let known = table.get("interfaces", &id).is_ok();
    match action {
        "add_router_interface" if known => {
            let message = format!("Router already has a port on subnet {subnet}");
            refuse(StatusCode::BAD_REQUEST, message)
        }
        "add_router_interface" => {
            let leg = json!({"id": id, "router_id": router, "subnet_id": subnet});
            table.put("interfaces", leg.clone());
            Ok(leg)
        }
        _ => {
            let used = table.all("floatingips").any(|floating| {
                let port = floating["port_id"].as_str().unwrap_or_default();
                table
                    .get("ports", port)
                    .is_ok_and(|port| port["fixed_ips"][0]["subnet_id"] == subnet)
            });
            if used {
                return refuse(StatusCode::CONFLICT, "a floating IP needs the interface");
            }
            table.remove("interfaces", &id)
        }
    }
}
