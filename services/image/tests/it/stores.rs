//! Several stores: data brought into them, taken from them, and what happens when one takes none.
use super::*;
use imports::{
    LOCAL, accepted, config, data, database, import, raw, show, stage, start_with, until,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_stores() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(folder.path()).await;
    let shelf = folder.path().join("shelf");
    let text = format!(
        "{LOCAL}[stores.disk]\ntype = 'file'\ndefault = true\n[stores.shelf]\ntype = 'file'\nfolder = '{}'\nweight = 5\ndescription = 'far'\n",
        shelf.display()
    );
    let one = start_with(&db, folder.path(), config(&text)).await;
    let router = &one.router;
    let on_shelf = || std::fs::read_dir(&shelf).unwrap().count();
    let (_, _, told) = call(
        router,
        "reader",
        Method::GET,
        "/v2/info/stores",
        Value::Null,
    )
    .await;
    assert_eq!(
        told["stores"],
        json!([{"id": "disk", "default": "true"}, {"id": "shelf", "description": "far"}])
    );
    let (status, ..) = call(
        router,
        "member",
        Method::GET,
        "/v2/info/stores/detail",
        Value::Null,
    )
    .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (_, _, told) = call(
        router,
        "admin",
        Method::GET,
        "/v2/info/stores/detail",
        Value::Null,
    )
    .await;
    assert_eq!(
        (&told["stores"][1]["type"], &told["stores"][1]["weight"]),
        (&json!("file"), &json!(5))
    );

    // To all of them.
    let id = raw(router).await;
    stage(router, &id, Body::from("hello")).await;
    let all = json!({"method": {"name": "glance-direct"}, "all_stores": true});
    accepted(router, "member", &id, all).await;
    let shown = until(router, &id, |shown| shown["status"] == "active").await;
    assert_eq!(
        (&shown["stores"], on_shelf(), files(folder.path())),
        (&json!("disk,shelf"), 1, 1)
    );
    // From one, and not from the last.
    let from = |store: &str, id: &str| format!("/v2/stores/{store}/{id}");
    for (who, store, expected) in [
        ("member", "disk", StatusCode::FORBIDDEN),
        ("admin", "none", StatusCode::CONFLICT),
        ("admin", "disk", StatusCode::NO_CONTENT),
        ("admin", "disk", StatusCode::NOT_FOUND),
        ("admin", "shelf", StatusCode::FORBIDDEN),
    ] {
        let (status, ..) = call(router, who, Method::DELETE, &from(store, &id), Value::Null).await;
        assert_eq!(status, expected, "{who} {store}");
    }
    assert_eq!(
        (
            files(folder.path()),
            show(router, &id).await["stores"].clone()
        ),
        (0, json!("shelf"))
    );
    assert_eq!(data(router, &id).await, (StatusCode::OK, json!("hello")));
    // And copied back, by administrators.
    let copy = json!({"method": {"name": "copy-image"}, "stores": ["disk"]});
    assert_eq!(
        import(router, "member", &id, copy.clone()).await.0,
        StatusCode::FORBIDDEN
    );
    accepted(router, "admin", &id, copy.clone()).await;
    until(router, &id, |shown| shown["stores"] == "disk,shelf").await;
    assert_eq!(files(folder.path()), 1);
    // What is there already is no work. The copy before may be about to end still.
    let again = loop {
        match import(router, "admin", &id, copy.clone()).await.0 {
            StatusCode::CONFLICT => tokio::time::sleep(Duration::from_millis(20)).await,
            status => break status,
        }
    };
    assert_eq!(again, StatusCode::ACCEPTED);
    let path = format!("/v2/images/{id}");
    let (status, ..) = call(router, "member", Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for _ in 0..500 {
        if on_shelf() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((on_shelf(), files(folder.path())), (0, 0));

    // An upload that names its store, and one that names none that is there.
    let id = raw(router).await;
    let upload = async |id: &str, store: &str| {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("/v2/images/{id}/file"))
            .header("x-auth-token", "member")
            .header("x-image-meta-store", store)
            .body(Body::from("hello"))
            .unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(upload(&id, "none").await, StatusCode::BAD_REQUEST);
    assert_eq!(upload(&id, "shelf").await, StatusCode::NO_CONTENT);
    assert_eq!(
        (
            show(router, &id).await["stores"].clone(),
            on_shelf(),
            files(folder.path())
        ),
        (json!("shelf"), 1, 0)
    );

    // A store that takes nothing: the others are undone, unless the user is content with some.
    std::fs::remove_dir_all(&shelf).unwrap();
    std::fs::write(&shelf, "no folder").unwrap();
    let id = raw(router).await;
    assert_eq!(upload(&id, "shelf").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (
            show(router, &id).await["status"].clone(),
            files(folder.path())
        ),
        (json!("queued"), 0)
    );
    for (must, status, stores) in [
        (true, "queued", Value::Null),
        (false, "active", json!("disk")),
    ] {
        let id = raw(router).await;
        stage(router, &id, Body::from("hello")).await;
        let all = json!({"method": {"name": "glance-direct"}, "stores": ["disk", "shelf"], "all_stores_must_succeed": must});
        accepted(router, "member", &id, all).await;
        let shown = until(router, &id, |shown| shown["status"] == status).await;
        assert_eq!(
            (&shown["stores"], &shown["os_glance_failed_import"]),
            (&stores, &json!("shelf"))
        );
    }
    assert_eq!(files(folder.path()), 1);
}
