//! `/v3/roles`, and what roles imply. Who has them where is in `grants.rs` and `assignments.rs`.

use super::{
    Shared,
    body::{Attributes, collection, or_null, single, v3},
    projects,
};
use crate::{
    app::{duplicate, new_id, not_found},
    store::entities::{assignment, implied_role, role},
};
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DbErr, EntityTrait,
    IntoActiveModel, ModelTrait, QueryFilter, QueryOrder,
};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, store};
use std::collections::{BTreeMap, HashMap};

/// A role as the API prints it.
pub fn view(row: &role::Model) -> Value {
    json!({
        "id": row.id,
        "name": row.name,
        "domain_id": or_null(&row.domain_id),
        "description": or_null(&row.description),
        "options": {},
    })
}

/// A role, or 404.
pub async fn find(app: &Shared, id: &str) -> Result<role::Model, ApiError> {
    role::Entity::find_by_id(id)
        .one(&app.db)
        .await?
        .ok_or_else(|| not_found("role", id))
}

pub async fn list(
    State(app): State<Shared>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let mut select = role::Entity::find().order_by_asc(role::Column::Name);
    if query.get("domain_id").is_none() {
        // Without a domain only the global roles are meant.
        select = select.filter(role::Column::DomainId.eq(""));
    }
    let rows = select.all(&app.db).await?;
    Ok(collection(
        "roles",
        "/roles",
        &v3(&app, &headers),
        &query,
        rows.iter().map(view).collect(),
    ))
}

pub async fn create(
    State(app): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut given = Attributes::open("role", body)?;
    let row = role::Model {
        id: new_id(),
        name: given.required_name()?,
        domain_id: given.nullable("domain_id")?.unwrap_or_default(),
        description: given.nullable("description")?.unwrap_or_default(),
    };
    if !row.domain_id.is_empty() {
        projects::find_domain(&app, &row.domain_id).await?;
    }
    role::Entity::insert(row.clone().into_active_model())
        .exec_without_returning(&app.db)
        .await
        .map_err(duplicate("role", &row.name))?;
    Ok((
        StatusCode::CREATED,
        Json(single("role", "roles", &v3(&app, &headers), view(&row))),
    ))
}

pub async fn show(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(single(
        "role",
        "roles",
        &v3(&app, &headers),
        view(&find(&app, &id).await?),
    )))
}

pub async fn update(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let row = find(&app, &id).await?;
    let old_name = row.name.clone();
    let mut given = Attributes::open("role", body)?;
    let mut row = row.into_active_model();
    if let Some(name) = given.name()? {
        row.name = Set(name);
    }
    if let Some(description) = given.nullable("description")? {
        row.description = Set(description);
    }
    let row = row
        .update(&app.db)
        .await
        .map_err(duplicate("role", &old_name))?;
    Ok(Json(single(
        "role",
        "roles",
        &v3(&app, &headers),
        view(&row),
    )))
}

