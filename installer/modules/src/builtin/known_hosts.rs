//! `known_hosts`: the keys by which SSH recognises hosts.
use std::io::Read;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::ssh::{HostKey, forget, know};
use crate::write::{Wish, place};

pub const KNOWN_HOSTS: Module = Module::new(
    "known_hosts",
    "Know a host's key, or forget it",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "the host")
        .aliases(&["host"])
        .required(),
    Arg::new(
        "key",
        Kind::Text,
        "its public key, with its name or without",
    ),
    Arg::new("path", Kind::Path, "the file").default("~/.ssh/known_hosts"),
    Arg::new("hash_host", Kind::Flag, "hide the host's name").default("false"),
    Arg::new("state", Kind::Text, "whether it is to be known")
        .choices(&["present", "absent"])
        .default("present"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (name, file) = (args.need("name"), args.need("path"));
    let present = args.need("state") == "present";
    // As in Ansible: a port of its own is written [host]:port, all names in small letters.
    let host = name.to_lowercase();
    if host.is_empty() || host.contains([' ', ',', '\n', '\t']) || host.starts_with(['|', '#', '@'])
    {
        return Err(Fault::new(format!("`{name}` is no name of one host")));
    }
    let mut keys = Vec::new();
    for line in args.text("key").unwrap_or_default().lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        keys.push(
            HostKey::parse(line)
                .ok_or_else(|| Fault::new(format!("`{line}` is no public key of a host")))?,
        );
    }
    if present && keys.is_empty() {
        return Err(Fault::new("key is required with state=present"));
    }
    let before = std::fs::read_to_string(context.path(file)).unwrap_or_default();
    let mut after = before.clone();
    if present {
        for key in &keys {
            let salt = args.flag("hash_host").then(salt).transpose()?;
            after = know(&after, &host, key, salt.as_deref());
        }
    } else if keys.is_empty() {
        after = forget(&after, &host, None);
    }
    for key in keys.iter().filter(|_| !present) {
        after = forget(&after, &host, Some(&key.kind));
    }
    let mut result = TaskResult::default();
    if before != after {
        let path = context.path(file);
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.is_dir() && !context.check)
        {
            std::fs::create_dir_all(folder)
                .map_err(Fault::io(format!("make {}", folder.display())))?;
            Attributes::new(Some("0700"), None, None).apply(context, folder)?;
        }
        result = place(
            context,
            Wish {
                dest: file,
                content: after.as_bytes(),
                attributes: Attributes::default(),
                validate: None,
                backup: false,
            },
        )?;
    }
    Ok(result.with("name", name).with("state", args.need("state")))
}

fn salt() -> Result<Vec<u8>, Fault> {
    let mut salt = vec![0; 20];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut salt))
        .map_err(Fault::io("read random bytes"))?;
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn hosts_are_known_and_forgotten() {
        let bench = Bench::new();
        let key = "git.example ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB";
        let path = "/root/.ssh/known_hosts";
        bench.converges(
            "known_hosts",
            json!({"name": "Git.example", "key": key, "path": path}),
        );
        assert_eq!(bench.read(path), format!("{key}\n"));
        bench.converges(
            "known_hosts",
            json!({"name": "git.example", "key": key, "path": path, "hash_host": true}),
        );
        assert!(bench.read(path).starts_with("|1|"));
        bench.converges(
            "known_hosts",
            json!({"host": "git.example", "path": path, "state": "absent"}),
        );
        assert_eq!(bench.read(path), "");
        for args in [
            json!({"name": "a"}),
            json!({"name": "a b", "key": key}),
            json!({"name": "a", "key": "x"}),
        ] {
            assert!(bench.run("known_hosts", args).failed);
        }
    }
}
