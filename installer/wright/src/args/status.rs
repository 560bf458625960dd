//! Arguments of `wright status`.
use clap::Args;

/// Show the whole cloud at a glance: nodes, addresses, database, queue, OVN, services, clocks, disks
///
/// Looks only, at all nodes at once, in seconds. Exit status 3 when something is not well.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Look again and again until Ctrl-C; where the output is no terminal, tell only what changes
    #[arg(long, short)]
    pub watch: bool,
    /// Pause between two looks, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
}
