//! Creating servers: everything that can be known to be wrong is told at once; then one durable transaction.

use std::collections::{BTreeMap, BTreeSet};

use openstack_client::{Client, ClientError};
use serde_json::Value;
use service_kit::{ApiError, RequestContext, store};
use uuid::Uuid;

use super::conductor::{self, enqueue};
use super::{App, inventory};
use crate::hypervisor::{ImageRef, PublicKey};
use crate::store::StoreError;
use crate::store::flavors::{self, Flavor};
use crate::store::servers::{self, NewServer, Server, ServerDoc, WantedNic};

/// What `POST /servers` asks for, decoded.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// Name; numbered when several are made.
    pub name: String,
    /// Flavor id.
    pub flavor: String,
    /// Image id.
    pub image: Option<String>,
    /// `None`: not said (`auto` before 2.37).
    pub networks: Networks,
    /// `zone`, `zone:host`, `zone:host:node`.
    pub zone: Option<String>,
    /// `host` of 2.74.
    pub host: Option<String>,
    /// Key pair's name.
    pub key_name: Option<String>,
    /// Base64.
    pub user_data: Option<String>,
    /// Pairs.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeSet<String>,
    /// Names or ids.
    pub security_groups: Vec<String>,
    /// Wanted.
    pub config_drive: bool,
    /// Words.
    pub description: Option<String>,
    /// How many at least.
    pub min_count: u32,
    /// How many at most.
    pub max_count: u32,
    /// Server group.
    pub group: Option<String>,
}

/// The networks of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Networks {
    /// Whatever the project has: exactly one, or none.
    #[default]
    Auto,
    /// None at all.
    None,
    /// These.
    List(Vec<WantedNic>),
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("badRequest", message)
}

/// Makes servers; returns them and their reservation.
pub async fn create(
    app: &App,
    who: &RequestContext,
    request: CreateRequest,
) -> Result<(Vec<Server>, String), ApiError> {
    let flavor = usable_flavor(app, who, &request.flavor).await?;
    let user = app.client.with_token(&who.secret);
    let (wanted_zone, wanted_host) = wanted_place(app, who, &request).await?;
    let mut doc = ServerDoc {
        hostname: hostname(&request.name),
        description: request.description.clone(),
        metadata: request.metadata.clone(),
        tags: request.tags.clone(),
        key: key(app, who, request.key_name.as_deref()).await?,
        user_data: request.user_data.clone(),
        config_drive: request.config_drive,
        wanted_zone,
        wanted_host,
        wanted_nics: nics(&user, who, &request.networks).await?,
        security_groups: request
            .security_groups
            .iter()
            .filter(|name| *name != "default")
            .cloned()
            .collect(),
        group: group(app, who, request.group.as_deref()).await?,
        zone: None,
        interfaces: Vec::new(),
        power_state: 0,
        progress: 0,
        fault: None,
        launched_at: None,
        terminated_at: None,
        locked_by: None,
        locked_reason: None,
        reservation_id: format!("r-{}", &Uuid::new_v4().simple().to_string()[..8]),
        launch_index: 0,
        failed_hosts: Vec::new(),
        image: None,
        kernel: None,
        ramdisk: None,
        command_line: None,
        flavor,
    };
    if request.security_groups.len() > doc.security_groups.len() && !doc.security_groups.is_empty()
    {
        doc.security_groups.insert(0, "default".to_owned());
    }
    image(&user, request.image.as_deref(), &mut doc).await?;
    if request.max_count > 1
        && doc.wanted_nics.iter().any(|nic| {
            matches!(
                nic,
                WantedNic::Port(_)
                    | WantedNic::Network {
                        fixed_ip: Some(_),
                        ..
                    }
            )
        })
    {
        return Err(bad(
            "Unable to launch multiple instances with a single configured port ID or fixed IP. Please launch your instance one by one with different ports.",
        ));
    }
    let count = allowed_count(
        app,
        &who.project_id,
        &doc.flavor,
        request.min_count.max(1),
        request.max_count.max(1),
    )
    .await?;
    let mut made = Vec::new();
    let reservation = doc.reservation_id.clone();
    store::retry(|| async {
        let tx = store::begin(&app.db).await?;
        let mut out = Vec::new();
        for index in 0..count {
            let name = if request.max_count.max(1) > 1 {
                format!("{}-{}", request.name, index + 1)
            } else {
                request.name.clone()
            };
            let doc = ServerDoc {
                hostname: hostname(&name),
                launch_index: index,
                ..doc.clone()
            };
            let new = NewServer {
                id: Uuid::new_v4().to_string(),
                project_id: who.project_id.clone(),
                user_id: who.user_id.clone(),
                name,
                doc,
            };
            let server = servers::insert(&tx, new).await?;
            servers::begin_action(&tx, &server, "create", &who.request_id, &who.user_id).await?;
            enqueue(&tx, conductor::SERVER_CREATE, &server.id).await?;
            out.push(server);
        }
        tx.commit().await?;
        Ok::<_, StoreError>(out)
    })
    .await?
    .into_iter()
    .for_each(|server| made.push(server));
    app.conductor().wake();
    Ok((made, reservation))
}

