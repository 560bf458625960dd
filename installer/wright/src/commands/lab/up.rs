//! `wright lab up`: checks, images, machines, and the deployment as a child on the lab's wires.
use super::{accelerator_file, blocking, containers, kind, lab_error, make};
use crate::args::lab::UpArgs;
use crate::commands::deploy::{images, roles};
use crate::environment;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use anyhow::Context;
use diagnostics::ExitStatus;
use lab::{Accelerator, Folders, Lab, MachineKind};
use state::{EnvironmentFolder, EnvironmentLock, Secrets, Store};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Name of the BMCs' password among the environment's secrets.
const BMC_SECRET: &str = "bmc";
/// What building images takes of the cache's disk while it runs, and what remains.
const CACHE_BYTES: u64 = 4 << 30;

pub async fn run(
    args: UpArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    let looked_at = environment::plan(
        settings,
        environment::open_store(settings).await?.as_ref(),
        printer,
    )
    .await?;
    let wanted = wanted(&args, settings)?;
    check(&make(settings, &looked_at, wanted)?, settings)?;

    let state = |error: state::StateError| CommandError::failed(error.to_string());
    let folder = EnvironmentFolder::create(&settings.state_dir, &settings.env).map_err(state)?;
    let lock = EnvironmentLock::acquire(&folder, "lab").map_err(state)?;
    let store = Store::open(&folder).await.map_err(state)?;
    let environment = environment::plan(settings, Some(&store), printer).await?;
    environment::keep(&environment, &store).await?;

    // Before the machines: a blank one that nobody answers gives up and has to be turned off and on.
    let begun = Instant::now();
    let playbook = roles::parse(&args.playbook)?;
    let images = images::build(settings, &environment, &playbook, printer).await?;
    printer.say(&format!("images: {:.1} s", begun.elapsed().as_secs_f64()));
    let Some(kernel) = images.values().next().map(|image| image.kernel.clone()) else {
        return Err(
            CommandError::failed("no host of the inventory has cards to boot from")
                .hint("give the hosts `macs` and `nics`"),
        );
    };

    let begun = Instant::now();
    let kind = match wanted {
        MachineKind::Emulated(_) => {
            let memory = accelerator_file(settings);
            let detect = move || Accelerator::detect(&kernel, &memory);
            MachineKind::Emulated(blocking(detect).await?)
        }
        MachineKind::Container => MachineKind::Container,
    };
    let secret = Secrets::open(&folder)
        .and_then(|secrets| secrets.get_or_generate(BMC_SECRET))
        .map_err(state)?;
    let lab = make(settings, &environment, kind)?;
    if kind == MachineKind::Container {
        containers::install(&lab, &environment, &images, &folder, &store).await?;
    }
    let callback = callback(settings)?;
    let machines = lab.spec().machines.len();
    let starting = lab.clone();
    blocking(move || starting.up(lab::bmc_password(secret.expose()), &callback)).await?;
    let how = match kind {
        MachineKind::Emulated(Accelerator::Kvm) => "with KVM",
        MachineKind::Emulated(Accelerator::Emulation) => {
            "by emulation (no guest boots with KVM here)"
        }
        MachineKind::Container => "as containers",
    };
    printer.say(&format!(
        "{machines} machines are on, {how}: {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
    drop(store);
    drop(lock);
    if args.no_deploy {
        return Ok(ExitStatus::Done);
    }
    Err(deploy(&args, settings)?)
}

/// What the machines are to be. Those that are there stay what they are.
fn wanted(args: &UpArgs, settings: &Settings) -> Result<MachineKind, CommandError> {
    let folders = Folders::of(&settings.env, &settings.state_dir);
    let are_there = folders.machines.exists();
    match (args.containers, kind(settings)) {
        (true, MachineKind::Emulated(_)) if are_there => Err(CommandError::failed(format!(
            "the machines of `{}` are emulated ones",
            settings.env
        ))
        .hint(format!(
            "`wright -e {} lab down` removes them",
            settings.env
        ))),
        (true, _) => Ok(MachineKind::Container),
        (false, kind) => Ok(kind),
    }
}

/// Everything that stands in the way, told at once and before anything is changed.
fn check(lab: &Lab, settings: &Settings) -> Result<(), CommandError> {
    let mut found = lab.shortfalls(&settings.state_dir);
    let missing = provision::image::missing_tools();
    if !missing.is_empty() {
        found.push(provision::image::ImageError::MissingTools(missing).to_string());
    }
    if let Some(free) = lab::free_bytes(&settings.cache_dir).filter(|free| *free < CACHE_BYTES) {
        found.push(format!(
            "images need about {} GiB and {} has {} GiB free: `--cache-dir` takes another folder",
            CACHE_BYTES >> 30,
            settings.cache_dir.display(),
            free >> 30
        ));
    }
    if let Err(error) = images::agent() {
        found.push(error.to_string());
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "the lab cannot be made here:\n  - {}",
        found.join("\n  - ")
    ))
    .hint("`cargo xtask lab` installs what is missing and builds; nothing was changed"))
}

/// This program with the arguments that lead to the same environment.
fn callback(settings: &Settings) -> Result<Vec<String>, CommandError> {
    let program = program()?;
    let words = [program.into_os_string()]
        .into_iter()
        .chain(same_environment(settings)?)
        .chain(["lab".into(), "bmc".into()]);
    words
        .map(|word| {
            let text = word.into_string().map_err(|_| ());
            // ipmi_sim hands its callback to a shell as one line.
            text.ok()
                .filter(|text| !text.contains(|c: char| c.is_whitespace() || "'\"\\$`".contains(c)))
        })
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| {
            CommandError::failed(
                "the path of `wright`, the inventory or the state has blanks or quotes in it",
            )
            .hint("the machines' BMCs cannot call such a path: move it")
        })
}

fn program() -> Result<PathBuf, CommandError> {
    Ok(std::env::current_exe().context("cannot find this program's own file")?)
}

fn same_environment(settings: &Settings) -> Result<Vec<OsString>, CommandError> {
    let inventory = settings
        .inventory_dir
        .canonicalize()
        .with_context(|| format!("cannot open `{}`", settings.inventory_dir.display()))?;
    let state = settings
        .state_dir
        .canonicalize()
        .with_context(|| format!("cannot open `{}`", settings.state_dir.display()))?;
    let mut words: Vec<OsString> = vec!["--env".into(), settings.env.clone().into()];
    for (option, folder) in [
        ("--inventory", inventory),
        ("--state-dir", state),
        ("--cache-dir", settings.cache_dir.clone()),
    ] {
        words.extend([option.into(), folder.into_os_string()]);
    }
    Ok(words)
}

/// Becomes `wright deploy` in the lab's network namespace: the very code that deploys real machines. One process,
/// so that whoever ends this one ends that. Returns only when it cannot be run.
fn deploy(args: &UpArgs, settings: &Settings) -> Result<CommandError, CommandError> {
    let mut command = Command::new(program()?);
    command.args(same_environment(settings)?);
    if settings.yes {
        command.arg("--yes");
    }
    if settings.output == crate::printer::Output::Json {
        command.args(["--output", "json"]);
    }
    command
        .args(["deploy", "--playbook"])
        .arg(&args.playbook)
        .args(&args.deploy)
        .env("WRIGHT_NETNS", lab::namespace(&settings.env));
    Ok(lab_error(lab::LabError::Command {
        command: "wright deploy".into(),
        said: command.exec().to_string(),
    }))
}
