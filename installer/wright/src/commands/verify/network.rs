//! `wright verify network`: the wires of all nodes, asked from all at once, and what the deployment makes of it.
use super::reach::SshReach;
use super::wires;
use crate::args::verify::NetworkArgs;
use crate::environment::{self, Environment};
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use inventory::NetworkName;
use provision::NodeState;
use serde_json::json;
use state::{EnvironmentFolder, Store};
use std::time::{Duration, Instant};
use wiring::bmc::{self, Bmc};
use wiring::{Pace, Report, Severity};

/// Emulated nodes without help of the processor take their time to log in.
const REACH: Duration = Duration::from_secs(120);

pub async fn run(
    args: NetworkArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let nothing = || {
        CommandError::failed(format!("no node of `{}` is installed yet", settings.env)).hint(
            format!(
                "`wright -e {} deploy` installs them, and asks this before their roles",
                settings.env
            ),
        )
    };
    let folder = EnvironmentFolder::existing(&settings.state_dir, &settings.env);
    let (Some(folder), Some(store)) = (folder, environment::open_store(settings).await?) else {
        return Err(nothing());
    };
    let environment = environment::plan(settings, Some(&store), printer).await?;
    let reach = SshReach::new(&folder, &environment, &store).await?;
    if reach.count() == 0 {
        return Err(nothing());
    }
    let report = ask(&environment, &reach, &args.only, printer).await?;
    printer.data(&report)?;
    Ok(match report.is_well() {
        true => ExitStatus::Done,
        false => ExitStatus::Input,
    })
}

/// Asks between installation and roles, where there is more than one node and something is to be deployed yet: a cloud
/// that runs is left in peace.
///
/// # Errors
/// The wires are not as planned.
pub async fn before_roles(
    folder: &EnvironmentFolder,
    store: &Store,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), CommandError> {
    let records = store.nodes().await.map_err(anyhow::Error::from)?;
    let is_new = |state: &str| {
        state
            .parse::<NodeState>()
            .is_ok_and(|state| state != NodeState::Deployed)
    };
    if !records.iter().any(|record| is_new(&record.state)) {
        return Ok(());
    }
    let reach = SshReach::new(folder, environment, store).await?;
    if reach.count() < 2 {
        return Ok(());
    }
    let report = ask(environment, &reach, &[], printer).await?;
    let text = report.to_string();
    if !report.is_well() {
        return Err(
            CommandError::failed(format!("the wires are not as planned:\n{text}")).hint(
                "mend what is told and run `deploy` again, or pass over this with `--no-verify-network`",
            ),
        );
    }
    let told = match report.count(Severity::Warning) {
        0 => "the wires are as planned",
        _ => &text,
    };
    printer.event("verify_network", told, &json!({ "report": report }));
    Ok(())
}

async fn ask(
    environment: &Environment,
    reach: &SshReach,
    only: &[NetworkName],
    printer: &Printer,
) -> Result<Report, CommandError> {
    let plan = wires::of(&environment.plan, &environment.inventory, only);
    if plan.networks.is_empty() {
        return Err(
            CommandError::failed("no card of any node carries these networks")
                .hint("`nics` in the inventory says which networks each card carries"),
        );
    }
    let began = Instant::now();
    let pace = Pace {
        reach: REACH,
        ..Pace::default()
    };
    let told = |text: &str| printer.event("verify_network", text, &json!({ "message": text }));
    let mut bmcs = match only.is_empty() || only.contains(&NetworkName::Ipmi) {
        true => bmcs(environment),
        false => Vec::new(),
    };
    // 32 hex digits that no other run has.
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let (outcomes, ()) = futures::future::join(
        wiring::survey(&plan, reach, &pace, &nonce, &told),
        bmc::ask(&mut bmcs),
    )
    .await;
    let report = wiring::analyse(&plan, &outcomes, &bmcs);
    told(&format!("asked in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(report)
}

fn bmcs(environment: &Environment) -> Vec<Bmc> {
    let nodes = environment.plan.nodes.values();
    nodes
        .filter_map(|node| {
            let bmc = node.bmc.as_ref()?;
            Some(Bmc {
                node: node.name.clone(),
                address: bmc.address,
                port: bmc.port,
                fault: None,
            })
        })
        .collect()
}
