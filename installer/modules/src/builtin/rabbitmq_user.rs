//! `rabbitmq_user`: an account of RabbitMQ with its tags and permissions on one virtual host.
use std::collections::BTreeMap;

use agent_protocol::task::TaskResult;
use serde_json::{Map, Value};

use super::rabbitmq::{NODE, ask, control, tell};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const RABBITMQ_USER: Module = Module::new(
    "rabbitmq_user",
    "Make or remove an account of the broker",
    Effect::Converges,
    ARGS,
    run,
)
.refuses(&[
    ("login_host", MANAGEMENT),
    ("login_port", MANAGEMENT),
    ("login_protocol", MANAGEMENT),
    ("login_user", MANAGEMENT),
    ("login_password", MANAGEMENT),
]);

const MANAGEMENT: &str =
    "accounts are managed by rabbitmqctl on a node of the broker, `node` says which";

const ARGS: &[Arg] = &[
    Arg::new("user", Kind::Text, "the account")
        .aliases(&["name", "username"])
        .required(),
    Arg::new("password", Kind::Text, "its password"),
    Arg::new(
        "update_password",
        Kind::Text,
        "whether a present account gets it too",
    )
    .choices(&["always", "on_create"])
    .default("on_create"),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("tags", Kind::List, "its tags"),
    Arg::new("vhost", Kind::Text, "virtual host of the permissions").default("/"),
    Arg::new(
        "configure_priv",
        Kind::Text,
        "pattern of what it may configure",
    )
    .default("^$"),
    Arg::new("write_priv", Kind::Text, "pattern of what it may write to").default("^$"),
    Arg::new("read_priv", Kind::Text, "pattern of what it may read from").default("^$"),
    Arg::new(
        "permissions",
        Kind::Any,
        "all permissions that it is to have: list of vhost, configure_priv, write_priv, read_priv",
    ),
    Arg::new(
        "topic_permissions",
        Kind::Any,
        "permissions on topics: list of vhost, exchange, write_priv, read_priv",
    ),
    Arg::new("force", Kind::Flag, "make a present account anew").default("false"),
    NODE,
];

/// What an account is, as far as the broker tells.
#[derive(Debug, Clone, Default, PartialEq)]
struct Account {
    tags: Vec<String>,
    /// By virtual host: configure, write, read.
    permissions: BTreeMap<String, [String; 3]>,
    /// By virtual host and exchange: write, read.
    topics: BTreeMap<(String, String), [String; 2]>,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let user = args.need("user");
    let wanted = wish(args).map_err(Fault::new)?;
    let now = account(context, args, user)?;
    let result = |done: bool| {
        changed(done)
            .with("user", user)
            .with("state", args.need("state"))
    };
    if args.need("state") == "absent" {
        if now.is_some() && !context.check {
            control(context, args, &["delete_user", "--", user])?;
        }
        let before = now.map(|now| now.shown(user)).unwrap_or_default();
        return Ok(TaskResult {
            diff: context.diff_of("account", &before, ""),
            ..result(!before.is_empty())
        });
    }
    let before = now.as_ref().map(|now| now.shown(user)).unwrap_or_default();
    let renew = now.is_some() && args.flag("force");
    let now = now.filter(|_| !renew);
    let mut calls: Vec<Vec<String>> = Vec::new();
    let mut new_password = None;
    let password = args.text("password");
    if renew {
        calls.push(words(&["delete_user", "--", user]));
    }
    if now.is_none() {
        new_password = Some(password.ok_or_else(|| Fault::new("a new account needs a password"))?);
    } else if let Some(password) = password.filter(|_| args.need("update_password") == "always") {
        // The broker does not give its hashes away; whether the password is right can only be tried.
        let tried = tell(context, args, &["authenticate_user", "--", user], password)?;
        if tried.rc != 0 {
            new_password = Some(password);
        }
    }
    let is_new = now.is_none();
    let now = now.unwrap_or_default();
    let after = wanted.over(&now, args);
    let more = now.calls_to(&after, user);
    let done = new_password.is_some() || !more.is_empty();
    if !context.check {
        run_all(context, args, &calls)?;
        if let Some(password) = new_password {
            let verb = if is_new {
                "add_user"
            } else {
                "change_password"
            };
            let output = tell(context, args, &[verb, "--", user], password)?;
            if output.rc != 0 {
                return Err(Fault::new(format!(
                    "rabbitmqctl {verb} failed: {}",
                    output.stderr.trim()
                )));
            }
        }
        run_all(context, args, &more)?;
    }
    let mut after = after.shown(user);
    if new_password.is_some() && !is_new {
        after.push_str("a new password\n");
    }
    Ok(TaskResult {
        diff: context.diff_of("account", &before, &after),
        ..result(done)
    })
}

