//! `apt_key`: a key that apt trusts. Keys lie as files in `trusted.gpg.d`: neither `apt-key` nor gpg is needed.
use std::fs;
use std::path::PathBuf;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::http;
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::openpgp::{PublicKey, keys};
use crate::write::{Wish, place};

pub const APT_KEY: Module = Module::new(
    "apt_key",
    "Let apt trust a key, or no more",
    Effect::Converges,
    ARGS,
    run,
)
.exclusive(&[&["data", "file", "url", "keyserver"]])
.one_of(&[&["id", "data", "file", "url"]]);

const ARGS: &[Arg] = &[
    Arg::new("id", Kind::Text, "fingerprint, or its last 8 or 16 digits"),
    Arg::new("data", Kind::Text, "the key itself"),
    Arg::new("file", Kind::Path, "the key's file on the node"),
    Arg::new("url", Kind::Text, "the key's address"),
    Arg::new("keyserver", Kind::Text, "server that is asked for id"),
    Arg::new(
        "keyring",
        Kind::Path,
        "file that holds it, instead of one in trusted.gpg.d",
    ),
    Arg::new("state", Kind::Text, "whether it is trusted")
        .choices(&["present", "absent"])
        .default("present"),
    http::VALIDATE_CERTS,
];

const FOLDER: &str = "/etc/apt/trusted.gpg.d";
const OLD: &str = "/etc/apt/trusted.gpg";
const KEY_BYTES_MAX: u64 = 4 << 20;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let id = args
        .text("id")
        .map(|id| id.trim().trim_start_matches("0x").replace(' ', ""));
    if let Some(id) = &id
        && !(id.len() >= 8 && id.len() <= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(Fault::new(format!(
            "id must be 8, 16 or 40 hex digits, not {id}"
        )));
    }
    let rings = rings(context, args);
    let known = |rings: &[(String, Vec<PublicKey>)], id: &str| {
        rings
            .iter()
            .any(|(_, keys)| keys.iter().any(|key| key.is(id)))
    };
    let result = |done| changed(done).with("id", id.clone());
    if args.need("state") == "absent" {
        let id = match &id {
            Some(id) => id.clone(),
            None => one(context, args, None)?.fingerprints[0].clone(),
        };
        let mut done = false;
        for (file, keys) in rings {
            let kept: Vec<&PublicKey> = keys.iter().filter(|key| !key.is(&id)).collect();
            if kept.len() == keys.len() {
                continue;
            }
            done = true;
            if context.check {
                continue;
            }
            if kept.is_empty() {
                let path = context.path(&file);
                fs::remove_file(path).map_err(Fault::io(format!("remove {file}")))?;
            } else {
                let bytes: Vec<u8> = kept.iter().flat_map(|key| key.bytes.clone()).collect();
                put(context, &file, &bytes)?;
            }
        }
        return Ok(result(done));
    }
    // With an id a run that has nothing to do fetches nothing.
    if id.as_ref().is_some_and(|id| known(&rings, id)) {
        return Ok(result(false));
    }
    if context.check && args.text("data").is_none() && args.text("file").is_none() && id.is_some() {
        return Ok(result(true));
    }
    let key = one(context, args, id.as_deref())?;
    let print = key.fingerprints[0].clone();
    let told = |done| {
        result(done)
            .with("fp", print.as_str())
            .with("key_id", &print[print.len() - 16..])
            .with("short_id", &print[print.len() - 8..])
    };
    if known(&rings, &print) {
        return Ok(told(false));
    }
    let (file, mut bytes) = match args.text("keyring") {
        Some(file) => {
            let there = rings
                .into_iter()
                .flat_map(|(_, keys)| keys)
                .flat_map(|key| key.bytes);
            (file.to_owned(), there.collect())
        }
        None => (format!("{FOLDER}/{print}.gpg"), Vec::new()),
    };
    bytes.extend(key.bytes);
    put(context, &file, &bytes)?;
    Ok(told(true))
}

/// All keyrings that are looked at, by name.
fn rings(context: &Context<'_>, args: &Args) -> Vec<(String, Vec<PublicKey>)> {
    let mut files: Vec<String> = match args.text("keyring") {
        Some(file) => vec![file.to_owned()],
        None => fs::read_dir(context.path(FOLDER))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".gpg") || name.ends_with(".asc"))
            .map(|name| format!("{FOLDER}/{name}"))
            .chain([OLD.to_owned()])
            .collect(),
    };
    files.sort();
    files
        .into_iter()
        .filter_map(|file| {
            let path: PathBuf = context.path(&file);
            let found = keys(&fs::read(path).ok()?)?;
            Some((file, found))
        })
        .collect()
}

