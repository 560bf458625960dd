//! A guard's memory between decisions: who said what and when, what is under way, and the promises that keep two
//! guards from beginning two clusters. Pure: time and reports come in as values, steps come out; `run` does them.
//!
//! # Why there is never a second beginning
//!
//! A guard that decides to begin a cluster first *claims* it: from then on every report of it says `acting`, and it
//! asks all others for a promise. A guard gives its promise only while it is not acting itself, knows that its server
//! is not Primary and not about to be, and has promised nobody else. From then on it starts nothing until it hears,
//! in answer to a question that it sent after the promise, that the claim is over. The claimant begins only when all
//! have promised and their answers lead to the same decision; its claim ends when its server is Primary or stopped.
//!
//! - *Two claimants*, X and Y, both with all promises: X promised Y at some time, so X was not acting then: before its
//!   claim, and then it could not claim until Y's was over; or after it, and then X is Primary, or failed.
//!   The same holds the other way round.
//! - *Frozen between promise and start*, however long: the others keep their promise until they hear from it again.
//! - *Restarted*: the claimant's memory is gone, and with it the start that it had not given yet (systemd kills the
//!   whole control group); a start that it had given shows as `Busy`. One who promised and forgets it can only claim
//!   for itself with the promise of the claimant, who is acting.
//! - *Old news*: "X is Primary" may be old when a guard acts on it, but a plain start never makes a Primary component
//!   (`pc.recovery=false`, and Galera asks for a majority of the last one).
//!
//! An operator's override asks only those who can be heard; that is why it says that the others must be off.

use super::decide::{Action, Heard, Limits, Situation, decide};
use super::report::{Report, Server};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest pause between two tries to start the server.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A server that was in the cluster this long did not fail to start.
const STABLE: Duration = Duration::from_secs(60);
/// How long a claim waits for the promises. Longer than the longest call between guards.
const CLAIM_TIME: Duration = Duration::from_secs(10);

/// What `run` is to do now. Between the step and [`Guard::finished`] the guard is acting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Read what the data are worth: [`Guard::data_read`].
    ReadData,
    /// Start the server in the ordinary way.
    Start,
    /// Ask all others for their promise: [`Guard::promised`] with the answers.
    Claim {
        /// Whom.
        ask: Vec<String>,
    },
    /// Stop the server.
    Stop,
}

/// After the promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Start the server as the first of a cluster.
    Bootstrap,
    /// `pc.bootstrap` on the running server.
    PcBootstrap,
}

/// An answer to a request for a promise.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Whether it was given.
    pub promised: bool,
    /// The state in which it was given.
    pub report: Report,
}

struct News {
    report: Report,
    /// When the question was sent.
    sent: Duration,
}

struct Promise {
    to: String,
    at: Duration,
}

struct Claim {
    since: Duration,
    /// By the operator: only those who were heard are asked.
    forced: Option<Begin>,
    asked: Vec<String>,
}

/// The guard of one node.
pub struct Guard {
    me: String,
    limits: Limits,
    own: Server,
    peers: BTreeMap<String, Option<News>>,
    /// The server was looked at since this guard started.
    looked: bool,
    looked_at: Duration,
    /// The last try to read the data failed.
    unreadable: bool,
    /// A step is being done.
    acting: bool,
    claim: Option<Claim>,
    promise: Option<Promise>,
    /// What the operator ordered, for one start.
    ordered: Option<Begin>,
    /// Ends of the server that nobody asked for, in a row.
    failures: u32,
    not_before: Duration,
    /// The server's end is wanted: it is not counted as a failure.
    stopping: bool,
    last_primary: Duration,
    outside_since: Option<Duration>,
    could_join_since: Option<Duration>,
    synced_since: Option<Duration>,
    action: Action,
}

