//! From power-on to SSH: blank emulated machines that `wright lab up` installs, in CPU seconds of their emulators
//! and by the wall; and the building of their image. The machines have no roles, so that nothing else is measured.
//!
//! CPU seconds are what to compare: they do not depend on who else has the processor.
use super::Measurement;
use crate::cargo;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const NODES: &[u8] = &[1, 2, 5];
/// What every machine has; a node without roles needs less.
const MEMORY_MIB: u32 = 1024;
const POLL: Duration = Duration::from_millis(500);
/// An emulator that used this much and offers no SSH has a fault that is not to be measured.
const CPU_SECONDS_MAX: f64 = 400.0;

/// `--nodes 1,2` instead of 1, 2 and 5; `--cold` builds the image from nothing first, with the packages from their
/// source, into a cache of its own.
pub fn run(args: &[String]) -> Result<Vec<Measurement>> {
    let mut nodes = NODES.to_vec();
    let mut is_cold = false;
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--cold" => is_cold = true,
            "--nodes" => {
                let list = words.next().context("`--nodes` wants numbers: 1,2")?;
                nodes = list
                    .split(',')
                    .map(|number| {
                        number
                            .parse()
                            .with_context(|| format!("`{number}` is no number"))
                    })
                    .collect::<Result<_>>()?;
            }
            other => bail!("`{other}` is unknown: `--nodes 1,2` and `--cold` are not"),
        }
    }
    cargo::cargo(&["build", "--quiet", "--package", "wright"])?;
    cargo::build_agent()?;
    let place = Place::new()?;
    let mut results = Vec::new();
    if is_cold {
        results.push(image(
            &place,
            "image, cold",
            Some(&place.folder.join("cache")),
        )?);
    } else {
        // Whatever is missing is built now and not measured.
        image(&place, "", None)?;
    }
    results.push(image(&place, "image, cached", None)?);
    for count in nodes {
        let boot = Boot::measure(&place, count)?;
        let name = |what: &str| format!("power-on to SSH, {count} nodes: {what}");
        results.push(Measurement::cost(name("CPU"), boot.cpu_seconds, "s a node").headline());
        results.push(Measurement::cost(name("wall"), boot.wall_seconds, "s").headline());
    }
    Ok(results)
}

/// Seconds that the image takes; in `cache` if one is given, else in the usual one.
fn image(place: &Place, name: &str, cache: Option<&Path>) -> Result<Measurement> {
    place.write_inventory(1)?;
    let mut command = place.wright();
    if let Some(cache) = cache {
        command.arg("--cache-dir").arg(cache);
    }
    command.args(["build", "node-image", "--playbook", "roles/site.yml"]);
    let begun = Instant::now();
    cargo::check(command.stdout(Stdio::null()))?;
    Ok(Measurement::cost(name, begun.elapsed().as_secs_f64(), "s"))
}

