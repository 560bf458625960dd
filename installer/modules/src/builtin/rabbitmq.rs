//! What the modules for RabbitMQ share: calls of `rabbitmqctl`.
//!
//! Each call starts an Erlang machine, which costs seconds of CPU: callers make as few as they can.
use serde_json::Value;

use crate::args::Args;
use crate::context::{Context, Fault};
use crate::process::{Output, Start};
use crate::spec::{Arg, Kind};

pub const NODE: Arg = Arg::new(
    "node",
    Kind::Text,
    "node of the broker, for example rabbit@host",
);

/// One call that has to succeed; gives what it wrote.
pub fn control(context: &mut Context<'_>, args: &Args, words: &[&str]) -> Result<String, Fault> {
    let argv: Vec<&str> = node(args)
        .into_iter()
        .chain(words.iter().copied())
        .collect();
    context.must(&argv)
}

/// One call that has to answer in JSON.
pub fn ask(context: &mut Context<'_>, args: &Args, words: &[&str]) -> Result<Value, Fault> {
    let words: Vec<&str> = words
        .iter()
        .copied()
        .chain(["--formatter", "json"])
        .collect();
    let text = control(context, args, &words)?;
    serde_json::from_str(text.trim())
        .map_err(|error| Fault::new(format!("rabbitmqctl did not answer in JSON: {error}")))
}

/// One call with a secret, which goes by standard input: rabbitmqctl reads it there when it is no argument.
pub fn tell(
    context: &mut Context<'_>,
    args: &Args,
    words: &[&str],
    secret: &str,
) -> Result<Output, Fault> {
    context.start(Start {
        argv: node(args)
            .into_iter()
            .chain(words.iter().copied())
            .collect(),
        stdin: Some(format!("{secret}\n").into_bytes()),
        ..Start::default()
    })
}

/// The program and the node that is meant. Ansible's default, the bare name `rabbit`, is rabbitmqctl's own.
fn node(args: &Args) -> Vec<&str> {
    let mut argv = vec!["rabbitmqctl", "--quiet"];
    if let Some(node) = args
        .text("node")
        .filter(|node| !["", "rabbit"].contains(node))
    {
        argv.extend(["--node", node]);
    }
    argv
}
