//! From the inventory's hosts to what the engine needs: address, user, known host keys, keys, the way to root.
use super::vars;
use crate::args::play::PlayArgs;
use crate::error::CommandError;
use diagnostics::{Diagnostic, Diagnostics};
use inventory::PlainInventory;
use serde_json::{Map, Value};
use state::EnvironmentFolder;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use task_engine::link::known_hosts;
use task_engine::link::per_host::{Access, Sudo};
use task_engine::parse::{Play, Playbook};
use task_engine::template::Templates;
use task_engine::vars::{Layer, Scope, SharedVars};
use task_engine::vault::Vault;
use task_engine::{HostSpec, select};

/// All hosts, and how each is reached.
pub struct Hosts {
    pub specs: Vec<HostSpec>,
    pub access: HashMap<String, Access>,
    /// For hosts that `add_host` brings in.
    pub otherwise: Access,
}

/// The host that is this machine, unless the inventory has one of that name.
const LOCALHOST: &str = "localhost";

/// File of host keys that `wright node trust` writes.
pub fn trusted() -> PathBuf {
    EnvironmentFolder::default_root("play").join("known_hosts")
}

pub fn hosts(
    args: &PlayArgs,
    inventory: &PlainInventory,
    playbook: &Playbook,
    extra: &Map<String, Value>,
    vault: &Vault,
) -> Result<Hosts, CommandError> {
    let mut faults = Diagnostics::new();
    let mut specs = Vec::new();
    for (name, host) in &inventory.hosts {
        let mut vars = Value::Object(host.vars.clone());
        if let Err(error) = vault.open_all(&mut vars) {
            faults.push(Diagnostic::error(format!(
                "a variable of `{name}` ({}): {error}",
                host.place
            )));
        }
        let Value::Object(mut vars) = vars else {
            continue;
        };
        for (name, path) in [
            ("inventory_dir", &inventory.folder),
            ("inventory_file", &inventory.file),
        ] {
            let path = path.as_ref().map(|path| whole(path));
            vars.entry(name).or_insert_with(|| path.into());
        }
        specs.push(spec(name, host.groups.clone(), vars));
    }
    if !inventory.hosts.contains_key(LOCALHOST) {
        let vars = Map::from_iter([("ansible_connection".to_owned(), Value::from("local"))]);
        specs.push(spec(LOCALHOST, Vec::new(), vars));
    }
    faults.into_result(())?;

    let password = match &args.become_password_file {
        Some(file) => Some(vars::password(file)?),
        None => None,
    };
    let known = known_files(args);
    let me = me();
    let becomes = playbook.becomes();
    let otherwise = Access {
        keys: keys(args, None),
        sudo: becomes.then(|| Sudo {
            password: password.clone(),
        }),
        ..Access::default()
    };
    let mut out = Hosts {
        access: HashMap::new(),
        specs: specs.clone(),
        otherwise,
    };
    let mut faults = Diagnostics::new();
    for host in &mut out.specs {
        let play = playbook.plays.iter().find(|play| {
            let (found, _) = select(&specs, &play.hosts);
            found.iter().any(|found| found.name == host.name)
        });
        let reader = Reader::new(host, play.map(AsRef::as_ref), extra);
        match access(
            args,
            host,
            &reader,
            play.map(AsRef::as_ref),
            &me,
            becomes,
            password.as_ref(),
        ) {
            Ok(access) => {
                if !access.local {
                    host.host_key = known_hosts::keys_of(&host.address, host.port, &known);
                }
                out.access.insert(host.name.clone(), access);
            }
            Err(why) => faults.push(Diagnostic::error(format!(
                "the host `{}`: {why}",
                host.name
            ))),
        }
    }
    faults.into_result(())?;
    Ok(out)
}

fn whole(path: &Path) -> String {
    path.canonicalize()
        .unwrap_or_else(|_| path.to_path_buf())
        .display()
        .to_string()
}

fn spec(name: &str, groups: Vec<String>, vars: Map<String, Value>) -> HostSpec {
    HostSpec {
        name: name.to_owned(),
        address: name.to_owned(),
        port: 22,
        user: String::new(),
        host_key: String::new(),
        groups,
        vars,
        shared: SharedVars::default(),
    }
}

fn me() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid())
        .ok()
        .flatten()
        .map_or_else(|| "root".to_owned(), |user| user.name)
}

/// The connection's variables of one host; they may hold templates.
struct Reader(Arc<Scope>);

