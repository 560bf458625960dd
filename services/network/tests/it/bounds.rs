//! What the API refuses, and how it says so: subnets, security groups, quotas, lists. Over the simulated driver.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Cloud, id};

#[tokio::test]
async fn wrong_subnets_are_refused() {
    let cloud = Cloud::simulated().await;
    let private = cloud
        .create("member", "/v2.0/networks", "network", json!({}))
        .await;
    let with = |attributes: Value| {
        let mut all = json!({"network_id": id(&private)});
        all.as_object_mut()
            .unwrap()
            .extend(attributes.as_object().unwrap().clone());
        json!({"subnet": all})
    };
    cloud
        .create(
            "member",
            "/v2.0/subnets",
            "subnet",
            with(json!({"cidr": "10.5.0.0/24"}))["subnet"].clone(),
        )
        .await;
    let pool = |start: &str, end: &str| json!({"start": start, "end": end});
    for (attributes, fault) in [
        (json!({"cidr": "10.5.0.128/25"}), "400 InvalidInput"),
        (json!({"cidr": "10.6.0.0"}), "400 HTTPBadRequest"),
        (
            json!({"cidr": "10.6.0.0/24", "ip_version": 6}),
            "400 InvalidInput",
        ),
        (
            json!({"cidr": "10.6.0.0/24", "gateway_ip": "10.7.0.1"}),
            "400 InvalidInput",
        ),
        (
            json!({"cidr": "10.6.0.0/24", "gateway_ip": "10.6.0.255"}),
            "400 InvalidInput",
        ),
        (
            json!({"cidr": "10.6.0.0/24", "allocation_pools": [pool("10.6.0.9", "10.6.0.2")]}),
            "400 InvalidAllocationPool",
        ),
        (
            json!({"cidr": "10.6.0.0/24", "allocation_pools": [pool("10.6.0.2", "10.6.1.2")]}),
            "400 OutOfBoundsAllocationPool",
        ),
        (
            json!({"cidr": "10.6.0.0/24", "allocation_pools": [pool("10.6.0.2", "10.6.0.9"), pool("10.6.0.9", "10.6.0.20")]}),
            "409 OverlappingAllocationPools",
        ),
        (
            json!({"cidr": "10.6.0.0/24", "allocation_pools": [pool("10.6.0.1", "10.6.0.9")]}),
            "409 GatewayConflictWithAllocationPools",
        ),
        (
            json!({"cidr": "10.6.0.0/24", "dns_nameservers": ["x"]}),
            "400 HTTPBadRequest",
        ),
        (
            json!({"cidr": "10.6.0.0/24", "host_routes": [{"destination": "10.0.0.0/8", "nexthop": "fd00::1"}]}),
            "400 HTTPBadRequest",
        ),
    ] {
        assert_eq!(
            cloud
                .fault(
                    "member",
                    Method::POST,
                    "/v2.0/subnets",
                    with(attributes.clone())
                )
                .await,
            fault,
            "{attributes}"
        );
    }
    let six = json!({"cidr": "fd00:5::/64", "ip_version": 6, "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"});
    cloud
        .create(
            "member",
            "/v2.0/subnets",
            "subnet",
            with(six)["subnet"].clone(),
        )
        .await;
    let port = json!({"network_id": id(&private), "mac_address": "fa:16:3e:01:02:03"});
    let port = cloud.create("member", "/v2.0/ports", "port", port).await;
    let addresses: Vec<&str> = port["fixed_ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["ip_address"].as_str().unwrap())
        .collect();
    assert_eq!(
        (addresses.len(), addresses[1]),
        (2, "fd00:5::f816:3eff:fe01:203")
    );
}

#[tokio::test]
async fn security_groups_and_their_rules() {
    let cloud = Cloud::simulated().await;
    let group = cloud
        .create(
            "member",
            "/v2.0/security-groups",
            "security_group",
            json!({"name": "web"}),
        )
        .await;
    let rule = |attributes: Value| {
        let mut all = json!({"security_group_id": id(&group), "direction": "ingress"});
        all.as_object_mut()
            .unwrap()
            .extend(attributes.as_object().unwrap().clone());
        json!({"security_group_rule": all})
    };
    let web = rule(json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 80}));
    let made = cloud
        .create(
            "member",
            "/v2.0/security-group-rules",
            "security_group_rule",
            web["security_group_rule"].clone(),
        )
        .await;
    for (body, fault) in [
        (web, "409 SecurityGroupRuleExists"),
        (
            rule(json!({"protocol": "6", "port_range_min": 80, "port_range_max": 80})),
            "409 SecurityGroupRuleExists",
        ),
        (
            rule(json!({"protocol": "tcp", "port_range_min": 81, "port_range_max": 80})),
            "400 SecurityGroupInvalidPortRange",
        ),
        (
            rule(json!({"port_range_min": 1, "port_range_max": 80})),
            "400 SecurityGroupProtocolRequiredWithPorts",
        ),
        (
            rule(json!({"protocol": "nonsense"})),
            "400 SecurityGroupRuleInvalidProtocol",
        ),
        (
            rule(json!({"remote_ip_prefix": "fd00::/8"})),
            "400 SecurityGroupRuleParameterConflict",
        ),
        (
            rule(json!({"remote_group_id": "0d6a1d1a-0000-4000-8000-000000000000"})),
            "404 SecurityGroupNotFound",
        ),
        (rule(json!({"direction": "sideways"})), "400 HTTPBadRequest"),
    ] {
        assert_eq!(
            cloud
                .fault(
                    "member",
                    Method::POST,
                    "/v2.0/security-group-rules",
                    body.clone()
                )
                .await,
            fault,
            "{body}"
        );
    }
    let private = cloud
        .create("member", "/v2.0/networks", "network", json!({}))
        .await;
    let port = json!({"network_id": id(&private), "security_groups": [id(&group)]});
    let port = cloud.create("member", "/v2.0/ports", "port", port).await;
    let path = format!("/v2.0/security-groups/{}", id(&group));
    assert_eq!(
        cloud
            .fault("member", Method::DELETE, &path, Value::Null)
            .await,
        "409 SecurityGroupInUse"
    );
    cloud
        .put(
            "member",
            &format!("/v2.0/ports/{}", id(&port)),
            json!({"port": {"security_groups": []}}),
        )
        .await;
    cloud.delete("member", &path).await;
    let gone = format!("/v2.0/security-group-rules/{}", id(&made));
    assert_eq!(
        cloud.fault("member", Method::GET, &gone, Value::Null).await,
        "404 SecurityGroupRuleNotFound"
    );
}

