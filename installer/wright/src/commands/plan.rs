//! `wright plan`: what a deployment would change, shown and saved.
use super::deploy::foresee::foresee;
use crate::args::plan::PlanArgs;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;

pub async fn run(
    args: PlanArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let selection = args.selection.selection();
    let plan = foresee(settings, selection, !args.no_diff, printer).await?;
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&plan).map_err(anyhow::Error::from)?;
        state::folder::replace_file(path, text.as_bytes()).map_err(|cause| {
            CommandError::failed(format!("cannot write `{}`: {cause}", path.display()))
        })?;
    }
    printer.data(&plan)?;
    if !plan.faults.is_empty() {
        return Err(
            CommandError::failed("the plan is not whole: see what failed above")
                .hint("mend the cause, then plan again; `wright apply` refuses this plan"),
        );
    }
    if let Some(path) = &args.out {
        printer.say(&format!(
            "saved; carry it out with: wright -e {} apply {}",
            settings.env,
            path.display()
        ));
    }
    Ok(ExitStatus::Done)
}
