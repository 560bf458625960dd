//! Identity's HTTP side: the route table, and what its handlers share.

mod access_rules;
mod application_credentials;
mod assignments;
mod auth;
mod body;
mod catalog;
mod credentials;
mod ec2;
mod endpoint_filter;
mod grants;
mod groups;
mod limits;
mod policies;
mod projects;
mod registered_limits;
mod revocations;
mod roles;
mod tags;
pub mod told;
mod trusts;
mod users;
mod versions;

use crate::app::App;
use http::Method;
use serde_json::json;
use service_kit::{Api, FaultStyle, Route, Rule, openapi};
use std::sync::Arc;

/// What handlers get as state.
pub type Shared = Arc<App>;

/// The service's API.
pub fn api() -> Api<Shared> {
    Api::new("identity", FaultStyle::Keystone, routes())
}

/// Every row. `Authenticated` rows decide in their handler: one may see one's own.
fn routes() -> Vec<Route<Shared>> {
    use Rule::{Admin, Authenticated, Public, Service};
    let mut rows = vec![
        Route::new(Method::GET, "/", "list_versions", Public, versions::list),
        Route::new(Method::GET, "/v3", "show_version", Public, versions::show),
        Route::new(
            Method::POST,
            "/v3/auth/tokens",
            "create_token",
            Public,
            auth::create,
        ),
        Route::new(
            Method::GET,
            "/v3/auth/tokens",
            "validate_token",
            Authenticated,
            auth::show,
        ),
        Route::new(
            Method::HEAD,
            "/v3/auth/tokens",
            "check_token",
            Authenticated,
            auth::check,
        ),
        Route::new(
            Method::DELETE,
            "/v3/auth/tokens",
            "revoke_token",
            Authenticated,
            auth::revoke,
        ),
        Route::new(
            Method::GET,
            "/v3/auth/catalog",
            "get_auth_catalog",
            Authenticated,
            auth::catalog,
        ),
        Route::new(
            Method::GET,
            "/v3/auth/projects",
            "get_auth_projects",
            Authenticated,
            auth::projects,
        ),
        Route::new(
            Method::GET,
            "/v3/auth/domains",
            "get_auth_domains",
            Authenticated,
            auth::domains,
        ),
        Route::new(
            Method::GET,
            "/v3/auth/system",
            "get_auth_system",
            Authenticated,
            auth::system,
        ),
        Route::new(Method::GET, "/v3/users", "list_users", Admin, users::list),
        Route::new(
            Method::POST,
            "/v3/users",
            "create_user",
            Admin,
            users::create,
        ),
        Route::new(
            Method::GET,
            "/v3/users/{user_id}",
            "get_user",
            Authenticated,
            users::show,
        ),
        Route::new(
            Method::PATCH,
            "/v3/users/{user_id}",
            "update_user",
            Admin,
            users::update,
        ),
        Route::new(
            Method::DELETE,
            "/v3/users/{user_id}",
            "delete_user",
            Admin,
            users::delete,
        ),
        Route::new(
            Method::POST,
            "/v3/users/{user_id}/password",
            "change_password",
            // The old password is the proof: one that has expired gives no token.
            Public,
            users::change_password,
        ),
        Route::new(
            Method::GET,
            "/v3/users/{user_id}/projects",
            "list_user_projects",
            Authenticated,
            users::projects,
        ),
        Route::new(
            Method::GET,
            "/v3/users/{user_id}/groups",
            "list_groups_for_user",
            Authenticated,
            users::groups,
        ),
        Route::new(
            Method::GET,
            "/v3/users/{user_id}/application_credentials",
            "list_application_credentials",
            Authenticated,
            application_credentials::list,
        ),
        Route::new(
            Method::POST,
            "/v3/users/{user_id}/application_credentials",
            "create_application_credential",
            Authenticated,
            application_credentials::create,
        ),
        Route::new(
            Method::GET,
            "/v3/users/{user_id}/application_credentials/{id}",
            "get_application_credential",
            Authenticated,
            application_credentials::show,
        ),
        Route::new(
            Method::DELETE,
            "/v3/users/{user_id}/application_credentials/{id}",
            "delete_application_credential",
            Authenticated,
            application_credentials::delete,
        ),
        Route::new(
            Method::GET,
            "/v3/projects",
            "list_projects",
            Admin,
            projects::list,
        ),
        Route::new(
            Method::POST,
            "/v3/projects",
            "create_project",
            Admin,
            projects::create,
        ),
        Route::new(
            Method::GET,
            "/v3/projects/{id}",
            "get_project",
            Authenticated,
            projects::show,
        ),
        Route::new(
            Method::PATCH,
            "/v3/projects/{id}",
            "update_project",
            Admin,
            projects::update,
        ),
        Route::new(
            Method::DELETE,
            "/v3/projects/{id}",
            "delete_project",
            Admin,
            projects::delete,
        ),
        Route::new(
            Method::GET,
            "/v3/domains",
            "list_domains",
            Admin,
            projects::list_domains,
        ),
        Route::new(
            Method::POST,
            "/v3/domains",
            "create_domain",
            Admin,
            projects::create_domain,
        ),
        Route::new(
            Method::GET,
            "/v3/domains/{id}",
            "get_domain",
            Authenticated,
            projects::show_domain,
        ),
        Route::new(
            Method::PATCH,
            "/v3/domains/{id}",
            "update_domain",
            Admin,
            projects::update_domain,
        ),
        Route::new(
            Method::DELETE,
            "/v3/domains/{id}",
            "delete_domain",
            Admin,
            projects::delete_domain,
        ),
        Route::new(
            Method::GET,
            "/v3/groups",
            "list_groups",
            Admin,
            groups::list,
        ),
        Route::new(
            Method::POST,
            "/v3/groups",
            "create_group",
            Admin,
            groups::create,
        ),
        Route::new(
            Method::GET,
            "/v3/groups/{id}",
            "get_group",
            Admin,
            groups::show,
        ),
        Route::new(
            Method::PATCH,
            "/v3/groups/{id}",
            "update_group",
            Admin,
            groups::update,
        ),
        Route::new(
            Method::DELETE,
            "/v3/groups/{id}",
            "delete_group",
            Admin,
            groups::delete,
        ),
        Route::new(
            Method::GET,
            "/v3/groups/{id}/users",
            "list_users_in_group",
            Admin,
            groups::users,
        ),
        Route::new(
            Method::PUT,
            "/v3/groups/{id}/users/{user_id}",
            "add_user_to_group",
            Admin,
            groups::add,
        ),
        Route::new(
            Method::GET,
            "/v3/groups/{id}/users/{user_id}",
            "check_user_in_group",
            Admin,
            groups::check,
        ),
        Route::new(
            Method::DELETE,
            "/v3/groups/{id}/users/{user_id}",
            "remove_user_from_group",
            Admin,
            groups::remove,
        ),
        Route::new(Method::GET, "/v3/roles", "list_roles", Service, roles::list),
        Route::new(
            Method::POST,
            "/v3/roles",
            "create_role",
            Admin,
            roles::create,
        ),
        Route::new(
            Method::GET,
            "/v3/roles/{id}",
            "get_role",
            Service,
            roles::show,
        ),
        Route::new(
            Method::PATCH,
            "/v3/roles/{id}",
            "update_role",
            Admin,
            roles::update,
        ),
        Route::new(
            Method::DELETE,
            "/v3/roles/{id}",
            "delete_role",
            Admin,
            roles::delete,
        ),
        Route::new(
            Method::GET,
            "/v3/role_inferences",
            "list_role_inferences",
            Admin,
            roles::inferences,
        ),
        Route::new(
            Method::GET,
            "/v3/roles/{id}/implies",
            "list_implied_roles",
            Admin,
            roles::implied,
        ),
        Route::new(
            Method::PUT,
            "/v3/roles/{id}/implies/{implied}",
            "create_implied_role",
            Admin,
            roles::imply,
        ),
        Route::new(
            Method::GET,
            "/v3/roles/{id}/implies/{implied}",
            "get_implied_role",
            Admin,
            roles::show_implied,
        ),
        Route::new(
            Method::HEAD,
            "/v3/roles/{id}/implies/{implied}",
            "check_implied_role",
            Admin,
            roles::check_implied,
        ),
        Route::new(
            Method::DELETE,
            "/v3/roles/{id}/implies/{implied}",
            "delete_implied_role",
            Admin,
            roles::unimply,
        ),
        Route::new(
            Method::GET,
            "/v3/role_assignments",
            "list_role_assignments",
            Admin,
            assignments::list,
        ),
        Route::new(
            Method::GET,
            "/v3/services",
            "list_services",
            Service,
            catalog::list_services,
        ),
        Route::new(
            Method::POST,
            "/v3/services",
            "create_service",
            Admin,
            catalog::create_service,
        ),
        Route::new(
            Method::GET,
            "/v3/services/{id}",
            "get_service",
            Service,
            catalog::show_service,
        ),
        Route::new(
            Method::PATCH,
            "/v3/services/{id}",
            "update_service",
            Admin,
            catalog::update_service,
        ),
        Route::new(
            Method::DELETE,
            "/v3/services/{id}",
            "delete_service",
            Admin,
            catalog::delete_service,
        ),
        Route::new(
            Method::GET,
            "/v3/endpoints",
            "list_endpoints",
            Service,
            catalog::list_endpoints,
        ),
        Route::new(
            Method::POST,
            "/v3/endpoints",
            "create_endpoint",
            Admin,
            catalog::create_endpoint,
        ),
        Route::new(
            Method::GET,
            "/v3/endpoints/{id}",
            "get_endpoint",
            Service,
            catalog::show_endpoint,
        ),
        Route::new(
            Method::PATCH,
            "/v3/endpoints/{id}",
            "update_endpoint",
            Admin,
            catalog::update_endpoint,
        ),
        Route::new(
            Method::DELETE,
            "/v3/endpoints/{id}",
            "delete_endpoint",
            Admin,
            catalog::delete_endpoint,
        ),
        Route::new(
            Method::GET,
            "/v3/regions",
            "list_regions",
            Authenticated,
            catalog::list_regions,
        ),
        Route::new(
            Method::POST,
            "/v3/regions",
            "create_region",
            Admin,
            catalog::create_region,
        ),
        Route::new(
            Method::GET,
            "/v3/regions/{id}",
            "get_region",
            Authenticated,
            catalog::show_region,
        ),
        Route::new(
            Method::PUT,
            "/v3/regions/{id}",
            "create_region",
            Admin,
            catalog::put_region,
        ),
        Route::new(
            Method::PATCH,
            "/v3/regions/{id}",
            "update_region",
            Admin,
            catalog::update_region,
        ),
        Route::new(
            Method::DELETE,
            "/v3/regions/{id}",
            "delete_region",
            Admin,
            catalog::delete_region,
        ),
    ];
    rows.extend(grants::routes());
    rows.extend(trusts::routes());
    rows.extend(credentials::routes());
    rows.extend(ec2::routes());
    rows.extend(tags::routes());
    rows.extend(registered_limits::routes());
    rows.extend(limits::routes());
    rows.extend(endpoint_filter::routes());
    rows.extend(access_rules::routes());
    rows.extend(policies::routes());
    rows.extend(revocations::routes());
    rows.into_iter().map(described).collect()
}

/// What `create_KIND` and `update_KIND` want in the body: `{"KIND": {...}}`.
const WRAPPED: [&str; 13] = [
    "application_credential",
    "credential",
    "domain",
    "endpoint",
    "endpoint_group",
    "group",
    "policy",
    "project",
    "region",
    "role",
    "service",
    "trust",
    "user",
];

/// A row with the schema of its body, where it has one of the usual form.
fn described(row: Route<Shared>) -> Route<Shared> {
    let words = ["create_", "update_"];
    let kind = words
        .iter()
        .find_map(|word| row.operation.strip_prefix(word));
    match kind.filter(|kind| WRAPPED.contains(kind)) {
        Some(kind) if row.method == Method::POST || row.method == Method::PATCH => {
            row.body(openapi::wrapped(kind, &json!({"type": "object"})))
        }
        _ => row,
    }
}

#[cfg(test)]
mod matrix;
