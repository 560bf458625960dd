//! `rabbitmq_user`: an account of RabbitMQ with its tags and permissions on one virtual host.
use agent_protocol::task::TaskResult;
use serde_json::Value;

use super::rabbitmq_vhost::control;
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::Start;
use crate::spec::{Arg, Effect, Kind, Module};

pub const RABBITMQ_USER: Module = Module::new(
    "rabbitmq_user",
    "Make or remove an account of the broker",
    Effect::Converges,
    ARGS,
    run,
);

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
    Arg::new("node", Kind::Text, "node of the broker"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let user = args.need("user");
    let users: Value = json(&control(
        context,
        args,
        &["list_users", "--formatter", "json"],
    )?)?;
    let now = users
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["user"] == user);
    let result = |done: bool| {
        changed(done)
            .with("user", user)
            .with("state", args.need("state"))
    };
    if args.need("state") == "absent" {
        if now.is_some() && !context.check {
            control(context, args, &["delete_user", "--", user])?;
        }
        return Ok(result(now.is_some()));
    }
    let mut done = false;
    let password = args.text("password");
    if now.is_none() {
        let password = password.ok_or_else(|| Fault::new("a new account needs a password"))?;
        done = true;
        if !context.check {
            with_password(context, args, "add_user", password)?;
        }
    } else if let Some(password) = password.filter(|_| args.need("update_password") == "always") {
        // The broker does not give its hashes away; whether the password is right can only be tried.
        if !authenticates(context, args, password)? {
            done = true;
            if !context.check {
                with_password(context, args, "change_password", password)?;
            }
        }
    }
    if let Some(mut wanted) = args.list("tags") {
        let mut have: Vec<&str> = now
            .and_then(|entry| entry["tags"].as_array())
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        wanted.sort_unstable();
        have.sort_unstable();
        if wanted != have {
            done = true;
            if !context.check {
                let words: Vec<&str> = ["set_user_tags", "--", user]
                    .into_iter()
                    .chain(wanted)
                    .collect();
                control(context, args, &words)?;
            }
        }
    }
    let permissions = ["configure_priv", "write_priv", "read_priv"].map(|name| args.need(name));
    let vhost = args.need("vhost");
    let have = if now.is_some() {
        json(&control(
            context,
            args,
            &["list_user_permissions", "--formatter", "json", "--", user],
        )?)?
    } else {
        Value::Null
    };
    let right = have.as_array().into_iter().flatten().any(|entry| {
        entry["vhost"] == vhost
            && [&entry["configure"], &entry["write"], &entry["read"]]
                .into_iter()
                .zip(permissions)
                .all(|(have, wanted)| have == wanted)
    });
    if !right {
        done = true;
        if !context.check {
            let words: Vec<&str> = ["set_permissions", "-p", vhost, "--", user]
                .into_iter()
                .chain(permissions)
                .collect();
            control(context, args, &words)?;
        }
    }
    Ok(result(done))
}

/// The password goes by standard input, where rabbitmqctl reads it when it is no argument.
fn with_password(
    context: &mut Context<'_>,
    args: &Args,
    verb: &str,
    password: &str,
) -> Result<(), Fault> {
    let output = ask(context, args, verb, password)?;
    if output.rc == 0 {
        Ok(())
    } else {
        Err(Fault::new(format!(
            "rabbitmqctl {verb} failed: {}",
            output.stderr.trim()
        )))
    }
}

fn authenticates(context: &mut Context<'_>, args: &Args, password: &str) -> Result<bool, Fault> {
    Ok(ask(context, args, "authenticate_user", password)?.rc == 0)
}

fn ask(
    context: &mut Context<'_>,
    args: &Args,
    verb: &str,
    password: &str,
) -> Result<crate::process::Output, Fault> {
    let mut argv = vec!["rabbitmqctl", "--quiet"];
    if let Some(node) = args.text("node") {
        argv.extend(["--node", node]);
    }
    argv.extend([verb, "--", args.need("user")]);
    context.start(Start {
        argv,
        stdin: Some(format!("{password}\n").into_bytes()),
        ..Start::default()
    })
}

fn json(text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text.trim())
        .map_err(|error| Fault::new(format!("rabbitmqctl did not answer in JSON: {error}")))
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
case $2 in
  list_users) cat $ROOT/users;;
  list_user_permissions) cat $ROOT/permissions;;
  add_user) read p; [ "$p" = geheim ] && echo '[{"user":"nova","tags":[]}]' > $ROOT/users;;
  set_permissions) echo '[{"vhost":"/","configure":".*","write":".*","read":".*"}]' > $ROOT/permissions;;
  authenticate_user) read p; [ "$p" = geheim ];;
esac"#,
        );
        bench.converges("rabbitmq_user", json!({"user": "nova", "password": "geheim", "configure_priv": ".*", "write_priv": ".*", "read_priv": ".*", "update_password": "always"}));
        assert!(!bench.read("/calls.log").contains("geheim"));
    }
}
