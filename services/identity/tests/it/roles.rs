//! Roles: what they imply, whose they are, and how far they reach.

use super::{password, project, token, world::World};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::databases;

/// Names of the roles in a token's body.
fn names(body: &Value) -> Vec<&str> {
    let roles = body["token"]["roles"].as_array().unwrap();
    roles
        .iter()
        .map(|role| role["name"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_imply_others_and_domains_have_their_own() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let (admin, reader) = (world.role("admin").await, world.role("reader").await);
        let domain = world
            .make("/v3/domains", "domain", json!({"name": "firm"}))
            .await;
        let local = json!({"name": "clerk", "domain_id": domain});
        let clerk = world.make("/v3/roles", "role", local).await;
        let auditor = world
            .make("/v3/roles", "role", json!({"name": "auditor"}))
            .await;

        let rule = |prior: &str, implied: &str| format!("/v3/roles/{prior}/implies/{implied}");
        let (status, body) = world
            .admin(Method::PUT, &rule(&clerk, &reader), Value::Null)
            .await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert_eq!(body["role_inference"]["prior_role"]["name"], "clerk");
        assert_eq!(body["role_inference"]["implies"]["id"], json!(reader));
        let (status, same) = world
            .admin(Method::GET, &rule(&clerk, &reader), Value::Null)
            .await;
        assert_eq!((status, same), (StatusCode::OK, body));
        let (status, _) = world
            .admin(Method::HEAD, &rule(&clerk, &reader), Value::Null)
            .await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        // Nobody becomes an administrator so, and no role of the whole cloud brings one of a domain.
        for path in [rule(&auditor, &admin), rule(&auditor, &clerk)] {
            let (status, _) = world.admin(Method::PUT, &path, Value::Null).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
        // A role of another domain may be implied by one of this.
        let other = json!({"name": "other"});
        let other = world.make("/v3/domains", "domain", other).await;
        let foreign = json!({"name": "porter", "domain_id": other});
        let foreign = world.make("/v3/roles", "role", foreign).await;
        for (method, expected) in [
            (Method::PUT, StatusCode::CREATED),
            (Method::DELETE, StatusCode::NO_CONTENT),
        ] {
            let (status, body) = world
                .admin(method, &rule(&clerk, &foreign), Value::Null)
                .await;
            assert_eq!(status, expected, "{body}");
        }
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            let (status, _) = world
                .admin(method, &rule(&auditor, &reader), Value::Null)
                .await;
            assert_eq!(status, StatusCode::NOT_FOUND);
        }
        let (_, body) = world
            .admin(Method::GET, "/v3/role_inferences", Value::Null)
            .await;
        let rules = body["role_inferences"].as_array().unwrap();
        assert_eq!(rules.len(), 4);
        let of_clerk = rules
            .iter()
            .find(|rule| rule["prior_role"]["name"] == "clerk")
            .unwrap();
        assert_eq!(of_clerk["implies"][0]["name"], "reader");
        let (_, body) = world
            .admin(
                Method::GET,
                &format!("/v3/roles?domain_id={domain}"),
                Value::Null,
            )
            .await;
        assert_eq!(body["roles"].as_array().unwrap().len(), 1);
        let (_, body) = world
            .admin(Method::GET, "/v3/roles?name=clerk", Value::Null)
            .await;
        assert_eq!(body["roles"], json!([]));

        // The domain's role cannot be given elsewhere; where it is given, a token has what it implies.
        let eve = world.user("eve").await;
        let grant = format!("/v3/projects/{}/users/{eve}/roles/{clerk}", world.demo);
        let (status, _) = world.admin(Method::PUT, &grant, Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (status, _) = world
            .admin(
                Method::PUT,
                &format!("/v3/system/users/{eve}/roles/{clerk}"),
                Value::Null,
            )
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let inside = world
            .make(
                "/v3/projects",
                "project",
                json!({"name": "inside", "domain_id": domain}),
            )
            .await;
        world
            .put(&format!("/v3/projects/{inside}/users/{eve}/roles/{clerk}"))
            .await;
        let scope = json!({"project": {"id": inside}});
        let (status, _, body) =
            token(&world.router, password("eve", "geheim", scope.clone())).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert_eq!(names(&body), ["reader"]);
        // Without what it implies it is nothing.
        let (status, _) = world
            .admin(Method::DELETE, &rule(&clerk, &reader), Value::Null)
            .await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, ..) = token(&world.router, password("eve", "geheim", scope)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inherited_roles_reach_the_projects_below() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let child = json!({"name": "child", "parent_id": world.demo});
        let child = world.make("/v3/projects", "project", child).await;
        let grandchild = json!({"name": "grandchild", "parent_id": child});
        let grandchild = world.make("/v3/projects", "project", grandchild).await;
        let (member, reader) = (world.role("member").await, world.role("reader").await);
        let (eve, bob) = (world.user("eve").await, world.user("bob").await);
        let group = world
            .make("/v3/groups", "group", json!({"name": "staff"}))
            .await;
        world.put(&format!("/v3/groups/{group}/users/{bob}")).await;

        let below = format!(
            "/v3/OS-INHERIT/projects/{}/users/{eve}/roles/{member}/inherited_to_projects",
            world.demo
        );
        let everywhere = format!(
            "/v3/OS-INHERIT/domains/default/groups/{group}/roles/{reader}/inherited_to_projects"
        );
        let (status, _) = world.admin(Method::GET, &below, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        world.put(&below).await;
        world.put(&everywhere).await;
        for path in [&below, &everywhere] {
            let (status, _) = world.admin(Method::HEAD, path, Value::Null).await;
            assert_eq!(status, StatusCode::NO_CONTENT);
        }
        let list =
            format!("/v3/OS-INHERIT/domains/default/groups/{group}/roles/inherited_to_projects");
        let (_, body) = world.admin(Method::GET, &list, Value::Null).await;
        assert_eq!(body["roles"][0]["name"], "reader");
        // A role on the domain's projects is none on the domain.
        let plain = format!("/v3/domains/default/groups/{group}/roles/{reader}");
        let (status, _) = world.admin(Method::HEAD, &plain, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);

        let login = async |user: &str, scope: Value| {
            let (status, text, body) = token(&world.router, password(user, "geheim", scope)).await;
            (status, text, body)
        };
        assert_eq!(
            login("eve", project("demo")).await.0,
            StatusCode::UNAUTHORIZED
        );
        for name in ["child", "grandchild"] {
            let (status, _, body) = login("eve", project(name)).await;
            assert_eq!(status, StatusCode::CREATED, "{body}");
            assert_eq!(names(&body), ["member", "reader"]);
        }
        for name in ["demo", "grandchild"] {
            let (status, _, body) = login("bob", project(name)).await;
            assert_eq!(status, StatusCode::CREATED, "{body}");
            assert_eq!(names(&body), ["reader"]);
        }
        let domain = json!({"domain": {"id": "default"}});
        assert_eq!(login("bob", domain).await.0, StatusCode::UNAUTHORIZED);
        let (_, eves, _) = login("eve", project("child")).await;
        let (_, body) = world
            .by(&eves, Method::GET, "/v3/auth/projects", Value::Null)
            .await;
        let mine: Vec<_> = body["projects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| &row["id"])
            .collect();
        assert_eq!(mine, [&json!(child), &json!(grandchild)]);

        // As they are stored, and as they work out.
        let rows = async |query: &str| -> Vec<Value> {
            let path = format!("/v3/role_assignments?{query}");
            let (status, body) = world.admin(Method::GET, &path, Value::Null).await;
            assert_eq!(status, StatusCode::OK, "{query}: {body}");
            body["role_assignments"].as_array().unwrap().clone()
        };
        let found = rows(&format!("user.id={eve}")).await;
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0]["scope"],
            json!({"project": {"id": world.demo}, "OS-INHERIT:inherited_to": "projects"})
        );
        assert!(
            found[0]["links"]["assignment"]
                .as_str()
                .unwrap()
                .ends_with(&below)
        );
        let found = rows(&format!("user.id={eve}&effective&include_names")).await;
        assert_eq!(found.len(), 4, "two roles on two projects: {found:?}");
        let implied = found
            .iter()
            .find(|row| {
                row["role"]["name"] == "reader" && row["scope"]["project"]["id"] == json!(child)
            })
            .unwrap();
        assert_eq!(
            implied["user"],
            json!({"id": eve, "name": "eve", "domain": {"id": "default", "name": "Default"}})
        );
        assert_eq!(implied["scope"]["project"]["name"], "child");
        assert!(
            implied["links"]["assignment"]
                .as_str()
                .unwrap()
                .ends_with(&below)
        );
        let prior = format!("/v3/prior_roles/{member}/implies/{reader}");
        assert!(
            implied["links"]["prior_role"]
                .as_str()
                .unwrap()
                .ends_with(&prior)
        );
        let found = rows(&format!(
            "user.id={bob}&effective=1&scope.project.id={child}"
        ))
        .await;
        assert_eq!(found.len(), 1);
        assert!(found[0].get("group").is_none());
        let membership = format!("/v3/groups/{group}/users/{bob}");
        assert!(
            found[0]["links"]["membership"]
                .as_str()
                .unwrap()
                .ends_with(&membership)
        );
        assert_eq!(rows(&format!("user.id={bob}&effective=0")).await.len(), 0);
        assert_eq!(rows(&format!("group.id={group}")).await.len(), 1);
        assert_eq!(
            rows("scope.OS-INHERIT:inherited_to=projects").await.len(),
            2
        );
        assert_eq!(rows(&format!("scope.project.id={child}")).await.len(), 0);
        world
            .put(&format!(
                "/v3/projects/{grandchild}/users/{bob}/roles/{member}"
            ))
            .await;
        assert_eq!(
            rows(&format!("scope.project.id={}", world.demo))
                .await
                .len(),
            1
        );
        let tree = format!("scope.project.id={}&include_subtree", world.demo);
        assert_eq!(rows(&tree).await.len(), 2);
        for wrong in [
            "user.id=a&group.id=b",
            "scope.project.id=a&scope.domain.id=b",
            "scope.system=all&scope.domain.id=b",
            "effective&group.id=b",
            "effective&scope.domain.id=b&scope.OS-INHERIT:inherited_to=projects",
            "include_subtree",
            "scope.OS-INHERIT:inherited_to=domains",
        ] {
            let path = format!("/v3/role_assignments?{wrong}");
            let (status, _) = world.admin(Method::GET, &path, Value::Null).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
        }

        let (status, _) = world.admin(Method::DELETE, &below, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, _) = world
            .by(&eves, Method::GET, "/v3/auth/projects", Value::Null)
            .await;
        assert_eq!(
            status,
            StatusCode::UNAUTHORIZED,
            "the token ends with its role"
        );
        // What was inherited from a project goes with it.
        let lonely = world.project("lonely").await;
        world
            .put(&format!(
                "/v3/OS-INHERIT/projects/{lonely}/users/{eve}/roles/{member}/inherited_to_projects"
            ))
            .await;
        world
            .admin(
                Method::DELETE,
                &format!("/v3/projects/{lonely}"),
                Value::Null,
            )
            .await;
        assert_eq!(rows(&format!("user.id={eve}")).await.len(), 0);
    })
    .await;
}
