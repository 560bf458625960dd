//! The decision: from what this node knows and what the others said, to what is done with the local server. Pure:
//! no clock, no I/O. Every guard runs it on its own facts; that two of them may see different facts is what
//! `guard::Guard::promise` is for.
//!
//! ```text
//!  own server   a Primary component is heard     nobody Primary, all heard          somebody not heard
//!  ----------   ----------------------------     ----------------------------       ------------------
//!  stopped      Join                             the newest: Bootstrap              Wait, later AskOperator
//!  not Primary  Wait; later StopLocal, Join      the newest: PcBootstrap; others    Wait, later AskOperator
//!                                                stop for one that is newer
//!  Primary      Keep                             Keep                               Keep
//! ```
//!
//! Why a node that was not heard always stops us, although Galera's `gvwstate.dat` names the members of the last Primary
//! view: that view is the last one that *this* node was in. A member of it that is away may have gone on without us
//! (an operator bootstrapped it there), and after a loss of power an older view may stand in the file, as its folder
//! is not synced. It proves nothing about who is away; with `pc.recovery=FALSE` Galera does not even write it.

use super::data::Data;
use super::report::{Running, Server};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// Times and texts that decisions depend on.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A report older than this is as good as none.
    pub fresh: Duration,
    /// How long a situation that cannot be decided lasts before the operator is asked.
    pub ask_after: Duration,
    /// How long servers that run without a Primary component may try to find one by themselves.
    pub settle: Duration,
    /// How long a server that could join waits for a cluster that still counts it, or for another that joins first.
    pub leave: Duration,
    /// How long a server may run outside while others are Primary, before it is started anew.
    pub rejoin: Duration,
    /// The command by which the operator decides.
    pub bootstrap_command: String,
    /// The folder with the server's data.
    pub data_dir: String,
}

/// What a peer said, and how old that is at most.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Its server.
    pub server: Server,
    /// It is doing something to its server.
    pub acting: bool,
    /// Time since the question was sent to which this is the answer.
    pub age: Duration,
}

/// All that a decision depends on.
#[derive(Debug)]
pub struct Situation<'a> {
    /// This node's name.
    pub me: &'a str,
    /// Its server.
    pub own: &'a Server,
    /// Every other node of the configuration; `None`: never heard.
    pub peers: &'a BTreeMap<String, Option<Heard>>,
    /// Since when no Primary component is known to this guard.
    pub undecided: Duration,
    /// Since when the local server runs without being Primary.
    pub outside: Duration,
    /// Since when it is stopped while a Primary component is heard.
    pub could_join: Duration,
    /// See [`Limits`].
    pub limits: &'a Limits,
}

/// What is to be done with the local server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is where it should be.
    Keep,
    /// Nothing can be done yet.
    Wait {
        /// What for.
        why: String,
    },
    /// Start it: it finds the cluster and takes what it lacks.
    Join,
    /// Start it as the first of the cluster.
    Bootstrap,
    /// Make the running server's component the Primary one.
    PcBootstrap,
    /// Stop it.
    StopLocal {
        /// Why.
        why: String,
    },
    /// Only a person can know what is right.
    AskOperator {
        /// What was found, and what may be lost.
        why: String,
        /// The command that decides.
        command: String,
    },
}

fn wait(why: impl Into<String>) -> Action {
    Action::Wait { why: why.into() }
}

/// Decides.
pub fn decide(s: &Situation<'_>) -> Action {
    let heard: BTreeMap<&str, &Heard> = s
        .peers
        .iter()
        .filter_map(|(name, heard)| Some((name.as_str(), heard.as_ref()?)))
        .filter(|(_, heard)| heard.age <= s.limits.fresh)
        .collect();
    // The furthest of them: members of one component may lag behind by what they still have to apply.
    let primary = heard
        .iter()
        .filter_map(|(name, heard)| Some((*name, heard.server.primary()?)))
        .max_by_key(|(_, running)| running.position.map_or(-1, |position| position.seqno));
    match (s.own, primary) {
        (Server::Busy { what }, _) => wait(format!("the server {what}")),
        (Server::Running(running), _) if running.primary => Action::Keep,
        (Server::Running(running), Some((name, _))) if running.inconsistent() => {
            Action::StopLocal {
                why: format!(
                    "its data are unlike those of `{name}`, and it was put out of the cluster"
                ),
            }
        }
        (Server::Running(_), Some((name, _))) if s.outside > s.limits.rejoin => Action::StopLocal {
            why: format!(
                "`{name}` is in the Primary component, and this server did not find it in {} s",
                s.limits.rejoin.as_secs()
            ),
        },
        (Server::Running(_), Some((name, _))) => wait(format!(
            "the server runs outside the Primary component of `{name}` and tries to join it"
        )),
        (Server::Stopped { data }, Some((name, running))) => match not_yet(s, &heard) {
            Some(why) => wait(why),
            None => join(s, *data, name, running),
        },
        (_, None) => form(s, &heard),
    }
}

