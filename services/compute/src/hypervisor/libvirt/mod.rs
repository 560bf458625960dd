//! The libvirt driver: guests as domains of `qemu:///system`. Disks, config drive and console log of a guest lie in a
//! folder of its own; the definition in libvirt is the record of what exists here. Knows no API and no database.

pub mod ffi;
pub mod pool;
pub mod probe;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::OnceCell;
use uuid::Uuid;

use self::ffi::{Connection, DomainState, LibvirtError};
use self::pool::Pool;
use super::domain_xml::{DomainOptions, VirtType, Wiring, domain_xml, interface_xml};
use super::image_cache::{ImageCache, qemu_img};
use super::{
    Capacity, GuestSpec, GuestState, Hypervisor, HypervisorError, ImageSource, Interface,
    PowerAction, PowerState, Step, config_drive, iso9660,
};

/// A console log is read from its end, at most this much.
const CONSOLE_BYTES: u64 = 1 << 20;
/// The names of our domains begin so; others on the host are left alone.
const NAME_PREFIX: &str = "instance-";

/// How the driver runs guests.
#[derive(Debug, Clone)]
pub struct LibvirtSettings {
    /// For example `qemu:///system`.
    pub uri: String,
    /// Folder of instances; images are cached in `_base` below it.
    pub instances: PathBuf,
    /// `None`: found out by starting a probe guest.
    pub virt_type: Option<VirtType>,
    /// Machine type.
    pub machine: String,
    /// Processor model; `None`: `host-passthrough` with KVM, QEMU's default in emulation.
    pub cpu: Option<String>,
    /// Address for VNC; `None`: guests have no screen.
    pub vnc_listen: Option<String>,
    /// Where interfaces are plugged.
    pub wiring: Wiring,
    /// How long a guest may take to shut down by itself.
    pub shutdown_timeout: Duration,
    /// How long one call to libvirt may take.
    pub call_timeout: Duration,
}

/// The driver.
pub struct LibvirtDriver {
    settings: LibvirtSettings,
    pool: Pool,
    cache: ImageCache,
    virt_type: OnceCell<VirtType>,
}

fn hypervisor_error(message: impl Into<String>) -> HypervisorError {
    HypervisorError::new(Step::Hypervisor, message)
}

impl LibvirtDriver {
    /// A driver; it connects at the first call.
    pub fn new(settings: LibvirtSettings) -> Self {
        let pool = Pool::new(&settings.uri, settings.call_timeout);
        let cache = ImageCache::new(settings.instances.join("_base"));
        Self {
            settings,
            pool,
            cache,
            virt_type: OnceCell::new(),
        }
    }

    fn folder(&self, id: Uuid) -> PathBuf {
        self.settings.instances.join(id.to_string())
    }

    /// The processor that guests get.
    fn cpu(&self, virt_type: VirtType) -> Option<String> {
        let default = || (virt_type == VirtType::Kvm).then(|| "host-passthrough".to_owned());
        self.settings.cpu.clone().or_else(default)
    }

    fn options(&self, spec: &GuestSpec, virt_type: VirtType) -> DomainOptions {
        let folder = self.folder(spec.id);
        let base = self.settings.instances.join("_base");
        DomainOptions {
            virt_type,
            machine: self.settings.machine.clone(),
            cpu: self.cpu(virt_type),
            root_disk: spec.image.as_ref().map(|_| folder.join("disk")),
            disk_cache: disk_cache(&folder),
            config_drive: Some(folder.join("disk.config")),
            kernel: spec.kernel.as_ref().map(|image| base.join(&image.id)),
            ramdisk: spec.ramdisk.as_ref().map(|image| base.join(&image.id)),
            console_log: folder.join("console.log"),
            vnc_listen: self.settings.vnc_listen.clone(),
            wiring: self.settings.wiring.clone(),
        }
    }

