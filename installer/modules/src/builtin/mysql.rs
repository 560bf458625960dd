//! What `mysql_db` and `mysql_user` share: statements through the `mariadb` client.
//!
//! Statements go by standard input and the login password by the environment: a program's arguments can be
//! read by every user of the node.
use crate::args::Args;
use crate::context::{Context, Fault};
use crate::process::Start;
use crate::spec::{Arg, Kind};

pub const LOGIN_SOCKET: Arg = Arg::new("login_unix_socket", Kind::Path, "the server's socket");
pub const LOGIN_HOST: Arg = Arg::new(
    "login_host",
    Kind::Text,
    "the server's address, when not by socket",
);
pub const LOGIN_PORT: Arg = Arg::new("login_port", Kind::Int, "its port").default("3306");
pub const LOGIN_USER: Arg = Arg::new("login_user", Kind::Text, "who asks");
pub const LOGIN_PASSWORD: Arg = Arg::new("login_password", Kind::Text, "that user's password");

/// Runs statements and gives the rows, fields parted by tabs.
pub fn query(context: &mut Context<'_>, args: &Args, sql: &str) -> Result<Vec<Vec<String>>, Fault> {
    let port = args.int("login_port").unwrap_or(3306).to_string();
    // Raw: a backslash in a value comes as it is. The options below must hold whatever my.cnf says.
    let mut argv = vec![
        "mariadb",
        "--batch",
        "--raw",
        "--skip-column-names",
        "--default-character-set=utf8mb4",
    ];
    if let Some(socket) = args.text("login_unix_socket") {
        argv.extend(["--socket", socket]);
    }
    if let Some(host) = args.text("login_host") {
        argv.extend(["--protocol=tcp", "--host", host, "--port", &port]);
    }
    if let Some(user) = args.text("login_user") {
        argv.extend(["--user", user]);
    }
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
    Ok(output
        .stdout
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect())
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
