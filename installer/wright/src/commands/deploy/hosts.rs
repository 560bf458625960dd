//! What roles see of the environment: every node with its variables, `wright` among them; and `openrc`.
use super::binary::Offered;
use super::install::WRIGHT_FILE;
use super::members::Cloud;
use super::walls;
use crate::cloud::{self, REGION};
use crate::commands::secrets::token_keys;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::settings::Settings;
use ::certificates::Certificates;
use network_plan::NodePlan;
use serde_json::{Map, Value, json};
use state::{EnvironmentFolder, Secrets, Store};
use task_engine::HostSpec;
use task_engine::parse::Playbook;
use task_engine::vars::SharedVars;

/// The bundled services that controllers run.
const SERVICES: &[&str] = &[
    "identity",
    "image",
    "placement",
    "network",
    "compute",
    "orchestration",
];

/// A node of which only name and groups matter.
pub fn bare(name: &str, groups: Vec<String>) -> HostSpec {
    HostSpec {
        name: name.to_owned(),
        address: String::new(),
        port: 22,
        user: "root".to_owned(),
        host_key: String::new(),
        groups,
        vars: Map::new(),
        shared: SharedVars::default(),
    }
}

/// The base URL of the boot server, whether it runs or not.
pub fn deploy_url(environment: &Environment) -> Result<String, CommandError> {
    let networks = &environment.plan.networks;
    let gateway = networks
        .get(&inventory::NetworkName::Pxe)
        .and_then(|network| network.gateway)
        .ok_or_else(|| CommandError::failed("the network `pxe` has no gateway"))?;
    Ok(format!(
        "http://{gateway}:{}",
        provision::provisioner::HTTP_PORT
    ))
}

/// What the variables of roles are made of.
pub struct Sources<'a> {
    pub settings: &'a Settings,
    pub environment: &'a Environment,
    pub store: &'a Store,
    pub secrets: &'a Secrets,
    pub certificates: &'a Certificates,
    /// Of the boot server.
    pub deploy_url: &'a str,
    pub wright: &'a Offered,
    pub playbook: &'a Playbook,
}

/// Every node as the task engine wants it: reached over `pxe`, its host key known from its installation; of one that
/// was not installed yet it is empty.
pub async fn specs(sources: &Sources<'_>) -> Result<Vec<HostSpec>, CommandError> {
    let Sources {
        environment,
        store,
        certificates,
        playbook,
        ..
    } = *sources;
    let openings = walls::openings(playbook)?;
    let mut walls = walls::walls(&environment.plan, playbook, &openings);
    let records = store.nodes().await.map_err(anyhow::Error::from)?;
    let cloud = Cloud::new(environment, &records);
    // Whom a controller that comes to a running cloud joins; none where there is no cloud yet.
    let members: Vec<&str> = cloud
        .controllers()
        .into_iter()
        .map(|node| node.name.as_str())
        .collect();
    let mut shared = shared(sources)?;
    shared.insert("members".to_owned(), json!(members));
    shared.insert("sets".to_owned(), json!(walls.sets));
    let shared = Map::from_iter([("wright".to_owned(), Value::Object(shared))]);
    let shared = SharedVars::new(shared);
    let mut hosts = Vec::new();
    for node in environment.plan.nodes.values() {
        let record = cloud.record(&node.name);
        let host_key = record.and_then(|record| record.ssh_host_key.clone());
        let host_key = host_key.unwrap_or_default();
        let address = node
            .addresses
            .get(&inventory::NetworkName::Pxe)
            .ok_or_else(|| {
                CommandError::failed(format!("node `{}` has no address on `pxe`", node.name))
            })?;
        let mut vars = environment
            .inventory
            .host_vars(&node.name)
            .unwrap_or_default();
        let mut own = of_node(node);
        own.insert("tls".to_owned(), tls(&node.name, certificates)?);
        let report = record.and_then(|record| record.hardware.as_ref());
        own.insert("network_files".to_owned(), network_files(node, report)?);
        let wall = walls.nodes.remove(&node.name).unwrap_or_default();
        own.insert("walls".to_owned(), json!(wall));
        vars.insert("wright".to_owned(), Value::Object(own));
        hosts.push(HostSpec {
            address: address.to_string(),
            host_key,
            vars,
            shared: shared.clone(),
            ..bare(&node.name, node.groups.clone())
        });
    }
    Ok(hosts)
}

/// The units of systemd-networkd that a node is to have, for the role `host-network`; none for one whose machine never
/// reported its cards, and so was not installed over the network.
fn network_files(node: &NodePlan, report: Option<&Value>) -> Result<Value, CommandError> {
    if report.is_none() {
        return Ok(json!([]));
    }
    let files = provision::cards::network_files(node, report)
        .map_err(|error| CommandError::failed(error.to_string()))?;
    Ok(files
        .into_iter()
        .map(|file| json!({"path": file.path, "content": file.content}))
        .collect())
}

/// A node's certificate and key, and whom it is to trust.
fn tls(node: &str, certificates: &Certificates) -> Result<Value, CommandError> {
    let own = certificates
        .node(node)
        .ok_or_else(|| CommandError::failed(format!("node `{node}` has no certificate")))?;
    Ok(json!({
        "ca": certificates.authority(),
        "certificate": own.certificate,
        "key": own.key,
    }))
}

