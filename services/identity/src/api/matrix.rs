//! Who may call what: every row of the route table by every persona, as one table that is looked at when it changes.
//!
//! Reading rows are called on objects that exist; writing rows on `x`, without a body, so that nothing changes: whoever may
//! call them gets 400 or 404 there, and who may not 401 or 403.

use super::{Shared, api};
use crate::{
    app::{
        App, fernet::Fernet, keys::TokenKeys, memory::Memory, new_id,
        password_rules::PasswordRules, payload::TokenScope,
    },
    config::Bootstrap,
    store::{
        Migrator,
        entities::{assignment, project, role, user},
    },
};
use axum::Router;
use http::Method;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::{Value, json};
use service_kit::{Secret, store, testing};
use std::{fmt::Write, sync::Arc, time::Duration};

/// The service on a fresh database in a folder.
async fn service(folder: &std::path::Path) -> (Shared, Router) {
    let mut db = store::connect(&format!("sqlite://{}/identity.db", folder.display()))
        .await
        .unwrap();
    store::migrate::<Migrator>(&db).await.unwrap();
    let memory = Memory::new(&mut db, "node-1");
    let app = Arc::new(App {
        db,
        memory,
        keys: TokenKeys::open(&folder.join("keys")).unwrap(),
        credential_keys: Fernet::derived(b"secret", "credentials"),
        password_rules: PasswordRules::default(),
        totp_previous_windows: 1,
        ec2_skew: Duration::from_secs(900),
        all_endpoints_without_filter: true,
        token_life: Duration::from_secs(3600),
        public_url: "http://127.0.0.1:5000".to_owned(),
    });
    let router = api().into_router(Arc::clone(&app), app.clone(), "http://127.0.0.1:5000/v3");
    (app, router)
}

#[tokio::test]
async fn every_row_wants_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let (_, router) = service(folder.path()).await;
    assert_eq!(
        testing::rows_open_without_token(&api(), &router).await,
        Vec::<String>::new()
    );
}

/// What the API's description says of bodies is what handlers want.
#[tokio::test]
async fn described_bodies_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (app, router) = service(folder.path()).await;
    let admin = bootstrapped(&app).await;
    let project = make_project(&app, "demo").await;
    let (own, token) = person(&app, "boss", "admin", &project).await;
    let mut asked = 0;
    for row in api().table().rows {
        let Some(kind) = row
            .body
            .as_ref()
            .and_then(|body| body["required"][0].as_str())
        else {
            continue;
        };
        let id: &str = match row.path.split('/').nth(2) {
            Some("users") if row.path.contains("application_credentials") => &own,
            Some("users") => &admin,
            Some("projects") => &project,
            Some("domains") => "default",
            Some("regions") => "RegionOne",
            _ => "x",
        };
        let path = row.path.replace("{user_id}", id).replace("{id}", id);
        let (status, _, body) =
            testing::call(&router, &token, row.method.clone(), &path, json!({"x": {}})).await;
        if id == "x" && status.as_u16() == 404 {
            continue;
        }
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(
            status.as_u16() == 400 && message.contains(&format!("Expecting to find {kind} ")),
            "{} {path}: {status} {body}",
            row.method
        );
        asked += 1;
    }
    assert!(asked >= 13, "{asked}");
}

/// Makes what a first start makes; the administrator's id.
async fn bootstrapped(app: &App) -> String {
    let bootstrap = Bootstrap {
        admin_password: Some(Secret::new("s3cret")),
        admin_password_file: None,
        services: Vec::new(),
    };
    app.bootstrap(&bootstrap, "RegionOne").await.unwrap();
    id_of_user(app, "admin").await.unwrap()
}

async fn make_project(app: &App, name: &str) -> String {
    let row = project::Model {
        id: new_id(),
        name: name.to_owned(),
        domain_id: "default".to_owned(),
        parent_id: "default".to_owned(),
        is_domain: false,
        enabled: true,
        description: String::new(),
        extra: "{}".to_owned(),
    };
    let id = row.id.clone();
    project::Entity::insert(row.into_active_model())
        .exec_without_returning(&app.db)
        .await
        .unwrap();
    id
}