/// The key that the arguments name; of several the one with that id.
fn one(context: &mut Context<'_>, args: &Args, id: Option<&str>) -> Result<PublicKey, Fault> {
    let (bytes, from) = match (
        args.text("data"),
        args.text("file"),
        args.text("url"),
        args.text("keyserver"),
    ) {
        (Some(data), ..) => (data.as_bytes().to_vec(), "data".to_owned()),
        (_, Some(file), ..) => {
            let bytes = fs::read(context.path(file)).map_err(Fault::io(format!("read {file}")))?;
            (bytes, file.to_owned())
        }
        (_, _, Some(url), _) => {
            let bytes = http::fetch(context, args, url, KEY_BYTES_MAX)?;
            (bytes, http::without_credentials(url).0)
        }
        (_, _, _, Some(server)) => {
            let id = id.ok_or_else(|| Fault::new("id is required with keyserver"))?;
            let address = lookup(server, id);
            (
                http::fetch(context, args, &address, KEY_BYTES_MAX)?,
                address,
            )
        }
        _ => {
            return Err(Fault::new(
                "one of data, file, url and keyserver is required to add a key",
            ));
        }
    };
    let found =
        keys(&bytes).ok_or_else(|| Fault::new(format!("{from} is no public key of OpenPGP")))?;
    let named = found.iter().find(|key| id.is_none_or(|id| key.is(id)));
    named.cloned().ok_or_else(|| {
        let prints: Vec<&str> = found
            .iter()
            .map(|key| key.fingerprints[0].as_str())
            .collect();
        Fault::new(format!(
            "{from} holds {}, not {}",
            prints.join(", "),
            id.unwrap_or_default()
        ))
    })
}

/// The address at which a key server answers.
fn lookup(server: &str, id: &str) -> String {
    let (scheme, host) = server.split_once("://").unwrap_or(("https", server));
    let host = host.trim_end_matches('/');
    let base = match scheme {
        "hkp" if host.contains(':') => format!("http://{host}"),
        "hkp" => format!("http://{host}:11371"),
        "hkps" => format!("https://{host}"),
        scheme => format!("{scheme}://{host}"),
    };
    format!("{base}/pks/lookup?op=get&options=mr&search=0x{id}")
}

fn put(context: &mut Context<'_>, file: &str, bytes: &[u8]) -> Result<(), Fault> {
    let path = context.path(file);
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.is_dir() && !context.check)
    {
        fs::create_dir_all(folder).map_err(Fault::io(format!("make {}", folder.display())))?;
    }
    place(
        context,
        Wish {
            dest: file,
            content: bytes,
            attributes: Attributes::new(Some("0644"), None, None),
            validate: None,
            backup: false,
        },
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use crate::http::testing::{reply, serve};
    use crate::text::openpgp::EXAMPLE;
    use serde_json::json;

    #[test]
    fn a_key_comes_and_goes() {
        let bench = Bench::new();
        bench.write("/etc/apt/trusted.gpg.d/keep", "");
        let made = bench.converges("apt_key", json!({"data": EXAMPLE}));
        let print = made.data["fp"].as_str().unwrap().to_owned();
        assert!(
            bench
                .path(&format!("/etc/apt/trusted.gpg.d/{print}.gpg"))
                .exists()
        );
        // Known by its id: nothing is fetched.
        let known = bench.run(
            "apt_key",
            json!({"id": &print[24..], "url": "http://127.0.0.1:1/"}),
        );
        assert!(!known.failed && !known.changed, "{known:?}");
        bench.converges("apt_key", json!({"id": print, "state": "absent"}));
        let url = serve(|_| reply("200 OK", &[], EXAMPLE.as_bytes()));
        bench.write("/usr/share/keyrings/keep", "");
        bench.converges(
            "apt_key",
            json!({"id": print, "url": url, "keyring": "/usr/share/keyrings/x.gpg"}),
        );
    }

    #[test]
    fn another_key_than_the_one_named_is_refused() {
        let bench = Bench::new();
        let other = bench.run(
            "apt_key",
            json!({"id": "0123456789ABCDEF", "data": EXAMPLE}),
        );
        assert!(
            other.failed && other.msg.contains("not 0123456789ABCDEF"),
            "{other:?}"
        );
        for args in [
            json!({"id": "xyz"}),
            json!({"data": "x"}),
            json!({"id": "01234567"}),
            json!({}),
        ] {
            assert!(bench.run("apt_key", args).failed);
        }
        assert_eq!(
            lookup("hkp://k.example", "AB"),
            "http://k.example:11371/pks/lookup?op=get&options=mr&search=0xAB"
        );
        assert_eq!(
            lookup("k.example", "AB"),
            "https://k.example/pks/lookup?op=get&options=mr&search=0xAB"
        );
    }
}