/// The part of `wright` that is the same for all nodes.
fn shared(sources: &Sources<'_>) -> Result<Map<String, Value>, CommandError> {
    let Sources {
        settings,
        environment,
        secrets,
        deploy_url,
        wright,
        ..
    } = *sources;
    let plan = &environment.plan;
    let networks: Map<String, Value> = plan
        .networks
        .iter()
        .map(|(name, network)| {
            let view = json!({
                "cidr": network.cidr.to_string(),
                "prefix": network.cidr.prefix(),
                "gateway": network.gateway,
                "mtu": network.mtu,
                "dns": network.dns,
                "vlan": network.vlan,
            });
            (name.to_string(), view)
        })
        .collect();
    let nodes: Map<String, Value> = plan
        .nodes
        .values()
        .map(|node| {
            let addresses = addresses(node);
            (
                node.name.clone(),
                json!({"fqdn": node.fqdn, "groups": node.groups, "addresses": addresses}),
            )
        })
        .collect();
    let mut vips = Map::new();
    vips.extend(
        plan.vips
            .internal
            .map(|vip| ("internal".to_owned(), json!(vip))),
    );
    vips.extend(
        plan.vips
            .public
            .map(|vip| ("public".to_owned(), json!(vip))),
    );
    let mut hidden = Map::new();
    let names = SERVICES.iter().flat_map(|service| {
        ["database", "bus", "identity"].map(|kind| format!("{kind}_{service}"))
    });
    let others = [
        "identity_admin",
        "identity_credentials",
        "metadata_shared",
        "bus_cookie",
        "database_guard",
        "image_peers",
    ];
    for name in names.chain(others.map(str::to_owned)) {
        let secret = secrets
            .get_or_generate(&name)
            .map_err(anyhow::Error::from)?;
        hidden.insert(name, json!(secret.expose()));
    }
    let keys = token_keys::of(secrets)?;
    let keys: Map<String, Value> = keys
        .files()
        .into_iter()
        .map(|(name, key)| (name, json!(key)))
        .collect();
    hidden.insert("token_keys".to_owned(), Value::Object(keys));
    let files = json!({"wright": {"url": format!("{deploy_url}/files/{WRIGHT_FILE}"), "sha256": wright.sha256}});
    Ok(Map::from_iter([
        ("env".to_owned(), json!(settings.env)),
        ("region".to_owned(), json!(REGION)),
        ("deploy_url".to_owned(), json!(deploy_url)),
        (
            "database_engine".to_owned(),
            json!(environment.inventory.database_engine),
        ),
        ("networks".to_owned(), Value::Object(networks)),
        ("nodes".to_owned(), Value::Object(nodes)),
        ("vips".to_owned(), Value::Object(vips)),
        ("secrets".to_owned(), Value::Object(hidden)),
        ("files".to_owned(), files),
    ]))
}

fn addresses(node: &NodePlan) -> Map<String, Value> {
    node.addresses
        .iter()
        .map(|(network, address)| (network.to_string(), json!(address)))
        .collect()
}

/// The part of `wright` that is this node's own: its addresses, what carries them, and its cards.
fn of_node(node: &NodePlan) -> Map<String, Value> {
    let interfaces: Map<String, Value> = node
        .interfaces
        .iter()
        .map(|interface| {
            let name = interface.bridge.as_ref().unwrap_or(&interface.name);
            (interface.network.to_string(), json!(name))
        })
        .collect();
    let nics: Map<String, Value> = node
        .interfaces
        .iter()
        .map(|interface| (interface.network.to_string(), json!(interface.name)))
        .collect();
    Map::from_iter([
        ("addresses".to_owned(), Value::Object(addresses(node))),
        ("interfaces".to_owned(), Value::Object(interfaces)),
        ("nics".to_owned(), Value::Object(nics)),
    ])
}

/// Writes the administrator's credentials into the state folder; the file's path.
pub fn write_openrc(
    folder: &EnvironmentFolder,
    environment: &Environment,
    secrets: &Secrets,
) -> Result<String, CommandError> {
    let auth_url = cloud::auth_url(environment)?;
    let password = secrets
        .get_or_generate("identity_admin")
        .map_err(anyhow::Error::from)?;
    // Whoever sources it may be in any folder.
    let ca = std::path::absolute(folder.ca()).map_err(anyhow::Error::from)?;
    let ca = ca.display().to_string();
    let text = format!(
        "# Written by wright: `source` it, then `openstack ...`\n\
         export OS_AUTH_URL={auth_url}\n\
         export OS_CACERT={}\n\
         export OS_IDENTITY_API_VERSION=3\n\
         export OS_USERNAME=admin\n\
         export OS_PASSWORD='{}'\n\
         export OS_PROJECT_NAME=admin\n\
         export OS_USER_DOMAIN_ID=default\n\
         export OS_PROJECT_DOMAIN_ID=default\n\
         export OS_REGION_NAME={REGION}\n\
         export OS_INTERFACE=internal\n",
        shlex::try_quote(&ca).map_err(anyhow::Error::from)?,
        password.expose()
    );
    let path = folder.openrc();
    state::folder::replace_file(&path, text.as_bytes()).map_err(anyhow::Error::from)?;
    Ok(path.display().to_string())
}
