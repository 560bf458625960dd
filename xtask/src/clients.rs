//! The official OpenStack clients in a virtual environment of the tests' own, in the user's cache.
//! It installs what `tests/session/requirements.txt` pins; it does not know what is called.
use crate::cargo;
use anyhow::{Context, Result};
use std::{fs, path::PathBuf, process::Command};

const REQUIREMENTS: &str = "tests/session/requirements.txt";

/// The folder with `openstack`, `nova`, `glance` and `neutron`; made when it is not there, or of other versions.
pub fn install() -> Result<PathBuf> {
    let wanted = fs::read_to_string(cargo::root().join(REQUIREMENTS))
        .with_context(|| format!("cannot read `{REQUIREMENTS}`"))?;
    let folder = cargo::cache().join("clients");
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(folder.join("bin"));
    }
    println!("installing the official clients into {}", folder.display());
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
                REQUIREMENTS,
            ])
            .current_dir(cargo::root()),
    )?;
    // Last: what was cut off before is made anew.
    fs::write(&installed, wanted)
        .with_context(|| format!("cannot write `{}`", installed.display()))?;
    Ok(folder.join("bin"))
}