async fn id_of_user(app: &App, name: &str) -> Option<String> {
    let find = user::Entity::find().filter(user::Column::Name.eq(name));
    find.one(&app.db).await.unwrap().map(|row| row.id)
}

/// A user with a role in a project: its id, and a token.
async fn person(app: &App, name: &str, role_name: &str, project: &str) -> (String, String) {
    let user = user::Model {
        id: new_id(),
        name: name.to_owned(),
        domain_id: "default".to_owned(),
        default_project_id: String::new(),
        enabled: true,
        password_hash: String::new(),
        tokens_valid_from: 0,
        extra: "{}".to_owned(),
    };
    let role = role::Entity::find()
        .filter(role::Column::Name.eq(role_name))
        .one(&app.db)
        .await
        .unwrap()
        .unwrap();
    let grant = assignment::Model {
        actor_kind: "user".to_owned(),
        actor_id: user.id.clone(),
        target_kind: "project".to_owned(),
        target_id: project.to_owned(),
        role_id: role.id,
    };
    let id = user.id.clone();
    user::Entity::insert(user.into_active_model())
        .exec_without_returning(&app.db)
        .await
        .unwrap();
    assignment::Entity::insert(grant.into_active_model())
        .exec_without_returning(&app.db)
        .await
        .unwrap();
    let token = token(app, &id, TokenScope::Project(project.to_owned())).await;
    (id, token)
}

async fn token(app: &App, user: &str, scope: TokenScope) -> String {
    let made = app.token_for_ec2(user.to_owned(), scope, String::new());
    made.await.unwrap().0
}

#[tokio::test]
async fn who_may_call_what() {
    let folder = tempfile::tempdir().unwrap();
    let (app, router) = service(folder.path()).await;
    let admin = bootstrapped(&app).await;
    let (demo, elsewhere) = (
        make_project(&app, "demo").await,
        make_project(&app, "elsewhere").await,
    );
    let (member_id, member) = person(&app, "member", "member", &demo).await;
    let personas = [
        ("system", token(&app, &admin, TokenScope::System).await),
        ("admin", person(&app, "boss", "admin", &demo).await.1),
        ("service", person(&app, "nova", "service", &demo).await.1),
        ("manager", person(&app, "manager", "manager", &demo).await.1),
        ("member", member),
        ("reader", person(&app, "reader", "reader", &demo).await.1),
        ("other", person(&app, "other", "member", &elsewhere).await.1),
        ("none", String::new()),
    ];
    let mut table = format!("{:7}{:96}", "", "row");
    for (name, _) in &personas {
        write!(table, "{name:>8}").unwrap();
    }
    let mut rows: Vec<(&'static str, Method)> = api()
        .rows()
        .map(|(method, path, ..)| (path, method.clone()))
        .collect();
    rows.sort_by(|a, b| (a.0, a.1.as_str()).cmp(&(b.0, b.1.as_str())));
    for (path, method) in rows {
        let called = filled_in(path, &method, &demo, &member_id);
        write!(table, "\n{:7}{path:96}", method.as_str()).unwrap();
        for (_, token) in &personas {
            let (status, ..) =
                testing::call(&router, token, method.clone(), &called, Value::Null).await;
            write!(table, "{:>8}", status.as_u16()).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

/// A path with ids: of the project `demo` and the user `member` where they are only read.
fn filled_in(path: &str, method: &Method, demo: &str, member: &str) -> String {
    let reads = *method == Method::GET || *method == Method::HEAD;
    let mut before = "";
    let mut parts = Vec::new();
    for part in path.split('/') {
        let id = match before {
            "projects" if reads => demo,
            "users" if reads => member,
            "domains" if reads => "default",
            "regions" if reads => "RegionOne",
            _ => "x",
        };
        parts.push(if part.starts_with('{') { id } else { part });
        before = part;
    }
    parts.join("/")
}
