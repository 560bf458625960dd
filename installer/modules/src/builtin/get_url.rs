//! `get_url`: a file from an HTTP server, over TLS or checked by its digest.
//!
//! Beyond Ansible: `decompress: zstd` unpacks while downloading; `checksum` is then that of the compressed
//! stream. What was downloaded is remembered, so that a later run need not read the file to know it.
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_protocol::task::TaskResult;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::attributes::{Attributes, with_file};
use crate::context::{Context, Fault, With, changed};
use crate::digest;
use crate::http::{self, without_credentials};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{self, finish, temporary_beside, validate};

pub const GET_URL: Module = Module::new(
    "get_url",
    "Download a file over HTTP or HTTPS",
    Effect::Converges,
    ARGS,
    run,
)
.file_args();

const ARGS: &[Arg] = &[
    http::URL,
    Arg::new(
        "dest",
        Kind::Path,
        "the file on the node; a folder takes the name in the address",
    )
    .required(),
    Arg::new(
        "checksum",
        Kind::Text,
        "sha256: (or another algorithm) and hex digits, or the address of a list of them",
    )
    .default(""),
    Arg::new(
        "decompress",
        Kind::Text,
        "zstd: unpack what the server sends; nothing else is packed",
    )
    .choices(&[
        "none", "zstd", "True", "False", "true", "false", "yes", "no",
    ])
    .default("none"),
    Arg::new("force", Kind::Flag, "download although the file is there").default("false"),
    Arg::new("backup", Kind::Flag, "keep the old file").default("false"),
    http::HEADERS,
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
    Arg::new(
        "tmp_dest",
        Kind::Path,
        "accepted for compatibility: it is made beside dest",
    ),
    http::VALIDATE_CERTS,
    http::CA_PATH,
    http::CLIENT_CERT,
    http::CLIENT_KEY,
    http::USE_PROXY,
    http::URL_USERNAME,
    http::URL_PASSWORD,
    http::FORCE_BASIC_AUTH,
    http::HTTP_AGENT,
    http::UNREDIRECTED_HEADERS,
    http::USE_GSSAPI,
    http::USE_NETRC,
    Arg::new("ciphers", Kind::List, "accepted for compatibility"),
];

/// Where records of downloads are kept.
const RECORDS: &str = "/var/lib/wright-agent/downloads";
const BUFFER_BYTES: usize = 256 << 10;
/// A list of checksums is no longer than this.
const LIST_BYTES_MAX: u64 = 4 << 20;

/// How to recognise a file that came from a certain stream without reading it again.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    /// Of what the server sent.
    #[serde(alias = "stream_sha256")]
    digest: String,
    size: u64,
    mtime: i64,
    mtime_nsec: i64,
    inode: u64,
}

/// What a file is checked by.
struct Wanted {
    algorithm: String,
    digits: String,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let url = without_credentials(args.need("url")).0;
    let dest = destination(context, args);
    let path = context.path(&dest);
    let attributes = Attributes::of(context, args)?;
    let unpack = args.need("decompress") == "zstd";
    let result = |done| {
        changed(done)
            .with("dest", dest.as_str())
            .with("url", url.as_str())
    };
    let is_there = path.is_file() && !args.flag("force");
    let checksum = args.need("checksum").trim();
    if is_there && checksum.is_empty() {
        // Without a checksum a file that is there is taken as it is, like in Ansible.
        let result = result(attributes.apply(context, &path)?);
        return Ok(with_file(context, result, &path));
    }
    let wanted = match checksum {
        "" => None,
        text => Some(wanted(context, args, text)?),
    };
    if let Some(wanted) = &wanted
        && is_there
        && came_from(context, &path, wanted, unpack)?
    {
        let result = result(attributes.apply(context, &path)?);
        return Ok(with_file(context, result, &path));
    }
    if context.check {
        return Ok(result(true));
    }
    let (temporary, mut file) =
        temporary_beside(&path).map_err(Fault::io(format!("write {dest}")))?;
    let algorithm = wanted.as_ref().map_or("sha256", |wanted| &wanted.algorithm);
    let (digits, answer) = download(context, args, &mut file, unpack, algorithm)?;
    if let Some(wanted) = &wanted
        && wanted.digits != digits
    {
        return Err(Fault::new(format!(
            "The checksum for {url} did not match {}; it was {digits}.",
            wanted.digits
        )));
    }
    finish(&file, &path, &attributes).map_err(Fault::io(format!("write {dest}")))?;
    // A program that is to check itself cannot be run while it is open for writing.
    drop(file);
    if let Some(command) = args.text("validate") {
        validate(context, command, temporary.path())?;
    }
    let io = || Fault::io(format!("read {dest}"));
    // What is unpacked is large and new: its own digest is not worth reading it twice.
    let sha1 = |path: &Path| match !unpack && path.is_file() {
        true => digest::of_file("sha1", path).map(Some).map_err(io()),
        false => Ok(None),
    };
    let (src, before) = (sha1(temporary.path())?, sha1(&path)?);
    let differs = before.is_none() || before != src;
    let mut result = result(differs)
        .with("status_code", answer.0)
        .with("msg", answer.1)
        .with("checksum_src", src)
        .with("checksum_dest", before);
    if differs && args.flag("backup") && path.is_file() {
        let backup = write::backup(&path).map_err(Fault::io(format!("keep a copy of {dest}")))?;
        result = result.with("backup_file", backup.display().to_string());
    }
    temporary
        .replace(&path)
        .map_err(Fault::io(format!("replace {dest}")))?;
    if let Some(wanted) = wanted {
        remember(context, &path, &wanted)?;
    }
    Ok(with_file(context, result, &path))
}

