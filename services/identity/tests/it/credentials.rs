//! Credentials and EC2 keys: whose they are, how they are kept, and what they give.

use super::{
    config, password, project, token,
    world::{Person, World},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, StatusCode};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value, json};
use service_kit::{
    Secret,
    testing::{call, databases},
};

const PATH: &str = "/v3/credentials";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_has_their_own_credentials() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let eve = world.person("eve", "member").await;
        let mallory = world.person("mallory", "member").await;
        let body = json!({"credential": {"type": "cert", "blob": "geheimes Papier", "user_id": eve.id,
            "note": "kept"}});
        let (status, made) = world.by(&eve.token, Method::POST, PATH, body).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let made = &made["credential"];
        assert_eq!(made["blob"], "geheimes Papier");
        assert_eq!(
            (&made["project_id"], &made["note"]),
            (&Value::Null, &json!("kept"))
        );
        let one = format!("{PATH}/{}", made["id"].as_str().unwrap());
        assert!(made["links"]["self"].as_str().unwrap().ends_with(&one));

        // Nothing readable reaches the database.
        let rows = stored(&db).await;
        assert_eq!(rows.len(), 1);
        assert!(!rows[0].contains("geheim"), "{rows:?}");

        let (status, shown) = world.by(&eve.token, Method::GET, &one, Value::Null).await;
        assert_eq!((status, &shown["credential"]), (StatusCode::OK, made));
        for method in [Method::GET, Method::DELETE] {
            let (status, _) = world.by(&mallory.token, method, &one, Value::Null).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
        // Neither for another, nor given to another.
        let body = json!({"credential": {"type": "cert", "blob": "x", "user_id": eve.id}});
        let (status, _) = world.by(&mallory.token, Method::POST, PATH, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let body = json!({"credential": {"user_id": mallory.id}});
        let (status, _) = world.by(&eve.token, Method::PATCH, &one, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN);

        let body = json!({"credential": {"blob": "neu"}});
        let (status, changed) = world.by(&eve.token, Method::PATCH, &one, body).await;
        assert_eq!(
            (status, &changed["credential"]["blob"]),
            (StatusCode::OK, &json!("neu"))
        );
        let count = async |token: &str, query: &str| {
            let path = format!("{PATH}{query}");
            let (status, body) = world.by(token, Method::GET, &path, Value::Null).await;
            assert_eq!(status, StatusCode::OK);
            body["credentials"].as_array().unwrap().len()
        };
        let of_eve = format!("?user_id={}", eve.id);
        assert_eq!(count(&mallory.token, "").await, 0);
        assert_eq!(count(&mallory.token, &of_eve).await, 0);
        assert_eq!(count(&eve.token, "").await, 1);
        assert_eq!(count(&world.admin, &of_eve).await, 1);
        assert_eq!(count(&world.admin, "?type=cert").await, 1);
        assert_eq!(count(&world.admin, "?type=totp").await, 0);

        for wrong in [
            json!({"type": "cert", "blob": 7, "user_id": eve.id}),
            json!({"type": "cert", "user_id": eve.id}),
            json!({"blob": "x", "user_id": eve.id}),
            json!({"type": "", "blob": "x", "user_id": eve.id}),
            json!({"type": "ec2", "blob": "{\"access\": \"a\", \"secret\": \"b\"}", "user_id": eve.id}),
            json!({"type": "ec2", "blob": "no json", "user_id": eve.id, "project_id": world.demo}),
        ] {
            let body = json!({"credential": wrong});
            let (status, answer) = world.by(&eve.token, Method::POST, PATH, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {answer}");
        }
        assert_eq!(count(&world.admin, "").await, 1);
        let (status, _) = world.admin(Method::GET, &format!("{PATH}/none"), Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, _) = world.by(&eve.token, Method::DELETE, &one, Value::Null).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(count(&world.admin, "").await, 0);
    })
    .await;
}

