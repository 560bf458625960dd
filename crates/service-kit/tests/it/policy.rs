//! A policy file through the whole stack of layers, also one that changes while the service runs.

use axum::Router;
use http::{Method, StatusCode};
use openstack_client::InProcess;
use serde_json::{Value, json};
use service_kit::{
    Api, Context, FaultStyle, Json, Route, Rule, StartError,
    testing::{self, call},
};
use std::{fs, path::Path, time::Duration};

async fn fine() -> Json<Value> {
    Json(json!({}))
}

fn api() -> Api<()> {
    let route = |method, path, operation, rule| Route::new(method, path, operation, rule, fine);
    let routes = vec![
        route(Method::GET, "/", "versions", Rule::Public),
        route(
            Method::GET,
            "/users/{user_id}",
            "get_user",
            Rule::Authenticated,
        ),
        route(Method::GET, "/things/{id}", "get_thing", Rule::Reader),
        route(Method::DELETE, "/things/{id}", "delete_thing", Rule::Admin),
    ];
    Api::new("compute", FaultStyle::Nova, routes)
}

async fn context(folder: &Path, policy: &str) -> Context {
    let file = folder.join("policy.yaml");
    fs::write(&file, policy).unwrap();
    let mut ctx = testing::context("compute", folder, InProcess::new()).await;
    ctx.policy_file = Some(file);
    ctx
}

fn router(ctx: &Context) -> Result<Router, StartError> {
    Ok(api()
        .governed_by(ctx)?
        .into_router((), ctx.tokens.clone(), &ctx.auth_url))
}

async fn status(router: &Router, token: &str, method: Method, path: &str) -> u16 {
    call(router, token, method, path, Value::Null)
        .await
        .0
        .as_u16()
}

#[tokio::test]
async fn a_file_goes_before_the_rules_of_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "delete_thing: role:manager\nget_thing: '!'\ncompute:get_user: user_id:%(user_id)s or role:admin\n";
    let router = router(&context(folder.path(), policy).await).unwrap();
    for (token, method, path, expected) in [
        ("manager", Method::DELETE, "/things/1", 200),
        // A role is that very role: admin tokens of identity hold the ones that it implies.
        ("admin", Method::DELETE, "/things/1", 403),
        ("", Method::DELETE, "/things/1", 401),
        ("admin", Method::GET, "/things/1", 403),
        ("member", Method::GET, "/users/user-member", 200),
        ("member", Method::GET, "/users/user%2Dmember/", 200),
        ("member", Method::GET, "/users/user-reader", 403),
        ("admin", Method::GET, "/users/user-reader", 200),
        ("", Method::GET, "/users/user-reader", 401),
        ("", Method::GET, "/", 200),
    ] {
        assert_eq!(
            status(&router, token, method.clone(), path).await,
            expected,
            "{token} {method} {path}"
        );
    }
    let (code, _, body) = call(&router, "admin", Method::GET, "/things/1", Value::Null).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert!(
        body["forbidden"]["message"]
            .as_str()
            .unwrap()
            .contains("get_thing"),
        "{body}"
    );
}

#[tokio::test]
async fn a_wrong_file_keeps_the_service_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let mut ctx = context(
        folder.path(),
        "get_thin: role:a\nget_thing: role:a role:b\n",
    )
    .await;
    let Err(StartError::Policy(faults)) = router(&ctx) else {
        panic!("started");
    };
    assert_eq!(faults.len(), 2, "{faults}");
    ctx.policy_file = Some(folder.path().join("missing.yaml"));
    assert!(matches!(router(&ctx), Err(StartError::Policy(_))));
}

#[tokio::test]
async fn a_new_file_is_taken_and_a_broken_one_is_not() {
    let metric = "policy_file_faults{service=\"compute\"} 1";
    service_kit::telemetry::install_metrics();
    let folder = tempfile::tempdir().unwrap();
    let ctx = context(folder.path(), "get_thing: role:manager\n").await;
    let router = router(&ctx).unwrap();
    let file = ctx.policy_file.clone().unwrap();
    let becomes = async |token: &str, expected: u16| {
        for _ in 0..600 {
            if status(&router, token, Method::GET, "/things/1").await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{token} does not get {expected}");
    };
    becomes("member", 403).await;
    fs::write(&file, "get_thing: role:member\n").unwrap();
    becomes("member", 200).await;
    fs::write(&file, "get_thing: role:reader role:member\n").unwrap();
    // Replaced as editors do it, and then removed.
    fs::write(folder.path().join("new"), "get_thing: role:\n").unwrap();
    fs::rename(folder.path().join("new"), &file).unwrap();
    for _ in 0..600 {
        if service_kit::telemetry::metrics_text().contains(metric) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(service_kit::telemetry::metrics_text().contains(metric));
    assert_eq!(
        status(&router, "member", Method::GET, "/things/1").await,
        200
    );
    fs::write(&file, "get_thing: role:reader\n").unwrap();
    becomes("member", 403).await;
    fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(
        status(&router, "member", Method::GET, "/things/1").await,
        403
    );
    assert_eq!(
        status(&router, "reader", Method::GET, "/things/1").await,
        200
    );
    ctx.shutdown.cancel();
    ctx.tasks.close();
    tokio::time::timeout(Duration::from_secs(10), ctx.tasks.wait())
        .await
        .unwrap();
}
