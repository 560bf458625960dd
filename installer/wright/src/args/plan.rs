//! Arguments of `wright plan`, `wright apply` and `wright drift`, and which part of the playbook a run works on.
use clap::Args;
use std::path::PathBuf;
use task_engine::plan_file::Selection;

/// Which part of the playbook is meant. Facts and secrets of all nodes stay known, whatever is chosen.
#[derive(Debug, Clone, Args)]
pub struct SelectionArgs {
    /// Playbook that maps groups to roles
    #[arg(long, value_name = "FILE", default_value = "roles/site.yml")]
    pub playbook: PathBuf,
    /// Only these nodes (a host pattern); all nodes' facts stay known
    #[arg(long, value_name = "PATTERN")]
    pub limit: Option<String>,
    /// Only tasks with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// Leave out tasks with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub skip_tags: Vec<String>,
    /// Pass over what comes before the first task with this name
    #[arg(long, value_name = "NAME")]
    pub start_at_task: Option<String>,
}

impl SelectionArgs {
    pub fn selection(&self) -> Selection {
        Selection {
            playbook: self.playbook.clone(),
            limit: self.limit.clone(),
            tags: self.tags.clone(),
            skip_tags: self.skip_tags.clone(),
            start_at_task: self.start_at_task.clone(),
        }
    }
}

/// Show what a deployment would change, and save it as a plan
///
/// Asks every installed node, and changes none. Each entry is a change, with its diff, or unknown until some task
/// has run, with the reason.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Save the plan into this file, for `wright apply`
    #[arg(long, short = 'o', value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Leave the diffs out
    #[arg(long)]
    pub no_diff: bool,
}

/// Carry out a saved plan
///
/// Refused if inventory, roles or nodes are no longer what the plan was made from. Afterwards it is told how the
/// unknown entries came out, and what came out other than planned.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// What `wright plan -o FILE` wrote
    #[arg(value_name = "FILE")]
    pub plan: PathBuf,
    /// Run the roles without asking first whether the wires are as planned
    #[arg(long)]
    pub no_verify_network: bool,
    /// Leave out the health checks at the end
    #[arg(long)]
    pub no_health: bool,
}

/// Show what is no longer as it was deployed
///
/// Changes nothing. Exit status 3: there are differences.
#[derive(Debug, Args)]
pub struct DriftArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Leave the diffs out
    #[arg(long)]
    pub no_diff: bool,
}
