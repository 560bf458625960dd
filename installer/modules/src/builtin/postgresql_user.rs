//! `postgresql_user`: a role of PostgreSQL that can log in, with its password and attributes.
//!
//! A password is turned into the verifier that the server keeps here, so that the server's log never has it.
use agent_protocol::task::TaskResult;
use serde_json::{Map, Value};

use super::mysql::given;
use super::postgresql::{LOGIN, first, name, query, rows, text};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::scram;

pub const POSTGRESQL_USER: Module = Module::new(
    "postgresql_user",
    "Make, change or drop an account of the database server",
    Effect::Converges,
    ARGS,
    run,
)
.shares(LOGIN)
.refuses(&[
    ("priv", "grant it with the module postgresql_privs"),
    (
        "groups",
        "put it into groups with the module postgresql_privs and type=group",
    ),
]);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "the account")
        .aliases(&["user"])
        .required(),
    Arg::new(
        "password",
        Kind::Text,
        "its password, or what the server keeps of one",
    ),
    Arg::new("db", Kind::Text, "database to connect to")
        .aliases(&["login_db"])
        .default("postgres"),
    Arg::new(
        "fail_on_user",
        Kind::Flag,
        "an account that cannot be dropped is a failure",
    )
    .aliases(&["fail_on_role"])
    .default("true"),
    Arg::new(
        "role_attr_flags",
        Kind::Text,
        "attributes, for example CREATEDB,NOLOGIN",
    ),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new(
        "encrypted",
        Kind::Flag,
        "accepted for compatibility: servers keep no other passwords than hashed ones",
    )
    .default("true"),
    Arg::new("expires", Kind::Text, "when the password ends, or infinity"),
    Arg::new(
        "no_password_changes",
        Kind::Flag,
        "leave the password of a present account",
    )
    .default("false"),
    Arg::new(
        "conn_limit",
        Kind::Int,
        "connections at once, -1 for any number",
    ),
    Arg::new(
        "comment",
        Kind::Text,
        "what it is for; empty takes a comment away",
    ),
    Arg::new(
        "configuration",
        Kind::Map,
        "parameters that its sessions begin with",
    ),
    Arg::new(
        "reset_unspecified_configuration",
        Kind::Flag,
        "take away parameters that are not named",
    )
    .default("false"),
];

/// Attributes with the columns of `pg_roles`.
const FLAGS: &[(&str, &str)] = &[
    ("SUPERUSER", "rolsuper"),
    ("CREATEROLE", "rolcreaterole"),
    ("CREATEDB", "rolcreatedb"),
    ("INHERIT", "rolinherit"),
    ("LOGIN", "rolcanlogin"),
    ("REPLICATION", "rolreplication"),
    ("BYPASSRLS", "rolbypassrls"),
];

/// A statement, and what a reader may see of it.
struct Step {
    sql: String,
    shown: String,
}

