//! `get_url`: a file from an HTTP server, checked by its SHA-256.
//!
//! Beyond Ansible: `decompress: zstd` unpacks while downloading; `checksum` is then that of the compressed
//! stream. What was downloaded is remembered, so that a later run need not read the file to know it.
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_protocol::task::TaskResult;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{finish, temporary_beside, validate};

pub const GET_URL: Module = Module::new(
    "get_url",
    "Download a file over HTTP",
    Effect::Converges,
    ARGS,
    run,
)
.file_args();

const ARGS: &[Arg] = &[
    Arg::new("url", Kind::Text, "http:// address").required(),
    Arg::new(
        "dest",
        Kind::Path,
        "the file on the node; a folder takes the name in the address",
    )
    .required(),
    Arg::new(
        "checksum",
        Kind::Text,
        "sha256:<64 hex digits> of what the server sends",
    ),
    Arg::new(
        "decompress",
        Kind::Text,
        "how to unpack what the server sends",
    )
    .choices(&["none", "zstd"])
    .default("none"),
    Arg::new("force", Kind::Flag, "download although the file is there").default("false"),
    Arg::new("headers", Kind::Map, "request headers"),
    Arg::new(
        "timeout",
        Kind::Int,
        "seconds without a byte before giving up",
    )
    .default("60"),
    Arg::new(
        "validate",
        Kind::Text,
        "command that checks the new file, named %s",
    ),
];

/// Where records of downloads are kept.
const RECORDS: &str = "/var/lib/wright-agent/downloads";
const BUFFER_BYTES: usize = 256 << 10;

/// How to recognise a file that came from a certain stream without reading it again.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    stream_sha256: String,
    size: u64,
    mtime: i64,
    mtime_nsec: i64,
    inode: u64,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let url = args.need("url");
    let wanted = args.text("checksum").map(sha256_of).transpose()?;
    let dest = destination(context, args);
    let path = context.path(&dest);
    let attributes = Attributes::of(context, args)?;
    let unpack = args.need("decompress") == "zstd";
    let result = |done| changed(done).with("dest", dest.as_str()).with("url", url);
    let is_there = path.is_file() && !args.flag("force");
    let is_right = match &wanted {
        Some(wanted) => is_there && came_from(context, &path, wanted, unpack)?,
        // Without a checksum a file that is there is taken as it is, like in Ansible.
        None => is_there,
    };
    if is_right {
        return Ok(result(attributes.apply(context, &path)?));
    }
    if context.check {
        return Ok(result(true));
    }
    let (temporary, mut file) =
        temporary_beside(&path).map_err(Fault::io(format!("write {dest}")))?;
    let sha256 = download(context, args, &mut file, unpack)?;
    if let Some(wanted) = &wanted
        && *wanted != sha256
    {
        return Err(Fault::new(format!(
            "The checksum for {url} did not match {wanted}; it was {sha256}."
        )));
    }
    finish(&file, &path, &attributes).map_err(Fault::io(format!("write {dest}")))?;
    // A program that is to check itself cannot be run while it is open for writing.
    drop(file);
    if let Some(command) = args.text("validate") {
        validate(context, command, temporary.path())?;
    }
    temporary
        .replace(&path)
        .map_err(Fault::io(format!("replace {dest}")))?;
    remember(context, &path, sha256.clone())?;
    Ok(result(true).with("checksum_src", sha256))
}

/// Streams the body into `file` and gives the SHA-256 of what the server sent.
fn download(
    context: &Context<'_>,
    args: &Args,
    file: &mut File,
    unpack: bool,
) -> Result<String, Fault> {
    let url = args.need("url");
    let patience = Duration::from_secs(args.int("timeout").unwrap_or(60).clamp(1, 3600) as u64);
    let agent = ureq::Agent::config_builder()
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .build()
        .new_agent();
    let mut request = agent.get(url);
    for (name, value) in args.map("headers").into_iter().flatten() {
        request = request.header(
            name,
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        );
    }
    let response = request
        .call()
        .map_err(|error| Fault::new(format!("Request failed: {url}: {error}")))?;
    let mut hashing = Hashing {
        source: response.into_body().into_reader(),
        sha256: Sha256::new(),
    };
    let fault = |error| Fault::Io {
        what: format!("download {url}"),
        source: error,
    };
    if unpack {
        let mut decoder = zstd::Decoder::new(&mut hashing).map_err(fault)?;
        pour(context, &mut decoder, file, url)?;
        drop(decoder);
    }
    // All of it, or what lies behind the last compressed frame.
    if unpack {
        io::copy(&mut hashing, &mut io::sink())
            .map(drop)
            .map_err(fault)?
    } else {
        pour(context, &mut hashing, file, url)?
    }
    Ok(hex::encode(hashing.sha256.finalize()))
}

fn pour(
    context: &Context<'_>,
    source: &mut impl Read,
    file: &mut File,
    url: &str,
) -> Result<(), Fault> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        context.go_on()?;
        match source
            .read(&mut buffer)
            .map_err(Fault::io(format!("download {url}")))?
        {
            0 => return Ok(()),
            length => file
                .write_all(&buffer[..length])
                .map_err(Fault::io("write what was downloaded"))?,
        }
    }
}

