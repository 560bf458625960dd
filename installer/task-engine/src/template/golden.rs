//! Every template of `tests/golden/templates.txt` against what ansible-core gave for it.
use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::vars::Layer;

fn scope() -> Arc<Scope> {
    let text = include_str!("../../tests/golden/variables.json");
    let mut vars: Json = serde_json::from_str(text).unwrap();
    vars["omit"] = json!(OMIT);
    Scope::new(
        Arc::new(Templates::default()),
        vec![Layer::new(vars.as_object().unwrap())],
        HashMap::new(),
    )
}

/// Numbers that are equal are the same, whether they are written whole or not.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

/// What differs is a list that people read and approve, each with its cause in the message.
#[test]
fn templates_give_what_ansible_gives() {
    let golden: Json =
        serde_json::from_str(include_str!("../../tests/golden/templates.json")).unwrap();
    let templates = Templates::default();
    let scope = scope();
    let (mut alike, mut differing) = (0, String::new());
    for case in golden["cases"].as_array().unwrap() {
        let template = case["template"].as_str().unwrap();
        let got = templates.value(&json!(template), &scope);
        let Some(wanted) = case.get("value") else {
            // Ansible refuses it: whatever we do, we do not panic.
            continue;
        };
        match got {
            Ok(value) if same(&value, wanted) => alike += 1,
            Ok(value) => differing.push_str(&format!(
                "{template}\n  ansible {wanted}\n  here    {value}\n"
            )),
            Err(error) => differing.push_str(&format!(
                "{template}\n  ansible {wanted}\n  here    {error}\n"
            )),
        }
    }
    insta::assert_snapshot!(format!("alike: {alike}\n{differing}"));
}

proptest! {
    #[test]
    fn strangers_templates_never_panic(text in "[{}%#a-z|() .'\"0-9\n-]{0,60}", any in ".{0,40}") {
        let templates = Templates::default();
        let scope = scope();
        for text in [format!("{{{{ {text} }}}}"), format!("{{% {text} %}}"), text, any] {
            let _ = templates.value(&json!(text), &scope);
            let _ = templates.condition(&text, &scope);
        }
    }
}

#[test]
fn a_header_says_how_a_template_is_read() {
    let templates = Templates::default();
    let scope = scope();
    for (source, expected) in [
        (
            "#jinja2: trim_blocks: False\n{% if yes %}\na\n{% endif %}\n",
            "\na\n\n",
        ),
        (
            "#jinja2: lstrip_blocks: True\n  {% if yes %}\na\n  {% endif %}\n",
            "a\n",
        ),
        (
            "#jinja2: variable_start_string: '[%', variable_end_string: '%]'\n[% n %] {{ n }}\n",
            "5 {{ n }}\n",
        ),
    ] {
        let got = templates.file("t.j2", source, &scope, Marks::default());
        assert_eq!(got.as_deref(), Ok(expected), "{source}");
    }
    let error = templates
        .file("t.j2", "#jinja2: trim: x\na", &scope, Marks::default())
        .unwrap_err();
    assert!(
        error.to_string().contains("has no option `trim`"),
        "{error}"
    );
}

#[test]
fn loops_and_recursion_are_bounded() {
    let templates = Templates::default();
    let scope = scope();
    for text in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ range(10000000000) | list }}",
    ] {
        assert!(templates.value(&json!(text), &scope).is_err(), "{text}");
    }
}
