//! The agent as PID 1 of the boot ramdisk: from power-on to the installed system.
//!
//! ```text
//! boot → network → inspect → [orders] → discard → write+verify → grow → seed → commit → next
//!                                 └ wait: ask again             any error → failed → reboot
//! ```
//! Each stage prints a line, so that a stuck node can be read from its serial log. Until `commit` the disk has
//! neither partition table nor boot code: power may fail at any time, and the machine boots the network again.
mod cmdline;
pub mod console;
pub mod disk;
mod grow;
mod head;
mod mounts;
mod next;
mod nic;
mod progress;
pub mod seed;
mod server;
pub mod stream;
mod tool;

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use agent_protocol::enrol::{
    Failure, Hardware, InstallOrders, Installed, NextBoot, Orders, Progress, TOKEN_PATH,
};

use crate::hardware;
use cmdline::BootArguments;
use console::say;
use disk::Uncached;
use head::Head;
use progress::Reporter;
use server::Server;

/// Where the installed system is mounted while it is seeded.
const NEW_ROOT: &str = "/mnt";
/// In memory; where the partition table waits until all else is on the disk.
const HEAD_FOLDER: &str = "/run";
/// How long a failure stays on the console before the machine starts over.
const FAILURE_SHOWN: Duration = Duration::from_secs(30);
/// How often a broken stream is begun anew before the node gives up.
const STREAM_TRIES: u32 = 3;
/// Orders to wait are cut to this, so that a node is never lost to a typing error.
const WAIT_SECONDS_MAX: u32 = 300;

