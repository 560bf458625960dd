//! The lab as a whole: brought up to what its spec says, looked at, taken down. Doing it again changes nothing.
use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::{sys::signal::Signal, unistd::Pid};
use serde::Serialize;

use crate::{
    bmc::{Request, Simulator, answer},
    cgroup, checks, console,
    container::{self, RootImage},
    error::{At, LabError},
    host::host_is_there,
    machine::{MachineKind, Power, Unit},
    names, network,
    process::Record,
    spec::{LabSpec, Machine},
    switch::{self, Switch, SwitchStatus},
};

/// Folder of what is gone when the host restarts; an environment's is there while its lab is up.
pub(crate) const RUN: &str = "/run/wright-lab";

/// Where a lab keeps its files.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Disks and BMC settings; kept until the lab is taken down.
    pub machines: PathBuf,
    /// Serial consoles, one log each; kept for reading.
    pub consoles: PathBuf,
    /// Sockets and records; gone when the host restarts.
    pub run: PathBuf,
}

impl Folders {
    /// Of the environment `env` whose state lies in `state`.
    pub fn of(env: &str, state: &Path) -> Self {
        Self {
            machines: state.join("machines"),
            consoles: state.join("consoles"),
            // Short, since a socket's path has at most 107 characters.
            run: Path::new(RUN).join(env),
        }
    }

    /// Whether the machines that are there are containers; they stay what they are until the lab is taken down.
    pub fn are_containers(&self) -> bool {
        self.marker().exists()
    }

    fn marker(&self) -> PathBuf {
        self.machines.join("containers")
    }
}

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineStatus {
    pub name: String,
    pub is_on: bool,
    pub pid: Option<i32>,
    /// CPU seconds that its emulator has used since it was turned on.
    pub cpu_seconds: Option<f64>,
    /// Bytes that its console has printed.
    pub console_bytes: u64,
    pub console_log: PathBuf,
}

/// The lab of one environment.
#[derive(Debug, Clone)]
pub struct Lab {
    spec: LabSpec,
    folders: Folders,
    kind: MachineKind,
}

impl Lab {
    pub fn new(spec: LabSpec, folders: Folders, kind: MachineKind) -> Self {
        Self {
            spec,
            folders,
            kind,
        }
    }

    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// Everything that stands in the way of the lab with its files in `folder`, one sentence each.
    pub fn shortfalls(&self, folder: &Path) -> Vec<String> {
        let needs = checks::needs(&self.spec, self.kind, &self.units());
        checks::shortfalls(&self.spec, self.kind, needs, folder)
    }

    /// Where the machines are containers: mounts the root of each, made from its image unless it has one. The folders,
    /// by machine; what makes each its own node is for the caller to write there.
    ///
    /// # Errors
    /// When there is no image for a machine, or a root cannot be mounted.
    pub fn prepare(
        &self,
        images: &BTreeMap<String, RootImage>,
    ) -> Result<BTreeMap<String, PathBuf>, LabError> {
        self.is_no_host()?;
        self.make_folders()?;
        let marker = self.folders.marker();
        fs::write(&marker, "").at("write", &marker)?;
        let mut roots = BTreeMap::new();
        for machine in &self.spec.machines {
            let image = images.get(&machine.name).ok_or_else(|| LabError::Start {
                machine: machine.name.clone(),
                said: "there is no image for it".into(),
            })?;
            let unit = self.unit(machine);
            let container = unit.container();
            container.mount(image, &self.folders.machines.join("images"))?;
            roots.insert(machine.name.clone(), container.root());
        }
        Ok(roots)
    }

    pub fn is_of_containers(&self) -> bool {
        self.kind == MachineKind::Container
    }

    /// Turns a machine off and takes from it all that it keeps, as if it were another one.
    ///
    /// # Errors
    /// When there is no such machine, or a file of it cannot be removed.
    pub fn wipe(&self, machine: &str) -> Result<(), LabError> {
        self.find(machine)?.wipe()
    }

