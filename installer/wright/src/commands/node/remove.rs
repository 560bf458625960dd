//! `wright node remove`: nodes leave a running cloud, whether their machines still answer or are lost. Each step finds out for
//! itself whether it was done before, so a removal that broke off is simply started again. At the end the nodes that stay know of
//! them no more; the controllers learn it one after the other.
use super::add::without;
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
    let nodes = cloud.removing(names)?;
    let has_controller = nodes.iter().any(|node| node.in_group("controller"));
    let staying = without(cloud.controllers(), &nodes);
    if has_controller {
        leaving.must_be_whole(&staying).await?;
    }
    for node in nodes.iter().filter(|node| !node.in_group("controller")) {
        leaving.refuse_with_servers(node).await?;
    }
    printer.say(&format!(
        "Removing {} from the cloud:\n\
         - what runs there stops for good, if it answers;\n\
         - the compute service, placement, OVN, the queue and the database forget it, as far as they knew it;\n\
         - the nodes that stay no longer know its name, and let it in no more;\n\
         - the state forgets its SSH host key and its certificate.",
        names.join(", ")
    ));
    question::go_on(settings)?;
    {
        let _lock = leaving.lock()?;
        for node in &nodes {
            leaving.disable(node).await?;
            leaving.stop(node).await?;
            leaving.forget_services(node).await?;
            leaving.forget(node, &staying).await?;
            leaving.forget_in_state(node).await?;
        }
    }
    let one_by_one: &[&NodePlan] = match has_controller {
        true => &staying,
        false => &[],
    };
    let args = args.deploy();
    let selection = args.selection.selection();
    let what = Whole {
        rounds: members::rounds(&selection, &[], one_by_one, true),
        change: Change {
            joining: Vec::new(),
            leaving: names.to_vec(),
        },
        ..Whole::of(&args, &selection)
    };
    let status = deploy::carry_out(what, settings, printer).await?;
    printer.say(&format!(
        "Removed: {}. Take it out of the inventory now, or `wright node add` brings it back",
        names.join(", ")
    ));
    Ok(status)
}
