//! Validations are answered from memory, and never from before a change: two controllers on one database.

use super::{about, config, password, project, start, token, world::World};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::{call, databases};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_controller_has_changed_holds_on_all_at_once() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        // The keys of tokens are in the folder.
        let other = start(&db, folder.path(), config("nova")).await;
        let eve = world.person("eve", "member").await;
        let on_other = async |subject: &str| {
            // Twice: the second answer is from memory.
            about(&other, Method::GET, &world.admin, subject).await;
            about(&other, Method::GET, &world.admin, subject).await.0
        };
        let user = format!("/v3/users/{}", eve.id);
        let enabled = async |is: bool| {
            let body = json!({"user": {"enabled": is}});
            let (status, body) = world.admin(Method::PATCH, &user, body).await;
            assert_eq!(status, StatusCode::OK, "{body}");
        };
        for _ in 0..3 {
            let login = password("eve", "geheim", project("demo"));
            let (_, second, _) = token(&other, login).await;
            assert_eq!(on_other(&second).await, StatusCode::OK);
            enabled(false).await;
            let (refused, _) = about(&other, Method::GET, &world.admin, &second).await;
            assert_eq!(refused, StatusCode::NOT_FOUND);
            enabled(true).await;
        }
        let login = password("eve", "geheim", project("demo"));
        let (_, text, _) = token(&world.router, login).await;
        assert_eq!(on_other(&text).await, StatusCode::OK);
        let (revoked, _) = about(&world.router, Method::DELETE, &world.admin, &text).await;
        assert_eq!(revoked, StatusCode::NO_CONTENT);
        let (status, _) = about(&other, Method::GET, &world.admin, &text).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        // A role that is gone, seen by the caller's own token.
        let eve = world.login("eve", project("demo")).await;
        let path = format!("/v3/projects/{}", world.demo);
        assert_eq!(
            call(&other, &eve, Method::GET, &path, Value::Null).await.0,
            StatusCode::OK
        );
        let roles = format!("{path}{user}/roles/{}", world.role("member").await)
            .replace("/v3/users", "/users");
        let (status, _) = world.admin(Method::DELETE, &roles, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(
            call(&other, &eve, Method::GET, &path, Value::Null).await.0,
            StatusCode::UNAUTHORIZED
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validations_at_the_same_time_are_all_answered() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let eve = world.person("eve", "member").await;
        let many: Vec<_> = (0..200)
            .map(|_| {
                let (router, admin, subject) =
                    (world.router.clone(), world.admin.clone(), eve.token.clone());
                tokio::spawn(async move { about(&router, Method::GET, &admin, &subject).await.0 })
            })
            .collect();
        for one in many {
            assert_eq!(one.await.unwrap(), StatusCode::OK);
        }
    })
    .await;
}