#[tokio::test]
async fn quotas_tags_lists_and_discovery() {
    let cloud = Cloud::simulated().await;
    for name in ["r1", "r2"] {
        cloud
            .create("member", "/v2.0/routers", "router", json!({"name": name}))
            .await;
    }
    let third = json!({"router": {"name": "r3"}});
    assert_eq!(
        cloud
            .fault("member", Method::POST, "/v2.0/routers", third.clone())
            .await,
        "409 OverQuota"
    );
    assert_eq!(
        cloud
            .fault(
                "member",
                Method::PUT,
                "/v2.0/quotas/p1",
                json!({"quota": {"router": 3}})
            )
            .await,
        "403 PolicyNotAuthorized"
    );
    let quota = cloud
        .put("admin", "/v2.0/quotas/p1", json!({"quota": {"router": 3}}))
        .await;
    assert_eq!(
        (&quota["quota"]["router"], &quota["quota"]["port"]),
        (&json!(3), &json!(500))
    );
    let router = cloud
        .create("member", "/v2.0/routers", "router", third["router"].clone())
        .await;
    assert_eq!(
        cloud.get("member", "/v2.0/quotas/p1/details").await["quota"]["router"]["used"],
        3
    );
    cloud.delete("admin", "/v2.0/quotas/p1").await;
    assert_eq!(
        cloud.get("member", "/v2.0/quotas/p1").await["quota"]["router"],
        2
    );

    let tags = format!("/v2.0/routers/{}/tags", id(&router));
    assert_eq!(
        cloud
            .put("member", &tags, json!({"tags": ["b", "a"]}))
            .await,
        json!({"tags": ["a", "b"]})
    );
    assert_eq!(
        cloud
            .call("member", Method::PUT, &format!("{tags}/c"), Value::Null)
            .await
            .0,
        201
    );
    cloud.delete("member", &format!("{tags}/a")).await;
    let tagged = cloud
        .get(
            "member",
            "/v2.0/routers.json?tags=b,c&fields=name&fields=tags",
        )
        .await;
    assert_eq!(
        tagged["routers"],
        json!([{"name": "r3", "tags": ["b", "c"]}])
    );

    let page = cloud
        .get("member", "/v2.0/routers?limit=2&sort_key=name")
        .await;
    assert_eq!(page["routers"].as_array().unwrap().len(), 2);
    assert!(
        page["routers_links"][0]["href"]
            .as_str()
            .unwrap()
            .contains("marker=")
    );
    let several = json!({"networks": [{"name": "a"}, {"name": "b", "mtu": 9999}]});
    assert_eq!(
        cloud
            .fault("member", Method::POST, "/v2.0/networks", several)
            .await,
        "400 InvalidInput"
    );
    assert_eq!(
        cloud.get("member", "/v2.0/networks").await,
        json!({"networks": []})
    );

    assert_eq!(cloud.get("", "/").await["versions"][0]["id"], "v2.0");
    assert_eq!(
        cloud.get("", "/v2.0/").await["resources"][0]["name"],
        "network"
    );
    assert_eq!(
        cloud.get("member", "/v2.0/extensions/router").await["extension"]["alias"],
        "router"
    );
    assert_eq!(
        cloud.get("admin", "/v2.0/agents").await,
        json!({"agents": []})
    );
}