/// A folder with inventory, roles and state of its own; the lab in it is taken down at the end.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("wright-bench-boot.{}", std::process::id()));
        let place = Self { folder };
        place.write(
            "inventory/group_vars/all.yml",
            "nics: {eth0: [pxe], eth1: [mgmt], eth2: [app]}\nbmc: false\n",
        )?;
        place.write(
            "inventory/networks.yml",
            "pxe: {cidr: 10.78.0.0/24, gateway: 10.78.0.1}\nmgmt: {cidr: 10.78.1.0/24, gateway: 10.78.1.1}\napp: {cidr: 10.78.2.0/24}\n",
        )?;
        place.write(
            "roles/site.yml",
            "- hosts: all\n  gather_facts: false\n  roles: [none]\n",
        )?;
        place.write("roles/none/tasks/main.yml", "- name: Answer\n  ping:\n")?;
        Ok(place)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn write_inventory(&self, nodes: u8) -> Result<()> {
        let mut text = "controller:\n  hosts:\n".to_owned();
        for node in 1..=nodes {
            text += &format!(
                "    node-{node}:\n      macs: {{eth0: '52:54:00:b1:{node:02x}:00', eth1: '52:54:00:b1:{node:02x}:01', eth2: '52:54:00:b1:{node:02x}:02'}}\n      \
                 lab: {{memory_mib: {MEMORY_MIB}, cpus: 1, disk_gib: 4, firmware: bios}}\n"
            );
        }
        self.write("inventory/hosts.yml", &text)
    }

    fn wright(&self) -> Command {
        let mut command = Command::new(cargo::wright());
        command
            .args(["--env", "bench", "--yes", "--output", "json", "--inventory"])
            .arg(self.folder.join("inventory"))
            .arg("--state-dir")
            .arg(self.folder.join("state"))
            .env("WRIGHT_AGENT", cargo::agent())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn down(&self) -> Result<()> {
        let mut down = self.wright();
        cargo::check(down.args(["lab", "down", "--purge"]).stdout(Stdio::null()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.folder.join("state").exists()
            && let Err(error) = self.down()
        {
            eprintln!("the lab was not taken down: {error:#}");
            return;
        }
        // A temporary folder that stays is no fault of the figures.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What it took until every machine offered SSH.
struct Boot {
    cpu_seconds: f64,
    wall_seconds: f64,
}

impl Boot {
    /// Turns on `count` blank machines, and looks at each until it says `SSH-2.0`.
    fn measure(place: &Place, count: u8) -> Result<Self> {
        place.write_inventory(count)?;
        let mut up = Up(place
            .wright()
            .args([
                "lab",
                "up",
                "--playbook",
                "roles/site.yml",
                "--",
                "--no-health",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run `wright lab up`")?);
        let begun = up.wait_until_on()?;
        let mut waiting = emulators(place)?;
        ensure!(
            waiting.len() == usize::from(count),
            "{count} machines should be on"
        );
        let mut spent = Vec::new();
        while !waiting.is_empty() {
            thread::sleep(POLL);
            let mut rest = Vec::new();
            for (address, pid) in waiting {
                let cpu = cpu_seconds(pid).context("an emulator ended")?;
                ensure!(
                    cpu < CPU_SECONDS_MAX,
                    "{address} used {cpu:.0} CPU s and offers no SSH"
                );
                if offers_ssh(&address) {
                    spent.push(cpu);
                } else {
                    rest.push((address, pid));
                }
            }
            waiting = rest;
        }
        let wall_seconds = begun.elapsed().as_secs_f64();
        let status = up.0.wait().context("`wright lab up`")?;
        ensure!(status.success(), "`wright lab up` ended with {status}");
        place.down()?;
        Ok(Self {
            cpu_seconds: spent.iter().sum::<f64>() / f64::from(count),
            wall_seconds,
        })
    }
}

/// `wright lab up` under way; ended when a measurement fails.
struct Up(Child);

impl Up {
    /// Waits until the machines are on; when that was. What is told later is read and forgotten.
    fn wait_until_on(&mut self) -> Result<Instant> {
        let told = self.0.stderr.take().context("no output")?;
        let mut lines = BufReader::new(told).lines();
        let mut last = String::new();
        for line in lines.by_ref() {
            last = line?;
            if last.contains("machines are on") {
                let begun = Instant::now();
                thread::spawn(move || lines.count());
                return Ok(begun);
            }
        }
        bail!("`wright lab up` turned on no machines: {last}")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Address on `mgmt` and process of each machine.
fn emulators(place: &Place) -> Result<Vec<(String, u64)>> {
    let output = place.wright().args(["lab", "status"]).output()?;
    let status: Json = serde_json::from_slice(&output.stdout).context("`wright lab status`")?;
    let machines = status["machines"].as_array().context("no machines")?;
    machines
        .iter()
        .map(|machine| {
            let address = machine["address"]
                .as_str()
                .context("a machine without an address")?;
            let pid = machine["pid"].as_u64().context("a machine that is off")?;
            Ok((address.to_owned(), pid))
        })
        .collect()
}

/// Whether the machine greets as SSH servers do. By the shell in the lab's namespace: it is one connection.
fn offers_ssh(address: &str) -> bool {
    let look = format!("exec 3<>/dev/tcp/{address}/22 && head -c 7 <&3");
    Command::new("nsenter")
        .args([
            "--net=/run/netns/wl-bench-net",
            "timeout",
            "5",
            "bash",
            "-c",
            &look,
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout == b"SSH-2.0")
}

/// proc(5): user and system time, in hundredths of a second. The program's name before them may hold blanks.
fn cpu_seconds(pid: u64) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    Some((ticks(14)? + ticks(15)?) / 100.0)
}
