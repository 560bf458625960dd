//! What the API refuses, before anything is done.
use super::{
    cloud::{Cloud, Faults},
    support::Service,
};
use http::{Method, StatusCode};
use serde_json::{Value, json};

fn template(resources: &str) -> String {
    format!("heat_template_version: 2018-08-31\nresources:\n{resources}\n")
}

#[test]
fn wrong_stacks_are_refused_with_all_their_faults() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::new(0, Faults::default());
    let service = Service::start(folder.path(), &cloud);
    let value = "  v: { type: OS::Heat::Value, properties: { value: 1 } }";
    let cases = [
        ("1name", template(value), "Invalid stack name"),
        ("s", "resources: [".to_owned(), "template"),
        (
            "s",
            template("  a: { type: OS::No::Such }"),
            "(OS::No::Such) could not be found",
        ),
        (
            "s",
            template("  a: { type: OS::Heat::Value, properties: { valu: 1 } }"),
            "Unknown Property valu",
        ),
        (
            "s",
            template("  a: { type: OS::Heat::Value }"),
            "Property value not assigned",
        ),
        (
            "s",
            template(
                "  a: { type: OS::Heat::Value, properties: { value: { get_param: missing } } }",
            ),
            "missing",
        ),
        (
            "s",
            template(
                "  a: { type: OS::Heat::None, depends_on: b }\n  b: { type: OS::Heat::None, depends_on: a }",
            ),
            "a",
        ),
        (
            "s",
            template("  a: { type: OS::Heat::RandomString, properties: { length: many } }"),
            "is not a integer",
        ),
    ];
    for (name, template, words) in cases {
        let body = json!({"stack_name": name, "template": template});
        let (status, body) = service.call(Method::POST, "/stacks", body);
        assert_eq!(status, StatusCode::BAD_REQUEST, "{template}: {body}");
        assert_eq!(body["code"], 400);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{template}: {message}");
    }
    // Both faults at once.
    let two = template(
        "  a: { type: OS::Heat::Value, properties: { valu: 1 } }\n  b: { type: OS::No::Such }",
    );
    let (_, body) = service.call(
        Method::POST,
        "/stacks",
        json!({"stack_name": "s", "template": two}),
    );
    let message = body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("valu") && message.contains("OS::No::Such"),
        "{message}"
    );
    for wrong in [
        json!({"stack_name": "s"}),
        json!({"stack_name": "s", "template": template(value), "environment": {"nonsense": {}}}),
        json!({"stack_name": "s", "template": template(value), "timeout_mins": 0}),
        json!({"stack_name": "s", "template": template(value), "disable_rollback": "maybe"}),
        json!({"stack_name": "s", "template": template(value), "parameters": {"unknown": 1}}),
        json!([1]),
        Value::Null,
    ] {
        let (status, body) = service.call(Method::POST, "/stacks", wrong.clone());
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {body}");
    }
    assert_eq!(service.get("/stacks"), json!({"stacks": []}));
    assert_eq!(cloud.count("trusts"), 0);

    let path = service.create("taken", &template(value), Value::Null);
    let body = json!({"stack_name": "taken", "template": template(value)});
    let (status, body) = service.call(Method::POST, "/stacks", body);
    assert_eq!(
        (status, &body["error"]["type"]),
        (StatusCode::CONFLICT, &json!("StackExists"))
    );
    for (method, to) in [
        (Method::PATCH, path.clone()),
        (Method::PATCH, format!("{path}/preview")),
    ] {
        for wrong in [json!("x"), json!([1]), json!(5)] {
            let (status, body) = service.call(method.clone(), &to, wrong.clone());
            assert_eq!(status, StatusCode::BAD_REQUEST, "{to} {wrong}: {body}");
        }
    }
    let (status, _) = service.call(
        Method::POST,
        &format!("{path}/actions"),
        json!({"suspend": null}),
    );
    assert_eq!(status, StatusCode::BAD_REQUEST);
    for missing in [
        "/stacks/none",
        "/stacks/none/x",
        &format!("{path}/resources/none"),
        &format!("{path}/outputs/none"),
    ] {
        let (status, body) = service.call(Method::GET, missing, Value::Null);
        assert_eq!(status, StatusCode::NOT_FOUND, "{missing}: {body}");
    }
}

#[test]
fn types_and_templates_are_described() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), &Cloud::new(0, Faults::default()));
    let types = service.get("/resource_types");
    let types = types["resource_types"].as_array().unwrap();
    for name in types {
        let name = name.as_str().unwrap();
        let shown = service.get(&format!("/resource_types/{name}"));
        assert_eq!(shown["resource_type"], name);
        // The template that the service gives for a type is one that it takes.
        let template = service.get(&format!("/resource_types/{name}/template"));
        let (status, body) =
            service.call(Method::POST, "/validate", json!({ "template": template }));
        assert_eq!(status, StatusCode::OK, "{name}: {body}");
    }
    let body = json!({"template": "heat_template_version: 2018-08-31
parameters: { n: { type: number, default: 3, description: how many } }"});
    let (status, body) = service.call(Method::POST, "/validate", body);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["Parameters"]["n"]["Type"], "Number");
    assert_eq!(body["Parameters"]["n"]["Description"], "how many");
    let versions = service.get("/template_versions");
    let version = versions["template_versions"][0]["version"]
        .as_str()
        .unwrap();
    let functions = service.get(&format!("/template_versions/{version}/functions"));
    assert!(functions.to_string().contains("get_param"));
    assert!(service.get("/build_info")["engine"]["revision"].is_string());
}
