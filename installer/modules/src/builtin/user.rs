//! `user`: an account of the node, by shadow's own programs. A password comes as a hash, by standard input.
use agent_protocol::task::TaskResult;

use super::group::shadow;
use crate::args::Args;
use crate::attributes::{id_of, name_of};
use crate::context::{Context, Fault, With, changed};
use crate::process::Start;
use crate::spec::{Arg, Effect, Kind, Module};

pub const USER: Module = Module::new(
    "user",
    "Make or remove an account",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "its name")
        .aliases(&["user"])
        .required(),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("uid", Kind::Int, "its number"),
    Arg::new("group", Kind::Text, "its first group"),
    Arg::new("groups", Kind::List, "its other groups"),
    Arg::new("append", Kind::Flag, "keep other groups that it is in").default("false"),
    Arg::new("shell", Kind::Path, "its shell"),
    Arg::new("home", Kind::Path, "its home folder"),
    Arg::new("create_home", Kind::Flag, "make that folder")
        .aliases(&["createhome"])
        .default("true"),
    Arg::new("system", Kind::Flag, "take a number of the system's range").default("false"),
    Arg::new("comment", Kind::Text, "who it is"),
    Arg::new(
        "password",
        Kind::Text,
        "hash as in /etc/shadow, or ! to lock it",
    ),
    Arg::new(
        "update_password",
        Kind::Text,
        "whether a present account gets it too",
    )
    .choices(&["always", "on_create"])
    .default("always"),
    Arg::new("remove", Kind::Flag, "remove its home folder with it").default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let read = |file: &str| std::fs::read_to_string(context.path(file)).unwrap_or_default();
    let (passwd, groups, shadow_file) =
        (read("/etc/passwd"), read("/etc/group"), read("/etc/shadow"));
    let account: Option<Vec<&str>> = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name && fields.len() >= 7);
    let result = |done: bool| {
        changed(done)
            .with("name", name)
            .with("state", args.need("state"))
    };
    if args.need("state") == "absent" {
        if account.is_some() && !context.check {
            shadow(
                context,
                if args.flag("remove") {
                    &["userdel", "-r"]
                } else {
                    &["userdel"]
                },
                name,
            )?;
        }
        return Ok(result(account.is_some()));
    }
    let hash_now = shadow_file.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(':')?
            .split(':')
            .next()
    });
    let password = args.text("password").filter(|wanted| match account {
        Some(_) => args.need("update_password") == "always" && hash_now != Some(*wanted),
        None => true,
    });
    let mut command: Vec<String> = Vec::new();
    let mut option = |option: &str, value: String| command.extend([option.to_owned(), value]);
    let field = |index: usize| account.as_ref().map(|fields| fields[index]);
    if let Some(uid) = args
        .int("uid")
        .map(|uid| uid.to_string())
        .filter(|uid| field(2) != Some(uid))
    {
        option("-u", uid);
    }
    if let Some(group) = args.text("group") {
        let gid_now = field(3).unwrap_or_default();
        let same = gid_now == group
            || gid_now.parse().ok().and_then(|gid| name_of(&groups, gid)) == Some(group);
        if !same {
            option("-g", group.to_owned());
        }
    }
    if let Some(wanted) = args.list("groups") {
        let now: Vec<&str> = groups
            .lines()
            .filter(|line| {
                line.rsplit(':')
                    .next()
                    .is_some_and(|members| members.split(',').any(|member| member == name))
            })
            .filter_map(|line| line.split(':').next())
            .collect();
        let missing = wanted.iter().any(|group| !now.contains(group));
        let extra = !args.flag("append") && now.iter().any(|group| !wanted.contains(group));
        if missing || (extra && account.is_some()) {
            let all: std::collections::BTreeSet<&str> = if args.flag("append") {
                now.iter().chain(&wanted).copied().collect()
            } else {
                wanted.iter().copied().collect()
            };
            option("-G", all.into_iter().collect::<Vec<_>>().join(","));
        }
    }
    for (argument, letter, index) in [("comment", "-c", 4), ("home", "-d", 5), ("shell", "-s", 6)] {
        if let Some(value) = args
            .text(argument)
            .filter(|value| field(index) != Some(*value))
        {
            option(letter, value.to_owned());
        }
    }
    let exists = account.is_some();
    let done = !exists || !command.is_empty() || password.is_some();
    if done && !context.check {
        if !exists || !command.is_empty() {
            let mut argv: Vec<&str> = vec![if exists { "usermod" } else { "useradd" }];
            if !exists {
                argv.push(if args.flag("create_home") { "-m" } else { "-M" });
                if args.flag("system") {
                    argv.push("-r");
                }
            }
            argv.extend(command.iter().map(String::as_str));
            shadow(context, &argv, name)?;
        }
        if let Some(hash) = password {
            set_password(context, name, hash)?;
        }
    }
    let passwd = std::fs::read_to_string(context.path("/etc/passwd")).unwrap_or_default();
    Ok(result(done).with("uid", id_of(&passwd, name)))
}

/// By standard input: arguments can be read by every user of the node.
fn set_password(context: &mut Context<'_>, name: &str, hash: &str) -> Result<(), Fault> {
    if hash.contains([':', '\n']) {
        return Err(Fault::new("password must be a hash as in /etc/shadow"));
    }
    let root = context.root.display().to_string();
    let mut argv = vec!["chpasswd", "-e"];
    if !context.is_live() {
        argv.extend(["--root", &root]);
    }
    let output = context.start(Start {
        argv,
        stdin: Some(format!("{name}:{hash}\n").into_bytes()),
        ..Start::default()
    })?;
    if output.rc == 0 {
        Ok(())
    } else {
        Err(Fault::new(format!(
            "chpasswd failed: {}",
            output.stderr.trim()
        )))
    }
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn an_account_is_made_changed_and_removed() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: useradd --prefix wants to be root");
        }
        let bench = Bench::new();
        for (file, content) in [
            ("group", "root:x:0:\nkvm:x:50:\nnova:x:900:\n"),
            ("gshadow", "root:*::\nkvm:!::\nnova:!::\n"),
            ("passwd", "root:x:0:0::/root:/bin/sh\n"),
            ("shadow", "root:*:1:0:99999:7:::\n"),
            ("login.defs", ""),
        ] {
            bench.write(&format!("/etc/{file}"), content);
        }
        bench.converges("user", json!({"name": "nova", "uid": 900, "group": "nova", "home": "/var/lib/nova", "shell": "/usr/sbin/nologin", "create_home": false}));
        bench.converges(
            "user",
            json!({"name": "nova", "groups": "kvm", "append": true, "comment": "compute"}),
        );
        assert!(bench.read("/etc/group").contains("kvm:x:50:nova"));
        bench.converges("user", json!({"name": "nova", "state": "absent"}));
    }
}
