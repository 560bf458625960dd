//! `wright node add`: nodes that the inventory has come to the running cloud. They are installed, the others let them in and know
//! their names, their roles run, and then the controllers that were there are brought in line one after the other, so that
//! the APIs go on. Each part finds out for itself whether it was done: one that broke off is started again.
use super::leave::Leaving;
use crate::args::deploy::ChangeArgs;
use crate::commands::deploy::members::{self, Change, Cloud};
use crate::commands::deploy::{self, Whole};
use crate::commands::question;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use network_plan::NodePlan;

pub async fn run(
    names: &[String],
    args: &ChangeArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let leaving = Leaving::look(settings, printer).await?;
    let cloud = Cloud::new(&leaving.environment, &leaving.records);
    let nodes = cloud.adding(names)?;
    let new: Vec<&str> = nodes
        .iter()
        .filter(|node| !cloud.has_joined(&node.name))
        .map(|node| node.name.as_str())
        .collect();
    let has_controller = nodes.iter().any(|node| node.in_group("controller"));
    let staying: Vec<&NodePlan> = match has_controller {
        true => without(cloud.controllers(), &nodes),
        false => Vec::new(),
    };
    if has_controller {
        leaving.must_be_whole(&staying).await?;
    }
    printer.say(&match new.is_empty() {
        true => "They are in the cloud already; whatever of it the others do not know yet is brought to them.".to_owned(),
        false => format!(
            "Adding {} to the cloud:\n\
             - the nodes that run let them in and know their names;\n\
             - what is not installed is, and their roles run: they join the database, the queue and OVN's databases, if they are controllers;\n\
             - the controllers that run learn of them, one after the other{}.",
            new.join(", "),
            match has_controller {
                true => "",
                false => ", without being begun anew",
            }
        ),
    });
    question::go_on(settings)?;
    let args = args.deploy();
    let selection = args.selection.selection();
    let what = Whole {
        rounds: members::rounds(&selection, &nodes, &staying, false),
        change: Change {
            joining: names.to_vec(),
            leaving: Vec::new(),
        },
        ..Whole::of(&args, &selection)
    };
    deploy::carry_out(what, settings, printer).await
}

/// Those that are not among `gone`.
pub fn without<'a>(nodes: Vec<&'a NodePlan>, gone: &[&NodePlan]) -> Vec<&'a NodePlan> {
    let mut nodes = nodes;
    nodes.retain(|node| !gone.iter().any(|gone| gone.name == node.name));
    nodes
}
