//! What the variables of one host mean: roles, BMC, the emulated machine. Its cards are read by `cards`.

use crate::network::{Network, NetworkName};
use crate::{Bond, Carrier, DEFAULT_DOMAIN, Nic, ROLE_GROUPS, cards};
use diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use yaml_source::{Fault, Map, Node, Span, Value};

/// A machine of the inventory.
#[derive(Debug, Clone)]
pub struct Host {
    pub name: String,
    /// All groups that it is in, parents too, by name; `all` is not listed.
    pub groups: Vec<String>,
    /// Its cards in the order of `nics`, members of bonds too. None if the machine is not installed by us.
    pub nics: Vec<Nic>,
    /// In the order of `nics`.
    pub bonds: Vec<Bond>,
    pub bmc: Option<Bmc>,
    pub node_profile: Option<String>,
    /// What it is made of if it is emulated.
    pub lab: LabMachine,
    /// Domain of its full name.
    pub domain: String,
    /// Name of the OVS bridge that takes the card of `app` (variable `app_bridge`).
    pub app_bridge: Option<String>,
    /// All variables, merged.
    pub vars: Map,
    /// Where it stands in `hosts.yml`.
    pub span: Span,
}

/// The management controller that switches the machine on and off.
#[derive(Debug, Clone)]
pub struct Bmc {
    /// `None`: the network plan gives it one.
    pub address: Option<Ipv4Addr>,
    /// UDP port of IPMI, 623 unless set.
    pub port: u16,
    pub user: String,
    pub span: Span,
}

/// An emulated machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabMachine {
    pub memory_mib: u32,
    pub cpus: u32,
    pub disk_gib: u32,
    pub firmware: Firmware,
}

impl Default for LabMachine {
    fn default() -> Self {
        Self {
            memory_mib: 1536,
            cpus: 2,
            disk_gib: 10,
            firmware: Firmware::Bios,
        }
    }
}

/// How an emulated machine boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// SeaBIOS, and iPXE in the card's ROM.
    Bios,
    /// OVMF with its own PXE, so that the first stage comes by TFTP.
    UefiPxe,
}

impl Host {
    /// Whether it is in a group, directly or through a child group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|name| name == group)
    }

    pub fn is_controller(&self) -> bool {
        self.in_group("controller")
    }

    /// Name with domain, `node-1.domain.tld`.
    pub fn fqdn(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }

    /// What networks can lie on: the cards, then the bonds.
    pub fn carriers(&self) -> impl Iterator<Item = Carrier<'_>> {
        let cards = self.nics.iter().map(Carrier::Card);
        cards.chain(self.bonds.iter().map(Carrier::Bond))
    }

    /// The card or bond that carries a network.
    pub fn carrier_of(&self, network: NetworkName) -> Option<Carrier<'_>> {
        self.carriers()
            .find(|carrier| carrier.networks().contains(&network))
    }

    /// Whether it is on a network.
    pub fn carries(&self, network: NetworkName) -> bool {
        self.carrier_of(network).is_some()
    }

    pub fn nic(&self, name: &str) -> Option<&Nic> {
        self.nics.iter().find(|nic| nic.name == name)
    }

    /// The card that firmware boots from: the one on `pxe`, or the first member with a known address of a bond on it.
    pub fn boot_nic(&self) -> Option<&Nic> {
        match self.carrier_of(NetworkName::Pxe)? {
            Carrier::Card(nic) => Some(nic),
            Carrier::Bond(bond) => bond
                .members
                .iter()
                .filter_map(|name| self.nic(name))
                .find(|nic| nic.mac.is_some()),
        }
    }
}

/// Reads one host's variables. `networks` is what `networks.yml` says, `None` if it could not be read.
pub(crate) fn host(
    name: &str,
    span: &Span,
    groups: &[&str],
    vars: Map,
    networks: Option<&IndexMap<NetworkName, Network>>,
    diags: &mut Diagnostics,
) -> Host {
    let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    groups.sort();
    let mut reader = Reader {
        name,
        span,
        vars: &vars,
        diags,
    };
    reader.roles(&groups);
    let (nics, bonds) = cards::cards(&mut reader, &groups, networks);
    let bmc = reader.bmc(!nics.is_empty(), networks);
    let node_profile = reader.text("node_profile");
    let domain = reader.domain();
    let app_bridge = reader.text("app_bridge").filter(|name| !name.is_empty());
    let lab = reader.lab();
    Host {
        name: name.to_owned(),
        groups,
        nics,
        bonds,
        bmc,
        node_profile,
        lab,
        domain,
        app_bridge,
        vars,
        span: span.clone(),
    }
}

/// One host's variables, and where what is wrong with them goes.
pub(crate) struct Reader<'a> {
    pub name: &'a str,
    pub span: &'a Span,
    pub vars: &'a Map,
    pub diags: &'a mut Diagnostics,
}

