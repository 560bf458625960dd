//! HTTP only: decode, call, encode. The table of routes; how a list is asked for is in `listing`.

mod discovery;
mod listing;
mod misc;

use std::sync::Arc;

use axum::extract::State;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use service_kit::openapi::wrapped;
use service_kit::{ApiError, FaultStyle, Json, Path, Query, RequestContext, Route, Rule};

use crate::app::attributes::Attributes;
use crate::app::{self, App, privileged};
use crate::views;

pub(crate) type Shared = State<Arc<App>>;
type Answer = Result<Json<Value>, ApiError>;

/// The service's HTTP side.
pub fn api() -> service_kit::Api<Arc<App>> {
    let mut routes = discovery::routes();
    routes.extend(networks::routes());
    routes.extend(subnets::routes());
    routes.extend(ports::routes());
    routes.extend(routers::routes());
    routes.extend(floating_ips::routes());
    routes.extend(security_groups::routes());
    routes.extend(security_rules::routes());
    routes.extend(misc::routes());
    service_kit::Api::new("network", FaultStyle::Neutron, routes)
}

/// `{"<name>": <value>}`
pub(crate) fn under(name: &str, value: Value) -> Json<Value> {
    Json(Value::Object(Map::from_iter([(name.to_owned(), value)])))
}

/// What the caller may see of a resource.
pub(crate) fn shown(caller: &RequestContext, view: Value) -> Value {
    if privileged(caller) {
        view
    } else {
        views::for_user(view)
    }
}

pub(crate) fn listed(
    plural: &str,
    path: &str,
    items: Vec<Value>,
    caller: &RequestContext,
    query: &Query,
    headers: &HeaderMap,
) -> Answer {
    let items = items.into_iter().map(|item| shown(caller, item)).collect();
    let url = format!("{}{path}", service_kit::request::base_url(headers, ""));
    listing::list(plural, items, query, &url).map(Json)
}

/// The schema of a body with one resource, or where they may be made together with several. Attributes of other names are refused.
fn body(singular: &str, plural: Option<&str>, known: &[&str]) -> Value {
    let attributes: Map<String, Value> = known
        .iter()
        .map(|name| ((*name).to_owned(), json!({})))
        .collect();
    let one = json!({"type": "object", "properties": attributes, "additionalProperties": false});
    let single = wrapped(singular, &one);
    match plural {
        None => single,
        Some(plural) => {
            let several = json!({"type": "array", "items": one, "minItems": 1});
            json!({"anyOf": [single, wrapped(plural, &several)]})
        }
    }
}

/// The handlers and routes that resources have in common.
macro_rules! resource {
    (
        $module:ident, $singular:literal, $plural:literal, $path:literal,
        list |$app:ident, $caller:ident, $query:ident| $list:expr,
        show $show:ident, create $create:ident ($creatable:expr), delete $delete:ident $(, update $update:ident ($changeable:expr))?
    ) => {
        pub(crate) mod $module {
            use super::*;

            const PATH: &str = concat!("/v2.0/", $path);
            const ONE: &str = concat!("/v2.0/", $path, "/{id}");

            pub fn routes() -> Vec<Route<Arc<App>>> {
                vec![
                    Route::new(Method::GET, PATH, concat!("get_", $plural), Rule::Reader, list),
                    Route::new(Method::POST, PATH, concat!("create_", $singular), Rule::Member, create)
                        .body(body($singular, Some($plural), &$creatable)),
                    Route::new(Method::GET, ONE, concat!("get_", $singular), Rule::Reader, show),
                    $(Route::new(Method::PUT, ONE, concat!("update_", $singular), Rule::Member, {
                        async fn update(State(app): Shared, caller: RequestContext, Path(id): Path<String>, Json(body): Json<Value>) -> Answer {
                            let attributes = Attributes::from_body(body, $singular, &$changeable)?;
                            let view = app.$update(&caller, &id, &attributes).await?;
                            Ok(under($singular, shown(&caller, view)))
                        }
                        update
                    }).body(body($singular, None, &$changeable)),)?
                    Route::new(Method::DELETE, ONE, concat!("delete_", $singular), Rule::Member, delete),
                ]
            }

            async fn list(State($app): Shared, $caller: RequestContext, $query: Query, headers: HeaderMap) -> Answer {
                let items = $list;
                listed($plural, PATH, items, &$caller, &$query, &headers)
            }

            async fn show(State(app): Shared, caller: RequestContext, Path(id): Path<String>, query: Query) -> Answer {
                let view = app.$show(&caller, &id).await?;
                Ok(under($singular, listing::fields(shown(&caller, view), &query)))
            }

            async fn create(State(app): Shared, caller: RequestContext, Json(body): Json<Value>) -> Result<(StatusCode, Json<Value>), ApiError> {
                let (all, several) = Attributes::several(body, $singular, $plural, &$creatable)?;
                let mut made: Vec<Value> = Vec::new();
                for attributes in &all {
                    match app.$create(&caller, attributes).await {
                        Ok(view) => made.push(shown(&caller, view)),
                        Err(error) => {
                            // Several are made together or not at all.
                            for id in made.iter().filter_map(|view| view["id"].as_str()) {
                                app.$delete(&caller, id).await?;
                            }
                            return Err(error);
                        }
                    }
                }
                let body = if several { under($plural, made.into()) } else { under($singular, made.remove(0)) };
                Ok((StatusCode::CREATED, body))
            }

            async fn delete(State(app): Shared, caller: RequestContext, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
                app.$delete(&caller, &id).await?;
                Ok(StatusCode::NO_CONTENT)
            }
        }
    };
}

resource!(
    networks, "network", "networks", "networks",
    list |app, caller, query| app.network_list(&caller).await?,
    show network_show, create network_create (app::networks::CREATE), delete network_delete,
    update network_update (app::networks::UPDATE)
);
resource!(
    subnets, "subnet", "subnets", "subnets",
    list |app, caller, query| app.subnet_list(&caller).await?,
    show subnet_show, create subnet_create (app::subnets::CREATE), delete subnet_delete,
    update subnet_update (app::subnets::UPDATE)
);
resource!(
    ports, "port", "ports", "ports",
    list |app, caller, query| app.port_list(&caller, &query).await?,
    show port_show, create port_create (app::ports::CREATE), delete port_delete,
    update port_update (app::ports::UPDATE)
);
resource!(
    routers, "router", "routers", "routers",
    list |app, caller, query| app.router_list(&caller).await?,
    show router_show, create router_create (app::routers::CREATE), delete router_delete,
    update router_update (app::routers::UPDATE)
);
resource!(
    floating_ips, "floatingip", "floatingips", "floatingips",
    list |app, caller, query| app.floating_ip_list(&caller).await?,
    show floating_ip_show, create floating_ip_create (app::floating_ips::CREATE), delete floating_ip_delete,
    update floating_ip_update (app::floating_ips::UPDATE)
);
resource!(
    security_groups, "security_group", "security_groups", "security-groups",
    list |app, caller, query| app.security_group_list(&caller, query.get("project_id").or(query.get("tenant_id"))).await?,
    show security_group_show, create security_group_create (app::security_groups::CREATE), delete security_group_delete,
    update security_group_update (app::security_groups::UPDATE)
);
resource!(
    security_rules, "security_group_rule", "security_group_rules", "security-group-rules",
    list |app, caller, query| app.security_rule_list(&caller).await?,
    show security_rule_show, create security_rule_create (app::security_rules::CREATE), delete security_rule_delete
);
