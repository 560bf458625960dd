//! The guard's file, `/etc/wright/database.toml`. Every key is in `docs/database.md`; unknown ones are refused.

use crate::core::decide::Limits;
use diagnostics::{Diagnostic, Diagnostics, Source};
use serde::Deserialize;
use service_kit::Secret;
use service_kit::config::{LogConfig, explain_toml, secret};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    listen: SocketAddr,
    nodes: BTreeMap<String, SocketAddr>,
    #[serde(default)]
    peer_secret: Option<Secret>,
    #[serde(default)]
    peer_secret_file: Option<PathBuf>,
    #[serde(default = "data_dir")]
    data_dir: PathBuf,
    #[serde(default = "socket")]
    socket: PathBuf,
    #[serde(default = "user")]
    user: String,
    #[serde(default = "unit")]
    unit: String,
    #[serde(default = "recover")]
    recover: Vec<String>,
    #[serde(default)]
    process: Option<ProcessConfig>,
    #[serde(default)]
    tls: Option<GuardTls>,
    #[serde(default)]
    times: Times,
    #[serde(default)]
    log: LogConfig,
}

/// `[process]`: a server that the guard starts itself, where there is no systemd. For tests and trials.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// The server's program and arguments, to which the guard adds `--wsrep-new-cluster` and the start position.
    pub command: Vec<String>,
    /// Where its process is recorded.
    pub pid_file: PathBuf,
    /// Where its output goes.
    pub output: PathBuf,
}

/// `[tls]`: guards speak TLS. Without it, as in tests, they speak in the clear.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardTls {
    /// PEM; read again when it is replaced, as is the key.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// Who signs the others' certificates, which are for their addresses in `nodes`.
    pub ca_file: PathBuf,
}

/// `[times]`, in seconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Times {
    fresh: u64,
    ask_operator_after: u64,
    settle: u64,
    rejoin: u64,
    leave: u64,
    recover: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            fresh: 3,
            ask_operator_after: 600,
            settle: 30,
            rejoin: 60,
            leave: 20,
            recover: 600,
        }
    }
}

/// What the guard works with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it came from.
    pub path: PathBuf,
    /// This node.
    pub name: String,
    /// Where this guard listens.
    pub listen: SocketAddr,
    /// Every controller's guard, this one included.
    pub nodes: BTreeMap<String, SocketAddr>,
    /// What guards show each other.
    pub peer_secret: Secret,
    /// The server's data.
    pub data_dir: PathBuf,
    /// The server's Unix socket.
    pub socket: PathBuf,
    /// The server's user with all rights who is known by the socket.
    pub user: String,
    /// The server's systemd unit, without `.service`.
    pub unit: String,
    /// The command that prints the position of a stopped server's data.
    pub recover: Vec<String>,
    /// How long that may take.
    pub recover_time: Duration,
    /// In place of systemd.
    pub process: Option<ProcessConfig>,
    /// What guards show each other beside the secret.
    pub tls: Option<GuardTls>,
    /// Logging.
    pub log: LogConfig,
    /// For decisions.
    pub limits: Limits,
}

fn data_dir() -> PathBuf {
    "/var/lib/mysql".into()
}

fn socket() -> PathBuf {
    "/run/mysqld/mysqld.sock".into()
}

fn user() -> String {
    "root".to_owned()
}

fn unit() -> String {
    "mariadb".to_owned()
}

fn recover() -> Vec<String> {
    [
        "/usr/sbin/mariadbd",
        "--user=mysql",
        "--wsrep-recover",
        "--disable-log-error",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Reads the file; all faults at once.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Diagnostics::from(Diagnostic::error(format!("cannot read `{name}`: {error}")))
    })?;
    parse(path, &text)
}

/// Reads the text of the file.
pub fn parse(path: &Path, text: &str) -> Result<Config, Diagnostics> {
    let name = path.display().to_string();
    let source = Source::new(&name, text);
    let file: File =
        toml::from_str(text).map_err(|error| Diagnostics::from(explain_toml(&source, &error)))?;
    let mut faults = Diagnostics::new();
    let mut fault = |message: String, expected: &str| {
        faults.push(Diagnostic::error(format!("{name}: {message}")).expected(expected));
    };
    if !file.nodes.contains_key(&file.name) {
        fault(
            format!(
                "`nodes` has no `{}`, which is this node's `name`",
                file.name
            ),
            "every controller's guard, this one's included",
        );
    }
    if file.nodes.values().collect::<BTreeSet<_>>().len() < file.nodes.len() {
        fault(
            "two of `nodes` have the same address".to_owned(),
            "an address of its own for each guard",
        );
    }
    let peer_secret = secret(
        file.peer_secret.as_ref(),
        file.peer_secret_file.as_deref(),
        "peer_secret",
    );
    let peer_secret = match peer_secret {
        Ok(secret) if secret.expose().len() < 16 => {
            fault(
                "`peer_secret` is too short".to_owned(),
                "16 characters or more",
            );
            secret
        }
        Ok(secret) => secret,
        Err(reason) => {
            fault(reason, "what all guards of this cluster share");
            Secret::default()
        }
    };
    if file.times.fresh < 2 || file.times.fresh > 30 {
        fault(
            format!("[times] fresh = {}", file.times.fresh),
            "2 to 30 seconds",
        );
    }
    for (key, command) in [
        ("recover", Some(&file.recover)),
        (
            "[process] command",
            file.process.as_ref().map(|p| &p.command),
        ),
    ] {
        if command.is_some_and(Vec::is_empty) {
            fault(format!("`{key}` is empty"), "a program and its arguments");
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let seconds = Duration::from_secs;
    Ok(Config {
        limits: Limits {
            fresh: seconds(file.times.fresh),
            ask_after: seconds(file.times.ask_operator_after),
            settle: seconds(file.times.settle),
            rejoin: seconds(file.times.rejoin),
            leave: seconds(file.times.leave),
            bootstrap_command: format!("wright database bootstrap --config {name}"),
            data_dir: file.data_dir.display().to_string(),
        },
        path: path.to_owned(),
        name: file.name,
        listen: file.listen,
        nodes: file.nodes,
        peer_secret,
        data_dir: file.data_dir,
        socket: file.socket,
        user: file.user,
        unit: file.unit,
        recover: file.recover,
        recover_time: seconds(file.times.recover),
        process: file.process,
        tls: file.tls,
        log: file.log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "control01"
listen = "10.20.1.11:49000"
peer_secret = "0123456789abcdef"

[nodes]
control01 = "10.20.1.11:49000"
control02 = "10.20.1.12:49000"
"#;

    #[test]
    fn reads_a_file_and_shows_no_secret() {
        let config = parse(Path::new("database.toml"), GOOD).unwrap();
        assert_eq!(config.unit, "mariadb");
        assert_eq!(config.limits.ask_after, Duration::from_secs(600));
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn tells_all_faults_at_once() {
        let text = GOOD
            .replace("name = \"control01\"", "name = \"control03\"")
            .replace("10.20.1.12", "10.20.1.11")
            .replace("0123456789abcdef", "short");
        let faults = parse(Path::new("database.toml"), &text).unwrap_err();
        insta::assert_snapshot!(faults.to_string());
    }

    #[test]
    fn suggests_the_key_that_was_meant() {
        let text = GOOD.replace("listen", "lisen");
        let faults = parse(Path::new("database.toml"), &text).unwrap_err();
        insta::assert_snapshot!(faults.to_string());
    }
}
