//! `wright policy`: the rules of a service's operations as a file, and what is wrong with such a file. Asks no service.

use crate::args::policy::{ApiName, PolicyCommand};
use crate::error::CommandError;
use crate::printer::Printer;
use diagnostics::ExitStatus;
use serde::Serialize;
use service_kit::{Table, policy};
use std::fmt;

pub fn run(command: &PolicyCommand, printer: &Printer) -> Result<ExitStatus, CommandError> {
    match command {
        PolicyCommand::Show { service } => printer.data(&Defaults {
            policy: policy::defaults(&table(*service)),
        })?,
        PolicyCommand::Check { service, file } => {
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file)
                .map_err(|error| CommandError::failed(format!("cannot read `{name}`: {error}")))?;
            let overrides = policy::check(&name, &text, &table(*service))?;
            printer.data(&Checked {
                rules: overrides.len(),
            })?;
        }
    }
    Ok(ExitStatus::Done)
}

/// The rows of a service.
fn table(service: ApiName) -> Table {
    match service {
        ApiName::Identity => identity::table(),
        ApiName::Image => image::table(),
        ApiName::Placement => placement::table(),
        ApiName::Network => network::table(),
        ApiName::Compute => compute::table(),
        ApiName::Orchestration => orchestration::table(),
    }
}

#[derive(Serialize)]
struct Defaults {
    policy: String,
}

impl fmt::Display for Defaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.policy)
    }
}

#[derive(Serialize)]
struct Checked {
    rules: usize,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rules {
            1 => f.write_str("1 rule, nothing wrong"),
            rules => write!(f, "{rules} rules, nothing wrong"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use std::collections::BTreeMap;

    /// A policy names operations, so rows of one name must be for the same callers.
    #[test]
    fn rows_of_one_operation_have_one_rule() {
        for service in ApiName::value_variants() {
            let mut rules = BTreeMap::new();
            for row in table(*service).rows {
                let first = *rules.entry(row.operation).or_insert(row.rule);
                assert_eq!(first, row.rule, "{} of {service:?}", row.operation);
            }
        }
    }

    #[test]
    fn what_is_shown_is_a_policy_of_every_service() {
        for service in ApiName::value_variants() {
            let table = table(*service);
            let text = policy::defaults(&table);
            let overrides = policy::check("p", &text, &table).unwrap();
            assert!(overrides.len() > 10, "{service:?}");
        }
    }
}
