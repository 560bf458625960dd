//! `postgresql_privs`: what roles of PostgreSQL may do, and which groups they are in.
//!
//! The server itself says whether anything changed: its lists are read before and after in one transaction,
//! which check mode rolls back.
use agent_protocol::task::TaskResult;
use serde_json::Value;

use super::mysql::given;
use super::postgresql::{LOGIN, lacks_something, name, query, rows, text};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const POSTGRESQL_PRIVS: Module = Module::new(
    "postgresql_privs",
    "Grant or revoke privileges and membership",
    Effect::Converges,
    ARGS,
    run,
)
.shares(LOGIN)
.refuses(&[("password", "it is called login_password")]);

const ARGS: &[Arg] = &[
    Arg::new("database", Kind::Text, "database to connect to")
        .aliases(&["db", "login_db"])
        .required(),
    Arg::new("state", Kind::Text, "granted or revoked")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("privs", Kind::List, "the privileges").aliases(&["priv"]),
    Arg::new("type", Kind::Text, "what kind of thing they are for")
        .choices(&[
            "database",
            "default_privs",
            "foreign_data_wrapper",
            "foreign_server",
            "function",
            "group",
            "language",
            "procedure",
            "schema",
            "sequence",
            "table",
            "tablespace",
            "type",
        ])
        .default("table"),
    Arg::new(
        "objs",
        Kind::Text,
        "the things, parted by commas, or ALL_IN_SCHEMA",
    )
    .aliases(&["obj"]),
    Arg::new("schema", Kind::Text, "where the things are"),
    Arg::new("roles", Kind::List, "who; PUBLIC is everybody")
        .aliases(&["role"])
        .required(),
    Arg::new(
        "fail_on_role",
        Kind::Flag,
        "a role that is not there is a failure",
    )
    .default("true"),
    Arg::new(
        "target_roles",
        Kind::List,
        "whose new things the default privileges are for",
    ),
    Arg::new("grant_option", Kind::Flag, "whether they may pass it on").aliases(&["admin_option"]),
];

