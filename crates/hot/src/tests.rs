//! Tests of the language as a whole: faults as people read them, functions as templates use them.
use super::*;
use serde_json::{Map, Value, json};

/// What the template says about itself: `fine`, or its faults as text.
fn check(text: &str) -> String {
    match parse("stack.yaml", text) {
        Ok(_) => "fine".to_owned(),
        Err(faults) => faults.to_string(),
    }
}

fn bound(text: &str, given: Value) -> Bound {
    let template = parse("stack.yaml", text).unwrap_or_else(|faults| panic!("{faults}"));
    let given = given.as_object().cloned().unwrap_or_default();
    let mut files = Map::new();
    files.insert("init.sh".into(), json!("#!/bin/sh\n"));
    let pseudo = Pseudo {
        stack_name: "demo".into(),
        ..Pseudo::default()
    };
    bind(template, &given, &Map::new(), files, &pseudo)
        .unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// A running stack in which every resource has the id `id-NAME` and one attribute `show`.
struct Running<'a>(&'a Bound);

impl Scope for Running<'_> {
    fn parameter(&self, name: &str) -> Result<Value, ResolveError> {
        self.0.parameter(name)
    }
    fn reference(&self, resource: &str) -> Result<Value, ResolveError> {
        Ok(json!(format!("id-{resource}")))
    }
    fn attribute(&self, resource: &str, attribute: Option<&str>) -> Result<Value, ResolveError> {
        let all = json!({"show": {"list": [{"ip": "10.0.0.5"}], "name": resource}});
        Ok(match attribute {
            Some(name) => all.get(name).cloned().unwrap_or(Value::Null),
            None => all,
        })
    }
    fn file(&self, name: &str) -> Result<String, ResolveError> {
        self.0.file(name)
    }
    fn condition(&self, name: &str) -> Result<bool, ResolveError> {
        self.0.condition(name)
    }
}

/// The value of an output `o` written as `expr`, in a template of the last version.
fn value(expr: &str) -> Result<Value, ResolveError> {
    let text = format!(
        "heat_template_version: wallaby
parameters:
  name: {{ type: string, default: web }}
  list: {{ type: comma_delimited_list, default: 'a,b' }}
  map: {{ type: json, default: {{ one: 1, deep: [x, y] }} }}
conditions:
  yes: {{ equals: [{{ get_param: name }}, web] }}
  no: {{ not: yes }}
resources:
  r: {{ type: OS::Heat::None }}
outputs:
  o: {{ value: {expr} }}
"
    );
    let bound = bound(&text, json!({}));
    let output = bound.template.outputs["o"].clone();
    resolve_value(&output.value, &Running(&bound))
}

