//! What the global arguments resolve to, once: a flag before the environment's variable before the
//! default. Commands see only [`Settings`].

use crate::args::GlobalArgs;
use crate::error::CommandError;
use crate::printer::Output;
use std::path::PathBuf;

/// Where everything of one environment lies, and how to behave.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The environment's name, `lab` by default.
    pub env: String,
    /// Folder with `hosts.yml` and `networks.yml`. Nothing is ever written there.
    pub inventory_dir: PathBuf,
    /// `/var/lib/wright/<env>`, or `$XDG_STATE_HOME/wright/<env>` for those who are not root.
    pub state_dir: PathBuf,
    /// It was asked for, and is not the default.
    pub state_dir_given: bool,
    /// `/var/cache/wright` or `$XDG_CACHE_HOME/wright`: images and downloads, for all environments.
    pub cache_dir: PathBuf,
    pub output: Output,
    /// Questions are answered with yes: by `--yes`, or because this is CI (`CI=true`).
    pub yes: bool,
}

impl Settings {
    /// # Errors
    /// The name of the environment does not fit into file and interface names, or there is no home.
    pub fn resolve(args: &GlobalArgs) -> Result<Self, CommandError> {
        check_env_name(&args.env)?;
        let root = nix::unistd::geteuid().is_root();
        let state_dir = match &args.state_dir {
            Some(folder) => folder.clone(),
            None => state::EnvironmentFolder::default_root(&args.env),
        };
        let cache_dir = match &args.cache_dir {
            Some(folder) => folder.clone(),
            None if root => PathBuf::from("/var/cache/wright"),
            None => user_cache()?.join("wright"),
        };
        Ok(Self {
            env: args.env.clone(),
            inventory_dir: args
                .inventory
                .clone()
                .unwrap_or_else(|| PathBuf::from("inventories").join(&args.env)),
            state_dir_given: args.state_dir.is_some(),
            state_dir,
            cache_dir,
            output: args.output,
            yes: args.yes || std::env::var("CI").is_ok_and(|value| value == "true"),
        })
    }
}

/// The name becomes part of folders, namespaces and interfaces.
fn check_env_name(name: &str) -> Result<(), CommandError> {
    let fits = name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits {
        return Ok(());
    }
    Err(
        CommandError::failed(format!("`{name}` cannot be the name of an environment")).hint(
            "at most 32 lower-case letters, digits and `-`, beginning with a letter; \
             `--inventory` takes a path",
        ),
    )
}

fn user_cache() -> Result<PathBuf, CommandError> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .ok_or_else(|| {
            CommandError::failed("neither XDG_CACHE_HOME nor HOME is set")
                .hint("set one of them, or give `--cache-dir`")
        })
}
