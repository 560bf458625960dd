//! Arguments of `wright backup`.
use clap::{Args, Subcommand};

/// Back the cloud up, prove backups, bring them back
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Make a backup: the controllers' database, each service's as SQL, this host's state and secrets
    ///
    /// The cloud goes on meanwhile. Backups lie in the state folder's `backups/` and hold every secret of the cloud: copy
    /// them to another place, and guard that place.
    Create(CreateArgs),
    /// List the backups
    List,
    /// Restore a backup into a scratch server, and compare every table
    Verify {
        /// Which [default: the newest]
        id: Option<String>,
    },
    /// Bring the controllers' database back, or that of one service
    ///
    /// Says what will be done and asks. What is there now is set aside, not removed.
    Restore(RestoreArgs),
    /// Make backups on this host again and again, by a timer of systemd
    Schedule(ScheduleArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The image service's files too, which are large
    #[arg(long)]
    pub images: bool,
    /// Afterwards remove all whole backups but the newest N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    /// Afterwards verify it
    #[arg(long)]
    pub verify: bool,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Which one: `wright backup list`
    pub id: String,
    /// Only the database of this service, from its dump
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// The images too, where a controller lacks them
    #[arg(long, conflicts_with = "service")]
    pub images: bool,
}

#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// When, as systemd's OnCalendar (man systemd.time)
    #[arg(long, value_name = "CALENDAR", default_value = "*-*-* 02:30:00")]
    pub at: String,
    /// How many backups stay
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    /// Image data too
    #[arg(long)]
    pub images: bool,
    /// Only print the units
    #[arg(long, conflicts_with = "off")]
    pub print: bool,
    /// Remove the timer
    #[arg(long)]
    pub off: bool,
}
