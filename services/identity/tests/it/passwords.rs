//! Rules for passwords, locked users, and one-time passwords.

use super::{config, password, project, token, world::World};
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, StatusCode};
use identity::{Config, SecurityConfig};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use serde_json::{Value, json};
use service_kit::testing::{call, databases};

fn with_rules(rules: SecurityConfig) -> Config {
    let mut config = config("nova");
    config.security_compliance = rules;
    config
}

/// Status and message of a login without a scope.
async fn login(world: &World, user: &str, word: &str) -> (StatusCode, String) {
    let (status, _, body) = token(&world.router, password(user, word, json!("unscoped"))).await;
    let message = body["error"]["message"].as_str().unwrap_or_default();
    (status, message.to_owned())
}

/// Changes one's own password, without a token.
async fn change(world: &World, user: &str, old: &str, new: &str) -> (StatusCode, Value) {
    let path = format!("/v3/users/{user}/password");
    let body = json!({"user": {"original_password": old, "password": new}});
    let (status, _, body) = call(&world.router, "", Method::POST, &path, body).await;
    (status, body)
}

/// As if time had passed.
async fn sql(db: &DatabaseConnection, statement: &str) {
    db.execute_unprepared(statement).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_follow_the_rules() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let rules = SecurityConfig {
            password_expires_days: Some(90),
            minimum_password_age_days: 1,
            unique_last_password_count: 2,
            password_regexes: vec!["^.{6,}$".into(), "[a-z]".into()],
            password_regex_description: "six characters and a letter".into(),
            change_password_upon_first_use: true,
            ..SecurityConfig::default()
        };
        let world = World::with(&db, folder.path(), with_rules(rules)).await;
        let weak = json!({"user": {"name": "eve", "password": "kurz"}});
        let (status, body) = world.admin(Method::POST, "/v3/users", weak).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            body.to_string().contains("six characters and a letter"),
            "{body}"
        );
        let eve = world.user("eve").await;
        let own = format!("/v3/users/{eve}");

        // What an administrator has set is changed first, by the old password alone.
        let (status, message) = login(&world, "eve", "geheim").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(
            message.contains("expired and needs to be changed"),
            "{message}"
        );
        let (status, message) = login(&world, "eve", "falsch").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(
            !message.contains("expired"),
            "only who knows it is told: {message}"
        );
        assert_eq!(
            change(&world, &eve, "falsch", "zweites").await.0,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            change(&world, "nobody", "geheim", "zweites").await.0,
            StatusCode::UNAUTHORIZED
        );
        for new in ["kurz", "geheim"] {
            assert_eq!(
                change(&world, &eve, "geheim", new).await.0,
                StatusCode::BAD_REQUEST
            );
        }
        let (status, body) = change(&world, &eve, "geheim", "zweites").await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
        assert_eq!(login(&world, "eve", "zweites").await.0, StatusCode::CREATED);
        let (_, _, body) = token(&world.router, password("eve", "zweites", Value::Null)).await;
        let expires = body["token"]["user"]["password_expires_at"]
            .as_str()
            .unwrap()
            .to_owned();
        let (_, body) = world.admin(Method::GET, &own, Value::Null).await;
        assert_eq!(body["user"]["password_expires_at"], json!(expires));

        // Not again on the same day, and not one of the last two.
        let (status, body) = change(&world, &eve, "zweites", "drittes").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.to_string().contains("minimum password age"), "{body}");
        sql(
            &db,
            "UPDATE accounts SET password_set_at = password_set_at - 86400000000",
        )
        .await;
        for again in ["geheim", "zweites"] {
            let (status, body) = change(&world, &eve, "zweites", again).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert!(
                body.to_string().contains("identical to a previous"),
                "{body}"
            );
        }
        assert_eq!(
            change(&world, &eve, "zweites", "drittes").await.0,
            StatusCode::NO_CONTENT
        );
        sql(
            &db,
            "UPDATE accounts SET password_set_at = password_set_at - 86400000000",
        )
        .await;
        assert_eq!(
            change(&world, &eve, "drittes", "geheim").await.0,
            StatusCode::NO_CONTENT
        );

        // Found by when they expire.
        let found = async |query: &str| {
            let path = format!("/v3/users?password_expires_at={query}");
            let (status, body) = world.admin(Method::GET, &path, Value::Null).await;
            (status, body["users"].as_array().map_or(0, Vec::len))
        };
        assert_eq!(found("gt:2001-01-01T00:00:00Z").await, (StatusCode::OK, 1));
        assert_eq!(found("lt:2001-01-01T00:00:00Z").await, (StatusCode::OK, 0));
        for wrong in ["gt:yesterday", "about:2001-01-01T00:00:00Z"] {
            assert_eq!(found(wrong).await.0, StatusCode::BAD_REQUEST);
        }
        sql(
            &db,
            "UPDATE accounts SET password_expires_at = 1 WHERE password_expires_at > 0",
        )
        .await;
        assert_eq!(found("lt:2001-01-01T00:00:00Z").await, (StatusCode::OK, 1));
        assert_eq!(
            login(&world, "eve", "geheim").await.0,
            StatusCode::UNAUTHORIZED
        );

        // Options take one out of the rules; wrong ones change nothing.
        let options = json!({"user": {"password": "fuenftes", "options": {
            "ignore_change_password_upon_first_use": true, "ignore_password_expiry": true,
            "lock_password": true}}});
        let (status, body) = world.admin(Method::PATCH, &own, options).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["user"]["password_expires_at"], Value::Null);
        assert_eq!(body["user"]["options"]["lock_password"], json!(true));
        assert_eq!(
            login(&world, "eve", "fuenftes").await.0,
            StatusCode::CREATED
        );
        let (status, body) = change(&world, &eve, "fuenftes", "sechstes").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.to_string().contains("disallowing"), "{body}");
        let wrong = json!({"user": {"name": "other", "options": {"unknown": true}}});
        let (status, _) = world.admin(Method::PATCH, &own, wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let unlock = json!({"user": {"options": {"lock_password": null}}});
        let (_, body) = world.admin(Method::PATCH, &own, unlock).await;
        assert_eq!(
            (
                &body["user"]["name"],
                &body["user"]["options"]["lock_password"]
            ),
            (&json!("eve"), &Value::Null)
        );
        assert_eq!(
            change(&world, &eve, "fuenftes", "sechstes").await.0,
            StatusCode::NO_CONTENT
        );
        assert_eq!(
            login(&world, "nova", "nova").await.0,
            StatusCode::CREATED,
            "the configuration's own users"
        );
        let (status, _) = world.admin(Method::DELETE, &own, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_locks_a_user_for_a_while() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let rules = SecurityConfig {
            lockout_failure_attempts: Some(3),
            lockout_duration_seconds: 600,
            ..SecurityConfig::default()
        };
        let world = World::with(&db, folder.path(), with_rules(rules)).await;
        let eve = world.user("eve").await;
        for _ in 0..2 {
            assert_eq!(
                login(&world, "eve", "falsch").await.0,
                StatusCode::UNAUTHORIZED
            );
        }
        assert_eq!(login(&world, "eve", "geheim").await.0, StatusCode::CREATED);
        // The right one has begun the count anew; changing counts as well.
        for _ in 0..2 {
            assert_eq!(
                login(&world, "eve", "falsch").await.0,
                StatusCode::UNAUTHORIZED
            );
        }
        assert_eq!(
            change(&world, &eve, "falsch", "neues").await.0,
            StatusCode::UNAUTHORIZED
        );
        let (status, message) = login(&world, "eve", "geheim").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(message, format!("The account is locked for user: {eve}."));
        assert_eq!(
            change(&world, &eve, "geheim", "neues").await.0,
            StatusCode::UNAUTHORIZED
        );
        sql(&db, "UPDATE accounts SET failed_at = failed_at - 600000000").await;
        assert_eq!(
            login(&world, "eve", "falsch").await.0,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(login(&world, "eve", "geheim").await.0, StatusCode::CREATED);
        // Nobody locks the cloud's own services out.
        for _ in 0..4 {
            assert_eq!(
                login(&world, "nova", "falsch").await.0,
                StatusCode::UNAUTHORIZED
            );
        }
        assert_eq!(login(&world, "nova", "nova").await.0, StatusCode::CREATED);
    })
    .await;
}

