//! The same twenty tasks on twenty nodes, first and without a change: `wright play` against ansible-core, ansible-core with
//! mitogen, and pyinfra. Each starts from fresh nodes (`tests/tasks/nodes.py`) and reaches them over SSH.
use super::Measurement;
use crate::{cargo, python};
use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use serde_json::Value as Json;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Python programs of the peers, pinned.
pub const PEERS: &str = "tests/tasks/peers/requirements.txt";

#[derive(Parser)]
#[command(name = "cargo xtask bench tasks", no_binary_name = true)]
struct Args {
    #[arg(long, default_value_t = 20)]
    nodes: u16,
    /// The peers to measure; those left out have no figures
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "ansible-core,mitogen,pyinfra"
    )]
    peers: Vec<String>,
}

/// One run of the twenty tasks.
#[derive(Clone, Copy)]
struct Figures {
    wall: f64,
    /// CPU seconds and most memory of the processes on the control host.
    control_cpu: f64,
    nodes_cpu: f64,
    memory: f64,
}

pub fn run(args: &[String]) -> Result<Vec<Measurement>> {
    let args = Args::try_parse_from(args).map_err(|error| anyhow!("{error}"))?;
    cargo::cargo(&["build", "--quiet", "--workspace", "--bin", "wright"])?;
    cargo::build_agent()?;
    let ours = twice(args.nodes, "wright", |nodes| {
        let mut command = vec![text(&cargo::wright()), "play".into(), "site.yml".into()];
        command.extend([
            "-i".into(),
            nodes.get("inventory")?,
            "--private-key".into(),
            nodes.get("key")?,
        ]);
        command.extend([
            "--known-hosts".into(),
            nodes.get("known_hosts")?,
            "--state-dir".into(),
        ]);
        command.push(format!("{}/state", nodes.get("folder")?));
        Ok(command)
    })?;
    let programs = python::environment("bench-tasks", PEERS).map_err(|error| format!("{error:#}"));
    let mut out = Vec::new();
    for name in ["ansible-core", "mitogen", "pyinfra"] {
        let figures = match (&programs, args.peers.iter().any(|peer| peer == name)) {
            (_, false) => Err("left out by --peers".to_owned()),
            (Err(why), true) => Err(why.clone()),
            (Ok(bin), true) => twice(args.nodes, name, |nodes| peer(name, bin, nodes))
                .map_err(|error| format!("{error:#}")),
        };
        for (at, run) in ["first run", "no change"].into_iter().enumerate() {
            let one = |what: &str, unit, figure: fn(&Figures) -> f64| {
                let theirs = figures.as_ref().map(|figures| figure(&figures[at]));
                Measurement::cost(format!("{run}, {what}, {name}"), figure(&ours[at]), unit)
                    .against(theirs.map_err(|why| anyhow!("{why}")))
            };
            out.push(one("wall", "s", |f| f.wall).headline());
            out.push(one("CPU on the control host", "s", |f| f.control_cpu));
            out.push(one("CPU on the nodes", "s", |f| f.nodes_cpu));
            out.push(one("memory of the control host", "MiB", |f| f.memory));
        }
    }
    Ok(out)
}

/// The command line of a peer, in the folder of the site.
fn peer(name: &str, bin: &Path, nodes: &Nodes) -> Result<Vec<String>> {
    let program = |name: &str| text(&bin.join(name));
    let folder = nodes.get("folder")?;
    if name == "pyinfra" {
        let hosts = nodes.hosts()?;
        let listed: Vec<String> = hosts
            .iter()
            .map(|(name, address)| format!("    ('{name}', {{'ssh_hostname': '{address}'}}),"))
            .collect();
        let inventory = nodes.scratch(
            "hosts.py",
            &format!("hosts = [\n{}\n]\n", listed.join("\n")),
        )?;
        let data = format!("ssh_known_hosts_file={}", nodes.get("known_hosts")?);
        let words = [
            &program("pyinfra"),
            "-y",
            "--parallel",
            "20",
            "--ssh-user",
            "root",
            "--ssh-key",
            &nodes.get("key")?,
            "--data",
            &data,
            "--data",
            "ssh_strict_host_key_checking=yes",
            &inventory,
            "deploy.py",
        ];
        return Ok(words.map(str::to_owned).into());
    }
    let mut settings = vec![
        "LC_ALL=C.UTF-8".to_owned(),
        "ANSIBLE_FORKS=20".into(),
        // A busy machine is no reason to give a node up.
        "ANSIBLE_TIMEOUT=300".into(),
        format!("ANSIBLE_HOME={folder}/ansible"),
        format!("ANSIBLE_SSH_CONTROL_PATH_DIR={folder}/cp"),
    ];
    if name == "mitogen" {
        let library = bin.parent().context("no environment")?.join("lib");
        let version = fs::read_dir(&library)?
            .flatten()
            .next()
            .context("no Python in the environment")?
            .path();
        let plugins = version.join("site-packages/ansible_mitogen/plugins/strategy");
        settings.push("ANSIBLE_STRATEGY=mitogen_linear".into());
        settings.push(format!("ANSIBLE_STRATEGY_PLUGINS={}", plugins.display()));
    }
    let mut command = vec!["env".to_owned()];
    command.extend(settings);
    command.extend([
        program("ansible-playbook"),
        "-i".into(),
        nodes.get("inventory")?,
        "site.yml".into(),
    ]);
    Ok(command)
}

