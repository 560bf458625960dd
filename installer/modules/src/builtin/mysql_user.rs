//! `mysql_user`: an account of MariaDB with its password and privileges.
use std::collections::{BTreeMap, BTreeSet};

use agent_protocol::task::TaskResult;
use serde_json::{Map, Value};

use super::mysql::{LOGIN, given, name, query, text};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const MYSQL_USER: Module = Module::new(
    "mysql_user",
    "Make or drop an account of the database",
    Effect::Converges,
    ARGS,
    run,
)
.shares(LOGIN)
.exclusive(&[&["append_privs", "subtract_privs"]])
.refuses(&[
    ("password_expire", EXPIRES),
    ("password_expire_interval", EXPIRES),
    ("attributes", "MariaDB keeps no attributes of accounts"),
    (
        "salt",
        "MariaDB has no caching_sha2_password: give plugin_hash_string",
    ),
    (
        "plugin_auth_string",
        "give plugin_hash_string, or password without plugin",
    ),
]);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "the account")
        .aliases(&["user"])
        .required(),
    Arg::new("host", Kind::Text, "where it may come from").default("localhost"),
    Arg::new(
        "host_all",
        Kind::Flag,
        "the account of every host that has one",
    )
    .default("false"),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("password", Kind::Text, "its password"),
    Arg::new("encrypted", Kind::Flag, "password is the hash of one").default("false"),
    Arg::new(
        "update_password",
        Kind::Text,
        "whether a present account gets it too",
    )
    .choices(&["always", "on_create"])
    .default("always"),
    Arg::new(
        "plugin",
        Kind::Text,
        "how it proves itself, for example unix_socket",
    ),
    Arg::new(
        "plugin_hash_string",
        Kind::Text,
        "what the plugin keeps of its secret",
    ),
    Arg::new(
        "priv",
        Kind::Any,
        "db.table:PRIV,PRIV/db.table:PRIV, or a mapping",
    ),
    Arg::new("append_privs", Kind::Flag, "keep other privileges").default("false"),
    Arg::new("subtract_privs", Kind::Flag, "take these privileges away").default("false"),
    Arg::new(
        "tls_requires",
        Kind::Map,
        "what its connection must have: SSL, X509, or SUBJECT, ISSUER, CIPHER",
    ),
    Arg::new(
        "resource_limits",
        Kind::Map,
        "MAX_QUERIES_PER_HOUR, MAX_UPDATES_PER_HOUR, MAX_CONNECTIONS_PER_HOUR, MAX_USER_CONNECTIONS, MAX_STATEMENT_TIME",
    ),
    Arg::new("sql_log_bin", Kind::Flag, "whether replicas are told").default("true"),
    Arg::new(
        "session_vars",
        Kind::Map,
        "variables of the session, set first",
    ),
    Arg::new(
        "force_context",
        Kind::Flag,
        "work within the database mysql",
    )
    .default("false"),
    Arg::new(
        "check_implicit_admin",
        Kind::Flag,
        "accepted for compatibility",
    )
    .default("false"),
    Arg::new(
        "column_case_sensitive",
        Kind::Flag,
        "accepted for compatibility: MariaDB does not part names of columns by case",
    )
    .default("true"),
];

const EXPIRES: &str = "run `ALTER USER ... PASSWORD EXPIRE` with mysql_query";

/// Limits by Ansible's name, with the column of `mysql.user`.
const LIMITS: &[(&str, &str)] = &[
    ("MAX_QUERIES_PER_HOUR", "max_questions"),
    ("MAX_UPDATES_PER_HOUR", "max_updates"),
    ("MAX_CONNECTIONS_PER_HOUR", "max_connections"),
    ("MAX_USER_CONNECTIONS", "max_user_connections"),
    ("MAX_STATEMENT_TIME", "max_statement_time"),
];

/// Privileges by `db.table`.
type Privileges = BTreeMap<String, BTreeSet<String>>;

/// One thing to do: the statement, and what a reader may see of it.
struct Step {
    sql: String,
    shown: String,
}

