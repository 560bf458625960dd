//! Which addresses of the web data may be fetched from. Pure: an address in, a verdict out.
//!
//! The controllers stand where users cannot look: whoever may name any address can let them read, from inside, what was never
//! meant for him. So only addresses that all the internet may reach are taken, unless an operator names others.

use ipnetwork::IpNetwork;
use reqwest::Url;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `[web_download]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Schemes, `http` and `https` at most.
    pub allowed_schemes: Vec<String>,
    /// When it names hosts, only these.
    pub allowed_hosts: Vec<String>,
    /// Never these hosts.
    pub disallowed_hosts: Vec<String>,
    /// Ports; when it names none, any.
    pub allowed_ports: Vec<u16>,
    /// Never these ports.
    pub disallowed_ports: Vec<u16>,
    /// Networks that may be reached although they are not of the internet: `["10.1.0.0/16"]`.
    pub allowed_networks: Vec<IpNetwork>,
    /// Networks that may never be reached.
    pub disallowed_networks: Vec<IpNetwork>,
    /// How often a server may send on to another address.
    pub redirects: usize,
    /// Seconds in which a whole download must be done.
    pub seconds: u64,
}

impl Default for WebConfig {
    fn default() -> Self {
        WebConfig {
            allowed_schemes: vec!["http".to_owned(), "https".to_owned()],
            allowed_hosts: Vec::new(),
            disallowed_hosts: Vec::new(),
            allowed_ports: vec![80, 443],
            disallowed_ports: Vec::new(),
            allowed_networks: Vec::new(),
            disallowed_networks: Vec::new(),
            redirects: 5,
            seconds: 6 * 3600,
        }
    }
}

impl WebConfig {
    /// Whether an address may be asked: by its words, before any name is looked up.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, text: &str) -> Result<Url, String> {
        let refused = |why: &str| {
            Err(format!(
                "URI for web-download does not pass filtering: {why}: {text}"
            ))
        };
        let Ok(url) = Url::parse(text) else {
            return refused("it is none");
        };
        let scheme = url.scheme();
        if !["http", "https"].contains(&scheme)
            || !self.allowed_schemes.iter().any(|allowed| allowed == scheme)
        {
            return refused("its scheme is not allowed");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("it has a user or a password, which would be written down");
        }
        let Some(host) = url.host_str().map(str::to_ascii_lowercase) else {
            return refused("it has no host");
        };
        let bare = host.trim_end_matches('.');
        let named = |list: &[String]| list.iter().any(|name| name.eq_ignore_ascii_case(bare));
        if named(&self.disallowed_hosts)
            || !self.allowed_hosts.is_empty() && !named(&self.allowed_hosts)
        {
            return refused("its host is not allowed");
        }
        let port = url.port_or_known_default().unwrap_or(0);
        if self.disallowed_ports.contains(&port)
            || !self.allowed_ports.is_empty() && !self.allowed_ports.contains(&port)
        {
            return refused("its port is not allowed");
        }
        // Other ways to write a number (`0x7f.1`) have become the usual one in parsing.
        let address = bare.trim_matches(['[', ']']).parse::<IpAddr>();
        if address.is_ok_and(|address| !self.may_reach(address)) {
            return refused("its address is not one of the internet");
        }
        if bare == "localhost" || bare.ends_with(".localhost") {
            let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
            if !self.may_reach(loopback) {
                return refused("its address is not one of the internet");
            }
        }
        Ok(url)
    }

    /// Whether a connection to this address may be made.
    pub fn may_reach(&self, address: IpAddr) -> bool {
        let address = plain(address);
        let within = |networks: &[IpNetwork]| networks.iter().any(|net| net.contains(address));
        !within(&self.disallowed_networks)
            && (within(&self.allowed_networks) || is_of_the_internet(address))
    }
}

/// The IPv4 address that an IPv6 address stands for, if it does.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // NAT64 (RFC 6052, the well-known prefix) and 6to4: a gateway makes the IPv4 address inside of it.
        [0x64, 0xff9b, 0, 0, 0, 0, y, z] => of(y, z),
        [0x2002, y, z, ..] => of(y, z),
        _ => address,
    }
}

/// Whether everybody may reach an address: no loopback, link-local (where metadata are), private or special one.
fn is_of_the_internet(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                // Carrier-grade NAT, where some clouds have their metadata; protocol assignments; benchmarks; documentation.
                || (a == 100 && (64..128).contains(&b))
                || (a, b, c) == (192, 0, 0)
                || (a == 198 && (b & 0xfe) == 18)
                || v4.is_documentation())
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            // Only global unicast, without documentation, Teredo and what the IETF keeps.
            (first & 0xe000) == 0x2000
                && v6.segments()[..2] != [0x2001, 0xdb8]
                && !(first == 0x2001 && v6.segments()[1] < 0x200)
                && v6 != Ipv6Addr::LOCALHOST
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_internet_is_reached_and_nothing_else() {
        let rules = WebConfig::default();
        for good in [
            "https://cloud.debian.org/images/a.qcow2",
            "http://93.184.216.34/a",
            "https://[2606:2800:220:1::1]/a",
        ] {
            assert!(rules.check(good).is_ok(), "{good}");
        }
        for bad in [
            "ftp://cloud.debian.org/a",
            "file:///etc/shadow",
            "https://cloud.debian.org:22/a",
            "https://user:word@cloud.debian.org/a",
            "http://localhost/a",
            "http://a.localhost./a",
            "http://127.0.0.1/a",
            "http://0x7f.1/a",
            "http://2130706433/a",
            "http://0/a",
            "http://169.254.169.254/latest/meta-data",
            "http://100.100.100.200/latest/meta-data",
            "http://10.20.0.10/a",
            "http://192.168.1.1/a",
            "http://[::1]/a",
            "http://[::]/a",
            "http://[::ffff:127.0.0.1]/a",
            "http://[::ffff:a9fe:a9fe]/a",
            "http://[64:ff9b::7f00:1]/a",
            // A network's own prefix (RFC 8215): where the IPv4 address lies in it only that network knows.
            "http://[64:ff9b:1::5db8:d822]/a",
            "http://[2002:7f00:1::]/a",
            "http://[fe80::1]/a",
            "http://[fd00:ec2::254]/a",
            "http://224.0.0.1/a",
            "http://255.255.255.255/a",
            "none",
            "",
        ] {
            assert!(rules.check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_operator_opens_and_closes() {
        let rules = WebConfig {
            allowed_networks: vec!["10.1.0.0/16".parse().unwrap()],
            disallowed_networks: vec!["10.1.2.0/24".parse().unwrap()],
            allowed_ports: vec![80, 8080],
            disallowed_ports: vec![80],
            disallowed_hosts: vec!["bad.example".to_owned()],
            ..WebConfig::default()
        };
        assert!(rules.check("http://10.1.1.1:8080/a").is_ok());
        assert!(
            rules.check("http://10.1.1.1/a").is_err(),
            "its port is refused"
        );
        assert!(rules.check("http://10.1.2.1:8080/a").is_err());
        assert!(rules.check("http://10.2.1.1:8080/a").is_err());
        assert!(rules.check("http://BAD.example.:8080/a").is_err());
        let only = WebConfig {
            allowed_hosts: vec!["good.example".to_owned()],
            ..WebConfig::default()
        };
        assert!(only.check("http://Good.example/a").is_ok());
        assert!(only.check("http://other.example/a").is_err());
    }
}