    async fn prepare_disks(
        &self,
        spec: &GuestSpec,
        images: &dyn ImageSource,
    ) -> Result<(), HypervisorError> {
        let folder = self.folder(spec.id);
        let failed = |e: std::io::Error| {
            HypervisorError::new(
                Step::Image,
                format!("cannot write below `{}`: {e}", folder.display()),
            )
        };
        tokio::fs::create_dir_all(&folder).await.map_err(failed)?;
        for image in [&spec.kernel, &spec.ramdisk].into_iter().flatten() {
            self.cache.fetch(image, images).await?;
        }
        if let Some(image) = &spec.image {
            self.cache
                .overlay(image, images, &folder.join("disk"), spec.root_gib)
                .await?;
        }
        let drive = folder.join("disk.config");
        if !tokio::fs::try_exists(&drive).await.map_err(failed)? {
            let seed: [u8; 512] = rand::random();
            let files = config_drive::files(spec, &seed);
            let image = iso9660::build("config-2", &files)
                .map_err(|e| HypervisorError::new(Step::Image, format!("config drive: {e}")))?;
            let part = folder.join("disk.config.part");
            tokio::fs::write(&part, image).await.map_err(failed)?;
            tokio::fs::rename(&part, &drive).await.map_err(failed)?;
        }
        // libvirt's user must be able to append; it is made here so that its mode is ours.
        tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("console.log"))
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn define(&self, spec: &GuestSpec, start: bool) -> Result<(), HypervisorError> {
        let xml = domain_xml(spec, &self.options(spec, self.virt_type().await?));
        let id = spec.id.to_string();
        self.pool
            .run("starting the guest", move |c| {
                let domain = match c.lookup(&id)? {
                    Some(domain) => domain,
                    None => c.define(&xml)?,
                };
                if start && !is_on(domain.state()?) {
                    domain.start()
                } else {
                    Ok(())
                }
            })
            .await
    }

    /// Runs `work` on the guest's domain; a guest that libvirt does not know is an error.
    async fn on_domain<T, F>(
        &self,
        id: Uuid,
        what: &'static str,
        work: F,
    ) -> Result<T, HypervisorError>
    where
        T: Send + 'static,
        F: Fn(&ffi::Domain<'_>) -> Result<T, LibvirtError> + Send + 'static,
    {
        let uuid = id.to_string();
        let found = self
            .pool
            .run(what, move |c| match c.lookup(&uuid)? {
                Some(domain) => work(&domain).map(Some),
                None => Ok(None),
            })
            .await?;
        found.ok_or_else(|| {
            hypervisor_error(format!("{what}: the guest is not defined on this host"))
        })
    }

    /// Pulls the plug; no error when it is off or unknown.
    async fn destroy_domain(&self, id: Uuid) -> Result<(), HypervisorError> {
        let uuid = id.to_string();
        self.pool
            .run("powering off the guest", move |c| {
                match c.lookup(&uuid)? {
                    Some(domain) if is_on(domain.state()?) => match domain.destroy() {
                        Err(error) if error.is_operation_invalid() || error.is_no_domain() => {
                            Ok(())
                        }
                        other => other,
                    },
                    _ => Ok(()),
                }
            })
            .await
    }

    async fn change_interface(
        &self,
        spec: &GuestSpec,
        interface: &Interface,
        plug: bool,
    ) -> Result<(), HypervisorError> {
        let xml = interface_xml(interface, &self.settings.wiring);
        let mac = interface.mac.to_lowercase();
        let what = if plug {
            "plugging the interface"
        } else {
            "unplugging the interface"
        };
        self.on_domain(spec.id, what, move |domain| {
            let plugged = domain.xml()?.to_lowercase().contains(&mac);
            let live = is_on(domain.state()?);
            match (plug, plugged) {
                (true, false) => domain.attach(&xml, live),
                (false, true) => domain.detach(&xml, live),
                _ => Ok(()),
            }
        })
        .await
    }
}

fn is_on(state: DomainState) -> bool {
    matches!(
        state,
        DomainState::Running
            | DomainState::Paused
            | DomainState::ShuttingDown
            | DomainState::PmSuspended
            | DomainState::NoState
    )
}

fn power_state(domain: &ffi::Domain<'_>) -> Result<PowerState, LibvirtError> {
    Ok(match domain.state()? {
        DomainState::Running | DomainState::ShuttingDown => PowerState::Running,
        DomainState::Paused => PowerState::Paused,
        DomainState::ShutOff if domain.has_managed_save()? => PowerState::Suspended,
        DomainState::ShutOff => PowerState::Shutdown,
        DomainState::Crashed => PowerState::Crashed,
        DomainState::PmSuspended => PowerState::Suspended,
        DomainState::NoState => PowerState::NoState,
    })
}

/// `none` (no second copy in the host's page cache) needs O_DIRECT, which not every file system has.
fn disk_cache(folder: &Path) -> &'static str {
    use std::os::unix::fs::OpenOptionsExt as _;
    let probe = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(folder.join("disk"));
    if probe.is_ok() { "none" } else { "writeback" }
}