impl Step {
    fn open(sql: String) -> Step {
        Step {
            shown: sql.clone(),
            sql,
        }
    }
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let user = args.need("name");
    let wish = Wish::of(args).map_err(Fault::new)?;
    let limits: Vec<&str> = LIMITS.iter().map(|(_, column)| *column).collect();
    let found = query(
        context,
        args,
        &format!(
            "SELECT Host, {}, UPPER(CONCAT_WS('|', ssl_type, ssl_cipher, x509_issuer, x509_subject)), CONCAT_WS(',', {}) FROM mysql.user WHERE User = {}{};\n",
            wish.matches,
            limits.join(", "),
            text(user),
            if args.flag("host_all") {
                String::new()
            } else {
                format!(" AND Host = {}", text(args.need("host")))
            },
        ),
    )?;
    let absent = args.need("state") == "absent";
    if found.is_empty() && args.flag("host_all") && !absent {
        return Err(Fault::new("host_all cannot make an account: give its host"));
    }
    let mut steps = Vec::new();
    if found.is_empty() && !absent {
        let account = format!("{}@{}", text(user), text(args.need("host")));
        steps.push(Step {
            sql: format!("CREATE USER {account}{}", wish.proof),
            shown: format!("CREATE USER {account}{}", wish.shown_proof()),
        });
        steps.extend(wish.more(&account, None));
        if let Some(wanted) = &wish.privileges {
            let mode = if args.flag("subtract_privs") {
                Mode::Subtract
            } else {
                Mode::Set
            };
            steps.extend(difference(&Privileges::new(), wanted, &account, mode));
        }
    }
    for row in &found {
        let account = format!("{}@{}", text(user), text(&row[0]));
        if absent {
            steps.push(Step::open(format!("DROP USER {account}")));
            continue;
        }
        let proves = row.get(1).is_some_and(|value| value == "1");
        if !wish.proof.is_empty() && !proves && args.need("update_password") == "always" {
            steps.push(Step {
                sql: format!("ALTER USER {account}{}", wish.proof),
                shown: format!("ALTER USER {account}{}", wish.shown_proof()),
            });
        }
        steps.extend(wish.more(&account, Some(row)));
        if let Some(wanted) = &wish.privileges {
            let now = grants(context, args, &account)?;
            let mode = match (args.flag("append_privs"), args.flag("subtract_privs")) {
                (_, true) => Mode::Subtract,
                (true, _) => Mode::Append,
                _ => Mode::Set,
            };
            steps.extend(difference(&now, wanted, &account, mode));
        }
    }
    if !steps.is_empty() && !context.check {
        let mut sql = wish.session.clone();
        sql.extend(steps.iter().map(|step| format!("{};\n", step.sql)));
        query(context, args, &sql)?;
    }
    let shown: String = steps
        .iter()
        .map(|step| format!("{}\n", step.shown))
        .collect();
    Ok(TaskResult {
        diff: context.diff_of(&format!("account {user}"), "", &shown),
        ..changed(!steps.is_empty()).with("user", user)
    })
}

/// What the arguments ask for, as pieces of statements.
struct Wish {
    /// ` IDENTIFIED ...` with the secret; empty if the task does not say.
    proof: String,
    plugin: Option<String>,
    /// Whether the account's present proof is that one, as an expression.
    matches: String,
    privileges: Option<Privileges>,
    /// ` REQUIRE ...`, and the same as `mysql.user` has it.
    tls: Option<(String, String)>,
    /// By the place in [`LIMITS`].
    limits: Vec<(usize, f64)>,
    /// Statements to begin with.
    session: String,
}

