//! `wright status`: the cloud at a glance, once or again and again. What is seen comes from `ask`; what is made of it is
//! `health::overview`.
mod ask;

use crate::args::status::StatusArgs;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use ask::Asker;
use diagnostics::ExitStatus;
use health::overview::{Overview, between};
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

pub async fn run(
    args: StatusArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let asker = Asker::new(settings, printer).await?;
    let overview = Overview::of(&asker.ask().await?);
    if args.watch {
        return watch(&asker, overview, Duration::from_secs(args.every), printer).await;
    }
    printer.data(&overview)?;
    Ok(match overview.well {
        true => ExitStatus::Done,
        false => ExitStatus::Differences,
    })
}

/// Until the process is ended.
async fn watch(
    asker: &Asker,
    mut overview: Overview,
    pause: Duration,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let mut live = printer.live();
    if !live.is_shown() {
        printer.data(&overview)?;
    }
    let mut facts = overview.facts();
    loop {
        if live.is_shown() {
            live.page(&format!("{}\n{overview}", now()));
        }
        tokio::time::sleep(pause).await;
        overview = Overview::of(&asker.ask().await?);
        let newer = overview.facts();
        if !live.is_shown() {
            for what in between(&facts, &newer) {
                printer.data(&Change { at: now(), what })?;
            }
        }
        facts = newer;
    }
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[derive(Serialize)]
struct Change {
    at: String,
    what: String,
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.what)
    }
}
