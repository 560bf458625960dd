//! `user`: an account of the node, by shadow's own programs. A password comes as a hash, by standard input.
mod home;

use std::collections::BTreeSet;
use std::fs;

use agent_protocol::task::TaskResult;

use self::home::{make_home, ssh_key};
use super::group::shadow;
use crate::args::Args;
use crate::attributes::{account_of, name_of};
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
    Arg::new("non_unique", Kind::Flag, "its number may be another's, too").default("false"),
    Arg::new("group", Kind::Text, "its first group"),
    Arg::new("groups", Kind::List, "its other groups"),
    Arg::new("append", Kind::Flag, "keep other groups that it is in").default("false"),
    Arg::new("shell", Kind::Path, "its shell"),
    Arg::new("home", Kind::Path, "its home folder"),
    Arg::new("create_home", Kind::Flag, "make that folder")
        .aliases(&["createhome"])
        .default("true"),
    Arg::new("move_home", Kind::Flag, "move what is in the old folder").default("false"),
    Arg::new("skeleton", Kind::Text, "folder whose files a new home gets"),
    Arg::new("umask", Kind::Text, "of a new home"),
    Arg::new("system", Kind::Flag, "take a number of the system's range").default("false"),
    Arg::new("uid_min", Kind::Int, "least number that is chosen"),
    Arg::new("uid_max", Kind::Int, "largest number that is chosen"),
    Arg::new("comment", Kind::Text, "who it is"),
    Arg::new(
        "password",
        Kind::Text,
        "hash as in /etc/shadow, or ! to lock it",
    ),
    Arg::new("password_lock", Kind::Flag, "no password lets anybody in"),
    Arg::new(
        "password_expire_max",
        Kind::Int,
        "days for which a password is good",
    ),
    Arg::new(
        "password_expire_min",
        Kind::Int,
        "days before it can be changed",
    ),
    Arg::new("password_expire_warn", Kind::Int, "days of warning before"),
    Arg::new(
        "update_password",
        Kind::Text,
        "whether a present account gets it too",
    )
    .choices(&["always", "on_create"])
    .default("always"),
    Arg::new(
        "expires",
        Kind::Text,
        "second since 1970 when the account ends; negative: never",
    ),
    Arg::new("generate_ssh_key", Kind::Flag, "make a key for SSH").default("false"),
    Arg::new("ssh_key_type", Kind::Text, "kind of key")
        .choices(&["rsa", "ed25519", "ecdsa", "dsa"])
        .default("rsa"),
    Arg::new("ssh_key_bits", Kind::Int, "its length"),
    Arg::new(
        "ssh_key_file",
        Kind::Path,
        "its file; below the home folder unless it begins with /",
    ),
    Arg::new("ssh_key_comment", Kind::Text, "what is written behind it"),
    Arg::new("remove", Kind::Flag, "remove its home folder with it").default("false"),
    Arg::new("force", Kind::Flag, "remove it although it is in use").default("false"),
    Arg::new(
        "local",
        Kind::Flag,
        "accepted for compatibility: accounts are local",
    )
    .default("false"),
    Arg::new("seuser", Kind::Text, "accepted for compatibility"),
    Arg::new("login_class", Kind::Text, "accepted for compatibility"),
];

/// What the tables say of an account and what is to be changed.
struct Tables {
    passwd: String,
    groups: String,
    shadow: String,
}

impl Tables {
    fn read(context: &Context<'_>) -> Self {
        let read = |file: &str| fs::read_to_string(context.path(file)).unwrap_or_default();
        Tables {
            passwd: read("/etc/passwd"),
            groups: read("/etc/group"),
            shadow: read("/etc/shadow"),
        }
    }

