//! The API as clients see it, over the simulated driver.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Cloud, id};

#[tokio::test]
async fn every_route_wants_a_token() {
    let cloud = Cloud::simulated().await;
    let mut open = Vec::new();
    for (method, path, operation, rule) in network::routes() {
        let path: Vec<&str> = path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect();
        let (status, _) = cloud.call("", method, &path.join("/"), Value::Null).await;
        if rule == service_kit::Rule::Public {
            assert_eq!(status, 200, "{operation}");
        } else if status != 401 {
            open.push(operation);
        }
    }
    assert!(open.is_empty(), "open without a token: {open:?}");
}

struct Sample {
    external: Value,
    private: Value,
    subnet: Value,
    router: Value,
}

/// An external network by the administrator; network, subnet and router by a user of project p2.
async fn sample(cloud: &Cloud) -> Sample {
    let external = json!({"name": "public", "router:external": true, "provider:network_type": "flat", "provider:physical_network": "physnet-app"});
    let external = cloud
        .create("admin", "/v2.0/networks", "network", external)
        .await;
    let outside = json!({"network_id": id(&external), "cidr": "172.31.0.0/24", "ip_version": 4, "enable_dhcp": false,
        "gateway_ip": "172.31.0.254", "allocation_pools": [{"start": "172.31.0.50", "end": "172.31.0.59"}]});
    cloud
        .create("admin", "/v2.0/subnets", "subnet", outside)
        .await;
    let private = cloud
        .create(
            "member@p2",
            "/v2.0/networks",
            "network",
            json!({"name": "private"}),
        )
        .await;
    let subnet = json!({"network_id": id(&private), "cidr": "10.1.0.0/24", "ip_version": 4, "dns_nameservers": ["9.9.9.9"]});
    let subnet = cloud
        .create("member@p2", "/v2.0/subnets", "subnet", subnet)
        .await;
    let router = json!({"name": "r1", "external_gateway_info": {"network_id": id(&external)}});
    let router = cloud
        .create("member@p2", "/v2.0/routers", "router", router)
        .await;
    cloud
        .put(
            "member@p2",
            &format!("/v2.0/routers/{}/add_router_interface", id(&router)),
            json!({"subnet_id": id(&subnet)}),
        )
        .await;
    Sample {
        external,
        private,
        subnet,
        router,
    }
}

