//! Stacks of types that need no cloud: made, shown, changed, rolled back, deleted.
use super::{
    cloud::{Cloud, Faults},
    support::Service,
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::{fmt::Write, time::Instant};

const TEMPLATE: &str = "
heat_template_version: 2018-08-31
description: Values
parameters:
  text: { type: string, default: one }
  secret: { type: string, default: '', hidden: true }
  salt: { type: string, default: a }
resources:
  random: { type: OS::Heat::RandomString, properties: { length: 8, salt: { get_param: salt } } }
  value: { type: OS::Heat::Value, properties: { value: { list_join: ['-', [{ get_param: text }, { get_attr: [random, value] }]] } } }
  test: { type: OS::Heat::TestResource, depends_on: value, properties: { value: { get_param: text } } }
outputs:
  joined: { value: { get_attr: [value, value] } }
  random: { value: { get_attr: [random, value] } }
";

fn service(folder: &tempfile::TempDir) -> Service {
    Service::start(folder.path(), &Cloud::new(0, Faults::default()))
}

#[test]
fn a_stack_from_its_creation_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(&folder);
    let given = json!({"parameters": {"text": "two", "secret": "geheim"}});
    let path = service.create("values", TEMPLATE, given);
    let stack = service.reaches(&path, "CREATE_COMPLETE");
    assert_eq!(
        stack["stack_status_reason"],
        "Stack CREATE completed successfully"
    );
    assert_eq!(stack["parameters"]["text"], "two");
    assert_eq!(stack["parameters"]["OS::stack_name"], "values");
    assert!(!stack.to_string().contains("geheim"));
    let random = service.output(&path, "random");
    assert_eq!(random.as_str().unwrap().len(), 8);
    let joined = format!("two-{}", random.as_str().unwrap());
    assert_eq!(service.output(&path, "joined"), joined.as_str());

    // By name, each call is sent on to where the stack is.
    for (method, at) in [
        (Method::GET, "/stacks/values"),
        (Method::DELETE, "/stacks/values"),
        (Method::PUT, "/stacks/values"),
        (Method::GET, "/stacks/values/resources"),
        (Method::GET, "/stacks/values/template"),
        (Method::POST, "/stacks/values/actions"),
    ] {
        let (status, body) = service.call(method, at, Value::Null);
        assert_eq!(status, StatusCode::FOUND, "{at}: {body}");
    }
    let list = service.get("/stacks");
    assert_eq!(list["stacks"][0]["stack_name"], "values");
    let template = service.get(&format!("{path}/template"));
    assert_eq!(
        template["resources"]["random"]["type"],
        "OS::Heat::RandomString"
    );
    let environment = service.get(&format!("{path}/environment"));
    assert_eq!(
        environment["parameters"],
        json!({"text": "two", "secret": "******"})
    );
    let resources = service.get(&format!("{path}/resources"));
    let resources = resources["resources"].as_array().unwrap();
    assert_eq!(resources.len(), 3);
    let random_view = resources
        .iter()
        .find(|r| r["resource_name"] == "random")
        .unwrap();
    assert_eq!(random_view["resource_status"], "CREATE_COMPLETE");
    assert_eq!(random_view["required_by"], json!(["value"]));

    // What needs another is begun after that one's end.
    let events = service.get(&format!("{path}/events"));
    let at = |name: &str, status: &str| {
        let events = events["events"].as_array().unwrap();
        events
            .iter()
            .position(|e| e["resource_name"] == name && e["resource_status"] == status)
            .unwrap_or_else(|| panic!("{name} {status}"))
    };
    assert!(at("random", "CREATE_COMPLETE") < at("value", "CREATE_IN_PROGRESS"));
    assert!(at("value", "CREATE_COMPLETE") < at("test", "CREATE_IN_PROGRESS"));
    let event = &events["events"][at("test", "CREATE_COMPLETE")];
    let one = format!(
        "{path}/resources/test/events/{}",
        event["id"].as_str().unwrap()
    );
    assert_eq!(&service.get(&one)["event"], event);

    // The preview and the update agree: one unchanged, two changed in place.
    let test_id = service.physical_id(&path, "test");
    let patch = json!({"parameters": {"text": "three"}});
    let (status, preview) = service.call(Method::PATCH, &format!("{path}/preview"), patch.clone());
    assert_eq!(status, StatusCode::OK, "{preview}");
    let names = |preview: &Value, list: &str| -> Vec<String> {
        let list = preview["resource_changes"][list].as_array().unwrap();
        list.iter()
            .map(|r| r["resource_name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&preview, "unchanged"), ["random"]);
    assert_eq!(names(&preview, "updated").len(), 2);
    let (status, body) = service.call(Method::PATCH, &path, patch);
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    service.reaches(&path, "UPDATE_COMPLETE");
    assert_eq!(service.output(&path, "random"), random);
    assert!(
        service
            .output(&path, "joined")
            .as_str()
            .unwrap()
            .starts_with("three-")
    );
    assert_eq!(service.physical_id(&path, "test"), test_id);

    // A changed salt replaces the string, and what uses it follows.
    let (status, _) = service.call(Method::PATCH, &path, json!({"parameters": {"salt": "b"}}));
    assert_eq!(status, StatusCode::ACCEPTED);
    service.reaches(&path, "UPDATE_COMPLETE");
    let renewed = service.output(&path, "random");
    assert_ne!(renewed, random);
    let joined = format!("three-{}", renewed.as_str().unwrap());
    assert_eq!(service.output(&path, "joined"), joined.as_str());

    service.delete(&path);
    service.reaches(&path, "DELETE_COMPLETE");
    let (status, _) = service.call(Method::GET, "/stacks/values", Value::Null);
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(service.get("/stacks"), json!({"stacks": []}));
    assert_eq!(
        service.cloud.count("trusts"),
        0,
        "the trust went with the stack"
    );
    // The name is free again.
    let again = service.create("values", TEMPLATE, Value::Null);
    service.reaches(&again, "CREATE_COMPLETE");
}

fn failing(fail: bool, value: &str) -> String {
    format!(
        "heat_template_version: 2018-08-31
resources:
  good: {{ type: OS::Heat::TestResource, properties: {{ value: {value}, update_replace_value: {value} }} }}
  bad: {{ type: OS::Heat::TestResource, depends_on: good, properties: {{ fail: {fail} }} }}
  late: {{ type: OS::Heat::TestResource, depends_on: bad }}
outputs:
  value: {{ value: {{ get_attr: [good, output] }} }}
"
    )
}

#[test]
fn a_failure_stands_until_an_update_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(&folder);
    let path = service.create("broken", &failing(true, "a"), Value::Null);
    let stack = service.reaches(&path, "CREATE_FAILED");
    assert_eq!(
        stack["stack_status_reason"],
        "Resource CREATE failed: resources.bad: Test Resource failed"
    );
    let resources = service.get(&format!("{path}/resources"));
    assert_eq!(
        resources["resources"].as_array().unwrap().len(),
        2,
        "`late` was not begun"
    );
    let good = service.physical_id(&path, "good");
    service.update(&path, &failing(false, "a"), Value::Null);
    service.reaches(&path, "UPDATE_COMPLETE");
    assert_eq!(service.physical_id(&path, "good"), good);
    service.delete(&path);
    service.reaches(&path, "DELETE_COMPLETE");
}

#[test]
fn a_rollback_goes_back_to_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(&folder);
    let careful = json!({"disable_rollback": false});
    let path = service.create("never", &failing(true, "a"), careful.clone());
    let stack = service.reaches(&path, "ROLLBACK_COMPLETE");
    assert_eq!(stack["disable_rollback"], false);
    let resources = service.get(&format!("{path}/resources"));
    assert_eq!(resources["resources"], json!([]));

    let path = service.create("back", &failing(false, "a"), careful);
    service.reaches(&path, "CREATE_COMPLETE");
    let good = service.physical_id(&path, "good");
    // `good` is replaced before `bad` fails: the old one still stands, and is taken back.
    service.update(
        &path,
        &failing(true, "b"),
        json!({"disable_rollback": false}),
    );
    service.reaches(&path, "ROLLBACK_COMPLETE");
    assert_eq!(service.physical_id(&path, "good"), good);
    assert_eq!(service.output(&path, "value"), "a");
    let resources = service.get(&format!("{path}/resources"));
    assert_eq!(resources["resources"].as_array().unwrap().len(), 3);
}

#[test]
fn a_delete_overtakes_a_create() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(&folder);
    let template = "heat_template_version: 2018-08-31
resources:
  slow: { type: OS::Heat::TestResource, properties: { wait_secs: 1 } }
  after: { type: OS::Heat::TestResource, depends_on: slow, properties: { fail: true } }
";
    let path = service.create("short", template, Value::Null);
    service.delete(&path);
    service.reaches(&path, "DELETE_COMPLETE");
    let events = service.get(&format!("{path}/events")).to_string();
    assert!(!events.contains("after"), "{events}");
}

/// Prints how long it took; what is fast enough is a benchmark's matter.
#[test]
fn a_thousand_resources() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(&folder);
    let mut template = "heat_template_version: 2018-08-31\nresources:\n".to_owned();
    for n in 0..1000 {
        writeln!(template, "  r{n}: {{ type: OS::Heat::TestResource }}").unwrap();
    }
    let begun = Instant::now();
    let path = service.create("many", &template, Value::Null);
    service.reaches(&path, "CREATE_COMPLETE");
    println!("1000 resources created in {:?}", begun.elapsed());
    let begun = Instant::now();
    service.delete(&path);
    service.reaches(&path, "DELETE_COMPLETE");
    println!("1000 resources deleted in {:?}", begun.elapsed());
}
