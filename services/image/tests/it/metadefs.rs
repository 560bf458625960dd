//! The catalogue of metadata definitions through the router.
use super::*;

const URL: &str = "/v2/metadefs/namespaces";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_and_what_is_in_it() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let router = start(&db, folder.path()).await;
        let ask = async |who: &str, method: Method, path: &str, body: Value| {
            let (status, _, told) = call(&router, who, method, path, body).await;
            (status.as_u16(), told)
        };
        let property = json!({"title": "Cores", "type": "integer", "minimum": 1});
        let wanted = json!({
            "namespace": "OS::Cpu", "display_name": "CPU", "description": "of a server", "visibility": "public", "protected": true,
            "objects": [{"name": "cpu", "properties": {"cores": property}}],
            "properties": {"sockets": property},
            "tags": [{"name": "a"}],
            "resource_type_associations": [{"name": "OS::Nova::Flavor", "prefix": "hw:"}],
        });
        assert_eq!(ask("member", Method::POST, URL, wanted.clone()).await.0, 403);
        let (status, made) = ask("admin", Method::POST, URL, wanted.clone()).await;
        assert_eq!((status, &made["owner"]), (201, &json!("p1")), "{made}");
        assert_eq!(ask("admin", Method::POST, URL, wanted).await.0, 409);
        let one = format!("{URL}/OS::Cpu");
        let (_, shown) = ask("reader@p9", Method::GET, &one, Value::Null).await;
        assert_eq!(
            (&shown["objects"][0]["name"], &shown["properties"]["sockets"]["type"], &shown["tags"]),
            (&json!("cpu"), &json!("integer"), &json!([{"name": "a"}]))
        );
        let (_, shown) = ask("reader", Method::GET, &format!("{one}?resource_type=OS::Nova::Flavor"), Value::Null).await;
        assert_eq!(shown["properties"]["hw:sockets"]["title"], "Cores");
        assert!(shown["objects"][0]["properties"]["hw:cores"].is_object());
        let (status, shown) =
            ask("reader", Method::GET, &format!("{one}/properties/hw:sockets?resource_type=OS::Nova::Flavor"), Value::Null).await;
        assert_eq!((status, &shown["name"]), (200, &json!("hw:sockets")));
        // Protected: it and what is in it stay.
        for path in ["", "/objects", "/objects/cpu", "/properties/sockets", "/tags/a", "/tags", "/resource_types/OS::Nova::Flavor"] {
            let (status, _) = ask("admin", Method::DELETE, &format!("{one}{path}"), Value::Null).await;
            assert_eq!(status, 403, "{path}");
        }
        let open = json!({"namespace": "Cpu", "visibility": "private", "protected": false});
        let (status, changed) = ask("admin", Method::PUT, &one, open).await;
        assert_eq!((status, &changed["visibility"]), (200, &json!("private")));
        let one = format!("{URL}/Cpu");
        // Private: another project's do not exist.
        assert_eq!(ask("reader@p9", Method::GET, &one, Value::Null).await.0, 404);
        assert_eq!(ask("reader@p1", Method::GET, &one, Value::Null).await.0, 200);

        // Each kind: made, made twice, shown, changed, listed, gone.
        let titled = |name: &str| json!({"name": name, "title": "T", "type": "string"});
        for (kind, list, first, second) in [
            ("objects", "objects", json!({"name": "o"}), json!({"name": "o2", "description": "d"})),
            ("properties", "properties", titled("p"), titled("p2")),
            ("tags", "tags", json!({"name": "t"}), json!({"name": "t2"})),
        ] {
            let (name, renamed) = (first["name"].as_str().unwrap(), second["name"].as_str().unwrap());
            let (url, item) = (format!("{one}/{kind}"), format!("{one}/{kind}/{name}"));
            let make = if kind == "tags" { item.clone() } else { url.clone() };
            assert_eq!(ask("reader", Method::POST, &make, first.clone()).await.0, 403, "{kind}");
            assert_eq!(ask("admin", Method::POST, &make, first.clone()).await.0, 201, "{kind}");
            assert_eq!(ask("admin", Method::POST, &make, first.clone()).await.0, 409, "{kind}");
            assert_eq!(ask("admin", Method::GET, &item, Value::Null).await.1["name"], name);
            assert_eq!(ask("reader@p9", Method::GET, &item, Value::Null).await.0, 404, "{kind}");
            let (status, changed) = ask("admin", Method::PUT, &item, second.clone()).await;
            assert_eq!((status, changed["name"].as_str()), (200, Some(renamed)), "{kind}");
            assert_eq!(ask("admin", Method::GET, &item, Value::Null).await.0, 404, "{kind}");
            // To a name that is taken.
            assert_eq!(ask("admin", Method::POST, &make, first.clone()).await.0, 201, "{kind}");
            assert_eq!(ask("admin", Method::PUT, &item, second.clone()).await.0, 409, "{kind}");
            let (_, listed) = ask("reader", Method::GET, &url, Value::Null).await;
            let count = listed[list].as_array().map_or_else(|| listed[list].as_object().unwrap().len(), Vec::len);
            assert_eq!(count, 3, "{kind}: {listed}");
            let item = format!("{url}/{renamed}");
            assert_eq!(ask("admin", Method::DELETE, &item, Value::Null).await.0, 204, "{kind}");
            assert_eq!(ask("admin", Method::DELETE, &item, Value::Null).await.0, 404, "{kind}");
            assert_eq!(ask("admin", Method::DELETE, &url, Value::Null).await.0, 204, "{kind}");
            let (_, listed) = ask("reader", Method::GET, &url, Value::Null).await;
            assert!(listed[list] == json!([]) || listed[list] == json!({}), "{kind}: {listed}");
        }
        // A kind of resources that nobody knew is known from then on.
        let types = format!("{one}/resource_types");
        let (status, made) = ask("admin", Method::POST, &types, json!({"name": "Our::Own", "prefix": "x:"})).await;
        assert_eq!((status, &made["prefix"]), (201, &json!("x:")));
        assert_eq!(ask("admin", Method::POST, &types, json!({"name": "Our::Own"})).await.0, 409);
        let (_, listed) = ask("reader", Method::GET, &types, Value::Null).await;
        assert_eq!(listed["resource_type_associations"].as_array().unwrap().len(), 2);
        let (_, known) = ask("reader", Method::GET, "/v2/metadefs/resource_types", Value::Null).await;
        let names: Vec<&str> = known["resource_types"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"OS::Nova::Server") && names.contains(&"Our::Own"), "{names:?}");
        let (_, found) = ask("reader", Method::GET, &format!("{URL}?resource_types=Our::Own,None"), Value::Null).await;
        assert_eq!(found["namespaces"][0]["namespace"], "Cpu");
        assert_eq!(ask("admin", Method::DELETE, &format!("{types}/Our::Own"), Value::Null).await.0, 204);
        assert_eq!(ask("admin", Method::DELETE, &one, Value::Null).await.0, 204);
        assert_eq!(ask("admin", Method::GET, &one, Value::Null).await.0, 404);
        assert_eq!(ask("admin", Method::GET, &types, Value::Null).await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn namespaces_in_pages_and_what_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let db = imports::database(folder.path()).await;
    let router = start(&db, folder.path()).await;
    for n in 0..5 {
        let wanted = json!({"namespace": format!("n{n}"), "visibility": if n % 2 == 0 { "public" } else { "private" }});
        let (status, ..) = call(&router, "admin", Method::POST, URL, wanted).await;
        assert_eq!(status, StatusCode::CREATED);
    }
    let mut next = format!("{URL}?limit=2&sort_key=namespace&sort_dir=asc");
    let mut names = Vec::new();
    while !next.is_empty() {
        let (status, _, page) = call(&router, "admin", Method::GET, &next, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let found = page["namespaces"].as_array().unwrap().iter();
        names.extend(found.map(|one| one["namespace"].as_str().unwrap().to_owned()));
        next = page["next"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(names, ["n0", "n1", "n2", "n3", "n4"]);
    for (who, query, count) in [
        ("reader@p9", "", 3),
        ("reader", "", 5),
        ("admin", "visibility=private", 2),
    ] {
        let (_, _, page) = call(
            &router,
            who,
            Method::GET,
            &format!("{URL}?{query}"),
            Value::Null,
        )
        .await;
        assert_eq!(
            page["namespaces"].as_array().unwrap().len(),
            count,
            "{who} {query}"
        );
    }
    for bad in [
        "limit=x",
        "marker=none",
        "sort_key=colour",
        "sort_dir=up",
        "visibility=shared",
    ] {
        let (status, ..) = call(
            &router,
            "admin",
            Method::GET,
            &format!("{URL}?{bad}"),
            Value::Null,
        )
        .await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    for bad in [
        json!([]),
        json!({}),
        json!({"namespace": ""}),
        json!({"namespace": 5}),
        json!({"namespace": "a\0b"}),
        json!({"namespace": "x".repeat(1 << 20)}),
        json!({"namespace": "a", "visibility": "shared"}),
        json!({"namespace": "a", "protected": "yes"}),
        json!({"namespace": "a", "colour": "red"}),
        json!({"namespace": "a", "objects": {}}),
        json!({"namespace": "a", "objects": [{}]}),
        json!({"namespace": "a", "properties": {"p": {"type": "none"}}}),
        json!({"namespace": "a", "tags": ["t"]}),
    ] {
        let (status, ..) = call(&router, "admin", Method::POST, URL, bad.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    // What comes with a namespace is taken with it, or nothing is.
    let twice = json!({"namespace": "a", "tags": [{"name": "t"}, {"name": "t"}]});
    let (status, ..) = call(&router, "admin", Method::POST, URL, twice).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let path = format!("{URL}/a");
    assert_eq!(
        call(&router, "admin", Method::GET, &path, Value::Null)
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    // Tags all at once: instead of the others, or beside them.
    let tags = format!("{URL}/n0/tags");
    let send = async |names: &[&str], append: &str| {
        let tags_of: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let request = Request::builder()
            .method(Method::POST)
            .uri(&tags)
            .header("x-auth-token", "admin")
            .header("x-openstack-append", append)
            .body(Body::from(json!({"tags": tags_of}).to_string()))
            .unwrap();
        let status = router.clone().oneshot(request).await.unwrap().status();
        let (_, _, listed) = call(&router, "admin", Method::GET, &tags, Value::Null).await;
        (status.as_u16(), listed["tags"].as_array().unwrap().len())
    };
    assert_eq!(send(&["a", "b"], "").await, (201, 2));
    assert_eq!(send(&["c"], "True").await, (201, 3));
    assert_eq!(send(&["c"], "True").await, (409, 3));
    assert_eq!(send(&["d"], "False").await, (201, 1));
    for name in [
        "namespace",
        "namespaces",
        "object",
        "objects",
        "property",
        "properties",
        "tag",
        "tags",
        "resource_type",
        "resource_types",
    ] {
        let path = format!("/v2/schemas/metadefs/{name}");
        let (status, _, schema) = call(&router, "reader", Method::GET, &path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{name}");
        assert!(
            schema["name"].is_string() && schema["properties"].is_object(),
            "{name}"
        );
    }
    let (status, ..) = call(
        &router,
        "reader",
        Method::GET,
        "/v2/schemas/metadefs/none",
        Value::Null,
    )
    .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
