//! One entry of `nics`: a list of networks, or a map with `networks`, `match`, `bond` and `mtu`.
//!
//! Each is read by itself; how entries fit together and to the host is asked in `cards`.

use crate::NetworkName;
use crate::cards::{Carried, Networks, is_card_name};
use crate::host::number;
use crate::networks_file::MTU;
use crate::nic::{BondMode, CardMatch, HashPolicy, LacpRate, Speed};
use diagnostics::Diagnostics;
use yaml_source::{Fault, Key, Map, Node, Span, Value};

/// An entry as it is written.
pub(crate) struct Entry<'a> {
    pub key: &'a Key,
    pub networks: Vec<NetworkName>,
    /// And where it is set.
    pub mtu: Option<(u16, &'a Span)>,
    pub kind: Kind<'a>,
}

pub(crate) enum Kind<'a> {
    Card(Option<(CardMatch, &'a Span)>),
    Bond(BondEntry<'a>),
    /// A card whose `match` could not be understood, which was told.
    Misread,
}

pub(crate) struct BondEntry<'a> {
    /// And where each is named.
    pub members: Vec<(&'a str, &'a Span)>,
    /// `None`: none that could be understood.
    pub mode: Option<BondMode>,
    pub miimon_ms: u32,
}

impl<'a> Entry<'a> {
    pub fn bond(&self) -> Option<&BondEntry<'a>> {
        match &self.kind {
            Kind::Bond(bond) => Some(bond),
            Kind::Card(_) | Kind::Misread => None,
        }
    }

    /// And where it stands.
    pub fn matching(&self) -> Option<&(CardMatch, &'a Span)> {
        match &self.kind {
            Kind::Card(matching) => matching.as_ref(),
            Kind::Bond(_) | Kind::Misread => None,
        }
    }

    pub fn has_match(&self) -> bool {
        self.matching().is_some()
    }
}

pub(crate) fn entry<'a>(
    key: &'a Key,
    node: &'a Node,
    networks: Option<&Networks>,
    carried: &mut Carried<'a>,
    diags: &mut Diagnostics,
) -> Entry<'a> {
    let mut entry = Entry {
        key,
        networks: Vec::new(),
        mtu: None,
        kind: Kind::Card(None),
    };
    let Some(map) = node.map() else {
        entry.networks = on_it(node, networks, carried, diags);
        return entry;
    };
    let name = &key.text;
    let what = format!("`{name}` of `nics`");
    map.check_keys(&what, &["networks", "match", "bond", "mtu"], diags);
    let given = |name: &str| map.get(name).filter(|node| !node.is_null());
    if let Some(node) = given("networks") {
        entry.networks = on_it(node, networks, carried, diags);
    }
    if let Some(node) = given("mtu") {
        entry.mtu = number(node, "`mtu`", *MTU.start(), *MTU.end(), diags)
            .and_then(|mtu| u16::try_from(mtu).ok())
            .map(|mtu| (mtu, &node.span));
    }
    let bond = map.get_entry("bond").filter(|(_, node)| !node.is_null());
    let matching = map.get_entry("match").filter(|(_, node)| !node.is_null());
    if (bond.is_some() || matching.is_some()) && !is_card_name(name) {
        diags.push(
            key.error(format!("`{name}` cannot be the name of a card"))
                .expected("at most 10 letters, digits, `-` and `_`"),
        );
    }
    match (bond, matching) {
        (Some((bond, _)), Some((matching, _))) => diags.push(
            matching
                .error(format!("`{name}` is a bond: there is no card to look for"))
                .related(&bond.span, "its members are here")
                .hint("give each member a `match` of its own"),
        ),
        (None, Some((_, node))) => {
            entry.kind = match card_match(node, diags) {
                Some(found) => Kind::Card(Some((found, &node.span))),
                None => Kind::Misread,
            };
        }
        _ => {}
    }
    if let Some((key, node)) = bond {
        entry.kind = Kind::Bond(self::bond(name, key, node, diags));
    }
    entry
}

