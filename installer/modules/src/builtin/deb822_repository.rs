//! `deb822_repository`: a repository of packages, as a `.sources` file.
use std::fs;

use agent_protocol::task::TaskResult;
use serde_json::Value;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::http;
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::openpgp;
use crate::write::{Wish, place};

pub const DEB822_REPOSITORY: Module = Module::new(
    "deb822_repository",
    "Take packages from a repository, described by a .sources file",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "its name").required(),
    Arg::new("state", Kind::Text, "whether it is used")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("mode", Kind::Mode, "permission bits of the file").default("0644"),
    Arg::new("types", Kind::List, "deb, deb-src").default("deb"),
    Arg::new("uris", Kind::List, "addresses"),
    Arg::new("suites", Kind::List, "suites"),
    Arg::new("components", Kind::List, "components"),
    Arg::new("architectures", Kind::List, "architectures"),
    Arg::new("languages", Kind::List, "languages"),
    Arg::new("targets", Kind::List, "targets"),
    Arg::new(
        "signed_by",
        Kind::Text,
        "a keyring's path or address, a key itself, or fingerprints",
    ),
    Arg::new("enabled", Kind::Flag, "use it"),
    Arg::new("trusted", Kind::Flag, "as apt's option"),
    Arg::new("allow_downgrade_to_insecure", Kind::Flag, "as apt's option"),
    Arg::new("allow_insecure", Kind::Flag, "as apt's option"),
    Arg::new("allow_weak", Kind::Flag, "as apt's option"),
    Arg::new("by_hash", Kind::Flag, "as apt's option"),
    Arg::new("check_date", Kind::Flag, "as apt's option"),
    Arg::new("check_valid_until", Kind::Flag, "as apt's option"),
    Arg::new("pdiffs", Kind::Flag, "as apt's option"),
    Arg::new("date_max_future", Kind::Int, "as apt's option"),
    Arg::new("inrelease_path", Kind::Text, "as apt's option"),
    Arg::new(
        "install_python_debian",
        Kind::Flag,
        "accepted for compatibility",
    )
    .default("false"),
    http::VALIDATE_CERTS,
];

const FOLDER: &str = "/etc/apt/sources.list.d";
const KEYRINGS: &str = "/etc/apt/keyrings";
const KEY_BYTES_MAX: u64 = 4 << 20;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let slug = slug(args.need("name"));
    if slug.is_empty() {
        return Err(Fault::new(format!("`{}` is no name", args.need("name"))));
    }
    let file = format!("{FOLDER}/{slug}.sources");
    if args.need("state") == "absent" {
        let mut result = changed(false)
            .with("dest", file.as_str())
            .with("repo", Value::Null);
        for file in [
            file,
            format!("{KEYRINGS}/{slug}.asc"),
            format!("{KEYRINGS}/{slug}.gpg"),
        ] {
            let path = context.path(&file);
            if let Ok(before) = fs::read(&path) {
                result.changed = true;
                result
                    .diff
                    .extend(context.diff_of(&file, &String::from_utf8_lossy(&before), ""));
                if !context.check {
                    fs::remove_file(&path).map_err(Fault::io(format!("remove {file}")))?;
                }
            }
        }
        return Ok(result);
    }
    if let Some(kind) = args
        .list("types")
        .unwrap_or_default()
        .into_iter()
        .find(|kind| !matches!(*kind, "deb" | "deb-src"))
    {
        return Err(Fault::new(format!(
            "types can be deb and deb-src, not {kind}"
        )));
    }
    let mut result = changed(false);
    let mut signed_by = args.text("signed_by").map(str::to_owned);
    if let Some(address) = args
        .text("signed_by")
        .filter(|text| text.starts_with("http://") || text.starts_with("https://"))
    {
        let (name, placed) = keyring(context, args, &slug, address)?;
        result = placed.with("key_filename", name.as_str());
        signed_by = Some(name);
    }
    let text = stanza(args, signed_by.as_deref()).map_err(Fault::new)?;
    let placed = put(context, &file, text.as_bytes(), args.text("mode"))?;
    result.changed |= placed.changed;
    result.diff.extend(placed.diff.clone());
    Ok(TaskResult {
        changed: result.changed,
        diff: result.diff,
        data: result.data.into_iter().chain(placed.data).collect(),
        ..placed
    }
    .with("repo", text)
    .with("dest", file))
}

