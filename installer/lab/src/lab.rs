//! The lab as a whole: brought up to what its spec says, looked at, taken down. Doing it again changes nothing.
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use nix::{sys::signal::Signal, unistd::Pid};
use serde::Serialize;

use crate::{
    accelerator::Accelerator,
    bmc::{Request, Simulator, answer},
    checks::{self, Needs},
    console,
    error::{At, LabError},
    host::host_is_there,
    machine::{Emulated, Power},
    network,
    process::Record,
    spec::{LabSpec, Machine},
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
    accelerator: Accelerator,
}

impl Lab {
    pub fn new(spec: LabSpec, folders: Folders, accelerator: Accelerator) -> Self {
        Self {
            spec,
            folders,
            accelerator,
        }
    }

    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    /// What this host must still have for the lab; see [`checks::shortfalls`].
    pub fn needs(&self) -> Needs {
        checks::needs(&self.spec, &self.emulated())
    }

    /// Makes the wires, starts the BMCs, and turns every machine on. What a lab that was killed left behind is
    /// removed first; what runs goes on. `callback` is the program, with its first arguments, that a BMC calls:
    /// the machine's name and the request follow, and [`Lab::bmc_request`] has to be called with them.
    ///
    /// # Errors
    /// When a program fails.
    pub fn up(&self, bmc_password: &str, callback: &[String]) -> Result<(), LabError> {
        self.is_no_host()?;
        for folder in [
            &self.folders.machines,
            &self.folders.consoles,
            &self.folders.run,
        ] {
            fs::create_dir_all(folder).at("make", folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
                .at("set the mode of", folder)?;
        }
        self.reap()?;
        network::create(&self.spec)?;
        for emulated in self.emulated() {
            if let Some(bmc) = &emulated.machine.bmc {
                let name = &emulated.machine.name;
                let callback: Vec<String> =
                    callback.iter().cloned().chain([name.clone()]).collect();
                let folder = emulated.folder.clone();
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
            emulated.power(Power::On)?;
        }
        Ok(())
    }

    /// Ends everything in the lab and removes wires and disks; consoles' logs stay.
    ///
    /// # Errors
    /// When a process does not end or a file cannot be removed.
    pub fn down(&self) -> Result<(), LabError> {
        self.is_no_host()?;
        for emulated in self.emulated() {
            emulated.power(Power::Off)?;
        }
        for pid in network::processes(&self.spec.env) {
            end(pid)?;
        }
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

    /// A host of the same environment has its wires in the same namespace.
    fn is_no_host(&self) -> Result<(), LabError> {
        match host_is_there(&self.spec.env) {
            true => Err(LabError::IsHost(self.spec.env.clone())),
            false => Ok(()),
        }
    }

    /// Ends emulators and BMCs in our namespace that no record knows: those of a lab that was killed between
    /// starting them and writing it down.
    fn reap(&self) -> Result<(), LabError> {
        let mut known: Vec<i32> = self
            .emulated()
            .iter()
            .filter_map(Emulated::record)
            .map(|r| r.pid)
            .collect();
        for machine in &self.spec.machines {
            let bmc = self.folders.machines.join(&machine.name).join("bmc.json");
            known.extend(Record::running(&bmc).map(|record| record.pid));
        }
        for pid in network::processes(&self.spec.env) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let ours = name.starts_with("qemu-system") || name.trim() == "ipmi_sim";
            if ours && !known.contains(&pid) {
                tracing::info!(
                    pid,
                    name = name.trim(),
                    "ending a process that an earlier lab left behind"
                );
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

    /// Does what a machine's BMC asks, and gives what to print for it.
    ///
    /// # Errors
    /// When the request is not understood or fails.
    pub fn bmc_request(&self, machine: &str, words: &[String]) -> Result<String, LabError> {
        let emulated = self.find(machine)?;
        match Request::parse(words)? {
            Request::Get(names) => Ok(answer(&names, emulated.record().is_some())),
            Request::Set(powers) => {
                powers
                    .into_iter()
                    .try_for_each(|power| emulated.power(power))?;
                Ok(String::new())
            }
        }
    }

    /// Whether the wires are there.
    pub fn is_up(&self) -> bool {
        network::exists(&self.spec.env)
    }

    pub fn status(&self) -> Vec<MachineStatus> {
        let status = |emulated: Emulated<'_>| {
            let record = emulated.record();
            let console_log = emulated.console_log();
            MachineStatus {
                name: emulated.machine.name.clone(),
                is_on: record.is_some(),
                pid: record.map(|record| record.pid),
                cpu_seconds: record.and_then(|record| record.cpu_seconds()),
                console_bytes: fs::metadata(&console_log).map_or(0, |found| found.len()),
                console_log,
            }
        };
        self.emulated().into_iter().map(status).collect()
    }

    /// The last `lines` lines on a machine's serial console; none when there is no such machine or it was silent.
    pub fn last_words(&self, machine: &str, lines: usize) -> Vec<String> {
        self.find(machine)
            .map(|emulated| console::tail(&emulated.console_log(), lines))
            .unwrap_or_default()
    }

    /// The socket of a machine's serial console.
    ///
    /// # Errors
    /// When there is no such machine, or it is off.
    pub fn console(&self, machine: &str) -> Result<PathBuf, LabError> {
        let emulated = self.find(machine)?;
        match emulated.record() {
            Some(_) => Ok(emulated.console_socket()),
            None => Err(LabError::Off(machine.to_owned())),
        }
    }

    fn find(&self, name: &str) -> Result<Emulated<'_>, LabError> {
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
            .map(|machine| self.emulate(machine))
            .ok_or_else(|| LabError::NoMachine {
                name: name.to_owned(),
                machines: machines(),
            })
    }

    fn emulated(&self) -> Vec<Emulated<'_>> {
        self.spec
            .machines
            .iter()
            .map(|machine| self.emulate(machine))
            .collect()
    }

    fn emulate<'a>(&'a self, machine: &'a Machine) -> Emulated<'a> {
        Emulated {
            env: &self.spec.env,
            machine,
            folder: self.folders.machines.join(&machine.name),
            run: &self.folders.run,
            consoles: &self.folders.consoles,
            accelerator: self.accelerator,
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
