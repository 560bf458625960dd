//! Versions, and the extensions that clients look for before they use them.

use std::sync::Arc;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use service_kit::request::base_url;
use service_kit::{ApiError, Json, Path, Route, Rule};

use crate::app::App;

/// What is implemented of upstream's extensions: alias and name.
const EXTENSIONS: [(&str, &str); 33] = [
    ("agent", "agent"),
    ("allowed-address-pairs", "Allowed Address Pairs"),
    ("availability_zone", "Availability Zone"),
    ("binding", "Port Binding"),
    ("binding-extended", "Port Bindings Extended (attributes)"),
    ("dns-integration", "DNS Integration"),
    (
        "ext-gw-mode",
        "Neutron L3 Configurable external gateway mode",
    ),
    ("external-net", "Neutron external network"),
    ("extraroute", "Neutron Extra Route"),
    ("fip-port-details", "Floating IP Port Details Extension"),
    ("net-mtu", "Network MTU"),
    ("net-mtu-writable", "Network MTU (writable)"),
    ("network-ip-availability", "Network IP Availability"),
    ("pagination", "Pagination support"),
    (
        "port-mac-address-regenerate",
        "Neutron Port MAC address regenerate",
    ),
    ("port-security", "Port Security"),
    (
        "port-security-groups-filtering",
        "Port filtering on security groups",
    ),
    ("project-id", "project_id field enabled"),
    ("provider", "Provider Network"),
    ("quota_details", "Quota details management support"),
    ("quotas", "Quota management support"),
    ("router", "Neutron L3 Router"),
    ("router_availability_zone", "Router Availability Zone"),
    ("network_availability_zone", "Network Availability Zone"),
    ("security-group", "security-group"),
    (
        "security-groups-normalized-cidr",
        "Normalized CIDR field for security group rules",
    ),
    ("sorting", "Sorting support"),
    ("standard-attr-description", "standard-attr-description"),
    ("standard-attr-revisions", "Resource revision numbers"),
    (
        "standard-attr-tag",
        "Tag support for resources with standard attribute",
    ),
    ("standard-attr-timestamp", "Resource timestamps"),
    ("stateful-security-group", "Stateful security group"),
    ("ip-substring-filtering", "IP address substring filtering"),
];

const COLLECTIONS: [(&str, &str); 7] = [
    ("network", "networks"),
    ("subnet", "subnets"),
    ("port", "ports"),
    ("router", "routers"),
    ("floatingip", "floatingips"),
    ("security_group", "security-groups"),
    ("security_group_rule", "security-group-rules"),
];

pub fn routes() -> Vec<Route<Arc<App>>> {
    vec![
        Route::new(Method::GET, "/", "get_versions", Rule::Public, versions),
        Route::new(Method::GET, "/v2.0", "get_version", Rule::Public, resources),
        Route::new(
            Method::GET,
            "/v2.0/extensions",
            "get_extensions",
            Rule::Reader,
            extensions,
        ),
        Route::new(
            Method::GET,
            "/v2.0/extensions/{alias}",
            "get_extension",
            Rule::Reader,
            extension,
        ),
    ]
}

async fn versions(headers: HeaderMap) -> Json<Value> {
    let url = format!("{}/v2.0/", base_url(&headers, ""));
    Json(
        json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": url}]}]}),
    )
}

async fn resources(headers: HeaderMap) -> Json<Value> {
    let base = base_url(&headers, "");
    let resource = |(name, collection): &(&str, &str)| json!({"name": name, "collection": collection, "links": [{"rel": "self", "href": format!("{base}/v2.0/{collection}")}]});
    Json(json!({"resources": COLLECTIONS.iter().map(resource).collect::<Vec<_>>()}))
}

fn entry((alias, name): &(&str, &str)) -> Value {
    json!({"alias": alias, "name": name, "description": name, "updated": "2026-11-23T00:00:00-00:00", "links": []})
}

async fn extensions() -> Json<Value> {
    Json(json!({"extensions": EXTENSIONS.iter().map(entry).collect::<Vec<_>>()}))
}

async fn extension(Path(alias): Path<String>) -> Result<Json<Value>, ApiError> {
    let found = EXTENSIONS.iter().find(|(known, _)| *known == alias);
    let missing = || {
        ApiError::not_found(
            "ExtensionNotFound",
            format!("Extension with alias {alias} does not exist"),
        )
    };
    Ok(Json(
        json!({"extension": entry(found.ok_or_else(missing)?)}),
    ))
}