async fn stored(db: &DatabaseConnection) -> Vec<String> {
    let query = "SELECT sealed, extra FROM credentials";
    let statement = Statement::from_string(db.get_database_backend(), query);
    let rows = db.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| {
            let text = |name| row.try_get::<String>("", name).unwrap();
            text("sealed") + &text("extra")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_with_the_same_secret_read_each_others_credentials() {
    databases::each(async |db| {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let with_secret = |secret: &str| {
            let mut config = config("nova");
            config.credential.secret = Some(Secret::new(secret));
            config
        };
        let first = World::with(&db, folders[0].path(), with_secret("0123456789abcdef")).await;
        let body = json!({"credential": {"type": "cert", "blob": "x"}});
        let (status, made) = first.admin(Method::POST, PATH, body).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let one = format!("{PATH}/{}", made["credential"]["id"].as_str().unwrap());
        for (at, secret, expected) in [
            (1, "0123456789abcdef", StatusCode::OK),
            (2, "fedcba9876543210", StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            let config = with_secret(secret);
            let router = super::start(&db, folders[at].path(), config).await;
            let (_, admin, _) = token(&router, password("admin", "s3cret", project("admin"))).await;
            let (status, _, body) = call(&router, &admin, Method::GET, &one, Value::Null).await;
            assert_eq!(status, expected, "{body}");
        }
    })
    .await;
}

/// A pair of keys for `demo`: access key and secret.
async fn pair(world: &World, person: &Person, token: &str) -> (String, String) {
    let path = format!("/v3/users/{}/credentials/OS-EC2", person.id);
    let body = json!({"tenant_id": world.demo});
    let (status, body) = world.by(token, Method::POST, &path, body).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let text = |name: &str| body["credential"][name].as_str().unwrap().to_owned();
    (text("access"), text("secret"))
}

/// A request that is signed now, by version 2.
fn signed(access: &str, secret: &str) -> Value {
    let time = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let query = format!(
        "AWSAccessKeyId={access}&Action=DescribeStacks&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp={}",
        time.replace(':', "%3A")
    );
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("GET\ncfn.example.org\n/v1\n{query}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    json!({"credentials": {"access": access, "signature": signature, "host": "cfn.example.org:8000",
        "verb": "GET", "path": "/v1", "params": {"AWSAccessKeyId": access, "Action": "DescribeStacks",
        "SignatureMethod": "HmacSHA256", "SignatureVersion": "2", "Timestamp": time}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_request_gives_a_token_to_services() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let eve = world.person("eve", "member").await;
        let mallory = world.person("mallory", "member").await;
        let (_, nova, _) = token(&world.router, password("nova", "nova", project("service"))).await;
        let (access, secret) = pair(&world, &eve, &eve.token).await;
        let ask = async |token: &str, body: Value| {
            call(&world.router, token, Method::POST, "/v3/ec2tokens", body).await
        };
        let (status, headers, body) = ask(&nova, signed(&access, &secret)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let body = &body["token"];
        assert_eq!(body["methods"], json!(["ec2credential"]));
        assert_eq!(
            (&body["user"]["id"], &body["project"]["id"]),
            (&json!(eve.id), &json!(world.demo))
        );
        let hers = headers["x-subject-token"].to_str().unwrap();
        let own = format!("/v3/users/{}", eve.id);
        let (status, _) = world.by(hers, Method::GET, &own, Value::Null).await;
        assert_eq!(status, StatusCode::OK);

        // Not to anybody, not for anything else.
        let (status, ..) = ask(&mallory.token, signed(&access, &secret)).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (status, ..) = ask("", signed(&access, &secret)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        for wrong in [
            signed(&access, "other"),
            signed("other", &secret),
            json!({}),
            json!({"credentials": {"access": access}}),
        ] {
            let (status, headers, body) = ask(&nova, wrong).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
            assert!(!headers.contains_key("x-subject-token"));
        }
        let (status, ..) = ask(&nova, json!({"credentials": {"access": "a", "params": 7}})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);

        let all = format!("{own}/credentials/OS-EC2");
        let one = format!("{all}/{access}");
        let (status, body) = world.by(&eve.token, Method::GET, &all, Value::Null).await;
        assert_eq!(
            (status, &body["credentials"][0]["secret"]),
            (StatusCode::OK, &json!(secret))
        );
        let link = body["credentials"][0]["links"]["self"].as_str().unwrap();
        assert!(link.ends_with(&one), "{link}");
        for path in [&all, &one] {
            let (status, _) = world
                .by(&mallory.token, Method::GET, path, Value::Null)
                .await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
        // It is one of the credentials, too.
        let (_, body) = world
            .by(
                &eve.token,
                Method::GET,
                "/v3/credentials?type=ec2",
                Value::Null,
            )
            .await;
        assert_eq!(body["credentials"][0]["project_id"], json!(world.demo));
        let (status, _) = world
            .by(&eve.token, Method::DELETE, &one, Value::Null)
            .await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let (status, _) = world.by(&eve.token, Method::GET, &one, Value::Null).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, ..) = ask(&nova, signed(&access, &secret)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let missing = json!({"tenant_id": "none"});
        let (status, _) = world.by(&eve.token, Method::POST, &all, missing).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let (status, _) = world.by(&eve.token, Method::POST, &all, json!({})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_were_made_by_a_trust_give_no_more_than_the_trust() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let eve = world.person("eve", "member").await;
        let (_, nova, body) =
            token(&world.router, password("nova", "nova", project("service"))).await;
        let nova_id = &body["token"]["user"]["id"];
        let (free, _) = pair(&world, &eve, &eve.token).await;
        let wanted = json!({"trust": {"trustor_user_id": eve.id, "trustee_user_id": nova_id,
            "project_id": world.demo, "impersonation": true, "roles": [{"name": "reader"}]}});
        let path = "/v3/OS-TRUST/trusts";
        let (status, trust) = world.by(&eve.token, Method::POST, path, wanted).await;
        assert_eq!(status, StatusCode::CREATED, "{trust}");
        let trust_id = &trust["trust"]["id"];
        let scope = json!({"OS-TRUST:trust": {"id": trust_id}});
        let (_, acting, _) = token(&world.router, password("nova", "nova", scope)).await;
        let (access, secret) = pair(&world, &eve, &acting).await;
        let path = "/v3/ec2tokens";
        let (status, body) = world
            .by(&nova, Method::POST, path, signed(&access, &secret))
            .await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["token"]["OS-TRUST:trust"]["id"], *trust_id);
        assert_eq!(body["token"]["roles"].as_array().unwrap().len(), 1);

        // The trustee sees its own pair and not the one that gives more.
        let all = format!("/v3/users/{}/credentials/OS-EC2", eve.id);
        let (_, body) = world.by(&acting, Method::GET, &all, Value::Null).await;
        assert_eq!(body["credentials"].as_array().unwrap().len(), 1);
        assert_eq!(body["credentials"][0]["access"], json!(access));
        let (status, _) = world
            .by(&acting, Method::GET, &format!("{all}/{free}"), Value::Null)
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        // The bond cannot be taken off.
        let (_, body) = world.by(&acting, Method::GET, PATH, Value::Null).await;
        let one = format!("{PATH}/{}", body["credentials"][0]["id"].as_str().unwrap());
        let blob = json!({"access": access, "secret": secret}).to_string();
        for change in [json!({"blob": blob}), json!({"type": "cert"})] {
            let body = json!({"credential": change});
            let (status, body) = world.by(&acting, Method::PATCH, &one, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        }
        let path = format!("/v3/OS-TRUST/trusts/{}", trust_id.as_str().unwrap());
        world
            .by(&eve.token, Method::DELETE, &path, Value::Null)
            .await;
        let path = "/v3/ec2tokens";
        let (status, _) = world
            .by(&nova, Method::POST, path, signed(&access, &secret))
            .await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restricted_program_manages_no_credentials() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let eve = world.person("eve", "member").await;
        pair(&world, &eve, &eve.token).await;
        let all = format!("/v3/users/{}/credentials/OS-EC2", eve.id);
        for (unrestricted, expected, seen) in [
            (false, StatusCode::FORBIDDEN, 0),
            (true, StatusCode::CREATED, 2),
        ] {
            let path = format!("/v3/users/{}/application_credentials", eve.id);
            let body = json!({"application_credential": {"name": format!("{unrestricted}"),
                "unrestricted": unrestricted}});
            let (_, made) = world.by(&eve.token, Method::POST, &path, body).await;
            let made = &made["application_credential"];
            let login = json!({"auth": {"identity": {"methods": ["application_credential"],
                "application_credential": {"id": made["id"], "secret": made["secret"]}}}});
            let (_, program, _) = token(&world.router, login).await;
            let body = json!({"tenant_id": world.demo});
            let (status, made) = world.by(&program, Method::POST, &all, body).await;
            assert_eq!(status, expected, "{made}");
            let (_, body) = world.by(&program, Method::GET, &all, Value::Null).await;
            assert_eq!(body["credentials"].as_array().unwrap().len(), seen);
        }
    })
    .await;
}