fn run_all(context: &mut Context<'_>, args: &Args, calls: &[Vec<String>]) -> Result<(), Fault> {
    for call in calls {
        let words: Vec<&str> = call.iter().map(String::as_str).collect();
        control(context, args, &words)?;
    }
    Ok(())
}

/// The account as it is; what the task does not speak of is not asked for.
fn account(context: &mut Context<'_>, args: &Args, user: &str) -> Result<Option<Account>, Fault> {
    let users = ask(context, args, &["list_users"])?;
    let Some(found) = users
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["user"] == user)
    else {
        return Ok(None);
    };
    let mut account = Account::default();
    if let Some(tags) = found["tags"].as_array() {
        account.tags = tags.iter().map(plain).collect();
        account.tags.sort();
    }
    if args.need("state") == "absent" {
        return Ok(Some(account));
    }
    // JSON before the name: what follows `--` is no option.
    let list = |verb| ["--formatter", "json", verb, "--", user];
    let permissions = control(context, args, &list("list_user_permissions"))?;
    for entry in entries(&permissions)? {
        let fields = ["configure", "write", "read"].map(|field| plain(&entry[field]));
        account.permissions.insert(plain(&entry["vhost"]), fields);
    }
    if args.value("topic_permissions").is_some() {
        let topics = control(context, args, &list("list_user_topic_permissions"))?;
        for entry in entries(&topics)? {
            let fields = ["write", "read"].map(|field| plain(&entry[field]));
            let place = (plain(&entry["vhost"]), plain(&entry["exchange"]));
            account.topics.insert(place, fields);
        }
    }
    Ok(Some(account))
}

fn entries(text: &str) -> Result<Vec<Value>, Fault> {
    serde_json::from_str(text.trim())
        .map_err(|error| Fault::new(format!("rabbitmqctl did not answer in JSON: {error}")))
}