    fn make_folders(&self) -> Result<(), LabError> {
        for folder in [
            &self.folders.machines,
            &self.folders.consoles,
            &self.folders.run,
        ] {
            fs::create_dir_all(folder).at("make", folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
                .at("set the mode of", folder)?;
        }
        Ok(())
    }

    /// Makes the wires and the switch, starts the BMCs, and turns every machine on. What a lab that was killed left behind is
    /// removed first; what runs goes on. `callback` is the program, with its first arguments, that a BMC calls:
    /// the machine's name and the request follow, and [`Lab::bmc_request`] has to be called with them.
    ///
    /// # Errors
    /// When a program fails.
    pub fn up(&self, bmc_password: &str, callback: &[String]) -> Result<(), LabError> {
        self.is_no_host()?;
        self.make_folders()?;
        self.reap()?;
        let switch = Switch::of(&self.spec, &self.folders.run);
        if let Some(switch) = &switch
            && !network::is_alive(&self.spec.env)
        {
            // It has lost its wires.
            switch.end()?;
        }
        network::create(&self.spec, self.kind != MachineKind::Container)?;
        if let Some(switch) = &switch {
            switch.up()?;
        }
        for unit in self.units() {
            if let Some(bmc) = &unit.machine.bmc {
                let name = &unit.machine.name;
                let callback: Vec<String> =
                    callback.iter().cloned().chain([name.clone()]).collect();
                let folder = unit.folder.clone();
                Simulator {
                    env: &self.spec.env,
                    machine: name,
                    bmc,
                    password: bmc_password,
                    callback: &callback,
                    folder,
                }
                .start()?;
            }
            unit.power(Power::On)?;
        }
        Ok(())
    }

    /// Ends everything in the lab and removes wires and disks; consoles' logs stay.
    ///
    /// # Errors
    /// When a process does not end or a file cannot be removed.
    pub fn down(&self) -> Result<(), LabError> {
        self.is_no_host()?;
        for unit in self.units() {
            unit.power(Power::Off)?;
        }
        self.end_strays()?;
        for pid in network::processes(&self.spec.env) {
            end(pid)?;
        }
        if let Some(switch) = Switch::of(&self.spec, &self.folders.run) {
            switch.end()?;
        }
        for machine in &self.spec.machines {
            network::unplug(&self.spec.env, machine)?;
            cgroup::remove(&names::machine_namespace(&self.spec.env, &machine.name));
        }
        container::unmount_all(&self.folders.run)?;
        network::delete(&self.spec.env)?;
        for folder in [&self.folders.machines, &self.folders.run] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).at("remove", folder);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends machines that the inventory has no more: they are known by their records only.
    fn end_strays(&self) -> Result<(), LabError> {
        let entries = fs::read_dir(&self.folders.run);
        for path in entries.into_iter().flatten().flatten().map(|e| e.path()) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let is_record = path.extension().is_some_and(|end| end == "json");
            if !is_record || self.spec.machines.iter().any(|m| *m.name == *name) {
                continue;
            }
            if let Some(record) = Record::running(&path) {
                container::kill_first(record.pid);
                record.end("a machine that the inventory has no more")?;
            }
            let namespace = names::machine_namespace(&self.spec.env, &name);
            if network::all_namespaces().contains(&namespace) {
                network::delete_namespace(&namespace)?;
            }
            cgroup::remove(&namespace);
        }
        Ok(())
    }

    /// A host of the same environment has its wires in the same namespace.
    fn is_no_host(&self) -> Result<(), LabError> {
        match host_is_there(&self.spec.env) {
            true => Err(LabError::IsHost(self.spec.env.clone())),
            false => Ok(()),
        }
    }