impl Guard {
    /// A guard that knows nothing yet. `nodes`: all names, its own included.
    pub fn new(
        me: &str,
        nodes: impl IntoIterator<Item = String>,
        limits: Limits,
        now: Duration,
    ) -> Self {
        Self {
            me: me.to_owned(),
            limits,
            own: Server::Busy {
                what: "was not looked at yet".to_owned(),
            },
            peers: nodes
                .into_iter()
                .filter(|n| n != me)
                .map(|n| (n, None))
                .collect(),
            looked: false,
            looked_at: now,
            unreadable: false,
            acting: false,
            claim: None,
            promise: None,
            ordered: None,
            failures: 0,
            not_before: now,
            stopping: false,
            last_primary: now,
            outside_since: None,
            could_join_since: None,
            synced_since: None,
            action: Action::Wait {
                why: "just started".to_owned(),
            },
        }
    }

    /// What the others are told.
    pub fn report(&self, now: Duration) -> Report {
        Report {
            name: self.me.clone(),
            server: self.server(now),
            acting: self.acting || self.claim.is_some(),
        }
    }

    /// The last decision.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// The local server. Nothing is known of it when it was not looked at for long: while a step is done that takes
    /// time, or after the guard was frozen.
    pub fn server(&self, now: Duration) -> Server {
        let age = now.saturating_sub(self.looked_at);
        if age <= self.limits.fresh {
            self.own.clone()
        } else {
            Server::Busy {
                what: format!("was not looked at for {} s", age.as_secs()),
            }
        }
    }

    /// When the next try to start the server is due, if that is later than now.
    pub fn pause(&self, now: Duration) -> Option<Duration> {
        self.not_before.checked_sub(now).filter(|d| !d.is_zero())
    }

    /// How often the server has ended by itself, in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether somebody else is known to be Synced.
    pub fn others_synced(&self, now: Duration) -> bool {
        self.fresh(now)
            .any(|(_, news)| news.report.server.primary().is_some_and(|r| r.synced()))
    }

    fn fresh(&self, now: Duration) -> impl Iterator<Item = (&str, &News)> {
        let fresh = self.limits.fresh;
        self.peers
            .iter()
            .filter_map(|(name, news)| Some((name.as_str(), news.as_ref()?)))
            .filter(move |(_, news)| now.saturating_sub(news.sent) <= fresh)
    }

    /// The local server was looked at. What its data are worth is kept as long as it stays stopped. Gives whether it
    /// ended by itself since the last look.
    pub fn observe(&mut self, mut seen: Server, now: Duration) -> bool {
        let mut ended = false;
        match (&self.own, &mut seen) {
            (Server::Stopped { data: known }, Server::Stopped { data }) => *data = *known,
            (_, Server::Stopped { .. }) => {
                ended = self.looked && !self.stopping;
                self.stopping = false;
            }
            _ => {}
        }
        if ended {
            self.failed(now);
        }
        let running = match &seen {
            Server::Running(running) => Some(running),
            _ => None,
        };
        if running.is_some_and(|running| running.primary) {
            self.last_primary = now;
        }
        self.outside_since = running
            .filter(|running| !running.primary)
            .map(|_| self.outside_since.unwrap_or(now));
        self.synced_since = running
            .filter(|running| running.synced())
            .map(|_| self.synced_since.unwrap_or(now));
        if self
            .synced_since
            .is_some_and(|since| now.saturating_sub(since) >= STABLE)
        {
            self.failures = 0;
        }
        self.looked = true;
        self.looked_at = now;
        self.own = seen;
        ended
    }

    /// The files of the stopped server were changed by somebody: its data must be read again.
    pub fn forget_data(&mut self) {
        if let Server::Stopped { data } = &mut self.own {
            *data = None;
        }
    }

    /// The first try after an end is at once, then after 1 s, 2 s, ... 60 s.
    fn failed(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let pause = match self.failures {
            0 | 1 => Duration::ZERO,
            n => Duration::from_secs(1 << (n - 2).min(6)).min(LONGEST_PAUSE),
        };
        self.not_before = now + pause;
    }

    /// A peer answered a question that was sent at `sent`. Late and doubled answers do no harm.
    pub fn hear(&mut self, name: &str, report: Report, sent: Duration, now: Duration) {
        if let Some(promise) = &self.promise
            && promise.to == name
            && sent > promise.at
            && !report.acting
        {
            self.promise = None;
        }
        let Some(slot) = self.peers.get_mut(name) else {
            return;
        };
        if slot.as_ref().is_some_and(|news| news.sent > sent) {
            return;
        }
        if report.server.primary().is_some() && now.saturating_sub(sent) <= self.limits.fresh {
            self.last_primary = now;
        }
        *slot = Some(News { report, sent });
    }