async fn usable_flavor(app: &App, who: &RequestContext, id: &str) -> Result<Flavor, ApiError> {
    match flavors::find_flavor(&app.db, id).await? {
        Some(flavor)
            if flavor.is_public || who.is_admin || flavor.projects.contains(&who.project_id) =>
        {
            Ok(flavor)
        }
        _ => Err(bad(format!("Flavor {id} could not be found."))),
    }
}

/// `zone`, `zone:host`, `zone:host:node`, and 2.74's `host`. Naming a host is for administrators.
async fn wanted_place(
    app: &App,
    who: &RequestContext,
    request: &CreateRequest,
) -> Result<(Option<String>, Option<String>), ApiError> {
    let mut parts = request.zone.as_deref().unwrap_or_default().splitn(3, ':');
    let zone = parts
        .next()
        .filter(|zone| !zone.is_empty())
        .map(str::to_owned);
    // A node is named as its host here: one hypervisor a host.
    let host = parts
        .next()
        .filter(|host| !host.is_empty())
        .map(str::to_owned);
    let node = parts
        .next()
        .filter(|node| !node.is_empty())
        .map(str::to_owned);
    let host = host.or(node).or_else(|| request.host.clone());
    if host.is_some() && !who.is_admin {
        return Err(ApiError::policy(
            "os_compute_api:servers:create:forced_host",
        ));
    }
    let states = inventory::host_states(app).await?;
    if let Some(zone) = &zone
        && *zone != app.config.default_availability_zone
        && !states.iter().any(|state| state.zone == *zone)
    {
        return Err(bad("The requested availability zone is not available"));
    }
    if let Some(host) = &host
        && !states.iter().any(|state| state.host == *host)
    {
        return Err(bad(format!(
            "No valid host was found. The host {host} is not known."
        )));
    }
    // A host named by an administrator goes before its zone, as upstream.
    Ok(if host.is_some() {
        (None, host)
    } else {
        (zone, None)
    })
}

async fn key(
    app: &App,
    who: &RequestContext,
    name: Option<&str>,
) -> Result<Option<PublicKey>, ApiError> {
    let Some(name) = name else { return Ok(None) };
    match flavors::find_key_pair(&app.db, &who.user_id, name).await? {
        Some(key) => Ok(Some(PublicKey {
            name: key.name,
            kind: key.kind,
            data: key.public_key,
        })),
        None => Err(bad("Invalid key_name provided.")),
    }
}

async fn group(
    app: &App,
    who: &RequestContext,
    id: Option<&str>,
) -> Result<Option<String>, ApiError> {
    let Some(id) = id else { return Ok(None) };
    match flavors::find_group(&app.db, id).await? {
        Some(group) if who.owns(&group.project_id) => Ok(Some(group.id)),
        _ => Err(bad(format!("Instance group {id} could not be found."))),
    }
}

