//! What the modules for MariaDB share: the login, statements through the `mariadb` client, quoting.
//!
//! Statements go by standard input and the login password by the environment: a program's arguments can be
//! read by every user of the node.
use crate::args::Args;
use crate::context::{Context, Fault};
use crate::process::Start;
use crate::spec::{Arg, Kind};

/// The arguments of every module here.
pub const LOGIN: &[Arg] = &[
    Arg::new("login_unix_socket", Kind::Path, "the server's socket"),
    Arg::new(
        "login_host",
        Kind::Text,
        "the server's address; localhost means its socket",
    ),
    Arg::new("login_port", Kind::Int, "its port").default("3306"),
    Arg::new("login_user", Kind::Text, "who asks"),
    Arg::new("login_password", Kind::Text, "that user's password"),
    Arg::new(
        "config_file",
        Kind::Path,
        "option file that is read beside the usual ones",
    ),
    Arg::new(
        "connect_timeout",
        Kind::Int,
        "seconds to wait for the server",
    )
    .default("30"),
    Arg::new("ca_cert", Kind::Path, "who vouches for the server").aliases(&["ssl_ca"]),
    Arg::new("client_cert", Kind::Path, "our certificate").aliases(&["ssl_cert"]),
    Arg::new("client_key", Kind::Path, "its key").aliases(&["ssl_key"]),
    Arg::new(
        "check_hostname",
        Kind::Flag,
        "whether the server's certificate must bear its name",
    ),
];

/// Runs statements and gives the rows, fields parted by tabs.
pub fn query(context: &mut Context<'_>, args: &Args, sql: &str) -> Result<Vec<Vec<String>>, Fault> {
    // Raw: a backslash in a value comes as it is.
    let options = ["--batch", "--raw", "--skip-column-names"];
    let output = client(context, args, "mariadb", &options, sql)?;
    Ok(output
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect())
}

/// Runs `program`, which takes the client's options, with `sql` as its standard input.
pub fn client(
    context: &mut Context<'_>,
    args: &Args,
    program: &str,
    options: &[&str],
    sql: &str,
) -> Result<String, Fault> {
    let login = login(context, args);
    // Binary mode: no text, whoever wrote it, is taken for a command of the client such as `\! program`.
    let binary = if program == "mariadb" {
        "--binary-mode"
    } else {
        "--comments"
    };
    let argv = [program]
        .into_iter()
        .chain(login.iter().map(String::as_str))
        .chain(["--default-character-set=utf8mb4", binary])
        .chain(options.iter().copied())
        .collect();
    let environment = context.environment.clone();
    if let Some(password) = args.text("login_password") {
        context
            .environment
            .push(("MYSQL_PWD".into(), password.into()));
    }
    let output = context.start(Start {
        argv,
        stdin: Some(sql.as_bytes().to_vec()),
        ..Start::default()
    });
    context.environment = environment;
    let output = output?;
    if output.rc != 0 {
        // The server quotes the part of a statement that it does not understand: no data is added.
        return Err(Fault::new(format!(
            "the database refused: {}",
            output.stderr.trim()
        )));
    }
    Ok(output.stdout)
}

/// The client's options that say where the server is and who asks; they hold whatever my.cnf says.
fn login(context: &Context<'_>, args: &Args) -> Vec<String> {
    let mut out = Vec::new();
    // An option file has to be the first option.
    if let Some(file) = args.text("config_file") {
        let file = context.path(file);
        if file.exists() {
            out.push(format!("--defaults-extra-file={}", file.display()));
        }
    }
    let port = args.int("login_port").unwrap_or(3306);
    if let Some(socket) = given(args, "login_unix_socket") {
        out.push(format!("--socket={socket}"));
    } else if let Some(host) = given(args, "login_host")
        && (host != "localhost" || port != 3306)
    {
        out.extend([
            "--protocol=tcp".to_owned(),
            format!("--host={host}"),
            format!("--port={port}"),
        ]);
    }
    for (argument, option) in [
        ("login_user", "--user"),
        ("ca_cert", "--ssl-ca"),
        ("client_cert", "--ssl-cert"),
        ("client_key", "--ssl-key"),
    ] {
        out.extend(given(args, argument).map(|value| format!("{option}={value}")));
    }
    if let Some(check) = args.given_flag("check_hostname") {
        out.push(format!(
            "--{}ssl-verify-server-cert",
            if check { "" } else { "skip-" }
        ));
    }
    if let Some(seconds) = args.int("connect_timeout") {
        out.push(format!("--connect-timeout={seconds}"));
    }
    out
}

/// A text that is more than nothing: roles pass empty texts for what they do not set.
pub fn given<'a>(args: &'a Args, name: &str) -> Option<&'a str> {
    args.text(name).filter(|text| !text.is_empty())
}

/// A text literal.
pub fn text(value: &str) -> String {
    format!(
        "'{}'",
        value
            .replace('\\', "\\\\")
            .replace('\'', "''")
            .replace('\0', "\\0")
    )
}

/// A quoted name.
pub fn name(value: &str) -> String {
    format!("`{}`", value.replace('`', "``"))
}