pub async fn delete(
    State(app): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let row = find(&app, &id).await?;
    store::retry(async || {
        let tx = store::begin(&app.db).await?;
        forget(&tx, row.clone()).await?;
        tx.commit().await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a role, and takes it from everybody.
pub async fn forget(db: &impl ConnectionTrait, row: role::Model) -> Result<(), DbErr> {
    assignment::Entity::delete_many()
        .filter(assignment::Column::RoleId.eq(&row.id))
        .exec(db)
        .await?;
    for side in [
        implied_role::Column::PriorId,
        implied_role::Column::ImpliedId,
    ] {
        implied_role::Entity::delete_many()
            .filter(side.eq(&row.id))
            .exec(db)
            .await?;
    }
    row.delete(db).await?;
    Ok(())
}

/// Every role, by id.
pub async fn roles_by_id(app: &Shared) -> Result<HashMap<String, role::Model>, ApiError> {
    let rows = role::Entity::find().all(&app.db).await?;
    Ok(rows.into_iter().map(|row| (row.id.clone(), row)).collect())
}

/// A role as inference rules print it.
fn brief(row: &role::Model, v3: &str) -> Value {
    json!({"id": row.id, "name": row.name, "description": or_null(&row.description),
        "links": {"self": format!("{v3}/roles/{}", row.id)}})
}

pub async fn inferences(
    State(app): State<Shared>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let base = v3(&app, &headers);
    let by_id = roles_by_id(&app).await?;
    let mut grouped: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in implied_role::Entity::find().all(&app.db).await? {
        let implied = by_id.get(&row.implied_id).map(|role| brief(role, &base));
        grouped.entry(row.prior_id).or_default().extend(implied);
    }
    let list: Vec<Value> = grouped
        .into_iter()
        .filter_map(|(prior, implies)| {
            Some(json!({"prior_role": brief(by_id.get(&prior)?, &base), "implies": implies}))
        })
        .collect();
    Ok(Json(
        json!({"role_inferences": list, "links": {"self": format!("{base}/role_inferences")}}),
    ))
}

pub async fn implied(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let base = v3(&app, &headers);
    let prior = find(&app, &id).await?;
    let by_id = roles_by_id(&app).await?;
    let rows = implied_role::Entity::find()
        .filter(implied_role::Column::PriorId.eq(&id))
        .all(&app.db)
        .await?;
    let implies: Vec<Value> = rows
        .iter()
        .filter_map(|row| Some(brief(by_id.get(&row.implied_id)?, &base)))
        .collect();
    Ok(Json(
        json!({"role_inference": {"prior_role": brief(&prior, &base), "implies": implies},
        "links": {"self": format!("{base}/roles/{id}/implies")}}),
    ))
}

/// Whether one role may imply another: nobody becomes an administrator by way of a lesser role, and who has a role of the
/// whole cloud does not get one of a domain by it.
fn may_imply(prior: &role::Model, implied: &role::Model) -> Result<(), ApiError> {
    if implied.name.eq_ignore_ascii_case("admin") {
        return Err(ApiError::forbidden(
            "Forbidden",
            format!("{} cannot be an implied roles", implied.id),
        ));
    }
    if !implied.domain_id.is_empty() && prior.domain_id.is_empty() {
        return Err(ApiError::forbidden(
            "Forbidden",
            "A role of a domain can be implied only by a role of a domain.",
        ));
    }
    Ok(())
}

fn inference(prior: &role::Model, implied: &role::Model, base: &str) -> Json<Value> {
    let link = format!("{base}/roles/{}/implies/{}", prior.id, implied.id);
    Json(json!({
        "role_inference": {"prior_role": brief(prior, base), "implies": brief(implied, base)},
        "links": {"self": link},
    }))
}

pub async fn imply(
    State(app): State<Shared>,
    Path((id, implied)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let (prior, other) = (find(&app, &id).await?, find(&app, &implied).await?);
    may_imply(&prior, &other)?;
    let row = implied_role::ActiveModel {
        prior_id: Set(id),
        implied_id: Set(implied),
    };
    match implied_role::Entity::insert(row)
        .exec_without_returning(&app.db)
        .await
    {
        Err(error) if !store::is_duplicate(&error) => return Err(error.into()),
        _ => {}
    }
    let body = inference(&prior, &other, &v3(&app, &headers));
    Ok((StatusCode::CREATED, body))
}

async fn find_implied(
    app: &Shared,
    id: &str,
    implied: &str,
) -> Result<(role::Model, role::Model), ApiError> {
    let ends = (find(app, id).await?, find(app, implied).await?);
    let key = (id.to_owned(), implied.to_owned());
    match implied_role::Entity::find_by_id(key).one(&app.db).await? {
        Some(_) => Ok(ends),
        None => Err(ApiError::not_found(
            "NotFound",
            format!("{id} does not imply {implied}"),
        )),
    }
}

pub async fn show_implied(
    State(app): State<Shared>,
    Path((id, implied)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let (prior, implied) = find_implied(&app, &id, &implied).await?;
    Ok(inference(&prior, &implied, &v3(&app, &headers)))
}

pub async fn check_implied(
    State(app): State<Shared>,
    Path((id, implied)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    find_implied(&app, &id, &implied).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn unimply(
    State(app): State<Shared>,
    Path((id, implied)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    find_implied(&app, &id, &implied).await?;
    implied_role::Entity::delete_by_id((id, implied))
        .exec(&app.db)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
