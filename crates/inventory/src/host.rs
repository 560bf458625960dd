//! What the variables of one host mean: cards, networks on them, BMC, the emulated machine.

use crate::network::{Network, NetworkName};
use crate::{DEFAULT_DOMAIN, MacAddress, MacAddressError, ROLE_GROUPS};
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
    /// Its cards in the order of `nics`. None if the machine is not installed by us.
    pub nics: Vec<Nic>,
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

/// A network card.
#[derive(Debug, Clone)]
pub struct Nic {
    pub name: String,
    pub mac: MacAddress,
    /// At most one of them has no VLAN tag.
    pub networks: Vec<NetworkName>,
    /// Where `nics` names it.
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

    /// The card that carries a network.
    pub fn nic_on(&self, network: NetworkName) -> Option<&Nic> {
        self.nics.iter().find(|nic| nic.networks.contains(&network))
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
    let nics = reader.nics(&groups, networks);
    let bmc = reader.bmc(!nics.is_empty(), networks);
    let node_profile = reader.text("node_profile");
    let domain = reader.domain();
    let app_bridge = reader.text("app_bridge").filter(|name| !name.is_empty());
    let lab = reader.lab();
    Host {
        name: name.to_owned(),
        groups,
        nics,
        bmc,
        node_profile,
        lab,
        domain,
        app_bridge,
        vars,
        span: span.clone(),
    }
}

struct Reader<'a> {
    name: &'a str,
    span: &'a Span,
    vars: &'a Map,
    diags: &'a mut Diagnostics,
}

impl<'a> Reader<'a> {
    fn var(&self, name: &str) -> Option<&'a Node> {
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

    /// Cards with addresses. A machine that runs already (`ansible_host`, or a local connection)
    /// needs none.
    fn nics(
        &mut self,
        groups: &[String],
        networks: Option<&IndexMap<NetworkName, Network>>,
    ) -> Vec<Nic> {
        let macs = self.macs();
        let Some(macs) = macs else {
            let runs = self.var("ansible_host").is_some()
                || self
                    .var("ansible_connection")
                    .is_some_and(|node| node.str() == Some("local"));
            if !runs && !self.vars.contains_key("macs") {
                let keys = self.vars.keys().map(|key| key.text.as_str());
                self.diags.push(
                    self.span
                        .error(format!("the host `{}` lacks `macs`", self.name))
                        .expected("the address of each card: `macs: {eth0: \"52:54:00:...\"}`")
                        .suggest("macs", keys),
                );
            }
            return Vec::new();
        };
        let Some(node) = self.var("nics") else {
            self.diags.push(
                self.span
                    .error(format!("the host `{}` lacks `nics`", self.name))
                    .expected("the networks on each card: `nics: {eth0: [pxe], eth1: [mgmt]}`")
                    .hint("what all hosts have in common belongs in `group_vars/all.yml`"),
            );
            return Vec::new();
        };
        let Some(map) = node.as_map("`nics`", self.diags) else {
            return Vec::new();
        };
        let mut nics = Vec::new();
        let mut carried: IndexMap<NetworkName, Span> = IndexMap::new();
        for (key, node) in map {
            let names = self.carried(node, networks, &mut carried);
            match macs.get(key.text.as_str()) {
                Some((mac, _)) => nics.push(Nic {
                    name: key.text.clone(),
                    mac: *mac,
                    networks: names,
                    span: key.span.clone(),
                }),
                // A card that carries nothing needs no address.
                None if names.is_empty() => {}
                None => {
                    let at = self
                        .vars
                        .get_entry("macs")
                        .map_or(self.span, |(k, _)| &k.span);
                    self.diags.push(
                        at.error(format!(
                            "the host `{}` has no MAC address for `{}`",
                            self.name, key.text
                        ))
                        .related(&key.span, "it has networks here"),
                    );
                }
            }
        }
        for (name, (_, span)) in macs {
            if !map.contains_key(name) {
                self.diags
                    .push(span.warning(format!("`nics` gives no networks to `{name}`")));
            }
        }
        self.needed(node, groups, &carried);
        nics
    }

