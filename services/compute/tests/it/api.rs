//! Servers through their lives, lists, faults, and who may do what.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing;

use crate::world::{IMAGE, World};

#[tokio::test(flavor = "multi_thread")]
async fn life_of_a_server() {
    let world = World::new(0).await;
    let id = world
        .boot(
            "testvm01",
            json!({"metadata": {"a": "b"}, "user_data": "IyEvYmluL3NoCg=="}),
        )
        .await;
    let server = world.until_status(&id, "ACTIVE").await;
    assert_eq!(server["OS-EXT-SRV-ATTR:host"], "node-1.domain.tld");
    assert_eq!(
        server["addresses"]["private"][0]["OS-EXT-IPS:type"],
        "fixed"
    );
    assert_eq!(server["OS-EXT-STS:power_state"], 1);
    {
        let told = world.neighbours.lock().expect("no panic while locked");
        assert_eq!(told.ports.len(), 1);
        assert!(
            told.ports
                .values()
                .all(|port| port["binding:host_id"] == "node-1.domain.tld"
                    && port["device_id"] == *id)
        );
        assert_eq!(
            told.claims[&id]["allocations"]
                .as_object()
                .map(serde_json::Map::len),
            Some(1)
        );
    }
    for (action, status, power) in [
        (json!({"os-stop": null}), "SHUTOFF", 4),
        (json!({"os-start": null}), "ACTIVE", 1),
        (json!({"pause": null}), "PAUSED", 3),
        (json!({"unpause": null}), "ACTIVE", 1),
        (json!({"suspend": null}), "SUSPENDED", 7),
        (json!({"resume": null}), "ACTIVE", 1),
        (json!({"reboot": {"type": "HARD"}}), "ACTIVE", 1),
    ] {
        assert_eq!(
            world.action(&id, action.clone()).await,
            StatusCode::ACCEPTED,
            "{action}"
        );
        assert_eq!(
            world.until_status(&id, status).await["OS-EXT-STS:power_state"],
            power,
            "{action}"
        );
    }
    assert_eq!(
        world.action(&id, json!({"os-start": null})).await,
        StatusCode::CONFLICT
    );
    let (status, console) = world
        .call(
            "admin",
            Method::POST,
            &format!("/servers/{id}/action"),
            json!({"os-getConsoleOutput": {"length": 1}}),
        )
        .await;
    assert_eq!(
        (status, &console["output"]),
        (StatusCode::OK, &json!("testvm01 booted\n"))
    );
    let actions = world
        .get(&format!("/servers/{id}/os-instance-actions"))
        .await;
    assert_eq!(
        actions["instanceActions"].as_array().map(Vec::len),
        Some(8),
        "{actions}"
    );
    assert_eq!(
        world
            .call(
                "admin",
                Method::DELETE,
                &format!("/servers/{id}"),
                Value::Null
            )
            .await
            .0,
        StatusCode::NO_CONTENT
    );
    world
        .until("the end", async |w| {
            w.get("/servers").await["servers"] == json!([])
        })
        .await;
    {
        let told = world.neighbours.lock().expect("no panic while locked");
        assert!(
            told.ports.is_empty() && told.claims.is_empty(),
            "nothing is left behind"
        );
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_tell_their_step() {
    let world = World::new(0).await;
    world
        .neighbours
        .lock()
        .expect("no panic while locked")
        .refuse_ports = 1;
    let id = world.boot("noport", json!({})).await;
    let server = world.until_status(&id, "ERROR").await;
    let message = server["fault"]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("step port") && message.contains("No more IP addresses available."),
        "{message}"
    );
    world
        .until("the claim given back", async |w| {
            w.neighbours
                .lock()
                .expect("no panic while locked")
                .claims
                .is_empty()
        })
        .await;

    let flavor =
        json!({"flavor": {"name": "huge", "id": "huge", "ram": 99_999_999, "vcpus": 1, "disk": 1}});
    assert_eq!(
        world
            .call("admin", Method::POST, "/flavors", flavor)
            .await
            .0,
        StatusCode::OK
    );
    let id = world.boot("huge", json!({"flavorRef": "huge"})).await;
    let server = world.until_status(&id, "ERROR").await;
    let message = server["fault"]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("No valid host was found.")
            && message.contains("too little free memory"),
        "{message}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_ends_in_error_with_its_cause() {
    // Every call to the hypervisor that changes something fails.
    let world = World::new(1).await;
    let id = world.boot("broken", json!({})).await;
    let server = world.until_status(&id, "ERROR").await;
    let message = server["fault"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("simulated fault"), "{message}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_servers_page_by_page() {
    let world = World::new(0).await;
    let first = world
        .boot("many", json!({"min_count": 100, "max_count": 100}))
        .await;
    world
        .until("all active", async |w| {
            w.get("/servers?status=ACTIVE").await["servers"]
                .as_array()
                .map(Vec::len)
                == Some(100)
        })
        .await;
    let (mut path, mut seen) = ("/servers?limit=30".to_owned(), Vec::new());
    loop {
        let page = world.get(&path).await;
        seen.extend(
            page["servers"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|server| server["id"].clone()),
        );
        let Some(next) = page["servers_links"][0]["href"].as_str() else {
            break;
        };
        path = next.split("/v2.1").nth(1).expect("a path").to_owned();
    }
    seen.sort_by_key(Value::to_string);
    seen.dedup();
    assert_eq!(seen.len(), 100);
    let on = |host: &str| format!("/servers/detail?all_tenants=1&host={host}");
    assert_eq!(
        world.get(&on("node-1.domain.tld")).await["servers"]
            .as_array()
            .map(Vec::len),
        Some(100)
    );
    assert_eq!(
        world.get(&on("node-9.domain.tld")).await["servers"],
        json!([])
    );
    let named = world.get("/servers?name=many-1$").await;
    assert_eq!(named["servers"][0]["id"], *first);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_hosts_and_services() {
    let world = World::new(0).await;
    let host = "node-1.domain.tld";
    let (status, body) = world
        .call(
            "admin",
            Method::POST,
            "/os-aggregates",
            json!({"aggregate": {"name": "iz", "availability_zone": "Internal_Zone"}}),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let path = format!("/os-aggregates/{}/action", body["aggregate"]["id"]);
    assert_eq!(
        world
            .call(
                "admin",
                Method::POST,
                &path,
                json!({"add_host": {"host": host}})
            )
            .await
            .0,
        StatusCode::OK
    );
    let id = world
        .boot(
            "testvm02",
            json!({"availability_zone": format!("Internal_Zone:{host}")}),
        )
        .await;
    let server = world.until_status(&id, "ACTIVE").await;
    assert_eq!(server["OS-EXT-AZ:availability_zone"], "Internal_Zone");
    let wanted = json!({"server": {"name": "x", "imageRef": IMAGE, "flavorRef": "500", "networks": "none", "availability_zone": "Internal_Zone:node-77"}});
    let (status, body) = world
        .call("admin", Method::POST, "/servers", wanted.clone())
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    assert_eq!(
        world
            .call("member", Method::POST, "/servers", wanted)
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    let services = world.get("/os-services").await;
    let binaries: Vec<&str> = services["services"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|s| s["state"] == "up")
        .filter_map(|s| s["binary"].as_str())
        .collect();
    for binary in [
        "nova-conductor",
        "nova-scheduler",
        "nova-consoleauth",
        "nova-compute",
    ] {
        assert!(binaries.contains(&binary), "{binaries:?}");
    }
    let compute = services["services"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|s| s["binary"] == "nova-compute")
        .expect("one");
    let path = format!("/os-services/{}", compute["id"].as_str().expect("an id"));
    let (status, body) = world
        .call(
            "admin",
            Method::PUT,
            &path,
            json!({"status": "disabled", "disabled_reason": "works"}),
        )
        .await;
    assert_eq!(
        (status, &body["service"]["status"]),
        (StatusCode::OK, &json!("disabled"))
    );
    let id = world.boot("nowhere", json!({})).await;
    let message = world.until_status(&id, "ERROR").await["fault"]["message"].to_string();
    assert!(message.contains("down or disabled"), "{message}");
    let hypervisor = world.get("/os-hypervisors/detail").await["hypervisors"][0].clone();
    assert_eq!(
        (&hypervisor["running_vms"], &hypervisor["vcpus_used"]),
        (&json!(1), &json!(2)),
        "{hypervisor}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what() {
    let world = World::new(0).await;
    let open = testing::rows_open_without_token(&compute::api(), &world.router).await;
    assert!(open.is_empty(), "{open:?}");
    let id = world.boot("mine", json!({})).await;
    world.until_status(&id, "ACTIVE").await;
    let show = format!("/servers/{id}");
    for (token, expected) in [
        ("member", StatusCode::OK),
        ("reader", StatusCode::OK),
        ("member@p2", StatusCode::NOT_FOUND),
        ("none", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(
            world.call(token, Method::GET, &show, Value::Null).await.0,
            expected,
            "{token}"
        );
    }
    assert_eq!(
        world
            .call("reader", Method::DELETE, &show, Value::Null)
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        world
            .call("member@p2", Method::DELETE, &show, Value::Null)
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        world
            .call("member", Method::GET, "/servers?all_tenants=1", Value::Null)
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    let (_, seen) = world.call("member", Method::GET, &show, Value::Null).await;
    assert!(
        seen["server"].get("OS-EXT-SRV-ATTR:host").is_none(),
        "where it runs is not the owner's to know"
    );
    assert_eq!(
        world
            .call(
                "member",
                Method::POST,
                "/internal/agents/x/claim",
                json!({"limit": 1, "wait": 0})
            )
            .await
            .0,
        StatusCode::FORBIDDEN
    );
    for (body, words) in [
        (json!({}), "'server' is a required property"),
        (
            json!({"server": {"name": "x", "flavorRef": "500", "networks": "none"}}),
            "an image is needed",
        ),
        (
            json!({"server": {"name": "x", "imageRef": "nope", "flavorRef": "500", "networks": "none"}}),
            "Can not find requested image nope",
        ),
        (
            json!({"server": {"name": "x", "imageRef": IMAGE, "flavorRef": "9", "networks": "none"}}),
            "Flavor 9 could not be found.",
        ),
        (
            json!({"server": {"name": "x", "imageRef": IMAGE, "flavorRef": "500", "networks": [{"uuid": "x"}]}}),
            "not a UUID",
        ),
        (
            json!({"server": {"name": " ", "imageRef": IMAGE, "flavorRef": "500", "networks": "none"}}),
            "must not be empty",
        ),
        (
            json!({"server": {"name": "x", "imageRef": IMAGE, "flavorRef": "500", "networks": "none", "user_data": "%"}}),
            "base64",
        ),
    ] {
        let (status, answer) = world.call("member", Method::POST, "/servers", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert!(
            answer["badRequest"]["message"]
                .as_str()
                .is_some_and(|message| message.contains(words)),
            "{words}: {answer}"
        );
    }
    world.stop().await;
}