impl From<String> for Step {
    fn from(sql: String) -> Self {
        Step {
            shown: sql.clone(),
            sql,
        }
    }
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let user = args.need("name");
    let flags = flags(args.text("role_attr_flags").unwrap_or_default()).map_err(Fault::new)?;
    let expires = given(args, "expires").map_or("NULL".into(), text);
    // `SHOW` as a function; the end of the password as the server understands it, to be compared.
    let question = rows(
        "SELECT current_setting('password_encryption') AS kind, has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS sees",
    ) + &rows(&format!(
        "SELECT r.*, s.setconfig, shobj_description(r.oid, 'pg_authid') AS comment, \
             r.rolvaliduntil IS NOT DISTINCT FROM ({expires})::timestamptz AS ends_right \
             FROM pg_roles r LEFT JOIN pg_db_role_setting s ON s.setrole = r.oid AND s.setdatabase = 0 \
             WHERE r.rolname = {}",
        text(user)
    ));
    let answers = query(context, args, args.need("db"), &question)?;
    let kind = first(&answers, 0)
        .and_then(|row| row["kind"].as_str())
        .unwrap_or_default();
    let sees = first(&answers, 0).is_some_and(|row| row["sees"] == true);
    let now = first(&answers, 1);
    if args.need("state") == "absent" {
        return drop_user(context, args, now.is_some());
    }
    let role = name(user);
    let mut steps: Vec<Step> = Vec::new();
    let mut words: Vec<String> = match now {
        None => flags.iter().map(|flag| flag.to_string()).collect(),
        Some(now) => flags
            .iter()
            .filter(|flag| now[flag.column] != flag.on)
            .map(|flag| flag.to_string())
            .collect(),
    };
    if given(args, "expires").is_some() && now.is_none_or(|now| now["ends_right"] != true) {
        words.push(format!("VALID UNTIL {expires}"));
    }
    if let Some(limit) = args.int("conn_limit")
        && now.is_none_or(|now| now["rolconnlimit"] != limit)
    {
        words.push(format!("CONNECTION LIMIT {limit}"));
    }
    let mut secret = None;
    if let Some(password) = args.text("password")
        && (now.is_none() || !args.flag("no_password_changes"))
    {
        let kept = match now {
            None => None,
            Some(_) if sees => kept_password(context, args, user)?,
            Some(_) => {
                return Err(Fault::new(format!(
                    "{} may not see whether the password is right: log in as a superuser, or set no_password_changes: true",
                    args.need("login_user")
                )));
            }
        };
        if !scram::fits(password, user, kept.as_deref()) {
            secret = Some(match password {
                "" => " PASSWORD NULL".to_owned(),
                password => {
                    let verifier =
                        scram::verifier(password, user, kind).map_err(Fault::io("take a salt"))?;
                    format!(" PASSWORD {}", text(&verifier))
                }
            });
        }
    }
    if now.is_none() || !words.is_empty() || secret.is_some() {
        let verb = if now.is_none() {
            "CREATE USER"
        } else {
            "ALTER USER"
        };
        let start = std::iter::once(format!("{verb} {role}"))
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ");
        steps.push(Step {
            shown: format!(
                "{start}{}",
                if secret.is_some() {
                    " PASSWORD (a new one)"
                } else {
                    ""
                }
            ),
            sql: start + secret.as_deref().unwrap_or_default(),
        });
    }
    let comment = now
        .and_then(|now| now["comment"].as_str())
        .unwrap_or_default();
    if let Some(wanted) = args.text("comment").filter(|wanted| *wanted != comment) {
        steps.push(format!("COMMENT ON ROLE {role} IS {}", text(wanted)).into());
    }
    steps.extend(
        configuration(args, now, &role)
            .map_err(Fault::new)?
            .into_iter()
            .map(Step::from),
    );
    if !steps.is_empty() && !context.check {
        let lines: String = steps
            .iter()
            .map(|step| format!("{};\n", step.sql))
            .collect();
        query(
            context,
            args,
            args.need("db"),
            &format!("BEGIN;\n{lines}COMMIT;\n"),
        )?;
    }
    Ok(finish(context, args, &steps))
}

fn finish(context: &Context<'_>, args: &Args, steps: &[Step]) -> TaskResult {
    let user = args.need("name");
    let shown: Vec<&str> = steps.iter().map(|step| step.shown.as_str()).collect();
    let lines: String = shown.iter().map(|step| format!("{step};\n")).collect();
    TaskResult {
        diff: context.diff_of(&format!("account {user}"), "", &lines),
        ..changed(!steps.is_empty())
            .with("user", user)
            .with("queries", shown)
    }
}

fn drop_user(context: &mut Context<'_>, args: &Args, there: bool) -> Result<TaskResult, Fault> {
    if !there {
        return Ok(finish(context, args, &[]));
    }
    let sql = format!("DROP USER {}", name(args.need("name")));
    if !context.check
        && let Err(fault) = query(context, args, args.need("db"), &format!("{sql};\n"))
    {
        if args.flag("fail_on_user") || matches!(fault, Fault::Cancelled | Fault::TimedOut) {
            return Err(fault);
        }
        return Ok(TaskResult {
            msg: format!("the account stays: {fault}"),
            ..finish(context, args, &[])
        });
    }
    Ok(finish(context, args, &[sql.into()]))
}