/// `sha256:<digits>`, or `sha256:http://.../SHA256SUMS`, a list in which the file's name is looked up.
fn wanted(context: &mut Context<'_>, args: &Args, checksum: &str) -> Result<Wanted, Fault> {
    let unfit = || {
        Fault::new(format!(
            "checksum must be one of {} with a colon and its hex digits or an address, not {}",
            digest::NAMES.join(", "),
            without_credentials(checksum).0
        ))
    };
    let (algorithm, rest) = checksum.split_once(':').ok_or_else(unfit)?;
    let (algorithm, rest) = (algorithm.trim().to_ascii_lowercase(), rest.trim());
    let digits = digest::new(&algorithm).ok_or_else(unfit)?.output_size() * 2;
    let is_digest =
        |text: &str| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if rest.starts_with("http://") || rest.starts_with("https://") {
        let list = http::fetch(context, args, rest, LIST_BYTES_MAX)?;
        let name = name_in(args.need("url"));
        let list = String::from_utf8_lossy(&list);
        let found = in_list(&list, name)
            .filter(|found| is_digest(found))
            .ok_or_else(|| {
                let list = without_credentials(rest).0;
                Fault::new(format!("{list} has no {algorithm} checksum of {name}"))
            })?;
        return Ok(Wanted {
            algorithm,
            digits: found.to_ascii_lowercase(),
        });
    }
    if !is_digest(rest) {
        return Err(unfit());
    }
    Ok(Wanted {
        algorithm,
        digits: rest.to_ascii_lowercase(),
    })
}

/// The digits beside a file's name in what `sha256sum` writes; or the only ones, if the list has no names.
fn in_list<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = list.lines().map(|line| line.split_whitespace());
    let named = lines.clone().find_map(|mut words| {
        let digits = words.next()?;
        let file = words.next()?.trim_start_matches('*');
        (file.rsplit('/').next() == Some(name)).then_some(digits)
    });
    // BSD's way: SHA256 (name) = digits
    let bsd = || {
        lines.clone().find_map(|words| {
            let words: Vec<&str> = words.collect();
            match words.as_slice() {
                [_, file, "=", digits] if file.trim_matches(['(', ')']) == name => Some(*digits),
                _ => None,
            }
        })
    };
    named.or_else(bsd).or_else(|| {
        let words: Vec<&str> = lines.next()?.collect();
        match words.as_slice() {
            [digits] => Some(*digits),
            _ => None,
        }
    })
}

/// Streams the body into `file` and gives the digest of what the server sent, its status and its word for that.
fn download(
    context: &Context<'_>,
    args: &Args,
    file: &mut File,
    unpack: bool,
    algorithm: &str,
) -> Result<(String, (u16, String)), Fault> {
    let url = without_credentials(args.need("url")).0;
    let request = http::Request {
        method: "GET",
        body: None,
        headers: Vec::new(),
        follow: true,
    };
    let answer = http::call(context, args, request)?;
    if !(200..300).contains(&answer.status) {
        let msg = format!("Request failed: {url}: http status: {}", answer.status);
        return Err(Fault::WithData {
            msg,
            data: [("status_code".to_owned(), answer.status.into())]
                .into_iter()
                .collect(),
        });
    }
    let said = (answer.status, answer.reason);
    let mut hashing = Hashing {
        source: answer.body.into_reader(),
        digest: digest::new(algorithm)
            .ok_or_else(|| Fault::new(format!("there is no digest {algorithm}")))?,
    };
    let fault = |error| Fault::Io {
        what: format!("download {url}"),
        source: error,
    };
    if unpack {
        let mut decoder = zstd::Decoder::new(&mut hashing).map_err(fault)?;
        pour(context, &mut decoder, file, &url)?;
        drop(decoder);
        // What lies behind the last compressed frame.
        io::copy(&mut hashing, &mut io::sink()).map_err(fault)?;
    } else {
        pour(context, &mut hashing, file, &url)?;
    }
    Ok((digest::finish(hashing.digest), said))
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
    digest: Box<dyn sha2::digest::DynDigest>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.digest.update(&buffer[..length]);
        Ok(length)
    }
}

