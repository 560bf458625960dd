//! The kernel's file systems, the console and the modules: what PID 1 has to do before anything else.
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::InstallError;
use super::console::say;

/// Kernel file systems and where they go. `/run` lives on into the installed system.
const KERNEL_FILE_SYSTEMS: [(&str, &str); 4] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
];

/// Modules in the order in which they must be loaded, separated by white space.
const MODULE_ORDER: &str = "/lib/modules/order";

pub fn mount_kernel_file_systems() -> Result<(), InstallError> {
    for (kind, target) in KERNEL_FILE_SYSTEMS {
        fs::create_dir_all(target)
            .map_err(|source| InstallError::io("boot", format!("make {target}"), source))?;
        match mount(
            Some(kind),
            target,
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        ) {
            // A kernel with CONFIG_DEVTMPFS_MOUNT has mounted /dev already.
            Ok(()) | Err(nix::Error::EBUSY) => {}
            Err(error) => {
                return Err(InstallError::io(
                    "boot",
                    format!("mount {kind} on {target}"),
                    error.into(),
                ));
            }
        }
    }
    Ok(())
}

/// Standard input, output and error become the console. The kernel opens `/dev/console` for the first
/// process only if the ramdisk holds that device node.
pub fn open_console() {
    let Ok(console) = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console")
    else {
        return;
    };
    let _ = nix::unistd::dup2_stdin(&console);
    let _ = nix::unistd::dup2_stdout(&console);
    let _ = nix::unistd::dup2_stderr(&console);
}

/// Loads the modules named in [`MODULE_ORDER`]. One that fails is told and passed over: the kernel may
/// have it built in, and what is really missing shows itself as a missing NIC or disk.
pub fn load_modules() {
    let Ok(order) = fs::read_to_string(MODULE_ORDER) else {
        say(
            "boot",
            "no module list, going on with what the kernel has built in",
        );
        return;
    };
    for name in order.split_whitespace() {
        let path = Path::new("/lib/modules").join(format!("{}.ko", name.trim_end_matches(".ko")));
        let loaded = File::open(&path).and_then(|file| {
            // SAFETY: the descriptor is open and the parameter string is terminated; the kernel copies both.
            let status =
                unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
            if status == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
        match loaded {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) => say(
                "boot",
                format_args!("module {name} was not loaded: {error}"),
            ),
        }
    }
}
