//! Arguments of `wright lab`.
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Virtual machines for the environment, on wires of their own
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Build images, turn on blank machines, and deploy the environment on them
    ///
    /// Run again, it goes on where it stopped, or says that nothing is to be done.
    Up(UpArgs),
    /// Turn the machines off and remove wires and disks; addresses and secrets are kept
    Down {
        /// Remove the environment's whole state folder too
        #[arg(long)]
        purge: bool,
    },
    /// Show the machines
    Status,
    /// Log in to a node, or run a command on it
    Ssh {
        node: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run a command of this host on the lab's wires
    Exec {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Show a node's serial console; Ctrl-] leaves
    Console { node: String },
    /// Offer ports of the lab on this host's loopback address until Ctrl-C
    ///
    /// Without arguments: the services on the internal virtual address.
    Forward {
        /// `[LOCAL:]ADDRESS:PORT`, for example `5000:10.20.1.2:5000`
        #[arg(value_name = "PORT")]
        ports: Vec<String>,
    },
    /// Turn a machine on or off as its power switch would
    Power { node: String, what: PowerWord },
    /// Pull the cable of a machine's card, or plug it in: neither end has a link without it
    Cable {
        node: String,
        /// The card's name in the inventory
        card: String,
        what: CableWord,
    },
    /// Show machines and wires as the inventory describes them; what `vagrant/Vagrantfile` reads
    Show,
    /// What the machines' BMCs call
    #[command(hide = true)]
    Bmc {
        node: String,
        #[arg(trailing_var_arg = true)]
        request: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Which lab: `small` is one controller and one compute node, `ha` three and two, in an environment of its own
    #[arg(long, value_enum, value_name = "SIZE", default_value_t)]
    pub size: LabSize,
    /// Containers instead of emulated machines: seconds to start and no network boot; guests are simulated
    ///
    /// They stay containers until `lab down`.
    #[arg(long)]
    pub containers: bool,
    /// Only turn the machines on; deploy nothing
    #[arg(long)]
    pub no_deploy: bool,
    /// Playbook that maps groups to roles
    #[arg(long, value_name = "FILE", default_value = "roles/site.yml")]
    pub playbook: PathBuf,
    /// Arguments for `wright deploy`
    #[arg(last = true)]
    pub deploy: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LabSize {
    #[default]
    Small,
    Ha,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CableWord {
    In,
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PowerWord {
    On,
    Off,
    /// Off and on again
    Cycle,
    /// The reset button
    Reset,
    Status,
}
