//! `cargo xtask test`: the stages of CI in order, each with a budget (docs/ci.md).
//! A stage that fails ends the run; the whole run ends itself before CI would, naming the stage.
use crate::{cargo, clients, faults, packages, processes, python, test_output::TestOutput};
use anyhow::{Context, Result, bail};
use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The run stops itself here; CI's own limit is 90 minutes.
const RUN_MINUTES_MAX: u64 = 80;

const MIB: u64 = 1 << 20;
const AGENT_MIB_MAX: u64 = 8;

#[derive(clap::Args)]
pub struct Args {
    /// Run every judge there is, also those that CI has no time for
    #[arg(long)]
    full: bool,
    /// Run this stage alone; may be repeated. Stages before it must have been run once
    #[arg(long, value_name = "STAGE", value_parser = STAGES.map(|stage| stage.name))]
    only: Vec<String>,
    /// Answer yes to the installation of missing packages
    #[arg(long)]
    yes: bool,
}

/// `--full`, for the stages that do more then.
static FULL: AtomicBool = AtomicBool::new(false);

struct Stage {
    name: &'static str,
    /// Nominal minutes on two idle cores with warm caches; printed beside what it took.
    budget_minutes: u64,
    when: When,
    run: fn() -> Result<()>,
}

/// Which runs have a stage.
#[derive(PartialEq)]
enum When {
    Always,
    /// More than CI has minutes for, or not seen to pass often enough to let it stand on: only with `--full`.
    Full,
}

impl Stage {
    /// Why the stage is not run, if it is not.
    fn left_out(&self, args: &Args) -> Option<&'static str> {
        if !args.only.is_empty() {
            let named = args.only.iter().any(|name| name == self.name);
            return (!named).then_some("--only");
        }
        match self.when {
            When::Full if !args.full => Some("default, --full runs it"),
            _ => None,
        }
    }
}

const STAGES: [Stage; 15] = [
    Stage {
        name: "format",
        budget_minutes: 1,
        when: When::Always,
        run: || cargo::cargo(&["fmt", "--all", "--check"]),
    },
    Stage {
        name: "clippy",
        budget_minutes: 5,
        when: When::Always,
        run: || {
            cargo::clippy(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ])
        },
    },
    Stage {
        name: "build",
        budget_minutes: 6,
        when: When::Always,
        run: || cargo::cargo(&["build", "--workspace", "--locked"]),
    },
    Stage {
        name: "agent",
        budget_minutes: 2,
        when: When::Always,
        run: agent,
    },
    Stage {
        name: "tests",
        budget_minutes: 15,
        when: When::Always,
        run: unit_and_integration,
    },
    Stage {
        name: "session",
        budget_minutes: 3,
        when: When::Always,
        run: session,
    },
    Stage {
        name: "lab",
        budget_minutes: 18,
        when: When::Always,
        run: lab,
    },
    Stage {
        name: "tempest",
        budget_minutes: 3,
        when: When::Always,
        run: tempest,
    },
    Stage {
        name: "vagrant",
        budget_minutes: 3,
        when: When::Always,
        run: vagrant,
    },
    Stage {
        name: "faults",
        budget_minutes: 6,
        when: When::Always,
        run: faults::short,
    },
    Stage {
        name: "tasks",
        budget_minutes: 4,
        when: When::Full,
        run: || programs("tests/tasks/run"),
    },
    Stage {
        name: "roles",
        budget_minutes: 5,
        when: When::Full,
        run: || programs("tests/tasks/roles"),
    },
    Stage {
        name: "trunk",
        budget_minutes: 14,
        when: When::Full,
        run: || programs("tests/lab/trunk"),
    },
    Stage {
        name: "fuzz",
        budget_minutes: 4,
        when: When::Full,
        run: || programs("tests/fuzz/run"),
    },
    Stage {
        name: "session-real",
        budget_minutes: 6,
        when: When::Full,
        run: session_real,
    },
];

/// Runs every stage; the first that fails is the error.
pub fn run(args: &Args) -> Result<()> {
    FULL.store(args.full, Ordering::Relaxed);
    let yes = args.yes || env::var_os("CI").is_some_and(|v| v == "true");
    let started = Instant::now();
    let current = Arc::new(Mutex::new("packages"));
    watch(started, current.clone());
    let mut wanted = [packages::LAB, packages::TEST, faults::FAULTS].concat();
    // A hundred packages that nothing else needs.
    let mut running = STAGES.iter().filter(|stage| stage.left_out(args).is_none());
    if running.any(|stage| stage.name == "vagrant") {
        wanted.extend(packages::VAGRANT);
    }
    packages::install_missing(&wanted, yes)?;
    let mut table = Vec::new();
    for stage in &STAGES {
        if let Some(flag) = stage.left_out(args) {
            println!("== {}: left out by `{flag}`", stage.name);
            continue;
        }
        if let Ok(mut name) = current.lock() {
            *name = stage.name;
        }
        println!("== {} (budget {} min)", stage.name, stage.budget_minutes);
        let begun = Instant::now();
        let result = (stage.run)().with_context(|| format!("stage `{}` failed", stage.name));
        table.push(format!(
            "{:<12} {:>6.1} min of {:>2}",
            stage.name,
            minutes(begun),
            stage.budget_minutes
        ));
        if result.is_err() {
            println!("{}", table.join("\n"));
            return result;
        }
    }
    println!(
        "{}\n{:<12} {:>6.1} min",
        table.join("\n"),
        "total",
        minutes(started)
    );
    Ok(())
}

