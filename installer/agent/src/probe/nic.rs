//! Network cards as the kernel has them: index, address, MTU, carrier; and bringing one up for a while. By system calls
//! and not by `/sys`, which shows the namespace of whoever mounted it.
use super::ethernet::Mac;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use std::collections::BTreeSet;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

nix::ioctl_read_bad!(get_flags, libc::SIOCGIFFLAGS, libc::ifreq);
nix::ioctl_read_bad!(get_mtu, libc::SIOCGIFMTU, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);

/// A card by its kernel name.
pub struct Nic {
    pub name: String,
    pub index: u32,
    pub mac: Mac,
    pub mtu: u32,
    /// It was down, and goes down again with this value.
    was_down: bool,
}

impl Nic {
    /// Finds a card, and brings it up if it is down.
    pub fn take(name: &str) -> io::Result<Self> {
        let index = if_nametoindex(name).map_err(|_| {
            io::Error::new(io::ErrorKind::NotFound, "the node has no card of this name")
        })?;
        let mac = macs()?
            .into_iter()
            .find(|(card, _)| card == name)
            .map(|(_, mac)| mac)
            .ok_or_else(|| io::Error::other("this is no Ethernet card"))?;
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let mut request = request(name);
        // SAFETY: the socket is open and `request` is a whole ifreq that outlives the calls, each of which writes the
        // member of the union that is read after it.
        let (mtu, flags) = unsafe {
            get_mtu(socket.as_raw_fd(), &mut request)?;
            let mtu = request.ifr_ifru.ifru_mtu;
            get_flags(socket.as_raw_fd(), &mut request)?;
            (mtu, request.ifr_ifru.ifru_flags)
        };
        let was_down = flags & libc::IFF_UP as libc::c_short == 0;
        let nic = Nic {
            name: name.to_owned(),
            index,
            mac,
            mtu: mtu.try_into().unwrap_or(0),
            was_down,
        };
        if was_down {
            nic.turn(true)?;
        }
        Ok(nic)
    }

    /// Whether it is up only for us.
    pub fn was_down(&self) -> bool {
        self.was_down
    }

    /// Whether something is at the other end.
    pub fn has_carrier(&self) -> bool {
        let running = |card: nix::ifaddrs::InterfaceAddress| {
            card.interface_name == self.name && card.flags.contains(InterfaceFlags::IFF_RUNNING)
        };
        getifaddrs().is_ok_and(|mut cards| cards.any(running))
    }

    fn turn(&self, up: bool) -> io::Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let mut request = request(&self.name);
        let bit = libc::IFF_UP as libc::c_short;
        // SAFETY: as above; SIOCSIFFLAGS reads the flags, which the call before it wrote.
        unsafe {
            get_flags(socket.as_raw_fd(), &mut request)?;
            let flags = request.ifr_ifru.ifru_flags;
            request.ifr_ifru.ifru_flags = if up { flags | bit } else { flags & !bit };
            set_flags(socket.as_raw_fd(), &request)?;
        }
        Ok(())
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        if self.was_down {
            let _ = self.turn(false);
        }
    }
}

/// Hardware addresses of all of the node's interfaces.
pub fn own_macs() -> io::Result<BTreeSet<Mac>> {
    Ok(macs()?.into_iter().map(|(_, mac)| mac).collect())
}

fn macs() -> io::Result<Vec<(String, Mac)>> {
    let cards = getifaddrs()?.filter_map(|card| {
        let mac = card.address?.as_link_addr()?.addr()?;
        Some((card.interface_name, Mac(mac)))
    });
    Ok(cards.filter(|(_, mac)| mac.0 != [0; 6]).collect())
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data; all zero bytes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.bytes().take(libc::IFNAMSIZ - 1);
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = from as libc::c_char;
    }
    request
}
