//! Tags of projects.

use super::world::World;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::databases;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_have_tags_and_are_found_by_them() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let reader = world.person("rita", "reader").await;
        let all = format!("/v3/projects/{}/tags", world.demo);
        let put = async |path: &str, body: Value| world.admin(Method::PUT, path, body).await;
        let tags = async || {
            let (status, body) = world
                .by(&reader.token, Method::GET, &all, Value::Null)
                .await;
            assert_eq!(status, StatusCode::OK, "{body}");
            body["tags"].clone()
        };
        assert_eq!(tags().await, json!([]));
        let (status, body) = put(&all, json!({"tags": ["red", "Red", "two words"]})).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["tags"], json!(["Red", "red", "two words"]));
        assert!(body["links"]["self"].as_str().unwrap().ends_with(&all));
        // Adding one twice leaves one.
        for _ in 0..2 {
            let (status, body) = put(&format!("{all}/blue"), Value::Null).await;
            assert_eq!((status, body), (StatusCode::CREATED, Value::Null));
        }
        assert_eq!(tags().await.as_array().unwrap().len(), 4);
        let (_, shown) = world
            .admin(
                Method::GET,
                &format!("/v3/projects/{}", world.demo),
                Value::Null,
            )
            .await;
        assert_eq!(shown["project"]["tags"].as_array().unwrap().len(), 4);

        let one = async |tag: &str, method: Method| {
            let path = format!("{all}/{tag}");
            world.admin(method, &path, Value::Null).await.0
        };
        assert_eq!(
            one("two%20words", Method::GET).await,
            StatusCode::NO_CONTENT
        );
        assert_eq!(
            one("two%20words", Method::HEAD).await,
            StatusCode::NO_CONTENT
        );
        assert_eq!(one("BLUE", Method::GET).await, StatusCode::NOT_FOUND);
        assert_eq!(one("BLUE", Method::DELETE).await, StatusCode::NOT_FOUND);
        assert_eq!(one("Red", Method::DELETE).await, StatusCode::NO_CONTENT);
        assert_eq!(one("red", Method::GET).await, StatusCode::NO_CONTENT);

        // Only the project's people look, and only administrators write.
        let other = world.project("other").await;
        let path = format!("/v3/projects/{other}/tags");
        let (status, _) = world
            .by(&reader.token, Method::GET, &path, Value::Null)
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (status, _) = world
            .by(&reader.token, Method::DELETE, &all, Value::Null)
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        for wrong in [
            json!({}),
            json!({"tags": "red"}),
            json!({"tags": ["a,b"]}),
            json!({"tags": ["a", "a"]}),
        ] {
            assert_eq!(
                put(&all, wrong.clone()).await.0,
                StatusCode::BAD_REQUEST,
                "{wrong}"
            );
        }
        assert_eq!(
            put(&format!("{all}/a,b"), Value::Null).await.0,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(
            put("/v3/projects/none/tags", json!({"tags": []})).await.0,
            StatusCode::NOT_FOUND
        );
        let before = tags().await;
        let many: Vec<String> = (0..80).map(|n| n.to_string()).collect();
        assert_eq!(put(&path, json!({"tags": many})).await.0, StatusCode::OK);
        assert_eq!(
            put(&format!("{path}/7"), Value::Null).await.0,
            StatusCode::CREATED
        );
        assert_eq!(
            put(&format!("{path}/more"), Value::Null).await.0,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(tags().await, before);

        let found = async |query: &str| -> Vec<String> {
            let path = format!("/v3/projects?{query}");
            let (_, body) = world.admin(Method::GET, &path, Value::Null).await;
            let list = body["projects"].as_array().unwrap();
            list.iter()
                .map(|row| row["name"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(found("tags=red,blue").await, ["demo"]);
        assert_eq!(found("tags-any=blue,7").await, ["demo", "other"]);
        assert_eq!(
            found("not-tags=red,blue").await,
            ["admin", "other", "service"]
        );
        assert_eq!(found("not-tags-any=red,7").await, ["admin", "service"]);
        assert_eq!(found("tags=red&name=other").await, [""; 0]);

        // With the project, and gone with it.
        let body = json!({"name": "third", "tags": ["red"]});
        let third = world.make("/v3/projects", "project", body).await;
        let one = format!("/v3/projects/{third}");
        assert_eq!(found("tags=red").await, ["demo", "third"]);
        let change = json!({"project": {"tags": ["new"]}});
        let (_, changed) = world.admin(Method::PATCH, &one, change).await;
        assert_eq!(changed["project"]["tags"], json!(["new"]));
        let wrong = json!({"project": {"name": "renamed", "tags": ["a/b"]}});
        let (status, _) = world.admin(Method::PATCH, &one, wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(found("name=third&tags=new").await, ["third"]);
        world.admin(Method::DELETE, &one, Value::Null).await;
        assert_eq!(found("tags=new").await, [""; 0]);
        let (status, _) = world.admin(Method::DELETE, &all, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(tags().await, json!([]));
    })
    .await;
}
