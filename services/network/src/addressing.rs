//! Choosing addresses: ranges of a subnet, a free address in them, addresses that guests make for themselves,
//! MAC addresses. Pure; that an address is never given twice is the database's unique key's doing.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::store::values::Pool;

/// An address as a number.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// The address of a number, of the same version as `like`.
fn address(number: u128, like: IpAddr) -> Option<IpAddr> {
    match like {
        IpAddr::V4(_) => u32::try_from(number)
            .ok()
            .map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        IpAddr::V6(_) => Some(IpAddr::V6(Ipv6Addr::from(number))),
    }
}

/// The addresses that hosts of a network may have: without network and broadcast address where there are such.
pub fn host_range(network: IpNetwork) -> Option<Pool> {
    let (first, last) = (number(network.network()), last_number(network));
    let like = network.ip();
    let (start, end) = match network {
        // RFC 3021: both addresses of a /31 are hosts.
        IpNetwork::V4(net) if net.prefix() >= 31 => (first, last),
        IpNetwork::V4(_) => (first + 1, last - 1),
        IpNetwork::V6(net) if net.prefix() >= 127 => (first, last),
        // The first address of an IPv6 subnet is the routers' anycast address (RFC 4291 section 2.6.1).
        IpNetwork::V6(_) => (first + 1, last),
    };
    Some(Pool {
        start: address(start, like)?,
        end: address(end, like)?,
    })
}

fn last_number(network: IpNetwork) -> u128 {
    let bits = if network.is_ipv4() { 32 } else { 128 } - u32::from(network.prefix());
    let hosts = if bits == 128 {
        u128::MAX
    } else {
        (1u128 << bits) - 1
    };
    number(network.network()) | hosts
}

/// The pools of a subnet that names none: all hosts but the gateway.
pub fn default_pools(network: IpNetwork, gateway: Option<IpAddr>) -> Vec<Pool> {
    let Some(range) = host_range(network) else {
        return Vec::new();
    };
    let Some(gateway) = gateway.filter(|ip| contains(&range, *ip)) else {
        return vec![range];
    };
    let middle = number(gateway);
    let below = (middle > number(range.start))
        .then(|| address(middle - 1, gateway))
        .flatten();
    let above = (middle < number(range.end))
        .then(|| address(middle + 1, gateway))
        .flatten();
    let below = below.map(|end| Pool {
        start: range.start,
        end,
    });
    let above = above.map(|start| Pool {
        start,
        end: range.end,
    });
    below.into_iter().chain(above).collect()
}

/// The gateway of a subnet that names none: its first host.
pub fn default_gateway(network: IpNetwork) -> Option<IpAddr> {
    host_range(network).map(|range| range.start)
}

/// Whether an address lies in a range.
pub fn contains(pool: &Pool, ip: IpAddr) -> bool {
    ip.is_ipv4() == pool.start.is_ipv4()
        && number(pool.start) <= number(ip)
        && number(ip) <= number(pool.end)
}

/// Whether two ranges share an address.
pub fn overlap(one: &Pool, other: &Pool) -> bool {
    contains(one, other.start) || contains(other, one.start)
}

/// How many addresses the pools have.
pub fn size(pools: &[Pool]) -> u128 {
    pools
        .iter()
        .map(|pool| (number(pool.end) - number(pool.start)).saturating_add(1))
        .fold(0, u128::saturating_add)
}

/// A free address of the pools, or `None` when all are used. `start` (any number) says where to begin the
/// search: callers that choose at once begin at different places and rarely meet.
pub fn choose(pools: &[Pool], used: &HashSet<IpAddr>, start: u128) -> Option<IpAddr> {
    let total = size(pools);
    if total == 0 {
        return None;
    }
    let start = start % total;
    // Among one more candidates than there are used addresses one is free.
    let tries = (used.len() as u128 + 1).min(total);
    (0..tries).find_map(|step| {
        let candidate = nth(pools, (start + step) % total)?;
        (!used.contains(&candidate)).then_some(candidate)
    })
}

fn nth(pools: &[Pool], mut index: u128) -> Option<IpAddr> {
    for pool in pools {
        let length = number(pool.end) - number(pool.start) + 1;
        if index < length {
            return address(number(pool.start) + index, pool.start);
        }
        index -= length;
    }
    None
}

