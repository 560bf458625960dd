//! `wright node`: the environment's nodes, as planned and as they are.

mod add;
mod leave;
mod list;
mod remove;
mod replace;
mod show;
mod trust;

use crate::args::node::NodeCommand;
use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use network_plan::NodePlan;
use serde::Serialize;
use state::NodeRecord;
use std::collections::BTreeMap;

pub async fn run(
    command: NodeCommand,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    match command {
        NodeCommand::List => list::run(&nodes(settings, printer).await?, printer),
        NodeCommand::Show { node } => show::run(&nodes(settings, printer).await?, &node, printer),
        NodeCommand::Add { nodes, change } => add::run(&nodes, &change, settings, printer).await,
        NodeCommand::Remove { nodes, change } => {
            remove::run(&nodes, &change, settings, printer).await
        }
        NodeCommand::Replace {
            nodes,
            same_machine,
            change,
        } => replace::run(&nodes, same_machine, &change, settings, printer).await,
        NodeCommand::Trust { node, fingerprint } => trust::run(&node, &fingerprint, printer).await,
    }
}

/// A node of the plan, of the state, or of both.
#[derive(Debug, Serialize)]
struct Node {
    name: String,
    /// `None`: it is no longer in the inventory.
    plan: Option<NodePlan>,
    /// A word of the node's life; `planned` if nothing was done with it yet.
    state: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hardware: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_host_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_sha256: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at: Option<String>,
}

async fn nodes(settings: &Settings, printer: &Printer) -> Result<Vec<Node>, CommandError> {
    let store = environment::open_store(settings).await?;
    let environment = environment::plan(settings, store.as_ref(), printer).await?;
    let mut records: BTreeMap<String, NodeRecord> = BTreeMap::new();
    if let Some(store) = &store {
        let all = store.nodes().await.map_err(anyhow::Error::from)?;
        records.extend(all.into_iter().map(|record| (record.name.clone(), record)));
    }
    let mut nodes: Vec<Node> = environment
        .plan
        .nodes
        .into_iter()
        .map(|(name, plan)| node(name.clone(), Some(plan), records.remove(&name)))
        .collect();
    nodes.extend(
        records
            .into_iter()
            .map(|(name, record)| node(name, None, Some(record))),
    );
    Ok(nodes)
}

fn node(name: String, plan: Option<NodePlan>, record: Option<NodeRecord>) -> Node {
    match record {
        Some(record) => Node {
            name,
            plan,
            state: record.state,
            reason: record.reason,
            hardware: record.hardware,
            ssh_host_key: record.ssh_host_key,
            image_sha256: record.image_sha256,
            changed_at: Some(record.changed_at.to_rfc3339()),
        },
        None => Node {
            name,
            plan,
            state: "planned".to_owned(),
            reason: None,
            hardware: None,
            ssh_host_key: None,
            image_sha256: None,
            changed_at: None,
        },
    }
}
