//! The highest speed that a card can do, whether a cable is in it or not: asked of its driver by ethtool's ioctl.
//!
//! Files of `/sys` tell the speed of a link that is up; before anything is switched on only one card has one.
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

// SIOCETHTOOL, `linux/sockios.h`.
nix::ioctl_write_ptr_bad!(ethtool, 0x8946, libc::ifreq);

/// ETHTOOL_GLINKSETTINGS, `linux/ethtool.h`.
const GET_LINK_SETTINGS: u32 = 0x4c;
/// Words of `struct ethtool_link_settings` before its bit maps.
const HEAD: usize = 12;
/// Words of one bit map at most: the kernel counts them in a signed byte.
const MAP: usize = 127;
/// Which byte of the head holds the number of words of a bit map.
const COUNT: usize = 15;

/// Modes of `enum ethtool_link_mode_bit_indices`, from first to last bit, with their speed in Mbit/s.
const MODES: [(usize, usize, u32); 30] = [
    (0, 1, 10),
    (2, 3, 100),
    (4, 5, 1000),
    (12, 12, 10_000),
    (15, 15, 2500),
    (17, 17, 1000),
    (18, 20, 10_000),
    (21, 22, 20_000),
    (23, 26, 40_000),
    (27, 30, 56_000),
    (31, 33, 25_000),
    (34, 35, 50_000),
    (36, 39, 100_000),
    (40, 40, 50_000),
    (41, 41, 1000),
    (42, 46, 10_000),
    (47, 47, 2500),
    (48, 48, 5000),
    (52, 56, 50_000),
    (57, 61, 100_000),
    (62, 66, 200_000),
    (67, 67, 100),
    (68, 68, 1000),
    (69, 73, 400_000),
    (75, 79, 100_000),
    (80, 84, 200_000),
    (85, 89, 400_000),
    (90, 91, 100),
    (92, 92, 10),
    (93, 98, 800_000),
];

/// Mbit/s; `None` if there is no such card, or its driver does not say (virtual ones mostly do not).
pub fn highest(card: &str) -> Option<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
    let mut settings = [0u32; HEAD + 3 * MAP];
    settings[0] = GET_LINK_SETTINGS;
    // First it answers with the number of words that it wants, negated.
    ask(&socket, card, &mut settings)?;
    let words = (count(&settings) as i8).checked_neg().filter(|n| *n > 0)?;
    settings = [0; HEAD + 3 * MAP];
    settings[0] = GET_LINK_SETTINGS;
    set_count(&mut settings, words as u8);
    ask(&socket, card, &mut settings)?;
    let words = usize::try_from(count(&settings) as i8).ok()?;
    fastest(settings.get(HEAD..HEAD + words)?)
}

fn count(settings: &[u32; HEAD + 3 * MAP]) -> u8 {
    settings[COUNT / 4].to_ne_bytes()[COUNT % 4]
}

fn set_count(settings: &mut [u32; HEAD + 3 * MAP], words: u8) {
    let mut bytes = settings[COUNT / 4].to_ne_bytes();
    bytes[COUNT % 4] = words;
    settings[COUNT / 4] = u32::from_ne_bytes(bytes);
}

fn ask(socket: &UdpSocket, card: &str, settings: &mut [u32; HEAD + 3 * MAP]) -> Option<()> {
    // SAFETY: ifreq is plain data; all zero bytes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: the kernel wants a terminated name.
    if card.len() >= libc::IFNAMSIZ {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(card.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = settings.as_mut_ptr().cast();
    // SAFETY: the socket is open; `request` points to `settings`, which has room for the head and three bit maps of the
    // largest size, is written by nobody else, and outlives the call.
    unsafe { ethtool(socket.as_raw_fd(), &request) }
        .ok()
        .map(drop)
}

/// The highest speed among the modes whose bits are set.
fn fastest(supported: &[u32]) -> Option<u32> {
    let is_set = |bit: usize| {
        supported
            .get(bit / 32)
            .is_some_and(|word| word >> (bit % 32) & 1 == 1)
    };
    MODES
        .iter()
        .filter(|(first, last, _)| (*first..=*last).any(is_set))
        .map(|(_, _, mbit)| *mbit)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_of_the_modes_counts() {
        assert_eq!(fastest(&[]), None);
        // Autonegotiation, pauses and kinds of cable are no speeds.
        assert_eq!(fastest(&[1 << 6 | 1 << 7 | 1 << 13]), None);
        assert_eq!(fastest(&[0b10_1111]), Some(1000));
        assert_eq!(fastest(&[1 << 5 | 1 << 12, 0]), Some(10_000));
        assert_eq!(fastest(&[0, 1 << 1]), Some(25_000));
        assert_eq!(fastest(&[0, 0, 1 << 21]), Some(400_000));
    }

    #[test]
    fn what_has_no_speed_says_none() {
        assert_eq!(highest("lo"), None);
        assert_eq!(highest("no-such-card"), None);
        assert_eq!(highest("a-name-that-is-too-long"), None);
    }
}