#[tokio::test]
async fn from_network_to_floating_ip_and_back() {
    let cloud = Cloud::simulated().await;
    let Sample {
        external,
        private,
        subnet,
        router,
    } = sample(&cloud).await;
    assert_eq!(private["mtu"], 1442);
    assert!(
        private.get("provider:network_type").is_none(),
        "users do not see providers"
    );
    assert_eq!(
        subnet["allocation_pools"],
        json!([{"start": "10.1.0.2", "end": "10.1.0.254"}])
    );
    assert_eq!(subnet["gateway_ip"], "10.1.0.1");
    let gateway = cloud
        .get("member@p2", &format!("/v2.0/routers/{}", id(&router)))
        .await;
    assert_eq!(
        gateway["router"]["external_gateway_info"]["network_id"],
        external["id"]
    );

    let port = cloud
        .create(
            "member@p2",
            "/v2.0/ports",
            "port",
            json!({"network_id": id(&private), "name": "vm1"}),
        )
        .await;
    assert_eq!(port["status"], "DOWN");
    let address = port["fixed_ips"][0]["ip_address"]
        .as_str()
        .unwrap()
        .to_owned();
    let groups = cloud.get("member@p2", "/v2.0/security-groups").await;
    assert_eq!(
        port["security_groups"],
        json!([groups["security_groups"][0]["id"]])
    );
    assert_eq!(
        groups["security_groups"][0]["security_group_rules"]
            .as_array()
            .unwrap()
            .len(),
        4
    );

    let path = format!("/v2.0/ports/{}", id(&port));
    let bind = json!({"port": {"binding:host_id": "node-2.domain.tld", "device_id": "server", "device_owner": "compute:nova"}});
    assert_eq!(
        cloud
            .fault("member@p2", Method::PUT, &path, bind.clone())
            .await,
        "403 PolicyNotAuthorized"
    );
    let bound = cloud.put("service", &path, bind).await;
    assert_eq!(bound["port"]["binding:vif_type"], "ovs");
    assert_eq!(
        bound["port"]["binding:vif_details"]["bound_drivers"]["0"],
        "ovn"
    );
    cloud.wait_for_port(id(&port), "ACTIVE").await;

    let floating = cloud
        .create(
            "member@p2",
            "/v2.0/floatingips",
            "floatingip",
            json!({"floating_network_id": id(&external), "port_id": id(&port)}),
        )
        .await;
    assert_eq!(floating["fixed_ip_address"], address.as_str());
    assert_eq!(floating["router_id"], router["id"]);
    assert_eq!(floating["status"], "ACTIVE");

    // What is in use stays.
    let remove = format!("/v2.0/routers/{}/remove_router_interface", id(&router));
    let leg = json!({"subnet_id": id(&subnet)});
    for (method, path, body, fault) in [
        (
            Method::DELETE,
            format!("/v2.0/networks/{}", id(&private)),
            Value::Null,
            "409 NetworkInUse",
        ),
        (
            Method::DELETE,
            format!("/v2.0/subnets/{}", id(&subnet)),
            Value::Null,
            "409 SubnetInUse",
        ),
        (
            Method::DELETE,
            format!("/v2.0/routers/{}", id(&router)),
            Value::Null,
            "409 RouterInUse",
        ),
        (
            Method::PUT,
            remove.clone(),
            leg.clone(),
            "409 RouterInterfaceInUseByFloatingIP",
        ),
        (
            Method::PUT,
            format!("/v2.0/routers/{}", id(&router)),
            json!({"router": {"external_gateway_info": {}}}),
            "409 RouterExternalGatewayInUseByFloatingIp",
        ),
        (
            Method::DELETE,
            format!(
                "/v2.0/security-groups/{}",
                id(&groups["security_groups"][0])
            ),
            Value::Null,
            "409 SecurityGroupCannotRemoveDefault",
        ),
    ] {
        assert_eq!(
            cloud.fault("member@p2", method, &path, body).await,
            fault,
            "{path}"
        );
    }

    // The port goes, the floating IP is free again; then everything can go.
    cloud.delete("member@p2", &path).await;
    let free = cloud
        .get("member@p2", &format!("/v2.0/floatingips/{}", id(&floating)))
        .await;
    assert_eq!(
        (
            &free["floatingip"]["port_id"],
            &free["floatingip"]["status"]
        ),
        (&Value::Null, &json!("DOWN"))
    );
    cloud
        .delete("member@p2", &format!("/v2.0/floatingips/{}", id(&floating)))
        .await;
    cloud.put("member@p2", &remove, leg).await;
    cloud
        .delete("member@p2", &format!("/v2.0/routers/{}", id(&router)))
        .await;
    cloud
        .delete("member@p2", &format!("/v2.0/networks/{}", id(&private)))
        .await;
    cloud
        .delete("admin", &format!("/v2.0/networks/{}", id(&external)))
        .await;
    assert_eq!(
        cloud.get("admin", "/v2.0/ports").await,
        json!({"ports": []})
    );
    assert_eq!(
        cloud.get("admin", "/v2.0/subnets").await,
        json!({"subnets": []})
    );
}

