//! Why the boot server could not start, in words that say what to do about it.
use std::net::SocketAddr;
use std::path::PathBuf;

/// The boot server could not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("{what} on {interface} ({address}): {source}{}", hint(.source))]
    Socket {
        what: &'static str,
        interface: String,
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("network interface {0} does not exist here")]
    NoInterface(String),
    #[error("boot loader {path}: {source}; it comes with the Debian package 'ipxe'")]
    Loader {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("boot script template: {0}")]
    Template(#[from] tera::Error),
}

fn hint(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    match error.kind() {
        PermissionDenied => "; boot services need root, or CAP_NET_BIND_SERVICE and CAP_NET_RAW",
        AddrInUse => "; another server holds that port: 'ss -lnp' shows which",
        AddrNotAvailable => {
            "; the interface does not have this address: 'ip address' shows what it has"
        }
        _ => "",
    }
}
