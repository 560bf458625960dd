//! Choosing a host. Pure: the state of all hosts and a request in, hosts in order of preference out. What a filter
//! refused is counted, so that "No valid host" tells why. Claiming resources is the conductor's.

use std::collections::{BTreeMap, BTreeSet};

/// How much more of a resource may be promised than there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratios {
    /// Virtual processors to logical ones.
    pub cpu: f64,
    /// Memory.
    pub ram: f64,
    /// Disk.
    pub disk: f64,
}

/// A host as the scheduler sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct HostState {
    /// FQDN.
    pub host: String,
    /// Its id in placement.
    pub provider: String,
    /// Availability zone.
    pub zone: String,
    /// Not disabled by an administrator.
    pub enabled: bool,
    /// Heard from lately.
    pub up: bool,
    /// Logical processors.
    pub vcpus: u64,
    /// MiB.
    pub memory_mib: u64,
    /// GiB.
    pub disk_gib: u64,
    /// Promised already.
    pub vcpus_used: u64,
    /// Promised already, MiB.
    pub memory_used: u64,
    /// Promised already, GiB.
    pub disk_used: u64,
    /// Servers here.
    pub instances: u64,
    /// Pairs of the aggregates that the host is in; a key may have several values.
    pub aggregate_metadata: BTreeMap<String, BTreeSet<String>>,
}

/// How the servers of a group are to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPolicy {
    /// `affinity`, `anti-affinity`, `soft-affinity`, `soft-anti-affinity`.
    pub policy: String,
    /// Hosts of the group's servers.
    pub hosts: BTreeSet<String>,
}

/// What is wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Virtual processors.
    pub vcpus: u64,
    /// MiB.
    pub memory_mib: u64,
    /// GiB.
    pub disk_gib: u64,
    /// Only this zone.
    pub zone: Option<String>,
    /// Only this host.
    pub host: Option<String>,
    /// Not these hosts.
    pub excluded: Vec<String>,
    /// Flavor's pairs.
    pub extra_specs: BTreeMap<String, String>,
    /// Server group.
    pub group: Option<GroupPolicy>,
}

/// No host is left: which filter refused how many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("No valid host was found. {reasons}")]
pub struct NoValidHost {
    /// For the fault: `There are not enough hosts available: 2 hosts, ...`.
    pub reasons: String,
}

type Filter = fn(&HostState, &Request, &Ratios) -> bool;

const FILTERS: [(&str, Filter); 6] = [
    ("not the host that was asked for", |h, r, _| {
        r.host.as_ref().is_none_or(|wanted| *wanted == h.host)
    }),
    ("building failed there before", |h, r, _| {
        !r.excluded.contains(&h.host)
    }),
    // A host named by an administrator is taken even when disabled, as upstream; never when it is down.
    ("compute service down or disabled", |h, r, _| {
        h.up && (h.enabled || r.host.is_some())
    }),
    ("in another availability zone", |h, r, _| {
        r.zone.as_ref().is_none_or(|zone| *zone == h.zone)
    }),
    (
        "extra specs do not match the host's aggregates",
        |h, r, _| aggregates_match(h, r),
    ),
    ("server group policy", |h, r, _| group_allows(h, r)),
];

const CAPACITY: [(&str, Filter); 3] = [
    ("too few free processors", |h, r, ratios| {
        fits(h.vcpus, ratios.cpu, h.vcpus_used, r.vcpus) && r.vcpus <= h.vcpus
    }),
    ("too little free memory", |h, r, ratios| {
        fits(h.memory_mib, ratios.ram, h.memory_used, r.memory_mib)
    }),
    ("too little free disk", |h, r, ratios| {
        fits(h.disk_gib, ratios.disk, h.disk_used, r.disk_gib)
    }),
];

/// The hosts on which the request fits, the best first: most free memory, then fewest servers, then by name.
pub fn select<'a>(
    hosts: &'a [HostState],
    request: &Request,
    ratios: &Ratios,
) -> Result<Vec<&'a HostState>, NoValidHost> {
    let mut left: Vec<&HostState> = hosts.iter().collect();
    let mut refused: Vec<String> = Vec::new();
    for (why, filter) in FILTERS.iter().chain(&CAPACITY) {
        let before = left.len();
        left.retain(|host| filter(host, request, ratios));
        if left.len() < before {
            refused.push(format!("{why}: {}", before - left.len()));
        }
    }
    if left.is_empty() {
        let reasons = match hosts.len() {
            0 => "There are not enough hosts available: no compute service has reported yet."
                .to_owned(),
            n => format!(
                "There are not enough hosts available: {n} known; {}.",
                refused.join("; ")
            ),
        };
        return Err(NoValidHost { reasons });
    }
    let together = request
        .group
        .as_ref()
        .map(|group| match group.policy.as_str() {
            "soft-affinity" => (1, &group.hosts),
            "soft-anti-affinity" => (-1, &group.hosts),
            _ => (0, &group.hosts),
        });
    left.sort_by(|a, b| {
        let near = |h: &HostState| {
            together.map_or(0, |(sign, hosts)| {
                -sign * i32::from(hosts.contains(&h.host))
            })
        };
        let free = |h: &HostState| (h.memory_mib as f64 * ratios.ram) as u64 - h.memory_used;
        near(a)
            .cmp(&near(b))
            .then(free(b).cmp(&free(a)))
            .then(a.instances.cmp(&b.instances))
            .then(a.host.cmp(&b.host))
    });
    Ok(left)
}