/// One kind of thing: its word in GRANT, and the catalogue that keeps its list.
struct Place {
    word: &'static str,
    /// Word behind ALL for all of a schema.
    all: Option<&'static str>,
    catalogue: &'static str,
    /// Columns: name, list, owner.
    columns: [&'static str; 3],
    /// Letter for `acldefault`.
    letter: char,
    /// Column of the schema, and which rows are meant.
    within: Option<(&'static str, &'static str)>,
}

const RELATION: [&str; 3] = ["relname", "relacl", "relowner"];
const ROUTINE: [&str; 3] = ["proname", "proacl", "proowner"];

fn place(kind: &str) -> Option<Place> {
    let place = |word, all, catalogue, columns, letter, within| Place {
        word,
        all,
        catalogue,
        columns,
        letter,
        within,
    };
    Some(match kind {
        "table" => place(
            "TABLE",
            Some("TABLES"),
            "pg_class",
            RELATION,
            'r',
            Some(("relnamespace", "o.relkind IN ('r', 'v', 'm', 'f', 'p')")),
        ),
        "sequence" => place(
            "SEQUENCE",
            Some("SEQUENCES"),
            "pg_class",
            RELATION,
            's',
            Some(("relnamespace", "o.relkind = 'S'")),
        ),
        "function" => place(
            "FUNCTION",
            Some("FUNCTIONS"),
            "pg_proc",
            ROUTINE,
            'f',
            Some(("pronamespace", "o.prokind <> 'p'")),
        ),
        "procedure" => place(
            "PROCEDURE",
            Some("PROCEDURES"),
            "pg_proc",
            ROUTINE,
            'f',
            Some(("pronamespace", "o.prokind = 'p'")),
        ),
        "type" => place(
            "TYPE",
            None,
            "pg_type",
            ["typname", "typacl", "typowner"],
            'T',
            Some(("typnamespace", "true")),
        ),
        "database" => place(
            "DATABASE",
            None,
            "pg_database",
            ["datname", "datacl", "datdba"],
            'd',
            None,
        ),
        "schema" => place(
            "SCHEMA",
            None,
            "pg_namespace",
            ["nspname", "nspacl", "nspowner"],
            'n',
            None,
        ),
        "language" => place(
            "LANGUAGE",
            None,
            "pg_language",
            ["lanname", "lanacl", "lanowner"],
            'l',
            None,
        ),
        "tablespace" => place(
            "TABLESPACE",
            None,
            "pg_tablespace",
            ["spcname", "spcacl", "spcowner"],
            't',
            None,
        ),
        "foreign_data_wrapper" => place(
            "FOREIGN DATA WRAPPER",
            None,
            "pg_foreign_data_wrapper",
            ["fdwname", "fdwacl", "fdwowner"],
            'F',
            None,
        ),
        "foreign_server" => place(
            "FOREIGN SERVER",
            None,
            "pg_foreign_server",
            ["srvname", "srvacl", "srvowner"],
            'S',
            None,
        ),
        _ => return None,
    })
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let plan = plan(args).map_err(Fault::new)?;
    let statements: String = plan
        .statements
        .iter()
        .map(|sql| format!("{sql};\n"))
        .collect();
    let sql = format!(
        "BEGIN;\n{question}{statements}{question}{};\n",
        if context.check { "ROLLBACK" } else { "COMMIT" },
        question = rows(&plan.question),
    );
    let header = format!("privileges in {}", args.need("database"));
    let result = |done: bool| changed(done).with("queries", plan.statements.clone());
    let answers = match query(context, args, args.need("database"), &sql) {
        Ok(answers) => answers,
        // An earlier task may be about to make the thing or the role.
        Err(fault) if context.check && lacks_something(&fault) => {
            return Ok(TaskResult {
                msg: format!("not there yet: {fault}"),
                diff: context.diff_of(&header, "", &statements),
                ..result(true)
            });
        }
        Err(fault) if !args.flag("fail_on_role") && is_about_a_role(&fault) => {
            return Ok(TaskResult {
                msg: format!("left as it is: {fault}"),
                ..result(false)
            });
        }
        Err(fault) => return Err(fault),
    };
    let [before, after] = [0, 1].map(|index| answers.get(index).map(shown).unwrap_or_default());
    Ok(TaskResult {
        diff: context.diff_of(&header, &before, &after),
        ..result(before != after)
    })
}

fn is_about_a_role(fault: &Fault) -> bool {
    let text = fault.to_string();
    text.contains("role \"") && text.contains(" does not exist")
}

/// The list of each thing, a line each.
fn shown(answer: &Value) -> String {
    let mut lines: Vec<String> = answer
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let thing = row["thing"].as_str().unwrap_or_default();
            let entry = row["entry"].as_str().unwrap_or_default();
            format!("{thing}: {entry}\n")
        })
        .collect();
    lines.sort();
    lines.concat()
}

struct Plan {
    statements: Vec<String>,
    /// Rows of `thing` and `entry`.
    question: String,
}

fn plan(args: &Args) -> Result<Plan, String> {
    let kind = args.need("type");
    let present = args.need("state") == "present";
    let privileges = privileges(args)?;
    let roles = roles(&args.list("roles").unwrap_or_default());
    let objects = given(args, "objs");
    if args.list("target_roles").is_some() && kind != "default_privs" {
        return Err("target_roles is for type=default_privs alone".into());
    }
    let places = [
        "table",
        "sequence",
        "function",
        "procedure",
        "type",
        "default_privs",
    ];
    if given(args, "schema").is_some() && !places.contains(&kind) {
        return Err(format!("schema is for types {} alone", places.join(", ")));
    }
    match kind {
        "group" => {
            if privileges.is_some() {
                return Err("type=group takes no privs: the groups are objs".into());
            }
            Ok(groups(
                args,
                present,
                objects.ok_or("type=group needs objs: the groups")?,
                &roles,
            ))
        }
        _ => {
            let privileges = privileges.ok_or_else(|| format!("type={kind} needs privs"))?;
            if kind == "default_privs" {
                return defaults(
                    args,
                    present,
                    objects.unwrap_or("ALL_DEFAULT"),
                    &privileges,
                    &roles,
                );
            }
            let objects = match (kind, objects) {
                (_, Some(objects)) => objects,
                ("database", None) => args.need("database"),
                _ => return Err(format!("type={kind} needs objs")),
            };
            let place = place(kind).ok_or_else(|| format!("type={kind} is not known"))?;
            things(args, present, &place, objects, &privileges, &roles)
        }
    }
}