    /// Ends emulators, BMCs and switches in our namespace that no record knows: those of a lab that was killed between
    /// starting them and writing it down.
    fn reap(&self) -> Result<(), LabError> {
        let mut known: Vec<i32> = self
            .units()
            .iter()
            .filter_map(Unit::record)
            .map(|r| r.pid)
            .collect();
        for machine in &self.spec.machines {
            let bmc = self.folders.machines.join(&machine.name).join("bmc.json");
            known.extend(Record::running(&bmc).map(|record| record.pid));
        }
        let switch = Switch::of(&self.spec, &self.folders.run);
        known.extend(switch.iter().flat_map(Switch::pids));
        for pid in network::processes(&self.spec.env) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let ours = name.starts_with("qemu-system")
                || name.trim() == "ipmi_sim"
                || switch::PROGRAMS.contains(&name.trim());
            if ours && !known.contains(&pid) {
                tracing::info!(
                    pid,
                    name = name.trim(),
                    "ending a process that an earlier lab left behind"
                );
                end(pid)?;
            }
        }
        for unit in self.units().iter().filter(|unit| unit.record().is_none()) {
            for pid in network::machine_processes(&self.spec.env, &unit.machine.name) {
                end(pid)?;
            }
        }
        Ok(())
    }

    /// # Errors
    /// When there is no such machine, or its emulator does not do it.
    pub fn power(&self, machine: &str, power: Power) -> Result<(), LabError> {
        self.find(machine)?.power(power)
    }

    /// Pulls the cable of a machine's card, or plugs it in.
    ///
    /// # Errors
    /// When there is no such machine or card, or the machine is off.
    pub fn cable(&self, machine: &str, nic: &str, is_plugged: bool) -> Result<(), LabError> {
        self.find(machine)?.cable(nic, is_plugged)
    }

    /// Does what a machine's BMC asks, and gives what to print for it.
    ///
    /// # Errors
    /// When the request is not understood or fails.
    pub fn bmc_request(&self, machine: &str, words: &[String]) -> Result<String, LabError> {
        let unit = self.find(machine)?;
        match Request::parse(words)? {
            Request::Get(names) => Ok(answer(&names, unit.record().is_some())),
            Request::Set(powers) => {
                powers.into_iter().try_for_each(|power| unit.power(power))?;
                Ok(String::new())
            }
        }
    }

    /// Whether the wires are there.
    pub fn is_up(&self) -> bool {
        network::exists(&self.spec.env)
    }

    /// The switch, where there is one.
    pub fn switch(&self) -> Option<SwitchStatus> {
        Switch::of(&self.spec, &self.folders.run).map(|switch| switch.status())
    }

    pub fn status(&self) -> Vec<MachineStatus> {
        let status = |unit: Unit<'_>| {
            let record = unit.record();
            let console_log = unit.console_log();
            MachineStatus {
                name: unit.machine.name.clone(),
                is_on: record.is_some(),
                pid: record.map(|record| record.pid),
                cpu_seconds: record.and_then(|record| record.cpu_seconds()),
                console_bytes: fs::metadata(&console_log).map_or(0, |found| found.len()),
                console_log,
            }
        };
        self.units().into_iter().map(status).collect()
    }

    /// The last `lines` lines on a machine's serial console; none when there is no such machine or it was silent.
    pub fn last_words(&self, machine: &str, lines: usize) -> Vec<String> {
        self.find(machine)
            .map(|unit| console::tail(&unit.console_log(), lines))
            .unwrap_or_default()
    }

    /// The socket of a machine's serial console.
    ///
    /// # Errors
    /// When there is no such machine, or it is off.
    pub fn console(&self, machine: &str) -> Result<PathBuf, LabError> {
        let unit = self.find(machine)?;
        match unit.record() {
            Some(_) if self.kind == MachineKind::Container => {
                Err(LabError::NoConsole(machine.to_owned(), unit.console_log()))
            }
            Some(_) => Ok(unit.console_socket()),
            None => Err(LabError::Off(machine.to_owned())),
        }
    }

    fn find(&self, name: &str) -> Result<Unit<'_>, LabError> {
        let found = self
            .spec
            .machines
            .iter()
            .find(|machine| machine.name == name);
        let machines = || {
            self.spec
                .machines
                .iter()
                .map(|machine| machine.name.clone())
                .collect()
        };
        found
            .map(|machine| self.unit(machine))
            .ok_or_else(|| LabError::NoMachine {
                name: name.to_owned(),
                machines: machines(),
            })
    }

    fn units(&self) -> Vec<Unit<'_>> {
        self.spec
            .machines
            .iter()
            .map(|machine| self.unit(machine))
            .collect()
    }

    fn unit<'a>(&'a self, machine: &'a Machine) -> Unit<'a> {
        Unit {
            spec: &self.spec,
            machine,
            folder: self.folders.machines.join(&machine.name),
            run: &self.folders.run,
            consoles: &self.folders.consoles,
            kind: self.kind,
        }
    }
}

/// Ends a process of the environment, but never the one that asks for it.
pub(crate) fn end(pid: i32) -> Result<(), LabError> {
    if Pid::from_raw(pid) == Pid::this() || Pid::from_raw(pid) == Pid::parent() {
        return Ok(());
    }
    // Stopped ones cannot end before they go on.
    let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGCONT);
    Record::of(pid).map_or(Ok(()), |record| record.end("the lab"))
}