fn fits(total: u64, ratio: f64, used: u64, wanted: u64) -> bool {
    (used + wanted) as f64 <= total as f64 * ratio
}

/// Scoped extra specs (`aggregate_instance_extra_specs:ssd=true`) must be among the host's aggregate metadata.
fn aggregates_match(host: &HostState, request: &Request) -> bool {
    request.extra_specs.iter().all(|(key, wanted)| {
        match key.strip_prefix("aggregate_instance_extra_specs:") {
            Some(key) => host
                .aggregate_metadata
                .get(key)
                .is_some_and(|values| values.contains(wanted)),
            None => true,
        }
    })
}

fn group_allows(host: &HostState, request: &Request) -> bool {
    let Some(group) = &request.group else {
        return true;
    };
    match group.policy.as_str() {
        "affinity" => group.hosts.is_empty() || group.hosts.contains(&host.host),
        "anti-affinity" => !group.hosts.contains(&host.host),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATIOS: Ratios = Ratios {
        cpu: 4.0,
        ram: 1.0,
        disk: 1.0,
    };

    fn host(name: &str, memory: u64) -> HostState {
        HostState {
            host: name.into(),
            provider: format!("rp-{name}"),
            zone: "nova".into(),
            enabled: true,
            up: true,
            vcpus: 4,
            memory_mib: memory,
            disk_gib: 100,
            vcpus_used: 0,
            memory_used: 0,
            disk_used: 0,
            instances: 0,
            aggregate_metadata: BTreeMap::new(),
        }
    }

    fn request() -> Request {
        Request {
            vcpus: 1,
            memory_mib: 512,
            disk_gib: 1,
            ..Request::default()
        }
    }

    fn names(result: Result<Vec<&HostState>, NoValidHost>) -> String {
        match result {
            Ok(hosts) => hosts
                .iter()
                .map(|h| h.host.as_str())
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn table() {
        let mut hosts = vec![host("a", 1024), host("b", 4096), host("c", 2048)];
        hosts[2].zone = "rack2".into();
        hosts[2]
            .aggregate_metadata
            .insert("ssd".into(), ["true".to_owned()].into());
        let zone = Request {
            zone: Some("rack2".into()),
            ..request()
        };
        let forced = Request {
            host: Some("a".into()),
            ..request()
        };
        let ssd = Request {
            extra_specs: [(
                "aggregate_instance_extra_specs:ssd".to_owned(),
                "true".to_owned(),
            )]
            .into(),
            ..request()
        };
        let large = Request {
            memory_mib: 8192,
            ..request()
        };
        let apart = Request {
            group: Some(GroupPolicy {
                policy: "anti-affinity".into(),
                hosts: ["b".to_owned()].into(),
            }),
            ..request()
        };
        let soft = Request {
            group: Some(GroupPolicy {
                policy: "soft-affinity".into(),
                hosts: ["a".to_owned()].into(),
            }),
            ..request()
        };
        let mut text = String::new();
        let cases = [
            ("any", request()),
            ("zone", zone),
            ("forced", forced.clone()),
            ("ssd", ssd),
            ("large", large),
            ("apart", apart),
            ("soft", soft),
        ];
        for (name, request) in &cases {
            text.push_str(&format!(
                "{name}: {}\n",
                names(select(&hosts, request, &RATIOS))
            ));
        }
        hosts[0].enabled = false;
        text.push_str(&format!(
            "forced on a disabled host: {}\n",
            names(select(&hosts, &forced, &RATIOS))
        ));
        hosts[0].up = false;
        text.push_str(&format!(
            "forced on a dead host: {}\n",
            names(select(&hosts, &forced, &RATIOS))
        ));
        text.push_str(&format!(
            "no hosts: {}\n",
            names(select(&[], &request(), &RATIOS))
        ));
        insta::assert_snapshot!(text);
    }

    proptest! {
        #[test]
        fn never_more_than_there_is(memory in 0u64..5000, used in 0u64..5000, wanted in 1u64..5000) {
            let mut h = host("a", memory);
            h.memory_used = used.min(memory);
            let r = Request { memory_mib: wanted, ..request() };
            if select(std::slice::from_ref(&h), &r, &RATIOS).is_ok() {
                prop_assert!(h.memory_used + wanted <= memory);
            }
        }
    }
}