/// Both runs on fresh nodes.
fn twice(
    count: u16,
    name: &str,
    command: impl Fn(&Nodes) -> Result<Vec<String>>,
) -> Result<[Figures; 2]> {
    let nodes = Nodes::start(count)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    eprintln!(
        "{name}: load average before: {}",
        load.split(' ').next().unwrap_or("unknown")
    );
    let command = command(&nodes)?;
    let measured = |run| {
        nodes
            .measure(&command)
            .with_context(|| format!("{name}, {run}"))
    };
    let both = [measured("first run")?, measured("no change")?];
    eprintln!("{name}: {:.2} s and {:.2} s", both[0].wall, both[1].wall);
    Ok(both)
}

/// Nodes that live as long as this value.
struct Nodes {
    child: Child,
    about: Json,
    group: Group,
}

impl Nodes {
    fn start(count: u16) -> Result<Self> {
        let mut child = Command::new("python3")
            .args(["tests/tasks/nodes.py", &count.to_string()])
            .current_dir(cargo::root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run `python3`")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let Ok(about) = serde_json::from_str(&line) else {
            bail!("the nodes did not start (as root, with the packages of `cargo xtask test`?)");
        };
        Ok(Nodes {
            child,
            about,
            group: Group::make()?,
        })
    }

    fn get(&self, key: &str) -> Result<String> {
        let found = self.about[key]
            .as_str()
            .with_context(|| format!("the nodes told no `{key}`"))?;
        Ok(found.to_owned())
    }

    /// Names and addresses.
    fn hosts(&self) -> Result<Vec<(String, String)>> {
        let listed = self.about["nodes"]
            .as_array()
            .context("the nodes told no addresses")?;
        let word = |node: &Json, key: &str| node[key].as_str().unwrap_or_default().to_owned();
        Ok(listed
            .iter()
            .map(|node| (word(node, "name"), word(node, "address")))
            .collect())
    }

    /// The process that holds the nodes: it alone is in their process namespace, too.
    fn inside(&self) -> Result<String> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let first = children.split_whitespace().next();
        Ok(first.context("the nodes' namespaces are gone")?.to_owned())
    }

    /// A file in the nodes' folder, which only they and what is measured see.
    fn scratch(&self, name: &str, text: &str) -> Result<String> {
        let folder = self.get("folder")?;
        let seen = PathBuf::from(format!("/proc/{}/root{folder}/{name}", self.child.id()));
        fs::write(&seen, text).with_context(|| format!("cannot write `{}`", seen.display()))?;
        Ok(format!("{folder}/{name}"))
    }

    /// Runs `command` where the nodes are reached, in the folder of the site.
    fn measure(&self, command: &[String]) -> Result<Figures> {
        let cpu = PathBuf::from(
            self.get("cpu")
                .context("this kernel has no `cpuacct` control groups")?,
        );
        let (nodes_before, control_before) = (cpu_seconds(&cpu)?, cpu_seconds(&self.group.0)?);
        let output = self.scratch("output", "")?;
        let seen = fs::File::create(format!("/proc/{}/root{output}", self.child.id()))?;
        let site = cargo::root().join("tests/tasks/site");
        let begun = Instant::now();
        let mut child = Command::new("sh")
            .args(["-c", "echo $$ >\"$0\"; exec \"$@\""])
            .arg(self.group.0.join("cgroup.procs"))
            .args([
                "nsenter",
                "--mount",
                "--net",
                "--pid",
                "--target",
                &self.inside()?,
            ])
            .arg(format!("--wd={}", text(&site)))
            .arg("--")
            .args(command)
            .env("WRIGHT_AGENT", cargo::agent())
            .stdin(Stdio::null())
            .stdout(seen.try_clone()?)
            .stderr(seen)
            .spawn()?;
        let ended = AtomicBool::new(false);
        let (status, wall, memory) = thread::scope(|scope| {
            let sampler = scope.spawn(|| {
                let mut most = 0.0_f64;
                while !ended.load(Ordering::Relaxed) {
                    most = most.max(self.group.memory());
                    thread::sleep(Duration::from_millis(50));
                }
                most
            });
            let status = child.wait();
            let wall = begun.elapsed().as_secs_f64();
            ended.store(true, Ordering::Relaxed);
            (status, wall, sampler.join().unwrap_or(0.0))
        });
        if !status?.success() {
            let said = fs::read_to_string(format!("/proc/{}/root{output}", self.child.id()))
                .unwrap_or_default();
            let tail: Vec<&str> = said.lines().rev().take(15).collect();
            bail!(
                "failed: {}",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        Ok(Figures {
            wall,
            control_cpu: cpu_seconds(&self.group.0)? - control_before,
            nodes_cpu: cpu_seconds(&cpu)? - nodes_before,
            memory,
        })
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // The end of its input is the sign to end.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A control group for what is measured: its CPU time and its processes, those that left their parent included.
struct Group(PathBuf);

impl Group {
    fn make() -> Result<Self> {
        let path = PathBuf::from(format!(
            "/sys/fs/cgroup/cpuacct/wright-bench-{}",
            std::process::id()
        ));
        fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        Ok(Group(path))
    }

    fn processes(&self) -> Vec<String> {
        let listed = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        listed.lines().map(str::to_owned).collect()
    }

    /// MiB of all its processes now, pages that several share counted once.
    fn memory(&self) -> f64 {
        let own = |pid: &String| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().trim_end_matches(" kB").parse::<f64>().ok()
        };
        self.processes().iter().filter_map(own).sum::<f64>() / 1024.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Connections that the peers keep open behind their own end.
        for _ in 0..50 {
            let left = self.processes();
            if !left.is_empty() {
                let _ = Command::new("kill").args(left).status();
            }
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn cpu_seconds(group: &Path) -> Result<f64> {
    let text = fs::read_to_string(group.join("cpuacct.usage"))
        .with_context(|| format!("cannot read the CPU time of `{}`", group.display()))?;
    Ok(text.trim().parse::<f64>()? / 1e9)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
