//! `wright node replace`: a dead node's place is taken by another machine, under its name and addresses. The cloud forgets the old
//! member, the new machine is installed and joins as one that is added. Broken off before that, it goes on when it is started again: a
//! node that is forgotten is no longer one of the cloud's, and is then only to be installed. Afterwards the new machine is one of
//! the cloud's as any other, and `wright node add` does the rest.
use super::add::without;
use super::leave::Leaving;
use crate::args::deploy::ChangeArgs;
use crate::commands::deploy::members::{self, Change, Cloud};
use crate::commands::deploy::{self, Whole, running_lab};
use crate::commands::question;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use network_plan::NodePlan;

pub async fn run(
    names: &[String],
    same_machine: bool,
    args: &ChangeArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let leaving = Leaving::look(settings, printer).await?;
    let cloud = Cloud::new(&leaving.environment, &leaving.records);
    let nodes = cloud.replacing(names, same_machine)?;
    let known: Vec<&NodePlan> = nodes
        .iter()
        .copied()
        .filter(|node| cloud.has_joined(&node.name))
        .collect();
    let staying = without(cloud.controllers(), &nodes);
    leaving.must_be_whole(&staying).await?;
    for node in known.iter().filter(|node| !node.in_group("controller")) {
        leaving.refuse_with_servers(node).await?;
    }
    printer.say(&match known.is_empty() {
        true => format!(
            "Going on with {}: the cloud has forgotten the old machine.",
            names.join(", ")
        ),
        false => format!(
            "Replacing {}:\n\
             - what runs there stops, if it answers; afterwards it must stay off;\n\
             - the cloud forgets the old member;\n\
             - the new machine is installed under the same name and addresses, and joins.",
            names.join(", ")
        ),
    });
    question::go_on(settings)?;
    {
        let _lock = leaving.lock()?;
        for node in known {
            leaving.stop(node).await?;
            leaving.forget(node, &staying).await?;
            leaving.forget_in_state(node).await?;
        }
        running_lab::renew(settings, &leaving.environment, names).await?;
    }
    let args = args.deploy();
    let selection = args.selection.selection();
    let what = Whole {
        rounds: members::rounds(&selection, &nodes, &[], true),
        change: Change {
            joining: names.to_vec(),
            leaving: Vec::new(),
        },
        ..Whole::of(&args, &selection)
    };
    deploy::carry_out(what, settings, printer).await
}
