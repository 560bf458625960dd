//! `/v3/users/{user_id}/access_rules`. They are made with application credentials, and held by the services.

use super::{
    Shared,
    body::{collection, single, v3},
    users::own,
};
use crate::{
    app::{access_rules::view, not_found},
    store::access_rules::{held, rule},
};
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use sea_orm::{ColumnTrait, EntityTrait, ModelTrait, PaginatorTrait, QueryFilter, QueryOrder};
use serde_json::Value;
use service_kit::{ApiError, Json, Path, Query, RequestContext, Route, Rule};

/// Rows of the resource: one sees and deletes one's own.
pub fn routes() -> Vec<Route<Shared>> {
    use Rule::Authenticated as Any;
    let all = "/v3/users/{user_id}/access_rules";
    let one = "/v3/users/{user_id}/access_rules/{id}";
    vec![
        Route::new(Method::GET, all, "list_access_rules", Any, list),
        Route::new(Method::GET, one, "get_access_rule", Any, show),
        Route::new(Method::DELETE, one, "delete_access_rule", Any, delete),
    ]
}

fn plural(user_id: &str) -> String {
    format!("users/{user_id}/access_rules")
}

async fn list(
    State(app): State<Shared>,
    context: RequestContext,
    Path(user_id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    own(&context, &user_id, "identity:list_access_rules")?;
    let rows = rule::Entity::find()
        .filter(rule::Column::UserId.eq(&user_id))
        .order_by_asc(rule::Column::Id)
        .all(&app.db)
        .await?;
    let base = v3(&app, &headers);
    let path = format!("/{}", plural(&user_id));
    let views = rows.iter().map(view).collect();
    let Json(mut body) = collection("access_rules", &path, &base, &query, views);
    for view in body["access_rules"].as_array_mut().into_iter().flatten() {
        let id = view["id"].as_str().unwrap_or_default();
        view["links"]["self"] = format!("{base}{path}/{id}").into();
    }
    Ok(Json(body))
}

async fn find(app: &Shared, user_id: &str, id: &str) -> Result<rule::Model, ApiError> {
    let row = rule::Entity::find_by_id(id).one(&app.db).await?;
    row.filter(|row| row.user_id == user_id)
        .ok_or_else(|| not_found("access rule", id))
}

async fn show(
    State(app): State<Shared>,
    context: RequestContext,
    Path((user_id, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    own(&context, &user_id, "identity:get_access_rule")?;
    let view = view(&find(&app, &user_id, &id).await?);
    let base = v3(&app, &headers);
    Ok(Json(single("access_rule", &plural(&user_id), &base, view)))
}

async fn delete(
    State(app): State<Shared>,
    context: RequestContext,
    Path((user_id, id)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    own(&context, &user_id, "identity:delete_access_rule")?;
    let row = find(&app, &user_id, &id).await?;
    let used = held::Entity::find()
        .filter(held::Column::AccessRuleId.eq(&id))
        .count(&app.db)
        .await?;
    if used > 0 {
        let message = format!("The access rule {id} is in use by an application credential.");
        return Err(ApiError::forbidden("Forbidden", message));
    }
    row.delete(&app.db).await?;
    Ok(StatusCode::NO_CONTENT)
}