/// Small letters, digits and dashes.
fn slug(name: &str) -> String {
    name.to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

/// The fields in the order of their arguments' names.
fn stanza(args: &Args, signed_by: Option<&str>) -> Result<String, String> {
    let mut names: Vec<&str> = ARGS
        .iter()
        .map(|arg| arg.name)
        .filter(|name| !["state", "mode", "validate_certs", "install_python_debian"].contains(name))
        .collect();
    names.sort_unstable();
    let mut out = String::new();
    for name in names {
        let value = match (name, args.value(name)) {
            ("signed_by", _) => signed_by.map(str::to_owned),
            (_, Some(Value::Bool(flag))) => Some(if *flag { "yes" } else { "no" }.to_owned()),
            (_, Some(Value::Array(_))) => args
                .list(name)
                .map(|list| list.join(" "))
                .filter(|list| !list.is_empty()),
            (_, Some(Value::String(text))) => Some(text.clone()),
            (_, Some(value)) => Some(value.to_string()),
            (_, None) => None,
        };
        let Some(value) = value else { continue };
        let value = value.trim();
        let field = match name {
            "name" => "X-Repolib-Name".to_owned(),
            "uris" => "URIs".to_owned(),
            name => name
                .split('_')
                .map(|word| word[..1].to_uppercase() + &word[1..])
                .collect::<Vec<_>>()
                .join("-"),
        };
        if !value.contains('\n') {
            out.push_str(&format!("{field}: {value}\n"));
            continue;
        }
        if name != "signed_by" {
            return Err(format!("{name} must be one line"));
        }
        out.push_str(&format!("{field}:\n"));
        for line in value.lines().map(str::trim_end) {
            out.push_str(&format!(" {}\n", if line.is_empty() { "." } else { line }));
        }
    }
    Ok(out)
}

/// Fetches the key and puts it where apt reads it; its name tells whether it has armour.
fn keyring(
    context: &mut Context<'_>,
    args: &Args,
    slug: &str,
    address: &str,
) -> Result<(String, TaskResult), Fault> {
    let fetched = http::fetch(context, args, address, KEY_BYTES_MAX)?;
    if openpgp::keys(&fetched).is_none() {
        let address = http::without_credentials(address).0;
        return Err(Fault::new(format!(
            "{address} gives no public key of OpenPGP"
        )));
    }
    let armoured = fetched.trim_ascii_start().starts_with(b"-----BEGIN");
    let name = format!("{KEYRINGS}/{slug}.{}", if armoured { "asc" } else { "gpg" });
    let placed = put(context, &name, &fetched, Some("0644"))?;
    Ok((name, placed))
}

fn put(
    context: &mut Context<'_>,
    file: &str,
    content: &[u8],
    mode: Option<&str>,
) -> Result<TaskResult, Fault> {
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
            content,
            attributes: Attributes::new(mode, None, None),
            validate: None,
            backup: false,
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use crate::http::testing::{reply, serve};
    use crate::text::openpgp::EXAMPLE;
    use serde_json::json;

    #[test]
    fn a_repository_is_described() {
        let bench = Bench::new();
        bench.write("/etc/apt/sources.list.d/keep", "");
        bench.converges(
            "deb822_repository",
            json!({"name": "My Repo", "uris": "http://repo.example/deb", "suites": ["stable"], "components": ["main", "contrib"], "architectures": "amd64", "enabled": true, "signed_by": EXAMPLE}),
        );
        insta::assert_snapshot!(bench.read("/etc/apt/sources.list.d/my-repo.sources"));
        bench.converges(
            "deb822_repository",
            json!({"name": "my repo", "state": "absent"}),
        );
        let url = serve(|_| reply("200 OK", &[], EXAMPLE.as_bytes()));
        bench.write("/etc/apt/keyrings/keep", "");
        bench.converges(
            "deb822_repository",
            json!({"name": "x", "uris": "http://a", "suites": "./", "signed_by": format!("{url}/key")}),
        );
        assert_eq!(
            bench.read("/etc/apt/sources.list.d/x.sources"),
            "X-Repolib-Name: x\nSigned-By: /etc/apt/keyrings/x.asc\nSuites: ./\nTypes: deb\nURIs: http://a\n"
        );
        assert_eq!(bench.read("/etc/apt/keyrings/x.asc"), EXAMPLE);
    }

    #[test]
    fn wrong_values_are_refused() {
        let bench = Bench::new();
        let url = serve(|_| reply("200 OK", &[], b"<html>"));
        for args in [
            json!({"name": "/"}),
            json!({"name": "x", "types": "rpm"}),
            json!({"name": "x", "inrelease_path": "a\nTrusted: yes"}),
            json!({"name": "x", "signed_by": url}),
        ] {
            assert!(
                bench.run("deb822_repository", args.clone()).failed,
                "{args}"
            );
        }
    }
}
