//! `cargo xtask faults ARGS`: builds, and does faults to a highly available lab under load (docs/faults.md).
//! Which faults there are, and what is judged, `tests/faults/run.py` knows.
use crate::{cargo, packages};
use anyhow::{Result, bail};
use std::{env, process::Command};

#[derive(clap::Args)]
pub struct Args {
    /// Arguments for `tests/faults/run.py`, for example `--list` or `--short`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    run: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    if !packages::is_root() {
        bail!("containers and their networks are root's: run it as root");
    }
    let yes = env::var_os("CI").is_some_and(|v| v == "true");
    packages::install_missing(&[packages::LAB, FAULTS].concat(), yes)?;
    cargo::cargo(&["build", "--package", "wright"])?;
    cargo::build_agent()?;
    script(&args.run)
}

/// What CI has minutes for; program and agent are built, and packages there.
pub fn short() -> Result<()> {
    script(&["--short".to_owned()])
}

fn script(args: &[String]) -> Result<()> {
    cargo::check(
        Command::new("tests/faults/run.py")
            .args(args)
            .current_dir(cargo::root())
            .env("WRIGHT", cargo::wright())
            .env("WRIGHT_AGENT", cargo::agent()),
    )
}

/// What `run.py` calls beside all of the lab.
pub const FAULTS: &[&str] = &["curl", "iputils-ping", "nftables", "python3"];