fn disk_space(path: &Path) -> (u64, u64) {
    let mut at = path;
    loop {
        if let Ok(stat) = nix::sys::statvfs::statvfs(at) {
            let block = stat.fragment_size();
            return (
                (stat.blocks() * block) >> 30,
                (stat.blocks_available() * block) >> 30,
            );
        }
        match at.parent() {
            Some(parent) => at = parent,
            None => return (0, 0),
        }
    }
}

fn cpu_info(info: &ffi::NodeInfo, capabilities: &str) -> serde_json::Value {
    // Two elements of the host's `<cpu>`; a parser for them would be the only user of an XML crate.
    let host = capabilities.split("</host>").next().unwrap_or_default();
    let element = |name: &str| {
        host.split(&format!("<{name}>"))
            .nth(1)
            .and_then(|rest| rest.split('<').next())
            .unwrap_or_default()
            .to_owned()
    };
    json!({
        "arch": info.model,
        "model": element("model"),
        "vendor": element("vendor"),
        "topology": {"sockets": info.sockets, "cores": info.cores, "threads": info.threads},
        "features": [],
    })
}

#[async_trait]
impl Hypervisor for LibvirtDriver {
    async fn capacity(&self) -> Result<Capacity, HypervisorError> {
        let virt_type = self.virt_type().await?;
        let (info, version, capabilities, running) = self
            .pool
            .run("reading the host's capacity", |c: &Connection| {
                let running = c
                    .domains()?
                    .iter()
                    .filter(|d| d.state().is_ok_and(is_on))
                    .count();
                Ok((c.node_info()?, c.version()?, c.capabilities()?, running))
            })
            .await?;
        let (disk_gib, disk_free_gib) = disk_space(&self.settings.instances);
        Ok(Capacity {
            vcpus: info.cpus,
            memory_mib: info.memory_kib / 1024,
            disk_gib,
            disk_free_gib,
            hypervisor_type: match virt_type {
                VirtType::Kvm => "KVM".into(),
                VirtType::Qemu => "QEMU".into(),
            },
            hypervisor_version: version,
            cpu_info: cpu_info(&info, &capabilities),
            running_guests: running as u32,
        })
    }

    async fn spawn(
        &self,
        spec: &GuestSpec,
        images: &dyn ImageSource,
    ) -> Result<(), HypervisorError> {
        self.prepare_disks(spec, images).await?;
        self.define(spec, true).await
    }

    async fn power(
        &self,
        spec: &GuestSpec,
        action: PowerAction,
    ) -> Result<PowerState, HypervisorError> {
        let id = spec.id;
        let state = self.power_state(id).await?;
        match action {
            PowerAction::Start => match state {
                Some(PowerState::Running) => {}
                Some(PowerState::Paused) => {
                    self.on_domain(id, "unpausing the guest", |d| d.unpause())
                        .await?
                }
                _ => self.define(spec, true).await?,
            },
            PowerAction::Stop => self.shut_down(id).await?,
            PowerAction::SoftReboot => {
                // A guest without an ACPI button would never come back by itself: off, and on again.
                self.shut_down(id).await?;
                self.define(spec, true).await?;
            }
            PowerAction::HardReboot => {
                self.destroy_domain(id).await?;
                // Defined anew, so that what changed meanwhile (interfaces, settings) takes effect.
                let xml = domain_xml(spec, &self.options(spec, self.virt_type().await?));
                self.pool
                    .run("starting the guest", move |c| c.define(&xml)?.start())
                    .await?;
            }
            PowerAction::Pause if state == Some(PowerState::Paused) => {}
            PowerAction::Pause => {
                self.on_domain(id, "pausing the guest", |d| d.pause())
                    .await?
            }
            PowerAction::Unpause if state == Some(PowerState::Running) => {}
            PowerAction::Unpause => {
                self.on_domain(id, "unpausing the guest", |d| d.unpause())
                    .await?
            }
            PowerAction::Suspend if matches!(state, Some(PowerState::Suspended)) => {}
            PowerAction::Suspend => {
                self.on_domain(id, "suspending the guest", |d| d.managed_save())
                    .await?
            }
            PowerAction::Resume => self.define(spec, true).await?,
        }
        Ok(self.power_state(id).await?.unwrap_or(PowerState::NoState))
    }

