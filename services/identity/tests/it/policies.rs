//! Policies: texts that identity keeps.

use super::world::World;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::databases;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_kept_for_administrators() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let all = "/v3/policies";
        let text = json!({"compute:get": "role:reader"}).to_string();
        let body = json!({"type": "application/json", "blob": text, "note": "kept"});
        let id = world.make(all, "policy", body).await;
        let one = format!("{all}/{id}");
        let (status, body) = world.admin(Method::GET, &one, Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        let policy = &body["policy"];
        assert_eq!(
            (&policy["blob"], &policy["note"]),
            (&json!(text), &json!("kept"))
        );
        let (_, body) = world
            .admin(Method::GET, &format!("{all}?type=text/plain"), Value::Null)
            .await;
        assert_eq!(body["policies"], json!([]));
        let change = json!({"policy": {"type": "text/plain"}});
        let (status, body) = world.admin(Method::PATCH, &one, change).await;
        assert_eq!(
            (status, &body["policy"]["blob"]),
            (StatusCode::OK, &json!(text))
        );
        let (_, body) = world
            .admin(Method::GET, &format!("{all}?type=text/plain"), Value::Null)
            .await;
        assert_eq!(body["policies"].as_array().unwrap().len(), 1);
        for wrong in [
            json!({"type": "x"}),
            json!({"blob": "x"}),
            json!({"type": 7, "blob": "x"}),
            json!({"type": "x", "blob": "x".repeat(65_536)}),
        ] {
            let body = json!({"policy": wrong});
            let (status, _) = world.admin(Method::POST, all, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
        }
        let (status, _) = world.admin(Method::DELETE, &one, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, _) = world.admin(Method::GET, &one, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    })
    .await;
}
