//! `wright serve`: one service as a process of its own, until SIGTERM.

use crate::args::serve::{ServeArgs, ServiceName};
use crate::error::CommandError;
use diagnostics::ExitStatus;
use service_kit::{StartError, config::load, server::run_alone};

/// One line per service: its configuration's type comes from its `start`.
pub async fn run(args: ServeArgs) -> Result<ExitStatus, CommandError> {
    let file = &args.config;
    match args.service {
        ServiceName::ComputeAgent => return super::compute_agent::run(file).await,
        ServiceName::Database => ::database::serve(::database::config::load(file)?).await,
        ServiceName::Compute => {
            let (settings, own) = load(file)?;
            run_alone("compute", &settings, |ctx| compute::start(ctx, own)).await
        }
        ServiceName::Identity => {
            let (settings, own) = load(file)?;
            run_alone("identity", &settings, |ctx| identity::start(ctx, own)).await
        }
        ServiceName::Image => {
            let (settings, own) = load(file)?;
            run_alone("image", &settings, |ctx| image::start(ctx, own)).await
        }
        ServiceName::Placement => {
            let (settings, own) = load(file)?;
            run_alone("placement", &settings, |ctx| placement::start(ctx, own)).await
        }
        ServiceName::Network => {
            let (settings, own) = load(file)?;
            run_alone("network", &settings, |ctx| network::start(ctx, own)).await
        }
        ServiceName::Orchestration => {
            let (settings, own) = load(file)?;
            run_alone("orchestration", &settings, |ctx| {
                orchestration::start(ctx, own)
            })
            .await
        }
    }
    .map_err(explain)?;
    Ok(ExitStatus::Done)
}

/// A service that cannot start is the user's to mend: a port in use, a database that is away.
pub fn explain(error: StartError) -> CommandError {
    if let StartError::Policy(faults) = error {
        return CommandError::Input(faults);
    }
    let in_use = matches!(&error, StartError::Io { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
    let error = CommandError::failed(error.to_string());
    if in_use {
        error.hint("another program listens there: `ss -ltnp` shows which")
    } else {
        error
    }
}
