//! From "installed" to SSH: a node restarts or goes on into its system, which takes an emulated one minutes where
//! others have the processor. The wait ends by what the node computes, not by the clock alone.
use super::images::Images;
use super::running_lab;
use crate::environment::Environment;
use crate::error::CommandError;
use inventory::NetworkName;
use lab::Lab;
use provision::Patience;
use provision::progress::{Moment, Progress};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// RFC 4253 section 4.2: with this a server's greeting begins.
const GREETING: &[u8] = b"SSH-";
const LOOK_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_secs(1);
/// Lines of a console that are shown of a node that does not come.
const LAST_WORDS: usize = 12;

/// Waits until every node that was installed over the network greets; fails with all that do not.
pub async fn all(
    environment: &Environment,
    images: &Images,
    lab: Option<&Lab>,
) -> Result<(), CommandError> {
    let nodes = images.keys().filter_map(|node| {
        let planned = environment.plan.nodes.get(node)?;
        Some((node.as_str(), *planned.addresses.get(&NetworkName::Pxe)?))
    });
    let waits = nodes.map(|(node, address)| wait(node, address, lab));
    let late: Vec<String> = futures::future::join_all(waits)
        .await
        .into_iter()
        .flatten()
        .collect();
    if late.is_empty() {
        return Ok(());
    }
    Err(CommandError::failed(format!(
        "installed, but not reached:\n  {}",
        late.join("\n  ")
    ))
    .hint("the node's console says how far it came; run it again to go on"))
}

/// `None` when the node greets, else what is told of it.
async fn wait(node: &str, address: Ipv4Addr, lab: Option<&Lab>) -> Option<String> {
    let began = Instant::now();
    let meter = lab.map(running_lab::meter);
    let now = || Moment {
        wall: began.elapsed(),
        cpu: meter.as_ref().and_then(|meter| meter(node)),
    };
    let progress = Progress::new(now());
    while !greets(address).await {
        if progress.stalled(now(), Patience::default()) {
            let mut text = format!(
                "{node}: no SSH server answered at {address} for {} s",
                began.elapsed().as_secs()
            );
            let words = lab.map(|lab| lab.last_words(node, LAST_WORDS));
            for line in words.unwrap_or_default() {
                text += &format!("\n    | {line}");
            }
            return Some(text);
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

async fn greets(address: Ipv4Addr) -> bool {
    let look = async {
        let mut greeting = [0; GREETING.len()];
        let mut stream = TcpStream::connect((address, 22)).await?;
        stream.read_exact(&mut greeting).await?;
        std::io::Result::Ok(greeting == GREETING)
    };
    matches!(tokio::time::timeout(LOOK_WITHIN, look).await, Ok(Ok(true)))
}
