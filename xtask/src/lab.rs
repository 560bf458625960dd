//! `cargo xtask lab ARGS`: from a fresh machine to `wright lab up ARGS`. Packages, builds, the call;
//! what the lab is, `wright` knows.
use crate::{cargo, packages};
use anyhow::Result;
use std::{env, process::Command};

#[derive(clap::Args)]
pub struct Args {
    /// Answer yes to the installation of missing packages
    #[arg(long)]
    yes: bool,
    /// Arguments for `wright lab up`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    up: Vec<String>,
}

/// Installs what is missing, builds `wright` and the static agent, and runs `wright lab up`.
pub fn run(args: &Args) -> Result<()> {
    let yes = args.yes || env::var_os("CI").is_some_and(|v| v == "true");
    packages::install_missing(packages::LAB, yes)?;
    cargo::cargo(&["build", "--package", "wright"])?;
    cargo::build_agent()?;
    let mut command = match packages::is_root() {
        true => Command::new(cargo::wright()),
        false => {
            // Namespaces, bridges and the installation of Debian into a folder are root's.
            let mut sudo = Command::new("sudo");
            sudo.arg("--preserve-env=WRIGHT_AGENT,CI")
                .arg(cargo::wright());
            sudo
        }
    };
    command.args(["lab", "up"]);
    if yes {
        command.arg("--yes");
    }
    cargo::check(
        command
            .args(&args.up)
            .current_dir(cargo::root())
            .env("WRIGHT_AGENT", cargo::agent()),
    )
}
