//! The modules for RabbitMQ on a broker of its own. Each call of its tools costs seconds: few cases, all in one.
use serde_json::json;

use crate::daemons;
use crate::node::Node;

#[test]
fn virtual_hosts_accounts_policies_and_plugins() {
    let (server, environment) = match daemons::rabbitmq() {
        Ok(started) => started,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let mut node = Node::new(server.folder.path());
    node.environment.extend(environment);
    node.converges("rabbitmq_vhost", json!({"name": "/stack", "tracing": true}));
    let args = json!({"user": "nova", "password": "geheim -- x", "tags": "monitoring,policymaker",
        "permissions": [{"vhost": "/stack", "configure_priv": ".*", "read_priv": ".*", "write_priv": ".*"}],
        "topic_permissions": [{"vhost": "/stack", "write_priv": "^a", "read_priv": ".*"}],
        "update_password": "always"});
    node.converges("rabbitmq_user", args);
    let args = json!({"name": "ha", "vhost": "/stack", "pattern": "^(?!amq\\.).*", "priority": 3, "apply_to": "queues",
        "tags": {"max-length": 1000, "expires": 60000}});
    let done = node.converges("rabbitmq_policy", args);
    insta::assert_snapshot!(done.diff[0].after);
    let gone = json!({"name": "ha", "vhost": "/stack", "state": "absent"});
    assert!(node.run("rabbitmq_policy", gone).changed);
    let done = node.converges(
        "rabbitmq_plugin",
        json!({"names": "rabbitmq_event_exchange"}),
    );
    assert_eq!(done.data["enabled"], json!(["rabbitmq_event_exchange"]));
}
