//! One emulated machine from a used disk to SSH, by `wright lab up` itself: killed again and again, with a damaged
//! image, without power, and by the ways into the installed system that the small lab does not take.
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// Where nothing at all is told for so long, somebody has to look; the product itself counts the machine's progress.
const SILENCE: Duration = Duration::from_secs(900);
/// Partition table and boot code lie here, and the agent writes them last.
const HEAD_BYTES: usize = 1 << 20;
const DISK_BYTES: u64 = 2 << 30;
const CACHE: &str = "/var/cache/wright";

/// The tests' machines are installed from the same image in the cache, and one of them damages it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A lab of one machine in an environment of its own; taken down at the end.
struct Lab {
    place: tempfile::TempDir,
    env: String,
}

/// `wright lab up` under way.
struct Up {
    child: Child,
    lines: Receiver<String>,
    told: Vec<String>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = self.wright(&["lab", "down", "--purge"]).output();
        if !down.is_ok_and(|output| output.status.success()) {
            eprintln!("the lab of `{}` was not taken down", self.env);
        }
    }
}

impl Lab {
    /// The machine's system has `kernel`, which is not the ramdisk's: a role's image may name one.
    fn new(env: &str, kernel: &str) -> Self {
        let lab = Self {
            place: tempfile::tempdir().unwrap(),
            env: format!("{env}{}", std::process::id() % 100_000),
        };
        let macs = "macs: {eth0: '52:54:00:b0:00:01', eth1: '52:54:00:b0:00:02', eth2: '52:54:00:b0:00:03'}";
        let machine = "lab: {memory_mib: 1024, cpus: 1, disk_gib: 2, firmware: bios}";
        lab.write(
            "inventory/hosts.yml",
            &format!("controller:\n  hosts:\n    node-1:\n      {macs}\n      {machine}\n"),
        );
        lab.write(
            "inventory/group_vars/all.yml",
            "nics: {eth0: [pxe], eth1: [mgmt], eth2: [app]}\nbmc: false\n",
        );
        lab.write(
            "inventory/networks.yml",
            "pxe: {cidr: 10.77.0.0/24, gateway: 10.77.0.1}\nmgmt: {cidr: 10.77.1.0/24}\napp: {cidr: 10.77.2.0/24}\n",
        );
        lab.write(
            "roles/site.yml",
            "- hosts: all\n  gather_facts: false\n  roles: [answer]\n",
        );
        lab.write("roles/answer/tasks/main.yml", "- name: Answer\n  ping:\n");
        lab.write(
            "roles/answer/meta/image.yml",
            &format!("packages: [{kernel}]\n"),
        );
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn wright(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wright"));
        command
            .args(["--env", &self.env, "--yes", "--output", "json"])
            .arg("--inventory")
            .arg(self.path("inventory"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .args(["--cache-dir", CACHE])
            .args(arguments)
            .current_dir(self.place.path())
            .stdin(Stdio::null());
        command
    }

    /// Begins `wright lab up`.
    fn up(&self, deploy: &[&str]) -> Up {
        let mut command = self.wright(&["lab", "up", "--", "--no-health"]);
        let mut child = command
            .args(deploy)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            // Whoever does not want more lines has dropped the receiver.
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Up {
            child,
            lines,
            told: Vec::new(),
        }
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.wright(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn ssh(&self, command: &str) -> String {
        self.run(&["lab", "ssh", "node-1", command])
    }

    fn disk(&self) -> PathBuf {
        self.path("state/machines/node-1/disk.img")
    }

    /// A disk full of somebody's data, with a volume group on it and nothing to boot.
    fn give_used_disk(&self) {
        fs::create_dir_all(self.disk().parent().unwrap()).unwrap();
        let mut disk = File::create(self.disk()).unwrap();
        for _ in 0..DISK_BYTES >> 20 {
            disk.write_all(&[0xff; 1 << 20]).unwrap();
        }
        disk.seek(SeekFrom::Start(512)).unwrap();
        disk.write_all(b"LABELONE").unwrap();
    }

    /// Whether the disk's head holds nothing that firmware or kernel would look at.
    fn has_blank_head(&self) -> bool {
        let mut head = vec![1; HEAD_BYTES];
        File::open(self.disk())
            .unwrap()
            .read_exact_at(&mut head, 0)
            .unwrap();
        head.iter().all(|byte| *byte == 0)
    }

    fn console(&self) -> String {
        let log = fs::read(self.path("state/consoles/node-1.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Emulators in this lab's namespace.
    fn emulators(&self) -> usize {
        let namespace = format!("wl-{}-net", self.env);
        let pids = Command::new("ip")
            .args(["netns", "pids", &namespace])
            .output()
            .unwrap();
        let pids = String::from_utf8_lossy(&pids.stdout).into_owned();
        pids.lines()
            .filter(|pid| {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.starts_with("qemu"))
            })
            .count()
    }
}

impl Up {
    /// Waits for a line that `is_it`; everything that was told until then is kept.
    fn wait_for(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) {
        loop {
            let Ok(line) = self.lines.recv_timeout(SILENCE) else {
                panic!("no {what}:\n{}", self.told.join("\n"));
            };
            let found = serde_json::from_str(&line).is_ok_and(|event| is_it(&event));
            self.told.push(line);
            if found {
                return;
            }
        }
    }

    /// Waits until so much of the image is on the disk.
    fn wait_for_written(&mut self, percent: u64) {
        self.wait_for("progress of the disk", |event| {
            let number = |name: &str| event[name].as_u64().unwrap_or(0);
            event["step"] == "write" && number("done") * 100 > number("total") * percent
        });
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Exit status and everything that was told.
    fn end(mut self) -> (i32, String) {
        while let Ok(line) = self.lines.recv_timeout(SILENCE) {
            self.told.push(line);
        }
        let status = self.child.wait().unwrap();
        (status.code().unwrap_or(-1), self.told.join("\n"))
    }

    fn succeeds(self) -> String {
        let (status, told) = self.end();
        assert_eq!(status, 0, "{told}");
        told
    }
}

/// A cloud kernel of Debian's that is not the newest; `None`, with the reason told, when this cannot run here.
fn another_kernel() -> Option<String> {
    if std::env::var_os("WRIGHT_TEST_FULL").is_none() {
        println!("skipped: minutes of emulated machines; `cargo xtask test --full` runs it");
        return None;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: network namespaces and images of Debian need root");
        return None;
    }
    if !std::env::var_os("WRIGHT_AGENT").is_some_and(|path| Path::new(&path).is_file()) {
        println!("skipped: WRIGHT_AGENT names no static agent (`cargo xtask test` builds it)");
        return None;
    }
    for program in ["qemu-system-x86_64", "mmdebstrap", "ipmi_sim", "apt-cache"] {
        if Command::new("which")
            .arg(program)
            .output()
            .is_ok_and(|found| !found.status.success())
        {
            println!("skipped: `{program}` is missing");
            return None;
        }
    }
    let found = Command::new("apt-cache")
        .args(["search", "--names-only"])
        .arg("^linux-image-6.1.0-[0-9]+-cloud-amd64$")
        .output()
        .unwrap();
    let mut kernels: Vec<String> = String::from_utf8_lossy(&found.stdout)
        .lines()
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect();
    kernels.sort();
    kernels.pop();
    let kernel = kernels.pop();
    if kernel.is_none() {
        println!("skipped: apt offers only one cloud kernel");
    }
    kernel
}

/// Flips a bit in the image of this lab's machine; returns where it lies and a copy of it as it was.
fn damage_image(lab: &Lab) -> (PathBuf, PathBuf) {
    let built: Value =
        serde_json::from_str(&lab.run(&["build", "node-image", "--playbook", "roles/site.yml"]))
            .unwrap();
    let image = PathBuf::from(built["images"][0]["disk_image"].as_str().unwrap());
    let folder = image.parent().unwrap().to_owned();
    let whole = lab.path("whole");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&folder)
        .arg(&whole)
        .status();
    assert!(copied.unwrap().success());
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 5000).unwrap();
    file.write_all_at(&[byte[0] ^ 4], 5000).unwrap();
    (folder, whole)
}

#[test]
fn whatever_happens_a_machine_is_installed_once_and_never_half() {
    let Some(kernel) = another_kernel() else {
        return;
    };
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new("k", &kernel);
    lab.give_used_disk();

    // The image was damaged after it was built.
    let (folder, whole) = damage_image(&lab);
    let (status, told) = lab.up(&[]).end();
    assert_eq!(status, 1, "{told}");
    for part in [
        "verify: the image has SHA-256",
        "was damaged in the cache and is removed",
        "| wright-agent: ",
        "node-1.console",
    ] {
        let failures = lab.path("state/failures");
        let kept: Vec<String> = fs::read_dir(failures)
            .unwrap()
            .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        assert!(
            told.contains(part) || kept.iter().any(|name| name == part),
            "`{part}` is neither told nor kept: {kept:?}\n{told}"
        );
    }
    assert!(told.contains("state/failures/"), "{told}");
    assert!(lab.has_blank_head() && !folder.exists());
    let back = Command::new("mv").arg(&whole).arg(&folder).status();
    assert!(back.unwrap().success());

    // Killed as soon as there is a machine, and again while it writes its disk.
    let mut up = lab.up(&[]);
    up.wait_for("machine", |event| {
        event["message"]
            .as_str()
            .is_some_and(|text| text.contains("machines are on"))
    });
    up.kill();
    let mut up = lab.up(&[]);
    up.wait_for_written(20);
    up.kill();
    assert_eq!(lab.emulators(), 1);
    assert!(lab.has_blank_head());

    // Its power fails while it writes.
    let mut up = lab.up(&[]);
    up.wait_for_written(50);
    lab.run(&["lab", "power", "node-1", "off"]);
    assert!(lab.has_blank_head(), "half an image could be booted from");
    lab.run(&["lab", "power", "node-1", "on"]);
    let told = up.succeeds();
    assert!(told.contains("\"step\":\"commit\""), "{told}");

    let release = kernel.trim_start_matches("linux-image-");
    assert_eq!(lab.ssh("uname -r"), release);
    let console = lab.console();
    assert!(console.contains("next kexec"), "{console}");
    assert_eq!(console.matches(" commit ").count(), 1, "{console}");
    let told = lab.up(&[]).succeeds();
    assert!(
        !told.contains("\"event\":\"state\""),
        "it was installed again: {told}"
    );
    assert_eq!(lab.emulators(), 1);
}

#[test]
fn a_kernel_that_may_not_be_loaded_is_reached_by_a_restart() {
    let Some(kernel) = another_kernel() else {
        return;
    };
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new("r", &kernel);
    // As on machines that are hardened: then kexec is refused.
    lab.up(&["--kernel-argument", "sysctl.kernel.kexec_load_disabled=1"])
        .succeeds();
    assert_eq!(
        lab.ssh("uname -r"),
        kernel.trim_start_matches("linux-image-")
    );
    assert!(
        lab.ssh("cat /proc/cmdline").contains("vmlinuz"),
        "GRUB names the file that it boots"
    );
    let console = lab.console();
    for words in ["it restarts instead", "next reboot"] {
        assert!(console.contains(words), "{console}");
    }
    assert_eq!(console.matches(" commit ").count(), 1, "{console}");
    let partition = lab.ssh("df --output=size -k / | tail -1");
    let kib: u64 = partition.trim().parse().unwrap();
    assert!(
        kib > 1_800_000,
        "the root file system was not grown: {kib} KiB"
    );
}
