//! The kernel command line's words that concern the agent. Pure.
use std::net::Ipv4Addr;

use agent_protocol::enrol::{CMDLINE_MAC, CMDLINE_SERVER};

/// This node's address on the boot network, for example `10.20.0.11/24`.
const CMDLINE_ADDRESS: &str = "wright.address";
/// Offers a shell on the console when the installation failed.
const CMDLINE_DEBUG: &str = "wright.debug";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootArguments {
    /// Base URL of the boot server, without a slash at the end.
    pub server: String,
    /// MAC of the NIC that booted, lower case with colons.
    pub mac: String,
    pub address: Ipv4Addr,
    /// Length of the network prefix, 0 to 32.
    pub prefix: u8,
    pub debug: bool,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    #[error("the kernel command line has no `{0}=`")]
    Missing(&'static str),
    #[error("`{key}={value}` on the kernel command line: expected {expected}")]
    Bad {
        key: &'static str,
        value: String,
        expected: &'static str,
    },
}

pub fn parse(cmdline: &str) -> Result<BootArguments, CmdlineError> {
    let value = |key: &'static str| {
        // The last one wins, as for the kernel's own parameters.
        cmdline
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .rfind(|(k, _)| *k == key)
            .map(|(_, v)| v)
    };
    let need = |key| {
        value(key)
            .filter(|v| !v.is_empty())
            .ok_or(CmdlineError::Missing(key))
    };
    let bad = |key, value: &str, expected| CmdlineError::Bad {
        key,
        value: value.to_owned(),
        expected,
    };

    let server = need(CMDLINE_SERVER)?;
    if !server.starts_with("http://") {
        return Err(bad(
            CMDLINE_SERVER,
            server,
            "a URL that begins with http://",
        ));
    }
    let mac = need(CMDLINE_MAC)?.to_ascii_lowercase();
    if mac.len() != 17
        || !mac
            .split(':')
            .all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok())
    {
        return Err(bad(
            CMDLINE_MAC,
            &mac,
            "six pairs of hex digits with colons between them",
        ));
    }
    let cidr = need(CMDLINE_ADDRESS)?;
    let (address, prefix) = cidr
        .split_once('/')
        .and_then(|(address, prefix)| {
            Some((
                address.parse().ok()?,
                prefix.parse().ok().filter(|p| *p <= 32)?,
            ))
        })
        .ok_or_else(|| {
            bad(
                CMDLINE_ADDRESS,
                cidr,
                "an IPv4 address and prefix such as 10.20.0.11/24",
            )
        })?;
    Ok(BootArguments {
        server: server.trim_end_matches('/').to_owned(),
        mac,
        address,
        prefix,
        debug: cmdline
            .split_whitespace()
            .any(|word| matches!(word.split('=').next(), Some(CMDLINE_DEBUG))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "console=ttyS0 wright.server=http://10.20.0.1:7080/ wright.mac=52:54:00:AA:00:01 wright.address=10.20.0.11/24\n";

    #[test]
    fn the_boot_servers_words_are_found() {
        assert_eq!(
            parse(GOOD),
            Ok(BootArguments {
                server: "http://10.20.0.1:7080".into(),
                mac: "52:54:00:aa:00:01".into(),
                address: Ipv4Addr::new(10, 20, 0, 11),
                prefix: 24,
                debug: false
            })
        );
        assert!(parse(&format!("{GOOD} wright.debug")).unwrap().debug);
        assert!(parse(&format!("{GOOD} wright.debug=1")).unwrap().debug);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let cases = [
            ("quiet", "the kernel command line has no `wright.server=`"),
            (
                "wright.server=tftp://x",
                "`wright.server=tftp://x` on the kernel command line: expected a URL that begins with http://",
            ),
            (
                "wright.server=http://x wright.mac=12",
                "`wright.mac=12` on the kernel command line: expected six pairs of hex digits with colons between them",
            ),
            (
                "wright.server=http://x wright.mac=52:54:00:aa:00:01 wright.address=10.0.0.1/33",
                "`wright.address=10.0.0.1/33` on the kernel command line: expected an IPv4 address and prefix such as 10.20.0.11/24",
            ),
        ];
        for (line, message) in cases {
            assert_eq!(parse(line).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn no_command_line_panics(line in "(wright\\.(server|mac|address)=)?\\PC*") {
            let _ = parse(&line);
        }
    }
}
