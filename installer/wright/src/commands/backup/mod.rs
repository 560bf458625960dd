//! `wright backup`: asks and tells; the work is the crate `backup`'s. What a backup needs beside the database is
//! gathered here, as only the program knows where it lies.
mod schedule;
mod tell;

use crate::args::backup::{BackupCommand, CreateArgs, RestoreArgs};
use crate::cloud::SshShell;
use crate::commands::question;
use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use ::backup::restore::Target;
use ::backup::{BackupError, Nodes, Shelf, create, restore, verify};
use diagnostics::ExitStatus;
use health::SERVICES;
use inventory::DatabaseEngine;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use state::{EnvironmentFolder, EnvironmentLock, Store};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tell::{List, Made, Shown};

pub async fn run(
    command: BackupCommand,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    match command {
        BackupCommand::Schedule(args) => schedule::run(&args, settings, printer),
        BackupCommand::List => {
            let shelf = Shelf::new(settings.state_dir.join("backups"), &settings.env);
            let backups = blocking(move || shelf.list()).await?;
            printer.data(&List { backups })?;
            Ok(ExitStatus::Done)
        }
        BackupCommand::Create(args) => make(args, settings, printer).await,
        BackupCommand::Verify { id } => {
            let ready = Ready::new(settings, printer).await?;
            let id = match id {
                Some(id) => id,
                None => {
                    let shelf = ready.shelf();
                    blocking(move || shelf.newest()).await?
                }
            };
            prove(&ready, id, printer).await
        }
        BackupCommand::Restore(args) => bring_back(args, settings, printer).await,
    }
}

/// What all of it needs.
struct Ready {
    folder: EnvironmentFolder,
    store: Store,
    shell: std::sync::Arc<SshShell>,
    controllers: Vec<String>,
    _lock: EnvironmentLock,
}

impl Ready {
    async fn new(settings: &Settings, printer: &Printer) -> Result<Self, CommandError> {
        let nothing = || {
            CommandError::failed(format!("no controller of `{}` is installed", settings.env)).hint(
                format!("`wright -e {} deploy` makes the cloud", settings.env),
            )
        };
        let folder = EnvironmentFolder::existing(&settings.state_dir, &settings.env);
        let (Some(folder), Some(store)) = (folder, environment::open_store(settings).await?) else {
            return Err(nothing());
        };
        let lock = EnvironmentLock::acquire(&folder, "backup")
            .map_err(|error| CommandError::failed(error.to_string()))?;
        let environment = environment::plan(settings, Some(&store), printer).await?;
        if environment.inventory.database_engine == DatabaseEngine::Postgresql {
            return Err(CommandError::failed(
                "the database is PostgreSQL, and backups are made of MariaDB alone",
            )
            .hint("docs/database.md#postgresql has the commands that save and load it"));
        }
        let shell = SshShell::new(&folder, &environment, &store).await?;
        let nodes = environment.plan.nodes.values();
        let controllers = nodes
            .filter(|node| node.in_group("controller"))
            .map(|node| node.name.clone());
        let controllers: Vec<String> = controllers.collect();
        if controllers.is_empty() {
            return Err(nothing());
        }
        Ok(Ready {
            folder,
            store,
            shell: std::sync::Arc::new(shell),
            controllers,
            _lock: lock,
        })
    }

    fn shelf(&self) -> Shelf {
        Shelf::new(
            self.folder.root().join("backups"),
            self.folder.environment(),
        )
    }
}

impl Nodes for SshShell {
    fn command(&self, node: &str, script: &str, args: &[&str]) -> Result<Command, String> {
        let argv: Vec<&str> = ["sh", "-c", script, "sh"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        self.ssh(node, &argv)
    }
}

async fn make(
    args: CreateArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let ready = Ready::new(settings, printer).await?;
    let id = chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
    // The database of the state as of one moment; its own files may be in the middle of something.
    let snapshot = ready.folder.root().join("state.db.snapshot");
    let taken = copy_state(&ready.store, &snapshot).await;
    let kept = async {
        taken?;
        let host = host_files(&ready, settings, &snapshot);
        let (shelf, shell) = (ready.shelf(), ready.shell.clone());
        let (controllers, environment) = (ready.controllers.clone(), settings.env.clone());
        let (printer, named) = (*printer, id.clone());
        blocking(move || {
            let wanted = create::Wanted {
                controllers: &controllers,
                environment: &environment,
                version: env!("CARGO_PKG_VERSION"),
                images: args.images,
                host: &host,
            };
            create::create(&shelf, &*shell, &wanted, &named, &|text| printer.say(text))
        })
        .await
    }
    .await;
    // Another one is made by the next backup, and this one holds addresses only.
    let _ = std::fs::remove_file(&snapshot);
    let manifest = kept?;
    let mut status = ExitStatus::Done;
    if args.verify {
        status = prove(&ready, id, printer).await?;
    }
    let removed = match args.keep {
        // One that was not proved must not push out those that were.
        Some(keep) if status == ExitStatus::Done => {
            let shelf = ready.shelf();
            blocking(move || shelf.prune(keep as usize)).await?
        }
        _ => Vec::new(),
    };
    let folder = ready.shelf().folder(&manifest.id);
    printer.data(&Made {
        folder: folder.display().to_string(),
        manifest: Shown(manifest),
        removed,
    })?;
    Ok(status)
}

/// Writes `state.db` as of this moment to a new file of mode 0600, in place of one that is there.
async fn copy_state(store: &Store, to: &Path) -> Result<(), CommandError> {
    let name = to.display().to_string();
    // SQLite fills an empty file, and would make one that others can read.
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(to)
        .map_err(|error| CommandError::failed(format!("{name}: {error}")))?;
    let copy = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [name.into()]);
    let copied = store.connection().execute_raw(copy).await;
    copied.map(drop).map_err(|error| {
        CommandError::failed(format!("the state's database cannot be copied: {error}"))
    })
}

