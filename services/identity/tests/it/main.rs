//! Identity through its router, on SQLite, MariaDB and PostgreSQL.

#![allow(clippy::unwrap_used)]

mod access_rules;
mod catalog;
mod credentials;
mod domains;
mod endpoint_filter;
mod limits;
mod memory;
mod passwords;
mod policies;
mod revocations;
mod roles;
mod tags;
mod trusts;
mod world;

use axum::{Router, body::Body};
use http::{HeaderMap, Method, Request, StatusCode};
use identity::{Bootstrap, BootstrapService, Config};
use openstack_client::InProcess;
use sea_orm::DatabaseConnection;
use serde_json::{Value, json};
use service_kit::{
    Secret,
    testing::{self, call, databases},
};
use std::path::Path;
use tower::ServiceExt;

fn config(nova_password: &str) -> Config {
    Config::new(Bootstrap {
        admin_password: Some(Secret::new("s3cret")),
        admin_password_file: None,
        services: vec![BootstrapService {
            service_type: "compute".into(),
            name: "nova".into(),
            user: "nova".into(),
            password: Some(Secret::new(nova_password)),
            password_file: None,
            public_url: "http://127.0.0.1:8774/v2.1/%(project_id)s".into(),
            internal_url: None,
            admin_url: None,
        }],
    })
}

async fn start(db: &DatabaseConnection, folder: &Path, config: Config) -> Router {
    let ctx = testing::context_on("identity", folder, InProcess::new(), db.clone());
    identity::start(ctx, config).await.unwrap().router
}

fn password(user: &str, password: &str, scope: Value) -> Value {
    let mut auth = json!({"identity": {"methods": ["password"],
        "password": {"user": {"name": user, "domain": {"id": "default"}, "password": password}}}});
    if !scope.is_null() {
        auth["scope"] = scope;
    }
    json!({ "auth": auth })
}

fn project(name: &str) -> Value {
    json!({"project": {"name": name, "domain": {"name": "Default"}}})
}

async fn token(router: &Router, body: Value) -> (StatusCode, String, Value) {
    let (status, headers, body) = call(router, "", Method::POST, "/v3/auth/tokens", body).await;
    let text = headers
        .get("x-subject-token")
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default();
    (status, text, body)
}