#[tokio::test]
async fn others_see_what_is_theirs() {
    let cloud = Cloud::simulated().await;
    let Sample {
        external,
        private,
        router,
        ..
    } = sample(&cloud).await;
    for path in [
        format!("/v2.0/networks/{}", id(&private)),
        format!("/v2.0/routers/{}", id(&router)),
    ] {
        for method in [Method::GET, Method::DELETE] {
            assert!(
                cloud
                    .fault("member@p3", method, &path, Value::Null)
                    .await
                    .starts_with("404 "),
                "{path}"
            );
        }
    }
    let names = |body: Value| {
        body["networks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|network| network["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(cloud.get("member@p3", "/v2.0/networks").await),
        ["public"]
    );
    assert_eq!(
        names(cloud.get("admin", "/v2.0/networks?sort_key=name").await),
        ["private", "public"]
    );
    let path = "/v2.0/networks".to_owned();
    for (token, body, fault) in [
        (
            "reader@p3",
            json!({"network": {}}),
            "403 PolicyNotAuthorized",
        ),
        (
            "member@p3",
            json!({"network": {"shared": true}}),
            "403 PolicyNotAuthorized",
        ),
        (
            "member@p3",
            json!({"network": {"project_id": "p2"}}),
            "403 PolicyNotAuthorized",
        ),
        (
            "member@p3",
            json!({"network": {"nmae": "x"}}),
            "400 HTTPBadRequest",
        ),
        (
            "admin",
            json!({"network": {"provider:network_type": "gre"}}),
            "400 InvalidInput",
        ),
        (
            "admin",
            json!({"network": {"provider:network_type": "flat", "provider:physical_network": "physnet-app"}}),
            "409 FlatNetworkInUse",
        ),
        (
            "admin",
            json!({"network": {"mtu": 9000}}),
            "400 InvalidInput",
        ),
    ] {
        assert_eq!(
            cloud.fault(token, Method::POST, &path, body.clone()).await,
            fault,
            "{body}"
        );
    }
    let forbidden = json!({"port": {"network_id": id(&external)}});
    assert_eq!(
        cloud
            .fault("member@p3", Method::POST, "/v2.0/ports", forbidden)
            .await,
        "403 PolicyNotAuthorized"
    );
    let vlan = json!({"provider:network_type": "vlan", "provider:physical_network": "physnet-app"});
    let mut tags = Vec::new();
    for _ in 0..2 {
        tags.push(
            cloud
                .create("admin", "/v2.0/networks", "network", vlan.clone())
                .await["provider:segmentation_id"]
                .as_i64()
                .unwrap(),
        );
    }
    tags.sort_unstable();
    assert_eq!(tags, [100, 101]);
    assert_eq!(
        cloud
            .fault(
                "admin",
                Method::POST,
                "/v2.0/networks",
                json!({"network": vlan})
            )
            .await,
        "503 NoNetworkAvailable"
    );
}

#[tokio::test]
async fn addresses_are_given_once_whoever_asks() {
    let cloud = Cloud::simulated().await;
    let private = cloud
        .create(
            "member",
            "/v2.0/networks",
            "network",
            json!({"name": "tiny"}),
        )
        .await;
    let subnet = cloud
        .create(
            "member",
            "/v2.0/subnets",
            "subnet",
            json!({"network_id": id(&private), "cidr": "10.2.0.0/28"}),
        )
        .await;
    // 13 hosts beside the gateway, one of which is the metadata port's.
    let asked = (0..16).map(|_| {
        cloud.call(
            "member",
            Method::POST,
            "/v2.0/ports",
            json!({"port": {"network_id": id(&private)}}),
        )
    });
    let answers = futures::future::join_all(asked).await;
    let mut given: Vec<String> = answers
        .iter()
        .filter(|(status, _)| *status == 201)
        .map(|(_, body)| body["port"]["fixed_ips"][0]["ip_address"].to_string())
        .collect();
    let refused = answers
        .iter()
        .filter(|(status, body)| {
            *status == 409 && body["NeutronError"]["type"] == "IpAddressGenerationFailure"
        })
        .count();
    assert_eq!((given.len(), refused), (12, 4), "{answers:?}");
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 12);

    let first = answers.iter().find(|(status, _)| *status == 201).unwrap().1["port"].clone();
    let taken = json!({"port": {"network_id": id(&private), "fixed_ips": first["fixed_ips"]}});
    for (body, fault) in [
        (taken, "409 IpAddressInUse"),
        (
            json!({"port": {"network_id": id(&private), "mac_address": first["mac_address"]}}),
            "409 MacAddressInUse",
        ),
        (
            json!({"port": {"network_id": id(&private), "fixed_ips": [{"ip_address": "10.3.0.4"}]}}),
            "400 InvalidIpForNetwork",
        ),
        (
            json!({"port": {"network_id": id(&private), "fixed_ips": [{"subnet_id": id(&subnet), "ip_address": "10.2.0.15"}]}}),
            "400 InvalidIpForSubnet",
        ),
        (
            json!({"port": {"network_id": id(&private), "mac_address": "01:00:00:00:00:01"}}),
            "400 HTTPBadRequest",
        ),
        (json!({"port": {}}), "400 HTTPBadRequest"),
    ] {
        assert_eq!(
            cloud
                .fault("member", Method::POST, "/v2.0/ports", body.clone())
                .await,
            fault,
            "{body}"
        );
    }
    let usage = cloud
        .get(
            "admin",
            &format!("/v2.0/network-ip-availabilities/{}", id(&private)),
        )
        .await;
    assert_eq!(
        (
            &usage["network_ip_availability"]["used_ips"],
            &usage["network_ip_availability"]["total_ips"]
        ),
        (&json!(13), &json!(13))
    );
    // Free one, and it can be had again.
    cloud
        .delete("member", &format!("/v2.0/ports/{}", id(&first)))
        .await;
    let again = cloud
        .create(
            "member",
            "/v2.0/ports",
            "port",
            json!({"network_id": id(&private)}),
        )
        .await;
    assert_eq!(again["fixed_ips"], first["fixed_ips"]);
}
