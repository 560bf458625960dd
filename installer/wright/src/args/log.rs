//! Arguments of `wright log`.
use clap::Args;

/// Show what runs did
///
/// Without arguments the runs, the newest first; with a run its tasks; with `--task` all that a task gave.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// A run's name, or `last`
    pub run: Option<String>,
    /// All of this task's output; the beginning of its name is enough
    #[arg(long, value_name = "ID", requires = "run")]
    pub task: Option<String>,
    /// Only what failed
    #[arg(long)]
    pub failed: bool,
    /// Only tasks that changed something
    #[arg(long, requires = "run")]
    pub changed: bool,
    /// Only this node's tasks
    #[arg(long, value_name = "NODE", requires = "run")]
    pub node: Option<String>,
    /// Which page
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub page: u32,
    /// Lines of a page
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub lines: u32,
}