/// A call about a token, which travels in a header.
async fn about(
    router: &Router,
    method: Method,
    caller: &str,
    subject: &str,
) -> (StatusCode, HeaderMap) {
    let request = Request::builder()
        .method(method)
        .uri("/v3/auth/tokens")
        .header("x-auth-token", caller)
        .header("x-subject-token", subject)
        .body(Body::empty())
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    (response.status(), response.headers().clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_from_the_first_to_the_last() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let _first = start(&db, folder.path(), config("first")).await;
        // The second start finds everything; it takes over the changed password.
        let router = start(&db, folder.path(), config("second")).await;
        let (status, ..) = token(&router, password("nova", "first", Value::Null)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let (status, nova, body) =
            token(&router, password("nova", "second", project("service"))).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");

        let (status, admin, body) =
            token(&router, password("admin", "s3cret", project("admin"))).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert!(admin.len() < 255);
        let body = &body["token"];
        let roles: Vec<&str> = body["roles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["name"].as_str().unwrap())
            .collect();
        assert_eq!(roles, ["admin", "manager", "member", "reader"]);
        let project_id = body["project"]["id"].as_str().unwrap();
        assert_eq!(project_id.len(), 32);
        let url = &body["catalog"][0]["endpoints"][0]["url"];
        assert_eq!(
            url,
            &json!(format!("http://127.0.0.1:8774/v2.1/{project_id}"))
        );

        for (user, word) in [("admin", "wrong"), ("nobody", "s3cret")] {
            let (status, text, body) = token(&router, password(user, word, project("admin"))).await;
            assert_eq!((status, text.as_str()), (StatusCode::UNAUTHORIZED, ""));
            assert_eq!(
                body["error"]["message"],
                "The request you have made requires authentication."
            );
        }
        let (status, ..) = token(&router, password("nova", "second", project("admin"))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "no role there");
        for body in [
            json!({}),
            json!({"auth": {}}),
            json!({"auth": {"identity": {"methods": ["password"]}}}),
        ] {
            let (status, ..) = token(&router, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
        }

        // Services validate anybody's token; a token made from another ends with it or before.
        assert_eq!(
            about(&router, Method::GET, &nova, &admin).await.0,
            StatusCode::OK
        );
        assert_eq!(
            about(&router, Method::HEAD, &nova, &admin).await.0,
            StatusCode::OK
        );
        assert_eq!(
            about(&router, Method::GET, &nova, "gAAAAAnonsense").await.0,
            StatusCode::NOT_FOUND
        );
        let from_token = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": admin}},
            "scope": {"system": {"all": true}}}});
        let (status, system, body) = token(&router, from_token).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert_eq!(body["token"]["methods"], json!(["password", "token"]));
        assert_eq!(body["token"]["system"], json!({"all": true}));

        assert_eq!(
            about(&router, Method::DELETE, &admin, &system).await.0,
            StatusCode::NO_CONTENT
        );
        assert_eq!(
            about(&router, Method::GET, &nova, &system).await.0,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            about(&router, Method::GET, &nova, &admin).await.0,
            StatusCode::OK
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_get_in_by_roles_and_out_by_changes() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let router = start(&db, folder.path(), config("nova")).await;
        let (_, admin, _) = token(&router, password("admin", "s3cret", project("admin"))).await;
        let post =
            async |path: &str, body: Value| call(&router, &admin, Method::POST, path, body).await;
        let (status, _, demo) = post("/v3/projects", json!({"project": {"name": "demo"}})).await;
        assert_eq!(status, StatusCode::CREATED, "{demo}");
        let (status, _, body) = post("/v3/projects", json!({"project": {"name": "demo"}})).await;
        assert_eq!(
            (status, body["error"]["code"].clone()),
            (StatusCode::CONFLICT, json!(409))
        );
        let user =
            json!({"user": {"name": "eve", "password": "geheim", "email": "eve@example.org"}});
        let (status, _, eve) = post("/v3/users", user).await;
        assert_eq!(
            (status, &eve["user"]["email"]),
            (StatusCode::CREATED, &json!("eve@example.org"))
        );
        assert!(!eve.to_string().contains("geheim"));
        let (demo_id, eve_id) = (
            demo["project"]["id"].as_str().unwrap(),
            eve["user"]["id"].as_str().unwrap(),
        );
        let (_, _, roles) = call(
            &router,
            &admin,
            Method::GET,
            "/v3/roles?name=member",
            Value::Null,
        )
        .await;
        let member = roles["roles"][0]["id"].as_str().unwrap();
        // By a group, as organisations do it.
        let (_, _, group) = post("/v3/groups", json!({"group": {"name": "staff"}})).await;
        let group_id = group["group"]["id"].as_str().unwrap();
        for path in [
            format!("/v3/groups/{group_id}/users/{eve_id}"),
            format!("/v3/projects/{demo_id}/groups/{group_id}/roles/{member}"),
        ] {
            let (status, _, body) = call(&router, &admin, Method::PUT, &path, Value::Null).await;
            assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
        }
        let (status, eve_token, body) =
            token(&router, password("eve", "geheim", project("demo"))).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let (status, ..) = call(&router, &eve_token, Method::GET, "/v3/users", Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let own = format!("/v3/users/{eve_id}");
        let (status, ..) = call(&router, &eve_token, Method::GET, &own, Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        let (_, _, mine) = call(
            &router,
            &eve_token,
            Method::GET,
            "/v3/auth/projects",
            Value::Null,
        )
        .await;
        assert_eq!(mine["projects"][0]["name"], "demo");

        // A program of hers.
        let path = format!("/v3/users/{eve_id}/application_credentials");
        let wanted = json!({"application_credential": {"name": "ci"}});
        let (status, _, credential) = call(&router, &eve_token, Method::POST, &path, wanted).await;
        assert_eq!(status, StatusCode::CREATED, "{credential}");
        let credential = &credential["application_credential"];
        assert!(
            credential["roles"][0]["name"].is_string(),
            "clients print the names: {credential}"
        );
        let login = json!({"auth": {"identity": {"methods": ["application_credential"],
            "application_credential": {"id": credential["id"], "secret": credential["secret"]}}}});
        let (status, _, body) = token(&router, login).await;
        assert_eq!(
            (status, &body["token"]["project"]["name"]),
            (StatusCode::CREATED, &json!("demo")),
            "{body}"
        );

        // A changed password ends her tokens; so does being disabled.
        let change = json!({"user": {"original_password": "geheim", "password": "neu"}});
        let (status, ..) = call(
            &router,
            &eve_token,
            Method::POST,
            &format!("{own}/password"),
            change,
        )
        .await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, ..) = call(&router, &eve_token, Method::GET, &own, Value::Null).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let (status, eve_token, _) = token(&router, password("eve", "neu", project("demo"))).await;
        assert_eq!(status, StatusCode::CREATED);
        let off = json!({"user": {"enabled": false}});
        let (status, ..) = call(&router, &admin, Method::PATCH, &own, off).await;
        assert_eq!(status, StatusCode::OK);
        let (status, ..) = call(&router, &eve_token, Method::GET, &own, Value::Null).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let (status, ..) = call(&router, &admin, Method::DELETE, &own, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, ..) = call(&router, &admin, Method::GET, &own, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    })
    .await;
}
