//! Virtual environments of Python programs that tests and benchmarks call, in the user's cache.
//! It installs what a file of requirements pins; it does not know what is called.
use crate::cargo;
use anyhow::{Context, Result};
use std::{fs, path::PathBuf, process::Command};

/// The folder of the programs of the environment `name`; made when it is not there, or of other versions than
/// `requirements`, a file of the workspace, wants.
pub fn environment(name: &str, requirements: &str) -> Result<PathBuf> {
    let wanted = fs::read_to_string(cargo::root().join(requirements))
        .with_context(|| format!("cannot read `{requirements}`"))?;
    let folder = cargo::cache().join(name);
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(folder.join("bin"));
    }
    eprintln!("installing {requirements} into {}", folder.display());
    cargo::check(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    cargo::check(
        Command::new(folder.join("bin/pip"))
            .args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--requirement",
                requirements,
            ])
            .current_dir(cargo::root()),
    )?;
    // Last: what was cut off before is made anew.
    fs::write(&installed, wanted)
        .with_context(|| format!("cannot write `{}`", installed.display()))?;
    Ok(folder.join("bin"))
}
