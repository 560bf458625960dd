//! Whether guests run on KVM here, by one that is started to see. What guests look like is `domain_xml`'s matter.
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use super::{LibvirtDriver, hypervisor_error};
use crate::hypervisor::HypervisorError;
use crate::hypervisor::domain_xml::{VirtType, cpu_xml, escape};

/// Another one after each boot (proc(5)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl LibvirtDriver {
    /// KVM or emulation: as configured, else what a probe guest shows. That `/dev/kvm` opens says little: on some
    /// hosts it does, and guests hang at their first instruction.
    pub(super) async fn virt_type(&self) -> Result<VirtType, HypervisorError> {
        if let Some(configured) = self.settings.virt_type {
            return Ok(configured);
        }
        self.virt_type
            .get_or_try_init(|| self.known_or_probed())
            .await
            .copied()
    }

    /// What was found out since this host booted is kept: a probe takes seconds, and a service that is restarted in a slow
    /// moment must not come to another answer than its guests run with.
    async fn known_or_probed(&self) -> Result<VirtType, HypervisorError> {
        let boot = tokio::fs::read_to_string(BOOT_ID).await.unwrap_or_default();
        let path = self.settings.instances.join("virt-type");
        let kept = tokio::fs::read_to_string(&path).await.unwrap_or_default();
        let known = kept.strip_prefix(&boot).filter(|_| !boot.is_empty());
        let both = [VirtType::Kvm, VirtType::Qemu];
        let is_known = |found: &VirtType| known.is_some_and(|word| word.trim() == found.as_str());
        if let Some(found) = both.into_iter().find(is_known) {
            return Ok(found);
        }
        let found = self.probe().await?;
        let text = format!("{boot}{}\n", found.as_str());
        if let Err(error) = tokio::fs::write(&path, text).await {
            tracing::warn!(%error, "`{}` cannot be written: the next start probes again", path.display());
        }
        Ok(found)
    }

    async fn probe(&self) -> Result<VirtType, HypervisorError> {
        let offered = self
            .pool
            .run("reading capabilities", |c| {
                Ok(c.capabilities()?.contains("<domain type='kvm'"))
            })
            .await?;
        if !offered {
            tracing::info!("libvirt offers no KVM on this host: guests are emulated");
            return Ok(VirtType::Qemu);
        }
        tokio::fs::create_dir_all(&self.settings.instances)
            .await
            .map_err(|e| {
                hypervisor_error(format!(
                    "cannot create `{}`: {e}",
                    self.settings.instances.display()
                ))
            })?;
        let id = Uuid::new_v4();
        let (disk, console) = (
            self.settings.instances.join(format!("probe-{id}.raw")),
            self.settings.instances.join(format!("probe-{id}.log")),
        );
        let result = self.probe_with(id, &disk, &console).await;
        let _ = tokio::fs::remove_file(&disk).await;
        let _ = tokio::fs::remove_file(&console).await;
        let works = match result {
            Ok(works) => works,
            // A guest that cannot be started with KVM is an answer; a lost daemon is not.
            Err(error) if !error.transient => {
                tracing::warn!(%error, "the KVM probe guest did not start");
                false
            }
            Err(error) => return Err(error),
        };
        if works {
            Ok(VirtType::Kvm)
        } else {
            tracing::warn!("KVM is offered but its probe guest did not run: guests are emulated");
            Ok(VirtType::Qemu)
        }
    }

    async fn probe_with(
        &self,
        id: Uuid,
        disk: &Path,
        console: &Path,
    ) -> Result<bool, HypervisorError> {
        tokio::fs::write(disk, probe_disk())
            .await
            .map_err(|e| hypervisor_error(format!("cannot write `{}`: {e}", disk.display())))?;
        let path = |p: &Path| escape(&p.to_string_lossy());
        // As guests get it: on some hosts KVM runs its own simple processor and none that resembles the host's.
        let cpu = cpu_xml(self.cpu(VirtType::Kvm).as_deref());
        let xml = format!(
            "<domain type='kvm'><name>wright-probe-{id}</name><uuid>{id}</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='{}'>hvm</type><boot dev='hd'/></os><features><acpi/></features>{cpu}<devices>\
             <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/><target dev='vda' bus='virtio'/></disk>\
             <serial type='file'><source path='{}'/></serial><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>",
            escape(&self.settings.machine),
            path(disk),
            path(console),
        );
        // Gone with the connection, whatever happens to us.
        self.pool
            .run("starting the KVM probe guest", move |c| {
                c.create_transient(&xml, true).map(drop)
            })
            .await?;
        let mut works = false;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if tokio::fs::read(console)
                .await
                .is_ok_and(|text| text.windows(PROBE_WORD.len()).any(|w| w == PROBE_WORD))
            {
                works = true;
                break;
            }
        }
        let uuid = id.to_string();
        self.pool
            .run("ending the KVM probe guest", move |c| {
                c.lookup(&uuid)?.map_or(Ok(()), |d| d.destroy())
            })
            .await?;
        Ok(works)
    }
}

/// What the probe guest writes to its serial port.
const PROBE_WORD: &[u8] = b"wright-probe";

/// A boot sector that writes [`PROBE_WORD`] to the first serial port, again and again, and idles in between.
pub fn probe_disk() -> Vec<u8> {
    let mut sector = vec![
        0xfa, // cli
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xbe, 0x20, 0x7c, // again: mov si, 0x7c20
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x03, // jz wait
        0xee, // out dx, al
        0xeb, 0xf8, // jmp next
        0xf4, // wait: hlt (interrupts are off: for ever)
    ];
    sector.resize(0x20, 0x90);
    sector.extend_from_slice(PROBE_WORD);
    sector.extend_from_slice(b"\r\n\0");
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(1 << 20, 0);
    sector
}
