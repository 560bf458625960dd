//! One emulated machine: its disk, and turning it on and off. Being told twice does no harm; two at once wait
//! for each other.
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use inventory::Firmware;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

use crate::{
    accelerator::Accelerator,
    emulator::{self, Files, OVMF_VARIABLES},
    error::{At, LabError},
    network,
    process::Record,
    qmp,
    spec::Machine,
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

/// A machine and the folders that hold what is its own.
pub(crate) struct Emulated<'a> {
    pub env: &'a str,
    pub machine: &'a Machine,
    /// Kept: disk, firmware variables.
    pub folder: PathBuf,
    /// Until the next start of the host: sockets, records.
    pub run: &'a Path,
    pub consoles: &'a Path,
    pub accelerator: Accelerator,
}

impl Emulated<'_> {
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
        self.files().disk.exists()
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
            Power::Reset => qmp::execute(&self.machine.name, &self.files().qmp, "system_reset"),
        }
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
        self.make_disk(&files)?;
        // Of an emulator that was killed; a new one would refuse to begin with the old pid file.
        for stale in [&files.pid, &files.qmp, &files.console] {
            match fs::remove_file(stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).at("remove", stale);
                }
                _ => {}
            }
        }
        // QEMU would make the console's log readable for all.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&files.console_log)
            .at("open", &files.console_log)?;
        let mut command = network::inside(self.env, "qemu-system-x86_64");
        command.args(emulator::arguments(
            self.env,
            self.machine,
            &files,
            self.accelerator,
        ));
        network::run(&mut command).map_err(|error| self.did_not_start(error.to_string()))?;
        let pid = fs::read_to_string(&files.pid).at("read", &files.pid)?;
        let record = pid.trim().parse().ok().and_then(Record::of);
        record
            .ok_or_else(|| self.did_not_start("it ended at once".into()))?
            .save(&self.record_file())
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
            record.end(&format!("machine `{}`", self.machine.name))?;
        }
        let file = self.record_file();
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", &file),
            _ => Ok(()),
        }
    }
}
