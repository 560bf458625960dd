//! `mysql_user`: an account of MariaDB with its password and privileges.
use std::collections::{BTreeMap, BTreeSet};

use agent_protocol::task::TaskResult;

use super::mysql::{
    LOGIN_HOST, LOGIN_PASSWORD, LOGIN_PORT, LOGIN_SOCKET, LOGIN_USER, name, query, text,
};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const MYSQL_USER: Module = Module::new(
    "mysql_user",
    "Make or drop an account of the database",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "the account")
        .aliases(&["user"])
        .required(),
    Arg::new("host", Kind::Text, "where it may come from").default("localhost"),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("password", Kind::Text, "its password"),
    Arg::new(
        "update_password",
        Kind::Text,
        "whether a present account gets it too",
    )
    .choices(&["always", "on_create"])
    .default("always"),
    Arg::new("priv", Kind::Text, "db.table:PRIV,PRIV/db.table:PRIV"),
    Arg::new("append_privs", Kind::Flag, "keep other privileges").default("false"),
    Arg::new(
        "check_implicit_admin",
        Kind::Flag,
        "accepted for compatibility",
    )
    .default("false"),
    Arg::new(
        "column_case_sensitive",
        Kind::Flag,
        "accepted for compatibility",
    )
    .default("true"),
    LOGIN_SOCKET,
    LOGIN_HOST,
    LOGIN_PORT,
    LOGIN_USER,
    LOGIN_PASSWORD,
];

/// Privileges by `db.table`.
type Privileges = BTreeMap<String, BTreeSet<String>>;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let account = format!("{}@{}", text(args.need("name")), text(args.need("host")));
    let wanted = args
        .text("priv")
        .map(parse)
        .transpose()
        .map_err(Fault::new)?;
    let where_it_is = format!(
        "User = {} AND Host = {}",
        text(args.need("name")),
        text(args.need("host"))
    );
    let matches = args.text("password").map_or("1".to_owned(), |password| {
        format!("authentication_string = PASSWORD({})", text(password))
    });
    let found = query(
        context,
        args,
        &format!("SELECT {matches} FROM mysql.user WHERE {where_it_is};\n"),
    )?;
    let exists = !found.is_empty();
    let mut statements = String::new();
    if args.need("state") == "absent" {
        if exists {
            statements = format!("DROP USER {account};\n");
        }
    } else {
        let right_password = found
            .first()
            .and_then(|row| row.first())
            .is_some_and(|value| value == "1");
        let by = args
            .text("password")
            .map(|password| format!(" IDENTIFIED BY {}", text(password)));
        if !exists {
            statements.push_str(&format!(
                "CREATE USER {account}{};\n",
                by.unwrap_or_default()
            ));
        } else if let Some(by) = by
            && !right_password
            && args.need("update_password") == "always"
        {
            statements.push_str(&format!("ALTER USER {account}{by};\n"));
        }
        if let Some(wanted) = wanted {
            let now = if exists {
                grants(context, args, &account)?
            } else {
                Privileges::new()
            };
            statements.push_str(&difference(
                &now,
                &wanted,
                &account,
                args.flag("append_privs"),
            ));
        }
    }
    let result = changed(!statements.is_empty()).with("user", args.need("name"));
    if !statements.is_empty() && !context.check {
        query(context, args, &statements)?;
    }
    Ok(result)
}

/// What the server says that the account may do.
fn grants(context: &mut Context<'_>, args: &Args, account: &str) -> Result<Privileges, Fault> {
    let rows = query(context, args, &format!("SHOW GRANTS FOR {account};\n"))?;
    Ok(rows.iter().filter_map(|row| grant(row.first()?)).collect())
}

/// One line of `SHOW GRANTS`: GRANT privileges ON place TO account [WITH GRANT OPTION].
fn grant(line: &str) -> Option<(String, BTreeSet<String>)> {
    let (privileges, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
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
                    .all(|c| c.is_ascii_uppercase() || " (),_".contains(c))
            };
            if set.is_empty() || !set.iter().all(known) {
                return Err(format!("priv: `{list}` is no list of privileges"));
            }
            Ok((place.replace('`', ""), set))
        })
        .collect()
}

/// `ALL` and `ALL PRIVILEGES` are the same; `USAGE` is none.
fn split(list: &str) -> BTreeSet<String> {
    list.split(',')
        .map(|privilege| privilege.trim().to_ascii_uppercase())
        .filter(|privilege| !privilege.is_empty() && privilege != "USAGE")
        .map(|privilege| {
            if privilege == "ALL PRIVILEGES" {
                "ALL".to_owned()
            } else {
                privilege
            }
        })
        .collect()
}

/// The statements that lead from `now` to `wanted`.
fn difference(now: &Privileges, wanted: &Privileges, account: &str, append: bool) -> String {
    let none = BTreeSet::new();
    let mut out = String::new();
    let list = |set: &BTreeSet<String>| {
        set.iter()
            .filter(|privilege| *privilege != "GRANT")
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !append {
        for (place, have) in now {
            let keep = wanted.get(place).unwrap_or(&none);
            let gone: BTreeSet<String> = have.difference(keep).cloned().collect();
            if gone.contains("GRANT") {
                out.push_str(&format!(
                    "REVOKE GRANT OPTION ON {} FROM {account};\n",
                    quoted(place)
                ));
            }
            let gone = list(&gone);
            if !gone.is_empty() {
                out.push_str(&format!(
                    "REVOKE {gone} ON {} FROM {account};\n",
                    quoted(place)
                ));
            }
        }
    }
    for (place, want) in wanted {
        let have = now.get(place).unwrap_or(&none);
        // Taking some away takes ALL away too: then all that is wanted is given again.
        let missing = if have.contains("ALL") && !want.contains("ALL") && !append {
            want.clone()
        } else {
            want.difference(have).cloned().collect()
        };
        let covered = have.contains("ALL") && append && !missing.contains("GRANT");
        if !missing.is_empty() && !covered {
            let privileges = Some(list(&missing))
                .filter(|privileges| !privileges.is_empty())
                .unwrap_or_else(|| "USAGE".into());
            let option = if missing.contains("GRANT") {
                " WITH GRANT OPTION"
            } else {
                ""
            };
            out.push_str(&format!(
                "GRANT {privileges} ON {} TO {account}{option};\n",
                quoted(place)
            ));
        }
    }
    out
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
        insta::assert_snapshot!(difference(&now, &wanted, account, false));
        assert_eq!(difference(&wanted, &wanted, account, false), "");
        assert!(!difference(&now, &wanted, account, true).contains("REVOKE"));
        assert!(parse("nova").is_err() && parse("nova.*:DROP; x").is_err());
    }
}