struct Hashing<R> {
    source: R,
    sha256: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.sha256.update(&buffer[..length]);
        Ok(length)
    }
}

fn sha256_of(checksum: &str) -> Result<String, Fault> {
    match checksum.split_once(':') {
        Some(("sha256", digest))
            if digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            Ok(digest.to_ascii_lowercase())
        }
        _ => Err(Fault::new(format!(
            "checksum must be sha256: and 64 hex digits, not {checksum}"
        ))),
    }
}

fn destination(context: &Context<'_>, args: &Args) -> String {
    let (url, dest) = (args.need("url"), args.need("dest"));
    if !dest.ends_with('/') && !context.path(dest).is_dir() {
        return dest.to_owned();
    }
    let name = url
        .split(['?', '#'])
        .next()
        .and_then(|path| path.rsplit('/').next())
        .filter(|name| !name.is_empty())
        .unwrap_or("index.html");
    format!("{}/{name}", dest.trim_end_matches('/'))
}

fn came_from(
    context: &Context<'_>,
    path: &Path,
    wanted: &str,
    unpacked: bool,
) -> Result<bool, Fault> {
    let now = record_of(path, wanted.to_owned())
        .map_err(Fault::io(format!("look at {}", path.display())))?;
    let known = fs::read(record_path(context, path))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
    if known.as_ref() == Some(&now) {
        return Ok(true);
    }
    if unpacked {
        return Ok(false);
    }
    let mut hashing = Hashing {
        source: File::open(path).map_err(Fault::io(format!("read {}", path.display())))?,
        sha256: Sha256::new(),
    };
    io::copy(&mut hashing, &mut io::sink())
        .map_err(Fault::io(format!("read {}", path.display())))?;
    Ok(hex::encode(hashing.sha256.finalize()) == wanted)
}

fn remember(context: &Context<'_>, path: &Path, stream_sha256: String) -> Result<(), Fault> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(context.path(RECORDS))?;
        fs::write(
            record_path(context, path),
            serde_json::to_vec(&record_of(path, stream_sha256)?)?,
        )
    };
    write().map_err(Fault::io("remember the download"))
}

fn record_of(path: &Path, stream_sha256: String) -> io::Result<Record> {
    let found = fs::metadata(path)?;
    Ok(Record {
        stream_sha256,
        size: found.size(),
        mtime: found.mtime(),
        mtime_nsec: found.mtime_nsec(),
        inode: found.ino(),
    })
}

fn record_path(context: &Context<'_>, path: &Path) -> PathBuf {
    let name = hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()));
    context.path(RECORDS).join(&name[..32])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Serves `body` to every request and counts them.
    fn serve(body: Vec<u8>) -> (String, &'static AtomicUsize) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/files/wright?x=1", listener.local_addr().unwrap());
        let count: &'static AtomicUsize = Box::leak(Box::default());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        break;
                    }
                    head.push(byte[0]);
                }
                count.fetch_add(1, Ordering::SeqCst);
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(&body);
            }
        });
        (url, count)
    }

    #[test]
    fn a_compressed_file_is_unpacked_and_not_fetched_twice() {
        let bench = Bench::new();
        bench.write("/usr/local/bin/keep", "");
        bench.write("/var/lib/wright-agent/downloads/keep", "");
        let packed = zstd::encode_all(&b"#!/bin/sh\n"[..], 3).unwrap();
        let sha256 = hex::encode(Sha256::digest(&packed));
        let (url, count) = serve(packed);
        bench.converges("get_url", json!({"url": url, "dest": "/usr/local/bin/", "checksum": format!("sha256:{sha256}"), "decompress": "zstd", "mode": "0755"}));
        assert_eq!(bench.read("/usr/local/bin/wright"), "#!/bin/sh\n");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_changed_file_is_fetched_again() {
        let bench = Bench::new();
        let sha256 = hex::encode(Sha256::digest(b"body"));
        let (url, count) = serve(b"body".to_vec());
        let args = json!({"url": url, "dest": "/file", "checksum": format!("sha256:{sha256}")});
        bench.converges("get_url", args.clone());
        bench.write("/file", "spoilt");
        assert!(bench.run("get_url", args).changed);
        assert_eq!(
            (bench.read("/file").as_str(), count.load(Ordering::SeqCst)),
            ("body", 2)
        );
    }

    #[test]
    fn a_wrong_checksum_leaves_the_old_file() {
        let bench = Bench::new();
        bench.write("/file", "old");
        let (url, _) = serve(b"body".to_vec());
        let result = bench.run(
            "get_url",
            json!({"url": url, "dest": "/file", "checksum": format!("sha256:{}", "0".repeat(64))}),
        );
        assert!(
            result.failed && result.msg.contains("did not match"),
            "{result:?}"
        );
        assert_eq!(bench.read("/file"), "old");
        assert_eq!(fs::read_dir(bench.root()).unwrap().count(), 1);
        assert!(
            bench
                .run(
                    "get_url",
                    json!({"url": url, "dest": "/file", "checksum": "md5:1"})
                )
                .failed
        );
    }
}
