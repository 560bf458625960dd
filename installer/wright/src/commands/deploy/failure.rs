//! What a deployment that failed in a lab leaves to be read: one folder with the machines' serial consoles, the
//! nodes' journals, the log of events, and how every machine was. Secrets and disks are not in it.
use crate::commands::lab::ssh;
use crate::environment::Environment;
use crate::settings::Settings;
use lab::Lab;
use serde_json::{Value, json};
use state::{EnvironmentFolder, Store};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// Folders that are kept; the oldest goes first.
const KEPT: usize = 5;
/// The end of a log that is longer.
const LOG_BYTES: u64 = 4 << 20;
/// A node that is busy or half dead answers late, or never.
const JOURNAL_WITHIN: Duration = Duration::from_secs(60);
const JOURNAL_LINES: &str = "20000";

/// Collects all that can be had; the folder. What is missing in it could not be read.
///
/// # Errors
/// When the folder cannot be made.
pub async fn keep(
    lab: &Lab,
    settings: &Settings,
    environment: &Environment,
    folder: &EnvironmentFolder,
    store: &Store,
    error: &str,
) -> io::Result<PathBuf> {
    let all = folder.root().join("failures");
    let name = chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
    let kept = all.join(name);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&kept)?;
    prune(&all)?;
    fs::write(kept.join("error.txt"), format!("{error}\n"))?;
    copy_end(&folder.logs().join("wright.log"), &kept.join("wright.log"));
    let machines = lab.status();
    for machine in &machines {
        let console = kept.join(format!("{}.console", machine.name));
        copy_end(&machine.console_log, &console);
    }
    // Neither tokens nor keys: state and reason.
    let nodes: Vec<Value> = store
        .nodes()
        .await
        .unwrap_or_default()
        .iter()
        .map(|node| json!({"name": node.name, "state": node.state, "reason": node.reason}))
        .collect();
    let status = json!({"machines": machines, "nodes": nodes});
    fs::write(kept.join("status.json"), format!("{status:#}\n"))?;
    let journals = machines
        .iter()
        .filter(|machine| machine.is_on)
        .map(|machine| {
            let file = kept.join(format!("{}.journal", machine.name));
            journal(&machine.name, file, settings, environment, store)
        });
    futures::future::join_all(journals).await;
    Ok(kept)
}

/// Writes a node's journal; nothing when it is not installed or does not answer.
async fn journal(
    node: &str,
    file: PathBuf,
    settings: &Settings,
    environment: &Environment,
    store: &Store,
) {
    let Ok(mut ssh) = ssh::login(node, settings, environment, Some(store)).await else {
        return;
    };
    let Ok(output) = File::create(&file) else {
        return;
    };
    ssh.args([
        "journalctl",
        "--boot",
        "--no-pager",
        "--lines",
        JOURNAL_LINES,
    ])
    .stdin(Stdio::null())
    .stdout(output)
    .stderr(Stdio::null());
    let child = tokio::process::Command::from(ssh)
        .kill_on_drop(true)
        .spawn();
    if let Ok(mut child) = child {
        // What has come by then is kept.
        let _ = tokio::time::timeout(JOURNAL_WITHIN, child.wait()).await;
    }
    if fs::metadata(&file).is_ok_and(|found| found.len() == 0) {
        let _ = fs::remove_file(&file);
    }
}

/// Copies the end of a log; one that is not there is left out.
fn copy_end(from: &Path, to: &Path) {
    let copy = || -> io::Result<()> {
        let mut log = File::open(from)?;
        let end = log.seek(SeekFrom::End(0))?;
        log.seek(SeekFrom::Start(end.saturating_sub(LOG_BYTES)))?;
        io::copy(&mut log.take(LOG_BYTES), &mut File::create(to)?).map(drop)
    };
    if let Err(error) = copy() {
        tracing::warn!(from = %from.display(), %error, "not kept");
    }
}

fn prune(all: &Path) -> io::Result<()> {
    let mut folders: Vec<PathBuf> = fs::read_dir(all)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    // Their names are times.
    folders.sort();
    let surplus = folders.len().saturating_sub(KEPT);
    folders
        .into_iter()
        .take(surplus)
        .try_for_each(fs::remove_dir_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_folders_stay_and_logs_are_cut_at_their_beginning() {
        let all = std::env::temp_dir().join(format!("wright-failures-{}", std::process::id()));
        for name in ["20260101T000000Z", "20260102T000000Z", "20251231T000000Z"] {
            fs::create_dir_all(all.join(name)).unwrap();
        }
        for number in 0..4 {
            fs::create_dir_all(all.join(format!("20270101T00000{number}Z"))).unwrap();
        }
        prune(&all).unwrap();
        assert_eq!(fs::read_dir(&all).unwrap().count(), KEPT);
        assert!(!all.join("20260101T000000Z").exists() && all.join("20260102T000000Z").exists());

        let (long, cut) = (all.join("long"), all.join("cut"));
        let mut text = vec![b'a'; LOG_BYTES as usize];
        text.extend(b"end");
        fs::write(&long, &text).unwrap();
        copy_end(&long, &cut);
        copy_end(&all.join("absent"), &all.join("none"));
        let copied = fs::read(&cut).unwrap();
        assert!(copied.len() as u64 == LOG_BYTES && copied.ends_with(b"aend"));
        assert!(!all.join("none").exists());
        fs::remove_dir_all(all).unwrap();
    }
}
