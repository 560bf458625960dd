//! `wright node remove`: a compute node leaves a running cloud, whether its machine still answers or is lost. Each step finds out
//! for itself whether it was done before, so a removal that broke off is simply started again.
//!
//! Controllers are refused: what they hold of the database, the queue and OVN's clusters is not taken from them here.
use crate::cloud::{self, SshShell};
use crate::commands::question;
use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::{ExitStatus, did_you_mean};
use health::NodeShell;
use network_plan::NodePlan;
use openstack_client::Client;
use serde_json::{Value, json};
use state::{EnvironmentFolder, EnvironmentLock, StateError};

/// Names of servers that a refusal tells.
const SERVERS_TOLD: usize = 5;
/// Ends what the node does for the cloud, and its start at the next boot. Units that it does not have are no fault.
const LEAVE: &str = "systemctl disable --now wright-compute-agent 2>/dev/null; systemctl disable --now ovn-host ovn-controller 2>/dev/null; \
     ! systemctl is-active --quiet wright-compute-agent && ! systemctl is-active --quiet ovn-controller";

pub async fn run(
    name: &str,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let folder = EnvironmentFolder::existing(&settings.state_dir, &settings.env);
    let (Some(folder), Some(store)) = (folder, environment::open_store(settings).await?) else {
        return Err(CommandError::failed(format!(
            "no node of `{}` is installed",
            settings.env
        )));
    };
    let environment = environment::plan(settings, Some(&store), printer).await?;
    let node = find(environment.plan.nodes.values(), name)?;
    let controllers: Vec<String> = environment
        .plan
        .nodes
        .values()
        .filter(|node| node.in_group("controller"))
        .map(|node| node.name.clone())
        .collect();
    let _lock = EnvironmentLock::acquire(&folder, "deploy")
        .map_err(|error| CommandError::failed(error.to_string()))?;
    let client = cloud::client(&folder, &environment)?;
    refuse_with_servers(&client, node).await?;
    printer.say(&format!(
        "Removing {name} ({}) from the cloud:\n\
         - no more servers are put there, and its agent and OVN stop, if it answers;\n\
         - the compute service, placement and OVN forget it;\n\
         - the state forgets its SSH host key: as long as the inventory has it, a deployment would install it anew.",
        node.fqdn
    ));
    question::go_on(settings)?;

    let failed = |what: &str, error: &dyn std::fmt::Display| {
        CommandError::failed(format!("{what}: {error}"))
            .hint("what was done so far is no harm: mend the cause and start it again")
    };
    let services = services(&client, node).await?;
    if !services.is_empty() {
        let body = json!({ "host": node.fqdn, "binary": "nova-compute" });
        client
            .put("compute", "/os-services/disable", &body)
            .await
            .map_err(|error| failed("the compute service is not disabled", &error))?;
        // One may have been put there between the first look and this.
        refuse_with_servers(&client, node).await?;
    }
    let shell = SshShell::new(&folder, &environment, &store).await?;
    match shell.run(name, &["sh", "-c", LEAVE]).await {
        Ok((0, _)) => printer.say(&format!("{name}: agent and OVN have stopped")),
        Ok((code, _)) => {
            return Err(failed(
                &format!("{name}: agent and OVN do not stop"),
                &format!("status {code}"),
            ));
        }
        Err(why) => printer.warn(&format!(
            "{name} does not answer ({why}); keep it off, or install it anew: turned on as it is, it would come back as a host"
        )),
    }
    for id in services {
        match client
            .delete("compute", &format!("/os-services/{id}"))
            .await
        {
            Err(error) if !error.is_not_found() => {
                return Err(failed("the compute service does not forget it", &error));
            }
            _ => printer.say("the compute service and placement have forgotten it"),
        }
    }
    forget_chassis(&shell, &controllers, &node.fqdn)
        .await
        .map_err(|error| failed("OVN does not forget it", &error))?;
    printer.say("OVN has forgotten it");
    match store.remove_node(name).await {
        Ok(()) | Err(StateError::UnknownNode(_)) => {}
        Err(error) => return Err(failed("the state does not forget it", &error)),
    }
    printer.say(&format!(
        "{name} is removed. Take it out of the inventory and run `wright -e {} deploy`, so that the others forget its name",
        settings.env
    ));
    Ok(ExitStatus::Done)
}