/// The networks on one carrier.
fn on_it<'a>(
    node: &'a Node,
    networks: Option<&Networks>,
    carried: &mut Carried<'a>,
    diags: &mut Diagnostics,
) -> Vec<NetworkName> {
    let items = match &node.value {
        Value::Null => return Vec::new(),
        Value::String(_) => std::slice::from_ref(node),
        _ => match node.as_seq("the networks of a card", diags) {
            Some(items) => items,
            None => return Vec::new(),
        },
    };
    let mut names: Vec<NetworkName> = Vec::new();
    let mut untagged: Option<NetworkName> = None;
    for item in items {
        let Some(text) = item.as_str("a network's name", diags) else {
            continue;
        };
        let Ok(name) = text.parse::<NetworkName>() else {
            let words = NetworkName::words();
            diags.push(
                item.error(format!("there is no network `{text}`"))
                    .expected(format!("one of `{}`", words.join("`, `")))
                    .suggest(text, words),
            );
            continue;
        };
        if let Some(first) = carried.get(&name) {
            diags.push(
                item.error(format!("`nics` names the network `{name}` twice"))
                    .related(*first, "first named here"),
            );
            continue;
        }
        carried.insert(name, &item.span);
        match networks.map(|all| all.get(&name)) {
            Some(None) => {
                diags.push(
                    item.error(format!("`networks.yml` does not describe `{name}`"))
                        .hint(format!("add `{name}: {{cidr: ...}}` there")),
                );
                continue;
            }
            Some(Some(network)) if network.vlan.is_none() => {
                if let Some(other) = untagged {
                    diags.push(
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
                    diags.push(item.error(format!(
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

fn bond<'a>(name: &str, key: &'a Key, node: &'a Node, diags: &mut Diagnostics) -> BondEntry<'a> {
    let mut bond = BondEntry {
        members: Vec::new(),
        mode: None,
        miimon_ms: 100,
    };
    let what = format!("the bond `{name}`");
    let Some(map) = node.as_map(&what, diags) else {
        return bond;
    };
    let keys = ["members", "mode", "miimon", "lacp_rate", "hash_policy"];
    map.check_keys(&what, &keys, diags);
    let given = |name: &str| map.get(name).filter(|node| !node.is_null());
    if let Some(node) = map.required("members", &what, &key.span, diags)
        && let Some(items) = node.as_seq("`members`", diags)
    {
        let words = items
            .iter()
            .filter_map(|item| Some((item.as_str("the name of a card", diags)?, &item.span)));
        bond.members = words.collect();
        if items.is_empty() {
            diags.push(
                node.error(format!("{what} has no members"))
                    .expected("names of cards"),
            );
        }
    }
    if let Some(node) = given("miimon") {
        bond.miimon_ms = number(node, "`miimon`", 10, 10_000, diags).unwrap_or(bond.miimon_ms);
    }
    let lacp_rate = given("lacp_rate")
        .and_then(|node| choice(node, "`lacp_rate`", &LacpRate::ALL, LacpRate::as_str, diags));
    let hash_policy = given("hash_policy").and_then(|node| {
        choice(
            node,
            "`hash_policy`",
            &HashPolicy::ALL,
            HashPolicy::as_str,
            diags,
        )
    });
    let lacp = BondMode::Lacp {
        lacp_rate: lacp_rate.unwrap_or(LacpRate::Fast),
        hash_policy: hash_policy.unwrap_or(HashPolicy::Layer34),
    };
    match map.get("mode") {
        Some(node) => {
            let modes = [BondMode::ActiveBackup, lacp];
            bond.mode = choice(node, "`mode`", &modes, BondMode::as_str, diags);
        }
        None => diags.push(
            key.error(format!("{what} lacks `mode`"))
                .expected("`802.3ad` if the switches speak LACP, else `active-backup`"),
        ),
    }
    match bond.mode {
        Some(BondMode::ActiveBackup) => {
            for name in ["lacp_rate", "hash_policy"] {
                if let Some((key, _)) = map.get_entry(name) {
                    diags.push(
                        key.warning(format!("`{name}` has no meaning in mode `active-backup`"))
                            .hint("one member works at a time, and nothing is agreed on with the switch"),
                    );
                }
            }
        }
        Some(BondMode::Lacp { .. }) if bond.members.len() == 1 => diags.push(
            key.warning(format!("{what} has only one member"))
                .hint("nothing takes over when it fails: name a second card"),
        ),
        _ => {}
    }
    bond
}

/// One of several words.
fn choice<T: Copy>(
    node: &Node,
    what: &str,
    all: &[T],
    word: fn(T) -> &'static str,
    diags: &mut Diagnostics,
) -> Option<T> {
    let text = node.as_text(what, diags)?;
    let found = all.iter().copied().find(|one| word(*one) == text);
    if found.is_none() {
        let words: Vec<&str> = all.iter().map(|one| word(*one)).collect();
        diags.push(
            node.error(format!("{what} is `{text}`"))
                .expected(format!("one of `{}`", words.join("`, `")))
                .suggest(&text, words),
        );
    }
    found
}

fn card_match(node: &Node, diags: &mut Diagnostics) -> Option<CardMatch> {
    let map: &Map = node.as_map("`match`", diags)?;
    map.check_keys("`match`", &["driver", "path", "speed", "index"], diags);
    let given = |name: &str| map.get(name).filter(|node| !node.is_null());
    let faults = diags.len();
    let driver = given("driver")
        .and_then(|node| node.as_str("`driver`", diags))
        .map(str::to_owned);
    let path = given("path").and_then(|node| path(node, diags));
    let speed = given("speed").and_then(|node| speed(node, diags));
    let index = given("index")
        .and_then(|node| number(node, "`index`", 0, 255, diags))
        .and_then(|index| u16::try_from(index).ok());
    if driver.is_none() && path.is_none() && speed.is_none() {
        if diags.len() == faults {
            diags.push(
                node.error("`match` does not say what card is meant")
                    .expected("at least one of `driver`, `path`, `speed`"),
            );
        }
        return None;
    }
    Some(CardMatch {
        driver,
        path,
        speed,
        index,
    })
}

/// `0000:3b:00.0`, or `3b:00.0` as `lspci` shows it.
fn path(node: &Node, diags: &mut Diagnostics) -> Option<String> {
    let text = node.as_str("`path`", diags)?.to_ascii_lowercase();
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_hexdigit() { 'h' } else { c })
        .collect();
    match shape.as_str() {
        "hhhh:hh:hh.h" => Some(text),
        "hh:hh.h" => Some(format!("0000:{text}")),
        _ => {
            diags.push(
                node.error(format!("`{text}` is not a PCI address"))
                    .expected(
                        "bus, device and function as `lspci -D` shows them: `\"0000:3b:00.0\"`",
                    ),
            );
            None
        }
    }
}

/// `fastest`, Mbit/s as a number, or Gbit/s as in `25G`.
fn speed(node: &Node, diags: &mut Diagnostics) -> Option<Speed> {
    let read = match &node.value {
        Value::String(text) if text == "fastest" => Some(Speed::Fastest),
        Value::String(text) => text
            .strip_suffix(['G', 'g'])
            .and_then(|gbit| gbit.parse::<u32>().ok()?.checked_mul(1000))
            .map(Speed::Mbit),
        Value::Int(mbit) => u32::try_from(*mbit).ok().map(Speed::Mbit),
        _ => None,
    };
    let read = read.filter(|speed| *speed != Speed::Mbit(0));
    if read.is_none() {
        diags.push(
            node.error("`speed` is not a card's speed")
                .expected("`fastest`, or Mbit/s such as `25000`, or `25G`"),
        );
    }
    read
}
