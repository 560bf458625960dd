//! Routers' legs, tags, quotas, agents, availability zones, addresses left.

use std::sync::Arc;

use axum::extract::State;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Path, Query, RequestContext, Route, Rule};

use super::{Answer, Shared, listed, under};
use crate::app::attributes::Attributes;
use crate::app::{App, owns, router_legs};
use crate::config::DEFAULT_QUOTAS;

/// Tags of one collection: upstream has one path for all, but that would hide the others from the router.
macro_rules! tag_routes {
    ($($collection:literal),+) => {
        vec![$(
            Route::new(Method::GET, concat!("/v2.0/", $collection, "/{id}/tags"), "get_tags", Rule::Reader, tags_list),
            Route::new(Method::PUT, concat!("/v2.0/", $collection, "/{id}/tags"), "update_tags", Rule::Member, tags_replace),
            Route::new(Method::DELETE, concat!("/v2.0/", $collection, "/{id}/tags"), "delete_tags", Rule::Member, tags_clear),
            Route::new(Method::GET, concat!("/v2.0/", $collection, "/{id}/tags/{tag}"), "get_tag", Rule::Reader, tag_check),
            Route::new(Method::PUT, concat!("/v2.0/", $collection, "/{id}/tags/{tag}"), "update_tag", Rule::Member, tag_add),
            Route::new(Method::DELETE, concat!("/v2.0/", $collection, "/{id}/tags/{tag}"), "delete_tag", Rule::Member, tag_remove),
        )+]
    };
}

pub fn routes() -> Vec<Route<Arc<App>>> {
    let mut routes = vec![
        Route::new(
            Method::PUT,
            "/v2.0/routers/{id}/add_router_interface",
            "add_router_interface",
            Rule::Member,
            add_leg,
        ),
        Route::new(
            Method::PUT,
            "/v2.0/routers/{id}/remove_router_interface",
            "remove_router_interface",
            Rule::Member,
            remove_leg,
        ),
        Route::new(
            Method::GET,
            "/v2.0/quotas",
            "get_quotas",
            Rule::Admin,
            quotas,
        ),
        Route::new(
            Method::GET,
            "/v2.0/quotas/{project}",
            "get_quota",
            Rule::Reader,
            quota,
        ),
        Route::new(
            Method::PUT,
            "/v2.0/quotas/{project}",
            "update_quota",
            Rule::Admin,
            quota_update,
        ),
        Route::new(
            Method::DELETE,
            "/v2.0/quotas/{project}",
            "delete_quota",
            Rule::Admin,
            quota_delete,
        ),
        Route::new(
            Method::GET,
            "/v2.0/quotas/{project}/default",
            "get_quota_default",
            Rule::Reader,
            quota_default,
        ),
        Route::new(
            Method::GET,
            "/v2.0/quotas/{project}/details",
            "get_quota_details",
            Rule::Reader,
            quota_details,
        ),
        Route::new(
            Method::GET,
            "/v2.0/agents",
            "get_agents",
            Rule::Service,
            agents,
        ),
        Route::new(
            Method::GET,
            "/v2.0/agents/{id}",
            "get_agent",
            Rule::Service,
            agent,
        ),
        Route::new(
            Method::GET,
            "/v2.0/availability_zones",
            "get_availability_zones",
            Rule::Reader,
            zones,
        ),
        Route::new(
            Method::GET,
            "/v2.0/network-ip-availabilities",
            "get_network_ip_availabilities",
            Rule::Admin,
            availabilities,
        ),
        Route::new(
            Method::GET,
            "/v2.0/network-ip-availabilities/{id}",
            "get_network_ip_availability",
            Rule::Admin,
            availability,
        ),
        Route::new(
            Method::GET,
            "/v2.0/service-providers",
            "get_service_providers",
            Rule::Reader,
            providers,
        ),
    ];
    routes.extend(tag_routes!(
        "networks",
        "subnets",
        "ports",
        "routers",
        "floatingips",
        "security-groups"
    ));
    routes
}

async fn add_leg(
    State(app): Shared,
    caller: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let attributes = Attributes::bare(body, &router_legs::ACTION)?;
    app.router_add_interface(&caller, &id, &attributes)
        .await
        .map(Json)
}

async fn remove_leg(
    State(app): Shared,
    caller: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let attributes = Attributes::bare(body, &router_legs::ACTION)?;
    app.router_remove_interface(&caller, &id, &attributes)
        .await
        .map(Json)
}

/// Others' quotas are for administrators.
fn check_project(caller: &RequestContext, project: &str) -> Result<(), ApiError> {
    if owns(caller, project) {
        Ok(())
    } else {
        Err(ApiError::policy("get_quota"))
    }
}

