//! HTTP: the route table and the version document. Each file decodes, calls `app/`, and encodes.

pub mod allocations;
pub mod inventories;
pub mod providers;
pub mod traits;

use std::sync::Arc;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use service_kit::{ApiError, Json, Query, Route, Rule};

use crate::MICROVERSIONS;
use crate::app::App;
use crate::app::candidates::Wanted;

/// The state of every handler.
pub type State = axum::extract::State<Arc<App>>;

/// All rows. As upstream, nearly everything is for administrators and services.
pub fn routes() -> Vec<Route<Arc<App>>> {
    use Rule::{Authenticated, Public, Service};
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    vec![
        Route::new(get.clone(), "/", "list_versions", Public, versions),
        Route::new(
            get.clone(),
            "/resource_providers",
            "list_resource_providers",
            Service,
            providers::list,
        ),
        Route::new(
            post.clone(),
            "/resource_providers",
            "create_resource_provider",
            Service,
            providers::create,
        ),
        Route::new(
            get.clone(),
            "/resource_providers/{id}",
            "show_resource_provider",
            Service,
            providers::show,
        ),
        Route::new(
            put.clone(),
            "/resource_providers/{id}",
            "update_resource_provider",
            Service,
            providers::update,
        ),
        Route::new(
            delete.clone(),
            "/resource_providers/{id}",
            "delete_resource_provider",
            Service,
            providers::delete,
        ),
        Route::new(
            get.clone(),
            "/resource_providers/{id}/usages",
            "show_provider_usages",
            Service,
            providers::usages,
        ),
        Route::new(
            get.clone(),
            "/resource_providers/{id}/allocations",
            "list_provider_allocations",
            Service,
            providers::allocations,
        ),
        Route::new(
            get.clone(),
            "/resource_providers/{id}/aggregates",
            "list_provider_aggregates",
            Service,
            providers::aggregates,
        ),
        Route::new(
            put.clone(),
            "/resource_providers/{id}/aggregates",
            "update_provider_aggregates",
            Service,
            providers::set_aggregates,
        ),
        Route::new(
            get.clone(),
            "/resource_providers/{id}/traits",
            "list_provider_traits",
            Service,
            providers::traits,
        ),
        Route::new(
            put.clone(),
            "/resource_providers/{id}/traits",
            "update_provider_traits",
            Service,
            providers::set_traits,
        ),
        Route::new(
            delete.clone(),
            "/resource_providers/{id}/traits",
            "delete_provider_traits",
            Service,
            providers::delete_traits,
        ),
        Route::new(
            get.clone(),
            "/resource_providers/{id}/inventories",
            "list_inventories",
            Service,
            inventories::list,
        ),
        Route::new(
            put.clone(),
            "/resource_providers/{id}/inventories",
            "update_inventories",
            Service,
            inventories::replace,
        ),
        Route::new(
            delete.clone(),
            "/resource_providers/{id}/inventories",
            "delete_inventories",
            Service,
            inventories::delete_all,
        ),
        Route::new(
            get.clone(),
            "/resource_providers/{id}/inventories/{class}",
            "show_inventory",
            Service,
            inventories::show,
        ),
        Route::new(
            put.clone(),
            "/resource_providers/{id}/inventories/{class}",
            "update_inventory",
            Service,
            inventories::replace_one,
        ),
        Route::new(
            delete.clone(),
            "/resource_providers/{id}/inventories/{class}",
            "delete_inventory",
            Service,
            inventories::delete_one,
        ),
        Route::new(
            get.clone(),
            "/resource_classes",
            "list_resource_classes",
            Service,
            traits::classes,
        ),
        Route::new(
            post.clone(),
            "/resource_classes",
            "create_resource_class",
            Service,
            traits::create_class,
        ),
        Route::new(
            get.clone(),
            "/resource_classes/{name}",
            "show_resource_class",
            Service,
            traits::show_class,
        ),
        Route::new(
            put.clone(),
            "/resource_classes/{name}",
            "ensure_resource_class",
            Service,
            traits::ensure_class,
        ),
        Route::new(
            delete.clone(),
            "/resource_classes/{name}",
            "delete_resource_class",
            Service,
            traits::delete_class,
        ),
        Route::new(get.clone(), "/traits", "list_traits", Service, traits::list),
        Route::new(
            get.clone(),
            "/traits/{name}",
            "show_trait",
            Service,
            traits::show,
        ),
        Route::new(
            put.clone(),
            "/traits/{name}",
            "create_trait",
            Service,
            traits::ensure,
        ),
        Route::new(
            delete.clone(),
            "/traits/{name}",
            "delete_trait",
            Service,
            traits::delete,
        ),
        Route::new(
            get.clone(),
            "/allocations/{consumer}",
            "show_allocations",
            Service,
            allocations::show,
        ),
        Route::new(
            put,
            "/allocations/{consumer}",
            "update_allocations",
            Service,
            allocations::replace,
        ),
        Route::new(
            delete,
            "/allocations/{consumer}",
            "delete_allocations",
            Service,
            allocations::delete,
        ),
        Route::new(
            post,
            "/allocations",
            "manage_allocations",
            Service,
            allocations::manage,
        ),
        Route::new(
            get.clone(),
            "/allocation_candidates",
            "list_allocation_candidates",
            Service,
            allocations::candidates,
        ),
        Route::new(
            get,
            "/usages",
            "show_usages",
            Authenticated,
            allocations::project_usages,
        ),
    ]
}

