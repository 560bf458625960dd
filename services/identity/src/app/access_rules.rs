//! Access rules: the requests that an application credential is for. Who holds them is `service-kit`: each service compares.

use crate::{
    app::{App, new_id, not_found},
    store::access_rules::{digest, rule},
};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, store};
use std::collections::HashMap;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const MOST: usize = 100;
const LONGEST_PATH: usize = 128;

/// A rule as a request asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// One that the user has.
    Known(String),
    /// Service, path and method.
    Named(String, String, String),
}

/// The list of a request; nothing when there is none.
pub fn parse(value: Option<Value>) -> Result<Option<Vec<Wanted>>, ApiError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) if (1..=MOST).contains(&list.len()) => {
            list.iter().map(one).collect::<Result<_, _>>().map(Some)
        }
        // An empty list could be taken for "nothing" as for "everything".
        Some(_) => Err(invalid(&format!("expected a list of 1 to {MOST} rules"))),
    }
}

fn invalid(reason: &str) -> ApiError {
    ApiError::bad_request(
        "BadRequest",
        format!("Invalid input for field 'access_rules' of application_credential: {reason}."),
    )
}

fn one(value: &Value) -> Result<Wanted, ApiError> {
    let rule = value
        .as_object()
        .ok_or_else(|| invalid("expected objects"))?;
    let text = |name: &str| rule.get(name).and_then(Value::as_str);
    let only = |names: &[&str]| rule.keys().all(|key| names.contains(&key.as_str()));
    if let (Some(id), true) = (text("id"), only(&["id"])) {
        return Ok(Wanted::Known(id.to_owned()));
    }
    let (Some(service), Some(path), Some(method), true) = (
        text("service"),
        text("path"),
        text("method"),
        only(&["service", "path", "method"]),
    ) else {
        return Err(invalid(
            "a rule has service, path and method, or the id of one that is there",
        ));
    };
    if service.is_empty() || service.len() > 64 {
        return Err(invalid("a service has 1 to 64 characters"));
    }
    if !path.starts_with('/') || path.len() > LONGEST_PATH {
        return Err(invalid(&format!(
            "a path begins with a slash and has {LONGEST_PATH} characters at most"
        )));
    }
    if !METHODS.contains(&method) {
        return Err(invalid(&format!(
            "a method is one of {}",
            METHODS.join(", ")
        )));
    }
    Ok(Wanted::Named(
        service.to_owned(),
        path.to_owned(),
        method.to_owned(),
    ))
}

/// A rule as the API prints it.
pub fn view(row: &rule::Model) -> Value {
    json!({"id": row.id, "service": row.service, "path": row.path, "method": row.method})
}

impl App {
    /// The ids of a user's rules; those that are not there yet are made. A rule that nobody holds gives nothing.
    pub async fn access_rules(
        &self,
        user_id: &str,
        wanted: &[Wanted],
    ) -> Result<Vec<rule::Model>, ApiError> {
        let mut tries = 0;
        loop {
            let rows = rule::Entity::find()
                .filter(rule::Column::UserId.eq(user_id))
                .all(&self.db)
                .await?;
            let by_digest: HashMap<&str, &rule::Model> =
                rows.iter().map(|row| (row.digest.as_str(), row)).collect();
            let mut found: Map<String, Value> = Map::new();
            let mut chosen = Vec::new();
            let mut missing = Vec::new();
            for wanted in wanted {
                let row = match wanted {
                    Wanted::Known(id) => {
                        let row = rows.iter().find(|row| row.id == *id);
                        Some(row.ok_or_else(|| not_found("access rule", id))?.clone())
                    }
                    Wanted::Named(service, path, method) => {
                        let digest = digest(service, path, method);
                        let row = by_digest.get(digest.as_str()).copied().cloned();
                        row.or_else(|| {
                            let row = rule::Model {
                                id: new_id(),
                                user_id: user_id.to_owned(),
                                service: service.clone(),
                                path: path.clone(),
                                method: method.clone(),
                                digest: digest.clone(),
                            };
                            let new = !found.contains_key(&digest);
                            new.then(|| missing.push(row.clone()));
                            new.then_some(row)
                        })
                    }
                };
                // The same rule twice is one.
                if let Some(row) = row
                    && found.insert(row.digest.clone(), Value::Null).is_none()
                {
                    chosen.push(row);
                }
            }
            if missing.is_empty() {
                return Ok(chosen);
            }
            let new = missing.into_iter().map(IntoActiveModel::into_active_model);
            match rule::Entity::insert_many(new)
                .exec_without_returning(&self.db)
                .await
            {
                Ok(_) => return Ok(chosen),
                // Another request has made the same rule meanwhile.
                Err(error) if store::is_duplicate(&error) && tries < 5 => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_checked() {
        let rule = json!({"service": "compute", "path": "/v2.1/servers", "method": "GET"});
        let read = parse(Some(json!([rule, {"id": "7"}]))).unwrap().unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1], Wanted::Known("7".into()));
        assert_eq!(parse(None).unwrap(), None);
        assert_eq!(parse(Some(Value::Null)).unwrap(), None);
        let with = |name: &str, value: Value| {
            let mut changed = rule.clone();
            changed[name] = value;
            json!([changed])
        };
        for wrong in [
            json!([]),
            json!("all"),
            json!([7]),
            json!([{}]),
            json!([{"id": 7}]),
            with("method", json!("get")),
            with("method", json!("TRACE")),
            with("path", json!("v2.1")),
            with("path", json!(format!("/{}", "x".repeat(LONGEST_PATH)))),
            with("service", json!("")),
            with("id", json!("7")),
            with("color", json!("red")),
        ] {
            assert_eq!(
                parse(Some(wrong.clone())).unwrap_err().status,
                400,
                "{wrong}"
            );
        }
    }
}
