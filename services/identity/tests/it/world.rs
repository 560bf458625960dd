//! A small cloud for tests: an administrator, a project `demo`, and users with roles in it.

use super::{config, password, project, start, token};
use axum::Router;
use http::{Method, StatusCode};
use identity::Config;
use sea_orm::DatabaseConnection;
use serde_json::{Value, json};
use service_kit::testing::call;
use std::path::Path;

/// The service with its first inhabitants.
pub struct World {
    pub router: Router,
    /// The administrator's token.
    pub admin: String,
    /// Id of the project `demo`.
    pub demo: String,
}

/// Somebody: id, and a token for the project `demo`.
pub struct Person {
    pub id: String,
    pub token: String,
}

impl World {
    pub async fn new(db: &DatabaseConnection, folder: &Path) -> World {
        Self::with(db, folder, config("nova")).await
    }

    pub async fn with(db: &DatabaseConnection, folder: &Path, config: Config) -> World {
        let router = start(db, folder, config).await;
        let (_, admin, _) = token(&router, password("admin", "s3cret", project("admin"))).await;
        let mut world = World {
            router,
            admin,
            demo: String::new(),
        };
        world.demo = world.project("demo").await;
        world
    }

    /// A call as an administrator: status and body.
    pub async fn admin(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        self.by(&self.admin, method, path, body).await
    }

    /// A call by the holder of a token.
    pub async fn by(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let (status, _, body) = call(&self.router, token, method, path, body).await;
        (status, body)
    }

    /// Makes something as an administrator, and gives its id.
    pub async fn make(&self, path: &str, kind: &str, body: Value) -> String {
        let (status, answer) = self.admin(Method::POST, path, json!({ kind: body })).await;
        assert_eq!(status, StatusCode::CREATED, "{path}: {answer}");
        answer[kind]["id"].as_str().unwrap().to_owned()
    }

    pub async fn project(&self, name: &str) -> String {
        self.make("/v3/projects", "project", json!({ "name": name }))
            .await
    }

    pub async fn role(&self, name: &str) -> String {
        let path = format!("/v3/roles?name={name}");
        let (_, body) = self.admin(Method::GET, &path, Value::Null).await;
        body["roles"][0]["id"].as_str().unwrap().to_owned()
    }

    /// A user with the password `geheim`, without roles.
    pub async fn user(&self, name: &str) -> String {
        let body = json!({"name": name, "password": "geheim"});
        self.make("/v3/users", "user", body).await
    }

    /// `PUT` that must give 204.
    pub async fn put(&self, path: &str) {
        let (status, body) = self.admin(Method::PUT, path, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{path}: {body}");
    }

    /// A user with a role in `demo`.
    pub async fn person(&self, name: &str, role: &str) -> Person {
        let (id, role) = (self.user(name).await, self.role(role).await);
        self.put(&format!(
            "/v3/projects/{}/users/{id}/roles/{role}",
            self.demo
        ))
        .await;
        let token = self.login(name, project("demo")).await;
        Person { id, token }
    }

    /// A token of a user of [`World::user`].
    pub async fn login(&self, name: &str, scope: Value) -> String {
        let (status, text, body) = token(&self.router, password(name, "geheim", scope)).await;
        assert_eq!(status, StatusCode::CREATED, "{name}: {body}");
        text
    }
}