fn minutes(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() / 60.0
}

/// Ends the process and all that it started, naming the stage, when the run takes too long.
fn watch(started: Instant, current: Arc<Mutex<&'static str>>) {
    thread::spawn(move || {
        let limit = Duration::from_secs(RUN_MINUTES_MAX * 60);
        thread::sleep(limit.saturating_sub(started.elapsed()));
        let stage = current.lock().map(|name| *name).unwrap_or("unknown");
        eprintln!("error: stopped after {RUN_MINUTES_MAX} minutes in stage `{stage}`");
        processes::end_descendants();
        std::process::exit(1);
    });
}

/// The static agent, which every node fetches into memory when it boots.
fn agent() -> Result<()> {
    cargo::build_agent()?;
    let path = cargo::agent();
    let bytes = path
        .metadata()
        .with_context(|| format!("cannot read `{}`", path.display()))?
        .len();
    println!("the agent has {:.1} MiB", bytes as f64 / MIB as f64);
    if bytes > AGENT_MIB_MAX * MIB {
        bail!("the agent may have {AGENT_MIB_MAX} MiB");
    }
    Ok(())
}

/// Tests of one binary run two at a time: many start daemons and machines of their own, and more
/// of those at once only make each other late.
fn unit_and_integration() -> Result<()> {
    // Tests that call the official clients skip themselves without; the session does not.
    let clients = clients::install().unwrap_or_else(|error| {
        println!("the official clients cannot be installed: {error:#}");
        PathBuf::new()
    });
    if let Err(error) = python::environment("s3", "services/image/tests/requirements.txt") {
        println!("a server that speaks S3 cannot be installed: {error:#}");
    }
    let mut command = cargo::command(&cargo::target());
    if FULL.load(Ordering::Relaxed) {
        command.env("WRIGHT_TEST_FULL", "1");
    }
    let mut child = command
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .args(["--", "--test-threads=2", "--show-output"])
        .env("WRIGHT_AGENT", cargo::agent())
        .env("OPENSTACK_CLIENTS", clients)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run `cargo test`")?;
    let mut output = TestOutput::default();
    if let Some(stdout) = child.stdout.take() {
        // Bytes, as a test may print what is no text.
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if output.show(&line) {
                println!("{line}");
            }
        }
    }
    let status = child.wait()?;
    for skipped in output.skipped() {
        println!("{skipped}");
    }
    println!("{output}");
    if !status.success() {
        bail!("`cargo test` ended with {status}");
    }
    Ok(())
}

/// The operators' session with the official clients against `wright up --simulate`.
fn session() -> Result<()> {
    official_clients("tests/session/run")
}

/// Real guests with `wright up`, by the official clients.
fn session_real() -> Result<()> {
    official_clients("tests/session/real")
}

fn official_clients(script: &str) -> Result<()> {
    cargo::check(
        Command::new(script)
            .current_dir(cargo::root())
            .env("OPENSTACK_CLIENTS", clients::install()?)
            .env("WRIGHT", cargo::wright()),
    )
}

/// A test that wants the programs and nothing else.
fn programs(script: &str) -> Result<()> {
    cargo::check(
        Command::new(script)
            .current_dir(cargo::root())
            .env("WRIGHT", cargo::wright())
            .env("WRIGHT_AGENT", cargo::agent()),
    )
}

/// OpenStack's own tests: those that must pass; with `--full` all there are, also against MariaDB and RabbitMQ.
fn tempest() -> Result<()> {
    let runs: &[&[&str]] = match FULL.load(Ordering::Relaxed) {
        false => &[&[]],
        true => &[&["--all"], &["--all", "--deployed"]],
    };
    runs.iter().try_for_each(|arguments| {
        cargo::check(
            Command::new("tests/tempest/run")
                .args(*arguments)
                .current_dir(cargo::root())
                .env("WRIGHT", cargo::wright())
                .env("WRIGHT_AGENT", cargo::agent()),
        )
    })
}

/// The small lab's machines by Vagrant and libvirt: up to the ramdisk, and with `--full` to a healthy cloud.
fn vagrant() -> Result<()> {
    let mut command = Command::new("tests/vagrant/run");
    if FULL.load(Ordering::Relaxed) {
        command.env("WRIGHT_TEST_FULL", "1");
    }
    cargo::check(
        command
            .current_dir(cargo::root())
            .env("WRIGHT", cargo::wright())
            .env("WRIGHT_AGENT", cargo::agent()),
    )
}

/// The small lab from blank machines to a running stack, under emulation, and the operators' session on it.
fn lab() -> Result<()> {
    let mut command = Command::new("tests/lab/run");
    if FULL.load(Ordering::Relaxed) {
        command.env("WRIGHT_TEST_FULL", "1");
    }
    cargo::check(
        command
            .current_dir(cargo::root())
            .env("OPENSTACK_CLIENTS", clients::install()?)
            .env("WRIGHT", cargo::wright())
            .env("WRIGHT_AGENT", cargo::agent()),
    )
}
