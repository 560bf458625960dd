//! The conversations with all agents: all listen, then all send, then all tell. A node that fails at any step is told
//! with its reason and holds nobody else.
use crate::plan::Plan;
use crate::report::count;
use crate::spec::{self, Pace};
use agent_protocol::PROTOCOL;
use agent_protocol::frame::{FrameError, decode, encode};
use agent_protocol::probe::{FromProbe, Heard, ToProbe};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// Longest that a node may say in one message: every bound of the protocol together is far below.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Longest reason that is repeated.
const REASON_CHARS_MAX: usize = 300;

/// Bytes both ways, with `wright-agent probe` at the other end.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How nodes are reached.
#[async_trait]
pub trait Reach: Send + Sync {
    /// Starts the probe on a node, first putting the agent of `sha256` there when `renew` says so. A node without an
    /// agent that knows the probe gives a stream that ends at once.
    async fn open(&self, node: &str, renew: bool) -> Result<Box<dyn Stream>, String>;

    /// SHA-256 of the agent that nodes are to run; `None`: whichever they have.
    fn agent_sha256(&self) -> Option<&str>;
}

/// What came of one node.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Heard(Box<Heard>),
    /// Why it said nothing.
    Unasked(String),
}

/// Asks every node; the outcomes are in the order of the plan. `nonce` is 32 hex digits that no other run has, `tell`
/// hears how far it is.
pub async fn survey(
    plan: &Plan,
    reach: &dyn Reach,
    pace: &Pace,
    nonce: &str,
    tell: &(dyn Fn(&str) + Sync),
) -> Vec<Outcome> {
    let greeting = plan
        .nodes
        .iter()
        .enumerate()
        .map(|(node, planned)| async move {
            let greeted = timeout(pace.reach, Conversation::open(reach, &planned.name)).await;
            let late = |_| Err(late(pace.reach, "answer"));
            (node, greeted.unwrap_or_else(late))
        });
    let at_once = pace.at_once.max(1);
    let talks: Vec<Talk> = futures::stream::iter(greeting)
        .buffer_unordered(at_once)
        .collect()
        .await;
    let present = present(&talks);
    tell(&format!(
        "{} of {} nodes are reached",
        present.len(),
        plan.nodes.len()
    ));

    let present = &present;
    let talks = step(talks, pace.answer, "listen", |node, mut talk| async move {
        // The others ask for the addresses of who is not present.
        let spec = spec::of(plan, node, present, nonce, pace);
        talk.say(&ToProbe::Spec(Box::new(spec))).await?;
        talk.expect(&FromProbe::Listening).await?;
        Ok(talk)
    })
    .await;
    let listening = self::present(&talks).len();
    tell(&format!(
        "{} listen, and send now",
        count(listening, "node")
    ));

    let sending = pace.spread * pace.rounds.into() + pace.answer;
    let talks = step(talks, sending, "send", |_, mut talk| async move {
        talk.say(&ToProbe::Send).await?;
        talk.expect(&FromProbe::Sent).await?;
        Ok(talk)
    })
    .await;
    sleep(pace.settle).await;

    let mut ended = step(
        talks,
        pace.answer,
        "tell what it heard",
        |_, mut talk| async move {
            talk.say(&ToProbe::Stop).await?;
            match talk.hear().await? {
                FromProbe::Heard(heard) => Ok(heard),
                other => Err(out_of_turn(&other)),
            }
        },
    )
    .await;
    ended.sort_by_key(|(node, _)| *node);
    let outcomes = ended.into_iter().map(|(_, heard)| match heard {
        Ok(heard) => Outcome::Heard(heard),
        Err(reason) => Outcome::Unasked(reason.chars().take(REASON_CHARS_MAX).collect()),
    });
    outcomes.collect()
}

/// A node, by index, and the conversation with it, or why there is none any more.
type Talk<T = Conversation> = (usize, Result<T, String>);

fn present(talks: &[Talk]) -> BTreeSet<usize> {
    let going = talks.iter().filter(|(_, talk)| talk.is_ok());
    going.map(|(node, _)| *node).collect()
}

/// One step of all conversations at the same time.
async fn step<T, F, W>(talks: Vec<Talk>, within: Duration, what: &str, work: W) -> Vec<Talk<T>>
where
    F: Future<Output = Result<T, String>>,
    W: Fn(usize, Conversation) -> F,
{
    let steps = talks.into_iter().map(|(node, talk)| {
        let doing = talk.map(|talk| work(node, talk));
        async move {
            let done = match doing {
                Ok(doing) => timeout(within, doing)
                    .await
                    .unwrap_or_else(|_| Err(late(within, what))),
                Err(reason) => Err(reason),
            };
            (node, done)
        }
    });
    join_all(steps).await
}

struct Conversation {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Conversation {
    /// Starts the probe on a node; puts the right agent there if it greets as another one, or not at all.
    async fn open(reach: &dyn Reach, node: &str) -> Result<Self, String> {
        let mut last = String::new();
        for renew in [false, true] {
            let stream = reach.open(node, renew).await?;
            let mut talk = Conversation {
                stream,
                buffer: Vec::new(),
            };
            match (talk.hear().await, reach.agent_sha256()) {
                (
                    Ok(FromProbe::Hello {
                        protocol: PROTOCOL,
                        agent_sha256,
                    }),
                    wanted,
                ) if wanted.is_none_or(|wanted| wanted == agent_sha256) => return Ok(talk),
                (Ok(FromProbe::Hello { .. }), _) => {
                    "its agent is of another version".clone_into(&mut last);
                }
                (Ok(other), _) => last = out_of_turn(&other),
                (Err(reason), _) => last = reason,
            }
            if reach.agent_sha256().is_none() {
                break;
            }
        }
        Err(last)
    }

    async fn say(&mut self, message: &ToProbe) -> Result<(), String> {
        let bytes = encode(message).map_err(|error| error.to_string())?;
        let write = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        write
            .await
            .map_err(|error| format!("the connection broke: {error}"))
    }

    async fn hear(&mut self) -> Result<FromProbe, String> {
        loop {
            let foreign = |error: FrameError| format!("its agent speaks another language: {error}");
            match decode(&mut self.buffer).map_err(foreign)? {
                Some(FromProbe::Failed { reason }) => return Err(reason),
                Some(message) => return Ok(message),
                None if self.buffer.len() > MESSAGE_BYTES_MAX => {
                    return Err(format!(
                        "it says more than {MESSAGE_BYTES_MAX} bytes at once"
                    ));
                }
                None => {}
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err("its agent ended without a word".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("the connection broke: {error}")),
            }
        }
    }

    async fn expect(&mut self, wanted: &FromProbe) -> Result<(), String> {
        match self.hear().await? {
            said if said == *wanted => Ok(()),
            other => Err(out_of_turn(&other)),
        }
    }
}

fn out_of_turn(message: &FromProbe) -> String {
    let what = match message {
        FromProbe::Hello { .. } => "hello",
        FromProbe::Listening => "listening",
        FromProbe::Sent => "sent",
        FromProbe::Heard(_) => "heard",
        FromProbe::Failed { .. } => "failed",
    };
    format!("its agent said `{what}` out of turn")
}

fn late(within: Duration, what: &str) -> String {
    format!("it did not {what} within {} s", within.as_secs())
}

#[cfg(test)]
mod tests;