impl Wish {
    fn of(args: &Args) -> Result<Wish, String> {
        let plugin = given(args, "plugin");
        let is_word = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let (proof, matches) = match (plugin, args.text("password")) {
            (Some(_), Some(_)) => {
                return Err("password is for no plugin: give plugin_hash_string".into());
            }
            (Some(plugin), None) if is_word(plugin) => match given(args, "plugin_hash_string") {
                Some(hash) => (
                    format!(" IDENTIFIED VIA {plugin} USING {}", text(hash)),
                    format!(
                        "plugin = {} AND authentication_string = {}",
                        text(plugin),
                        text(hash)
                    ),
                ),
                None => (
                    format!(" IDENTIFIED VIA {plugin}"),
                    format!("plugin = {}", text(plugin)),
                ),
            },
            (Some(plugin), None) => return Err(format!("plugin `{plugin}` is no word")),
            (None, Some(hash)) if args.flag("encrypted") => (
                format!(" IDENTIFIED BY PASSWORD {}", text(hash)),
                format!("UPPER(authentication_string) = UPPER({})", text(hash)),
            ),
            (None, Some(password)) => (
                format!(" IDENTIFIED BY {}", text(password)),
                format!("authentication_string = PASSWORD({})", text(password)),
            ),
            (None, None) => (String::new(), "1".into()),
        };
        let privileges = match args.value("priv") {
            None => None,
            Some(Value::String(list)) if list.is_empty() => None,
            Some(Value::String(list)) => Some(parse(list)?),
            Some(Value::Object(map)) => {
                let parts: Option<Vec<String>> = map
                    .iter()
                    .map(|(place, list)| Some(format!("{place}:{}", list.as_str()?)))
                    .collect();
                let parts = parts.ok_or("priv: each place has a text of privileges")?;
                Some(parse(&parts.join("/"))?)
            }
            Some(_) => return Err("priv must be a text or a mapping".into()),
        };
        let mut limits = Vec::new();
        for (limit, value) in args.map("resource_limits").into_iter().flatten() {
            let known = LIMITS
                .iter()
                .position(|(known, _)| known.eq_ignore_ascii_case(limit));
            let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            match (known, number) {
                (Some(known), Some(number)) if number >= 0.0 => limits.push((known, number)),
                (None, _) => {
                    return Err(format!(
                        "resource_limits has no `{limit}`: it has {}",
                        LIMITS
                            .iter()
                            .map(|(name, _)| *name)
                            .collect::<Vec<_>>()
                            .join(", ")
                    ));
                }
                _ => return Err(format!("resource_limits: {limit} must be a number")),
            }
        }
        let mut session = String::new();
        for (variable, value) in args.map("session_vars").into_iter().flatten() {
            let value = match value {
                Value::String(value) => text(value),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                _ => {
                    return Err(format!(
                        "session_vars: {variable} must be a text or a number"
                    ));
                }
            };
            session.push_str(&format!("SET SESSION {} = {value};\n", name(variable)));
        }
        if !args.flag("sql_log_bin") {
            session.push_str("SET SESSION sql_log_bin = 0;\n");
        }
        if args.flag("force_context") {
            session.push_str("USE mysql;\n");
        }
        Ok(Wish {
            proof,
            plugin: plugin.map(str::to_owned),
            matches,
            privileges,
            tls: args.map("tls_requires").map(tls).transpose()?,
            limits,
            session,
        })
    }

    fn shown_proof(&self) -> String {
        match (&self.plugin, self.proof.is_empty()) {
            (Some(plugin), _) => format!(" IDENTIFIED VIA {plugin}"),
            (None, true) => String::new(),
            (None, false) => " IDENTIFIED BY a password".into(),
        }
    }

    /// Requirements and limits that the account in `row`, or a new one, does not have yet.
    fn more(&self, account: &str, row: Option<&Vec<String>>) -> Vec<Step> {
        let field = |index: usize| row.and_then(|row| row.get(index)).map(String::as_str);
        let mut options = String::new();
        if let Some((clause, kept)) = &self.tls
            && field(2).unwrap_or("|||") != kept
        {
            options.push_str(clause);
        }
        let now: Vec<f64> = field(3)
            .unwrap_or_default()
            .split(',')
            .map(|number| number.parse().unwrap_or(0.0))
            .collect();
        let differs =
            |(place, wanted): &&(usize, f64)| now.get(*place).copied().unwrap_or(0.0) != *wanted;
        let limits: Vec<String> = self
            .limits
            .iter()
            .filter(differs)
            .map(|(place, wanted)| format!(" {} {wanted}", LIMITS[*place].0))
            .collect();
        if !limits.is_empty() {
            options.push_str(&format!(" WITH{}", limits.concat()));
        }
        if options.is_empty() {
            return Vec::new();
        }
        vec![Step::open(format!("ALTER USER {account}{options}"))]
    }
}