#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Cmdline(#[from] cmdline::CmdlineError),
    #[error("no NIC with MAC {mac} appeared: is its driver in the ramdisk?")]
    NoNic { mac: String },
    #[error(transparent)]
    Server(#[from] server::ServerError),
    #[error(transparent)]
    Disk(#[from] disk::ChoiceError),
    #[error(transparent)]
    Stream(#[from] stream::StreamError),
    #[error("`{name}` failed with {status}: {said}")]
    Tool {
        stage: &'static str,
        name: String,
        status: String,
        said: String,
    },
    #[error("the image has no /boot/{file} to go on with")]
    NoKernel { file: &'static str },
    #[error(
        "the image's kernel is {image}, the ramdisk's is {ramdisk}: switch_root needs them equal"
    )]
    KernelsDiffer { image: String, ramdisk: String },
    #[error("{what}")]
    Io {
        stage: &'static str,
        what: String,
        #[source]
        source: io::Error,
    },
}

impl InstallError {
    fn io(stage: &'static str, what: String, source: io::Error) -> Self {
        InstallError::Io {
            stage,
            what,
            source,
        }
    }

    /// The stage told to the boot server.
    fn stage(&self) -> &'static str {
        match self {
            InstallError::Cmdline(_) => "boot",
            InstallError::NoNic { .. } => "network",
            InstallError::Server(_) => "inspect",
            InstallError::Disk(_) => "discard",
            InstallError::Stream(stream::StreamError::Checksum { .. }) => "verify",
            InstallError::Stream(_) => "write",
            InstallError::NoKernel { .. } | InstallError::KernelsDiffer { .. } => "next",
            InstallError::Tool { stage, .. } | InstallError::Io { stage, .. } => stage,
        }
    }

    /// The error and its causes in one line.
    fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// PID 1. Never returns while the machine is up; the exit status is the type's, not a way out.
pub fn main() -> ExitCode {
    // busybox and the file system tools lie here; the kernel gives PID 1 no such path.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("PATH", "/bin:/sbin:/usr/bin:/usr/sbin") };
    let mut debug = false;
    let mut server = None;
    let error = match live(&mut debug, &mut server) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let failure = Failure {
        stage: error.stage().to_owned(),
        reason: error.chain(),
    };
    say(
        "failed",
        format_args!("{}: {}", failure.stage, failure.reason),
    );
    if let Some(server) = server
        && let Err(error) = Server::failed(&server, &failure)
    {
        say("failed", format_args!("not reported: {error}"));
    }
    if debug {
        say(
            "failed",
            "a shell, as wright.debug asks; the machine restarts when it ends",
        );
        let _ = Command::new("sh").status();
    } else {
        say(
            "failed",
            format_args!("restarting in {} s", FAILURE_SHOWN.as_secs()),
        );
        std::thread::sleep(FAILURE_SHOWN);
    }
    let Err(error) = next::restart(Path::new(NEW_ROOT));
    say("failed", error.chain());
    // PID 1 must not end: the kernel would panic and hide what is on the console.
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Everything up to the installed system. `debug` and `server` are told back as soon as they are known.
fn live(debug: &mut bool, known_server: &mut Option<Server>) -> Result<Infallible, InstallError> {
    mounts::mount_kernel_file_systems()?;
    mounts::open_console();
    say(
        "boot",
        format_args!("version {}", env!("CARGO_PKG_VERSION")),
    );
    mounts::load_modules();
    let cmdline = fs::read_to_string("/proc/cmdline")
        .map_err(|source| InstallError::io("boot", "read /proc/cmdline".into(), source))?;
    *debug = cmdline
        .split_whitespace()
        .any(|word| word.starts_with("wright.debug"));
    let arguments = cmdline::parse(&cmdline)?;
    *debug = arguments.debug;
    let token = fs::read_to_string(TOKEN_PATH)
        .map_err(|source| InstallError::io("boot", format!("read {TOKEN_PATH}"), source))?;
    let server = known_server
        .insert(Server::new(&arguments.server, &token))
        .clone();
    drop(token);

    let nic = nic::bring_up(&arguments)?;
    say(
        "network",
        format_args!("{nic} {}/{}", arguments.address, arguments.prefix),
    );
    loop {
        let hardware = hardware::read(Path::new("/"), &arguments.mac);
        say("inspect", summary(&hardware));
        match server.hardware(&hardware)? {
            Orders::Wait { seconds } => {
                say("orders", format_args!("wait {seconds} s"));
                std::thread::sleep(Duration::from_secs(seconds.min(WAIT_SECONDS_MAX).into()));
            }
            Orders::BootDisk => {
                say("orders", "boot the disk");
                return next::restart(Path::new(NEW_ROOT));
            }
            Orders::Install(orders) => {
                return install(&server, &arguments, &nic, &hardware, &orders);
            }
        }
    }
}

fn install(
    server: &Server,
    arguments: &BootArguments,
    nic: &str,
    hardware: &Hardware,
    orders: &InstallOrders,
) -> Result<Infallible, InstallError> {
    let image = &orders.image;
    // Checked before anything is destroyed.
    if orders.next == NextBoot::SwitchRoot && image.kernel != hardware.kernel {
        return Err(InstallError::KernelsDiffer {
            image: image.kernel.clone(),
            ramdisk: hardware.kernel.clone(),
        });
    }
    let chosen = disk::choose(&hardware.disks, orders.disk.as_deref(), image.disk_bytes)?;
    let name = &chosen.name;
    say(
        "orders",
        format_args!(
            "install {} for {} on {name}, then {:?}",
            arguments.mac, orders.hostname, orders.next
        ),
    );
    let target = disk::open(&disk::device(name))
        .map_err(|source| InstallError::io("discard", format!("open {name}"), source))?;
    let root = Path::new(NEW_ROOT);
    let reported = prepare(server, &target, name, orders, root)
        // A node that nobody knows to be installed would boot its disk for ever, and never be reached.
        .and_then(|installed| Ok(server.installed(&installed)?));
    if let Err(error) = reported {
        // Half an image, a wrong one, or one that is not this node yet must never be booted from.
        next::unmount(root);
        match disk::wipe(&target) {
            Ok(()) => say(
                "failed",
                format_args!("{name} was wiped: nothing on it is fit to be booted"),
            ),
            Err(wipe) => say("failed", format_args!("{name} could not be wiped: {wipe}")),
        }
        let _ = disk::reread_partitions(&target);
        return Err(error);
    }
    drop(target);
    say(
        "installed",
        format_args!("reported; next: {:?}", orders.next),
    );
    match orders.next {
        NextBoot::SwitchRoot => next::switch_root(root, nic),
        NextBoot::Reboot => next::restart(root),
        NextBoot::Kexec => {
            let Err(error) = next::kexec(root, nic);
            // Forbidden by lockdown or sysctl, or no room for the kernel: the firmware's path is left.
            let failure = Failure {
                stage: error.stage().to_owned(),
                reason: format!("{}; it restarts instead", error.chain()),
            };
            say("next", &failure.reason);
            // Only the operator misses something when this is lost.
            let _ = server.warn(&failure);
            next::restart(root)
        }
    }
}

/// Makes the disk this node's: image, size, names, keys, and last of all partition table and boot code.
/// Returns what the server is to be told.
fn prepare(
    server: &Server,
    target: &File,
    name: &str,
    orders: &InstallOrders,
    root: &Path,
) -> Result<Installed, InstallError> {
    let image = &orders.image;
    let written = write(server, target, name, orders)?;
    say("verify", format_args!("SHA-256 {}", written.sha256));

    stage(server, "grow");
    let head = disk::size(target)
        .and_then(|size| Head::keep(&written.head, size, Path::new(HEAD_FOLDER)))
        .map_err(|source| {
            InstallError::io("grow", "keep the partition table back".into(), source)
        })?;
    grow::root_partition(target, name, &head, image.root_partition)?;
    say(
        "grow",
        format_args!(
            "partition {} reaches to the end of {name}",
            image.root_partition
        ),
    );

    stage(server, "seed");
    grow::mount_root(name, image.root_partition, root)?;
    seed::plant(root, orders, Path::new("/proc/self/exe"))?;
    let ssh_host_key = seed::make_host_key(root, &orders.hostname)?;
    // What the server is told next must be true after a power cut too.
    nix::unistd::sync();
    say(
        "seed",
        format_args!("{} with host key {ssh_host_key}", orders.fqdn),
    );

    // Waits for the server: from here to its answer the node is installed and nobody knows it.
    server.begin_commit()?;
    head.bytes()
        .and_then(|bytes| stream::commit(target, &bytes))
        .map_err(|source| {
            InstallError::io(
                "commit",
                format!("write the partition table of {name}"),
                source,
            )
        })?;
    say("commit", format_args!("{name} can be booted from"));
    Ok(Installed {
        ssh_host_key,
        image_sha256: written.sha256,
        seconds: console::uptime_seconds(),
    })
}

/// Empties the disk and streams the image to it; a stream that breaks is begun anew a few times.
fn write(
    server: &Server,
    target: &File,
    name: &str,
    orders: &InstallOrders,
) -> Result<stream::Written, InstallError> {
    let image = &orders.image;
    let mut tries = 1;
    loop {
        let io = |source| InstallError::io("discard", format!("empty {name}"), source);
        let zeros_are_there = disk::empty(target, name, image.disk_bytes).map_err(io)?;
        say(
            "write",
            format_args!("{} bytes from {}", image.compressed_bytes, image.url),
        );
        let reporter = Reporter::start(server, "write", image.compressed_bytes);
        let source = server.image(&image.url)?;
        let disk = Uncached::new(target, &disk::device(name));
        let error =
            match stream::write_image(source, &disk, image, zeros_are_there, &reporter.received) {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
        let again = error.is_worth_a_retry() && tries < STREAM_TRIES;
        let error = InstallError::from(error);
        if !again {
            return Err(error);
        }
        say("write", format_args!("{}; beginning again", error.chain()));
        tries += 1;
    }
}

/// Tells the boot server that a short stage begins; losing that report does no harm.
fn stage(server: &Server, name: &str) {
    let _ = server.progress(&Progress {
        stage: name.to_owned(),
        done: 0,
        total: 1,
    });
}

fn summary(hardware: &Hardware) -> String {
    let disks: Vec<String> = hardware
        .disks
        .iter()
        .map(|disk| format!("{}:{}MiB", disk.name, disk.size_bytes >> 20))
        .collect();
    format!(
        "{} cpu, {} MiB, {} NICs, disks [{}], {}, kernel {}",
        hardware.cpu_count,
        hardware.memory_bytes >> 20,
        hardware.nics.len(),
        disks.join(" "),
        hardware.firmware,
        hardware.kernel
    )
}
