//! `/os-keypairs`: import or generate; of a generated pair only the public half is kept.

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::StatusCode;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use service_kit::store::is_duplicate;
use service_kit::{ApiError, Json, Page, Path, Query, RequestContext};
use tokio::process::Command;

use super::{State, bad, conflict, long_time, not_found, required_text, text};
use crate::store::StoreError;
use crate::store::entities::key_pair::Model;
use crate::store::flavors;

fn view(key: &Model, who: &RequestContext) -> Value {
    let mut out =
        json!({"name": key.name, "public_key": key.public_key, "fingerprint": key.fingerprint});
    if who.at_least(2, 2) {
        out["type"] = json!(key.kind);
    }
    out
}

/// Whose keys: one's own, or from 2.10 for administrators another user's.
fn owner(who: &RequestContext, asked: Option<&str>) -> Result<String, ApiError> {
    match asked {
        Some(user) if who.at_least(2, 10) && user != who.user_id => {
            if who.is_admin {
                Ok(user.to_owned())
            } else {
                Err(ApiError::policy("os_compute_api:os-keypairs"))
            }
        }
        _ => Ok(who.user_id.clone()),
    }
}

/// GET.
pub async fn list(app: State, who: RequestContext, query: Query) -> Result<Json<Value>, ApiError> {
    let all = flavors::key_pairs(&app.db, &owner(&who, query.get("user_id"))?).await?;
    let (found, _) = if who.at_least(2, 35) {
        Page::from_query(&query, 1000)?.cut(all, |key| key.name.as_str())?
    } else {
        (all, false)
    };
    Ok(Json(
        json!({"keypairs": found.iter().map(|key| json!({"keypair": view(key, &who)})).collect::<Vec<_>>()}),
    ))
}

/// GET of one.
pub async fn show(
    app: State,
    who: RequestContext,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    let user = owner(&who, query.get("user_id"))?;
    let key = flavors::find_key_pair(&app.db, &user, &name)
        .await?
        .ok_or_else(|| missing(&name, &user))?;
    let mut out = view(&key, &who);
    out["id"] = json!(key.seq);
    out["user_id"] = json!(key.user_id);
    out["created_at"] = json!(long_time(key.created_at));
    out["deleted"] = json!(false);
    out["deleted_at"] = Value::Null;
    out["updated_at"] = Value::Null;
    Ok(Json(json!({"keypair": out})))
}

fn missing(name: &str, user: &str) -> ApiError {
    not_found(format!("Keypair {name} not found for user {user}"))
}

/// DELETE.
pub async fn delete(
    app: State,
    who: RequestContext,
    Path(name): Path<String>,
    query: Query,
) -> Result<StatusCode, ApiError> {
    let user = owner(&who, query.get("user_id"))?;
    if flavors::delete_key_pair(&app.db, &user, &name).await? {
        Ok(if who.at_least(2, 2) {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::ACCEPTED
        })
    } else {
        Err(missing(&name, &user))
    }
}

/// POST.
pub async fn create(
    app: State,
    who: RequestContext,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    let wanted = body
        .get("keypair")
        .ok_or_else(|| bad("Invalid input: 'keypair' is a required property"))?;
    let name = required_text(wanted, "name", 190)?;
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_- .@".contains(c))
    {
        return Err(bad(
            "Keypair data is invalid: Keypair name contains unsafe characters",
        ));
    }
    if wanted["type"].as_str().is_some_and(|kind| kind != "ssh") {
        return Err(bad(
            "Invalid input for field/attribute type: only 'ssh' key pairs are supported.",
        ));
    }
    let user = owner(&who, wanted["user_id"].as_str())?;
    let limit = flavors::quotas(&app.db, &who.project_id)
        .await?
        .get("key_pairs")
        .copied()
        .unwrap_or(-1);
    if limit >= 0 && flavors::key_pairs(&app.db, &user).await?.len() as i64 >= limit {
        return Err(ApiError::forbidden(
            "forbidden",
            "Quota exceeded, too many key pairs.",
        ));
    }
    let (public, private) = match text(wanted, "public_key", 65_535)? {
        Some(key) => (key, None),
        None => {
            let (public, private) = generate(&name).await?;
            (public, Some(private))
        }
    };
    let print = fingerprint(&public)
        .ok_or_else(|| bad("Keypair data is invalid: failed to generate fingerprint"))?;
    let key =
        match flavors::insert_key_pair(&app.db, &user, &name, "ssh", public.trim(), &print).await {
            Ok(key) => key,
            Err(StoreError::Database(error)) if is_duplicate(&error) => {
                return Err(conflict(format!("Key pair '{name}' already exists.")));
            }
            Err(error) => return Err(error.into()),
        };
    let mut out = view(&key, &who);
    out["user_id"] = json!(key.user_id);
    if let Some(private) = private {
        out["private_key"] = json!(private);
    }
    let status = if who.at_least(2, 2) {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(json!({"keypair": out}))).into_response())
}

/// MD5 of the key's blob in pairs of digits, as upstream shows it.
fn fingerprint(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (kind, blob) = (words.next()?, words.next()?);
    let blob = base64::engine::general_purpose::STANDARD
        .decode(blob)
        .ok()?;
    // The blob begins with its own kind (RFC 4253 6.6).
    let length = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?) as usize;
    if blob.get(4..4usize.checked_add(length)?)? != kind.as_bytes() {
        return None;
    }
    Some(
        Md5::digest(&blob)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(":"),
    )
}

/// A new RSA pair in PEM, which every client can read. `ssh-keygen` writes it into a folder that only we may read.
async fn generate(name: &str) -> Result<(String, String), ApiError> {
    let folder = tempfile::tempdir().map_err(ApiError::internal)?;
    let path = folder.path().join("key");
    let run = Command::new("ssh-keygen")
        .args([
            "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-C", name, "-f",
        ])
        .arg(&path)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(50), run)
        .await
        .map_err(ApiError::internal)?;
    let output = output.map_err(|error| {
        ApiError::internal(format!("ssh-keygen (package openssh-client): {error}"))
    })?;
    if !output.status.success() {
        return Err(ApiError::internal(format!(
            "ssh-keygen: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let private = tokio::fs::read_to_string(&path)
        .await
        .map_err(ApiError::internal)?;
    let public = tokio::fs::read_to_string(path.with_extension("pub"))
        .await
        .map_err(ApiError::internal)?;
    Ok((public.trim().to_owned(), private))
}

#[cfg(test)]
mod tests {
    use super::fingerprint;
    use proptest::prelude::*;

    #[test]
    fn prints() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me";
        assert_eq!(
            fingerprint(key).as_deref(),
            Some("65:96:2d:fc:e8:d5:a9:11:64:0c:0f:ea:00:6e:5b:bd")
        );
        assert_eq!(fingerprint(&key.replace("ssh-ed25519", "ssh-rsa")), None);
        assert_eq!(fingerprint("nonsense"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(line in any::<String>()) {
            let _ = fingerprint(&line);
        }
    }
}
