//! This machine as controller and compute node at once: OVN's databases, one chassis in user space, and libvirtd, in a
//! network namespace of the environment and on folders of its own, so that daemons that the machine runs otherwise are
//! left alone. They outlive the command that started them, as guests must; whoever comes next finds them again by pid
//! and start time. It does not know what runs on top.
mod daemons;
mod needs;
mod switch;

use std::{
    fs,
    io::ErrorKind,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    daemon::{self, Daemon},
    error::{At, LabError},
    lab::end,
    names, network, openvswitch,
    process::Record,
    spec::LabSpec,
};

pub use needs::host_shortfalls;

/// What the host is to be.
#[derive(Debug, Clone)]
pub struct HostSpec {
    pub env: String,
    /// The chassis's host name: the same as the compute agent's, since ports are bound by it.
    pub name: String,
    /// The gateway of the `app` network and its prefix length: the namespace's own address on the external bridge.
    pub gateway: (Ipv4Addr, u8),
}

/// The host of one environment.
#[derive(Debug, Clone)]
pub struct Host {
    spec: HostSpec,
    paths: Paths,
}

/// Where a host keeps its files.
#[derive(Debug, Clone)]
struct Paths {
    /// Databases and definitions of guests; kept.
    state: PathBuf,
    logs: PathBuf,
    /// Sockets and records; gone when the machine restarts. Short, since a socket's path has at most 107 characters.
    run: PathBuf,
}

impl Paths {
    /// What libvirtd sees as `/run`; Open vSwitch's sockets lie where it looks for them.
    fn slash_run(&self) -> PathBuf {
        self.run.join("run")
    }

    fn ovsdb(&self) -> PathBuf {
        self.slash_run().join("openvswitch/db.sock")
    }
}

impl Host {
    /// `state` is the environment's folder; nothing is made yet.
    pub fn new(spec: HostSpec, state: &Path, logs: &Path) -> Self {
        let paths = Paths {
            state: state.join("host"),
            logs: logs.to_owned(),
            run: run_folder(&spec.env),
        };
        Self { spec, paths }
    }

    /// OVN's northbound database.
    pub fn northbound(&self) -> String {
        format!("unix:{}", self.paths.run.join("nb.sock").display())
    }

    /// OVN's southbound database.
    pub fn southbound(&self) -> String {
        format!("unix:{}", self.paths.run.join("sb.sock").display())
    }

    /// Open vSwitch's database.
    pub fn ovsdb(&self) -> String {
        format!("unix:{}", self.paths.ovsdb().display())
    }

    /// Where libvirtd answers, from outside of its namespaces too.
    pub fn libvirt_uri(&self) -> String {
        let socket = self.paths.slash_run().join("libvirt/libvirt-sock");
        format!("qemu+unix:///system?socket={}", socket.display())
    }

    /// The network namespace with the bridges.
    pub fn namespace(&self) -> String {
        names::namespace(&self.spec.env)
    }

    /// How namespaces of networks' metadata services are to be called: this, and the network's id.
    pub fn metadata_prefix(&self) -> String {
        metadata_prefix(&self.spec.env)
    }

    /// Starts what does not run, and removes what a host that was killed left behind. Guests that run go on.
    ///
    /// # Errors
    /// When the environment is a lab of emulated machines that is up, or a daemon does not start.
    pub fn up(&self) -> Result<(), LabError> {
        if Path::new(crate::lab::RUN).join(&self.spec.env).exists() {
            return Err(LabError::IsLab(self.spec.env.clone()));
        }
        self.reap()?;
        self.make_folders()?;
        network::create(
            &LabSpec {
                env: self.spec.env.clone(),
                wires: Vec::new(),
                machines: Vec::new(),
            },
            false,
        )?;
        self.write_settings()?;
        self.start_missing().map(drop)
    }

