//! Raw frames on one card (packet(7)): every frame with its tag and its length on the wire. The kernel's filter lets
//! through only what [`super::ears`] can take in.
use super::ethernet::Received;
use super::{arp, dhcp, ipv4};
use agent_protocol::probe::ETHERTYPE;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Room for what waits to be read, in bytes: a burst of full frames of hundreds of nodes.
const BUFFER: libc::c_int = 8 << 20;
/// What is kept of a probe frame or ARP packet, and of any frame.
const KEPT_SHORT: u32 = 128;
pub const KEPT_MAX: usize = 1514;

/// A card, all of whose frames are seen as long as this is open.
pub struct Wire {
    fd: OwnedFd,
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Wire {
    /// Listens on the card of this index, for probe frames whose nonce begins like `nonce` and for what strangers say.
    pub fn open(index: u32, nonce: &[u8; 16]) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointer is passed. Protocol 0: nothing is received before the filter is there.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let wire = Wire { fd };
        let mut program = filter(nonce);
        let filter = libc::sock_fprog {
            len: program.len() as libc::c_ushort,
            filter: program.as_mut_ptr(),
        };
        wire.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)?;
        wire.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1)?;
        wire.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)?;
        // A card that filters by VLAN or address in hardware shows everything then; the kernel ends it with the socket.
        // SAFETY: plain data, of which all zero bytes are a value.
        let mut membership: libc::packet_mreq = unsafe { zeroed() };
        membership.mr_ifindex = index as libc::c_int;
        membership.mr_type = libc::PACKET_MR_PROMISC as libc::c_ushort;
        wire.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
        // SAFETY: as above.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index as libc::c_int;
        // SAFETY: `address` is a whole sockaddr_ll and its size is given.
        let bound = unsafe {
            let address = (&raw const address).cast::<libc::sockaddr>();
            libc::bind(
                wire.as_raw_fd(),
                address,
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        match bound {
            0 => Ok(wire),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Hands one frame to the card; never waits.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length are those of a slice.
        let sent = unsafe {
            let data = frame.as_ptr().cast::<libc::c_void>();
            libc::send(self.as_raw_fd(), data, frame.len(), libc::MSG_DONTWAIT)
        };
        match sent {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes the next frame, with the bytes that were kept of it in `buffer`; `None` if it is one that the card sent
    /// itself, or none that can be read.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there any more.
    pub fn receive<'a>(&self, buffer: &'a mut [u8; KEPT_MAX]) -> io::Result<Option<Received<'a>>> {
        // Aligned as control messages want it.
        let mut control = [0u64; 16];
        // SAFETY: plain data, of which all zero bytes are a value.
        let (mut from, mut header): (libc::sockaddr_ll, libc::msghdr) =
            unsafe { (zeroed(), zeroed()) };
        let mut piece = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        header.msg_name = (&raw mut from).cast();
        header.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
        header.msg_iov = &mut piece;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer of the header points to memory of the size beside it, which outlives the call.
        let read = unsafe { libc::recvmsg(self.as_raw_fd(), &mut header, libc::MSG_DONTWAIT) };
        if read < 0 {
            return Err(io::Error::last_os_error());
        }
        let facts = facts(&header).filter(|_| from.sll_pkttype != libc::PACKET_OUTGOING);
        let Some(facts) = facts else {
            return Ok(None);
        };
        let is_tagged = facts.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
        let vlan = is_tagged.then_some(facts.tp_vlan_tci & 0x0fff);
        let kept = &buffer[..(read as usize).min(KEPT_MAX)];
        Ok(Received::parse(kept, facts.tp_len as usize, vlan))
    }

    /// Frames that nobody read in time, since this was asked last.
    pub fn lost(&self) -> u32 {
        let mut told = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: `told` is as large as `length` says.
        unsafe {
            libc::getsockopt(
                self.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut told).cast(),
                &mut length,
            );
        }
        told.tp_drops
    }

    fn set<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the pointer is that of a value whose size is given; the kernel copies it during the call.
        let set = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                level,
                name,
                (&raw const *value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        match set {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Length and tag of a frame, which the kernel tells beside it.
fn facts(header: &libc::msghdr) -> Option<libc::tpacket_auxdata> {
    // SAFETY: recvmsg filled the control buffer and its length; the macros walk inside it, and data of this kind is a
    // tpacket_auxdata, read without assuming its alignment.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_PACKET
                && (*message).cmsg_type == libc::PACKET_AUXDATA
            {
                let data = libc::CMSG_DATA(message).cast::<libc::tpacket_auxdata>();
                return Some(data.read_unaligned());
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// Probe frames of this run, ARP, VRRP, and datagrams to DHCP clients. The kernel has taken tags off before.
fn filter(nonce: &[u8; 16]) -> [libc::sock_filter; 17] {
    let code = |parts: &[u32]| parts.iter().sum::<u32>() as u16;
    let load = |size: u32, at: u32| statement(code(&[libc::BPF_LD, size, libc::BPF_ABS]), at);
    let jump = |kind: u32, value: u32, yes: u8, no: u8| libc::sock_filter {
        code: code(&[libc::BPF_JMP, kind, libc::BPF_K]),
        jt: yes,
        jf: no,
        k: value,
    };
    let keep = |bytes: u32| statement(code(&[libc::BPF_RET, libc::BPF_K]), bytes);
    let begin = u32::from_be_bytes([nonce[0], nonce[1], nonce[2], nonce[3]]);
    [
        load(libc::BPF_H, 12),
        jump(libc::BPF_JEQ, ETHERTYPE.into(), 10, 0),
        jump(libc::BPF_JEQ, arp::ETHERTYPE.into(), 11, 0),
        jump(libc::BPF_JEQ, ipv4::ETHERTYPE.into(), 0, 12),
        load(libc::BPF_B, 14 + 9),
        jump(libc::BPF_JEQ, ipv4::VRRP.into(), 9, 0),
        jump(libc::BPF_JEQ, ipv4::UDP.into(), 0, 9),
        // Not the first fragment: no port is in it.
        load(libc::BPF_H, 14 + 6),
        jump(libc::BPF_JSET, 0x1fff, 7, 0),
        // Behind a header of any length.
        statement(code(&[libc::BPF_LDX, libc::BPF_B, libc::BPF_MSH]), 14),
        statement(code(&[libc::BPF_LD, libc::BPF_H, libc::BPF_IND]), 14 + 2),
        jump(libc::BPF_JEQ, dhcp::CLIENT_PORT.into(), 3, 4),
        load(libc::BPF_W, 14),
        jump(libc::BPF_JEQ, begin, 0, 2),
        keep(KEPT_SHORT),
        keep(KEPT_MAX as u32),
        keep(0),
    ]
}

fn statement(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}
