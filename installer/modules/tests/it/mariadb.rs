//! The modules for MariaDB on a server of its own.
use serde_json::json;

use crate::daemons;
use crate::node::Node;

#[test]
fn databases_accounts_variables_and_queries() {
    let server = match daemons::mariadb() {
        Ok(server) => server,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let mut node = Node::new(server.folder.path());
    let socket = server.path("s").display().to_string();
    node.login = json!({"login_unix_socket": socket, "login_user": "root"});
    databases(&node);
    accounts(&node, server.port);
    variables(&node);
    queries(&node);
}

fn databases(node: &Node) {
    let args = json!({"name": "nova`s", "encoding": "utf8mb4", "collation": "utf8mb4_bin"});
    node.converges("mysql_db", args);
    node.converges("mysql_db", json!({"name": ["nova`s"], "state": "absent"}));
    node.converges("community.mysql.mysql_db", json!({"db": "nova, glance"}));
}

fn accounts(node: &Node, port: u16) {
    let user = |more: serde_json::Value| {
        let mut args = json!({"name": "nova", "host": "127.0.0.1", "password": "a'b\\c"});
        args.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        args
    };
    node.converges(
        "mysql_user",
        user(json!({"priv": "nova.*:ALL,GRANT/glance.*:SELECT"})),
    );
    // The password is the one that was meant, and the account may do what it should.
    let login = json!({"login_unix_socket": "", "login_host": "127.0.0.1", "login_port": port, "login_user": "nova", "login_password": "a'b\\c"});
    let mut query = json!({"query": "CREATE TABLE nova.t (id INT)"});
    query
        .as_object_mut()
        .unwrap()
        .extend(login.as_object().unwrap().clone());
    let made = node.run("mysql_query", query);
    assert!(made.changed && !made.failed, "{made:?}");
    node.converges(
        "mysql_user",
        user(json!({"priv": {"nova.*": "SELECT,INSERT"}})),
    );
    node.converges("mysql_user", user(json!({"password": "new"})));
    node.converges("mysql_user", json!({"name": "nova", "host": "127.0.0.1", "subtract_privs": true, "priv": "nova.*:INSERT"}));
    let limits = json!({"MAX_USER_CONNECTIONS": 7, "max_statement_time": 1.5});
    node.converges("mysql_user", user(json!({"resource_limits": limits, "tls_requires": {"ISSUER": "/CN=it's", "SUBJECT": "/CN=x"}, "password": "new"})));
    node.converges(
        "mysql_user",
        user(json!({"tls_requires": {"SSL": null}, "password": "new"})),
    );
    node.converges("mysql_user", json!({"name": "nova", "host": "%", "plugin": "unix_socket", "session_vars": {"wait_timeout": 99}, "priv": "nova.t:SELECT(id),DELETE"}));
    let hash = "*94BDCEBE19083CE2A1F959FD02F964C7AF4CFC29";
    node.converges(
        "mysql_user",
        json!({"name": "nova", "host_all": true, "password": hash, "encrypted": true}),
    );
    node.converges(
        "mysql_user",
        json!({"name": "nova", "host_all": true, "state": "absent"}),
    );
    let said = node.refuses("mysql_user", json!({"name": "x", "host_all": true}));
    assert!(said.contains("give its host"), "{said}");
    let said = node.refuses(
        "mysql_user",
        json!({"name": "x", "resource_limits": {"MAX_QUERIES": 1}}),
    );
    assert!(said.contains("it has MAX_QUERIES_PER_HOUR"), "{said}");
    let said = node.refuses("mysql_user", json!({"name": "x", "salt": "y"}));
    assert!(said.contains("give plugin_hash_string"), "{said}");
}

fn variables(node: &Node) {
    let done = node.converges(
        "mysql_variables",
        json!({"variable": "max_connections", "value": 77}),
    );
    assert_eq!(
        done.data["queries"],
        json!(["SET GLOBAL `max_connections` = 77"])
    );
    node.converges(
        "mysql_variables",
        json!({"variable": "general_log", "value": true}),
    );
    node.converges(
        "mysql_variables",
        json!({"variable": "slow_query_log_file", "value": "it's.log"}),
    );
    node.converges(
        "mysql_variables",
        json!({"variable": "long_query_time", "value": "2.5"}),
    );
    let read = node.run("mysql_variables", json!({"variable": "max_connections"}));
    assert_eq!((read.changed, read.msg.as_str()), (false, "77"));
    let said = node.refuses(
        "mysql_variables",
        json!({"variable": "max_conections", "value": 1}),
    );
    assert_eq!(said, "Variable not available 'max_conections'");
}

fn queries(node: &Node) {
    let run = |args: serde_json::Value| {
        let result = node.run("mysql_query", args.clone());
        assert!(!result.failed, "{args}: {result:?}");
        result
    };
    let create = json!({"login_db": "nova", "query": "CREATE TABLE IF NOT EXISTS q (id INT, name VARCHAR(99), at DATETIME)"});
    let foretold = node.check("mysql_query", create.clone());
    assert!(foretold.changed, "{foretold:?}");
    assert!(run(create.clone()).changed);
    assert!(!run(create).changed, "a note is no change");
    let done = run(
        json!({"login_db": "nova", "positional_args": [1, "<a> & 'b'\n\\! touch /x", null],
        "query": ["INSERT INTO q VALUES (%s, %s, %s)", "UPDATE q SET id = id WHERE %s = 2 OR name = %s OR at = %s"]}),
    );
    assert_eq!(
        (done.changed, &done.data["rowcount"]),
        (true, &json!([1, 0]))
    );
    let read = run(json!({"login_db": "nova", "named_args": {"id": 1},
        "query": "SELECT id, name, at, 1.5e0 AS x, '007' AS t FROM q WHERE id = %(id)s;"}));
    assert_eq!((read.changed, &read.data["rowcount"]), (false, &json!([1])));
    let row = json!({"id": 1, "name": "<a> & 'b'\n\\! touch /x", "at": null, "x": 1.5, "t": "007"});
    assert_eq!(read.data["query_result"], json!([[row]]));
    let checked = node.check(
        "mysql_query",
        json!({"query": "SHOW DATABASES LIKE 'nova'"}),
    );
    assert_eq!(checked.data["rowcount"], json!([1]));
    // All or nothing.
    let pair = json!({"login_db": "nova", "single_transaction": true, "query": ["DELETE FROM q", "DELETE FROM nothing"]});
    let said = node.refuses("mysql_query", pair);
    assert!(said.contains("nova.nothing"), "{said}");
    assert_eq!(
        run(json!({"query": "SELECT 1 FROM nova.q"})).data["rowcount"],
        json!([1])
    );
}