    fn account(&self, name: &str) -> Option<Vec<&str>> {
        self.passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields[0] == name && fields.len() >= 7)
    }

    /// A field of `/etc/shadow`.
    fn shadow(&self, name: &str, index: usize) -> Option<&str> {
        self.shadow
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields[0] == name)
            .and_then(|fields| fields.get(index).copied())
    }

    /// The groups that name the account as a member.
    fn groups_of(&self, name: &str) -> Vec<&str> {
        self.groups
            .lines()
            .filter(|line| {
                line.rsplit(':')
                    .next()
                    .is_some_and(|members| members.split(',').any(|member| member == name))
            })
            .filter_map(|line| line.split(':').next())
            .collect()
    }
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let tables = Tables::read(context);
    let exists = tables.account(name).is_some();
    let result = |done: bool| {
        changed(done)
            .with("name", name)
            .with("state", args.need("state"))
    };
    if args.need("state") == "absent" {
        if exists && !context.check {
            let mut argv = vec!["userdel"];
            if args.flag("force") {
                argv.push("-f");
            }
            if args.flag("remove") {
                argv.push("-r");
            }
            shadow(context, &argv, name)?;
        }
        return Ok(result(exists)
            .with("remove", args.flag("remove"))
            .with("force", args.flag("force")));
    }
    let options = options(args, &tables, name)?;
    let password = password(args, &tables, name);
    let ages = ages(args, &tables, name);
    let mut done = !exists || !options.is_empty() || password.is_some() || !ages.is_empty();
    let mut result = result(done);
    if done {
        let mut told: Vec<String> = options.clone();
        told.extend(password.map(|_| "password".to_owned()));
        told.extend(ages.clone());
        let verb = if exists { "" } else { "new\n" };
        result.diff = context.diff_of(name, "", &format!("{verb}{}\n", told.join(" ")));
    }
    if done && !context.check {
        if !exists || !options.is_empty() {
            let mut argv = vec![if exists { "usermod" } else { "useradd" }];
            argv.extend(options.iter().map(String::as_str));
            shadow(context, &argv, name)?;
        }
        if let Some(hash) = password {
            set_password(context, name, hash)?;
        }
        if !ages.is_empty() {
            let root = context.root.display().to_string();
            let mut argv = vec!["chage"];
            if !context.is_live() {
                argv.extend(["--root", &root]);
            }
            argv.extend(ages.iter().map(String::as_str));
            argv.extend(["--", name]);
            context.must(&argv)?;
        }
    }
    let tables = Tables::read(context);
    let Some(account) = account_of(&tables.passwd, name) else {
        return Ok(result);
    };
    if args.flag("create_home")
        && exists
        && make_home(context, args, &account.home, (account.uid, account.gid))?
    {
        done = true;
    }
    if args.flag("generate_ssh_key") {
        let (made, fields) = ssh_key(context, args, &account.home, (account.uid, account.gid))?;
        done |= made;
        for (key, value) in fields {
            result = result.with(key, value);
        }
    }
    result.changed |= done;
    if args.text("password").is_some() {
        result = result.with("password", "NOT_LOGGING_PASSWORD");
    }
    let comment = tables.account(name).map(|fields| fields[4].to_owned());
    Ok(result
        .with("uid", account.uid)
        .with("group", account.gid)
        .with("groups", tables.groups_of(name).join(","))
        .with("home", account.home)
        .with("shell", account.shell)
        .with("comment", comment)
        .with("append", args.flag("append"))
        .with("system", args.flag("system"))
        .with("create_home", args.flag("create_home"))
        .with("move_home", args.flag("move_home")))
}