/// Words such as `SELECT` or `UPDATE (a, b)`, checked and joined.
fn privileges(args: &Args) -> Result<Option<String>, String> {
    let Some(list) = args.list("privs") else {
        return Ok(None);
    };
    let list = list.join(", ").to_ascii_uppercase();
    let is_word = |c: char| c.is_ascii_uppercase() || " ,_".contains(c);
    if list.is_empty() || !list.chars().all(is_word) {
        return Err(format!(
            "privs: `{list}` is no list of privileges; privileges on single columns are granted with the module command"
        ));
    }
    Ok(Some(list))
}

fn roles(list: &[&str]) -> String {
    let quoted: Vec<String> = list
        .iter()
        .map(|role| match role.to_ascii_uppercase().as_str() {
            word @ ("PUBLIC" | "CURRENT_ROLE" | "CURRENT_USER" | "SESSION_USER") => word.to_owned(),
            _ => name(role),
        })
        .collect();
    quoted.join(", ")
}

/// GRANT and REVOKE of `what`, with the option to pass it on.
fn statements(
    args: &Args,
    present: bool,
    start: &str,
    what: &str,
    on: &str,
    roles: &str,
) -> Vec<String> {
    // Of a membership the option is called otherwise.
    let option = if on.is_empty() { "ADMIN" } else { "GRANT" };
    let pass = args.given_flag("grant_option");
    if !present {
        return vec![format!("{start}REVOKE {what}{on} FROM {roles}")];
    }
    let with = if pass == Some(true) {
        format!(" WITH {option} OPTION")
    } else {
        String::new()
    };
    let mut out = vec![format!("{start}GRANT {what}{on} TO {roles}{with}")];
    if pass == Some(false) {
        out.push(format!(
            "{start}REVOKE {option} OPTION FOR {what}{on} FROM {roles}"
        ));
    }
    out
}

fn groups(args: &Args, present: bool, objects: &str, roles: &str) -> Plan {
    let names: Vec<&str> = objects.split(',').map(str::trim).collect();
    let quoted: Vec<String> = names.iter().map(|group| name(group)).collect();
    let texts: Vec<String> = names.iter().map(|group| text(group)).collect();
    Plan {
        statements: statements(args, present, "", &quoted.join(", "), "", roles),
        question: format!(
            "SELECT g.rolname AS thing, m.rolname || CASE WHEN a.admin_option THEN ' with admin option' ELSE '' END AS entry \
             FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member \
             WHERE g.rolname IN ({})",
            texts.join(", ")
        ),
    }
}

fn things(
    args: &Args,
    present: bool,
    place: &Place,
    objects: &str,
    privileges: &str,
    roles: &str,
) -> Result<Plan, String> {
    let schema = given(args, "schema").unwrap_or("public");
    let [column, list, owner] = place.columns;
    let mut wheres = Vec::new();
    if let Some((schema_column, rows)) = place.within {
        wheres.push(rows.to_owned());
        wheres.push(format!(
            "o.{schema_column} = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = {})",
            text(schema)
        ));
    }
    let on = if objects == "ALL_IN_SCHEMA" {
        let all = place
            .all
            .ok_or_else(|| format!("ALL_IN_SCHEMA is not for type={}", args.need("type")))?;
        format!(" ON ALL {all} IN SCHEMA {}", name(schema))
    } else {
        let is_routine = place.catalogue == "pg_proc";
        let objects = if is_routine {
            routines(objects)?
        } else {
            objects
                .split(',')
                .map(|object| (object.trim().to_owned(), String::new()))
                .collect()
        };
        let texts: Vec<String> = objects.iter().map(|(object, _)| text(object)).collect();
        wheres.push(format!("o.{column} IN ({})", texts.join(", ")));
        let quoted: Vec<String> = objects
            .iter()
            .map(|(object, arguments)| {
                let quoted = name(object);
                if place.within.is_some() {
                    format!("{}.{quoted}{arguments}", name(schema))
                } else {
                    quoted
                }
            })
            .collect();
        format!(" ON {} {}", place.word, quoted.join(", "))
    };
    let wheres = if wheres.is_empty() {
        "true".to_owned()
    } else {
        wheres.join(" AND ")
    };
    Ok(Plan {
        statements: statements(args, present, "", privileges, &on, roles),
        question: format!(
            "SELECT o.{column} AS thing, e.entry::text AS entry FROM {} o, unnest(coalesce(o.{list}, acldefault('{}', o.{owner}))) AS e(entry) WHERE {wheres}",
            place.catalogue, place.letter
        ),
    })
}

