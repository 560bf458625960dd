//! Conversations with agents that behave, and with others.
use super::*;
use crate::plan::{Link, Network, Node};
use agent_protocol::probe::Spec;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::io::DuplexStream;

const NONCE: &str = "00112233445566778899aabbccddeeff";

/// How an agent behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Well,
    /// Another version of the agent, until it is renewed.
    Old,
    /// No agent, until it is put there.
    Absent,
    /// Another version, and again after it was renewed.
    OldForEver,
    Unreachable,
    /// Says nothing.
    Silent,
    Garbage,
    /// Listens and then ends.
    Dies,
    /// Never says that it has sent.
    Slow,
    /// Says that it cannot.
    Fails,
    /// Says messages that are not its turn.
    Eager,
    /// Never comes to an end with its first message.
    Endless,
}

#[derive(Default)]
struct Agents {
    manners: BTreeMap<String, Manner>,
    specs: std::sync::Arc<Mutex<BTreeMap<String, Spec>>>,
}

#[async_trait]
impl Reach for Agents {
    async fn open(&self, node: &str, renew: bool) -> Result<Box<dyn Stream>, String> {
        let manner = self.manners[node];
        let now = match (manner, renew) {
            (Manner::Unreachable, _) => return Err("connection refused".to_owned()),
            (Manner::Old | Manner::Absent, true) => Manner::Well,
            _ => manner,
        };
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (specs, node) = (self.specs.clone(), node.to_owned());
        tokio::spawn(async move {
            let _ = agent(now, theirs, |spec| {
                specs.lock().unwrap().insert(node, spec);
            })
            .await;
        });
        Ok(Box::new(ours))
    }

    fn agent_sha256(&self) -> Option<&str> {
        Some("new")
    }
}

async fn agent(
    manner: Manner,
    mut stream: DuplexStream,
    keep: impl FnOnce(Spec),
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    let sha256 = if matches!(manner, Manner::Old | Manner::OldForEver) {
        "old"
    } else {
        "new"
    };
    let hello = FromProbe::Hello {
        protocol: PROTOCOL,
        agent_sha256: sha256.to_owned(),
    };
    match manner {
        Manner::Absent => return Ok(()),
        Manner::Silent => return std::future::pending().await,
        Manner::Garbage => return stream.write_all(b"\0\0\0\x05Hello, I am a shell\n").await,
        Manner::Endless => {
            stream.write_all(&(16u32 << 20).to_be_bytes()).await?;
            loop {
                stream.write_all(&[b' '; 4096]).await?;
            }
        }
        _ => say(&mut stream, &hello).await?,
    }
    if let Some(ToProbe::Spec(spec)) = hear(&mut stream, &mut buffer).await? {
        keep(*spec);
    }
    if manner == Manner::Fails {
        let reason = "no".repeat(1000);
        return say(&mut stream, &FromProbe::Failed { reason }).await;
    }
    if manner == Manner::Eager {
        return say(&mut stream, &FromProbe::Sent).await;
    }
    say(&mut stream, &FromProbe::Listening).await?;
    if manner == Manner::Dies {
        return Ok(());
    }
    hear(&mut stream, &mut buffer).await?;
    if manner == Manner::Slow {
        return std::future::pending().await;
    }
    say(&mut stream, &FromProbe::Sent).await?;
    hear(&mut stream, &mut buffer).await?;
    say(&mut stream, &FromProbe::Heard(Box::default())).await
}

async fn say(stream: &mut DuplexStream, message: &FromProbe) -> std::io::Result<()> {
    stream.write_all(&encode(message).unwrap()).await
}

async fn hear(stream: &mut DuplexStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<ToProbe>> {
    loop {
        if let Some(message) = decode(buffer).unwrap() {
            return Ok(Some(message));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Outcome of each node, and what they were told.
async fn ask(manners: &[Manner]) -> (Vec<String>, BTreeMap<String, Spec>) {
    let node = |number: usize| Node {
        name: format!("node-{number}"),
        links: vec![Link {
            nic: "eth0".into(),
            mtu: 1500,
            address: Some([10, 0, 0, number as u8].into()),
            ..Link::default()
        }],
        ..Node::default()
    };
    let plan = Plan {
        networks: vec![Network::default()],
        nodes: (0..manners.len()).map(node).collect(),
    };
    let names = plan.nodes.iter().map(|node| node.name.clone());
    let agents = Agents {
        manners: names.zip(manners.iter().copied()).collect(),
        ..Agents::default()
    };
    let outcomes = survey(&plan, &agents, &Pace::default(), NONCE, &|_| {}).await;
    let told = outcomes.into_iter().map(|outcome| match outcome {
        Outcome::Heard(_) => "heard".to_owned(),
        Outcome::Unasked(reason) => reason,
    });
    let specs = agents.specs.lock().unwrap().clone();
    (told.collect(), specs)
}

#[tokio::test(start_paused = true)]
async fn whoever_misbehaves_is_told_of_and_holds_nobody() {
    let manners = [
        Manner::Well,
        Manner::Old,
        Manner::Absent,
        Manner::OldForEver,
        Manner::Unreachable,
        Manner::Silent,
        Manner::Garbage,
        Manner::Dies,
        Manner::Slow,
        Manner::Fails,
        Manner::Eager,
        Manner::Endless,
    ];
    let (outcomes, _) = ask(&manners).await;
    let told: Vec<String> = manners
        .iter()
        .zip(outcomes)
        .map(|(manner, outcome)| format!("{manner:?}: {outcome:.90}"))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn addresses_of_absent_nodes_are_asked_for_by_others() {
    let (outcomes, specs) = ask(&[Manner::Well, Manner::Unreachable, Manner::Well]).await;
    assert_eq!(outcomes, ["heard", "connection refused", "heard"]);
    for name in ["node-0", "node-2"] {
        let link = &specs[name].links[0];
        assert_eq!(
            link.ask_for,
            [std::net::Ipv4Addr::new(10, 0, 0, 1)],
            "{name}"
        );
        assert!(link.ask_dhcp && specs[name].fault().is_none());
    }
}
