//! Heat's API, version 1: decode, call the app, encode. The table of routes is here, the handlers beside it.
mod events;
mod resources;
mod stacks;
mod templates;
mod views;

use crate::app::App;
use http::Method;
use service_kit::{Api, FaultStyle, Route, Rule};
use std::sync::Arc;

/// Every call of the API.
pub fn routes() -> Vec<Route<Arc<App>>> {
    vec![
        Route::new(
            Method::GET,
            "/",
            "list_versions",
            Rule::Public,
            templates::versions,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/build_info",
            "build_info",
            Rule::Reader,
            templates::build_info,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/services",
            "list_services",
            Rule::Admin,
            templates::services,
        ),
        Route::new(
            Method::POST,
            "/v1/{tenant_id}/validate",
            "validate_template",
            Rule::Reader,
            templates::validate,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/resource_types",
            "list_resource_types",
            Rule::Reader,
            templates::resource_types,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/resource_types/{type_name}",
            "show_resource_type",
            Rule::Reader,
            templates::resource_type,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/resource_types/{type_name}/template",
            "show_resource_type_template",
            Rule::Reader,
            templates::resource_type_template,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/template_versions",
            "list_template_versions",
            Rule::Reader,
            templates::template_versions,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/template_versions/{template_version}/functions",
            "list_template_functions",
            Rule::Reader,
            templates::functions,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks",
            "list_stacks",
            Rule::Reader,
            stacks::list,
        ),
        Route::new(
            Method::POST,
            "/v1/{tenant_id}/stacks",
            "create_stack",
            Rule::Member,
            stacks::create,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/detail",
            "list_stacks_detail",
            Rule::Reader,
            stacks::detail,
        ),
        Route::new(
            Method::POST,
            "/v1/{tenant_id}/stacks/preview",
            "preview_stack",
            Rule::Member,
            stacks::preview,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}",
            "lookup_stack",
            Rule::Reader,
            stacks::lookup,
        ),
        Route::new(
            Method::DELETE,
            "/v1/{tenant_id}/stacks/{stack_name}",
            "lookup_stack_delete",
            Rule::Member,
            stacks::lookup,
        ),
        Route::new(
            Method::PUT,
            "/v1/{tenant_id}/stacks/{stack_name}",
            "lookup_stack_update",
            Rule::Member,
            stacks::lookup,
        ),
        Route::new(
            Method::PATCH,
            "/v1/{tenant_id}/stacks/{stack_name}",
            "lookup_stack_patch",
            Rule::Member,
            stacks::lookup,
        ),
        Route::new(
            Method::POST,
            "/v1/{tenant_id}/stacks/{stack_name}",
            "lookup_stack_post",
            Rule::Member,
            stacks::lookup,
        ),
        Route::new(
            Method::POST,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}",
            "lookup_stack_subpath",
            Rule::Member,
            stacks::lookup_subpath,
        ),
        // One path for `NAME/ID` and for the sub-resources by name (`NAME/resources`): both have one segment.
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}",
            "show_stack",
            Rule::Reader,
            stacks::show,
        ),
        Route::new(
            Method::PUT,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}",
            "update_stack",
            Rule::Member,
            stacks::update,
        ),
        Route::new(
            Method::PATCH,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}",
            "patch_stack",
            Rule::Member,
            stacks::patch,
        ),
        Route::new(
            Method::DELETE,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}",
            "delete_stack",
            Rule::Member,
            stacks::delete,
        ),
        Route::new(
            Method::PUT,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/preview",
            "preview_update",
            Rule::Member,
            stacks::preview_update,
        ),
        Route::new(
            Method::PATCH,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/preview",
            "preview_patch",
            Rule::Member,
            stacks::preview_patch,
        ),
        Route::new(
            Method::POST,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/actions",
            "stack_action",
            Rule::Member,
            stacks::action,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/template",
            "show_stack_template",
            Rule::Reader,
            stacks::template,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/environment",
            "show_stack_environment",
            Rule::Reader,
            stacks::environment,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/files",
            "show_stack_files",
            Rule::Reader,
            stacks::files,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/outputs",
            "list_outputs",
            Rule::Reader,
            stacks::outputs,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/outputs/{output_key}",
            "show_output",
            Rule::Reader,
            stacks::output,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/resources",
            "list_resources",
            Rule::Reader,
            resources::list,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/resources/{resource_name}",
            "show_resource",
            Rule::Reader,
            resources::show,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/resources/{resource_name}/metadata",
            "show_resource_metadata",
            Rule::Reader,
            resources::metadata,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/resources/{resource_name}/events",
            "list_resource_events",
            Rule::Reader,
            events::of_resource,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/resources/{resource_name}/events/{event_id}",
            "show_event",
            Rule::Reader,
            events::show,
        ),
        Route::new(
            Method::GET,
            "/v1/{tenant_id}/stacks/{stack_name}/{stack_id}/events",
            "list_events",
            Rule::Reader,
            events::of_stack,
        ),
    ]
}

/// The service's HTTP side.
pub fn api() -> Api<Arc<App>> {
    Api::new("orchestration", FaultStyle::Heat, routes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use openstack_client::InProcess;
    use service_kit::testing;

    #[tokio::test]
    async fn every_row_wants_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let ctx = testing::context("orchestration", folder.path(), InProcess::new()).await;
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
