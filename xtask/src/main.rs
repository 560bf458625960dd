//! Chores of the project, each a Rust command: `cargo xtask lab`, `test`, `faults`, `bench`.
//! Only dispatch is here; one file a chore.
mod bench;
mod cargo;
mod clients;
mod faults;
mod lab;
mod layering;
mod packages;
mod processes;
mod python;
mod test;
mod test_output;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Stackwright project")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Bring up the virtual lab: installs what is missing, builds, and runs `wright lab up`
    Lab(lab::Args),
    /// Run the tests, as CI does
    Test(test::Args),
    /// Do faults to a highly available lab under load, and judge what is left
    Faults(faults::Args),
    /// Measure, side by side with the peers
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Args::parse().chore {
        Chore::Lab(args) => lab::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Faults(args) => faults::run(&args),
        Chore::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