fn plain(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What the task wants; `None` leaves what is.
struct Wish {
    tags: Option<Vec<String>>,
    permissions: BTreeMap<String, [String; 3]>,
    topics: Option<BTreeMap<(String, String), [String; 2]>>,
}

fn wish(args: &Args) -> Result<Wish, String> {
    let rows = |name: &str, known: &[&str]| -> Result<Option<Vec<Map<String, Value>>>, String> {
        let Some(value) = args.value(name) else {
            return Ok(None);
        };
        let list = value
            .as_array()
            .ok_or_else(|| format!("{name} must be a list of mappings"))?;
        let row = |row: &Value| {
            let map = row
                .as_object()
                .ok_or_else(|| format!("{name} must be a list of mappings"))?;
            match map.keys().find(|key| !known.contains(&key.as_str())) {
                Some(key) => Err(format!(
                    "{name} has no field `{key}`: it has {}",
                    known.join(", ")
                )),
                None => Ok(map.clone()),
            }
        };
        list.iter().map(row).collect::<Result<_, _>>().map(Some)
    };
    let field = |row: &Map<String, Value>, name: &str, default: &str| {
        row.get(name)
            .and_then(Value::as_str)
            .unwrap_or(default)
            .to_owned()
    };
    let fields = ["configure_priv", "write_priv", "read_priv"];
    let known = ["vhost", "configure_priv", "write_priv", "read_priv"];
    let permissions = match rows("permissions", &known)? {
        Some(list) if !list.is_empty() => list
            .iter()
            .map(|row| {
                (
                    field(row, "vhost", "/"),
                    fields.map(|name| field(row, name, "^$")),
                )
            })
            .collect(),
        _ => [(
            args.need("vhost").to_owned(),
            fields.map(|name| args.need(name).to_owned()),
        )]
        .into(),
    };
    let known = ["vhost", "exchange", "write_priv", "read_priv"];
    let topics = rows("topic_permissions", &known)?.map(|list| {
        list.iter()
            .map(|row| {
                let place = (
                    field(row, "vhost", "/"),
                    field(row, "exchange", "amq.topic"),
                );
                (
                    place,
                    ["write_priv", "read_priv"].map(|name| field(row, name, "^$")),
                )
            })
            .collect()
    });
    // Absent and empty are not the same: only the latter takes tags away.
    let tags = args.list("tags").map(|tags| {
        let mut tags: Vec<String> = tags.into_iter().map(str::to_owned).collect();
        tags.sort();
        tags
    });
    Ok(Wish {
        tags,
        permissions,
        topics,
    })
}

impl Wish {
    /// The account as it is to be.
    fn over(&self, now: &Account, args: &Args) -> Account {
        let all = args.value("permissions").and_then(Value::as_array);
        let mut permissions = now.permissions.clone();
        if all.is_some_and(|list| !list.is_empty()) {
            permissions.clear();
        }
        permissions.extend(self.permissions.clone());
        Account {
            tags: self.tags.clone().unwrap_or_else(|| now.tags.clone()),
            permissions,
            topics: self.topics.clone().unwrap_or_else(|| now.topics.clone()),
        }
    }
}

impl Account {
    /// The calls that make `wanted` of this one.
    fn calls_to(&self, wanted: &Account, user: &str) -> Vec<Vec<String>> {
        let mut calls = Vec::new();
        if self.tags != wanted.tags {
            let mut call = words(&["set_user_tags", "--", user]);
            call.extend(wanted.tags.iter().cloned());
            calls.push(call);
        }
        for vhost in self.permissions.keys() {
            if !wanted.permissions.contains_key(vhost) {
                calls.push(words(&["clear_permissions", "-p", vhost, "--", user]));
            }
        }
        for (vhost, [configure, write, read]) in &wanted.permissions {
            if self.permissions.get(vhost) != wanted.permissions.get(vhost) {
                let call = [
                    "set_permissions",
                    "-p",
                    vhost,
                    "--",
                    user,
                    configure,
                    write,
                    read,
                ];
                calls.push(words(&call));
            }
        }
        for (vhost, exchange) in self.topics.keys() {
            if !wanted
                .topics
                .contains_key(&(vhost.clone(), exchange.clone()))
            {
                let call = ["clear_topic_permissions", "-p", vhost, "--", user, exchange];
                calls.push(words(&call));
            }
        }
        for (place, [write, read]) in &wanted.topics {
            if self.topics.get(place) != wanted.topics.get(place) {
                let (vhost, exchange) = place;
                let call = [
                    "set_topic_permissions",
                    "-p",
                    vhost,
                    "--",
                    user,
                    exchange,
                    write,
                    read,
                ];
                calls.push(words(&call));
            }
        }
        calls
    }

    fn shown(&self, user: &str) -> String {
        let mut out = format!("{user} [{}]\n", self.tags.join(" "));
        for (vhost, [configure, write, read]) in &self.permissions {
            out.push_str(&format!(
                "{vhost}: configure {configure} write {write} read {read}\n"
            ));
        }
        for ((vhost, exchange), [write, read]) in &self.topics {
            out.push_str(&format!("{vhost} {exchange}: write {write} read {read}\n"));
        }
        out
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn an_account_is_made_once_and_its_password_is_no_argument() {
        let bench = Bench::new();
        bench.write("/users", "[]");
        bench.write("/permissions", "[]");
        bench.program(
            "rabbitmqctl",
            r#"echo "$*" >> $ROOT/calls.log
case "$*" in
  *list_user_permissions*) cat $ROOT/permissions; exit;;
esac
case $2 in
  list_users) cat $ROOT/users;;
  add_user) read p; [ "$p" = geheim ] && echo '[{"user":"nova","tags":[]}]' > $ROOT/users;;
  set_permissions) echo '[{"vhost":"/","configure":".*","write":".*","read":".*"}]' > $ROOT/permissions;;
  authenticate_user) read p; [ "$p" = geheim ];;
esac"#,
        );
        bench.converges("rabbitmq_user", json!({"user": "nova", "password": "geheim", "configure_priv": ".*", "write_priv": ".*", "read_priv": ".*", "update_password": "always"}));
        assert!(!bench.read("/calls.log").contains("geheim"));
    }
}
