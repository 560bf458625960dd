//! `/servers`: lists, one, create, change, delete.

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use service_kit::page::next_link;
use service_kit::request::base_url;
use service_kit::{ApiError, Json, Page, Path, Query, RequestContext};
use uuid::Uuid;

use super::views::{Floating, View, states_of};
use super::{State, bad, flag, number, required_text, text};
use crate::app::create::{CreateRequest, Networks, create as create_servers};
use crate::app::{ports, servers};
use crate::store::servers::{self as store, Filter, Server, WantedNic};

/// Most servers of one answer, as upstream.
const PAGE: usize = 1000;

/// GET.
pub async fn list(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let (found, next) = select(&app, &who, &headers, &query, "/v2.1/servers").await?;
    let (base, floating) = (base_url(&headers, &app.public_url), Floating::new());
    let view = View {
        base: &base,
        who: &who,
        floating: &floating,
    };
    let mut out =
        json!({"servers": found.iter().map(|server| view.short(server)).collect::<Vec<_>>()});
    if let Some(next) = next {
        out["servers_links"] = next;
    }
    Ok(Json(out))
}

/// GET `detail`.
pub async fn detail(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let (found, next) = select(&app, &who, &headers, &query, "/v2.1/servers/detail").await?;
    let all = found
        .iter()
        .any(|server| server.project_id != who.project_id);
    let plugged = found.iter().any(|server| !server.doc.interfaces.is_empty());
    let floating = match plugged {
        true => ports::floating_ips(&app, if all { None } else { Some(&who.project_id) }).await,
        false => Floating::new(),
    };
    let base = base_url(&headers, &app.public_url);
    let view = View {
        base: &base,
        who: &who,
        floating: &floating,
    };
    let mut out =
        json!({"servers": found.iter().map(|server| view.full(server)).collect::<Vec<_>>()});
    if let Some(next) = next {
        out["servers_links"] = next;
    }
    Ok(Json(out))
}

/// The servers that a query asks for, and the link to the next page.
async fn select(
    app: &State,
    who: &RequestContext,
    headers: &HeaderMap,
    query: &Query,
    path: &str,
) -> Result<(Vec<Server>, Option<Value>), ApiError> {
    let all = query.flag("all_tenants").unwrap_or(false);
    if all && !who.is_admin {
        return Err(ApiError::policy(
            "os_compute_api:servers:index:get_all_tenants",
        ));
    }
    let project = query
        .get("project_id")
        .or_else(|| query.get("tenant_id"))
        .filter(|_| who.is_admin && all);
    let statuses: Vec<&str> = query
        .all("status")
        .filter(|status| !status.is_empty())
        .collect();
    let filter = Filter {
        project_id: if all {
            project.map(str::to_owned)
        } else {
            Some(who.project_id.clone())
        },
        user_id: query.get("user_id").map(str::to_owned),
        // Where servers run is the administrator's knowledge: others' filters of that kind are ignored, as upstream.
        host: query
            .get("host")
            .filter(|_| who.is_admin)
            .map(str::to_owned),
        vm_states: if statuses.is_empty() {
            None
        } else {
            Some(
                statuses
                    .iter()
                    .filter_map(|status| states_of(status))
                    .map(str::to_owned)
                    .collect(),
            )
        },
        flavor_id: query.get("flavor").map(last_part),
        image_id: query.get("image").map(last_part),
        deleted: who.is_admin
            && (query.flag("deleted").unwrap_or(false)
                || statuses
                    .iter()
                    .any(|status| status.eq_ignore_ascii_case("deleted"))),
        changes_since: query.get("changes-since").map(parse_time).transpose()?,
    };
    let mut found = store::list(&app.db, &filter).await?;
    if let Some(pattern) = query.get("name").filter(|pattern| !pattern.is_empty()) {
        let regex = regex::RegexBuilder::new(pattern)
            .size_limit(1 << 16)
            .build();
        let regex =
            regex.map_err(|error| bad(format!("Invalid regular expression in name: {error}")))?;
        found.retain(|server| regex.is_match(&server.name));
    }
    let address = query
        .get("ip")
        .or_else(|| query.get("ip6"))
        .filter(|pattern| !pattern.is_empty());
    if let Some(pattern) = address {
        let regex = regex::RegexBuilder::new(pattern)
            .size_limit(1 << 16)
            .build();
        let regex =
            regex.map_err(|error| bad(format!("Invalid regular expression in ip: {error}")))?;
        let matches = |server: &Server| {
            server
                .doc
                .interfaces
                .iter()
                .flat_map(|i| &i.fixed_ips)
                .any(|ip| regex.is_match(&ip.address.to_string()))
        };
        found.retain(matches);
    }
    type Text = fn(&Server) -> String;
    let simple: [(&str, Text); 5] = [
        ("uuid", |s| s.id.clone()),
        ("key_name", |s| {
            s.doc
                .key
                .as_ref()
                .map(|key| key.name.clone())
                .unwrap_or_default()
        }),
        ("availability_zone", |s| {
            s.doc.zone.clone().unwrap_or_default()
        }),
        ("reservation_id", |s| s.doc.reservation_id.clone()),
        ("vm_state", |s| s.vm_state.clone()),
    ];
    for (name, value) in simple {
        if let Some(wanted) = query.get(name) {
            found.retain(|server| value(server) == wanted);
        }
    }
    if let Some(tags) = query.get("tags") {
        found.retain(|server| tags.split(',').all(|tag| server.doc.tags.contains(tag)));
    }
    if let Some(tags) = query.get("tags-any") {
        found.retain(|server| tags.split(',').any(|tag| server.doc.tags.contains(tag)));
    }
    sort(&mut found, query);
    let page = Page {
        limit: Some(Page::from_query(query, PAGE)?.limit.unwrap_or(PAGE)),
        ..Page::from_query(query, PAGE)?
    };
    let (found, more) = page.cut(found, |server| server.id.as_str())?;
    let next = found.last().filter(|_| more).map(|last| {
        next_link(
            &format!("{}{path}", base_url(headers, &app.public_url)),
            query,
            &last.id,
        )
    });
    Ok((found, next))
}

