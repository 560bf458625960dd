//! The `wright` program as nodes fetch it: stripped, compressed, cached by its content.
use crate::error::CommandError;
use crate::settings::Settings;
use anyhow::Context;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that the boot server offers.
#[derive(Debug, Clone)]
pub struct Offered {
    pub path: PathBuf,
    /// Of the file as it is offered, lower-case hex.
    pub sha256: String,
}

/// This program, stripped and compressed by zstd.
pub async fn compressed(settings: &Settings) -> Result<Offered, CommandError> {
    let cache = settings.cache_dir.join("files");
    Ok(tokio::task::spawn_blocking(move || make(&cache))
        .await
        .map_err(anyhow::Error::from)??)
}

fn make(cache: &Path) -> anyhow::Result<Offered> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let key = file_sha256(&program)?;
    let path = cache.join(format!("wright-{}.zst", &key[..16]));
    if !path.exists() {
        std::fs::create_dir_all(cache)
            .with_context(|| format!("cannot make `{}`", cache.display()))?;
        let stripped = path.with_extension("stripped");
        let packed = path.with_extension("new");
        run(Command::new("strip").arg("-o").arg(&stripped).arg(&program))?;
        run(Command::new("zstd")
            .args(["-q", "-f", "-T2", "-6", "-o"])
            .arg(&packed)
            .arg(&stripped))?;
        std::fs::rename(&packed, &path)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        // Only room is lost when it stays.
        let _ = std::fs::remove_file(stripped);
    }
    Ok(Offered {
        sha256: file_sha256(&path)?,
        path,
    })
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    anyhow::ensure!(status.success(), "{shown} ended with {status}");
    Ok(())
}

fn file_sha256(path: &Path) -> anyhow::Result<String> {
    let mut file =
        std::fs::File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file
            .read(&mut buffer)
            .with_context(|| format!("cannot read `{}`", path.display()))?
        {
            0 => break,
            n => digest.update(&buffer[..n]),
        }
    }
    Ok(hex::encode(digest.finalize()))
}
