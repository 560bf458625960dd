//! `wright verify`: `health` here, the checks of the `health` crate against the environment's cloud; `network` in a
//! folder of its own, `stack` in `proof`.
pub mod network;
pub mod reach;
mod wires;

use super::proof;
use crate::args::verify::VerifyCommand;
use crate::cloud::{self, SshShell};
use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use health::{Cloud, Guest, Report};
use inventory::DatabaseEngine;
use serde_json::Value;
use state::{EnvironmentFolder, Store};
use std::sync::Arc;

pub async fn run(
    command: VerifyCommand,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    match command {
        VerifyCommand::Health => {
            let report = health(settings, &[], printer).await?;
            Ok(if report.is_well() {
                ExitStatus::Done
            } else {
                ExitStatus::Input
            })
        }
        VerifyCommand::Network(args) => network::run(args, settings, printer).await,
        VerifyCommand::Stack(args) => proof::run(args, settings, printer).await,
    }
}

/// Runs every check, telling each as it ends. Nodes that have left are not asked, though the inventory has them still.
pub async fn health(
    settings: &Settings,
    left: &[String],
    printer: &Printer,
) -> Result<Report, CommandError> {
    let folder = EnvironmentFolder::create(&settings.state_dir, &settings.env)
        .map_err(anyhow::Error::from)?;
    let store = Store::open(&folder).await.map_err(anyhow::Error::from)?;
    let mut environment = environment::plan(settings, Some(&store), printer).await?;
    environment
        .plan
        .nodes
        .retain(|name, _| !left.contains(name));
    let client = cloud::client(&folder, &environment)?;
    let nodes = environment.plan.nodes.values().map(|node| health::Node {
        name: node.name.clone(),
        groups: node.groups.clone(),
        addresses: node
            .addresses
            .iter()
            .map(|(name, address)| (name.to_string(), (*address).into()))
            .collect(),
    });
    let vips = environment.plan.vips;
    let named = [("internal", vips.internal), ("public", vips.public)];
    let checked = Cloud {
        nodes: nodes.collect(),
        vips: named
            .into_iter()
            .filter_map(|(name, vip)| Some((name.to_owned(), vip?.into())))
            .collect(),
        database_port: match environment.inventory.database_engine {
            DatabaseEngine::Mariadb => 3306,
            DatabaseEngine::Postgresql => 5432,
        },
        shell: Arc::new(SshShell::new(&folder, &environment, &store).await?),
        guest: guest(&client).await,
        client,
    };
    let printer = *printer;
    Ok(health::run(&checked, &|finding| {
        printer.event("health", &finding.to_string(), finding)
    })
    .await)
}

/// An image and the smallest flavor of this cloud, if it has both.
async fn guest(client: &openstack_client::Client) -> Option<Guest> {
    let images = client
        .get("image", "/v2/images?status=active&limit=1")
        .await
        .ok()?;
    let flavors = client.get("compute", "/flavors/detail").await.ok()?;
    let flavor = flavors["flavors"]
        .as_array()?
        .iter()
        .min_by_key(|flavor| flavor["ram"].as_u64())?;
    Some(Guest {
        image: images["images"]
            .get(0)?
            .get("id")
            .and_then(Value::as_str)?
            .to_owned(),
        flavor: flavor["id"].as_str()?.to_owned(),
    })
}
