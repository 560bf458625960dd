//! `wright secrets`: names of what is kept, and new keys for a running cloud.
pub mod token_keys;

use crate::args::deploy::ChangeArgs;
use crate::args::secrets::{Rotated, SecretsCommand};
use crate::commands::deploy;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use chrono::{DateTime, Utc};
use diagnostics::ExitStatus;
use serde::Serialize;
use serde_json::json;
use state::{EnvironmentFolder, EnvironmentLock, Secrets};
use std::fmt::{self, Display, Formatter};
use token_keys::{NotNow, TokenKeys};

pub async fn run(
    command: SecretsCommand,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    match command {
        SecretsCommand::List => {
            let names = Secrets::open(&folder(settings)?)
                .and_then(|secrets| secrets.names())
                .map_err(anyhow::Error::from)?;
            printer.data(&List { names })?;
            Ok(ExitStatus::Done)
        }
        SecretsCommand::Rotate {
            what: Rotated::Identity,
            forget,
            change,
        } => rotate(forget, &change, settings, printer).await,
    }
}

#[derive(Serialize)]
struct List {
    names: Vec<String>,
}

impl Display for List {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join("\n"))
    }
}

fn folder(settings: &Settings) -> Result<EnvironmentFolder, CommandError> {
    EnvironmentFolder::existing(&settings.state_dir, &settings.env).ok_or_else(|| {
        CommandError::failed(format!("`{}` has no secrets yet", settings.env)).hint(format!(
            "`wright -e {} deploy` makes the cloud, and its secrets",
            settings.env
        ))
    })
}

/// New keys first, durably, then the deployment that takes them to the controllers. A rotation that was broken off is
/// taken to its end instead of a new one: the staged key has to be everywhere before it is used.
async fn rotate(
    forget: bool,
    change: &ChangeArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let folder = folder(settings)?;
    {
        let _lock = EnvironmentLock::acquire(&folder, "secrets rotate")
            .map_err(|error| CommandError::failed(error.to_string()))?;
        let secrets = Secrets::open(&folder).map_err(anyhow::Error::from)?;
        let mut keys = token_keys::of(&secrets)?;
        let [first, staged] = [token_keys::fresh()?, token_keys::fresh()?];
        let rotated = if forget {
            keys.renew(first.expose(), staged.expose());
            Ok(())
        } else {
            keys.rotate(staged.expose(), Utc::now().timestamp())
        };
        match rotated {
            Ok(()) => {
                token_keys::keep(&secrets, &keys)?;
                told(printer, "tokens get a new key", &keys);
            }
            Err(NotNow::Underway) => told(
                printer,
                "the rotation before has not reached every controller: it is taken to its end",
                &keys,
            ),
            Err(NotNow::TooMany { oldest_goes }) => {
                let at = DateTime::from_timestamp(oldest_goes, 0).unwrap_or_default();
                return Err(CommandError::failed(
                    "the keys were rotated so often that tokens of old ones may still be about",
                )
                .hint(format!("the next one is free at {}", at.to_rfc3339())));
            }
        }
    }
    deploy::run(change.deploy(), settings, printer).await
}

fn told(printer: &Printer, text: &str, keys: &TokenKeys) {
    let number = keys.primary();
    printer.event(
        "token_keys",
        &format!("{text} (key {number})"),
        &json!({"primary": number}),
    );
}
