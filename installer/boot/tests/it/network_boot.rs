//! Emulated machines boot from the network, from power-on to a ramdisk that tells what it got: one through the
//! iPXE of its NIC, one through UEFI's own PXE and TFTP.
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use boot::policy::Fetched;
use boot::{BootServer, Observed};
use cpio::newc::{Builder, ModeFileType, trailer};

use crate::namespace::{MAC, Recorder, TOKEN, config, in_namespace, ip, runtime};

const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox echo \"ramdisk: arguments $(/bin/busybox cat /proc/cmdline)\"
/bin/busybox echo \"ramdisk: token $(/bin/busybox cat /etc/wright/token) $(/bin/busybox stat -c %a /etc/wright/token)\"
/bin/busybox poweroff -f
";
/// Without a new line on the console: so many CPU seconds of the emulator, or so long without either.
const STALL_CPU_SECONDS: u64 = 90;
const STALL_WALL: Duration = Duration::from_secs(600);

#[test]
fn a_machine_whose_nic_has_ipxe_reaches_the_ramdisk() {
    network_boot("bios", &["-machine", "pc"], |_| Vec::new(), "");
}

#[test]
fn a_machine_with_plain_uefi_reaches_the_ramdisk_through_tftp() {
    let firmware = |folder: &Path| {
        let variables = folder.join("vars.fd");
        fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
        vec![
            "-drive".into(),
            "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd".into(),
            "-drive".into(),
            format!("if=pflash,format=raw,file={}", variables.display()),
        ]
    };
    // An empty option ROM: the firmware's own network stack must do it.
    network_boot("uefi", &["-machine", "q35"], firmware, ",romfile=");
}

fn network_boot(
    name: &'static str,
    machine: &'static [&'static str],
    firmware: impl FnOnce(&Path) -> Vec<String> + Send + 'static,
    nic: &'static str,
) {
    if let Some(missing) = missing() {
        println!("skipped: {missing}");
        return;
    }
    // Fetched out here: the namespace has no way to a package mirror.
    let kernel = kernel();
    in_namespace(move || {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::copy(kernel, folder.join("kernel")).unwrap();
        fs::write(folder.join("ramdisk"), ramdisk()).unwrap();
        ip("link add br0 type bridge");
        ip("address add 10.20.0.1/24 dev br0");
        ip("link set br0 up");
        ip("tuntap add tap0 mode tap");
        ip("link set tap0 master br0");
        ip("link set tap0 up");

        let recorder = Arc::new(Recorder::new());
        let runtime = runtime();
        let config = config("br0", "10.20.0.1", "10.20.0.11", folder);
        let server = runtime
            .block_on(async { BootServer::start(config, recorder.clone(), axum::Router::new()) });
        let server = server.unwrap();

        let console = folder.join("console");
        let mut emulator = Command::new("qemu-system-x86_64");
        emulator
            .args([
                "-accel",
                "tcg,tb-size=64",
                "-cpu",
                "qemu64",
                "-m",
                "512",
                "-display",
                "none",
            ])
            .args([
                "-no-user-config",
                "-nodefaults",
                "-no-reboot",
                "-device",
                "virtio-rng-pci",
            ])
            .args(["-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no"])
            .args([
                "-device",
                &format!("virtio-net-pci,netdev=n0,mac={MAC},bootindex=1{nic}"),
            ])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(machine)
            .args(firmware(folder))
            .stdin(Stdio::null());
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
        unsafe {
            // Should the test be killed, the machine goes with it.
            emulator.pre_exec(|| {
                Ok(nix::sys::prctl::set_pdeathsig(
                    nix::sys::signal::Signal::SIGKILL,
                )?)
            });
        }
        let mut emulator = Emulator(emulator.spawn().unwrap());
        let started = Instant::now();
        let cpu = runtime.block_on(emulator.run(&console));
        runtime.block_on(server.stop());

        let text = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
        println!(
            "{name}: {:.1} s to the ramdisk, {cpu} CPU s",
            started.elapsed().as_secs_f32()
        );
        let tail: String = text
            .chars()
            .skip(text.chars().count().saturating_sub(3000))
            .collect();
        assert!(
            text.contains(&format!("ramdisk: token {TOKEN} 600")),
            "the console ended with:\n{tail}"
        );
        for argument in [
            &format!("wright.mac={MAC}"),
            "wright.address=10.20.0.11/24",
            "wright.server=http://10.20.0.1:7080",
        ] {
            assert!(text.contains(argument), "{argument} is missing:\n{tail}");
        }
        assert!(!text.contains(&format!("wright.token={TOKEN}")));
        let seen = recorder.seen.lock().unwrap();
        let fetched: Vec<Fetched> = seen
            .iter()
            .filter_map(|seen| match seen {
                Observed::Http { what, .. } => Some(*what),
                _ => None,
            })
            .collect();
        assert_eq!(
            fetched,
            [
                Fetched::Script,
                Fetched::Kernel,
                Fetched::Token,
                Fetched::Ramdisk
            ]
        );
        assert!(
            seen.iter()
                .any(|seen| matches!(seen, Observed::Dhcp { .. }))
        );
    });
}