impl Reader {
    fn new(host: &HostSpec, play: Option<&Play>, extra: &Map<String, Value>) -> Self {
        let magic = Map::from_iter([(
            "inventory_hostname".to_owned(),
            Value::from(host.name.as_str()),
        )]);
        let mut layers = vec![Layer::new(&host.vars)];
        layers.extend(play.map(|play| Layer::new(&play.vars)));
        layers.extend([Layer::new(extra), Layer::new(&magic)]);
        Reader(Scope::new(
            Arc::new(Templates::default()),
            layers,
            HashMap::new(),
        ))
    }

    /// The first of these variables that is set.
    fn text(&self, names: &[&str]) -> Result<Option<String>, String> {
        for name in names {
            match self.0.get(name) {
                None | Some(Ok(Value::Null)) => {}
                Some(Ok(Value::String(text))) => return Ok(Some(text)),
                Some(Ok(value)) => return Ok(Some(value.to_string())),
                Some(Err(error)) => return Err(format!("`{name}`: {error}")),
            }
        }
        Ok(None)
    }
}

fn access(
    args: &PlayArgs,
    host: &mut HostSpec,
    vars: &Reader,
    play: Option<&Play>,
    me: &str,
    becomes: bool,
    password: Option<&String>,
) -> Result<Access, String> {
    let connection = vars.text(&["ansible_connection"])?;
    let local = match connection.as_deref() {
        None => host.name == LOCALHOST,
        Some("ssh" | "smart" | "paramiko" | "paramiko_ssh" | "ansible.builtin.ssh") => false,
        Some("local" | "ansible.builtin.local") => true,
        Some(other) => {
            return Err(format!(
                "the connection `{other}` is not supported; supported: ssh, local"
            ));
        }
    };
    if let Some(address) = vars.text(&["ansible_host", "ansible_ssh_host"])? {
        host.address = address;
    }
    if let Some(port) = vars.text(&["ansible_port", "ansible_ssh_port"])? {
        host.port = port
            .trim()
            .parse()
            .map_err(|_| format!("`ansible_port` is no port: `{port}`"))?;
    }
    let user = vars.text(&["ansible_user", "ansible_ssh_user"])?;
    let of_play = play.and_then(|play| play.remote_user.clone());
    host.user = match local {
        true => me.to_owned(),
        false => user
            .or(of_play)
            .or(args.user.clone())
            .unwrap_or_else(|| me.to_owned()),
    };
    if let Some(method) = vars.text(&["ansible_become_method"])?
        && !matches!(method.as_str(), "sudo" | "ansible.builtin.sudo")
    {
        return Err(format!(
            "`ansible_become_method` is `{method}`; supported: sudo"
        ));
    }
    let wants = match vars.text(&["ansible_become"])?.as_deref() {
        None => becomes,
        Some(word) => {
            matches!(
                word.to_ascii_lowercase().as_str(),
                "true" | "yes" | "on" | "1"
            ) || becomes
        }
    };
    let own = vars.text(&[
        "ansible_become_password",
        "ansible_become_pass",
        "ansible_sudo_pass",
    ])?;
    let sudo = (wants && host.user != "root").then(|| Sudo {
        password: own.or_else(|| password.cloned()),
    });
    let key = vars.text(&["ansible_ssh_private_key_file", "ansible_private_key_file"])?;
    Ok(Access {
        local,
        keys: keys(args, key.as_deref()),
        password: vars.text(&[
            "ansible_password",
            "ansible_ssh_pass",
            "ansible_ssh_password",
        ])?,
        sudo,
    })
}

/// Private keys in the order in which they are tried.
fn keys(args: &PlayArgs, of_host: Option<&str>) -> Vec<PathBuf> {
    let home = std::env::home_dir();
    if let Some(named) = of_host {
        return vec![match (named.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(named),
        }];
    }
    if let Some(key) = &args.private_key {
        return vec![key.clone()];
    }
    ["id_ed25519", "id_ecdsa", "id_rsa"]
        .iter()
        .filter_map(|name| Some(home.as_ref()?.join(".ssh").join(name)))
        .filter(|path| path.is_file())
        .collect()
}

pub fn known_files(args: &PlayArgs) -> Vec<PathBuf> {
    let mut files = args.known_hosts.clone();
    files.extend(std::env::home_dir().map(|home| home.join(".ssh/known_hosts")));
    files.push(PathBuf::from("/etc/ssh/ssh_known_hosts"));
    files.push(trusted());
    files
}

/// Ends the agent of this machine, if the run had one: on a host it stays for the next run, here nobody would expect it.
pub fn stop_local(folder: &Path) {
    let socket = folder.join("agent/agent.sock");
    let Ok(stream) = std::os::unix::net::UnixStream::connect(socket) else {
        return;
    };
    let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials);
    if let Ok(peer) = peer {
        let process = nix::unistd::Pid::from_raw(peer.pid());
        let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM);
    }
}
