//! `wright apply FILE`: carries out a saved plan, or refuses it.
use super::deploy::{self, Planned, Whole};
use crate::args::deploy::DeployArgs;
use crate::args::plan::{ApplyArgs, SelectionArgs};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use sha2::{Digest, Sha256};
use task_engine::plan_file::PlanFile;

pub async fn run(
    args: ApplyArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let name = args.plan.display().to_string();
    let text = std::fs::read_to_string(&args.plan).map_err(|cause| {
        CommandError::failed(format!("cannot read `{name}`: {cause}"))
            .hint("`wright plan -o FILE` writes a plan")
    })?;
    let file = PlanFile::parse(&name, &text)?;
    let run = format!("apply-{}", &hex::encode(Sha256::digest(&text))[..12]);
    let selection = file.selection.clone();
    let deploy = DeployArgs {
        selection: SelectionArgs {
            playbook: selection.playbook.clone(),
            limit: selection.limit.clone(),
            tags: selection.tags.clone(),
            skip_tags: selection.skip_tags.clone(),
            start_at_task: selection.start_at_task.clone(),
        },
        no_verify_network: args.no_verify_network,
        no_health: args.no_health,
        kernel_arguments: Vec::new(),
    };
    let planned = Planned { file, run };
    let what = Whole {
        planned: Some(&planned),
        ..Whole::of(&deploy, &selection)
    };
    deploy::carry_out(what, settings, printer).await
}
