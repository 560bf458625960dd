//! `wright play`: plain Ansible content on hosts that this product did not install. Wiring only: inventory, variables
//! and access of each host here, the run itself in `task-engine`.
mod hosts;
mod tell;
mod vars;

pub use hosts::trusted;

use super::deploy::{images, telling};
use crate::args::play::PlayArgs;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use inventory::PlainOptions;
use sha2::{Digest, Sha256};
use state::{EnvironmentFolder, EnvironmentLock, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use task_engine::journal::StateJournal;
use task_engine::link::Patience;
use task_engine::link::per_host::PerHost;
use task_engine::parse::{Catalogue, sealed_playbook};
use task_engine::plan::Order;
use task_engine::{Limits, Mode, RunSpec};
use tokio::sync::mpsc;

/// Events that may wait for the terminal.
const BACKLOG: usize = 1024;

/// A host that does not answer for so long is given up at first; one that did is waited for longer.
const CONNECT: Duration = Duration::from_secs(30);

pub async fn run(
    args: PlayArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let vault = Arc::new(vars::vault(&args)?);
    let extra = vars::extra(&args.extra_vars, &vault)?;
    let sources = match args.inventories.is_empty() {
        true => vec![settings.inventory_dir.display().to_string()],
        false => args.inventories.clone(),
    };
    let folder = folder_of(&args.playbook);
    let unseal = |text: &str| vault.open(text).map_err(|error| error.to_string());
    let options = PlainOptions {
        playbook_folder: Some(&folder),
        unseal: Some(&unseal),
    };
    // Both are read before anything is told: a person mends all faults at once.
    let (inventory, mut findings) = inventory::plain(&sources, &options);
    let playbook = sealed_playbook(
        &args.playbook,
        &role_folders(&args),
        &Catalogue::of_modules(),
        vault.clone(),
    );
    let mut playbook = match playbook {
        Ok(playbook) => playbook,
        Err(faults) => {
            findings.extend(faults);
            return Err(findings.into());
        }
    };
    if findings.has_errors() {
        return Err(findings.into());
    }
    printer.warnings(&findings);
    playbook.default_become(args.r#become, args.become_user.as_deref());

    let state = state_folder(&args, &sources);
    let root = match settings.state_dir_given {
        true => settings.state_dir.clone(),
        false => EnvironmentFolder::default_root(&state),
    };
    let folder = EnvironmentFolder::create(&root, &state).map_err(state_error)?;
    let _lock = EnvironmentLock::acquire(&folder, "play").map_err(state_error)?;
    let store = Store::open(&folder).await.map_err(state_error)?;
    let hosts = hosts::hosts(&args, &inventory, &playbook, &extra, &vault)?;
    let agent = images::agent()?;
    let local = folder.root().join("local");
    let transport =
        PerHost::new(hosts.access, hosts.otherwise, &agent, &local).map_err(anyhow::Error::from)?;

    let name = run_name(&args, &sources);
    let (run, continues) = match store
        .interrupted_run(&name)
        .await
        .map_err(anyhow::Error::from)?
        .filter(|_| !args.fresh)
    {
        Some(run) => {
            printer.say(&format!(
                "going on with the interrupted run {} (--fresh begins anew)",
                run.id
            ));
            (run.id, true)
        }
        None => {
            let now = chrono::Utc::now().format("%Y%m%dT%H%M%S%.3f");
            (now.to_string(), false)
        }
    };
    store
        .begin_run(&run, &name, args.check)
        .await
        .map_err(anyhow::Error::from)?;
    let journal = match args.check {
        true => StateJournal::of_facts_only(store.clone()),
        false => StateJournal::new(store.clone()),
    };
    let spec = RunSpec {
        limit: args.limit.clone(),
        mode: match args.check {
            true => Mode::Check,
            false => Mode::Apply,
        },
        diff: args.diff,
        tags: args.tags.clone(),
        skip_tags: args.skip_tags.clone(),
        extra_vars: extra,
        continues,
        // What Ansible's roles are written for: they register on one host and read it on another.
        order: Order::Linear,
        limits: Limits {
            nodes: args.forks,
            patience: Patience {
                connect: CONNECT,
                first: CONNECT,
                ..Patience::default()
            },
            ..Limits::default()
        },
        ..RunSpec::new(
            run.clone(),
            args.playbook.clone(),
            hosts.specs,
            Arc::new(transport),
            Arc::new(journal),
        )
    };
    let (events, mut inbox) = mpsc::channel(BACKLOG);
    let teller = {
        let printer = *printer;
        tokio::spawn(async move {
            let mut live = printer.live();
            while let Some(event) = inbox.recv().await {
                telling::show(&mut live, &event);
                tell::event(&printer, &event);
            }
        })
    };
    let report = task_engine::run_parsed(spec, playbook, events).await;
    let _ = teller.await;
    hosts::stop_local(&local);
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            // Nothing was begun: there is nothing to go on with.
            let none = serde_json::Value::Null;
            store
                .end_run(&run, false, &none)
                .await
                .map_err(anyhow::Error::from)?;
            return Err(match error {
                task_engine::RunError::Input(faults) => faults.into(),
                error => anyhow::Error::from(error).into(),
            });
        }
    };
    let value = serde_json::to_value(&report).map_err(anyhow::Error::from)?;
    store
        .end_run(&run, report.is_success(), &value)
        .await
        .map_err(anyhow::Error::from)?;
    tell::recap(printer, &report, args.check)
}

/// `playbook_dir`: never empty, so that names can be put behind it.
fn folder_of(playbook: &Path) -> PathBuf {
    match playbook.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Where Ansible looks for roles, after those beside the playbook.
fn role_folders(args: &PlayArgs) -> Vec<PathBuf> {
    let mut out = args.roles_path.clone();
    match std::env::var_os("ANSIBLE_ROLES_PATH") {
        Some(paths) => out.extend(std::env::split_paths(&paths)),
        None => {
            out.extend(std::env::home_dir().map(|home| home.join(".ansible/roles")));
            out.extend(["/usr/share/ansible/roles", "/etc/ansible/roles"].map(PathBuf::from));
        }
    }
    out.retain(|folder| folder.is_dir());
    out
}

/// `play-site-1a2b3c4d`: one folder for each pair of playbook and inventories.
fn state_folder(args: &PlayArgs, sources: &[String]) -> String {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let mut digest = Sha256::new();
    digest.update(whole(&args.playbook).as_os_str().as_encoded_bytes());
    for source in sources {
        digest.update([0]);
        digest.update(whole(Path::new(source)).as_os_str().as_encoded_bytes());
    }
    let stem: String = args
        .playbook
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(24)
        .collect();
    format!("play-{stem}-{}", hex::encode(&digest.finalize()[..4]))
}

/// Names what is run: only a run of the same can be gone on with. Values that may be secret are in a digest only.
fn run_name(args: &PlayArgs, sources: &[String]) -> String {
    let mut digest = Sha256::new();
    let words = [
        &args.tags,
        &args.skip_tags,
        &args.extra_vars,
        &sources.to_vec(),
    ];
    for word in words.into_iter().flatten() {
        digest.update(word.as_bytes());
        digest.update([0]);
    }
    digest.update(format!("{:?} {} {}", args.limit, args.check, args.r#become));
    digest.update(std::fs::read(&args.playbook).unwrap_or_default());
    let digest = hex::encode(&digest.finalize()[..6]);
    format!("{} {digest}", args.playbook.display())
}

fn state_error(error: state::StateError) -> CommandError {
    CommandError::failed(error.to_string())
        .hint("is another `wright play` of this playbook at work, or does the folder belong to somebody else?")
}
