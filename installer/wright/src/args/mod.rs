//! The command line's grammar: global arguments here, those of each group of commands in a file of
//! its own. Nothing is resolved here (see `settings.rs`) and nothing done (see `commands/`).
//!
//! A new command: its arguments in `args/<group>.rs`, a line in [`Command`], its work in
//! `commands/<group>.rs` or `commands/<group>/<verb>.rs`, a line in `commands::run`.

pub mod backup;
pub mod build;
pub mod database;
pub mod deploy;
pub mod lab;
pub mod log;
pub mod node;
pub mod plan;
pub mod play;
pub mod policy;
pub mod secrets;
pub mod serve;
pub mod stack;
pub mod status;
pub mod up;
pub mod verify;

use crate::printer::Output;
use clap::{Args as ClapArgs, Parser, Subcommand};
use std::path::PathBuf;

/// From blank machines to a private cloud, and stacks on it.
#[derive(Debug, Parser)]
#[command(name = "wright", version, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Environments of the labs that this project brings along.
const LAB: &str = "lab";
const LAB_HA: &str = "lab-ha";

impl Args {
    /// `lab up --size ha` is `-e lab-ha lab up`, unless an environment is named.
    pub fn sized(mut self) -> Self {
        if let Command::Lab(lab::LabCommand::Up(up)) = &self.command
            && up.size == lab::LabSize::Ha
            && self.global.env == LAB
        {
            LAB_HA.clone_into(&mut self.global.env);
        }
        self
    }
}

/// Arguments that every command takes.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The environment: its inventory, state and names
    #[arg(
        long,
        short,
        global = true,
        value_name = "NAME",
        env = "WRIGHT_ENV",
        default_value = LAB
    )]
    pub env: String,
    /// Folder of the inventory [default: inventories/NAME]
    #[arg(long, global = true, value_name = "DIR", env = "WRIGHT_INVENTORY")]
    pub inventory: Option<PathBuf>,
    /// Folder of the environment's state [default: /var/lib/wright/NAME]
    #[arg(long, global = true, value_name = "DIR", env = "WRIGHT_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Folder of images and downloads [default: /var/cache/wright]
    #[arg(long, global = true, value_name = "DIR", env = "WRIGHT_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Form of the output
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output: Output,
    /// Answer questions with yes
    #[arg(long, short, global = true)]
    pub yes: bool,
}

/// One line a command or group of commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the inventory and show the network plan, or all faults
    Check,
    /// Bring up the environment on emulated machines, and look after them
    #[command(subcommand)]
    Lab(lab::LabCommand),
    /// Build the images of nodes and instances
    #[command(subcommand)]
    Build(build::BuildCommand),
    /// Make the environment's machines into a cloud
    Deploy(deploy::DeployArgs),
    /// Run a playbook of Ansible's format against any hosts
    Play(Box<play::PlayArgs>),
    Plan(plan::PlanArgs),
    Apply(plan::ApplyArgs),
    Drift(plan::DriftArgs),
    Log(log::LogArgs),
    /// Look whether the wires are as planned, and the running cloud is well
    #[command(subcommand)]
    Verify(verify::VerifyCommand),
    Status(status::StatusArgs),
    /// Back the cloud up, prove backups, bring them back
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Look after the environment's passwords and keys
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
    /// Stacks of the environment's cloud
    #[command(subcommand)]
    Stack(stack::StackCommand),
    /// Show the environment's nodes; add, remove and replace some
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Run the services on this machine, in one process
    Up(up::UpArgs),
    /// Stop what `wright up` runs
    Down,
    /// Look at the database's cluster, and decide where its guards must not
    #[command(subcommand)]
    Database(database::DatabaseCommand),
    /// Rules of who may call what: show them, check a file with own ones
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Run one service of a deployed cloud
    Serve(serve::ServeArgs),
}

impl Command {
    /// Whether the command needs the wires that the nodes are on: in a lab, those of its network namespace.
    pub fn talks_to_nodes(&self) -> bool {
        matches!(
            self,
            Self::Deploy(_)
                | Self::Plan(_)
                | Self::Apply(_)
                | Self::Drift(_)
                | Self::Verify(_)
                | Self::Stack(_)
                | Self::Status(_)
                | Self::Backup(_)
                | Self::Secrets(secrets::SecretsCommand::Rotate { .. })
                | Self::Node(
                    node::NodeCommand::Add { .. }
                        | node::NodeCommand::Remove { .. }
                        | node::NodeCommand::Replace { .. }
                )
        )
    }

    /// Whether the command writes `logs/wright.log` into the state folder. Commands that only look
    /// leave no trace; services have logs of their own.
    pub fn keeps_a_log(&self) -> bool {
        match self {
            Self::Deploy(_) | Self::Plan(_) | Self::Apply(_) | Self::Drift(_) => true,
            Self::Backup(command) => !matches!(command, backup::BackupCommand::List),
            Self::Secrets(command) => !matches!(command, secrets::SecretsCommand::List),
            Self::Node(command) => matches!(
                command,
                node::NodeCommand::Add { .. }
                    | node::NodeCommand::Remove { .. }
                    | node::NodeCommand::Replace { .. }
            ),
            // Its state folder is another one.
            Self::Play(_) => false,
            Self::Lab(_) | Self::Build(_) => false,
            Self::Verify(_) | Self::Stack(_) | Self::Status(_) => false,
            Self::Check
            | Self::Log(_)
            | Self::Up(_)
            | Self::Down
            | Self::Database(_)
            | Self::Policy(_)
            | Self::Serve(_) => false,
        }
    }
}