/// Options for useradd or usermod: what is wished and is not so.
fn options(args: &Args, tables: &Tables, name: &str) -> Result<Vec<String>, Fault> {
    let account = tables.account(name);
    let exists = account.is_some();
    let field = |index: usize| account.as_ref().map(|fields| fields[index]);
    let mut out: Vec<String> = Vec::new();
    let mut option = |option: &str, value: String| out.extend([option.to_owned(), value]);
    if let Some(uid) = args
        .int("uid")
        .map(|uid| uid.to_string())
        .filter(|uid| field(2) != Some(uid))
    {
        option("-u", uid);
    }
    if let Some(group) = args.text("group") {
        let gid_now = field(3).unwrap_or_default();
        let by_number = gid_now
            .parse()
            .ok()
            .and_then(|gid| name_of(&tables.groups, gid));
        if gid_now != group && by_number != Some(group) {
            option("-g", group.to_owned());
        }
    }
    if let Some(wanted) = args.list("groups") {
        let now = tables.groups_of(name);
        // Groups may be named by their numbers.
        let wanted: Vec<&str> = wanted
            .into_iter()
            .filter(|group| !group.is_empty())
            .map(|group| {
                group
                    .parse()
                    .ok()
                    .and_then(|gid| name_of(&tables.groups, gid))
                    .unwrap_or(group)
            })
            .collect();
        let missing = wanted.iter().any(|group| !now.contains(group));
        let extra = !args.flag("append") && now.iter().any(|group| !wanted.contains(group));
        if missing || (extra && exists) {
            let kept = if args.flag("append") {
                now.as_slice()
            } else {
                &[]
            };
            let all: BTreeSet<&str> = kept.iter().chain(&wanted).copied().collect();
            option("-G", all.into_iter().collect::<Vec<_>>().join(","));
        }
    }
    for (argument, letter, index) in [("comment", "-c", 4), ("home", "-d", 5), ("shell", "-s", 6)] {
        if let Some(value) = args
            .text(argument)
            .filter(|value| field(index) != Some(*value))
        {
            option(letter, value.to_owned());
            if argument == "home" && exists && args.flag("move_home") {
                option("-m", String::new());
            }
        }
    }
    if let Some(text) = args.text("expires") {
        let seconds: f64 = text
            .parse()
            .map_err(|_| Fault::new(format!("expires must be a number of seconds, not {text}")))?;
        let day = if seconds < 0.0 {
            String::new()
        } else {
            ((seconds / 86_400.0) as u64).to_string()
        };
        if tables.shadow(name, 7).unwrap_or_default() != day {
            option("-e", day);
        }
    }
    // `-m` of usermod takes no value.
    if let Some(at) = out.iter().position(|word| word == "-m") {
        out.remove(at + 1);
    }
    if let Some(lock) = args.given_flag("password_lock") {
        let is_locked = tables
            .shadow(name, 1)
            .is_some_and(|hash| hash.starts_with('!'));
        if exists && lock != is_locked {
            out.push(if lock { "-L" } else { "-U" }.into());
        }
    }
    if !exists {
        out.push(if args.flag("create_home") { "-m" } else { "-M" }.into());
        if args.flag("system") {
            out.push("-r".into());
        }
        if let Some(folder) = args.text("skeleton").filter(|_| args.flag("create_home")) {
            out.extend(["-k".to_owned(), folder.to_owned()]);
        }
        for (argument, key) in [
            ("umask", "UMASK"),
            ("uid_min", "UID_MIN"),
            ("uid_max", "UID_MAX"),
        ] {
            let value = args.text(argument).map(str::to_owned);
            if let Some(value) =
                value.or_else(|| args.int(argument).map(|number| number.to_string()))
            {
                out.extend(["-K".to_owned(), format!("{key}={value}")]);
            }
        }
        // Where a group of that name is there already, useradd wants to be told so.
        if args.text("group").is_none()
            && let Some(gid) = crate::attributes::id_of(&tables.groups, name)
        {
            out.extend(["-g".to_owned(), gid.to_string()]);
        }
    }
    if args.flag("non_unique") && out.iter().any(|word| word == "-u") {
        out.push("-o".into());
    }
    Ok(out)
}

/// The hash that the account is to get, if it has another one.
fn password<'a>(args: &'a Args, tables: &Tables, name: &str) -> Option<&'a str> {
    let wanted = args.text("password")?;
    if tables.account(name).is_none() {
        return Some(wanted);
    }
    let now = tables.shadow(name, 1).unwrap_or_default();
    // A locked password is the same one behind a mark.
    let same = match args.given_flag("password_lock") {
        None => now == wanted,
        Some(_) => now.trim_start_matches('!') == wanted.trim_start_matches('!'),
    };
    (args.need("update_password") == "always" && !same).then_some(wanted)
}