/// Why a server that could join should not do so at once. Each newcomer makes all members agree anew on who they are,
/// and one that comes in the middle of that upsets it. Observed: a server that came back before the others had let go
/// of its former self cost them the Primary component, or half a minute in place of three seconds; two that came at
/// once put the only member outside for eight.
fn not_yet(s: &Situation<'_>, heard: &BTreeMap<&str, &Heard>) -> Option<String> {
    if s.could_join >= s.limits.leave {
        return None;
    }
    let members = heard
        .values()
        .filter_map(|heard| heard.server.primary())
        .map(|running| running.members as usize)
        .max()?;
    let stopped = |heard: &Heard| matches!(heard.server, Server::Stopped { .. });
    // Who is not heard may be a member, and so may one that is just starting.
    let possible = s.peers.len() - heard.values().filter(|heard| stopped(heard)).count();
    if members > possible {
        return Some("the cluster still counts a server that has ended".to_owned());
    }
    heard
        .iter()
        .find(|(name, heard)| match heard.server {
            Server::Busy { .. } => true,
            Server::Stopped { .. } => **name < s.me,
            Server::Running(_) => false,
        })
        .map(|(name, _)| format!("`{name}` joins first"))
}

/// There is a cluster: may the local server go there? Its data are overwritten if they are not of the same history.
fn join(s: &Situation<'_>, data: Option<Data>, peer: &str, running: &Running) -> Action {
    let ask = |why: String| Action::AskOperator {
        why,
        command: format!(
            "mv {dir} {dir}.old && install -d -o mysql -g mysql -m 0755 {dir}",
            dir = s.limits.data_dir
        ),
    };
    let Some(data) = data else {
        return wait("the position of the local data is not known yet");
    };
    let (Some(own), Some(theirs)) = (data.position(), running.position) else {
        return Action::Join;
    };
    if own.uuid != theirs.uuid {
        return ask(format!(
            "the data here ({own}) are not of the history of the running cluster (`{peer}`: {theirs}); joining it \
             would overwrite them. The command sets them aside; then this node takes the cluster's data"
        ));
    }
    // Galera refuses that too ("states diverged"), at every start. This server is stopped, so what it has was committed
    // before the peer was asked; one that is still catching up may lack it for a while.
    if running.synced() && own.seqno > theirs.seqno {
        return ask(format!(
            "the data here ({own}) have {} transactions that the running cluster (`{peer}`: {theirs}) lacks: it was \
             begun from an older node. The command sets the data here aside; then this node takes the cluster's",
            own.seqno - theirs.seqno
        ));
    }
    Action::Join
}

/// One node's claim to be the newest. Greater is newer; of equals a running one is preferred, as it need not be
/// started, then the first by name. `promise` keeps two guards from acting on different views of it.
fn rank<'a>(name: &'a str, server: &Server) -> (i64, bool, std::cmp::Reverse<&'a str>) {
    let seqno = server
        .data()
        .and_then(|data| data.position())
        .map_or(i64::MIN, |position| position.seqno);
    let running = matches!(server, Server::Running(_));
    (seqno, running, std::cmp::Reverse(name))
}

/// Nobody is known to be Primary: who begins?
fn form(s: &Situation<'_>, heard: &BTreeMap<&str, &Heard>) -> Action {
    if s.peers.is_empty() {
        // Nobody else can know better: neither a position nor `safe_to_bootstrap: 0` matters.
        return match s.own {
            Server::Running(_) => Action::PcBootstrap,
            _ => Action::Bootstrap,
        };
    }
    if s.own.data().is_none() {
        return wait("the position of the local data is not known yet");
    }
    if let Some(why) = busy(heard) {
        return wait(why);
    }
    if let Server::Running(running) = s.own
        && !running.settled
    {
        return wait("the server still applies what it received");
    }
    let mut nodes: BTreeMap<&str, &Server> =
        heard.iter().map(|(name, h)| (*name, &h.server)).collect();
    nodes.insert(s.me, s.own);
    let unknown: Vec<String> = s
        .peers
        .keys()
        .filter(|name| nodes.get(name.as_str()).and_then(|n| n.data()).is_none())
        .map(|name| match nodes.get(name.as_str()) {
            None => format!("`{name}` (not heard)"),
            Some(_) => format!("`{name}` (position of its data not known)"),
        })
        .collect();
    nodes.retain(|_, server| server.data().is_some());
    if !unknown.is_empty() && s.undecided < s.limits.ask_after {
        return wait(format!(
            "nobody is Primary; waiting for {}",
            unknown.join(", ")
        ));
    }
    let Some(best) = nodes
        .iter()
        .max_by_key(|(name, server)| rank(name, server))
        .map(|(name, _)| *name)
    else {
        return wait("nothing is known");
    };
    if let Some(ask) = histories(s, &nodes) {
        return ask;
    }
    if !unknown.is_empty() {
        return without(s, best, &nodes, &unknown);
    }
    begin(s, best, &nodes)
}

