//! Application credentials that are for a few requests only.

use super::{about, password, project, token, world::World};
use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::databases;
use tower::ServiceExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_does_what_its_rules_name() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let eve = world.person("eve", "member").await;
        let mallory = world.person("mallory", "member").await;
        let own = format!("/v3/users/{}", eve.id);
        let path = format!("{own}/application_credentials");
        let make = async |name: &str, rules: Value| {
            let body = json!({"application_credential": {"name": name, "access_rules": rules}});
            world.by(&eve.token, Method::POST, &path, body).await
        };
        let look = json!({"service": "identity", "method": "GET", "path": "/v3/users/*"});
        let list = json!({"service": "compute", "method": "GET", "path": "/v2.1/servers"});
        let (status, made) = make("ci", json!([look, list])).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let made = &made["application_credential"];
        assert_eq!(made["access_rules"].as_array().unwrap().len(), 2);
        let rule = made["access_rules"][0]["id"].clone();
        let one = format!("{path}/{}", made["id"].as_str().unwrap());
        let (_, shown) = world.by(&eve.token, Method::GET, &one, Value::Null).await;
        assert_eq!(
            shown["application_credential"]["access_rules"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        // The same rules are shared, by what they name or by id.
        let (status, second) = make("other", json!([look, {"id": rule}])).await;
        assert_eq!(status, StatusCode::CREATED, "{second}");
        let second = &second["application_credential"];
        assert_eq!(second["access_rules"], json!([made["access_rules"][0]]));
        assert_eq!(make("x", json!([])).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(
            make("x", json!([{"id": "none"}])).await.0,
            StatusCode::NOT_FOUND
        );
        assert_eq!(make("ci", json!([look])).await.0, StatusCode::CONFLICT);

        let login = json!({"auth": {"identity": {"methods": ["application_credential"],
            "application_credential": {"id": made["id"], "secret": made["secret"]}}}});
        let (status, program, body) = token(&world.router, login).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let by = async |method: Method, path: &str| {
            world.by(&program, method, path, Value::Null).await.0
        };
        assert_eq!(by(Method::GET, &own).await, StatusCode::OK);
        assert_eq!(
            by(Method::GET, "/v3/auth/projects").await,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(by(Method::GET, &path).await, StatusCode::UNAUTHORIZED);
        assert_eq!(by(Method::DELETE, &one).await, StatusCode::UNAUTHORIZED);

        // To a service that does not know of rules the token is none.
        let (_, nova, _) = token(&world.router, password("nova", "nova", project("service"))).await;
        assert_eq!(
            about(&world.router, Method::GET, &nova, &program).await.0,
            StatusCode::NOT_FOUND
        );
        let request = Request::builder()
            .uri("/v3/auth/tokens")
            .header("x-auth-token", &nova)
            .header("x-subject-token", &program)
            .header("openstack-identity-access-rules", "1.0")
            .body(Body::empty())
            .unwrap();
        let response = world.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let rules = &body["token"]["application_credential"]["access_rules"];
        assert_eq!(rules.as_array().unwrap().len(), 2);

        let rules = format!("{own}/access_rules");
        let (_, body) = world.by(&eve.token, Method::GET, &rules, Value::Null).await;
        assert_eq!(body["access_rules"].as_array().unwrap().len(), 2);
        let (_, body) = world
            .by(
                &eve.token,
                Method::GET,
                &format!("{rules}?service=compute"),
                Value::Null,
            )
            .await;
        assert_eq!(body["access_rules"].as_array().unwrap().len(), 1);
        let of_look = format!("{rules}/{}", rule.as_str().unwrap());
        let (status, body) = world
            .by(&eve.token, Method::GET, &of_look, Value::Null)
            .await;
        assert_eq!(
            (status, &body["access_rule"]["path"]),
            (StatusCode::OK, &json!("/v3/users/*"))
        );
        for path in [&rules, &of_look] {
            let (status, _) = world
                .by(&mallory.token, Method::GET, path, Value::Null)
                .await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
        // Not while a program has it.
        let (status, _) = world
            .by(&eve.token, Method::DELETE, &of_look, Value::Null)
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        for id in [&made["id"], &second["id"]] {
            let one = format!("{path}/{}", id.as_str().unwrap());
            let (status, _) = world
                .by(&eve.token, Method::DELETE, &one, Value::Null)
                .await;
            assert_eq!(status, StatusCode::NO_CONTENT);
        }
        let (status, _) = world
            .by(&eve.token, Method::DELETE, &of_look, Value::Null)
            .await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, _) = world
            .by(&eve.token, Method::GET, &of_look, Value::Null)
            .await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, _) = world.admin(Method::DELETE, &own, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    })
    .await;
}