/// Options for chage.
fn ages(args: &Args, tables: &Tables, name: &str) -> Vec<String> {
    [
        ("password_expire_min", "-m", 3),
        ("password_expire_max", "-M", 4),
        ("password_expire_warn", "-W", 5),
    ]
    .into_iter()
    .filter_map(|(argument, letter, index)| {
        let wanted = args.int(argument)?.to_string();
        (tables.shadow(name, index) != Some(&wanted)).then(|| [letter.to_owned(), wanted])
    })
    .flatten()
    .collect()
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
    use super::*;
    use crate::builtin::testing::{Bench, has};
    use serde_json::json;

    fn bench() -> Bench {
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
        bench
    }

    #[test]
    fn an_account_is_made_changed_and_removed() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: useradd --prefix wants to be root");
        }
        let bench = bench();
        let made = bench.converges("user", json!({"name": "nova", "uid": 900, "group": "nova", "home": "/var/lib/nova", "shell": "/usr/sbin/nologin", "create_home": false}));
        assert_eq!(
            (&made.data["group"], &made.data["shell"]),
            (&json!(900), &json!("/usr/sbin/nologin"))
        );
        bench.converges(
            "user",
            json!({"name": "nova", "groups": "kvm", "append": true, "comment": "compute", "create_home": false}),
        );
        assert!(bench.read("/etc/group").contains("kvm:x:50:nova"));
        bench.converges(
            "user",
            json!({"name": "nova", "expires": 864000.0, "create_home": false}),
        );
        bench.converges(
            "user",
            json!({"name": "nova", "expires": -1, "create_home": false}),
        );
        bench.write("/etc/skel/.profile", "hello\n");
        bench.converges("user", json!({"name": "nova"}));
        assert_eq!(bench.read("/var/lib/nova/.profile"), "hello\n");
        if has("ssh-keygen") {
            let key = bench.converges("user", json!({"name": "nova", "generate_ssh_key": true, "ssh_key_type": "ed25519", "ssh_key_comment": "nova"}));
            assert!(
                key.data["ssh_public_key"]
                    .as_str()
                    .unwrap()
                    .ends_with(" nova"),
                "{key:?}"
            );
        }
        bench.converges(
            "user",
            json!({"name": "nova", "state": "absent", "remove": true}),
        );
        assert!(
            bench
                .run("user", json!({"name": "nova", "expires": "soon"}))
                .failed
        );
    }

    #[test]
    fn passwords_are_compared_and_not_told() {
        let tables = Tables {
            passwd: "a:x:1:1::/:/bin/sh\n".into(),
            groups: "a:x:1:\n".into(),
            shadow: "a:!$6$x:1:0:99999:7:::\n".into(),
        };
        let args = |args: serde_json::Value| USER.check(args.as_object().unwrap()).unwrap();
        let wanted = |extra: serde_json::Value, name: &str| {
            let mut map = json!({"name": name, "password": "$6$x"});
            map.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            let args = args(map);
            let hash = password(&args, &tables, name).is_some();
            (hash, options(&args, &tables, name).unwrap().join(" "))
        };
        assert_eq!(wanted(json!({}), "a"), (true, String::new()));
        assert_eq!(
            wanted(json!({"password_lock": true}), "a"),
            (false, String::new())
        );
        assert_eq!(
            wanted(json!({"password_lock": false}), "a"),
            (false, "-U".into())
        );
        assert_eq!(
            wanted(json!({"update_password": "on_create"}), "a"),
            (false, String::new())
        );
        assert_eq!(
            wanted(json!({"system": true, "uid": 7, "non_unique": true}), "b"),
            (true, "-u 7 -m -r -o".into())
        );
        assert_eq!(
            wanted(json!({"home": "/x", "move_home": true}), "a").1,
            "-d /x -m"
        );
        let ages = ages(
            &args(json!({"name": "a", "password_expire_max": 90, "password_expire_warn": 7})),
            &tables,
            "a",
        );
        assert_eq!(ages, ["-M", "90"]);
    }
}
