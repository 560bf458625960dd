//! Which tokens have ended, for services that ask.

use super::{about, password, project, token, world::World};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::databases;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_told_which_tokens_have_ended() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let (_, nova, _) = token(&world.router, password("nova", "nova", project("service"))).await;
        let eve = world.person("eve", "member").await;
        let events = async |token: &str, query: &str| {
            let path = format!("/v3/OS-REVOKE/events{query}");
            world.by(token, Method::GET, &path, Value::Null).await
        };
        let (status, body) = events(&nova, "").await;
        assert_eq!((status, &body["events"]), (StatusCode::OK, &json!([])));
        assert!(
            body["links"]["self"]
                .as_str()
                .unwrap()
                .ends_with("/v3/OS-REVOKE/events")
        );

        let (_, second, body) =
            token(&world.router, password("eve", "geheim", project("demo"))).await;
        let audit_id = body["token"]["audit_ids"][0].clone();
        let (status, _) = about(&world.router, Method::DELETE, &second, &second).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (_, body) = events(&nova, "").await;
        assert_eq!(body["events"].as_array().unwrap().len(), 1);
        assert_eq!(body["events"][0]["audit_id"], audit_id);
        let first = body["events"][0]["issued_before"]
            .as_str()
            .unwrap()
            .to_owned();

        // All of a user's tokens at once.
        let off = json!({"user": {"enabled": false}});
        world
            .admin(Method::PATCH, &format!("/v3/users/{}", eve.id), off)
            .await;
        let (_, body) = events(&nova, "").await;
        assert_eq!(body["events"].as_array().unwrap().len(), 2);
        assert_eq!(body["events"][1]["user_id"], json!(eve.id));
        let last = body["events"][1]["issued_before"].as_str().unwrap();
        assert!(first.as_str() < last);
        let (_, body) = events(&nova, &format!("?since={last}")).await;
        assert_eq!(body["events"].as_array().unwrap().len(), 1);
        let (_, body) = events(&nova, "?since=2999-01-01T00:00:00Z").await;
        assert_eq!(body["events"], json!([]));
        assert_eq!(events(&nova, "?since=now").await.0, StatusCode::BAD_REQUEST);
        let mallory = world.person("mallory", "member").await;
        assert_eq!(events(&mallory.token, "").await.0, StatusCode::FORBIDDEN);
    })
    .await;
}