/// The clause of requirements and what the server keeps of it: type, cipher, issuer, subject.
fn tls(wanted: &Map<String, Value>) -> Result<(String, String), String> {
    let get = |name: &str| {
        wanted
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str().unwrap_or_default())
    };
    for key in wanted.keys() {
        if !["SSL", "X509", "SUBJECT", "ISSUER", "CIPHER"]
            .contains(&key.to_ascii_uppercase().as_str())
        {
            return Err(format!(
                "tls_requires has no `{key}`: it has SSL, X509, SUBJECT, ISSUER, CIPHER"
            ));
        }
    }
    let parts: Vec<String> = ["SUBJECT", "ISSUER", "CIPHER"]
        .iter()
        .filter_map(|key| Some(format!("{key} {}", text(get(key)?))))
        .collect();
    if get("X509").is_some() {
        Ok((" REQUIRE X509".into(), "X509|||".into()))
    } else if get("SSL").is_some() {
        Ok((" REQUIRE SSL".into(), "ANY|||".into()))
    } else if parts.is_empty() {
        Ok((" REQUIRE NONE".into(), "|||".into()))
    } else {
        let kept = ["CIPHER", "ISSUER", "SUBJECT"].map(|key| get(key).unwrap_or_default());
        let kept = format!("SPECIFIED|{}", kept.join("|")).to_uppercase();
        Ok((format!(" REQUIRE {}", parts.join(" AND ")), kept))
    }
}

/// What the server says that the account may do.
fn grants(context: &mut Context<'_>, args: &Args, account: &str) -> Result<Privileges, Fault> {
    let rows = query(context, args, &format!("SHOW GRANTS FOR {account};\n"))?;
    Ok(rows.iter().filter_map(|row| grant(row.first()?)).collect())
}

/// One line of `SHOW GRANTS`: GRANT privileges ON place TO account [WITH GRANT OPTION].
fn grant(line: &str) -> Option<(String, BTreeSet<String>)> {
    let (privileges, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
    if privileges == "PROXY" {
        return None;
    }
    let (place, account) = rest.split_once(" TO ")?;
    let mut set = split(privileges);
    if account.ends_with("WITH GRANT OPTION") {
        set.insert("GRANT".into());
    }
    Some((place.replace('`', ""), set))
}

/// Ansible's `priv`: places parted by slashes, privileges by commas.
fn parse(privileges: &str) -> Result<Privileges, String> {
    privileges
        .split('/')
        .map(|part| {
            let (place, list) = part
                .rsplit_once(':')
                .ok_or_else(|| format!("priv: `{part}` is not db.table:PRIVILEGE"))?;
            let place = if place.contains('.') {
                place.to_owned()
            } else {
                format!("{place}.*")
            };
            let set = split(list);
            let known = |privilege: &String| {
                privilege
                    .chars()
                    .all(|c| c.is_alphanumeric() || " (),_$".contains(c))
            };
            if set.is_empty() || !set.iter().all(known) {
                return Err(format!("priv: `{list}` is no list of privileges"));
            }
            Ok((place.replace('`', ""), set))
        })
        .collect()
}

/// `ALL` and `ALL PRIVILEGES` are the same; `USAGE` is none. A privilege may have columns in parentheses.
fn split(list: &str) -> BTreeSet<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in list.chars().filter(|c| *c != '`') {
        depth += i32::from(c == '(') - i32::from(c == ')');
        match parts.last_mut() {
            Some(last) if c != ',' || depth > 0 => last.push(c),
            _ => parts.push(String::new()),
        }
    }
    let normal = |part: &String| {
        let part = part.trim().to_ascii_uppercase();
        match part.trim_end_matches(')').split_once('(') {
            Some((privilege, columns)) => {
                let mut columns: Vec<&str> = columns.split(',').map(str::trim).collect();
                columns.sort_unstable();
                format!("{} ({})", privilege.trim(), columns.join(", "))
            }
            None if part == "ALL PRIVILEGES" => "ALL".into(),
            None => part,
        }
    };
    parts
        .iter()
        .map(normal)
        .filter(|privilege| !privilege.is_empty() && privilege != "USAGE")
        .collect()
}

