//! Tasks of administrators.
use super::*;
use imports::{LOCAL, config, database, show, start_with, web};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_administrators() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let at = web().await;
    let one = start_with(&db, folder.path(), config(LOCAL)).await;
    let router = &one.router;
    let ask = |from: String, format: &str| {
        json!({"type": "import", "input": {"import_from": from, "import_from_format": format,
            "image_properties": {"name": "made", "disk_format": "raw", "container_format": "bare"}}})
    };
    let good = ask(format!("http://{at}/image"), "raw");
    let (status, ..) = call(router, "member", Method::POST, "/v2/tasks", good.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, headers, made) = call(router, "admin", Method::POST, "/v2/tasks", good).await;
    assert_eq!(
        (status, &made["status"], &made["type"]),
        (StatusCode::CREATED, &json!("pending"), &json!("import"))
    );
    let id = made["id"].as_str().unwrap();
    assert_eq!(headers["location"], format!("/v2/tasks/{id}"));
    let path = format!("/v2/tasks/{id}");
    let mut shown = Value::Null;
    for _ in 0..500 {
        (_, _, shown) = call(router, "admin", Method::GET, &path, Value::Null).await;
        if shown["status"] == "success" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let image = shown["result"]["image_id"].as_str().unwrap();
    assert_eq!(show(router, image).await["status"], "active");
    assert!(shown["expires_at"].is_string());
    for bad in [
        json!({}),
        json!({"type": "export", "input": {}}),
        json!({"type": "import"}),
        json!({"type": "import", "input": {"import_from": "http://h/a"}}),
        ask("http://169.254.169.254/a".to_owned(), "raw"),
        ask(format!("http://{at}/image"), "qcow2"),
    ] {
        let (status, _, told) = call(router, "admin", Method::POST, "/v2/tasks", bad.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {told}");
    }
    for _ in 0..2 {
        let lost = ask(format!("http://{at}/none"), "raw");
        assert_eq!(
            call(router, "admin", Method::POST, "/v2/tasks", lost)
                .await
                .0,
            StatusCode::CREATED
        );
    }
    let mut next = "/v2/tasks?limit=2&sort_dir=asc".to_owned();
    let mut seen = 0;
    while !next.is_empty() {
        let (status, _, page) = call(router, "admin", Method::GET, &next, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        seen += page["tasks"].as_array().unwrap().len();
        assert_eq!(page["tasks"][0].get("input"), None);
        next = page["next"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(seen, 3);
    for (query, expected) in [
        ("status=none", StatusCode::BAD_REQUEST),
        ("sort_key=none", StatusCode::BAD_REQUEST),
        ("sort_dir=none", StatusCode::BAD_REQUEST),
        ("marker=none", StatusCode::BAD_REQUEST),
        ("type=import&status=success", StatusCode::OK),
    ] {
        let path = format!("/v2/tasks?{query}");
        assert_eq!(
            call(router, "admin", Method::GET, &path, Value::Null)
                .await
                .0,
            expected,
            "{query}"
        );
    }
    for (who, path, expected) in [
        ("member", "/v2/tasks", StatusCode::FORBIDDEN),
        ("admin", "/v2/tasks/none", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(
            call(router, who, Method::GET, path, Value::Null).await.0,
            expected
        );
    }
    for name in ["task", "tasks"] {
        let path = format!("/v2/schemas/{name}");
        let (_, _, schema) = call(router, "reader", Method::GET, &path, Value::Null).await;
        assert_eq!(schema["name"], name);
    }
}