/// The address that a guest with this MAC address gives itself in an IPv6 network (RFC 4291, appendix A).
pub fn eui64(network: IpNetwork, mac: &str) -> Option<IpAddr> {
    let octets: Vec<u8> = mac
        .split(':')
        .map(|part| u8::from_str_radix(part, 16))
        .collect::<Result<_, _>>()
        .ok()?;
    let [a, b, c, d, e, f] = octets.try_into().ok()?;
    let host = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    match network {
        IpNetwork::V6(net) if net.prefix() == 64 => Some(IpAddr::V6(Ipv6Addr::from(
            u128::from(net.network()) | u128::from(host),
        ))),
        _ => None,
    }
}

/// A MAC address of upstream's default range.
pub fn random_mac() -> String {
    let [a, b, c]: [u8; 3] = rand::random();
    format!("fa:16:3e:{a:02x}:{b:02x}:{c:02x}")
}

/// The usual spelling of a MAC address: lower case, colons; `None` for what is none or is a group address.
pub fn normal_mac(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let octets: Vec<u8> = parts
        .iter()
        .filter(|part| part.len() == 2)
        .map(|part| u8::from_str_radix(part, 16))
        .collect::<Result<_, _>>()
        .ok()?;
    let sound = parts.len() == 6
        && octets.len() == 6
        && octets[0] & 1 == 0
        && octets.iter().any(|octet| *octet != 0);
    sound.then(|| {
        octets
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect::<Vec<_>>()
            .join(":")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn pools_leave_out_the_gateway() {
        let text = |cidr: &str, gateway: &str| {
            let pools = default_pools(network(cidr), gateway.parse().ok());
            pools
                .iter()
                .map(|pool| format!("{}-{}", pool.start, pool.end))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(text("10.0.0.0/24", "10.0.0.1"), "10.0.0.2-10.0.0.254");
        assert_eq!(
            text("10.0.0.0/24", "10.0.0.100"),
            "10.0.0.1-10.0.0.99 10.0.0.101-10.0.0.254"
        );
        assert_eq!(text("10.0.0.0/24", ""), "10.0.0.1-10.0.0.254");
        assert_eq!(text("10.0.0.0/31", "10.0.0.0"), "10.0.0.1-10.0.0.1");
        assert_eq!(
            text("fd00::/64", "fd00::1"),
            "fd00::2-fd00::ffff:ffff:ffff:ffff"
        );
    }

    #[test]
    fn guests_own_addresses() {
        assert_eq!(
            eui64(network("fd00:1::/64"), "fa:16:3e:01:02:03"),
            "fd00:1::f816:3eff:fe01:203".parse().ok()
        );
        assert_eq!(
            normal_mac("FA-16-3E-01-02-03").as_deref(),
            Some("fa:16:3e:01:02:03")
        );
        for wrong in [
            "",
            "fa:16:3e:01:02",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "zz:16:3e:01:02:03",
        ] {
            assert_eq!(normal_mac(wrong), None, "{wrong}");
        }
    }

    proptest! {
        /// Every address is given once, all are given, and then there is none.
        #[test]
        fn the_whole_pool_once(prefix in 26u8..=30, gateway in 0u8..64, starts in proptest::collection::vec(any::<u128>(), 70)) {
            let net = network(&format!("10.9.0.0/{prefix}"));
            let gateway = IpAddr::V4(Ipv4Addr::new(10, 9, 0, gateway));
            let pools = default_pools(net, Some(gateway));
            let mut used = HashSet::new();
            for start in starts.iter().take(size(&pools) as usize) {
                let ip = choose(&pools, &used, *start);
                prop_assert!(ip.is_some_and(|ip| net.contains(ip) && ip != gateway && ip != net.network() && ip != net.broadcast()));
                prop_assert!(used.insert(ip.unwrap()));
            }
            prop_assert_eq!(choose(&pools, &used, 7), None);
        }

        #[test]
        fn huge_networks_do_not_overflow(prefix in 0u8..=128, start in any::<u128>()) {
            let pools = default_pools(network(&format!("::/{prefix}")), None);
            prop_assert!(choose(&pools, &HashSet::new(), start).is_some());
        }
    }
}
