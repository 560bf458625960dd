//! The `wright` command: from the process's beginning to its exit status. Arguments are in `args/`,
//! what they resolve to in `settings.rs`, output in `printer.rs`, and each command in `commands/`.
//! There is no logic here.

mod args;
mod cloud;
mod commands;
mod environment;
mod error;
mod live;
mod logging;
mod namespace;
mod printer;
mod settings;
mod table;

use clap::Parser;
use diagnostics::ExitStatus;
use error::CommandError;
use printer::Printer;
use settings::Settings;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args.sized(),
        Err(message) => {
            // Help and version are messages too, which go to stdout and are no error.
            let status = if message.use_stderr() {
                ExitStatus::Input
            } else {
                ExitStatus::Done
            };
            // Nobody is left to tell if even this cannot be written.
            let _ = message.print();
            return status.into();
        }
    };
    let printer = Printer::new(args.global.output);
    // The default hook has printed the panic by the time it is caught.
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| run(args, &printer)));
    match outcome {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => {
            printer.error(&error);
            error.exit_status()
        }
        Err(_) => ExitStatus::Internal,
    }
    .into()
}

fn run(args: args::Args, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let settings = Settings::resolve(&args.global)?;
    let talks_to_nodes =
        args.command.talks_to_nodes() && cloud::on_this_machine(&settings).is_none();
    // A thread enters a namespace alone, so this comes before there is a second one.
    namespace::enter(&settings.env, talks_to_nodes)?;
    if args.command.keeps_a_log() {
        logging::start(&settings, printer);
    }
    // Fails only if another provider is installed already, which would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?
        .block_on(commands::run(args.command, &settings, printer))
}
