//! The modules for PostgreSQL on a server of its own.
use std::process::Command;

use serde_json::json;

use crate::daemons;
use crate::node::Node;

#[test]
fn databases_accounts_and_privileges() {
    let server = match daemons::postgresql() {
        Ok(server) => server,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let mut node = Node::new(server.folder.path());
    node.login = json!({"login_host": "127.0.0.1", "login_port": server.port, "login_user": "admin", "login_password": "geheim"});
    accounts(&node, server.port);
    databases(&node);
    privileges(&node, server.port);
    no_log_has_a_password(&server);
}

/// What the server answers to somebody else.
fn ask(port: u16, user: &str, password: &str, database: &str, sql: &str) -> String {
    let output = Command::new("psql")
        .args(["-X", "-w", "-A", "-t", "-c", sql])
        .envs([
            ("PGHOST", "127.0.0.1"),
            ("PGUSER", user),
            ("PGPASSWORD", password),
            ("PGDATABASE", database),
        ])
        .env("PGPORT", port.to_string())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
        + String::from_utf8_lossy(&output.stderr).trim()
}

fn accounts(node: &Node, port: u16) {
    let password = "it's a \\ \"secret\"";
    let args = json!({"name": "no\"va", "password": password, "role_attr_flags": "CREATEDB,NOINHERIT", "expires": "2099-01-02 03:04:05+00",
        "conn_limit": 5, "comment": "it's", "configuration": {"search_path": "\"$user\", a, public", "work_mem": "8MB"}});
    let done = node.converges("postgresql_user", args);
    assert!(!format!("{done:?}").contains("SCRAM"), "{done:?}");
    assert_eq!(
        ask(port, "no\"va", password, "postgres", "SHOW work_mem"),
        "8MB"
    );
    let args = json!({"user": "no\"va", "password": "another", "role_attr_flags": "NOCREATEDB", "configuration": {"search_path": null}, "comment": ""});
    node.converges("postgresql_user", args);
    assert_eq!(ask(port, "no\"va", "another", "postgres", "SELECT 1"), "1");
    let kept = json!({"name": "no\"va", "password": "third", "no_password_changes": true});
    assert!(!node.run("postgresql_user", kept).changed);
    // Who may not see passwords is told so.
    let said = node.refuses("postgresql_user", json!({"login_user": "no\"va", "login_password": "another", "name": "no\"va", "password": "x"}));
    assert!(said.contains("no_password_changes"), "{said}");
    let said = node.refuses(
        "postgresql_user",
        json!({"login_password": "wrong", "name": "x"}),
    );
    assert!(said.contains("password authentication failed"), "{said}");
    let said = node.refuses("postgresql_user", json!({"name": "x", "priv": "ALL"}));
    assert!(said.contains("postgresql_privs"), "{said}");
    node.converges(
        "postgresql_user",
        json!({"name": "glance", "password": "glance", "role_attr_flags": "NOSUPERUSER"}),
    );
    node.converges(
        "postgresql_user",
        json!({"name": "staff", "role_attr_flags": "NOLOGIN"}),
    );
}

fn databases(node: &Node) {
    let args = json!({"name": "nova`s", "owner": "glance", "encoding": "utf-8", "lc_collate": "C", "lc_ctype": "C", "template": "template0", "conn_limit": 9, "comment": "x"});
    node.converges("community.postgresql.postgresql_db", args);
    node.converges(
        "postgresql_db",
        json!({"db": "nova`s", "owner": "admin", "conn_limit": "-1", "comment": ""}),
    );
    let said = node.refuses(
        "postgresql_db",
        json!({"name": "nova`s", "encoding": "LATIN1"}),
    );
    assert!(
        said.contains("the encoding of a database cannot be changed"),
        "{said}"
    );
    node.converges(
        "postgresql_db",
        json!({"name": "nova`s", "state": "rename", "target": "nova"}),
    );
    node.converges("postgresql_db", json!({"name": "gone"}));
    node.converges(
        "postgresql_db",
        json!({"name": "gone", "state": "absent", "force": true}),
    );
}

fn privileges(node: &Node, port: u16) {
    let admin = |sql: &str| ask(port, "admin", "geheim", "nova", sql);
    admin(
        "CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE TABLE s.u (a int); CREATE FUNCTION s.f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1'; INSERT INTO s.t VALUES (42)",
    );
    for args in [
        json!({"type": "schema", "objs": "s", "privs": "USAGE"}),
        json!({"privs": "SELECT,UPDATE", "objs": "t", "schema": "s"}),
        json!({"privs": "SELECT", "objs": "ALL_IN_SCHEMA", "schema": "s", "grant_option": true}),
        json!({"privs": "SELECT", "objs": "ALL_IN_SCHEMA", "schema": "s", "grant_option": false}),
        json!({"type": "function", "privs": "EXECUTE", "objs": "f(int:text)", "schema": "s"}),
        json!({"type": "database", "privs": "CREATE"}),
        json!({"type": "group", "objs": "staff", "admin_option": true}),
        json!({"type": "default_privs", "privs": "SELECT", "objs": "TABLES", "schema": "s"}),
        json!({"type": "default_privs", "privs": "ALL", "objs": "ALL_DEFAULT"}),
    ] {
        let mut args = args.as_object().unwrap().clone();
        args.insert("db".into(), json!("nova"));
        args.insert("roles".into(), json!("glance"));
        node.converges("postgresql_privs", args.into());
    }
    assert_eq!(
        ask(port, "glance", "glance", "nova", "SELECT a FROM s.t"),
        "42"
    );
    node.converges("postgresql_privs", json!({"db": "nova", "roles": ["glance"], "privs": ["ALL"], "objs": "t,u", "schema": "s", "state": "absent"}));
    assert!(
        ask(port, "glance", "glance", "nova", "SELECT a FROM s.t").contains("permission denied")
    );
    // What is not there yet is a change to come, and a failure when it is time.
    let later =
        json!({"db": "nova", "roles": "nobody", "privs": "SELECT", "objs": "t", "schema": "s"});
    assert!(node.check("postgresql_privs", later.clone()).changed);
    assert!(
        node.refuses("postgresql_privs", later)
            .contains("role \"nobody\" does not exist")
    );
    let lenient = json!({"db": "nova", "roles": "nobody", "privs": "SELECT", "objs": "t", "schema": "s", "fail_on_role": false});
    assert!(!node.run("postgresql_privs", lenient).changed);
    // A role that owns something stays.
    let stays = node.run(
        "postgresql_user",
        json!({"name": "glance", "state": "absent", "fail_on_user": false}),
    );
    assert!(
        !stays.changed && stays.msg.contains("cannot be dropped"),
        "{stays:?}"
    );
    node.converges(
        "postgresql_user",
        json!({"name": "no\"va", "state": "absent"}),
    );
    save_and_load(node, port);
}

fn save_and_load(node: &Node, port: u16) {
    for file in ["/nova.sql.gz", "/nova.pgc"] {
        let saved = node.run(
            "postgresql_db",
            json!({"name": "nova", "state": "dump", "target": file}),
        );
        assert!(saved.changed && !saved.failed, "{saved:?}");
        node.converges("postgresql_db", json!({"name": "copy"}));
        let loaded = node.run(
            "postgresql_db",
            json!({"name": "copy", "state": "restore", "target": file}),
        );
        assert!(loaded.changed && !loaded.failed, "{loaded:?}");
        assert_eq!(
            ask(port, "admin", "geheim", "copy", "SELECT a FROM s.t"),
            "42"
        );
        node.converges("postgresql_db", json!({"name": "copy", "state": "absent"}));
    }
    let names: Vec<_> = std::fs::read_dir(&node.root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().contains("wright")),
        "{names:?}"
    );
}

/// Passwords reach the server only as verifiers.
fn no_log_has_a_password(server: &daemons::Server) {
    let log = std::fs::read_to_string(server.path("log")).unwrap();
    assert!(log.contains("CREATE USER"), "statements are logged: {log}");
    assert!(!log.contains("secret") && !log.contains("another"), "{log}");
}