    /// Another guard asks for the promise that nothing is begun here until it is done.
    pub fn promise(&mut self, to: &str, now: Duration) -> Answer {
        let idle = !self.acting && self.claim.is_none() && self.ordered.is_none();
        let below = match self.server(now) {
            Server::Stopped { data } => data.is_some(),
            Server::Running(running) => !running.primary && running.settled,
            Server::Busy { .. } => false,
        };
        let free = self.promise.as_ref().is_none_or(|p| p.to == to);
        let known = self.peers.contains_key(to);
        let promised = idle && below && free && known;
        if promised {
            self.promise = Some(Promise {
                to: to.to_owned(),
                at: now,
            });
        }
        Answer {
            promised,
            report: self.report(now),
        }
    }

    /// To whom a promise is still kept, and for how long.
    pub fn promised_to(&self, now: Duration) -> Option<(&str, Duration)> {
        let promise = self.promise.as_ref()?;
        Some((&promise.to, now.saturating_sub(promise.at)))
    }

    fn decide(&self, now: Duration) -> Action {
        let heard = |news: &News| Heard {
            server: news.report.server.clone(),
            acting: news.report.acting,
            age: now.saturating_sub(news.sent),
        };
        let peers = self
            .peers
            .iter()
            .map(|(name, news)| (name.clone(), news.as_ref().map(heard)))
            .collect();
        let age = |since: Option<Duration>| {
            since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
        };
        decide(&Situation {
            me: &self.me,
            own: &self.own,
            peers: &peers,
            undecided: now.saturating_sub(self.last_primary),
            outside: age(self.outside_since),
            could_join: age(self.could_join_since),
            limits: &self.limits,
        })
    }

    /// The next step. Whoever does it calls [`Guard::finished`] afterwards.
    pub fn next(&mut self, now: Duration) -> Step {
        if self.acting || self.claim.is_some() {
            return Step::Rest;
        }
        let primary = self
            .fresh(now)
            .any(|(_, news)| news.report.server.primary().is_some());
        self.could_join_since = (primary && matches!(self.own, Server::Stopped { .. }))
            .then(|| self.could_join_since.unwrap_or(now));
        self.action = self.decide(now);
        let unread = matches!(self.own, Server::Stopped { data: None });
        // A node alone begins whatever its data are, but not before they were looked at.
        let alone = self.unreadable && self.peers.is_empty();
        if unread && !alone && self.pause(now).is_none() {
            self.acting = true;
            return Step::ReadData;
        }
        if let Some(begin) = self.ordered.take() {
            return self.claim(Some(begin), now);
        }
        let step = match self.action {
            Action::Keep | Action::Wait { .. } | Action::AskOperator { .. } => Step::Rest,
            Action::Join => Step::Start,
            Action::StopLocal { .. } => Step::Stop,
            Action::Bootstrap | Action::PcBootstrap => {
                if self.pause(now).is_some() {
                    return Step::Rest;
                }
                if let Some((to, since)) = self.promised_to(now) {
                    self.action = Action::Wait {
                        why: format!(
                            "`{to}` was promised {} s ago that it may begin",
                            since.as_secs()
                        ),
                    };
                    return Step::Rest;
                }
                return self.claim(None, now);
            }
        };
        if step == Step::Start && self.pause(now).is_some() {
            return Step::Rest;
        }
        match step {
            Step::Start => self.busy("is being started"),
            Step::Stop => {
                self.stopping = true;
                self.busy("is being stopped");
            }
            _ => {}
        }
        self.acting = step != Step::Rest;
        step
    }

    /// Until it is looked at again nothing is known of the server, and what its data were worth is over.
    fn busy(&mut self, what: &str) {
        self.own = Server::Busy {
            what: what.to_owned(),
        };
    }