/// What becomes of privileges that are there and not asked for, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Set,
    Append,
    Subtract,
}

/// The statements that lead from `now` to `wanted`.
fn difference(now: &Privileges, wanted: &Privileges, account: &str, mode: Mode) -> Vec<Step> {
    let none = BTreeSet::new();
    let mut out = Vec::new();
    let list = |set: &BTreeSet<String>| {
        set.iter()
            .filter(|privilege| *privilege != "GRANT")
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut revoke = |place: &str, gone: &BTreeSet<String>| {
        if gone.contains("GRANT") {
            out.push(format!(
                "REVOKE GRANT OPTION ON {} FROM {account}",
                quoted(place)
            ));
        }
        let gone = list(gone);
        if !gone.is_empty() {
            out.push(format!("REVOKE {gone} ON {} FROM {account}", quoted(place)));
        }
    };
    for (place, have) in now {
        let named = wanted.get(place).unwrap_or(&none);
        match mode {
            Mode::Set => revoke(place, &have.difference(named).cloned().collect()),
            Mode::Append => {}
            // What is a part of ALL can be taken from it, ALL takes every part.
            Mode::Subtract if have.contains("ALL") => revoke(place, named),
            Mode::Subtract if named.contains("ALL") => revoke(place, have),
            Mode::Subtract => revoke(place, &have.intersection(named).cloned().collect()),
        }
    }
    for (place, want) in wanted.iter().filter(|_| mode != Mode::Subtract) {
        let have = now.get(place).unwrap_or(&none);
        // Taking some away takes ALL away too: then all that is wanted is given again.
        let missing: BTreeSet<String> =
            if have.contains("ALL") && !want.contains("ALL") && mode == Mode::Set {
                want.clone()
            } else {
                want.difference(have).cloned().collect()
            };
        let covered = have.contains("ALL") && mode == Mode::Append && !missing.contains("GRANT");
        if !missing.is_empty() && !covered {
            let privileges = Some(list(&missing))
                .filter(|privileges| !privileges.is_empty())
                .unwrap_or_else(|| "USAGE".into());
            let option = if missing.contains("GRANT") {
                " WITH GRANT OPTION"
            } else {
                ""
            };
            out.push(format!(
                "GRANT {privileges} ON {} TO {account}{option}",
                quoted(place)
            ));
        }
    }
    out.into_iter().map(Step::open).collect()
}

fn quoted(place: &str) -> String {
    let (database, table) = place.split_once('.').unwrap_or((place, "*"));
    let part = |part: &str| {
        if part == "*" {
            part.to_owned()
        } else {
            name(part)
        }
    };
    format!("{}.{}", part(database), part(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_of_the_server_and_of_the_user_are_compared() {
        let account = "'nova'@'%'";
        let now: Privileges = [
            "GRANT USAGE ON *.* TO `nova`@`%` IDENTIFIED BY PASSWORD '*AA'",
            "GRANT SELECT, INSERT ON `nova`.* TO `nova`@`%`",
            "GRANT ALL PRIVILEGES ON `old`.* TO `nova`@`%` WITH GRANT OPTION",
        ]
        .iter()
        .filter_map(|line| grant(line))
        .collect();
        let wanted = parse("nova.*:ALL/cell.*:SELECT,GRANT").unwrap();
        let lines = |now: &Privileges, wanted: &Privileges, mode| -> String {
            let steps = difference(now, wanted, account, mode);
            steps
                .iter()
                .map(|step| format!("{};\n", step.sql))
                .collect()
        };
        insta::assert_snapshot!(lines(&now, &wanted, Mode::Set));
        assert_eq!(lines(&wanted, &wanted, Mode::Set), "");
        assert!(!lines(&now, &wanted, Mode::Append).contains("REVOKE"));
        let some = parse("nova.*:SELECT,UPDATE/old.*:DROP").unwrap();
        insta::assert_snapshot!("subtracted", lines(&now, &some, Mode::Subtract));
        assert!(parse("nova").is_err() && parse("nova.*:DROP; x").is_err());
        assert_eq!(
            split("SELECT (`b`, `a`), INSERT"),
            split("insert,select(a,b)")
        );
    }
}
