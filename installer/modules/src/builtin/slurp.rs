//! `slurp`: a file's content as base64.
use std::io::{self, Read, Seek};

use agent_protocol::task::TaskResult;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const SLURP: Module = Module::new("slurp", "Fetch a file's content", Effect::Reads, ARGS, run);

const ARGS: &[Arg] = &[
    Arg::new("src", Kind::Path, "the file")
        .aliases(&["path"])
        .required(),
    // Beyond Ansible, for the deployment host, which fetches large files piece by piece.
    Arg::new("offset", Kind::Int, "byte to begin at").default("0"),
    Arg::new(
        "limit",
        Kind::Int,
        "bytes at most; without it a larger file is refused",
    ),
];

/// A result has to fit into one frame.
const BYTES_MAX: u64 = 8 << 20;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let src = args.need("src");
    let path = context.path(src);
    let look = || Fault::io(format!("read {src}"));
    let found = match std::fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Fault::new(format!("file not found: {src}")));
        }
        Err(error) => return Err(look()(error)),
    };
    if found.is_dir() {
        return Err(Fault::new(format!(
            "source is a directory and must be a file: {src}"
        )));
    }
    let number = |name: &str| -> Result<Option<u64>, Fault> {
        args.int(name)
            .map(|number| {
                u64::try_from(number).map_err(|_| Fault::new(format!("{name} cannot be {number}")))
            })
            .transpose()
    };
    let (offset, limit) = (number("offset")?.unwrap_or(0), number("limit")?);
    let mut file = std::fs::File::open(&path).map_err(look())?;
    file.seek(io::SeekFrom::Start(offset)).map_err(look())?;
    let most = limit.unwrap_or(BYTES_MAX).min(BYTES_MAX);
    let mut bytes = Vec::new();
    // One byte more than wanted tells whether the file goes on; files of /proc have no size.
    (&mut file)
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(look())?;
    let more = bytes.len() as u64 > most;
    if more && limit.is_none() {
        return Err(Fault::new(format!(
            "{src} has more than the {BYTES_MAX} bytes that can be fetched at once"
        )));
    }
    bytes.truncate(most as usize);
    let result = changed(false)
        .with("content", BASE64_STANDARD.encode(bytes))
        .with("encoding", "base64")
        .with("source", src);
    Ok(match limit {
        Some(_) => result.with("size", found.len()).with("more", more),
        None => result,
    })
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
        assert!(bench.run("slurp", json!({"src": "/"})).failed);
        let piece = |offset| {
            let piece = bench.run("slurp", json!({"src": "/x", "offset": offset, "limit": 3}));
            (
                piece.data["content"].clone(),
                piece.data["more"].clone(),
                piece.data["size"].clone(),
            )
        };
        assert_eq!(piece(0), (json!("dGV4"), json!(true), json!(4)));
        assert_eq!(piece(3), (json!("dA=="), json!(false), json!(4)));
        assert_eq!(piece(9), (json!(""), json!(false), json!(4)));
    }
}