impl<'a> Reader<'a> {
    pub fn var(&self, name: &str) -> Option<&'a Node> {
        self.vars.get(name).filter(|node| !node.is_null())
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let node = self.var(name)?;
        node.as_text(&format!("`{name}`"), self.diags)
    }

    fn roles(&mut self, groups: &[String]) {
        if groups.iter().any(|group| ROLE_GROUPS.contains(&&**group)) {
            return;
        }
        let diagnostic = self
            .span
            .error(format!("the host `{}` has no role", self.name))
            .expected(format!(
                "a place in one of the groups `{}`",
                ROLE_GROUPS.join("`, `")
            ));
        let near = groups
            .iter()
            .find_map(|group| Some((group, did_you_mean(group, ROLE_GROUPS)?)));
        self.diags.push(match near {
            Some((group, near)) => {
                diagnostic.hint(format!("it is in `{group}`: did you mean `{near}`?"))
            }
            None => diagnostic,
        });
    }

    fn domain(&mut self) -> String {
        let Some(text) = self.text("domain") else {
            return DEFAULT_DOMAIN.to_owned();
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if text.len() > 180 || !text.split('.').all(label) {
            if let Some(node) = self.var("domain") {
                self.diags.push(
                    node.error(format!("`{text}` is not a domain"))
                        .expected("a domain in lower case, such as `cloud.example.org`"),
                );
            }
            return DEFAULT_DOMAIN.to_owned();
        }
        text
    }

    fn bmc(
        &mut self,
        installed: bool,
        networks: Option<&IndexMap<NetworkName, Network>>,
    ) -> Option<Bmc> {
        let ipmi = networks.and_then(|all| all.get(&NetworkName::Ipmi));
        let Some((key, node)) = self.vars.get_entry("bmc") else {
            if installed && ipmi.is_some() {
                self.diags.push(
                    self.span
                        .error(format!("the host `{}` lacks `bmc`", self.name))
                        .expected("`bmc: {address: ..., user: ...}`")
                        .hint(
                            "`bmc: {}` lets the network plan choose the address; \
                             `bmc: false` says that there is none",
                        ),
                );
            }
            return None;
        };
        if node.value == Value::Bool(false) {
            return None;
        }
        let map = node.as_map("`bmc`", self.diags)?;
        if let Some((key, _)) = map.get_entry("password") {
            // Without the line itself: this message may end up in a log.
            let mut at = key.span.location();
            at.excerpt = None;
            self.diags.push(
                Diagnostic::error("a password does not belong in the inventory")
                    .at(at)
                    .hint("the environment's encrypted secrets are the place for it"),
            );
            return None;
        }
        map.check_keys("`bmc`", &["address", "port", "user"], self.diags);
        let given = |name: &str| map.get(name).filter(|node| !node.is_null());
        let mut address = None;
        if let Some(node) = given("address")
            && let Some(text) = node.as_str("`address`", self.diags)
        {
            match (text.parse::<Ipv4Addr>(), ipmi) {
                (Err(_), _) => self.diags.push(
                    node.error(format!("`{text}` is not an IPv4 address"))
                        .expected("the address of the BMC on the network `ipmi`"),
                ),
                (Ok(ip), Some(ipmi)) if !ipmi.cidr.contains(ip) => self.diags.push(
                    node.error(format!("{ip} is not on the network `ipmi`"))
                        .expected(format!("an address in {}", ipmi.cidr)),
                ),
                (Ok(ip), Some(ipmi))
                    if ipmi.gateway == Some(ip)
                        || ip == ipmi.cidr.network()
                        || ip == ipmi.cidr.broadcast() =>
                {
                    self.diags.push(
                        node.error(format!("{ip} cannot be the address of a BMC"))
                            .expected("neither the gateway nor the ends of the network"),
                    );
                }
                (Ok(ip), _) => address = Some(ip),
            }
        } else if networks.is_some() && ipmi.is_none() {
            self.diags.push(
                key.error(
                    "the BMC has no address, and there is no network `ipmi` to take one from",
                ),
            );
        }
        let port = given("port")
            .and_then(|node| number(node, "`port`", 1, 65535, self.diags))
            .and_then(|number| u16::try_from(number).ok())
            .unwrap_or(623);
        let user = given("user")
            .and_then(|node| node.as_text("`user`", self.diags))
            .unwrap_or_else(|| "admin".to_owned());
        Some(Bmc {
            address,
            port,
            user,
            span: key.span.clone(),
        })
    }

    fn lab(&mut self) -> LabMachine {
        let mut lab = LabMachine::default();
        let Some(map) = self
            .var("lab")
            .and_then(|node| node.as_map("`lab`", self.diags))
        else {
            return lab;
        };
        map.check_keys(
            "`lab`",
            &["memory_mib", "cpus", "disk_gib", "firmware"],
            self.diags,
        );
        for (name, min, max, field) in [
            ("memory_mib", 256, 1 << 20, &mut lab.memory_mib),
            ("cpus", 1, 256, &mut lab.cpus),
            ("disk_gib", 2, 1 << 16, &mut lab.disk_gib),
        ] {
            if let Some(value) = map
                .get(name)
                .filter(|node| !node.is_null())
                .and_then(|node| number(node, &format!("`{name}`"), min, max, self.diags))
            {
                *field = value;
            }
        }
        if let Some(node) = map.get("firmware").filter(|node| !node.is_null()) {
            match node.deserialize() {
                Ok(firmware) => lab.firmware = firmware,
                Err(fault) => self.diags.push(fault.expected("`bios` or `uefi-pxe`")),
            }
        }
        lab
    }
}

pub(crate) fn number(
    node: &Node,
    what: &str,
    min: i64,
    max: i64,
    diags: &mut Diagnostics,
) -> Option<u32> {
    let number = node.as_int(what, diags)?;
    if (min..=max).contains(&number) {
        return u32::try_from(number).ok();
    }
    diags.push(
        node.error(format!("{what} is {number}"))
            .expected(format!("a number from {min} to {max}")),
    );
    None
}
