//! Brings up the NIC that booted, with the address that the boot server chose for it.
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::InstallError;
use super::cmdline::BootArguments;
use super::console::say;

/// Devices are probed while the modules load; a slow emulated machine takes a few seconds.
const APPEARS_WITHIN: Duration = Duration::from_secs(60);
/// Copper autonegotiation and spanning tree take up to 30 s; after that the requests tell more than we can.
const CARRIER_WITHIN: Duration = Duration::from_secs(40);

nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFADDR, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_netmask, libc::SIOCSIFNETMASK, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);

/// Gives the NIC its address and waits for its carrier. Returns the NIC's kernel name.
pub fn bring_up(arguments: &BootArguments) -> Result<String, InstallError> {
    let name = wait_for_nic(&arguments.mac)?;
    let fault = |what: &str, error: nix::Error| {
        InstallError::io("network", format!("{what} of {name}"), error.into())
    };
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")
        .map_err(|source| InstallError::io("network", "open a socket".to_owned(), source))?;
    let fd = socket.as_raw_fd();

    let up = libc::ifreq {
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::IFF_UP as libc::c_short,
        },
        ..request("lo")
    };
    // SAFETY: `fd` is an open socket and `up` is a whole ifreq that outlives the call.
    let _ = unsafe { set_flags(fd, &up) };

    let address = with_address(&name, arguments.address);
    // SAFETY: as above; the union holds a sockaddr, which SIOCSIFADDR reads.
    unsafe { set_address(fd, &address) }.map_err(|error| fault("set the address", error))?;
    let netmask = with_address(&name, netmask(arguments.prefix));
    // SAFETY: as above.
    unsafe { set_netmask(fd, &netmask) }.map_err(|error| fault("set the netmask", error))?;
    let up = libc::ifreq {
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short,
        },
        ..request(&name)
    };
    // SAFETY: as above; SIOCSIFFLAGS reads the flags.
    unsafe { set_flags(fd, &up) }.map_err(|error| fault("bring up the link", error))?;

    let deadline = Instant::now() + CARRIER_WITHIN;
    while fs::read_to_string(format!("/sys/class/net/{name}/carrier"))
        .is_ok_and(|carrier| carrier.trim() != "1")
    {
        if Instant::now() > deadline {
            say("network", format_args!("{name} has no carrier, going on"));
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(name)
}

/// Takes the address away again, so that the installed system finds the NIC untouched.
pub fn take_down(name: &str) {
    let Ok(socket) = std::net::UdpSocket::bind("0.0.0.0:0") else {
        return;
    };
    let zero = with_address(name, Ipv4Addr::UNSPECIFIED);
    let down = request(name);
    // SAFETY: the socket is open and both requests are whole ifreq values that outlive the calls.
    unsafe {
        let _ = set_address(socket.as_raw_fd(), &zero);
        let _ = set_flags(socket.as_raw_fd(), &down);
    }
}

fn wait_for_nic(mac: &str) -> Result<String, InstallError> {
    let deadline = Instant::now() + APPEARS_WITHIN;
    loop {
        if let Some(name) = nic_with_mac(Path::new("/"), mac) {
            return Ok(name);
        }
        if Instant::now() > deadline {
            return Err(InstallError::NoNic {
                mac: mac.to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn nic_with_mac(root: &Path, mac: &str) -> Option<String> {
    let folder = fs::read_dir(root.join("sys/class/net")).ok()?;
    folder
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| {
            fs::read_to_string(root.join("sys/class/net").join(name).join("address"))
                .is_ok_and(|address| address.trim().eq_ignore_ascii_case(mac))
        })
}

fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data; all zero bytes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: the kernel wants a terminated name.
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(name.bytes())
    {
        *to = from as libc::c_char;
    }
    request
}

fn with_address(name: &str, address: Ipv4Addr) -> libc::ifreq {
    let internet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: sockaddr_in and sockaddr have the same size; the kernel reads it back as sockaddr_in.
    let generic: libc::sockaddr = unsafe { std::mem::transmute(internet) };
    libc::ifreq {
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_addr: generic },
        ..request(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netmasks() {
        assert_eq!(netmask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(netmask(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(netmask(32), Ipv4Addr::BROADCAST);
    }

    #[test]
    fn a_nic_is_found_by_its_mac_in_any_case() {
        let folder = tempfile::tempdir().unwrap();
        let nic = folder.path().join("sys/class/net/eth1");
        fs::create_dir_all(&nic).unwrap();
        fs::write(nic.join("address"), "52:54:00:aa:00:01\n").unwrap();
        assert_eq!(
            nic_with_mac(folder.path(), "52:54:00:AA:00:01").as_deref(),
            Some("eth1")
        );
        assert_eq!(nic_with_mac(folder.path(), "52:54:00:aa:00:02"), None);
    }
}
