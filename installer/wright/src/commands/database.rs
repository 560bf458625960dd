//! `wright database`: what the guards of the database's cluster say, and the operator's decision where they must not
//! make one. Talks to the guards only; the database is theirs.

use crate::args::database::DatabaseCommand;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::table;
use ::database::peers::Peers;
use ::database::state::State;
use diagnostics::ExitStatus;
use futures::future::join_all;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

pub async fn run(command: DatabaseCommand, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let (DatabaseCommand::Status { config } | DatabaseCommand::Bootstrap { config }) = &command;
    let config = ::database::config::load(config)?;
    let peers = Peers::new(&config).map_err(CommandError::failed)?;
    match command {
        DatabaseCommand::Status { .. } => {
            let asked = config.nodes.iter().map(async |(name, address)| {
                let said = match peers.state(*address).await {
                    Ok(state) => Said::State(Box::new(state)),
                    Err(error) => Said::Nothing { error },
                };
                (name.clone(), said)
            });
            let nodes: BTreeMap<String, Said> = join_all(asked).await.into_iter().collect();
            printer.data(&Status { nodes })?;
        }
        DatabaseCommand::Bootstrap { .. } => {
            let guard = config.nodes.get(&config.name).copied();
            let guard = guard.unwrap_or(config.listen);
            peers.bootstrap(guard).await.map_err(|why| {
                CommandError::failed(format!("the cluster does not begin here: {why}"))
                    .hint("`wright database status` shows what every guard says")
            })?;
            printer.say(
                "the guard begins the cluster here: `wright database status` shows how it goes",
            );
        }
    }
    Ok(ExitStatus::Done)
}

#[derive(Serialize)]
#[serde(untagged)]
enum Said {
    State(Box<State>),
    Nothing { error: String },
}

#[derive(Serialize)]
struct Status {
    nodes: BTreeMap<String, Said>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["node", "phase", "position", "why"].map(str::to_owned)];
        rows.extend(self.nodes.iter().map(|(name, said)| match said {
            Said::Nothing { error } => [
                name.clone(),
                "not heard".to_owned(),
                String::new(),
                error.clone(),
            ],
            Said::State(state) => [
                name.clone(),
                state.phase.to_string(),
                match (&state.uuid, state.seqno) {
                    (Some(uuid), Some(seqno)) => format!("{uuid}:{seqno}"),
                    _ => String::new(),
                },
                state.why.clone().unwrap_or_default(),
            ],
        }));
        f.write_str(&table::columns(&rows))?;
        for (name, said) in &self.nodes {
            let Said::State(state) = said else { continue };
            if let Some(error) = &state.last_error {
                writeln!(f, "\n{name}, last error: {error}")?;
            }
            if let Some(command) = &state.command {
                writeln!(f, "\nto decide, on {name}:\n  {command}")?;
            }
        }
        Ok(())
    }
}