async fn quotas(State(app): Shared) -> Answer {
    Ok(under("quotas", app.quota_list().await?.into()))
}

async fn quota(State(app): Shared, caller: RequestContext, Path(project): Path<String>) -> Answer {
    check_project(&caller, &project)?;
    Ok(under("quota", app.quota_show(&project).await?))
}

async fn quota_update(
    State(app): Shared,
    Path(project): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let mut known: Vec<&str> = DEFAULT_QUOTAS.iter().map(|(name, _)| *name).collect();
    known.extend(["tenant_id", "project_id", "force", "check_limit"]);
    let attributes = Attributes::from_body(body, "quota", &known)?;
    Ok(under(
        "quota",
        app.quota_update(&project, &attributes).await?,
    ))
}

async fn quota_delete(
    State(app): Shared,
    Path(project): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.quota_delete(&project)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}

async fn quota_default(
    State(app): Shared,
    caller: RequestContext,
    Path(project): Path<String>,
) -> Answer {
    check_project(&caller, &project)?;
    Ok(under("quota", app.quota_defaults()))
}

async fn quota_details(
    State(app): Shared,
    caller: RequestContext,
    Path(project): Path<String>,
) -> Answer {
    check_project(&caller, &project)?;
    Ok(under("quota", app.quota_details(&project).await?))
}

async fn agents(
    State(app): Shared,
    caller: RequestContext,
    query: Query,
    headers: HeaderMap,
) -> Answer {
    listed(
        "agents",
        "/v2.0/agents",
        app.agent_list()?,
        &caller,
        &query,
        &headers,
    )
}

async fn agent(State(app): Shared, Path(id): Path<String>) -> Answer {
    Ok(under("agent", app.agent_show(&id)?))
}

async fn zones() -> Json<Value> {
    let zone = |resource: &str| json!({"name": "nova", "resource": resource, "state": "available"});
    Json(json!({"availability_zones": [zone("network"), zone("router")]}))
}

async fn providers() -> Json<Value> {
    Json(json!({"service_providers": []}))
}

async fn availabilities(
    State(app): Shared,
    caller: RequestContext,
    query: Query,
    headers: HeaderMap,
) -> Answer {
    let items = app.address_availability(None).await?;
    listed(
        "network_ip_availabilities",
        "/v2.0/network-ip-availabilities",
        items,
        &caller,
        &query,
        &headers,
    )
}

async fn availability(State(app): Shared, Path(id): Path<String>) -> Answer {
    let mut items = app.address_availability(Some(&id)).await?;
    match items.pop() {
        Some(item) => Ok(under("network_ip_availability", item)),
        None => Err(crate::app::faults::not_found("network", &id)),
    }
}

/// `networks` of `/v2.0/networks/{id}/tags`.
fn collection(uri: &Uri) -> &str {
    uri.path().split('/').nth(2).unwrap_or_default()
}

async fn tags_list(
    State(app): Shared,
    caller: RequestContext,
    uri: Uri,
    Path(id): Path<String>,
) -> Answer {
    Ok(under(
        "tags",
        app.tag_list(&caller, collection(&uri), &id).await?.into(),
    ))
}

async fn tags_replace(
    State(app): Shared,
    caller: RequestContext,
    uri: Uri,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let attributes = Attributes::bare(body, &["tags"])?;
    let tags = attributes
        .decode::<Vec<String>>("tags")?
        .unwrap_or_default();
    Ok(under(
        "tags",
        app.tag_replace(&caller, collection(&uri), &id, tags)
            .await?
            .into(),
    ))
}

async fn tags_clear(
    State(app): Shared,
    caller: RequestContext,
    uri: Uri,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.tag_replace(&caller, collection(&uri), &id, Vec::new())
        .await
        .map(|_| StatusCode::NO_CONTENT)
}

async fn tag_check(
    State(app): Shared,
    caller: RequestContext,
    uri: Uri,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let tags = app.tag_list(&caller, collection(&uri), &id).await?;
    let missing = || ApiError::not_found("TagNotFound", format!("Tag {tag} could not be found."));
    tags.contains(&tag)
        .then_some(StatusCode::NO_CONTENT)
        .ok_or_else(missing)
}

async fn tag_add(
    State(app): Shared,
    caller: RequestContext,
    uri: Uri,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.tag_add(&caller, collection(&uri), &id, &tag)
        .await
        .map(|()| StatusCode::CREATED)
}

async fn tag_remove(
    State(app): Shared,
    caller: RequestContext,
    uri: Uri,
    Path((id, tag)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    app.tag_remove(&caller, collection(&uri), &id, &tag)
        .await
        .map(|()| StatusCode::NO_CONTENT)
}
