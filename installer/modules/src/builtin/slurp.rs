//! `slurp`: a file's content as base64.
use agent_protocol::task::TaskResult;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const SLURP: Module = Module::new("slurp", "Fetch a file's content", Effect::Reads, ARGS, run);

const ARGS: &[Arg] = &[Arg::new("src", Kind::Path, "the file")
    .aliases(&["path"])
    .required()];

/// A result has to fit into one frame.
const BYTES_MAX: u64 = 8 << 20;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let src = args.need("src");
    let path = context.path(src);
    let size = std::fs::metadata(&path)
        .map_err(Fault::io(format!("look at {src}")))?
        .len();
    if size > BYTES_MAX {
        return Err(Fault::new(format!(
            "{src} has {size} bytes, more than the {BYTES_MAX} that can be fetched"
        )));
    }
    let bytes = std::fs::read(&path).map_err(Fault::io(format!("read {src}")))?;
    Ok(changed(false)
        .with("content", BASE64_STANDARD.encode(bytes))
        .with("encoding", "base64")
        .with("source", src))
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn content_comes_as_base64() {
        let bench = Bench::new();
        bench.write("/x", "text");
        assert_eq!(
            bench.run("slurp", json!({"src": "/x"})).data["content"],
            "dGV4dA=="
        );
        assert!(bench.run("slurp", json!({"src": "/y"})).failed);
    }
}
