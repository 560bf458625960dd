//! Domains: as projects, and with all that is in them when they go.

use super::{about, token, world::World};
use http::{Method, StatusCode};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use service_kit::testing::databases;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_goes_with_what_is_in_it() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let firm = json!({"name": "firm"});
        let domain = world.make("/v3/domains", "domain", firm).await;
        let of_it = |name: &str| json!({"name": name, "domain_id": domain});
        let mut user = of_it("eve");
        user["password"] = "geheim".into();
        let user = world.make("/v3/users", "user", user).await;
        let group = world.make("/v3/groups", "group", of_it("staff")).await;
        let role = world.make("/v3/roles", "role", of_it("clerk")).await;
        let mut upper = of_it("upper");
        upper["tags"] = json!(["red"]);
        let upper = world.make("/v3/projects", "project", upper).await;
        let mut lower = of_it("lower");
        lower["parent_id"] = json!(upper);
        let lower = world.make("/v3/projects", "project", lower).await;
        world.put(&format!("/v3/groups/{group}/users/{user}")).await;
        // A grant inside, and one of the same user outside.
        let member = world.role("member").await;
        for target in [&lower, &world.demo] {
            world
                .put(&format!(
                    "/v3/projects/{target}/users/{user}/roles/{member}"
                ))
                .await;
        }
        let path = format!("/v3/domains/{domain}");
        let (status, _) = world.admin(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "enabled");
        let off = json!({"domain": {"enabled": false}});
        let (status, _) = world.admin(Method::PATCH, &path, off).await;
        assert_eq!(status, StatusCode::OK);
        let (status, body) = world.admin(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
        for gone in [
            path,
            format!("/v3/users/{user}"),
            format!("/v3/groups/{group}"),
            format!("/v3/roles/{role}"),
            format!("/v3/projects/{upper}"),
            format!("/v3/projects/{lower}"),
        ] {
            let (status, _) = world.admin(Method::GET, &gone, Value::Null).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{gone}");
        }
        let query = format!("/v3/role_assignments?scope.project.id={}", world.demo);
        let (_, left) = world.admin(Method::GET, &query, Value::Null).await;
        assert_eq!(left["role_assignments"], json!([]));

        // The domain of the cloud's own users stays.
        let default = "/v3/domains/default";
        let (status, body) = world.admin(Method::DELETE, default, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("the default domain"), "{message}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_a_project_that_acts_as_one() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let refused = json!({"project": {"name": "x", "is_domain": true, "domain_id": "default"}});
        let (status, _) = world.admin(Method::POST, "/v3/projects", refused).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let body = json!({"name": "acting", "is_domain": true, "domain_id": null});
        let id = world.make("/v3/projects", "project", body).await;
        let listed = async |query: &str| -> bool {
            let path = format!("/v3/projects{query}");
            let (_, body) = world.admin(Method::GET, &path, Value::Null).await;
            let list = body["projects"].as_array().unwrap();
            list.iter().any(|project| project["id"] == json!(id))
        };
        assert!(listed("?is_domain=True").await);
        assert!(!listed("").await && !listed("?is_domain=false").await);
        let (status, domain) = world
            .admin(Method::GET, &format!("/v3/domains/{id}"), Value::Null)
            .await;
        assert_eq!(
            (status, &domain["domain"]["name"]),
            (StatusCode::OK, &json!("acting"))
        );
        let path = format!("/v3/projects/{id}");
        let (_, project) = world.admin(Method::GET, &path, Value::Null).await;
        let project = &project["project"];
        assert_eq!(
            (
                &project["is_domain"],
                &project["domain_id"],
                &project["parent_id"]
            ),
            (&json!(true), &Value::Null, &Value::Null)
        );
        let (status, _) = world.admin(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "enabled");
        let off = json!({"project": {"enabled": false}});
        let (status, _) = world.admin(Method::PATCH, &path, off).await;
        assert_eq!(status, StatusCode::OK);
        let (status, _) = world.admin(Method::DELETE, &path, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);

        // Names of both have at most 64 characters.
        for (kind, plural) in [("project", "projects"), ("domain", "domains")] {
            for (length, expected) in [(64, StatusCode::CREATED), (65, StatusCode::BAD_REQUEST)] {
                let body = json!({kind: {"name": "n".repeat(length)}});
                let path = format!("/v3/{plural}");
                let (status, answer) = world.admin(Method::POST, &path, body).await;
                assert_eq!(status, expected, "{answer}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_credential_expires_at_the_microsecond_and_says_where_it_is() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let eve = world.person("eve", "member").await;
        let path = format!("/v3/users/{}/application_credentials", eve.id);
        let time = "2199-01-02T03:04:05.678901";
        let body =
            json!({"application_credential": {"name": "later", "expires_at": time, "secret": "s"}});
        let (status, made) = world.by(&eve.token, Method::POST, &path, body).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let (_, listed) = world.by(&eve.token, Method::GET, &path, Value::Null).await;
        let (made, listed) = (
            &made["application_credential"],
            &listed["application_credentials"][0],
        );
        for seen in [made, listed] {
            assert_eq!(seen["expires_at"], time);
            let link = seen["links"]["self"].as_str().unwrap();
            assert!(
                link.ends_with(&format!("{path}/{}", made["id"].as_str().unwrap())),
                "{link}"
            );
        }
        let auth = json!({"auth": {"identity": {"methods": ["application_credential"],
            "application_credential": {"id": made["id"], "secret": "s"}}}});
        let (status, made, _) = token(&world.router, auth.clone()).await;
        assert_eq!(status, StatusCode::CREATED);
        let own = async || about(&world.router, Method::GET, &made, &made).await.0;
        let soon = chrono::Utc::now().timestamp_micros() + 60_000_000;
        let ends = format!("UPDATE application_credentials SET expires_at = {soon}");
        db.execute_unprepared(&ends).await.unwrap();
        let (_, _, body) = token(&world.router, auth.clone()).await;
        let shown = body["token"]["expires_at"].as_str().unwrap();
        let shown = chrono::DateTime::parse_from_rfc3339(shown).unwrap();
        assert_eq!(
            shown.timestamp_micros(),
            soon,
            "a token ends with what it was made by"
        );
        let expired = "UPDATE application_credentials SET expires_at = 1000000000000000";
        db.execute_unprepared(expired).await.unwrap();
        assert_eq!(token(&world.router, auth).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(own().await, StatusCode::UNAUTHORIZED);
    })
    .await;
}
