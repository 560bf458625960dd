//! One machine, emulated or a container: turning it on and off. Being told twice does no harm; two at once wait for
//! each other.
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use inventory::Firmware;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde_json::json;

use crate::{
    accelerator::Accelerator,
    container::Container,
    emulator::{self, Files, OVMF_VARIABLES},
    error::{At, LabError},
    names, network,
    process::Record,
    qmp,
    spec::{LabSpec, Machine},
};

/// What can be done to a machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    On,
    Off,
    /// Off and on again: the emulator starts anew.
    Cycle,
    /// The reset button.
    Reset,
}

/// What the machines of a lab are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineKind {
    Emulated(Accelerator),
    Container,
}

/// A machine and the folders that hold what is its own.
pub(crate) struct Unit<'a> {
    pub spec: &'a LabSpec,
    pub machine: &'a Machine,
    /// Kept: disk, firmware variables.
    pub folder: PathBuf,
    /// Until the next start of the host: sockets, records.
    pub run: &'a Path,
    pub consoles: &'a Path,
    pub kind: MachineKind,
}

impl Unit<'_> {
    fn files(&self) -> Files {
        let name = &self.machine.name;
        let run = |suffix: &str| self.run.join(format!("{name}.{suffix}"));
        Files {
            disk: self.folder.join("disk.img"),
            variables: self.folder.join("firmware-variables.fd"),
            pid: run("pid"),
            qmp: run("qmp"),
            console: run("console"),
            console_log: self.consoles.join(format!("{name}.log")),
        }
    }

    fn record_file(&self) -> PathBuf {
        self.run.join(format!("{}.json", self.machine.name))
    }

    pub fn record(&self) -> Option<Record> {
        Record::running(&self.record_file())
    }

    pub fn has_disk(&self) -> bool {
        match self.kind {
            MachineKind::Emulated(_) => self.files().disk.exists(),
            MachineKind::Container => self.folder.exists(),
        }
    }

    pub fn container(&self) -> Container<'_> {
        Container {
            env: &self.spec.env,
            machine: self.machine,
            folder: &self.folder,
            run: self.run,
        }
    }

    pub fn console_log(&self) -> PathBuf {
        self.files().console_log
    }

    pub fn console_socket(&self) -> PathBuf {
        self.files().console
    }

    /// # Errors
    /// When the emulator does not start, or does not end.
    pub fn power(&self, power: Power) -> Result<(), LabError> {
        let _lock = self.lock()?;
        match power {
            Power::On => self.start(),
            Power::Off => self.stop(),
            Power::Cycle => {
                self.stop()?;
                self.start()
            }
            Power::Reset if self.record().is_none() => {
                Err(LabError::Off(self.machine.name.clone()))
            }
            Power::Reset => match self.kind {
                MachineKind::Emulated(_) => qmp::execute(
                    &self.machine.name,
                    &self.files().qmp,
                    "system_reset",
                    &json!({}),
                ),
                MachineKind::Container => {
                    self.stop()?;
                    self.start()
                }
            },
        }
    }

    /// # Errors
    /// When it does not end, or a file of it cannot be removed.
    pub fn wipe(&self) -> Result<(), LabError> {
        self.power(Power::Off)?;
        if self.kind == MachineKind::Container {
            return self.container().wipe();
        }
        let files = self.files();
        for kept in [&files.disk, &files.variables] {
            match fs::remove_file(kept) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).at("remove", kept);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Pulls a card's cable or plugs it in: neither end has a link without it. A machine that is started anew has all its
    /// cables at its own end.
    ///
    /// # Errors
    /// When it has no such card, is off, or the emulator refuses.
    pub fn cable(&self, nic: &str, is_plugged: bool) -> Result<(), LabError> {
        let name = &self.machine.name;
        if !self.machine.nics.iter().any(|found| found.name == nic) {
            return Err(LabError::NoCard {
                machine: name.clone(),
                nic: nic.to_owned(),
                nics: self.machine.nics.iter().map(|n| n.name.clone()).collect(),
            });
        }
        if self.record().is_none() {
            return Err(LabError::Off(name.clone()));
        }
        if let MachineKind::Emulated(_) = self.kind {
            let link = json!({ "name": nic, "up": is_plugged });
            qmp::execute(name, &self.files().qmp, "set_link", &link)?;
        }
        let state = if is_plugged { "up" } else { "down" };
        let tap = names::tap(&self.spec.env, name, nic);
        network::batch(&self.spec.env, &[format!("link set {tap} {state}")])
    }

    fn lock(&self) -> Result<Flock<File>, LabError> {
        let path = self.run.join(format!("{}.lock", self.machine.name));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .at("open", &path)?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io::Error::from(errno))
            .at("lock", &path)
    }

    fn start(&self) -> Result<(), LabError> {
        if self.record().is_some() {
            return Ok(());
        }
        let files = self.files();
        // QEMU would make the console's log readable for all.
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&files.console_log)
            .at("open", &files.console_log)?;
        let pid = match self.kind {
            MachineKind::Emulated(accelerator) => self.emulate(&files, accelerator)?,
            MachineKind::Container => self.container().start(self.spec, &log)?,
        };
        Record::of(pid)
            .ok_or_else(|| self.did_not_start("it ended at once".into()))?
            .save(&self.record_file())
    }

    /// Starts the emulator; its pid.
    fn emulate(&self, files: &Files, accelerator: Accelerator) -> Result<i32, LabError> {
        self.make_disk(files)?;
        // Of an emulator that was killed; a new one would refuse to begin with the old pid file.
        for stale in [&files.pid, &files.qmp, &files.console] {
            match fs::remove_file(stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).at("remove", stale);
                }
                _ => {}
            }
        }
        let env = &self.spec.env;
        let mut command = network::inside(env, "qemu-system-x86_64");
        command.args(emulator::arguments(env, self.machine, files, accelerator));
        network::run(&mut command).map_err(|error| self.did_not_start(error.to_string()))?;
        let pid = fs::read_to_string(&files.pid).at("read", &files.pid)?;
        let pid = pid.trim().parse();
        pid.map_err(|_| self.did_not_start("its pid file holds no number".into()))
    }

    fn did_not_start(&self, said: String) -> LabError {
        LabError::Start {
            machine: self.machine.name.clone(),
            said,
        }
    }

    /// A blank disk, unless there is one.
    fn make_disk(&self, files: &Files) -> Result<(), LabError> {
        fs::create_dir_all(&self.folder).at("make", &self.folder)?;
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))
            .at("set the mode of", &self.folder)?;
        if !files.disk.exists() {
            let disk = File::create(&files.disk).at("create", &files.disk)?;
            disk.set_len(u64::from(self.machine.disk_gib) << 30)
                .at("enlarge", &files.disk)?;
        }
        if self.machine.firmware != Firmware::Bios && !files.variables.exists() {
            fs::copy(OVMF_VARIABLES, &files.variables).at("copy to", &files.variables)?;
        }
        Ok(())
    }

    fn stop(&self) -> Result<(), LabError> {
        if let Some(record) = self.record() {
            if self.kind == MachineKind::Container {
                self.container().cut(record.pid)?;
            }
            record.end(&format!("machine `{}`", self.machine.name))?;
        }
        let file = self.record_file();
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", &file),
            _ => Ok(()),
        }
    }
}