    /// Starts again what has died, and gives the names.
    ///
    /// # Errors
    /// When a daemon does not start; those before it run.
    pub fn mend(&self) -> Result<Vec<&'static str>, LabError> {
        self.start_missing()
    }

    /// Ends everything, guests that still run too, and removes the namespaces. Databases and disks are kept.
    ///
    /// # Errors
    /// When a process does not end or a folder cannot be removed.
    pub fn down(&self) -> Result<(), LabError> {
        down(&self.spec.env)
    }

    fn daemons(&self) -> Vec<Daemon> {
        daemons::all(&self.spec.env, &self.paths)
    }

    fn start_missing(&self) -> Result<Vec<&'static str>, LabError> {
        let mut started = Vec::new();
        for daemon in self.daemons() {
            if daemon.is_running() {
                continue;
            }
            self.before(daemon.name)?;
            daemon.start()?;
            started.push(daemon.name);
            self.after(daemon.name)?;
        }
        Ok(started)
    }

    /// What must be there before a daemon starts.
    fn before(&self, daemon: &str) -> Result<(), LabError> {
        match daemons::database(daemon, &self.paths) {
            Some((file, schema)) => openvswitch::prepare_database(&file, &schema),
            None => Ok(()),
        }
    }

    /// What must be said to a daemon once it runs.
    fn after(&self, daemon: &str) -> Result<(), LabError> {
        match daemon {
            daemons::SWITCH_DATABASE => switch::configure(&self.spec, &self.paths),
            daemons::SWITCH => switch::address(&self.spec),
            daemons::CONTROLLER => switch::await_integration_bridge(&self.paths),
            _ => Ok(()),
        }
    }

    fn make_folders(&self) -> Result<(), LabError> {
        let paths = &self.paths;
        let mut folders = vec![paths.state.clone(), paths.logs.clone(), paths.run.clone()];
        folders.extend(["openvswitch", "ovn", "lock"].map(|name| paths.slash_run().join(name)));
        folders.extend(
            ["etc", "lib/qemu", "cache"].map(|name| paths.state.join("libvirt").join(name)),
        );
        folders.push(paths.logs.join("libvirt/qemu"));
        for folder in &folders {
            fs::create_dir_all(folder).at("make", folder)?;
        }
        for folder in [&paths.state, &paths.run] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
                .at("set the mode of", folder)?;
        }
        Ok(())
    }

    fn write_settings(&self) -> Result<(), LabError> {
        let etc = self.paths.state.join("libvirt/etc");
        for (name, text) in [
            ("qemu.conf", daemons::QEMU_SETTINGS),
            ("libvirtd.conf", daemons::LIBVIRTD_SETTINGS),
        ] {
            let file = etc.join(name);
            fs::write(&file, text).at("write", &file)?;
        }
        Ok(())
    }

    /// Ends what an earlier host left behind and no record knows.
    fn reap(&self) -> Result<(), LabError> {
        if !network::is_alive(&self.spec.env) {
            // Without their wires the others are of no use.
            return self.down();
        }
        let mut known: Vec<i32> = self
            .daemons()
            .iter()
            .filter_map(|daemon| daemon.record())
            .map(|record| record.pid)
            .collect();
        known.extend(guests(&self.paths.run));
        for pid in network::processes(&self.spec.env) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = name.trim();
            let ours = name.starts_with("qemu-system") || daemons::PROGRAMS.contains(&name);
            if ours && !known.contains(&pid) {
                tracing::info!(pid, name, "ending a process that was left behind");
                end(pid)?;
            }
        }
        Ok(())
    }
}

/// Whether anything of the environment's host is left to be taken down.
pub fn host_is_there(env: &str) -> bool {
    run_folder(env).exists()
}

/// [`Host::down`] for those who know only the environment's name.
///
/// # Errors
/// As there.
pub fn down(env: &str) -> Result<(), LabError> {
    let run = run_folder(env);
    if !run.exists() {
        return Ok(());
    }
    for name in daemons::NAMES.iter().rev() {
        if let Some(record) = Record::running(&daemon::record_file(&run, name)) {
            record.end(name)?;
        }
    }
    for pid in network::processes(env).into_iter().chain(guests(&run)) {
        end(pid)?;
    }
    let prefix = metadata_prefix(env);
    for name in network::all_namespaces() {
        let id = name.strip_prefix(&prefix);
        // A network's id has 36 characters: another environment's name may begin like ours.
        if id.is_some_and(|id| id.len() == 36) {
            network::delete_namespace(&name)?;
        }
    }
    network::delete(env)?;
    match fs::remove_dir_all(&run) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("remove", &run),
        _ => Ok(()),
    }
}

/// Guests' emulators, from the files that libvirt keeps.
fn guests(run: &Path) -> Vec<i32> {
    let folder = run.join("run/libvirt/qemu");
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "pid"))
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
        .filter(|pid| is_emulator(*pid))
        .collect()
}

/// The number in a file may be another process's by now.
fn is_emulator(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| name.starts_with("qemu-system"))
}

fn run_folder(env: &str) -> PathBuf {
    Path::new("/run/wright-up").join(env)
}

fn metadata_prefix(env: &str) -> String {
    format!("wl-{env}-meta-")
}