/// What a cloud cannot be rebuilt without and no controller has.
fn host_files(ready: &Ready, settings: &Settings, snapshot: &Path) -> Vec<(String, PathBuf)> {
    let folder = &ready.folder;
    let state = |path: PathBuf| ("host/state".to_owned(), path);
    vec![
        state(snapshot.to_path_buf()),
        state(folder.secrets()),
        state(folder.secrets_key()),
        state(folder.ssh()),
        state(folder.openrc()),
        state(folder.root().join("ca")),
        (
            "host".to_owned(),
            settings
                .inventory_dir
                .canonicalize()
                .unwrap_or_else(|_| settings.inventory_dir.clone()),
        ),
    ]
}

async fn prove(ready: &Ready, id: String, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let (shelf, shell, controllers) = (
        ready.shelf(),
        ready.shell.clone(),
        ready.controllers.clone(),
    );
    let telling = *printer;
    let proof = blocking(move || {
        verify::verify(&shelf, &*shell, &controllers, &id, &|text| {
            telling.say(text)
        })
    })
    .await?;
    let is_well = proof.faults.is_empty();
    printer.data(&Shown(proof))?;
    Ok(match is_well {
        true => ExitStatus::Done,
        false => ExitStatus::Differences,
    })
}

async fn bring_back(
    args: RestoreArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let ready = Ready::new(settings, printer).await?;
    // Roles and a restore would start and stop the same units.
    let _deploy = EnvironmentLock::acquire(&ready.folder, "deploy")
        .map_err(|error| CommandError::failed(error.to_string()))?;
    let services: Vec<&str> = SERVICES.iter().map(|(name, _)| *name).collect();
    if let Some(service) = args
        .service
        .as_deref()
        .filter(|service| !services.contains(service))
    {
        return Err(
            CommandError::failed(format!("there is no service `{service}`"))
                .hint(format!("there are: {}", services.join(", "))),
        );
    }
    let (controllers, images) = (ready.controllers.clone(), args.images);
    let stamp = chrono::Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
    let with = {
        let (shelf, shell) = (ready.shelf(), ready.shell.clone());
        let (controllers, services, stamp) = (controllers.clone(), services.clone(), stamp.clone());
        let id = args.id.clone();
        printer.say("reading every file of the backup");
        blocking(move || {
            let target = Target {
                controllers: &controllers,
                services: &services,
                images,
                stamp: &stamp,
            };
            restore::check(&shelf, &*shell, &target, &id)
        })
        .await?
    };
    if images && with.images().is_none() {
        return Err(
            CommandError::failed(format!("backup `{}` holds no images", with.id))
                .hint("`wright backup create --images` makes one that does"),
        );
    }
    printer.say(&tell::before(
        &with,
        &controllers,
        args.service.as_deref(),
        images,
    ));
    question::go_on(settings)?;
    let (shelf, shell, telling) = (ready.shelf(), ready.shell.clone(), *printer);
    let restored = blocking(move || {
        let target = Target {
            controllers: &controllers,
            services: &services,
            images,
            stamp: &stamp,
        };
        let tell = |text: &str| telling.say(text);
        match args.service.as_deref() {
            Some(service) => restore::service(&shelf, &*shell, &target, &with, service, &tell),
            None => restore::whole(&shelf, &*shell, &target, &with, &tell),
        }
    })
    .await?;
    let is_well = restored.faults.is_empty();
    printer.data(&Shown(restored))?;
    Ok(match is_well {
        true => ExitStatus::Done,
        false => ExitStatus::Differences,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, CommandError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(anyhow::Error::from)?
        .map_err(|error| CommandError::failed(error.to_string()))
}