/// The node, if it is one that can be removed.
fn find<'a>(
    nodes: impl Iterator<Item = &'a NodePlan>,
    name: &str,
) -> Result<&'a NodePlan, CommandError> {
    let nodes: Vec<&NodePlan> = nodes.collect();
    let Some(node) = nodes.iter().find(|node| node.name == name) else {
        let failed = CommandError::failed(format!("there is no node `{name}` in the inventory"));
        let near = did_you_mean(name, nodes.iter().map(|node| node.name.as_str()));
        return Err(match near {
            Some(near) => failed.hint(format!("did you mean `{near}`?")),
            None => failed.hint("remove a node first, and take it out of the inventory then"),
        });
    };
    if node.in_group("controller") {
        return Err(CommandError::failed(format!(
            "`{name}` is a controller, and only compute nodes can be removed"
        ))
        .hint("one that is repaired comes back by itself when it is turned on"));
    }
    Ok(node)
}

async fn refuse_with_servers(client: &Client, node: &NodePlan) -> Result<(), CommandError> {
    let path = format!("/servers?all_tenants=1&host={}", node.fqdn);
    let said = client
        .get("compute", &path)
        .await
        .map_err(|error| CommandError::failed(format!("its servers are not known: {error}")))?;
    let servers = said["servers"].as_array().cloned().unwrap_or_default();
    if servers.is_empty() {
        return Ok(());
    }
    let names = servers.iter().take(SERVERS_TOLD);
    let names: Vec<&str> = names.filter_map(|server| server["name"].as_str()).collect();
    Err(CommandError::failed(format!(
        "`{}` has {} servers: {}{}",
        node.name,
        servers.len(),
        names.join(", "),
        if servers.len() > SERVERS_TOLD {
            ", ..."
        } else {
            ""
        }
    ))
    .hint("delete them first; servers cannot be moved yet"))
}

/// Ids of its compute services.
async fn services(client: &Client, node: &NodePlan) -> Result<Vec<String>, CommandError> {
    let path = format!("/os-services?binary=nova-compute&host={}", node.fqdn);
    let said = client
        .get("compute", &path)
        .await
        .map_err(|error| CommandError::failed(format!("the compute service: {error}")))?;
    let services = said["services"].as_array().into_iter().flatten();
    Ok(services
        .filter_map(|service| match &service["id"] {
            Value::String(id) => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        })
        .collect())
}

/// Any controller can do it: a follower hands it on to the leader.
async fn forget_chassis(
    shell: &SshShell,
    controllers: &[String],
    chassis: &str,
) -> Result<(), String> {
    let mut last = "there is no controller".to_owned();
    for controller in controllers {
        let argv = [
            "ovn-sbctl",
            "--no-leader-only",
            "--timeout=20",
            "--if-exists",
            "chassis-del",
            chassis,
        ];
        match shell.run(controller, &argv).await {
            Ok((0, _)) => return Ok(()),
            Ok((code, _)) => last = format!("{controller}: `ovn-sbctl` ended with {code}"),
            Err(why) => last = format!("{controller}: {why}"),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn only_compute_nodes_of_the_inventory() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inventories/lab-ha");
        let (inventory, _) = inventory::load(&root);
        let (plan, _) = network_plan::plan(&inventory, &Default::default()).unwrap();
        let told = |name: &str| match find(plan.nodes.values(), name) {
            Ok(node) => node.fqdn.clone(),
            Err(error) => error.to_string(),
        };
        insta::assert_snapshot!(told("node-4"), @"node-4.domain.tld");
        insta::assert_snapshot!(told("node-1"), @"`node-1` is a controller, and only compute nodes can be removed");
        insta::assert_snapshot!(told("node-9"), @"there is no node `node-9` in the inventory");
    }
}