fn seconds() -> u64 {
    chrono::Utc::now().timestamp().unsigned_abs()
}

/// The passcode that an authenticator shows at a time (RFC 6238).
fn passcode(key: &[u8], seconds: u64) -> String {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(key).unwrap();
    mac.update(&(seconds / 30).to_be_bytes());
    let digest: [u8; 20] = mac.finalize().into_bytes().into();
    let at = usize::from(digest[19] & 15);
    let number = u32::from_be_bytes(digest[at..at + 4].try_into().unwrap()) & 0x7FFF_FFFF;
    format!("{:06}", number % 1_000_000)
}

fn both(word: &str, passcode: &str) -> Value {
    let mut body = password("eve", word, project("demo"));
    body["auth"]["identity"]["methods"] = json!(["password", "totp"]);
    body["auth"]["identity"]["totp"] =
        json!({"user": {"name": "eve", "domain": {"id": "default"}, "passcode": passcode}});
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_users_prove_more_than_a_password() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let rules = SecurityConfig {
            lockout_failure_attempts: Some(3),
            ..SecurityConfig::default()
        };
        let world = World::with(&db, folder.path(), with_rules(rules)).await;
        let eve = world.person("eve", "member").await;
        let key = b"12345678901234567890";
        let blob = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let body = json!({"credential": {"type": "totp", "blob": blob}});
        let (status, body) = world
            .by(&eve.token, Method::POST, "/v3/credentials", body)
            .await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let ask = async |body: Value| {
            let (status, text, body) = token(&world.router, body).await;
            (status, text, body)
        };
        let own = format!("/v3/users/{}", eve.id);
        let rules = json!({"user": {"options": {"multi_factor_auth_enabled": true,
            "multi_factor_auth_rules": [["password", "totp"]]}}});
        let (status, _) = world.admin(Method::PATCH, &own, rules).await;
        assert_eq!(status, StatusCode::OK);
        // A password is not enough, and neither is a passcode.
        let alone = password("eve", "geheim", project("demo"));
        assert_eq!(ask(alone).await.0, StatusCode::UNAUTHORIZED);
        let now = passcode(key, seconds());
        let (status, text, body) = ask(both("geheim", &now)).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert_eq!(body["token"]["methods"], json!(["password", "totp"]));
        // A token made from it has proved as much.
        let again = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": text}},
            "scope": project("demo")}});
        assert_eq!(ask(again).await.0, StatusCode::CREATED);
        // No passcode is good twice, nor is one before it.
        assert_eq!(ask(both("geheim", &now)).await.0, StatusCode::UNAUTHORIZED);
        let before = passcode(key, seconds() - 30);
        assert_eq!(
            ask(both("geheim", &before)).await.0,
            StatusCode::UNAUTHORIZED
        );
        sql(&db, "UPDATE totp_uses SET step = step - 10").await;
        let old = passcode(key, seconds() - 90);
        let (status, _, body) = ask(both("geheim", &old)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(!body.to_string().contains("locked"), "{body}");
        // Three wrong passcodes lock the user, although the password was right each time.
        let (_, _, body) = ask(both("geheim", &passcode(key, seconds()))).await;
        assert!(body.to_string().contains("locked"), "{body}");
        for wrong in [
            json!({"auth": {"identity": {"methods": ["totp"]}}}),
            json!({"auth": {"identity": {"methods": ["totp"], "totp": {"user": {"id": eve.id}}}}}),
        ] {
            assert_eq!(ask(wrong).await.0, StatusCode::BAD_REQUEST);
        }
    })
    .await;
}