    fn claim(&mut self, forced: Option<Begin>, now: Duration) -> Step {
        let asked: Vec<String> = match forced {
            None => self.peers.keys().cloned().collect(),
            Some(_) => self.fresh(now).map(|(name, _)| name.to_owned()).collect(),
        };
        self.claim = Some(Claim {
            since: now,
            forced,
            asked: asked.clone(),
        });
        Step::Claim { ask: asked }
    }

    /// The answers to a claim are in. Gives how to begin, or why not; then the claim is over.
    pub fn promised(
        &mut self,
        answers: BTreeMap<String, Answer>,
        now: Duration,
    ) -> Result<Begin, String> {
        let result = self.weigh(answers, now);
        match &result {
            Ok(begin) => {
                self.acting = true;
                if *begin == Begin::Bootstrap {
                    self.busy("is being started as the first of the cluster");
                }
            }
            Err(_) => self.claim = None,
        }
        result
    }

    fn weigh(&mut self, answers: BTreeMap<String, Answer>, now: Duration) -> Result<Begin, String> {
        let Some(claim) = &self.claim else {
            return Err("there is no claim".to_owned());
        };
        let (since, forced) = (claim.since, claim.forced);
        if let Some(name) = claim
            .asked
            .iter()
            .find(|name| !answers.get(*name).is_some_and(|answer| answer.promised))
        {
            return Err(match answers.get(name) {
                None => format!("`{name}` did not answer"),
                Some(_) => format!("`{name}` refused: it is acting, or its server is"),
            });
        }
        if now.saturating_sub(since) > CLAIM_TIME {
            return Err("the answers came too late".to_owned());
        }
        for (name, answer) in answers {
            self.hear(&name, answer.report, since, now);
        }
        if let Some(begin) = forced {
            return self.may_order(now).map(|_| begin);
        }
        match self.decide(now) {
            Action::Bootstrap => Ok(Begin::Bootstrap),
            Action::PcBootstrap => Ok(Begin::PcBootstrap),
            _ => Err("what the others answered changed the decision".to_owned()),
        }
    }

    /// The data were read; `None`: they could not be, and the next try is later.
    pub fn data_read(&mut self, data: Option<super::data::Data>, now: Duration) {
        self.unreadable = data.is_none();
        if self.unreadable {
            self.failed(now);
        }
        if let Server::Stopped { data: slot } = &mut self.own {
            *slot = data;
        }
    }

    /// A step is done, well or not, and the server was looked at since.
    pub fn finished(&mut self) {
        self.acting = false;
        self.claim = None;
    }

    /// The operator decides: begin here, once. Refused while that would be wrong whatever the operator knows.
    pub fn order(&mut self, now: Duration) -> Result<(), String> {
        let begin = self.may_order(now)?;
        self.ordered = Some(begin);
        self.not_before = now;
        Ok(())
    }

    fn may_order(&self, now: Duration) -> Result<Begin, String> {
        let (begin, own) = match &self.own {
            Server::Busy { what } => return Err(format!("the local server {what}")),
            Server::Running(running) if running.primary => {
                return Err("the local server is in the Primary component already".to_owned());
            }
            Server::Running(running) => (Begin::PcBootstrap, running.position),
            Server::Stopped { data: None } => {
                return Err("what the local data are worth could not be read".to_owned());
            }
            Server::Stopped { data: Some(data) } => (Begin::Bootstrap, data.position()),
        };
        for (name, news) in self.fresh(now) {
            let server = &news.report.server;
            if server.primary().is_some() {
                return Err(format!(
                    "`{name}` is in a Primary component: this node joins it"
                ));
            }
            if let Server::Busy { what } = server {
                return Err(format!("the server of `{name}` {what}"));
            }
            if news.report.acting {
                return Err(format!("the guard of `{name}` is acting"));
            }
            let theirs = server.data().and_then(|data| data.position());
            if let (Some(own), Some(theirs)) = (own, theirs)
                && own.uuid == theirs.uuid
                && own.seqno < theirs.seqno
            {
                return Err(format!(
                    "`{name}` has newer data of the same history ({theirs}, here {own}): run the command there"
                ));
            }
        }
        Ok(begin)
    }
}
