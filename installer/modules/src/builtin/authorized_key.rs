//! `authorized_key`: who may log in as an account by SSH.
use std::fs;
use std::path::Path;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::{Attributes, account_of};
use crate::context::{Context, Fault, With};
use crate::http;
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::ssh::{Key, authorize, forbid};
use crate::write::{Wish, place};

pub const AUTHORIZED_KEY: Module = Module::new(
    "authorized_key",
    "Let a key log in as an account, or no more",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("user", Kind::Text, "the account").required(),
    Arg::new(
        "key",
        Kind::Text,
        "public keys, one a line, or their address",
    )
    .required(),
    Arg::new(
        "path",
        Kind::Path,
        "the file, if not ~/.ssh/authorized_keys",
    ),
    Arg::new(
        "manage_dir",
        Kind::Flag,
        "make its folder, for the account alone",
    )
    .default("true"),
    Arg::new("state", Kind::Text, "whether the keys may log in")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("key_options", Kind::Text, "what is written before the key"),
    Arg::new("exclusive", Kind::Flag, "no other key may log in").default("false"),
    Arg::new("comment", Kind::Text, "what is written behind the key"),
    Arg::new("follow", Kind::Flag, "the file or its folder may be a link").default("false"),
    http::VALIDATE_CERTS,
];

/// Many keys; not a file of something else.
const KEYS_BYTES_MAX: u64 = 1 << 20;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let user = args.need("user");
    let table =
        fs::read_to_string(context.path("/etc/passwd")).map_err(Fault::io("read /etc/passwd"))?;
    let Some(account) = account_of(&table, user) else {
        if context.check {
            // An earlier task may be about to make it.
            return Ok(TaskResult {
                changed: true,
                msg: format!("there is no account {user} yet"),
                ..TaskResult::default()
            });
        }
        return Err(Fault::new(format!(
            "Failed to lookup user {user}: there is none"
        )));
    };
    let keys = keys(context, args)?;
    let file = match args.text("path") {
        Some(path) => context.expand(path).into_owned(),
        None => format!(
            "{}/.ssh/authorized_keys",
            account.home.trim_end_matches('/')
        ),
    };
    let path = context.path(&file);
    // The account's owner could lead us elsewhere by a link.
    for place in [path.as_path()].into_iter().chain(path.parent()) {
        if place.is_symlink() && !args.flag("follow") {
            return Err(Fault::new(format!(
                "{} is a link: say follow=true if it is to be followed",
                place.display()
            )));
        }
    }
    let present = args.need("state") == "present";
    let before = fs::read_to_string(&path).unwrap_or_default();
    let after = match present {
        true => authorize(&before, &keys, args.flag("exclusive")),
        false => forbid(&before, &keys),
    };
    let mut result = TaskResult::default();
    if before != after {
        let (uid, gid) = (Some(account.uid), Some(account.gid));
        if args.flag("manage_dir")
            && let Some(folder) = path.parent()
        {
            manage(context, folder, &Attributes::new(Some("0700"), uid, gid))?;
        }
        let is_new = !path.exists();
        result = place(
            context,
            Wish {
                dest: &file,
                content: after.as_bytes(),
                attributes: Attributes::new(is_new.then_some("0600"), uid, gid),
                validate: None,
                backup: false,
            },
        )?;
    }
    Ok(result
        .with("user", user)
        .with("state", args.need("state"))
        .with("keyfile", file)
        .with("exclusive", args.flag("exclusive"))
        .with("key", args.need("key")))
}

fn manage(context: &Context<'_>, folder: &Path, attributes: &Attributes) -> Result<(), Fault> {
    if folder.is_dir() || context.check {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(Fault::io(format!("make {}", folder.display())))?;
    attributes.apply(context, folder).map(drop)
}

fn keys(context: &Context<'_>, args: &Args) -> Result<Vec<Key>, Fault> {
    let text = args.need("key");
    let text = match text.starts_with("http://") || text.starts_with("https://") {
        true => {
            let bytes = http::fetch(context, args, text.trim(), KEYS_BYTES_MAX)?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        false => text.to_owned(),
    };
    let mut keys: Vec<Key> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut key =
            Key::parse(line).ok_or_else(|| Fault::new(format!("invalid key specified: {line}")))?;
        if let Some(options) = args.text("key_options") {
            key.options = options.to_owned();
        }
        if let Some(comment) = args.text("comment") {
            key.comment = comment.to_owned();
        }
        if key.options.contains('\n') || key.comment.contains('\n') {
            return Err(Fault::new("key_options and comment must be one line"));
        }
        if !keys
            .iter()
            .any(|known| known.kind == key.kind && known.key == key.key)
        {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(Fault::new("key holds no key"));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA me@home";
    const B: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB you";

    fn bench() -> Bench {
        let bench = Bench::new();
        let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
        bench.write(
            "/etc/passwd",
            &format!("me:x:{uid}:{gid}::/home/me:/bin/sh\n"),
        );
        bench
    }

    #[test]
    fn keys_come_and_go() {
        let bench = bench();
        let result = bench.converges("authorized_key", json!({"user": "me", "key": A}));
        assert!(result.diff[0].after.contains("me@home"), "{result:?}");
        let mode = |path: &str| {
            std::fs::metadata(bench.path(path))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777
        };
        assert_eq!(
            (mode("/home/me/.ssh"), mode("/home/me/.ssh/authorized_keys")),
            (0o700, 0o600)
        );
        bench.converges(
            "authorized_key",
            json!({"user": "me", "key": format!("{B}\n# no key\n"), "key_options": "no-pty"}),
        );
        bench.converges(
            "authorized_key",
            json!({"user": "me", "key": B, "exclusive": true, "comment": "c"}),
        );
        assert_eq!(
            bench.read("/home/me/.ssh/authorized_keys"),
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB c\n"
        );
        bench.converges(
            "authorized_key",
            json!({"user": "me", "key": B, "state": "absent"}),
        );
    }

    #[test]
    fn what_is_unsafe_or_no_key_is_refused() {
        let bench = bench();
        let run =
            |user: &str, key: &str| bench.run("authorized_key", json!({"user": user, "key": key}));
        assert!(run("me", "nonsense").msg.starts_with("invalid key"));
        assert!(run("nobody", A).failed);
        bench.write("/etc/shadow", "");
        std::fs::create_dir_all(bench.path("/home/me/.ssh")).unwrap();
        std::os::unix::fs::symlink(
            bench.path("/etc/shadow"),
            bench.path("/home/me/.ssh/authorized_keys"),
        )
        .unwrap();
        assert!(run("me", A).msg.contains("is a link"));
        assert_eq!(bench.read("/etc/shadow"), "");
    }
}
