//! `macs`, `nics` and `node_profiles`: the cards of one host, the bonds made of them, and what lies on each.
//!
//! What a bond or a `match` says is read in `nics_entry`. Which card of the machine a `match` means is
//! not known here.

use crate::host::Reader;
use crate::network::{Network, NetworkName};
use crate::nic::{Bond, BondMode, Nic};
use crate::nics_entry::{Entry, Kind, entry};
use crate::{MacAddress, MacAddressError};
use indexmap::IndexMap;
use yaml_source::{Fault, Map, Node, Span};

pub(crate) type Networks = IndexMap<NetworkName, Network>;
/// Each address and where it stands.
type Macs<'a> = IndexMap<&'a str, (MacAddress, &'a Span)>;
/// Where each network was first named.
pub(crate) type Carried<'a> = IndexMap<NetworkName, &'a Span>;

/// Cards and bonds. A machine that runs already (`ansible_host`, or a local connection) needs none.
pub(crate) fn cards(
    reader: &mut Reader<'_>,
    groups: &[String],
    networks: Option<&Networks>,
) -> (Vec<Nic>, Vec<Bond>) {
    let none = (Vec::new(), Vec::new());
    let Some(macs) = macs(reader) else {
        lacks_macs(reader);
        return none;
    };
    let Ok(node) = layout(reader) else {
        return none;
    };
    let Some(node) = node else {
        reader.diags.push(
            reader
                .span
                .error(format!("the host `{}` lacks `nics`", reader.name))
                .expected("the networks on each card: `nics: {eth0: [pxe], eth1: [mgmt]}`")
                .hint("what all hosts have in common belongs in `group_vars/all.yml`"),
        );
        return none;
    };
    let Some(map) = node.as_map("`nics`", reader.diags) else {
        return none;
    };
    let mut carried = Carried::new();
    let entries: Vec<Entry<'_>> = map
        .iter()
        .map(|(key, node)| entry(key, node, networks, &mut carried, reader.diags))
        .collect();
    for entry in &entries {
        wire(reader, entry, networks, &carried);
    }
    let members = members(reader, &entries);
    let (nics, bonds) = build(reader, &entries, &macs, &members);
    for (name, (_, span)) in &macs {
        match entries.iter().find(|entry| entry.key.text == *name) {
            Some(entry) if entry.bond().is_some() => reader.diags.push(
                span.error(format!(
                    "`{name}` is a bond, which has no address of its own"
                ))
                .related(&entry.key.span, "it is made of cards here")
                .hint("give the addresses of its members"),
            ),
            None if !members.contains_key(name) => reader
                .diags
                .push(span.warning(format!("`nics` gives no networks to `{name}`"))),
            _ => {}
        }
    }
    needed(reader, node, groups, &carried);
    if let Some(span) = carried.get(&NetworkName::Pxe) {
        boots(reader, &entries, span, &nics, &bonds);
    }
    (nics, bonds)
}

fn lacks_macs(reader: &mut Reader<'_>) {
    let runs = reader.var("ansible_host").is_some()
        || reader
            .var("ansible_connection")
            .is_some_and(|node| node.str() == Some("local"));
    if runs || reader.vars.contains_key("macs") {
        return;
    }
    let keys = reader.vars.keys().map(|key| key.text.as_str());
    reader.diags.push(
        reader
            .span
            .error(format!("the host `{}` lacks `macs`", reader.name))
            .expected("the address of each card: `macs: {eth0: \"52:54:00:...\"}`")
            .suggest("macs", keys),
    );
}

/// The `nics` of the host's profile, and otherwise the variable; an error if the profile cannot be found.
fn layout<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a Node>, ()> {
    let (Some(profiles), Some(wanted)) = (reader.var("node_profiles"), reader.var("node_profile"))
    else {
        return Ok(reader.var("nics"));
    };
    let profiles = profiles.as_map("`node_profiles`", reader.diags).ok_or(())?;
    let name = wanted.as_text("`node_profile`", reader.diags).ok_or(())?;
    let Some(profile) = profiles.get(&name) else {
        let names: Vec<&str> = profiles.keys().map(|key| key.text.as_str()).collect();
        reader.diags.push(
            wanted
                .error(format!("there is no profile `{name}`"))
                .expected(format!("one of `node_profiles`: `{}`", names.join("`, `")))
                .suggest(&name, names),
        );
        return Err(());
    };
    let what = format!("the profile `{name}`");
    let profile: &Map = profile.as_map(&what, reader.diags).ok_or(())?;
    profile.check_keys(&what, &["nics"], reader.diags);
    let own = profile.get("nics").filter(|node| !node.is_null());
    Ok(own.or_else(|| reader.var("nics")))
}

fn macs<'a>(reader: &mut Reader<'a>) -> Option<Macs<'a>> {
    let map = reader.var("macs")?.as_map("`macs`", reader.diags)?;
    let mut macs = Macs::new();
    for (key, node) in map {
        let name = key.text.as_str();
        if !is_card_name(name) {
            reader.diags.push(
                key.error(format!("`{name}` cannot be the name of a card"))
                    .expected("at most 10 letters, digits, `-` and `_`"),
            );
            continue;
        }
        let Some(text) = node.as_str("a MAC address", reader.diags) else {
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
                reader.diags.push(if text.contains("{{") {
                    fault.hint("templates are not evaluated here")
                } else {
                    fault
                });
            }
        }
    }
    Some(macs)
}