/// Newest first, unless a key and a direction are named.
fn sort(found: &mut [Server], query: &Query) {
    let keys: Vec<&str> = query.all("sort_key").collect();
    let directions: Vec<&str> = query.all("sort_dir").collect();
    for (index, key) in keys.iter().enumerate().rev() {
        let value = |server: &Server| match *key {
            "display_name" | "name" => server.name.clone(),
            "host" => server.host.clone().unwrap_or_default(),
            "vm_state" | "status" => server.vm_state.clone(),
            "updated_at" => format!("{:020}", server.updated_at),
            "uuid" | "id" => server.id.clone(),
            _ => format!("{:020}", server.number),
        };
        let ascending = directions
            .get(index)
            .is_some_and(|direction| direction.eq_ignore_ascii_case("asc"));
        found.sort_by(|a, b| {
            if ascending {
                value(a).cmp(&value(b))
            } else {
                value(b).cmp(&value(a))
            }
        });
    }
}

/// Images and flavors are sometimes named by URL.
fn last_part(text: &str) -> String {
    text.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn parse_time(text: &str) -> Result<i64, ApiError> {
    let parsed = chrono::DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
    let parsed = parsed.or_else(|_| {
        chrono::NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f")
            .map(|time| time.and_utc().timestamp_millis())
    });
    parsed.map_err(|_| bad(format!("Invalid time `{text}`: expected ISO 8601.")))
}

async fn one(app: &State, who: &RequestContext, headers: &HeaderMap, server: &Server) -> Value {
    let floating = if server.doc.interfaces.is_empty() {
        Floating::new()
    } else {
        ports::floating_ips(app, Some(&server.project_id)).await
    };
    let base = base_url(headers, &app.public_url);
    json!({"server": View { base: &base, who, floating: &floating }.full(server)})
}

/// GET of one.
pub async fn show(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let server = servers::find(&app, &who, &id).await?;
    Ok(Json(one(&app, &who, &headers, &server).await))
}

/// PUT: name and description.
pub async fn update(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, ApiError> {
    servers::find(&app, &who, &id).await?;
    let changes = body
        .get("server")
        .ok_or_else(|| bad("Invalid input: 'server' is a required property"))?;
    let name = text(changes, "name", 255)?;
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err(bad(
            "Invalid input for field/attribute name. It must not be empty.",
        ));
    }
    let description = text(changes, "description", 255)?;
    let server = crate::app::conductor::change(&app, &id, |server| {
        if let Some(name) = &name {
            server.row.name = name.trim().to_owned();
        }
        if changes.get("description").is_some() {
            server.doc.description = description.clone();
        }
    })
    .await?;
    Ok(Json(one(&app, &who, &headers, &server).await))
}

/// DELETE.
pub async fn delete(
    app: State,
    who: RequestContext,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    servers::find(&app, &who, &id).await?;
    servers::delete(&app, &who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// POST.
pub async fn create(
    app: State,
    who: RequestContext,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    let wanted = body
        .get("server")
        .ok_or_else(|| bad("Invalid input: 'server' is a required property"))?;
    let hints = [
        &body["os:scheduler_hints"],
        &body["OS-SCH-HNT:scheduler_hints"],
    ]
    .into_iter()
    .find_map(|hints| hints["group"].as_str());
    let mut request = decode(&who, wanted)?;
    request.group = hints.map(str::to_owned);
    let return_reservation = flag(wanted, "return_reservation_id")?.unwrap_or(false);
    let (made, reservation) = create_servers(&app, &who, request).await?;
    if return_reservation {
        return Ok((
            StatusCode::ACCEPTED,
            Json(json!({"reservation_id": reservation})),
        )
            .into_response());
    }
    let base = base_url(&headers, &app.public_url);
    let Some(server) = made.first() else {
        return Err(ApiError::internal("no server was made"));
    };
    let floating = Floating::new();
    let view = View {
        base: &base,
        who: &who,
        floating: &floating,
    };
    let groups: Vec<Value> = match server.doc.security_groups.as_slice() {
        [] => vec![json!({"name": "default"})],
        names => names.iter().map(|name| json!({"name": name})).collect(),
    };
    let answer = json!({"server": {
        "id": server.id,
        "links": view.links("servers", &server.id),
        "OS-DCF:diskConfig": "MANUAL",
        "security_groups": groups,
        // Guests take their keys, not passwords; clients print what they find here.
        "adminPass": "",
    }});
    let location = format!("{base}/v2.1/servers/{}", server.id);
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(answer),
    )
        .into_response())
}

fn decode(who: &RequestContext, wanted: &Value) -> Result<CreateRequest, ApiError> {
    let reference = |name: &str| match &wanted[name] {
        Value::String(text) if !text.is_empty() => Some(last_part(text)),
        Value::Object(object) => object.get("id").and_then(Value::as_str).map(last_part),
        _ => None,
    };
    let count = |name: &str| -> Result<u32, ApiError> {
        match number(wanted, name)? {
            None => Ok(0),
            Some(count) if (1..=1000).contains(&count) => Ok(count as u32),
            Some(count) => Err(bad(format!(
                "Invalid input for field/attribute {name}. Value: {count}. It must be between 1 and 1000."
            ))),
        }
    };
    let (min, max) = (count("min_count")?, count("max_count")?);
    let image = match block_devices(wanted)? {
        Some(image) => Some(image),
        None => reference("imageRef"),
    };
    Ok(CreateRequest {
        name: required_text(wanted, "name", 255)?,
        flavor: reference("flavorRef")
            .ok_or_else(|| bad("Invalid input: 'flavorRef' is a required property"))?,
        image,
        networks: networks(who, &wanted["networks"])?,
        zone: text(wanted, "availability_zone", 255)?,
        host: if who.at_least(2, 74) {
            text(wanted, "host", 255)?.or(text(wanted, "hypervisor_hostname", 255)?)
        } else {
            None
        },
        key_name: text(wanted, "key_name", 255)?,
        user_data: user_data(wanted)?,
        metadata: metadata(&wanted["metadata"])?,
        tags: if who.at_least(2, 52) {
            strings(&wanted["tags"])?.into_iter().collect()
        } else {
            Default::default()
        },
        security_groups: wanted["security_groups"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|group| group["name"].as_str())
            .map(str::to_owned)
            .collect(),
        config_drive: flag(wanted, "config_drive")?.unwrap_or(false),
        description: text(wanted, "description", 255)?,
        min_count: min.max(1),
        max_count: if max == 0 { min.max(1) } else { max },
        group: None,
    })
}

/// Block devices only as the usual way of naming the image: local root disk from an image.
fn block_devices(wanted: &Value) -> Result<Option<String>, ApiError> {
    if wanted["block_device_mapping"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
    {
        return Err(bad(
            "Block Device Mapping is Invalid: volumes are not supported.",
        ));
    }
    let mut image = None;
    for device in wanted["block_device_mapping_v2"]
        .as_array()
        .into_iter()
        .flatten()
    {
        if device["source_type"] == "image"
            && device["destination_type"] == "local"
            && image.is_none()
        {
            image = device["uuid"].as_str().map(str::to_owned);
        } else {
            return Err(bad(
                "Block Device Mapping is Invalid: only a local root disk from an image is supported.",
            ));
        }
    }
    Ok(image)
}

fn networks(who: &RequestContext, networks: &Value) -> Result<Networks, ApiError> {
    match networks {
        Value::Null if who.at_least(2, 37) => {
            Err(bad("Invalid input: 'networks' is a required property"))
        }
        Value::Null => Ok(Networks::Auto),
        Value::String(word) if word == "auto" && who.at_least(2, 37) => Ok(Networks::Auto),
        Value::String(word) if word == "none" && who.at_least(2, 37) => Ok(Networks::None),
        Value::Array(list) if list.is_empty() => Ok(Networks::Auto),
        Value::Array(list) => {
            let mut out = Vec::new();
            for entry in list {
                let id = |name: &str| -> Result<Option<String>, ApiError> {
                    let Some(text) = entry[name].as_str() else {
                        return Ok(None);
                    };
                    text.parse::<Uuid>()
                        .map(|id| Some(id.to_string()))
                        .map_err(|_| {
                            bad(format!(
                                "Bad networks format: {name} `{text}` is not a UUID."
                            ))
                        })
                };
                out.push(match (id("port")?, id("uuid")?) {
                    (Some(port), _) => WantedNic::Port(port),
                    (None, Some(id)) => WantedNic::Network {
                        id,
                        fixed_ip: fixed_ip(&entry["fixed_ip"])?,
                    },
                    (None, None) => return Err(bad("Bad network format: missing 'uuid'")),
                });
            }
            Ok(Networks::List(out))
        }
        other => Err(bad(format!(
            "Invalid input for field/attribute networks. Value: {other}."
        ))),
    }
}

fn fixed_ip(value: &Value) -> Result<Option<String>, ApiError> {
    let Some(text) = value.as_str().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    text.parse::<std::net::IpAddr>()
        .map(|address| Some(address.to_string()))
        .map_err(|_| bad(format!("Fixed IP address ({text}) is not valid.")))
}

/// Base64, at most 64 KiB of it.
fn user_data(wanted: &Value) -> Result<Option<String>, ApiError> {
    let Some(data) = text(wanted, "user_data", 65_535)? else {
        return Ok(None);
    };
    // Some encoders break lines.
    let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if base64::engine::general_purpose::STANDARD
        .decode(&data)
        .is_err()
    {
        return Err(bad(
            "Invalid input for field/attribute user_data. It is not a 'base64'",
        ));
    }
    Ok(Some(data).filter(|data| !data.is_empty()))
}

/// Pairs of texts of at most 255 characters.
pub(crate) fn metadata(
    value: &Value,
) -> Result<std::collections::BTreeMap<String, String>, ApiError> {
    let mut out = std::collections::BTreeMap::new();
    let object = match value {
        Value::Null => return Ok(out),
        Value::Object(object) => object,
        other => {
            return Err(bad(format!(
                "Invalid input for field/attribute metadata. Value: {other}. It is not of type 'object'"
            )));
        }
    };
    for (key, value) in object {
        let value = value.as_str().ok_or_else(|| bad(format!("Invalid input for field/attribute {key}. Value: {value}. It is not of type 'string'")))?;
        if key.is_empty() || key.chars().count() > 255 || value.chars().count() > 255 {
            return Err(bad(format!(
                "Invalid input for field/attribute {key}: keys and values have at most 255 characters."
            )));
        }
        out.insert(key.clone(), value.to_owned());
    }
    if out.len() > 128 {
        return Err(ApiError::forbidden(
            "forbidden",
            "Quota exceeded for metadata_items: at most 128 are allowed.",
        ));
    }
    Ok(out)
}

/// A list of texts.
pub(crate) fn strings(value: &Value) -> Result<Vec<String>, ApiError> {
    match value {
        Value::Null => Ok(Vec::new()),
        other => serde_json::from_value(other.clone())
            .map_err(|error| bad(format!("Invalid input: {error}"))),
    }
}
