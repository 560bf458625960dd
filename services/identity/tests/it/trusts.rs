//! Trusts: what they give, to whom, and what ends them.

use super::{config, password, project, start, token};
use axum::Router;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::{call, databases};

/// A user with the role of a member on a project: the user's id, and the grant's path.
async fn member(router: &Router, admin: &str, project: &str, name: &str) -> (String, String) {
    let body = json!({"user": {"name": name, "password": "geheim"}});
    let (_, _, user) = call(router, admin, Method::POST, "/v3/users", body).await;
    let path = "/v3/roles?name=member";
    let (_, _, roles) = call(router, admin, Method::GET, path, Value::Null).await;
    let user = user["user"]["id"].as_str().unwrap().to_owned();
    let role = roles["roles"][0]["id"].as_str().unwrap();
    let path = format!("/v3/projects/{project}/users/{user}/roles/{role}");
    let (status, ..) = call(router, admin, Method::PUT, &path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    (user, path)
}

fn by_trust(trust: &str) -> Value {
    password("nova", "nova", json!({"OS-TRUST:trust": {"id": trust}}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trust_gives_its_roles_to_its_trustee_until_it_is_ended() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let router = start(&db, folder.path(), config("nova")).await;
        let (_, admin, _) = token(&router, password("admin", "s3cret", project("admin"))).await;
        let (_, nova, body) = token(&router, password("nova", "nova", project("service"))).await;
        let nova_id = body["token"]["user"]["id"].as_str().unwrap().to_owned();
        let body = json!({"project": {"name": "demo"}});
        let (_, _, demo) = call(&router, &admin, Method::POST, "/v3/projects", body).await;
        let demo = demo["project"]["id"].as_str().unwrap().to_owned();
        let (eve, grant) = member(&router, &admin, &demo, "eve").await;
        member(&router, &admin, &demo, "mallory").await;
        let (_, mallory, _) = token(&router, password("mallory", "geheim", project("demo"))).await;
        let (_, eve_token, _) = token(&router, password("eve", "geheim", project("demo"))).await;

        let trusts = "/v3/OS-TRUST/trusts";
        let wanted = |roles: Value| {
            json!({"trust": {"trustor_user_id": eve, "trustee_user_id": nova_id,
                "project_id": demo, "impersonation": true, "roles": roles}})
        };
        let make = async |secret: &str, body: Value| {
            call(&router, secret, Method::POST, trusts, body).await
        };
        // Not what one does not have, not for others, not nothing.
        let (status, ..) = make(&eve_token, wanted(json!([{"name": "admin"}]))).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, ..) = make(&eve_token, wanted(json!([]))).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (status, ..) = make(&nova, wanted(json!([{"name": "member"}]))).await;
        assert_eq!(status, StatusCode::FORBIDDEN);

        let (status, _, body) = make(&eve_token, wanted(json!([{"name": "reader"}]))).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let id = body["trust"]["id"].as_str().unwrap().to_owned();
        assert_eq!(body["trust"]["roles"][0]["name"], "reader");

        // The trustee is the trustor now, with that role only.
        let (status, acting, body) = token(&router, by_trust(&id)).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let body = &body["token"];
        assert_eq!(body["user"]["id"], eve.as_str());
        assert_eq!(body["project"]["id"], demo.as_str());
        let roles: Vec<_> = body["roles"].as_array().unwrap().iter().collect();
        assert_eq!((roles.len(), &roles[0]["name"]), (1, &json!("reader")));
        assert_eq!(
            body["OS-TRUST:trust"]["trustee_user"]["id"],
            nova_id.as_str()
        );
        let own = format!("/v3/users/{eve}");
        let works = async |secret: &str| {
            call(&router, secret, Method::GET, &own, Value::Null)
                .await
                .0
        };
        assert_eq!(works(&acting).await, StatusCode::OK);
        // Nobody else, and no way on from there.
        let other = password("admin", "s3cret", json!({"OS-TRUST:trust": {"id": id}}));
        assert_eq!(token(&router, other).await.0, StatusCode::FORBIDDEN);
        let again = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": acting}}}});
        assert_eq!(token(&router, again).await.0, StatusCode::FORBIDDEN);
        let (status, ..) = make(&acting, wanted(json!([{"name": "reader"}]))).await;
        assert_eq!(status, StatusCode::FORBIDDEN);

        let list = format!("{trusts}?trustor_user_id={eve}");
        let (status, _, body) = call(&router, &eve_token, Method::GET, &list, Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body["trusts"].as_array().unwrap().len(), 1);
        let link = body["trusts"][0]["links"]["self"].as_str().unwrap();
        assert!(link.ends_with(&format!("{trusts}/{id}")), "{link}");
        let (status, ..) = call(&router, &mallory, Method::GET, &list, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let one = format!("{trusts}/{id}");
        let (status, ..) = call(&router, &nova, Method::GET, &one, Value::Null).await;
        assert_eq!(status, StatusCode::OK);

        // The trustor's role taken away, then given back.
        let (status, ..) = call(&router, &admin, Method::DELETE, &grant, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(works(&acting).await, StatusCode::UNAUTHORIZED);
        let (status, ..) = call(&router, &admin, Method::PUT, &grant, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(works(&acting).await, StatusCode::OK);
        // The trustor disabled.
        for (enabled, status) in [
            (false, StatusCode::UNAUTHORIZED),
            (true, StatusCode::CREATED),
        ] {
            let change = json!({"user": {"enabled": enabled}});
            call(&router, &admin, Method::PATCH, &own, change).await;
            assert_eq!(token(&router, by_trust(&id)).await.0, status);
        }
        // Nobody else can end it; the trustee can, acting for the trustor.
        for method in [Method::GET, Method::DELETE] {
            let (status, ..) = call(&router, &mallory, method, &one, Value::Null).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
        let (_, acting, _) = token(&router, by_trust(&id)).await;
        let (status, ..) = call(&router, &acting, Method::DELETE, &one, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(works(&acting).await, StatusCode::UNAUTHORIZED);
        assert_eq!(token(&router, by_trust(&id)).await.0, StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trust_may_be_for_one_use() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let router = start(&db, folder.path(), config("nova")).await;
        let (_, _, body) = token(&router, password("nova", "nova", project("service"))).await;
        let nova_id = body["token"]["user"]["id"].clone();
        let (_, admin, body) = token(&router, password("admin", "s3cret", project("admin"))).await;
        let wanted = json!({"trust": {"trustor_user_id": body["token"]["user"]["id"],
            "trustee_user_id": nova_id, "project_id": body["token"]["project"]["id"],
            "impersonation": false, "roles": [{"name": "member"}], "remaining_uses": 1}});
        let path = "/v3/OS-TRUST/trusts";
        let (status, _, trust) = call(&router, &admin, Method::POST, path, wanted.clone()).await;
        assert_eq!(status, StatusCode::CREATED, "{trust}");
        let id = trust["trust"]["id"].as_str().unwrap();
        let (status, acting, body) = token(&router, by_trust(id)).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        // Without impersonation the trustee stays who it is.
        assert_eq!(body["token"]["user"]["id"], nova_id);
        let own = format!("/v3/users/{}", nova_id.as_str().unwrap());
        let (status, ..) = call(&router, &acting, Method::GET, &own, Value::Null).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(token(&router, by_trust(id)).await.0, StatusCode::NOT_FOUND);

        for (name, value) in [
            ("remaining_uses", json!(0)),
            ("expires_at", json!("2001-01-01T00:00:00.000000Z")),
            ("impersonation", Value::Null),
            ("project_id", json!(7)),
        ] {
            let mut wrong = wanted.clone();
            wrong["trust"][name] = value;
            let (status, _, body) = call(&router, &admin, Method::POST, path, wrong).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{name}: {body}");
        }
    })
    .await;
}