/// An interface's name has at most 15 characters, and `.4094` may be added for a VLAN.
pub(crate) fn is_card_name(name: &str) -> bool {
    (1..=10).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

/// Checks that the networks of a card or bond fit through it: an untagged network's frames are the carrier's own.
fn wire(
    reader: &mut Reader<'_>,
    entry: &Entry<'_>,
    networks: Option<&Networks>,
    carried: &Carried<'_>,
) {
    let carrier = &entry.key.text;
    let described = || {
        entry
            .networks
            .iter()
            .filter_map(|name| Some((networks?.get(name)?, *carried.get(name)?)))
    };
    let untagged = described().find(|(network, _)| network.vlan.is_none());
    if let (Some((mtu, set)), Some((network, span))) = (entry.mtu, untagged)
        && network.mtu != mtu
    {
        reader.diags.push(
            span.error(format!(
                "`{}` is untagged on `{carrier}`, but its MTU is {} and the card's {mtu}",
                network.name, network.mtu
            ))
            .related(set, "the card's MTU")
            .hint(format!(
                "make them equal, or give `{}` a card of its own",
                network.name
            )),
        );
        return;
    }
    let (mtu, at, note) = match (entry.mtu, untagged) {
        (Some((mtu, set)), _) => (mtu, set, "the card's MTU".to_owned()),
        (None, Some((network, span))) => {
            let note = format!("`{}` is untagged, so its MTU is the card's", network.name);
            (network.mtu, span, note)
        }
        (None, None) => return,
    };
    for (network, span) in described().filter(|(network, _)| network.mtu > mtu) {
        reader.diags.push(
            span.error(format!(
                "frames of `{}` (MTU {}) do not fit through `{carrier}`, whose MTU is {mtu}",
                network.name, network.mtu
            ))
            .related(at, note.clone())
            .hint(format!(
                "raise that to {}, or put `{}` on another card",
                network.mtu, network.name
            )),
        );
    }
}

/// A card that belongs to a bond: the bond's name, and where it names the card.
type Members<'a> = IndexMap<&'a str, (&'a str, &'a Span)>;

/// Who is a member of which bond. A card is one's only, and carries nothing itself.
fn members<'a>(reader: &mut Reader<'_>, entries: &[Entry<'a>]) -> Members<'a> {
    let mut members = Members::new();
    for (bond, made_of) in entries
        .iter()
        .filter_map(|entry| Some((entry.key.text.as_str(), entry.bond()?)))
    {
        for (name, span) in &made_of.members {
            if let Some((other, first)) = members.get(name) {
                let fault = if *other == bond {
                    span.error(format!("`{bond}` names its member `{name}` twice"))
                } else {
                    span.error(format!(
                        "the card `{name}` is a member of two bonds, `{other}` and `{bond}`"
                    ))
                };
                reader.diags.push(fault.related(*first, "first named here"));
                continue;
            }
            let own = entries.iter().find(|entry| entry.key.text == *name);
            let fault = match own {
                Some(own) if own.bond().is_some() => Some(
                    span.error(format!(
                        "`{name}` is a bond and cannot be a member of `{bond}`"
                    ))
                    .expected("names of cards"),
                ),
                Some(own) if !own.networks.is_empty() => Some(
                    span.error(format!(
                        "`{name}` is a member of `{bond}` and has networks of its own"
                    ))
                    .related(&own.key.span, "they are here")
                    .hint(format!("put them on `{bond}`")),
                ),
                Some(Entry {
                    mtu: Some((_, set)),
                    ..
                }) => Some(
                    set.error(format!("a member has the MTU of its bond `{bond}`"))
                        .hint(format!("set `mtu` of `{bond}` instead")),
                ),
                _ => None,
            };
            reader.diags.extend(fault);
            members.insert(*name, (bond, span));
        }
    }
    members
}

fn build(
    reader: &mut Reader<'_>,
    entries: &[Entry<'_>],
    macs: &Macs<'_>,
    members: &Members<'_>,
) -> (Vec<Nic>, Vec<Bond>) {
    let (mut nics, mut bonds) = (Vec::new(), Vec::new());
    for entry in entries {
        let name = entry.key.text.as_str();
        let carries = !entry.networks.is_empty();
        match &entry.kind {
            Kind::Misread => {}
            Kind::Card(_) => {
                let member = members.get(name);
                if entry.has_match() && !carries && member.is_none() {
                    let text = format!("`{name}` has no networks and is in no bond");
                    reader.diags.push(entry.key.warning(text));
                }
                // A card that carries nothing needs no address.
                if carries || entry.has_match() || member.is_some() || macs.contains_key(name) {
                    nics.extend(card(reader, name, Some(entry), member, macs));
                }
            }
            Kind::Bond(bond) => {
                // Members that `nics` does not name by themselves: their addresses are enough.
                for (name, place) in members.iter().filter(|(_, (of, _))| *of == entry.key.text) {
                    if entries.iter().all(|entry| entry.key.text != **name) {
                        nics.extend(card(reader, name, None, Some(place), macs));
                    }
                }
                bonds.extend(bond.mode.map(|mode| Bond {
                    name: name.to_owned(),
                    members: bond.members.iter().map(|(m, _)| (*m).to_owned()).collect(),
                    mode,
                    miimon_ms: bond.miimon_ms,
                    networks: entry.networks.clone(),
                    mtu: entry.mtu.map(|(mtu, _)| mtu),
                    span: entry.key.span.clone(),
                }));
            }
        }
    }
    (nics, bonds)
}

/// One card: known by its address, and without one by its match.
fn card(
    reader: &mut Reader<'_>,
    name: &str,
    entry: Option<&Entry<'_>>,
    member: Option<&(&str, &Span)>,
    macs: &Macs<'_>,
) -> Option<Nic> {
    let known = macs.get(name);
    let matching = entry.and_then(Entry::matching);
    let span = match (known, matching, entry, member) {
        (Some((_, span)), ..) | (None, Some((_, span)), ..) => *span,
        (None, None, Some(entry), _) if !entry.networks.is_empty() => {
            no_address(reader, name, &entry.key.span, "it has networks here");
            return None;
        }
        (None, None, _, member) => {
            if let Some((bond, named)) = member {
                let note = format!("it is a member of `{bond}` here");
                no_address(reader, name, named, &note);
            }
            return None;
        }
    };
    Some(Nic {
        name: name.to_owned(),
        mac: known.map(|(mac, _)| *mac),
        matching: matching.map(|(matching, _)| matching.clone()),
        networks: entry
            .map(|entry| entry.networks.clone())
            .unwrap_or_default(),
        mtu: entry.and_then(|entry| entry.mtu).map(|(mtu, _)| mtu),
        span: span.clone(),
    })
}

/// Where addresses stand, or would.
fn macs_span<'a>(reader: &Reader<'a>) -> &'a Span {
    let entry = reader.vars.get_entry("macs");
    entry.map_or(reader.span, |(key, _)| &key.span)
}

fn no_address(reader: &mut Reader<'_>, card: &str, named: &Span, note: &str) {
    let at = macs_span(reader);
    reader.diags.push(
        at.error(format!(
            "the host `{}` has no MAC address for `{card}`",
            reader.name
        ))
        .related(named, note),
    );
}

/// The networks that every node, and every controller, must be on.
fn needed(reader: &mut Reader<'_>, nics: &Node, groups: &[String], carried: &Carried<'_>) {
    let at = &nics.span;
    for (name, purpose) in [
        (NetworkName::Pxe, "it is installed through it"),
        (NetworkName::Mgmt, "the services talk to each other there"),
    ] {
        if !carried.contains_key(&name) {
            reader
                .diags
                .push(at.error(format!("no card carries `{name}`")).hint(purpose));
        }
    }
    let controller = groups.iter().any(|group| group == "controller");
    if controller && !carried.contains_key(&NetworkName::App) {
        reader.diags.push(
            at.error("no card of a controller carries `app`")
                .hint("the public end points and floating addresses are on it"),
        );
    }
}

/// A machine is known by the address that it boots from before it can report anything.
fn boots(
    reader: &mut Reader<'_>,
    entries: &[Entry<'_>],
    named: &Span,
    nics: &[Nic],
    bonds: &[Bond],
) {
    let has_mac = |name: &str| nics.iter().any(|nic| nic.name == name && nic.mac.is_some());
    let on = entries
        .iter()
        .find(|entry| entry.networks.contains(&NetworkName::Pxe));
    let Some(on) = on else { return };
    let name = on.key.text.as_str();
    let card =
        match bonds.iter().find(|bond| bond.name == name) {
            None if on.has_match() && !has_mac(name) => format!("`{name}`"),
            Some(bond) if !bond.members.iter().any(|member| has_mac(member)) => {
                format!("a member of `{name}`")
            }
            Some(bond) if matches!(bond.mode, BondMode::Lacp { .. }) => {
                let fault = named
                .warning(format!("machines boot from `{name}`, and firmware speaks no LACP"))
                .hint(
                    "let the switch use one port alone while it hears no LACP (\"LACP fallback\"), \
                     or give `pxe` a card of its own",
                );
                return reader.diags.push(fault);
            }
            _ => return,
        };
    let at = macs_span(reader);
    reader.diags.push(
        at.error(format!(
            "the host `{}` has no MAC address for {card}, which it boots from",
            reader.name
        ))
        .related(named, "`pxe` is on it here")
        .hint("a machine is known by it before it reports which cards it has"),
    );
}
