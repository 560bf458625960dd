//! Registered limits, and limits of projects and domains.

use super::world::World;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::databases;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_have_limits_where_one_is_registered() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let eve = world.person("eve", "reader").await;
        let (_, body) = world.admin(Method::GET, "/v3/services", Value::Null).await;
        let nova = body["services"][0]["id"].as_str().unwrap().to_owned();
        let (registered, limits) = ("/v3/registered_limits", "/v3/limits");
        let post = async |path: &str, body: Value| world.admin(Method::POST, path, body).await;
        let cores = json!({"service_id": nova, "resource_name": "cores", "default_limit": 10});
        let ram = json!({"service_id": nova, "region_id": "RegionOne", "resource_name": "ram",
            "default_limit": -1, "description": "MiB"});
        let (status, made) = post(registered, json!({"registered_limits": [cores, ram]})).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let made = &made["registered_limits"];
        assert_eq!((&made[0]["region_id"], &made[0]["description"]), (&Value::Null, &Value::Null));
        assert_eq!((&made[1]["region_id"], &made[1]["default_limit"]), (&json!("RegionOne"), &json!(-1)));
        let of_cores = format!("{registered}/{}", made[0]["id"].as_str().unwrap());
        assert!(made[0]["links"]["self"].as_str().unwrap().ends_with(&of_cores));

        // All or none.
        let disk = json!({"service_id": nova, "resource_name": "disk", "default_limit": 1});
        let (status, _) = post(registered, json!({"registered_limits": [disk, cores]})).await;
        assert_eq!(status, StatusCode::CONFLICT);
        for (name, value) in [
            ("default_limit", json!(-2)),
            ("default_limit", json!("10")),
            ("default_limit", json!(1.5)),
            ("default_limit", json!(0x8000_0000_u64)),
            ("default_limit", Value::Null),
            ("resource_name", json!("")),
            ("service_id", json!("none")),
            ("region_id", json!("none")),
            ("color", json!("red")),
        ] {
            let mut wrong = disk.clone();
            wrong[name] = value;
            let (status, body) = post(registered, json!({"registered_limits": [disk, wrong]})).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {body}");
        }
        for wrong in [json!({}), json!({"registered_limits": []}), json!({"registered_limits": [7]})] {
            assert_eq!(post(registered, wrong).await.0, StatusCode::BAD_REQUEST);
        }
        let listed = async |token: &str, path: &str, kind: &str| {
            let (status, body) = world.by(token, Method::GET, path, Value::Null).await;
            assert_eq!(status, StatusCode::OK, "{path}: {body}");
            body[kind].as_array().unwrap().len()
        };
        assert_eq!(listed(&eve.token, registered, "registered_limits").await, 2);
        let query = format!("{registered}?resource_name=ram");
        assert_eq!(listed(&eve.token, &query, "registered_limits").await, 1);
        let (status, _) = world.by(&eve.token, Method::POST, registered, json!({"registered_limits": [disk]})).await;
        assert_eq!(status, StatusCode::FORBIDDEN);

        let own = json!({"service_id": nova, "resource_name": "cores", "resource_limit": 4, "project_id": world.demo});
        let of_domain = json!({"service_id": nova, "resource_name": "cores", "resource_limit": 9, "domain_id": "default"});
        let (status, made) = post(limits, json!({"limits": [own, of_domain]})).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let made = &made["limits"];
        assert_eq!((&made[0]["project_id"], &made[0]["domain_id"]), (&json!(world.demo), &Value::Null));
        assert_eq!((&made[0]["resource_name"], &made[0]["resource_limit"]), (&json!("cores"), &json!(4)));
        let [of_demo, of_default] = [0, 1].map(|n| format!("{limits}/{}", made[n]["id"].as_str().unwrap()));
        assert_eq!(post(limits, json!({"limits": [own]})).await.0, StatusCode::CONFLICT);
        for (name, value, expected) in [
            ("resource_name", json!("floppies"), StatusCode::FORBIDDEN),
            ("region_id", json!("RegionOne"), StatusCode::FORBIDDEN),
            ("domain_id", json!("default"), StatusCode::BAD_REQUEST),
            ("project_id", Value::Null, StatusCode::BAD_REQUEST),
            ("project_id", json!("none"), StatusCode::NOT_FOUND),
            ("project_id", json!("default"), StatusCode::NOT_FOUND),
            ("resource_limit", json!(-2), StatusCode::BAD_REQUEST),
        ] {
            let mut wrong = own.clone();
            wrong[name] = value;
            let (status, body) = post(limits, json!({"limits": [wrong]})).await;
            assert_eq!(status, expected, "{wrong}: {body}");
        }

        // A project sees its own.
        assert_eq!(listed(&world.admin, limits, "limits").await, 2);
        assert_eq!(listed(&eve.token, limits, "limits").await, 1);
        let query = format!("{limits}?domain_id=default");
        assert_eq!(listed(&world.admin, &query, "limits").await, 1);
        let (status, body) = world.by(&eve.token, Method::GET, &of_demo, Value::Null).await;
        assert_eq!((status, &body["limit"]["resource_limit"]), (StatusCode::OK, &json!(4)));
        for path in [&of_default, &format!("{limits}/none")] {
            let (status, _) = world.by(&eve.token, Method::GET, path, Value::Null).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
        let (status, _) = world.admin(Method::GET, &format!("{limits}/none"), Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let unscoped = world.login("eve", json!("unscoped")).await;
        let (status, _) = world.by(&unscoped, Method::GET, limits, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (_, body) = world.by(&eve.token, Method::GET, "/v3/limits/model", Value::Null).await;
        assert_eq!(body["model"]["name"], "flat");
        let change = json!({"limit": {"resource_limit": 5, "description": "more"}});
        let (status, body) = world.admin(Method::PATCH, &of_demo, change).await;
        assert_eq!((status, &body["limit"]["resource_limit"]), (StatusCode::OK, &json!(5)));
        let change = json!({"limit": {"resource_name": "ram"}});
        let (status, _) = world.admin(Method::PATCH, &of_demo, change).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);

        // What limits hang on stays as it is, but for its default.
        let change = |body: Value| json!({"registered_limit": body});
        let (status, body) = world.admin(Method::PATCH, &of_cores, change(json!({"default_limit": 11}))).await;
        assert_eq!((status, &body["registered_limit"]["default_limit"]), (StatusCode::OK, &json!(11)));
        let (status, _) = world.admin(Method::PATCH, &of_cores, change(json!({"resource_name": "vcpus"}))).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (status, _) = world.admin(Method::DELETE, &of_cores, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        for path in [&of_demo, &of_default] {
            let (status, _) = world.admin(Method::DELETE, path, Value::Null).await;
            assert_eq!(status, StatusCode::NO_CONTENT);
        }
        let (status, _) = world.admin(Method::PATCH, &of_cores, change(json!({"resource_name": "ram", "region_id": "RegionOne"}))).await;
        assert_eq!(status, StatusCode::CONFLICT);
        let (status, _) = world.admin(Method::PATCH, &of_cores, change(json!({"resource_name": "vcpus"}))).await;
        assert_eq!(status, StatusCode::OK);
        let (status, _) = world.admin(Method::DELETE, &of_cores, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, _) = world.admin(Method::GET, &of_cores, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);

        // They go with their project and their service.
        let other = world.project("other").await;
        let ram = json!({"service_id": nova, "region_id": "RegionOne", "resource_name": "ram", "resource_limit": 1, "project_id": other});
        assert_eq!(post(limits, json!({"limits": [ram]})).await.0, StatusCode::CREATED);
        world.admin(Method::DELETE, &format!("/v3/projects/{other}"), Value::Null).await;
        assert_eq!(listed(&world.admin, limits, "limits").await, 0);
        world.admin(Method::DELETE, &format!("/v3/services/{nova}"), Value::Null).await;
        assert_eq!(listed(&world.admin, registered, "registered_limits").await, 0);
    })
    .await;
}
