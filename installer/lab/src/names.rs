//! Names of namespaces, bridges and taps: each carries the environment, and an interface's name has at most 15
//! characters (IFNAMSIZ less one). Pure.
use sha2::{Digest, Sha256};

const INTERFACE_CHARS_MAX: usize = 15;

/// The network namespace of an environment's lab.
pub fn namespace(env: &str) -> String {
    format!("wl-{env}-net")
}

/// The network namespace of a machine that is a container.
pub(crate) fn machine_namespace(env: &str, machine: &str) -> String {
    format!("wl-{env}-{machine}")
}

/// The bridge that is the wire of `network`.
pub(crate) fn bridge(env: &str, network: &str) -> String {
    interface(format!("wl-{env}-{network}"))
}

/// The MAC address that the host has on a bridge; locally administered. Left to the kernel it would be that of one of the cards that
/// are plugged in, and change with these: whoever has learnt it talks to nobody then.
pub(crate) fn bridge_address(bridge: &str) -> String {
    let digest = Sha256::digest(bridge.as_bytes());
    let octets = digest.iter().take(5).map(|octet| format!("{octet:02x}"));
    format!("0e:{}", octets.collect::<Vec<_>>().join(":"))
}

/// The lab's switch.
pub(crate) fn switch(env: &str) -> String {
    interface(format!("wl-{env}-switch"))
}

/// The host's end of a machine's NIC.
pub(crate) fn tap(env: &str, machine: &str, nic: &str) -> String {
    interface(format!("wl-{env}-{machine}-{nic}"))
}

/// `full` if it fits; else a digest of it and its end, so that it stays distinct and can be recognised.
fn interface(full: String) -> String {
    const END: usize = 6;
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    if full.len() <= INTERFACE_CHARS_MAX {
        return full;
    }
    let digest = Sha256::digest(full.as_bytes());
    let digits: String = digest
        .iter()
        .take(5)
        .map(|byte| char::from(DIGITS[usize::from(byte % 32)]))
        .collect();
    let end: String = full
        .chars()
        .rev()
        .take(END)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    format!("wl-{digits}-{}", end.trim_start_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn short_names_are_plain_and_long_ones_fit() {
        assert_eq!(bridge("lab", "private"), "wl-lab-private");
        assert_eq!(
            tap("lab", "node-1", "eth0"),
            interface("wl-lab-node-1-eth0".into())
        );
        for name in [
            bridge("production", "storage"),
            tap("lab", "node-12", "eth5"),
            tap("e", "n", "enp0s31f6"),
        ] {
            assert!(name.len() <= 15 && name.starts_with("wl-"), "{name}");
        }
    }

    #[test]
    fn a_rack_of_taps_is_distinct() {
        let names: BTreeSet<String> = (0..100)
            .flat_map(|node| {
                (0..6).map(move |nic| {
                    tap("datacenter", &format!("node-{node}"), &format!("eth{nic}"))
                })
            })
            .collect();
        assert_eq!(names.len(), 600);
    }
}
