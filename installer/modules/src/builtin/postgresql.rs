//! What the modules for PostgreSQL share: the login, statements through `psql`, quoting.
//!
//! Statements go by standard input and all of the login by the environment: a program's arguments can be
//! read by every user of the node. Questions are answered in JSON, which the server makes itself.
use serde_json::Value;

use super::mysql::given;
use crate::args::Args;
use crate::context::{Context, Fault};
use crate::process::Start;
use crate::spec::{Arg, Kind};

/// The arguments of every module here.
pub const LOGIN: &[Arg] = &[
    Arg::new("login_user", Kind::Text, "who asks")
        .aliases(&["login"])
        .default("postgres"),
    Arg::new("login_password", Kind::Text, "that user's password"),
    Arg::new(
        "login_host",
        Kind::Text,
        "the server's address, when not by socket",
    )
    .aliases(&["host"]),
    Arg::new(
        "login_unix_socket",
        Kind::Path,
        "folder of the server's socket",
    )
    .aliases(&["unix_socket"]),
    Arg::new("port", Kind::Int, "its port")
        .aliases(&["login_port"])
        .default("5432"),
    Arg::new("ssl_mode", Kind::Text, "how much TLS is wanted")
        .choices(&[
            "allow",
            "disable",
            "prefer",
            "require",
            "verify-ca",
            "verify-full",
        ])
        .default("prefer"),
    Arg::new("ca_cert", Kind::Path, "who vouches for the server").aliases(&["ssl_rootcert"]),
    Arg::new("ssl_cert", Kind::Path, "our certificate"),
    Arg::new("ssl_key", Kind::Path, "its key"),
    Arg::new(
        "connect_params",
        Kind::Map,
        "more parameters of the connection, by libpq's names",
    ),
    Arg::new("session_role", Kind::Text, "role to act as"),
    Arg::new(
        "trust_input",
        Kind::Flag,
        "accepted for compatibility: every value is quoted",
    )
    .default("true"),
];

/// Parameters of a connection with the variables that libpq reads them from.
const PARAMETERS: &[(&str, &str)] = &[
    ("application_name", "PGAPPNAME"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("gssencmode", "PGGSSENCMODE"),
    ("hostaddr", "PGHOSTADDR"),
    ("options", "PGOPTIONS"),
    ("passfile", "PGPASSFILE"),
    ("service", "PGSERVICE"),
    ("sslcert", "PGSSLCERT"),
    ("sslcrl", "PGSSLCRL"),
    ("sslkey", "PGSSLKEY"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
];

/// Runs statements on `database`, each of them closed by a semicolon; gives the JSON values that they answer.
pub fn query(
    context: &mut Context<'_>,
    args: &Args,
    database: &str,
    sql: &str,
) -> Result<Vec<Value>, Fault> {
    let mut text = String::new();
    if let Some(role) = given(args, "session_role") {
        text.push_str(&format!("SET ROLE {};\n", name(role)));
    }
    text.push_str(sql);
    // No start-up file, nothing but answers, the first error ends it, and no error shows its statement.
    let argv = vec![
        "psql",
        "--no-psqlrc",
        "--no-password",
        "--quiet",
        "--no-align",
        "--tuples-only",
        "--set=ON_ERROR_STOP=1",
        "--set=VERBOSITY=terse",
        "--set=SHOW_CONTEXT=never",
        "--file=-",
    ];
    let output = run(context, args, database, argv, Some(text.into_bytes()))?;
    serde_json::Deserializer::from_str(&output)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| Fault::new(format!("psql did not answer in JSON: {error}")))
}

/// Runs one of PostgreSQL's programs with the login in its environment.
pub fn run(
    context: &mut Context<'_>,
    args: &Args,
    database: &str,
    argv: Vec<&str>,
    stdin: Option<Vec<u8>>,
) -> Result<String, Fault> {
    let environment = context.environment.clone();
    let login = login(args, database).map_err(Fault::new)?;
    context.environment.extend(login);
    let program = argv.first().copied().unwrap_or_default().to_owned();
    let output = context.start(Start {
        argv,
        stdin,
        ..Start::default()
    });
    context.environment = environment;
    let output = output?;
    if output.rc == 0 {
        return Ok(output.stdout);
    }
    let said = output.stderr.trim();
    let said = said.strip_prefix("psql: ").unwrap_or(said);
    let hint = if said.contains("Peer authentication failed") {
        format!(
            "; run the task with `become_user: {}`, or give login_host and login_password",
            args.need("login_user")
        )
    } else {
        String::new()
    };
    Err(Fault::new(format!("{program}: {said}{hint}")))
}

fn login(args: &Args, database: &str) -> Result<Vec<(String, String)>, String> {
    let mut out = vec![
        ("PGDATABASE".to_owned(), database.to_owned()),
        ("PGUSER".to_owned(), args.need("login_user").to_owned()),
        (
            "PGPORT".to_owned(),
            args.int("port").unwrap_or(5432).to_string(),
        ),
        ("PGSSLMODE".to_owned(), args.need("ssl_mode").to_owned()),
    ];
    for (variable, value) in [
        (
            "PGHOST",
            given(args, "login_unix_socket").or(given(args, "login_host")),
        ),
        ("PGPASSWORD", given(args, "login_password")),
        ("PGSSLROOTCERT", given(args, "ca_cert")),
        ("PGSSLCERT", given(args, "ssl_cert")),
        ("PGSSLKEY", given(args, "ssl_key")),
    ] {
        out.extend(value.map(|value| (variable.to_owned(), value.to_owned())));
    }
    for (parameter, value) in args.map("connect_params").into_iter().flatten() {
        let Some((_, variable)) = PARAMETERS.iter().find(|(known, _)| known == parameter) else {
            let known: Vec<&str> = PARAMETERS.iter().map(|(known, _)| *known).collect();
            return Err(format!(
                "connect_params has no `{parameter}`: it has {}",
                known.join(", ")
            ));
        };
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        out.push(((*variable).to_owned(), value));
    }
    Ok(out)
}

/// Rows of `question` as a list of objects, as one statement.
pub fn rows(question: &str) -> String {
    format!("SELECT coalesce(json_agg(t), '[]') FROM ({question}) t;\n")
}

/// The first object of the answer at `index`, if there is one.
pub fn first(answers: &[Value], index: usize) -> Option<&Value> {
    answers.get(index)?.as_array()?.first()
}

/// Whether the server failed because something is not there that an earlier task may be about to make.
pub fn lacks_something(fault: &Fault) -> bool {
    let text = fault.to_string();
    text.contains(" does not exist") && !text.contains("column")
}

/// A text literal, whatever `standard_conforming_strings` says. The server knows no zero bytes in texts.
pub fn text(value: &str) -> String {
    let value = value.replace('\0', "");
    if value.contains('\\') {
        format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", value.replace('\'', "''"))
    }
}

/// A quoted name.
pub fn name(value: &str) -> String {
    format!("\"{}\"", value.replace('\0', "").replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_and_names_stay_within_their_quotes(value in "[a'\\\\\";$\\x00 -]{0,12}") {
            let quoted = text(&value);
            let escapes = quoted.starts_with('E');
            let inside = quoted.trim_start_matches('E').strip_prefix('\'').unwrap().strip_suffix('\'').unwrap();
            let rest = inside.replace("\\\\", "").replace("''", "");
            prop_assert!(!rest.contains(['\'', '\\']) && escapes == inside.contains('\\'));
            let quoted = name(&value);
            prop_assert!(!quoted[1..quoted.len() - 1].replace("\"\"", "").contains('"'));
        }
    }
}