fn kept_password(
    context: &mut Context<'_>,
    args: &Args,
    user: &str,
) -> Result<Option<String>, Fault> {
    let question = rows(&format!(
        "SELECT rolpassword FROM pg_authid WHERE rolname = {}",
        text(user)
    ));
    let answers = query(context, args, args.need("db"), &question)?;
    Ok(first(&answers, 0)
        .and_then(|row| row["rolpassword"].as_str())
        .map(str::to_owned))
}

#[derive(Debug, Clone, Copy)]
struct Flag {
    word: &'static str,
    column: &'static str,
    on: bool,
}

impl std::fmt::Display for Flag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.on { "" } else { "NO" }, self.word)
    }
}

fn flags(list: &str) -> Result<Vec<Flag>, String> {
    list.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|given| {
            let upper = given.to_ascii_uppercase();
            FLAGS
                .iter()
                .find_map(|(word, column)| {
                    let (word, column) = (*word, *column);
                    let on = if upper == *word {
                        true
                    } else if upper.strip_prefix("NO") == Some(word) {
                        false
                    } else {
                        return None;
                    };
                    Some(Flag { word, column, on })
                })
                .ok_or_else(|| {
                    let known: Vec<&str> = FLAGS.iter().map(|(word, _)| *word).collect();
                    format!(
                        "role_attr_flags has no `{given}`: it has {}, each also with NO before it",
                        known.join(", ")
                    )
                })
        })
        .collect()
}

/// The statements that change the parameters of the role's sessions.
fn configuration(args: &Args, now: Option<&Value>, role: &str) -> Result<Vec<String>, String> {
    let empty = Map::new();
    let wanted = args.map("configuration").unwrap_or(&empty);
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
    };
    let set: Vec<(&str, &str)> = now
        .and_then(|now| now["setconfig"].as_array())
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.as_str()?.split_once('='))
        .collect();
    let mut out = Vec::new();
    for (parameter, value) in wanted {
        if !is_name(parameter) {
            return Err(format!(
                "configuration: `{parameter}` is no name of a parameter"
            ));
        }
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Bool(flag) => Some(if *flag { "on" } else { "off" }.into()),
            other => Some(other.to_string()),
        };
        let have = set
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(parameter))
            .map(|(_, value)| *value);
        match value {
            Some(value) => {
                let wanted = parts(parameter, &value);
                if have.map(|have| parts(parameter, have)).as_ref() != Some(&wanted) {
                    let literals: Vec<String> = wanted.iter().map(|part| text(part)).collect();
                    out.push(format!(
                        "ALTER USER {role} SET {parameter} TO {}",
                        literals.join(", ")
                    ));
                }
            }
            None if have.is_some() => out.push(format!("ALTER USER {role} RESET {parameter}")),
            None => {}
        }
    }
    if args.flag("reset_unspecified_configuration") {
        for (parameter, _) in set.iter().filter(|(name, _)| {
            is_name(name) && !wanted.keys().any(|key| key.eq_ignore_ascii_case(name))
        }) {
            out.push(format!("ALTER USER {role} RESET {parameter}"));
        }
    }
    Ok(out)
}

/// Parameters that are lists of names, each quoted by itself.
const LISTS: &[&str] = &[
    "search_path",
    "temp_tablespaces",
    "session_preload_libraries",
    "local_preload_libraries",
];

/// A parameter's value: one text, or the names of a list.
fn parts(parameter: &str, value: &str) -> Vec<String> {
    if !LISTS.contains(&parameter.to_ascii_lowercase().as_str()) {
        return vec![value.to_owned()];
    }
    value
        .split(',')
        .map(|part| part.trim().trim_matches('"').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read() {
        let words = |list: &str| {
            flags(list).map(|flags| {
                flags
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(
            words("createdb, NOLOGIN,noinherit").unwrap(),
            "CREATEDB NOLOGIN NOINHERIT"
        );
        assert!(words("CREATEDB; DROP").unwrap_err().contains("BYPASSRLS"));
        assert_eq!(words("").unwrap(), "");
    }
}
