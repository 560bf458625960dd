//! Image's HTTP side: the route table.

mod copies;
mod data;
mod images;
mod imports;
mod members;
mod metadefs;
mod patch;
mod schemas;
mod tasks;
mod view;

use crate::app::App;
use axum::{extract::Request, middleware::Next, response::Response};
use http::{Method, header};
use service_kit::{Api, ApiError, FaultStyle, Route, Rule};
use std::sync::Arc;

/// What handlers get as state.
pub type Shared = Arc<App>;

/// The service's API.
pub fn api() -> Api<Shared> {
    Api::new("image", FaultStyle::Glance, routes())
}

/// What is an image without an id: not the list, as elsewhere, where a slash at the end says nothing.
pub async fn no_id(request: Request) -> Response {
    let accept = request.headers().get(header::ACCEPT);
    let fault = ApiError::not_found("NotFound", "The resource could not be found.");
    FaultStyle::Glance.render(&fault, "", accept.and_then(|value| value.to_str().ok()))
}

/// Refuses addresses with a NUL: nothing is called so, and PostgreSQL takes none.
pub async fn without_nul(request: Request, next: Next) -> Response {
    let has = |text: Option<&str>| text.is_some_and(|text| text.contains("%00"));
    let uri = request.uri();
    let fault = if has(Some(uri.path())) {
        ApiError::not_found("NotFound", "The resource could not be found.")
    } else if has(uri.query()) {
        ApiError::bad_request("BadRequest", "There is a NUL in the query.")
    } else {
        return next.run(request).await;
    };
    let accept = request.headers().get(header::ACCEPT);
    FaultStyle::Glance.render(&fault, "", accept.and_then(|value| value.to_str().ok()))
}

/// The URL of a list's first page: the query without its marker.
fn first_url(path: &str, query: &service_kit::Query) -> String {
    let others = query.0.iter().filter(|(name, _)| name != "marker");
    others.fold(path.to_owned(), |url, (name, value)| {
        let mark = if url.contains('?') { '&' } else { '?' };
        format!("{url}{mark}{name}={value}")
    })
}

fn routes() -> Vec<Route<Shared>> {
    use Rule::{Admin, Authenticated, Member, Public, Reader};
    let mut routes = vec![
        Route::new(
            Method::PUT,
            "/internal/images/{id}/data",
            "put_copy",
            Public,
            copies::put,
        ),
        Route::new(
            Method::GET,
            "/internal/images/{id}/data",
            "get_copy",
            Public,
            copies::get,
        ),
        Route::new(Method::GET, "/", "list_versions", Public, schemas::versions),
        Route::new(
            Method::GET,
            "/versions",
            "list_versions",
            Public,
            schemas::versions_ok,
        ),
        Route::new(
            Method::GET,
            "/v2",
            "show_version",
            Public,
            schemas::versions_ok,
        ),
        Route::new(
            Method::GET,
            "/v2/schemas/{name}",
            "show_schema",
            Authenticated,
            schemas::show,
        ),
        Route::new(
            Method::GET,
            "/v2/info/import",
            "import_info",
            Reader,
            imports::methods,
        ),
        Route::new(
            Method::GET,
            "/v2/info/stores",
            "stores_info",
            Reader,
            imports::stores,
        ),
        Route::new(
            Method::GET,
            "/v2/images",
            "get_images",
            Reader,
            images::list,
        ),
        Route::new(
            Method::POST,
            "/v2/images",
            "add_image",
            Member,
            images::create,
        ),
        Route::new(
            Method::GET,
            "/v2/images/{id}",
            "get_image",
            Reader,
            images::show,
        ),
        Route::new(
            Method::PATCH,
            "/v2/images/{id}",
            "modify_image",
            Member,
            images::update,
        ),
        Route::new(
            Method::DELETE,
            "/v2/images/{id}",
            "delete_image",
            Member,
            images::delete,
        ),
        Route::new(
            Method::PUT,
            "/v2/images/{id}/file",
            "upload_image",
            Member,
            data::upload,
        )
        .streaming(),
        Route::new(
            Method::GET,
            "/v2/images/{id}/file",
            "download_image",
            Reader,
            data::download,
        )
        .streaming(),
        Route::new(
            Method::PUT,
            "/v2/images/{id}/stage",
            "modify_image",
            Member,
            data::stage,
        )
        .streaming(),
        Route::new(
            Method::POST,
            "/v2/images/{id}/import",
            "import_image",
            Member,
            imports::import,
        ),
        Route::new(
            Method::GET,
            "/v2/images/{id}/tasks",
            "get_image_tasks",
            Reader,
            tasks::of_image,
        ),
        Route::new(
            Method::DELETE,
            "/v2/stores/{store}/{id}",
            "delete_image_location",
            Admin,
            imports::remove_from,
        ),
        Route::new(
            Method::GET,
            "/v2/info/usage",
            "get_usage",
            Reader,
            imports::usage,
        ),
        Route::new(
            Method::GET,
            "/v2/info/stores/detail",
            "stores_info_detail",
            Admin,
            imports::stores_detail,
        ),
        Route::new(Method::POST, "/v2/tasks", "add_task", Admin, tasks::create),
        Route::new(Method::GET, "/v2/tasks", "get_tasks", Admin, tasks::list),
        Route::new(
            Method::GET,
            "/v2/tasks/{id}",
            "get_task",
            Admin,
            tasks::show,
        ),
        Route::new(
            Method::POST,
            "/v2/images/{id}/actions/deactivate",
            "deactivate",
            Member,
            images::deactivate,
        ),
        Route::new(
            Method::POST,
            "/v2/images/{id}/actions/reactivate",
            "reactivate",
            Member,
            images::reactivate,
        ),
        Route::new(
            Method::PUT,
            "/v2/images/{id}/tags/{tag}",
            "add_tag",
            Member,
            images::add_tag,
        ),
        Route::new(
            Method::DELETE,
            "/v2/images/{id}/tags/{tag}",
            "delete_tag",
            Member,
            images::delete_tag,
        ),
        Route::new(
            Method::GET,
            "/v2/images/{id}/members",
            "get_members",
            Reader,
            members::list,
        ),
        Route::new(
            Method::POST,
            "/v2/images/{id}/members",
            "add_member",
            Member,
            members::create,
        ),
        Route::new(
            Method::GET,
            "/v2/images/{id}/members/{member}",
            "get_member",
            Reader,
            members::show,
        ),
        Route::new(
            Method::PUT,
            "/v2/images/{id}/members/{member}",
            "modify_member",
            Member,
            members::update,
        ),
        Route::new(
            Method::DELETE,
            "/v2/images/{id}/members/{member}",
            "delete_member",
            Member,
            members::delete,
        ),
        Route::new(
            Method::GET,
            "/v2/schemas/metadefs/{name}",
            "show_metadef_schema",
            Authenticated,
            metadefs::schemas::show,
        ),
    ];
    routes.extend(metadefs::routes());
    routes
}

#[cfg(test)]
mod tests {
    use super::*;
    use openstack_client::InProcess;
    use service_kit::testing;

    #[tokio::test]
    async fn every_row_wants_a_token() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let ctx = testing::context("image", folder.path(), InProcess::new()).await;
        let router = crate::start(ctx, crate::Config::default())
            .await
            .unwrap()
            .router;
        assert_eq!(
            testing::rows_open_without_token(&api(), &router).await,
            Vec::<String>::new()
        );
    }
}