/// Somebody whose guard or server is in the middle of something: it may be a cluster's beginning.
fn busy(heard: &BTreeMap<&str, &Heard>) -> Option<String> {
    heard.iter().find_map(|(name, heard)| match &heard.server {
        Server::Busy { what } => Some(format!("nobody is Primary; the server of `{name}` {what}")),
        Server::Running(running) if !running.settled => Some(format!(
            "nobody is Primary; the server of `{name}` still applies what it received"
        )),
        _ if heard.acting => Some(format!("nobody is Primary; `{name}` is acting")),
        _ => None,
    })
}

/// Data of more than one history, or none that are whole: the choice between them is not ours.
fn histories(s: &Situation<'_>, nodes: &BTreeMap<&str, &Server>) -> Option<Action> {
    let all: Vec<(&str, Data)> = nodes
        .iter()
        .filter_map(|(name, server)| Some((*name, server.data()?)))
        .collect();
    let mut uuids: Vec<Uuid> = all
        .iter()
        .filter_map(|(_, data)| Some(data.position()?.uuid))
        .collect();
    uuids.sort();
    uuids.dedup();
    let list = || {
        let line = |(name, data): &(&str, Data)| format!("`{name}` {data}");
        all.iter().map(line).collect::<Vec<_>>().join(", ")
    };
    let incomplete = all.iter().any(|(_, d)| matches!(d, Data::Incomplete(_)));
    let why = if uuids.len() > 1 {
        format!(
            "the nodes have data of different histories: {}. Run the command on the node whose data shall stay; each \
             other one then says how its own are set aside",
            list()
        )
    } else if uuids.is_empty() && incomplete {
        format!(
            "no node has whole data: {}. A state transfer or a schema change was cut off everywhere. Run the command \
             on the node whose data you have checked, or restore a backup first",
            list()
        )
    } else {
        return None;
    };
    Some(Action::AskOperator {
        why,
        command: s.limits.bootstrap_command.clone(),
    })
}

/// Time is up for those who were not heard: the operator may go on without them, on the newest node.
fn without(
    s: &Situation<'_>,
    best: &str,
    nodes: &BTreeMap<&str, &Server>,
    unknown: &[String],
) -> Action {
    let unknown = unknown.join(", ");
    if best != s.me {
        return wait(format!(
            "nobody is Primary; {unknown} missing for {} s; of the others `{best}` has the newest data: decide there",
            s.undecided.as_secs()
        ));
    }
    let own = nodes
        .get(best)
        .and_then(|server| server.data())
        .map_or_else(String::new, |data| format!(" ({data})"));
    Action::AskOperator {
        why: format!(
            "nobody is Primary, and {unknown} missing for {} s. Of the others this node has the newest data{own}. If you \
             begin without the missing one, transactions that only it has are lost. Make sure first that its database \
             server is off: two clusters of one history must never run",
            s.undecided.as_secs()
        ),
        command: s.limits.bootstrap_command.clone(),
    }
}

/// Everybody was heard and `best` is the newest.
fn begin(s: &Situation<'_>, best: &str, nodes: &BTreeMap<&str, &Server>) -> Action {
    let running: Vec<(&str, &Running)> = nodes
        .iter()
        .filter_map(|(name, server)| match server {
            Server::Running(running) => Some((*name, running)),
            _ => None,
        })
        .collect();
    let i_run = matches!(s.own, Server::Running(_));
    let best_runs = running.iter().any(|(name, _)| *name == best);
    if !best_runs {
        return match (i_run, running.first()) {
            (true, _) => Action::StopLocal {
                why: format!("`{best}` is stopped and has newer data: it must begin"),
            },
            (false, Some((name, _))) => wait(format!(
                "the server of `{name}` runs without a Primary component and must stop first"
            )),
            (false, None) if best == s.me => Action::Bootstrap,
            (false, None) => wait(format!("`{best}` has the newest data and begins")),
        };
    }
    if running.len() > 1 && s.undecided < s.limits.settle {
        return wait(
            "several servers run without a Primary component; giving them time to form one",
        );
    }
    // In one component when each sees as many as run. If not, two of them might find together and be Primary at the
    // moment in which a third one is made so: all but the newest stop.
    let together = running
        .iter()
        .all(|(_, server)| server.members as usize == running.len());
    match (best == s.me, together || running.len() == 1) {
        (true, true) => Action::PcBootstrap,
        (true, false) => wait("other servers that run without a Primary component must stop first"),
        (false, false) if i_run => Action::StopLocal {
            why: format!("the server of `{best}` is newer and cannot be reached by this one"),
        },
        _ => wait(format!("`{best}` has the newest data and begins")),
    }
}
