//! A real libvirtd as a child in its own mount and network namespaces boots a guest through the driver: from a disk
//! image with a boot sector that speaks on the serial port. Emulated; needs root, libvirtd and QEMU.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use compute::hypervisor::domain_xml::{VirtType, Wiring};
use compute::hypervisor::libvirt::{LibvirtDriver, LibvirtSettings, probe::probe_disk};
use compute::hypervisor::{
    GuestSpec, Hypervisor, HypervisorError, ImageRef, ImageSource, PowerAction, PowerState,
};
use sha2::{Digest, Sha512};
use uuid::Uuid;

struct Probe;

#[async_trait]
impl ImageSource for Probe {
    async fn download(&self, _: &str, target: &Path) -> Result<(), HypervisorError> {
        std::fs::write(target, probe_disk()).expect("written");
        Ok(())
    }
}

/// The daemon; it and its guests end with the process group.
struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn script(folder: &Path) -> String {
        let d = folder.display();
        format!(
            "mount --make-rprivate / && ip link set lo up && \
             mount --bind {d}/run /run && mount --bind {d}/lib /var/lib/libvirt && mount --bind {d}/etc /etc/libvirt && \
             mount --bind {d}/log /var/log/libvirt && mount --bind {d}/cache /var/cache/libvirt && exec libvirtd"
        )
    }

    fn spawn(folder: &Path) -> Child {
        // A process group of its own, so that the guests (children of the daemon) can be ended with it.
        Command::new("unshare")
            .args(["-m", "-n", "--uts", "bash", "-c", &Self::script(folder)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("libvirtd.log")).expect("a log"))
            .process_group(0)
            .spawn()
            .expect("unshare starts")
    }

    fn start() -> Result<Daemon, String> {
        // SAFETY: reads the process's user id, nothing else.
        if unsafe { libc::geteuid() } != 0 {
            return Err("not root".into());
        }
        for program in ["libvirtd", "qemu-system-x86_64", "qemu-img", "unshare"] {
            let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(program).exists());
            if !found {
                return Err(format!(
                    "{program} is not installed (packages libvirt-daemon-system, qemu-system-x86, qemu-utils)"
                ));
            }
        }
        let folder = tempfile::Builder::new()
            .prefix("wright-libvirt-")
            .tempdir_in("/tmp")
            .map_err(|e| e.to_string())?;
        for name in [
            "run",
            "lib",
            "lib/qemu",
            "etc",
            "log",
            "log/qemu",
            "cache",
            "instances",
        ] {
            std::fs::create_dir_all(folder.path().join(name)).map_err(|e| e.to_string())?;
        }
        let etc = folder.path().join("etc");
        let qemu = "user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\nremember_owner = 0\nsecurity_driver = \"none\"\n\
                    cgroup_controllers = [ ]\nnamespaces = [ ]\nstdio_handler = \"file\"\n";
        let daemon = format!(
            "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nunix_sock_dir = \"{}/sock\"\nhost_uuid = \"{}\"\n",
            folder.path().display(),
            Uuid::new_v4()
        );
        std::fs::create_dir_all(folder.path().join("sock")).map_err(|e| e.to_string())?;
        std::fs::write(etc.join("qemu.conf"), qemu).map_err(|e| e.to_string())?;
        std::fs::write(etc.join("libvirtd.conf"), daemon).map_err(|e| e.to_string())?;
        Ok(Daemon {
            child: Self::spawn(folder.path()),
            folder,
        })
    }

    fn uri(&self) -> String {
        format!(
            "qemu+unix:///system?socket={}/sock/libvirt-sock",
            self.folder.path().display()
        )
    }

    /// The daemon is killed and started again; guests must not notice.
    fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let pid = self.folder.path().join("run/libvirtd.pid");
        let _ = std::fs::remove_file(pid);
        self.child = Self::spawn(self.folder.path());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("libvirtd.log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Guests first: their process ids are in files that libvirt keeps.
        for entry in std::fs::read_dir(self.folder.path().join("run/libvirt/qemu"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "pid")
                && let Some(pid) = std::fs::read_to_string(&path)
                    .ok()
                    .and_then(|text| text.trim().parse::<i32>().ok())
            {
                // SAFETY: sends a signal to a guest that this test started.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(daemon: &Daemon) -> LibvirtSettings {
    LibvirtSettings {
        uri: daemon.uri(),
        instances: daemon.folder.path().join("instances"),
        virt_type: Some(VirtType::Qemu),
        machine: "pc".into(),
        cpu: None,
        vnc_listen: Some("127.0.0.1".into()),
        wiring: Wiring::Bridge("br0".into()),
        shutdown_timeout: Duration::from_secs(1),
        call_timeout: Duration::from_secs(60),
    }
}

fn spec() -> GuestSpec {
    let disk = probe_disk();
    GuestSpec {
        id: Uuid::new_v4(),
        domain_name: "instance-00000001".into(),
        display_name: "tiny".into(),
        hostname: "tiny".into(),
        project_id: "p".into(),
        user_id: "u".into(),
        vcpus: 1,
        memory_mib: 64,
        root_gib: 1,
        flavor_name: "tiny".into(),
        image: Some(ImageRef {
            id: "probe".into(),
            disk_format: "raw".into(),
            size: Some(disk.len() as u64),
            sha512: Some(hex::encode(Sha512::digest(&disk))),
            md5: None,
        }),
        kernel: None,
        ramdisk: None,
        command_line: None,
        interfaces: vec![],
        metadata: Default::default(),
        keys: vec![],
        user_data: None,
        availability_zone: "nova".into(),
        launch_index: 0,
        security_groups: vec![],
    }
}

/// How often the guest has booted so far, once that is at least `times`.
async fn until_booted(driver: &LibvirtDriver, id: Uuid, times: usize) {
    for _ in 0..600 {
        let text = driver.console_output(id, None).await.expect("a console");
        if text.matches("wright-probe").count() >= times {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "the guest did not boot {times} times: {:?}",
        driver.console_output(id, None).await
    );
}

async fn until_up(driver: &LibvirtDriver, daemon: &mut Daemon) {
    for _ in 0..600 {
        if driver.list().await.is_ok() {
            return;
        }
        if let Ok(Some(status)) = daemon.child.try_wait() {
            panic!("libvirtd ended with {status}: {}", daemon.log());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!(
        "libvirtd never answered: {:?} {}",
        driver.list().await,
        daemon.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_boots_stops_and_is_gone() {
    let mut daemon = match Daemon::start() {
        Ok(daemon) => daemon,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    let driver = LibvirtDriver::new(settings(&daemon));
    until_up(&driver, &mut daemon).await;
    let capacity = driver.capacity().await.expect("a capacity");
    assert!(
        capacity.vcpus > 0 && capacity.memory_mib > 0 && capacity.hypervisor_type == "QEMU",
        "{capacity:?}"
    );

    let spec = spec();
    driver.spawn(&spec, &Probe).await.expect("the guest starts");
    driver
        .spawn(&spec, &Probe)
        .await
        .expect("again changes nothing");
    until_booted(&driver, spec.id, 1).await;
    assert_eq!(
        driver.power_state(spec.id).await.expect("a state"),
        Some(PowerState::Running)
    );

    assert_eq!(
        driver
            .power(&spec, PowerAction::Pause)
            .await
            .expect("paused"),
        PowerState::Paused
    );
    assert_eq!(
        driver
            .power(&spec, PowerAction::Unpause)
            .await
            .expect("unpaused"),
        PowerState::Running
    );
    let copy = driver.snapshot(spec.id).await.expect("a snapshot");
    assert!(std::fs::metadata(&copy).is_ok_and(|meta| meta.len() > 0));

    // The guest lives on while the daemon is away; the driver finds it again by itself.
    daemon.restart();
    until_up(&driver, &mut daemon).await;
    assert_eq!(
        driver.power_state(spec.id).await.expect("a state"),
        Some(PowerState::Running)
    );

    assert_eq!(
        driver
            .power(&spec, PowerAction::Stop)
            .await
            .expect("stopped"),
        PowerState::Shutdown
    );
    assert_eq!(
        driver
            .power(&spec, PowerAction::Start)
            .await
            .expect("started"),
        PowerState::Running
    );
    until_booted(&driver, spec.id, 2).await;
    assert_eq!(
        driver
            .power(&spec, PowerAction::HardReboot)
            .await
            .expect("rebooted"),
        PowerState::Running
    );
    until_booted(&driver, spec.id, 3).await;
    assert_eq!(driver.list().await.expect("a list").len(), 1);

    driver.destroy(spec.id).await.expect("destroyed");
    driver.destroy(spec.id).await.expect("again is no error");
    assert_eq!(driver.power_state(spec.id).await.expect("an answer"), None);
    assert!(
        !daemon
            .folder
            .path()
            .join("instances")
            .join(spec.id.to_string())
            .exists()
    );
}