fn destination(context: &Context<'_>, args: &Args) -> String {
    let (url, dest) = (args.need("url"), args.need("dest"));
    if !dest.ends_with('/') && !context.path(dest).is_dir() {
        return dest.to_owned();
    }
    format!("{}/{}", dest.trim_end_matches('/'), name_in(url))
}

/// The last part of the path in an address.
fn name_in(url: &str) -> &str {
    url.split(['?', '#'])
        .next()
        .and_then(|path| path.rsplit('/').next())
        .filter(|name| !name.is_empty())
        .unwrap_or("index.html")
}

fn came_from(
    context: &Context<'_>,
    path: &Path,
    wanted: &Wanted,
    unpacked: bool,
) -> Result<bool, Fault> {
    let what = || Fault::io(format!("read {}", path.display()));
    let now = record_of(path, wanted).map_err(what())?;
    let known = fs::read(record_path(context, path))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
    if known.as_ref() == Some(&now) {
        return Ok(true);
    }
    if unpacked {
        return Ok(false);
    }
    Ok(digest::of_file(&wanted.algorithm, path).map_err(what())? == wanted.digits)
}

fn remember(context: &Context<'_>, path: &Path, wanted: &Wanted) -> Result<(), Fault> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(context.path(RECORDS))?;
        fs::write(
            record_path(context, path),
            serde_json::to_vec(&record_of(path, wanted)?)?,
        )
    };
    write().map_err(Fault::io("remember the download"))
}

fn record_of(path: &Path, wanted: &Wanted) -> io::Result<Record> {
    let found = fs::metadata(path)?;
    Ok(Record {
        // A digest's length tells its algorithm.
        digest: wanted.digits.clone(),
        size: found.size(),
        mtime: found.mtime(),
        mtime_nsec: found.mtime_nsec(),
        inode: found.ino(),
    })
}

