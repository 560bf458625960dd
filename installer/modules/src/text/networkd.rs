//! Units of systemd-networkd as texts: what changes from one set of files to another, what has to be done for it to
//! take effect, and the systemd units that take a change back. Pure.
use std::collections::BTreeMap;
use std::fmt::Write;

/// Where the units are.
pub const FOLDER: &str = "/etc/systemd/network";
/// First line of a file that is ours; without it a file that nobody wishes for is left alone.
pub const OURS: &str = "# Written by wright from the inventory; changes here are lost.";

/// Files by name, without their folder.
pub type Files = BTreeMap<String, String>;

/// What becomes of each file that does not stay as it is; `None` where there is none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub before: BTreeMap<String, Option<String>>,
    pub after: BTreeMap<String, Option<String>>,
}

/// What differs, and which files of ours are not wished for any more.
pub fn change(now: &Files, wished: &Files) -> Change {
    let mut change = Change::default();
    let mut differs = |name: &str, before: Option<&String>, after: Option<&String>| {
        change.before.insert(name.to_owned(), before.cloned());
        change.after.insert(name.to_owned(), after.cloned());
    };
    for (name, content) in wished {
        let before = now.get(name);
        if before != Some(content) {
            differs(name, before, Some(content));
        }
    }
    for (name, content) in now {
        if !wished.contains_key(name) && content.lines().next() == Some(OURS) {
            differs(name, Some(content), None);
        }
    }
    change
}

impl Change {
    pub fn is_empty(&self) -> bool {
        self.before.is_empty()
    }

    /// Virtual devices that networkd would leave as they are: it makes what a new file asks for, but neither changes nor
    /// removes what it made before. They are removed, and networkd is started anew, which makes them again.
    pub fn outdated_devices(&self) -> Vec<String> {
        devices(&self.before)
    }

    /// Virtual devices that are there only after the change, or are other ones then.
    pub fn new_devices(&self) -> Vec<String> {
        devices(&self.after)
    }

    /// Cards that get another name, which the kernel gives them at the next start.
    pub fn renamed(&self) -> Vec<&str> {
        let links = self
            .after
            .iter()
            .filter(|(name, after)| name.ends_with(".link") && after.is_some());
        links
            .filter_map(|(_, after)| value(after.as_ref()?, "Link", "Name"))
            .collect()
    }

    pub fn text(files: &BTreeMap<String, Option<String>>) -> String {
        let mut text = String::new();
        for (name, content) in files {
            if let Some(content) = content {
                let _ = write!(text, "==> {FOLDER}/{name}\n{content}");
            }
        }
        text
    }
}

fn devices(files: &BTreeMap<String, Option<String>>) -> Vec<String> {
    let netdevs = files.iter().filter(|(name, _)| name.ends_with(".netdev"));
    netdevs
        .filter_map(|(_, content)| value(content.as_ref()?, "NetDev", "Name"))
        .filter(|name| is_device(name))
        .map(str::to_owned)
        .collect()
}

/// What the kernel takes as a name, and no option of a program.
fn is_device(name: &str) -> bool {
    (1..16).contains(&name.len())
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// The value of a key in a section.
fn value<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = name == section;
        } else if let Some((found, value)) = line.split_once('=')
            && inside
            && found.trim() == key
        {
            return Some(value.trim());
        }
    }
    None
}

/// Whether a file can be one of networkd's, in its own folder: `10-eth0.link`.
pub fn is_unit_name(name: &str) -> bool {
    let kind = name
        .rsplit_once('.')
        .filter(|(stem, kind)| !stem.is_empty() && ["link", "netdev", "network"].contains(kind));
    kind.is_some()
        && !name.starts_with(['.', '-'])
        && name.len() <= 128
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.@:".contains(&b))
}

/// Where the old files and the mark of an unconfirmed change are kept.
pub const KEPT: &str = "/var/lib/wright/host-network";
/// Name of the units below, without their kind.
pub const UNIT: &str = "wright-network-rollback";