#[test]
fn functions_give_what_heat_gives() {
    let cases = [
        ("{ get_param: name }", json!("web")),
        ("{ get_param: [map, deep, 1] }", json!("y")),
        ("{ get_param: 'OS::stack_name' }", json!("demo")),
        ("{ get_resource: r }", json!("id-r")),
        ("{ get_attr: [r, show, list, 0, ip] }", json!("10.0.0.5")),
        ("{ get_attr: [r, show, list, 7, ip] }", json!(null)),
        ("{ get_file: init.sh }", json!("#!/bin/sh\n")),
        // The longest key first, one pass, nothing replaced twice.
        (
            "{ str_replace: { template: 'a ab b', params: { a: ab, ab: X } } }",
            json!("ab X b"),
        ),
        ("{ str_split: [',', 'a,b,c'] }", json!(["a", "b", "c"])),
        ("{ str_split: [',', 'a,b,c', 2] }", json!("c")),
        (
            "{ list_join: ['-', { get_param: list }, [c, 3]] }",
            json!("a-b-c-3"),
        ),
        ("{ list_concat: [[a], [b, a]] }", json!(["a", "b", "a"])),
        ("{ list_concat_unique: [[a], [b, a]] }", json!(["a", "b"])),
        (
            "{ map_merge: [{ a: 1 }, { a: 2, b: 3 }] }",
            json!({"a": 2, "b": 3}),
        ),
        (
            "{ map_replace: [{ a: x }, { keys: { a: b }, values: { x: y } }] }",
            json!({"b": "y"}),
        ),
        (
            "{ repeat: { for_each: { '%a': [1, 2], '%b': [x] }, template: { k: '%a-%b' } } }",
            json!([{"k": "1-x"}, {"k": "2-x"}]),
        ),
        (
            "{ digest: [sha256, a] }",
            json!("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        ),
        ("{ filter: [[b], [a, b, c]] }", json!(["a", "c"])),
        (
            "{ make_url: { scheme: http, host: '::1', port: 80, path: /x, query: { a: b } } }",
            json!("http://[::1]:80/x?a=b"),
        ),
        ("{ if: [yes, 1, 2] }", json!(1)),
        ("{ if: [no, 1, 2] }", json!(2)),
        ("[a, { if: [no, b] }, c]", json!(["a", "c"])),
        ("{ a: { if: [no, b] }, c: d }", json!({"c": "d"})),
        (
            "{ if: [{ and: [yes, { or: [no, yes] }] }, 1, 2] }",
            json!(1),
        ),
        ("{ contains: [a, { get_param: list }] }", json!(true)),
    ];
    for (expr, wanted) in cases {
        assert_eq!(value(expr), Ok(wanted), "{expr}");
    }
}

#[test]
fn functions_refuse_what_heat_refuses() {
    for expr in [
        "{ str_replace_strict: { template: x, params: { y: z } } }",
        "{ str_replace_vstrict: { template: y, params: { y: '' } } }",
        "{ digest: [crc, a] }",
        "{ list_join: ['-', 5] }",
        "{ get_file: other.sh }",
        "{ map_merge: [5] }",
        "{ repeat: { for_each: { a: 5 }, template: a } }",
    ] {
        assert!(
            matches!(value(expr), Err(ResolveError::Invalid(_))),
            "{expr}: {:?}",
            value(expr)
        );
    }
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    insta::assert_snapshot!(check(
        "heat_template_version: 2013-05-23
paramters: {}
parameters:
  size: { type: numbr }
  name: { type: string, default: x, constraints: [{ length: { min: 2 } }] }
resources:
  one:
    type: OS::Heat::None
    propertys: {}
    depends_on: twoo
    properties:
      a: { get_param: nam }
      b: { get_resource: tow }
      c: { repeat: { for_each: {}, template: 1 } }
      d: { get_attr: one }
  two: {}
"
    ));
}

#[test]
fn a_template_without_a_version_says_what_to_write() {
    insta::assert_snapshot!(check("resources: {}\n"));
}

#[test]
fn parameters_are_checked_when_they_are_given() {
    let text = "heat_template_version: rocky
parameters:
  count: { type: number, constraints: [{ range: { min: 1, max: 3 } }] }
  secret: { type: string, hidden: true, constraints: [{ length: { min: 8 } }] }
";
    let template = parse("stack.yaml", text).unwrap();
    let given = json!({"count": 7, "secret": "hush", "other": 1});
    let none = Map::new();
    let faults = bind(
        template,
        given.as_object().unwrap(),
        &none,
        none.clone(),
        &Pseudo::default(),
    )
    .unwrap_err();
    let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"), @r"
    The Parameter (other) was not defined in template.
    Parameter 'count' is invalid: 7 is out of range (min: 1, max: 3)
    Parameter 'secret' is invalid: it breaks a constraint
    ");
}

#[test]
fn resources_are_ordered_by_what_they_refer_to() {
    let text = "heat_template_version: rocky
parameters:
  extra: { type: boolean, default: false }
conditions:
  extra: { equals: [{ get_param: extra }, true] }
resources:
  server: { type: S, properties: { port: { get_resource: port }, log: { get_attr: [disk, path] } } }
  port: { type: P, properties: { net: { get_resource: net } } }
  net: { type: N }
  disk: { type: D, depends_on: [net] }
  more: { type: M, condition: extra, depends_on: server }
";
    let order = |given: Value| {
        bound(text, given)
            .graph(&[])
            .unwrap()
            .order()
            .unwrap()
            .join(" ")
    };
    assert_eq!(order(json!({})), "net disk port server");
    assert_eq!(order(json!({"extra": true})), "net disk port server more");
}

#[test]
fn a_cycle_names_its_members() {
    let text = "heat_template_version: rocky
resources:
  a: { type: T, properties: { x: { get_resource: b } } }
  b: { type: T, depends_on: c }
  c: { type: T, properties: { x: { get_attr: [a, y] } } }
";
    let faults = bound(text, json!({})).graph(&[]).err().unwrap();
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0]
            .to_string()
            .starts_with("Circular Dependency Found: "),
        "{}",
        faults[0]
    );
}

#[test]
fn a_reference_to_a_resource_whose_condition_is_false_is_a_fault() {
    let text = "heat_template_version: rocky
conditions: { never: { equals: [1, 2] } }
resources:
  a: { type: T, condition: never }
  b: { type: T, depends_on: a }
";
    let faults = bound(text, json!({})).graph(&[]).err().unwrap();
    assert_eq!(
        faults,
        vec![BindError::NotThere {
            resource: "b".into(),
            needs: "a".into()
        }]
    );
}

#[test]
fn the_templates_that_are_shipped_are_fine() {
    for name in ["two-servers.yaml", "three-servers.yaml"] {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../templates/");
        let text = std::fs::read_to_string(format!("{path}{name}")).unwrap();
        let template = parse(name, &text).unwrap_or_else(|faults| panic!("{faults}"));
        let none = Map::new();
        let bound = bind(template, &none, &none, none.clone(), &Pseudo::default()).unwrap();
        assert!(bound.graph(&[]).is_ok());
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,300}") {
        let _ = parse("stack.yaml", &format!("heat_template_version: rocky\n{text}"));
    }
}
