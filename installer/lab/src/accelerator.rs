//! Whether machines can run on KVM. A device that opens proves nothing: on some hosts guests hang in their first
//! instructions, so a probe guest has to boot a real kernel. The answer holds until the host is restarted.
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::error::{At, LabError};

/// A kernel without a root file system panics and ends within 3 s on KVM, even on a loaded host.
const PROBE_TIME: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    Kvm,
    Emulation,
}

#[derive(Serialize, Deserialize)]
struct Known {
    boot_id: String,
    accelerator: Accelerator,
}

impl Accelerator {
    /// What this host can do; `kernel` is a Linux kernel to probe with, `memory` the file that keeps the answer.
    ///
    /// # Errors
    /// When the answer cannot be written.
    pub fn detect(kernel: &Path, memory: &Path) -> Result<Self, LabError> {
        if let Some(known) = recall(memory) {
            return Ok(known);
        }
        let accelerator = match Path::new("/dev/kvm").exists()
            && probe("qemu-system-x86_64", kernel, PROBE_TIME)
        {
            true => Self::Kvm,
            false => Self::Emulation,
        };
        tracing::info!(?accelerator, "what machines run on");
        let text = serde_json::to_vec(&Known {
            boot_id: boot_id(),
            accelerator,
        })
        .map_err(std::io::Error::from);
        fs::write(memory, text.at("write", memory)?).at("write", memory)?;
        Ok(accelerator)
    }

    /// What [`Accelerator::detect`] found since this host was started; emulation, if it never looked.
    pub fn known(memory: &Path) -> Self {
        recall(memory).unwrap_or(Self::Emulation)
    }
}

/// The answer in `memory`, if it was found since this host was started.
fn recall(memory: &Path) -> Option<Accelerator> {
    let known: Known = serde_json::from_slice(&fs::read(memory).ok()?).ok()?;
    (known.boot_id == boot_id()).then_some(known.accelerator)
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Boots `kernel` without a root: with `panic=-1` it restarts at once, and QEMU ends by `-no-reboot`. False when
/// the emulator fails, or has not ended within `time`; it is ended then.
fn probe(emulator: &str, kernel: &Path, time: Duration) -> bool {
    let mut command = Command::new(emulator);
    command.args([
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-m",
        "256",
        "-display",
        "none",
        "-no-user-config",
        "-nodefaults",
    ]);
    command
        .arg("-no-reboot")
        .arg("-kernel")
        .arg(kernel)
        .args(["-append", "panic=-1 quiet"]);
    let Ok(mut child) = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    let begun = Instant::now();
    while begun.elapsed() < time {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => thread::sleep(POLL),
            Err(_) => break,
        }
    }
    // It hangs; what remains to be done cannot fail in a way that matters.
    let _ = child.kill();
    let _ = child.wait();
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in for the emulator: a shell script.
    fn emulator(folder: &Path, script: &str) -> String {
        let path = folder.join("emulator").display().to_string();
        // By a child: a concurrent fork of this process might hold a file open that it has written itself.
        let text = format!("printf '#!/bin/sh\n{script}\n' >{path} && chmod +x {path}");
        let written = Command::new("sh").args(["-c", &text]).status();
        assert!(written.unwrap().success());
        path
    }

    #[test]
    fn a_guest_that_hangs_is_ended_and_one_that_ends_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let hangs = emulator(
            folder.path(),
            &format!("echo $$ >{}; exec sleep 1000", pid.display()),
        );
        let begun = Instant::now();
        assert!(!probe(&hangs, Path::new("/k"), Duration::from_secs(1)));
        assert!(begun.elapsed() < Duration::from_secs(60));
        let pid = fs::read_to_string(pid).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists());
        for (script, boots) in [("exit 0", true), ("exit 1", false)] {
            let ends = emulator(folder.path(), script);
            let time = Duration::from_secs(60);
            assert_eq!(probe(&ends, Path::new("/k"), time), boots);
        }
        assert!(!probe("/no/such/emulator", Path::new("/k"), PROBE_TIME));
    }

    #[test]
    fn the_answer_holds_until_the_host_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let memory = folder.path().join("accelerator.json");
        assert_eq!(Accelerator::known(&memory), Accelerator::Emulation);
        let known = |boot_id: String| {
            serde_json::to_vec(&Known {
                boot_id,
                accelerator: Accelerator::Kvm,
            })
            .unwrap()
        };
        fs::write(&memory, known(boot_id())).unwrap();
        let found = Accelerator::detect(Path::new("/no/kernel"), &memory).unwrap();
        assert_eq!(found, Accelerator::Kvm);
        fs::write(&memory, known("another start".into())).unwrap();
        assert_eq!(Accelerator::known(&memory), Accelerator::Emulation);
    }
}
