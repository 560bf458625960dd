//! Arguments of `wright play`.
use clap::Args;
use std::path::PathBuf;

/// Run a playbook of Ansible's format against hosts that need not be of this product's making
///
/// Everything is read and checked before the first host is contacted. Hosts are reached by SSH with the keys of the
/// inventory, of `--private-key`, of `~/.ssh` and of the SSH agent; their host keys must be known from
/// `~/.ssh/known_hosts`, `/etc/ssh/ssh_known_hosts`, or `wright node trust`. Killed at any point, it goes on where it
/// stopped when it is run again with the same arguments.
///
/// State (journal, logs) lies in /var/lib/wright/play-NAME-DIGEST, or below $XDG_STATE_HOME/wright for those who are
/// not root; the digest is that of the paths of playbook and inventories.
#[derive(Debug, Args)]
pub struct PlayArgs {
    /// The playbook
    #[arg(value_name = "PLAYBOOK")]
    pub playbook: PathBuf,
    /// An inventory: a file in YAML or INI form, a folder, or host names with commas (`web-1,web-2,`)
    #[arg(short = 'i', value_name = "INVENTORY")]
    pub inventories: Vec<String>,
    /// Only these hosts (a pattern); the others' variables stay known
    #[arg(long, short, value_name = "PATTERN")]
    pub limit: Option<String>,
    /// Only tasks with one of these tags
    #[arg(long, short, value_name = "TAGS", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// No tasks with one of these tags
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    pub skip_tags: Vec<String>,
    /// Say what would change, and change nothing
    #[arg(long, short = 'C')]
    pub check: bool,
    /// Show the texts that change
    #[arg(long, short = 'D')]
    pub diff: bool,
    /// Variables that win over all others: `NAME=VALUE ...`, JSON, or `@FILE`
    #[arg(long, value_name = "VARS")]
    pub extra_vars: Vec<String>,
    /// File with a password of Ansible Vault
    #[arg(long, value_name = "FILE")]
    pub vault_password_file: Vec<PathBuf>,
    /// File with the password of a vault id
    #[arg(long, value_name = "ID@FILE")]
    pub vault_id: Vec<String>,
    /// Tasks run as root unless they say otherwise
    #[arg(long, short)]
    pub r#become: bool,
    /// With --become: as this user
    #[arg(long, value_name = "USER")]
    pub become_user: Option<String>,
    /// File with the password that `sudo` on the hosts asks for
    #[arg(long, value_name = "FILE")]
    pub become_password_file: Option<PathBuf>,
    /// Log in as this user where the inventory names none
    #[arg(long, short, value_name = "USER")]
    pub user: Option<String>,
    /// Private key for SSH
    #[arg(long, value_name = "FILE")]
    pub private_key: Option<PathBuf>,
    /// File with known SSH host keys, beside the usual ones
    #[arg(long, value_name = "FILE")]
    pub known_hosts: Vec<PathBuf>,
    /// Hosts that are worked on at the same time
    #[arg(long, short, value_name = "NUMBER", default_value_t = 32)]
    pub forks: usize,
    /// Folder that roles are looked for in, beside `roles` next to the playbook
    #[arg(long, value_name = "DIR")]
    pub roles_path: Vec<PathBuf>,
    /// Begin anew where an earlier run was interrupted
    #[arg(long)]
    pub fresh: bool,
}