    fn macs(&mut self) -> Option<IndexMap<&'a str, (MacAddress, &'a Span)>> {
        let map = self.var("macs")?.as_map("`macs`", self.diags)?;
        let mut macs = IndexMap::new();
        for (key, node) in map {
            let name = key.text.as_str();
            // An interface's name has at most 15 characters, and `.4094` may be added for a VLAN.
            let fits = (1..=10).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
            if !fits {
                self.diags.push(
                    key.error(format!("`{name}` cannot be the name of a card"))
                        .expected("at most 10 letters, digits, `-` and `_`"),
                );
                continue;
            }
            let Some(text) = node.as_str("a MAC address", self.diags) else {
                continue;
            };
            match text.parse() {
                Ok(mac) => {
                    macs.insert(name, (mac, &node.span));
                }
                Err(error) => {
                    let error: MacAddressError = error;
                    let fault = node
                        .error(error.to_string())
                        .expected("six pairs of hexadecimal digits, as in `\"52:54:00:12:34:56\"`");
                    self.diags.push(if text.contains("{{") {
                        fault.hint("templates are not evaluated here")
                    } else {
                        fault
                    });
                }
            }
        }
        Some(macs)
    }

    /// The networks on one card.
    fn carried(
        &mut self,
        node: &Node,
        networks: Option<&IndexMap<NetworkName, Network>>,
        carried: &mut IndexMap<NetworkName, Span>,
    ) -> Vec<NetworkName> {
        let items = match &node.value {
            Value::Null => return Vec::new(),
            Value::String(_) => std::slice::from_ref(node),
            _ => match node.as_seq("the networks of a card", self.diags) {
                Some(items) => items,
                None => return Vec::new(),
            },
        };
        let mut names: Vec<NetworkName> = Vec::new();
        let mut untagged: Option<NetworkName> = None;
        for item in items {
            let Some(text) = item.as_str("a network's name", self.diags) else {
                continue;
            };
            let Ok(name) = text.parse::<NetworkName>() else {
                let words = NetworkName::words();
                self.diags.push(
                    item.error(format!("there is no network `{text}`"))
                        .expected(format!("one of `{}`", words.join("`, `")))
                        .suggest(text, words),
                );
                continue;
            };
            if let Some(first) = carried.get(&name) {
                self.diags.push(
                    item.error(format!("`nics` names the network `{name}` twice"))
                        .related(first, "first named here"),
                );
                continue;
            }
            carried.insert(name, item.span.clone());
            match networks.map(|all| all.get(&name)) {
                Some(None) => {
                    self.diags.push(
                        item.error(format!("`networks.yml` does not describe `{name}`"))
                            .hint(format!("add `{name}: {{cidr: ...}}` there")),
                    );
                    continue;
                }
                Some(Some(network)) if network.vlan.is_none() => {
                    if let Some(other) = untagged {
                        self.diags.push(
                            item.error(format!(
                                "`{other}` and `{name}` share a card and both lack a VLAN tag"
                            ))
                            .hint("set `vlan` of one of them in `networks.yml`"),
                        );
                    }
                    untagged = Some(name);
                }
                Some(Some(network)) => {
                    let twin = names.iter().find(|other| {
                        networks
                            .and_then(|all| all.get(*other))
                            .and_then(|n| n.vlan)
                            == network.vlan
                    });
                    if let Some(other) = twin {
                        self.diags.push(item.error(format!(
                            "`{other}` and `{name}` share a card and the same VLAN tag"
                        )));
                    }
                }
                None => {}
            }
            names.push(name);
        }
        names
    }

    /// The networks that every node, and every controller, must be on.
    fn needed(&mut self, nics: &Node, groups: &[String], carried: &IndexMap<NetworkName, Span>) {
        let at = &nics.span;
        for (name, purpose) in [
            (NetworkName::Pxe, "it is installed through it"),
            (NetworkName::Mgmt, "the services talk to each other there"),
        ] {
            if !carried.contains_key(&name) {
                self.diags
                    .push(at.error(format!("no card carries `{name}`")).hint(purpose));
            }
        }
        let controller = groups.iter().any(|group| group == "controller");
        if controller && !carried.contains_key(&NetworkName::App) {
            self.diags.push(
                at.error("no card of a controller carries `app`")
                    .hint("the public end points and floating addresses are on it"),
            );
        }
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

fn number(node: &Node, what: &str, min: i64, max: i64, diags: &mut Diagnostics) -> Option<u32> {
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
