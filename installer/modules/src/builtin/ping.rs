//! `ping`: the agent answers.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const PING: Module = Module::new(
    "ping",
    "Answer, so that the way to a node is known to work",
    Effect::Reads,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[Arg::new("data", Kind::Text, "what is answered").default("pong")];

fn run(_: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    Ok(changed(false).with("ping", args.need("data")))
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;

    #[test]
    fn it_answers() {
        assert_eq!(
            Bench::new().run("ping", serde_json::json!({})).data["ping"],
            "pong"
        );
    }
}