/// Killed when dropped.
struct Emulator(Child);

impl Emulator {
    /// Until it powers off; its CPU seconds. Panics when it makes no progress.
    async fn run(&mut self, console: &Path) -> u64 {
        let mut last = 0;
        let (mut length, mut cpu, mut at) = (0, 0, Instant::now());
        while self.0.try_wait().unwrap().is_none() {
            let now = fs::metadata(console).map_or(0, |file| file.len());
            if now > length {
                (length, cpu, at) = (now, self.cpu_seconds(), Instant::now());
            }
            last = self.cpu_seconds().max(last);
            let used = last.saturating_sub(cpu);
            if used > STALL_CPU_SECONDS || at.elapsed() > STALL_WALL {
                let text = fs::read(console).unwrap_or_default();
                panic!(
                    "no progress for {used} CPU s:\n{}",
                    String::from_utf8_lossy(&text)
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        last
    }

    fn cpu_seconds(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks: u64 = fields
            .iter()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        ticks / 100
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn missing() -> Option<&'static str> {
    let needs = [
        (
            "/usr/bin/qemu-system-x86_64",
            "the Debian package 'qemu-system-x86' is missing",
        ),
        (
            "/usr/lib/ipxe/ipxe.efi",
            "the Debian package 'ipxe' is missing",
        ),
        (
            "/usr/lib/ipxe/qemu/pxe-virtio.rom",
            "the Debian package 'ipxe-qemu' is missing",
        ),
        (
            "/usr/share/OVMF/OVMF_CODE_4M.fd",
            "the Debian package 'ovmf' is missing",
        ),
        (
            "/bin/busybox",
            "the Debian package 'busybox-static' is missing",
        ),
        ("/dev/net/tun", "/dev/net/tun is missing"),
    ];
    needs
        .iter()
        .find(|(path, _)| !Path::new(path).exists())
        .map(|(_, told)| *told)
}

/// Debian's cloud kernel, unpacked once into the user's cache.
fn kernel() -> PathBuf {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let home = std::env::var_os("HOME").unwrap();
    let cache = Path::new(&home).join(".cache/stackwright/test-kernel");
    let kernel = cache.join("vmlinuz");
    if kernel.exists() {
        return kernel;
    }
    let scratch = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(scratch.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let depends = run(
        "apt-cache",
        &["depends", "--important", "linux-image-cloud-amd64"],
    );
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .unwrap()
        .to_owned();
    run("apt-get", &["download", "-q", &package]);
    let package = fs::read_dir(scratch.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    run("dpkg-deb", &["-x", package.to_str().unwrap(), "unpacked"]);
    let found = fs::read_dir(scratch.path().join("unpacked/boot"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .unwrap();
    fs::create_dir_all(&cache).unwrap();
    let beside = cache.join("vmlinuz.new");
    fs::copy(found, &beside).unwrap();
    fs::rename(&beside, &kernel).unwrap();
    kernel
}

/// Busybox and a script.
fn ramdisk() -> Vec<u8> {
    let mut archive = Vec::new();
    for folder in ["bin", "proc"] {
        Builder::new(folder)
            .mode(0o755)
            .set_mode_file_type(ModeFileType::Directory)
            .write(&mut archive, 0)
            .finish()
            .unwrap();
    }
    let busybox = fs::read("/bin/busybox").unwrap();
    for (name, content) in [("bin/busybox", &busybox[..]), ("init", INIT.as_bytes())] {
        let mut file = Builder::new(name)
            .mode(0o755)
            .set_mode_file_type(ModeFileType::Regular)
            .write(&mut archive, content.len() as u32);
        file.write_all(content).unwrap();
        file.finish().unwrap();
    }
    trailer(&mut archive).unwrap();
    archive
}
