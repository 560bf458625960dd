//! Arguments of `wright secrets`.
use super::deploy::ChangeArgs;
use clap::{Subcommand, ValueEnum};

/// Look after the environment's passwords and keys
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// List the names of all secrets; values are never shown
    List,
    /// Give the cloud new keys, while it runs
    ///
    /// Makes the keys and deploys them. Broken off, it goes on when it is run again.
    Rotate {
        /// What gets new keys
        #[arg(value_enum)]
        what: Rotated,
        /// Forget all old keys, for one that got out: every token that there is becomes invalid
        #[arg(long)]
        forget: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// What `wright secrets rotate` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rotated {
    /// The keys that tokens are made with; tokens that were made before stay valid
    Identity,
}