/// The service that puts the old files back without anybody's help: by its timer, or at a start of the node before
/// networkd's. A list of commands and no script; the mark goes last, so that it can be begun anew. It is not wanted by
/// networkd itself, whose every restart would take the change back.
pub fn rollback_service(change: &Change) -> String {
    let mut text = format!(
        "# Written by wright\n\
         [Unit]\n\
         Description=Put back the network that reached the deployment host\n\
         ConditionPathExists={KEPT}/pending.json\n\
         DefaultDependencies=no\n\
         After=local-fs.target\n\
         Before=systemd-networkd.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n"
    );
    let added = change.before.iter().filter(|(_, before)| before.is_none());
    for (name, _) in added {
        let _ = writeln!(text, "ExecStart=/bin/rm -f {FOLDER}/{name}");
    }
    if change.before.values().any(Option::is_some) {
        let _ = writeln!(text, "ExecStart=/bin/cp -a {KEPT}/old/. {FOLDER}/");
    }
    // At a start of the node neither has anything to do yet, and fails at once.
    text += "ExecStart=-/usr/bin/networkctl reload\n";
    for device in change.new_devices() {
        let _ = writeln!(text, "ExecStart=-/usr/bin/networkctl delete {device}");
    }
    let _ = write!(
        text,
        "ExecStart=/bin/rm -f {KEPT}/pending.json\n\
         ExecStart=-/bin/systemctl --no-block try-restart systemd-networkd.service\n\
         \n\
         [Install]\n\
         WantedBy=sysinit.target\n"
    );
    text
}

/// The timer of [`rollback_service`].
pub fn rollback_timer(seconds: u64) -> String {
    format!(
        "# Written by wright\n\
         [Unit]\n\
         Description=Put back the old network unless the new one is confirmed\n\
         \n\
         [Timer]\n\
         OnActiveSec={seconds}s\n\
         AccuracySec=1s\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(of: &[(&str, &str)]) -> Files {
        let file =
            |(name, content): &(&str, &str)| ((*name).to_owned(), format!("{OURS}\n{content}"));
        of.iter().map(file).collect()
    }

    #[test]
    fn a_change_to_a_bond_and_its_way_back() {
        let mut now = files(&[
            ("10-net0.link", "[Link]\nName=net0\n"),
            ("20-net0.network", "[Network]\nVLAN=net0.5\n"),
            ("15-net0.5.netdev", "[NetDev]\nName=net0.5\nKind=vlan\n"),
        ]);
        now.insert("50-mine.network".into(), "[Match]\nName=mine\n".into());
        now.insert("15-mine.netdev".into(), "[NetDev]\nName=mine\n".into());
        let wished = files(&[
            ("10-net0.link", "[Link]\nName=net0\n"),
            ("10-net1.link", "[Match]\nName=x\n[Link]\nName = net1\n"),
            ("20-net0.network", "[Network]\nBond=bond0\n"),
            ("15-bond0.netdev", "[NetDev]\nKind=bond\nName=bond0\n"),
            ("15-odd.netdev", "[NetDev]\nName=-all\n"),
        ]);
        let change = change(&now, &wished);
        insta::assert_snapshot!(format!(
            "outdated {:?}, new {:?}, renamed {:?}\n── before\n{}── after\n{}── service\n{}── timer\n{}",
            change.outdated_devices(),
            change.new_devices(),
            change.renamed(),
            Change::text(&change.before),
            Change::text(&change.after),
            rollback_service(&change),
            rollback_timer(90)
        ));
    }

    #[test]
    fn names_of_units() {
        for name in ["10-eth0.link", "25-bond0.401.network", "15-a.netdev"] {
            assert!(is_unit_name(name), "{name}");
        }
        for name in [
            "",
            ".network",
            "../a.network",
            "a/b.network",
            "a.conf",
            "a b.link",
            "-a.link",
            "%i.link",
            "a\n.link",
        ] {
            assert!(!is_unit_name(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_change_leads_to_what_is_wished_and_back(
            now in proptest::collection::btree_map("[abc]\\.(link|network)", prop::sample::select(vec![format!("{OURS}\n1"), format!("{OURS}\n2"), "other".into()]), 0..5),
            wished in proptest::collection::btree_map("[abc]\\.(link|network)", prop::sample::select(vec![format!("{OURS}\n1"), format!("{OURS}\n3")]), 0..5),
        ) {
            let change = change(&now, &wished);
            let mut files = now.clone();
            let apply = |files: &mut Files, to: &BTreeMap<String, Option<String>>| {
                for (name, content) in to {
                    match content {
                        Some(content) => files.insert(name.clone(), content.clone()),
                        None => files.remove(name),
                    };
                }
            };
            apply(&mut files, &change.after);
            for (name, content) in &files {
                prop_assert!(wished.get(name) == Some(content) || (content == "other" && !wished.contains_key(name)));
            }
            prop_assert!(wished.keys().all(|name| files.contains_key(name)));
            prop_assert!(super::change(&files, &wished).is_empty());
            apply(&mut files, &change.before);
            prop_assert_eq!(files, now);
        }
    }
}
