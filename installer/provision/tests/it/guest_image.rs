//! The guest image boots, takes its name and keys from a config drive, and runs its user data.
use provision::image::{Builder, ImageError};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A guest needs about 6; one that used this much and is not done hangs.
const CPU_SECONDS_MAX: f64 = 90.0;
/// Where nothing gets any CPU, somebody has to look.
const WALL_SECONDS_MAX: u64 = 900;

const META_DATA: &str =
    r#"{"hostname": "demo-1.example", "public_keys": {"mine": "ssh-ed25519 AAAAKEY me\n"}}"#;
const USER_DATA: &str =
    "#!/bin/sh\necho name=$(hostname) key=$(cut -d' ' -f2 /root/.ssh/authorized_keys)\nexit 3\n";

/// The emulator, ended with the test.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guest {
    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |field: usize| {
            fields
                .get(field - 3)
                .and_then(|f| f.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        (ticks(14) + ticks(15)) / 100.0
    }
}

fn config_drive(folder: &Path) -> PathBuf {
    let latest = folder.join("drive/openstack/latest");
    fs::create_dir_all(&latest).unwrap();
    fs::write(latest.join("meta_data.json"), META_DATA).unwrap();
    fs::write(latest.join("user_data"), USER_DATA).unwrap();
    let iso = folder.join("config.iso");
    let mut genisoimage = Command::new("genisoimage");
    genisoimage
        .args(["-quiet", "-r", "-J", "-V", "config-2", "-o"])
        .arg(&iso)
        .arg(folder.join("drive"));
    assert!(genisoimage.status().unwrap().success());
    iso
}

#[test]
fn a_guest_does_what_its_config_drive_says() {
    for program in ["genisoimage", "qemu-system-x86_64"] {
        if Command::new(program).arg("--version").output().is_err() {
            return eprintln!("skipped: `{program}` is missing");
        }
    }
    let builder = match Builder::new(Path::new("/var/cache/wright"), &|line| eprintln!("{line}")) {
        Ok(builder) => builder,
        Err(
            error @ (ImageError::NotRoot
            | ImageError::MissingTools(_)
            | ImageError::NoSource { .. }),
        ) => {
            return eprintln!("skipped: {error}");
        }
        Err(error) => panic!("{error}"),
    };
    let image = builder.guest_image().unwrap();
    assert!(fs::metadata(&image).unwrap().len() <= 40 << 20);

    let folder = tempfile::tempdir().unwrap();
    let console = folder.path().join("console");
    let drive = |file: &Path, more: &str| format!("if=virtio,file={}{more}", file.display());
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-accel",
        "tcg,tb-size=64",
        "-cpu",
        "qemu64",
        "-m",
        "192",
        "-display",
        "none",
    ]);
    qemu.args([
        "-no-user-config",
        "-nodefaults",
        "-device",
        "virtio-rng-pci",
    ]);
    // A network inside of the emulator, without a way out.
    qemu.args(["-nic", "user,model=virtio-net-pci,restrict=on"]);
    qemu.arg("-serial")
        .arg(format!("file:{}", console.display()));
    qemu.arg("-drive")
        .arg(drive(&image, ",format=qcow2,snapshot=on"));
    qemu.arg("-drive").arg(drive(
        &config_drive(folder.path()),
        ",format=raw,readonly=on",
    ));
    let guest = Guest(qemu.stdin(Stdio::null()).spawn().unwrap());

    let begun = Instant::now();
    let mut said = String::new();
    while !said.contains("user data ended with status") {
        assert!(
            guest.cpu_seconds() < CPU_SECONDS_MAX && begun.elapsed().as_secs() < WALL_SECONDS_MAX,
            "the guest did not get there; its console:\n{said}"
        );
        std::thread::sleep(Duration::from_millis(100));
        said = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
    }
    eprintln!("guest done after {:.1} CPU seconds", guest.cpu_seconds());
    for wanted in [
        "config drive on /dev/vdb",
        "login ready",
        "name=demo-1.example key=AAAAKEY",
        "ended with status 3",
    ] {
        assert!(said.contains(wanted), "`{wanted}` is not in:\n{said}");
    }
}