async fn versions(headers: HeaderMap) -> Json<Value> {
    let url = service_kit::request::base_url(&headers, "");
    Json(json!({"versions": [{
        "id": "v1.0",
        "max_version": MICROVERSIONS.max.to_string(),
        "min_version": MICROVERSIONS.min.to_string(),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": url}],
    }]}))
}

/// A request's fault of form.
pub(crate) fn bad(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("placement.undefined_code", message)
}

/// `resources=VCPU:1,MEMORY_MB:64`, `required=T1,!T2`, `member_of=in:A,B`, `limit`.
pub(crate) fn wanted(query: &Query) -> Result<Wanted, ApiError> {
    let mut out = Wanted {
        limit: query
            .number("limit")?
            .and_then(|limit| usize::try_from(limit).ok()),
        ..Wanted::default()
    };
    if out.limit == Some(0) {
        return Err(bad("`limit` must be at least 1."));
    }
    for part in query
        .get("resources")
        .unwrap_or_default()
        .split(',')
        .filter(|part| !part.is_empty())
    {
        let pair = part.split_once(':').and_then(|(class, amount)| {
            Some((
                class,
                amount.parse::<i64>().ok().filter(|amount| *amount > 0)?,
            ))
        });
        let (class, amount) = pair.ok_or_else(|| bad(format!("Badly formed resources parameter. Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024. Got: {part}.")))?;
        out.resources.insert(class.to_owned(), amount);
    }
    for value in query.all("required") {
        if let Some(alternatives) = value.strip_prefix("in:") {
            out.required
                .push(alternatives.split(',').map(str::to_owned).collect());
            continue;
        }
        for name in value.split(',').filter(|name| !name.is_empty()) {
            match name.strip_prefix('!') {
                Some(name) => {
                    out.forbidden.insert(name.to_owned());
                }
                None => out.required.push([name.to_owned()].into()),
            }
        }
    }
    for value in query.all("member_of") {
        out.member_of.push(
            value
                .strip_prefix("in:")
                .unwrap_or(value)
                .split(',')
                .map(str::to_owned)
                .collect(),
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        let query = |pairs: &[(&str, &str)]| {
            Query(
                pairs
                    .iter()
                    .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                    .collect(),
            )
        };
        let got = wanted(&query(&[
            ("resources", "VCPU:1,DISK_GB:5"),
            ("required", "A,!B"),
            ("required", "in:C,D"),
            ("limit", "3"),
        ]))
        .expect("well formed");
        assert_eq!(got.resources.len(), 2);
        assert_eq!(
            got.required,
            [
                ["A".to_owned()].into(),
                ["C".to_owned(), "D".to_owned()].into()
            ]
        );
        assert!(got.forbidden.contains("B"));
        assert_eq!(got.limit, Some(3));
        for bad in ["VCPU", "VCPU:", "VCPU:-1", "VCPU:x", "VCPU:0"] {
            assert!(wanted(&query(&[("resources", bad)])).is_err(), "{bad}");
        }
    }
}
