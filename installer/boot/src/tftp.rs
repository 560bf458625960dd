//! TFTP for the first stage: a spool folder with copies of the boot loaders, served by `tftpd`.
//!
//! `tftpd` follows symbolic links out of its folder, so the folder is emptied and written by us alone on every
//! start. Everything that differs between nodes goes over HTTP.
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tftpd::{Config, Server};

use crate::dhcp::answer::{BIOS_LOADER, EFI_LOADER};
use crate::error::BootError;

const PORT: u16 = 69;
/// A server that panicked starts again after this long.
const PAUSE: Duration = Duration::from_secs(1);

/// The running server; ends with [`TftpServer::stop`].
pub(crate) struct TftpServer {
    abort: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Makes the spool folder hold exactly the boot loaders, copied from where Debian's package puts them.
pub(crate) fn fill_spool(spool: &Path, loaders: &Path) -> Result<(), BootError> {
    let failed = |source| BootError::Spool {
        path: spool.to_owned(),
        source,
    };
    match fs::remove_dir_all(spool) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(spool)
        .map_err(failed)?;
    for name in [EFI_LOADER, BIOS_LOADER] {
        let path = loaders.join(name);
        let content = fs::read(&path).map_err(|source| BootError::Loader { path, source })?;
        let copy = spool.join(name);
        fs::write(&copy, content)
            .and_then(|()| fs::set_permissions(&copy, fs::Permissions::from_mode(0o444)))
            .map_err(failed)?;
    }
    Ok(())
}

impl TftpServer {
    pub(crate) fn start(address: Ipv4Addr, spool: PathBuf) -> Result<Self, BootError> {
        let address = IpAddr::V4(address);
        let refused = |reason: String| BootError::Tftp { address, reason };
        // Through its arguments, the only way to keep the library from writing to standard output.
        let quiet = ["tftpd", "--quiet"].map(String::from);
        let mut config =
            Config::new(quiet.into_iter()).map_err(|error| refused(error.to_string()))?;
        config.ip_address = address;
        config.port = PORT;
        config.receive_directory.clone_from(&spool);
        config.send_directory.clone_from(&spool);
        config.directory = spool;
        config.read_only = true;
        let mut server = Server::new(&config).map_err(|error| refused(error.to_string()))?;
        let abort = server.get_abort_flag();
        let stopped = abort.clone();
        let thread = std::thread::Builder::new()
            .name("tftp".into())
            .spawn(move || {
                // A panic in the library must not end network boot for everyone.
                while catch_unwind(AssertUnwindSafe(|| server.listen())).is_err() {
                    tracing::error!("the TFTP server panicked; it goes on");
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(PAUSE);
                }
            })
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { abort, thread })
    }

    /// Ends within a second or so; running transfers are aborted. Blocks.
    pub(crate) fn stop(self) {
        self.abort.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the TFTP thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spool_holds_copies_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let (spool, loaders) = (scratch.path().join("spool"), scratch.path().join("ipxe"));
        fs::create_dir(&loaders).unwrap();
        let told = fill_spool(&spool, &loaders).unwrap_err().to_string();
        assert!(told.contains("Debian package 'ipxe'"), "{told}");
        for name in [EFI_LOADER, BIOS_LOADER] {
            fs::write(loaders.join(name), name).unwrap();
        }
        fs::write(spool.join("stray"), "").unwrap();
        fill_spool(&spool, &loaders).unwrap();
        let mut names: Vec<_> = fs::read_dir(&spool)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [EFI_LOADER, BIOS_LOADER]);
    }
}