/// Functions are written `name(type:type)`, as commas part them; gives names and arguments.
fn routines(objects: &str) -> Result<Vec<(String, String)>, String> {
    objects
        .split(',')
        .map(|object| {
            let object = object.trim();
            let (routine, arguments) = object
                .strip_suffix(')')
                .and_then(|o| o.split_once('('))
                .ok_or_else(|| format!("objs: `{object}` is not name(type:type)"))?;
            let is_type = |c: char| c.is_ascii_alphanumeric() || " _.[]:\"".contains(c);
            if !arguments.chars().all(is_type) {
                return Err(format!("objs: `{arguments}` are no types of arguments"));
            }
            Ok((
                routine.to_owned(),
                format!("({})", arguments.replace(':', ", ")),
            ))
        })
        .collect()
}

fn defaults(
    args: &Args,
    present: bool,
    objects: &str,
    privileges: &str,
    list: &str,
) -> Result<Plan, String> {
    let kinds: Vec<String> = if objects == "ALL_DEFAULT" {
        // Which privileges there are differs from kind to kind: only ALL is for all of them.
        if privileges != "ALL" && privileges != "ALL PRIVILEGES" {
            return Err("objs=ALL_DEFAULT takes privs=ALL alone: name TABLES, SEQUENCES, FUNCTIONS or TYPES".into());
        }
        ["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES"]
            .map(str::to_owned)
            .to_vec()
    } else {
        objects
            .split(',')
            .map(|kind| kind.trim().to_ascii_uppercase())
            .collect()
    };
    if let Some(kind) = kinds.iter().find(|kind| {
        !["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS"].contains(&kind.as_str())
    }) {
        return Err(format!(
            "objs: `{kind}` is none of TABLES, SEQUENCES, FUNCTIONS, TYPES, SCHEMAS, ALL_DEFAULT"
        ));
    }
    let mut start = "ALTER DEFAULT PRIVILEGES ".to_owned();
    if let Some(targets) = args.list("target_roles") {
        start.push_str(&format!("FOR ROLE {} ", roles(&targets)));
    }
    if let Some(schema) = given(args, "schema") {
        start.push_str(&format!("IN SCHEMA {} ", name(schema)));
    }
    Ok(Plan {
        statements: kinds
            .iter()
            .flat_map(|kind| statements(args, present, &start, privileges, &format!(" ON {kind}"), list))
            .collect(),
        question: "SELECT pg_get_userbyid(d.defaclrole) || ' ' || coalesce(n.nspname, '') || ' ' || d.defaclobjtype::text AS thing, \
                   e.entry::text AS entry FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace, \
                   unnest(d.defaclacl) AS e(entry)"
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(args: Value) -> String {
        let args = POSTGRESQL_PRIVS.check(args.as_object().unwrap()).unwrap();
        match plan(&args) {
            Ok(plan) => format!("{};\n  {}\n", plan.statements.join(";\n"), plan.question),
            Err(error) => format!("{error}\n"),
        }
    }

    #[test]
    fn statements_of_every_kind() {
        let cases = [
            json!({"db": "a", "privs": "SELECT,insert", "objs": "t1, t\"2", "roles": "nova,PUBLIC", "schema": "s"}),
            json!({"db": "a", "privs": "ALL", "objs": "ALL_IN_SCHEMA", "role": "nova", "grant_option": false}),
            json!({"db": "a", "privs": "CONNECT", "type": "database", "role": "nova", "grant_option": true}),
            json!({"db": "a", "privs": "EXECUTE", "type": "function", "objs": "f(int:text),g()", "role": "nova", "state": "absent"}),
            json!({"db": "a", "type": "group", "objs": "staff", "role": "nova", "admin_option": true}),
            json!({"db": "a", "type": "default_privs", "privs": "SELECT", "objs": "tables", "role": "nova", "target_roles": "x", "schema": "s"}),
            json!({"db": "a", "type": "default_privs", "privs": "SELECT", "role": "nova"}),
            json!({"db": "a", "privs": "SELECT; DROP", "objs": "t", "role": "nova"}),
            json!({"db": "a", "privs": "ALL", "type": "schema", "role": "nova"}),
            json!({"db": "a", "privs": "ALL", "type": "schema", "objs": "ALL_IN_SCHEMA", "role": "nova"}),
            json!({"db": "a", "privs": "ALL", "type": "function", "objs": "f", "role": "nova"}),
        ];
        insta::assert_snapshot!(cases.into_iter().map(told).collect::<String>());
    }
}
