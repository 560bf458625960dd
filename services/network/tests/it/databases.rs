//! The store on SQLite, MariaDB and PostgreSQL: constraints, races, JSON columns.

use http::Method;
use serde_json::json;

use crate::support::{Cloud, config, id};

#[tokio::test]
async fn ports_made_at_once_on_each_database() {
    service_kit::testing::databases::each(|db| async move {
        let cloud = Cloud::start(Some(db), config(json!({"simulate": true}))).await;
        let private = cloud.create("member", "/v2.0/networks", "network", json!({"name": "tiny"})).await;
        let subnet = json!({"network_id": id(&private), "cidr": "10.2.0.0/28", "dns_nameservers": ["9.9.9.9"],
            "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.2.0.9"}]});
        let subnet = cloud.create("member", "/v2.0/subnets", "subnet", subnet).await;
        assert_eq!(subnet["host_routes"][0]["nexthop"], "10.2.0.9");
        let asked = (0..16).map(|_| cloud.call("member", Method::POST, "/v2.0/ports", json!({"port": {"network_id": id(&private)}})));
        let answers = futures::future::join_all(asked).await;
        let mut given: Vec<String> = answers.iter().filter(|(status, _)| *status == 201).map(|(_, body)| body["port"]["fixed_ips"][0]["ip_address"].to_string()).collect();
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 12, "{answers:?}");
        assert!(answers.iter().all(|(status, _)| [201, 409].contains(status)), "{answers:?}");
        let defaults = cloud.get("member", "/v2.0/security-groups").await;
        assert_eq!(defaults["security_groups"].as_array().unwrap().len(), 1, "one default group, made by whoever was first");

        // Deleting the network and plugging to it at once: one of them loses, and nothing is left half done.
        let empty = cloud.create("member", "/v2.0/networks", "network", json!({"name": "contested"})).await;
        let path = format!("/v2.0/networks/{}", id(&empty));
        let (deleted, plugged) = tokio::join!(
            cloud.call("member", Method::DELETE, &path, serde_json::Value::Null),
            cloud.call("member", Method::POST, "/v2.0/ports", json!({"port": {"network_id": id(&empty)}})),
        );
        assert!(matches!((deleted.0, plugged.0), (204, 404) | (409, 201)), "{deleted:?} {plugged:?}");
    })
    .await;
}
