//! Endpoint groups, and catalogues that show a part of the endpoints.

use super::{config, project, start, world::World};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::{call, databases};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_sees_the_endpoints_that_it_is_associated_with() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let image = json!({"type": "image", "name": "glance"});
        let image = world.make("/v3/services", "service", image).await;
        let url = json!({"service_id": image, "interface": "public", "url": "http://glance"});
        let glance = world.make("/v3/endpoints", "endpoint", url).await;
        let eve = world.person("eve", "reader").await;
        // Interfaces by service.
        let seen = async || -> Vec<String> {
            let path = "/v3/auth/catalog";
            let (status, body) = world.by(&eve.token, Method::GET, path, Value::Null).await;
            assert_eq!(status, StatusCode::OK, "{body}");
            let mut seen = Vec::new();
            for service in body["catalog"].as_array().unwrap() {
                let endpoints = service["endpoints"].as_array().unwrap();
                let mut words: Vec<_> = endpoints
                    .iter()
                    .map(|e| e["interface"].as_str().unwrap())
                    .collect();
                words.sort_unstable();
                seen.push(format!(
                    "{} {}",
                    service["type"].as_str().unwrap(),
                    words.join(",")
                ));
            }
            seen
        };
        let everything = ["compute admin,internal,public", "image public"];
        assert_eq!(seen().await, everything);

        let base = "/v3/OS-EP-FILTER";
        let groups = format!("{base}/endpoint_groups");
        let body = json!({"name": "public", "filters": {"interface": "public"}});
        let public = world.make(&groups, "endpoint_group", body).await;
        let one = format!("{groups}/{public}");
        let get = async |path: &str| world.admin(Method::GET, path, Value::Null).await;
        let (status, body) = get(&one).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            body["endpoint_group"]["filters"],
            json!({"interface": "public"})
        );
        assert!(
            body["endpoint_group"]["links"]["self"]
                .as_str()
                .unwrap()
                .ends_with(&one)
        );
        let (_, body) = get(&groups).await;
        assert_eq!(body["endpoint_groups"][0]["name"], "public");
        let (_, body) = get(&format!("{one}/endpoints")).await;
        assert_eq!(body["endpoints"].as_array().unwrap().len(), 2);

        let of_group = format!("{one}/projects/{}", world.demo);
        assert_eq!(get(&of_group).await.0, StatusCode::NOT_FOUND);
        world.put(&of_group).await;
        world.put(&of_group).await;
        assert_eq!(seen().await, ["compute public", "image public"]);
        let (status, body) = get(&of_group).await;
        assert_eq!(
            (status, &body["project"]["name"]),
            (StatusCode::OK, &json!("demo"))
        );
        let (_, body) = get(&format!("{one}/projects")).await;
        assert_eq!(body["projects"][0]["id"], json!(world.demo));
        let of_project = format!("{base}/projects/{}", world.demo);
        let (_, body) = get(&format!("{of_project}/endpoint_groups")).await;
        assert_eq!(body["endpoint_groups"][0]["id"], json!(public));

        // Other filters, other endpoints; wrong ones change nothing.
        let change = |filters: Value| json!({"endpoint_group": {"filters": filters}});
        let (status, _) = world
            .admin(Method::PATCH, &one, change(json!({"service_id": image})))
            .await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(seen().await, ["image public"]);
        for wrong in [
            json!({"interface": "x"}),
            json!({"color": "red"}),
            Value::Null,
        ] {
            let (status, _) = world.admin(Method::PATCH, &one, change(wrong)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
        }
        for wrong in [
            json!({"name": "x"}),
            json!({"filters": {}}),
            json!({"name": "", "filters": {}}),
        ] {
            let body = json!({"endpoint_group": wrong});
            let (status, _) = world.admin(Method::POST, &groups, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
        }
        assert_eq!(seen().await, ["image public"]);

        // One by one; what is associated comes together.
        let (_, body) = get("/v3/endpoints?interface=admin").await;
        let admin = body["endpoints"][0]["id"].as_str().unwrap().to_owned();
        let by_one = format!("{of_project}/endpoints/{admin}");
        assert_eq!(get(&by_one).await.0, StatusCode::NOT_FOUND);
        world.put(&by_one).await;
        assert_eq!(
            world.admin(Method::HEAD, &by_one, Value::Null).await.0,
            StatusCode::NO_CONTENT
        );
        assert_eq!(seen().await, ["compute admin", "image public"]);
        let (_, body) = get(&format!("{of_project}/endpoints")).await;
        assert_eq!(body["endpoints"].as_array().unwrap().len(), 2);
        let (_, body) = get(&format!("{base}/endpoints/{admin}/projects")).await;
        assert_eq!(body["projects"][0]["name"], "demo");
        // A new token shows the same.
        let (_, body) = world
            .by(&eve.token, Method::GET, "/v3/auth/catalog", Value::Null)
            .await;
        let login = super::password("eve", "geheim", project("demo"));
        let (_, _, fresh) = super::token(&world.router, login).await;
        assert_eq!(fresh["token"]["catalog"], body["catalog"]);

        for path in [
            format!("{groups}/none"),
            format!("{base}/projects/none/endpoints"),
            format!("{base}/endpoints/none/projects"),
            format!("{of_project}/endpoints/none"),
        ] {
            assert_eq!(get(&path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        let (status, _) = world
            .by(&eve.token, Method::GET, &groups, Value::Null)
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN);

        // What is deleted takes its associations along.
        let (status, _) = world
            .admin(
                Method::DELETE,
                &format!("/v3/endpoints/{glance}"),
                Value::Null,
            )
            .await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(seen().await, ["compute admin"]);
        for path in [&of_group, &by_one] {
            let (status, _) = world.admin(Method::DELETE, path, Value::Null).await;
            assert_eq!(status, StatusCode::NO_CONTENT);
            let (status, _) = world.admin(Method::DELETE, path, Value::Null).await;
            assert_eq!(status, StatusCode::NOT_FOUND);
        }
        // Nothing is associated: everything is seen, or nothing, as it was configured.
        assert_eq!(seen().await, ["compute admin,internal,public", "image "]);
        let mut strict = config("nova");
        strict.catalog.return_all_endpoints_if_no_filter = false;
        let router = start(&db, folder.path(), strict).await;
        let (_, _, body) = call(
            &router,
            &eve.token,
            Method::GET,
            "/v3/auth/catalog",
            Value::Null,
        )
        .await;
        assert_eq!(body["catalog"], json!([]));
        let (status, _) = world.admin(Method::DELETE, &one, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(get(&one).await.0, StatusCode::NOT_FOUND);
    })
    .await;
}