    async fn shut_down(&self, id: Uuid) -> Result<(), HypervisorError> {
        let deadline = tokio::time::Instant::now() + self.settings.shutdown_timeout;
        let mut asked = tokio::time::Instant::now() - Duration::from_secs(60);
        while tokio::time::Instant::now() < deadline {
            if self.power_state(id).await? != Some(PowerState::Running) {
                break;
            }
            // Asked again from time to time: a guest that is still booting does not hear the first.
            if asked.elapsed() >= Duration::from_secs(10) {
                asked = tokio::time::Instant::now();
                let _ = self
                    .on_domain(id, "asking the guest to shut down", |d| d.shutdown())
                    .await;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        self.destroy_domain(id).await
    }

    async fn destroy(&self, id: Uuid) -> Result<(), HypervisorError> {
        self.destroy_domain(id).await?;
        let uuid = id.to_string();
        self.pool
            .run("forgetting the guest", move |c| {
                c.lookup(&uuid)?.map_or(Ok(()), |d| d.undefine())
            })
            .await?;
        match tokio::fs::remove_dir_all(self.folder(id)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(HypervisorError::new(
                    Step::Volume,
                    format!("cannot delete the guest's disks: {error}"),
                ))
            }
            _ => Ok(()),
        }
    }

    async fn power_state(&self, id: Uuid) -> Result<Option<PowerState>, HypervisorError> {
        let uuid = id.to_string();
        self.pool
            .run("asking for the power state", move |c| {
                c.lookup(&uuid)?.map(|d| power_state(&d)).transpose()
            })
            .await
    }

    async fn list(&self) -> Result<Vec<GuestState>, HypervisorError> {
        let prefix = format!("<name>{NAME_PREFIX}");
        self.pool
            .run("listing guests", move |c| {
                let mut out = Vec::new();
                for domain in c.domains()? {
                    // A domain that goes away while the list is read is simply not in it.
                    let read = || -> Result<Option<GuestState>, LibvirtError> {
                        if !domain.xml()?.contains(&prefix) {
                            return Ok(None);
                        }
                        let Ok(id) = domain.uuid()?.parse() else {
                            return Ok(None);
                        };
                        Ok(Some(GuestState {
                            id,
                            power_state: power_state(&domain)?,
                        }))
                    };
                    match read() {
                        Ok(guest) => out.extend(guest),
                        Err(error) if error.is_no_domain() => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(out)
            })
            .await
    }

    async fn console_output(
        &self,
        id: Uuid,
        lines: Option<usize>,
    ) -> Result<String, HypervisorError> {
        let path = self.folder(id).join("console.log");
        let read = async {
            let mut file = tokio::fs::File::open(&path).await?;
            let len = file.metadata().await?.len();
            file.seek(std::io::SeekFrom::Start(len.saturating_sub(CONSOLE_BYTES)))
                .await?;
            let mut data = Vec::new();
            file.take(CONSOLE_BYTES).read_to_end(&mut data).await?;
            Ok::<_, std::io::Error>(data)
        };
        let data = match read.await {
            Ok(data) => data,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(hypervisor_error(format!(
                    "cannot read the console log: {error}"
                )));
            }
        };
        Ok(super::last_lines(&String::from_utf8_lossy(&data), lines))
    }

    async fn attach_interface(
        &self,
        spec: &GuestSpec,
        interface: &Interface,
    ) -> Result<(), HypervisorError> {
        self.change_interface(spec, interface, true).await
    }

    async fn detach_interface(
        &self,
        spec: &GuestSpec,
        interface: &Interface,
    ) -> Result<(), HypervisorError> {
        self.change_interface(spec, interface, false).await
    }

    async fn snapshot(&self, id: Uuid) -> Result<PathBuf, HypervisorError> {
        let disk = self.folder(id).join("disk");
        let target = self
            .folder(id)
            .join(format!("snapshot-{}.qcow2", Uuid::new_v4()));
        // Pausing makes QEMU write out what it holds, so the file on disk is as after a power cut, and stays so
        // while it is copied.
        let paused = self.power_state(id).await? == Some(PowerState::Running);
        if paused {
            self.on_domain(id, "pausing the guest", |d| d.pause())
                .await?;
        }
        let copied = qemu_img(&[
            "convert".as_ref(),
            "-q".as_ref(),
            "-U".as_ref(),
            "-f".as_ref(),
            "qcow2".as_ref(),
            "-O".as_ref(),
            "qcow2".as_ref(),
            disk.as_os_str(),
            target.as_os_str(),
        ])
        .await;
        if paused {
            self.on_domain(id, "unpausing the guest", |d| d.unpause())
                .await?;
        }
        if let Err(error) = copied {
            let _ = tokio::fs::remove_file(&target).await;
            return Err(error);
        }
        Ok(target)
    }
}