fn record_path(context: &Context<'_>, path: &Path) -> PathBuf {
    let name = digest::of_bytes("sha256", path.as_os_str().as_encoded_bytes());
    context.path(RECORDS).join(&name[..32])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use crate::http::testing::{certificate, reply, serve, serve_tls};
    use serde_json::json;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Serves `body` to every request and counts them.
    fn counting(body: Vec<u8>) -> (String, &'static AtomicUsize) {
        let count: &'static AtomicUsize = Box::leak(Box::default());
        let address = serve(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            reply("200 OK", &[], &body)
        });
        (format!("{address}/files/wright?x=1"), count)
    }

    fn sha256(bytes: &[u8]) -> String {
        digest::of_bytes("sha256", bytes)
    }

    #[test]
    fn a_compressed_file_is_unpacked_and_not_fetched_twice() {
        let bench = Bench::new();
        bench.write("/usr/local/bin/keep", "");
        bench.write("/var/lib/wright-agent/downloads/keep", "");
        let packed = zstd::encode_all(&b"#!/bin/sh\n"[..], 3).unwrap();
        let sha256 = sha256(&packed);
        let (url, count) = counting(packed);
        bench.converges("get_url", json!({"url": url, "dest": "/usr/local/bin/", "checksum": format!("sha256:{sha256}"), "decompress": "zstd", "mode": "0755"}));
        assert_eq!(bench.read("/usr/local/bin/wright"), "#!/bin/sh\n");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_changed_file_is_fetched_again() {
        let bench = Bench::new();
        let (url, count) = counting(b"body".to_vec());
        let args =
            json!({"url": url, "dest": "/file", "checksum": format!("sha256:{}", sha256(b"body"))});
        bench.converges("get_url", args.clone());
        bench.write("/file", "spoilt");
        assert!(bench.run("get_url", args).changed);
        assert_eq!(
            (bench.read("/file").as_str(), count.load(Ordering::SeqCst)),
            ("body", 2)
        );
    }

    #[test]
    fn a_forced_download_of_the_same_is_no_change() {
        let bench = Bench::new();
        let (url, count) = counting(b"body".to_vec());
        let args = json!({"url": url, "dest": "/file", "force": true, "backup": true});
        let first = bench.run("get_url", args.clone());
        assert!(first.changed, "{first:?}");
        assert_eq!(
            (
                &first.data["status_code"],
                &first.data["size"],
                &first.data["checksum_src"]
            ),
            (
                &json!(200),
                &json!(4),
                &json!(digest::of_bytes("sha1", b"body"))
            )
        );
        assert!(!bench.run("get_url", args.clone()).changed);
        assert_eq!(count.load(Ordering::SeqCst), 2);
        bench.write("/file", "old");
        let third = bench.run("get_url", args);
        let backup = third.data["backup_file"].as_str().unwrap();
        assert_eq!(fs::read_to_string(backup).unwrap(), "old");
    }

    #[test]
    fn a_wrong_checksum_leaves_the_old_file() {
        let bench = Bench::new();
        bench.write("/file", "old");
        let (url, _) = counting(b"body".to_vec());
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
        for unfit in ["md5:1", "crc:00", "sha256", "sha512:http"] {
            let result = bench.run(
                "get_url",
                json!({"url": url, "dest": "/file", "checksum": unfit}),
            );
            assert!(
                result.msg.starts_with("checksum must be one of"),
                "{result:?}"
            );
        }
    }

    #[test]
    fn a_checksum_is_looked_up_in_a_list() {
        let bench = Bench::new();
        let body = b"body".to_vec();
        let list = format!(
            "{}  other\n{} *./tool.tar.gz\n",
            "0".repeat(64),
            sha256(&body)
        );
        let address = serve(move |seen| match seen.line.contains("SUMS") {
            true => reply("200 OK", &[], list.as_bytes()),
            false => reply("200 OK", &[], &body),
        });
        bench.write("/var/lib/wright-agent/downloads/keep", "");
        bench.converges("get_url", json!({"url": format!("{address}/v1/tool.tar.gz"), "dest": "/tool.tar.gz", "checksum": format!("sha256:{address}/v1/SHA256SUMS")}));
        let none = bench.run("get_url", json!({"url": format!("{address}/v1/none"), "dest": "/none", "checksum": format!("sha256:{address}/SUMS")}));
        assert!(
            none.msg.ends_with("has no sha256 checksum of none"),
            "{none:?}"
        );
        assert_eq!(in_list("SHA256 (a.b) = 12\n", "a.b"), Some("12"));
        assert_eq!(in_list("12\n", "a.b"), Some("12"));
    }

    #[test]
    fn tls_is_checked_and_not_left_by_a_redirect() {
        let bench = Bench::new();
        let Some((cert, key)) = certificate(&bench.path("/tls")) else {
            return;
        };
        let (plain, _) = counting(b"plain".to_vec());
        let url = serve_tls(&cert, &key, move |seen| match seen.line.contains("/away") {
            true => reply("302 Found", &[&format!("Location: {plain}")], b""),
            false => reply("200 OK", &[], b"secret"),
        });
        let get = |path: &str, more: serde_json::Value| {
            let mut args = json!({"url": format!("{url}{path}"), "dest": "/got", "timeout": 60});
            args.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            bench.run("get_url", args)
        };
        let none = get("/x", json!({}));
        assert!(none.msg.contains("ca-certificates"), "{none:?}");
        let (_other, _) = certificate(&bench.path("/other")).unwrap();
        let stranger = get("/x", json!({"ca_path": "/other/cert.pem"}));
        assert!(
            stranger.failed && !bench.path("/got").exists(),
            "{stranger:?}"
        );
        let unchecked = get("/x", json!({"validate_certs": false}));
        assert!(unchecked.changed, "{unchecked:?}");
        fs::create_dir_all(bench.path("/etc/ssl/certs")).unwrap();
        fs::copy(&cert, bench.path("/etc/ssl/certs/ca-certificates.crt")).unwrap();
        let trusted = get("/x", json!({"force": true}));
        assert!(!trusted.failed && !trusted.changed, "{trusted:?}");
        let away = get("/away", json!({"force": true}));
        assert!(away.failed, "{away:?}");
        assert_eq!(bench.read("/got"), "secret");
    }

    #[test]
    fn credentials_go_out_and_come_back_in_no_result() {
        let bench = Bench::new();
        let address = serve(|seen| {
            let known = seen
                .headers
                .iter()
                .any(|header| header.eq_ignore_ascii_case("authorization: Basic bmFtZTpzZWNyZXQ="));
            match known {
                true => reply("200 OK", &[], b"for you"),
                false => reply("401 Unauthorized", &[], b"no"),
            }
        });
        let host = address.trim_start_matches("http://");
        let result = bench.run(
            "get_url",
            json!({"url": format!("http://name:secret@{host}/x"), "dest": "/x"}),
        );
        assert!(result.changed, "{result:?}");
        let refused = bench.run(
            "get_url",
            json!({"url": format!("{address}/x"), "dest": "/y", "url_username": "name", "url_password": "secret2"}),
        );
        assert_eq!(refused.data["status_code"], 401);
        for told in [result, refused] {
            assert!(!format!("{told:?}").contains("secret"), "{told:?}");
        }
    }
}
