//! Running cargo and other programs: one place for target folders and for the static agent's flags.
use anyhow::{Context, Result, bail};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// The workspace's root folder. Cargo names it at run time: what was compiled in may be another
/// checkout's, when several share a target folder.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let xtask = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        xtask.parent().unwrap_or(Path::new(".")).to_owned()
    });
    &ROOT
}

/// The user's cache folder for builds; kept between checkouts, never needed.
pub fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache")
        });
    base.join("stackwright")
}

/// Where builds and tests go.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| cache().join("target"))
}

/// The built `wright`.
pub fn wright() -> PathBuf {
    target().join("debug/wright")
}

/// The static agent's triple: naming it keeps `crt-static` away from build scripts and proc macros.
const AGENT_TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// The built static `wright-agent`.
pub fn agent() -> PathBuf {
    cache()
        .join("agent")
        .join(AGENT_TRIPLE)
        .join("agent/wright-agent")
}

/// Runs `command` and fails, naming it, when it does.
pub fn check(command: &mut Command) -> Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let status = command
        .status()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// `cargo` with the target folder `folder`, as a shell would run it: some build scripts look at the variables that
/// cargo gave to this program, and would build themselves and all that stands on them anew.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("CARGO_TARGET_DIR", folder);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
    command
}

/// `cargo ARGS` with the target folder `folder`.
pub fn cargo_in(folder: &Path, args: &[&str]) -> Result<()> {
    check(command(folder).args(args))
}

/// `cargo ARGS` for builds and tests.
pub fn cargo(args: &[&str]) -> Result<()> {
    cargo_in(&target(), args)
}

/// `cargo ARGS` for clippy: its own folder, so that checking never invalidates a build.
pub fn clippy(args: &[&str]) -> Result<()> {
    cargo_in(&cache().join("check"), args)
}

/// Builds the static agent; its flags differ from all else, so its target folder does too.
pub fn build_agent() -> Result<()> {
    check(
        command(&cache().join("agent"))
            .args([
                "build",
                "--profile",
                "agent",
                "--package",
                "agent",
                "--bin",
                "wright-agent",
            ])
            .args(["--target", AGENT_TRIPLE])
            .env("RUSTFLAGS", "-C target-feature=+crt-static"),
    )
}