/// Networks as ports and networks by id; what does not exist is told now, not when it is too late.
async fn nics(
    user: &Client,
    who: &RequestContext,
    networks: &Networks,
) -> Result<Vec<WantedNic>, ApiError> {
    match networks {
        Networks::None => Ok(Vec::new()),
        Networks::List(list) => {
            for nic in list {
                match nic {
                    WantedNic::Network { id, .. } => {
                        found(
                            user.get("network", &format!("/v2.0/networks/{id}")).await,
                            || format!("Network {id} could not be found."),
                        )?;
                    }
                    WantedNic::Port(id) => {
                        let port = found(
                            user.get("network", &format!("/v2.0/ports/{id}")).await,
                            || format!("Port id {id} could not be found."),
                        )?;
                        if port["port"]["device_id"]
                            .as_str()
                            .is_some_and(|device| !device.is_empty())
                        {
                            return Err(ApiError::conflict(
                                "conflictingRequest",
                                format!("Port {id} is still in use."),
                            ));
                        }
                    }
                }
            }
            Ok(list.clone())
        }
        Networks::Auto => {
            let answer = user.get("network", "/v2.0/networks").await?;
            let mine = |network: &&Value| {
                network["project_id"] == *who.project_id
                    || network["tenant_id"] == *who.project_id
                    || network["shared"] == true
            };
            let usable: Vec<&Value> = answer["networks"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(mine)
                .filter(|network| {
                    network["router:external"] != true
                        && network["subnets"]
                            .as_array()
                            .is_none_or(|subnets| !subnets.is_empty())
                })
                .collect();
            match usable.as_slice() {
                [] => Ok(Vec::new()),
                [one] => Ok(vec![WantedNic::Network {
                    id: one["id"].as_str().unwrap_or_default().to_owned(),
                    fixed_ip: None,
                }]),
                _ => Err(ApiError::conflict(
                    "conflictingRequest",
                    "Multiple possible networks found, use a Network ID to be more specific.",
                )),
            }
        }
    }
}

/// A "not found" of another service is the caller's mistake.
fn found(
    answer: Result<Value, ClientError>,
    words: impl FnOnce() -> String,
) -> Result<Value, ApiError> {
    match answer {
        Ok(value) => Ok(value),
        Err(error)
            if error.is_not_found() || error.status().is_some_and(|s| s == 400 || s == 403) =>
        {
            Err(bad(words()))
        }
        Err(error) => Err(error.into()),
    }
}

async fn image(user: &Client, id: Option<&str>, doc: &mut ServerDoc) -> Result<(), ApiError> {
    let Some(id) = id else {
        return Err(bad(
            "Block Device Mapping is Invalid: an image is needed; booting from volumes is not supported.",
        ));
    };
    let get = async |id: &str| {
        found(user.get("image", &format!("/v2/images/{id}")).await, || {
            format!("Can not find requested image {id}")
        })
    };
    let image = get(id).await?;
    if image["status"] != "active" {
        return Err(bad(format!("Image {id} is not active.")));
    }
    let flavor = &doc.flavor;
    let minimum = |name: &str| image[name].as_u64().unwrap_or(0);
    if minimum("min_ram") > flavor.ram {
        return Err(bad("Flavor's memory is too small for requested image."));
    }
    if flavor.disk > 0 && minimum("min_disk") > flavor.disk {
        return Err(bad(
            "Flavor's disk is smaller than the minimum size specified in image metadata.",
        ));
    }
    for (property, slot) in [
        ("kernel_id", &mut doc.kernel),
        ("ramdisk_id", &mut doc.ramdisk),
    ] {
        if let Some(part) = image[property].as_str().filter(|part| !part.is_empty()) {
            *slot = Some(image_ref(&get(part).await?));
        }
    }
    doc.command_line = image["os_command_line"].as_str().map(str::to_owned);
    doc.image = Some(image_ref(&image));
    Ok(())
}

fn image_ref(image: &Value) -> ImageRef {
    let text = |name: &str| image[name].as_str().map(str::to_owned);
    ImageRef {
        id: text("id").unwrap_or_default(),
        disk_format: text("disk_format").unwrap_or_default(),
        size: image["size"].as_u64(),
        sha512: text("os_hash_value").filter(|_| image["os_hash_algo"] == "sha512"),
        md5: text("checksum"),
    }
}

/// How many servers the project's limits allow, between what is needed and what is wanted.
async fn allowed_count(
    app: &App,
    project: &str,
    flavor: &Flavor,
    min: u32,
    max: u32,
) -> Result<u32, ApiError> {
    if min > max {
        return Err(bad("min_count must be <= max_count"));
    }
    let (limits, used) = (
        flavors::quotas(&app.db, project).await?,
        servers::usage_of_project(&app.db, project).await?,
    );
    let mut count = u64::from(max);
    let mut short = None;
    for (name, used, each) in [
        ("instances", used.instances, 1),
        ("cores", used.vcpus, u64::from(flavor.vcpus)),
        ("ram", used.memory_mib, flavor.ram),
    ] {
        let Ok(limit) = u64::try_from(limits.get(name).copied().unwrap_or(-1)) else {
            continue;
        };
        let fit = limit
            .saturating_sub(used)
            .checked_div(each)
            .unwrap_or(count);
        if fit < u64::from(min) && short.is_none() {
            short = Some(format!(
                "Quota exceeded for {name}: Requested {}, but already used {used} of {limit} {name}",
                each * u64::from(min)
            ));
        }
        count = count.min(fit);
    }
    match short {
        Some(words) => Err(ApiError::forbidden("forbidden", words)),
        None => Ok(count as u32),
    }
}

/// A name as a host name: letters, digits and hyphens, lower case, at most 63 characters.
pub fn hostname(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            'a'..='z' | '0'..='9' | '-' | '.' => out.push(c),
            'A'..='Z' => out.push(c.to_ascii_lowercase()),
            ' ' | '_' => out.push('-'),
            _ => {}
        }
    }
    let out: String = out.trim_matches(['-', '.']).chars().take(63).collect();
    if out.is_empty() {
        "server".to_owned()
    } else {
        out.trim_end_matches(['-', '.']).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::hostname;

    #[test]
    fn host_names() {
        for (name, expected) in [
            ("Web Server_1", "web-server-1"),
            ("--x--", "x"),
            ("日本", "server"),
            ("a.b.c", "a.b.c"),
            (&"y".repeat(80), &"y".repeat(63)),
        ] {
            assert_eq!(hostname(name), expected);
        }
    }
}
