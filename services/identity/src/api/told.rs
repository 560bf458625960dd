//! A layer around the whole API: what a request has changed is counted before it is answered, so that no controller goes by what
//! it remembers from before. It does not know what was changed.

use super::Shared;
use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use tower::ServiceExt;

/// The API with the layer.
pub fn layer(inner: Router, app: Shared) -> Router {
    let entry = move |request: Request| {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let handled = handle(inner.clone(), app.clone(), request);
        async move {
            if reads {
                return handled.await;
            }
            // In a task of its own: a change is counted also when nobody waits for the answer any more.
            let done = tokio::spawn(handled).await;
            done.unwrap_or_else(|error| {
                tracing::error!(%error, "a request was not handled");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            })
        }
    };
    Router::new().fallback(entry)
}

async fn handle(inner: Router, app: Shared, request: Request) -> Response {
    let before = app.memory.written();
    let response = match inner.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if app.memory.written() != before {
        app.memory.tell(&app.db).await;
    }
    response
}
