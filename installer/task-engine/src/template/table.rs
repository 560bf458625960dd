//! The template language by table: expression, expected value. What Ansible gives is what is expected here.
use std::collections::HashMap;

use serde_json::json;

use super::*;
use crate::vars::Layer;

fn scope() -> Arc<Scope> {
    let vars = json!({
        "n": 5, "yes": true, "text": "a-b", "none": null, "omit": OMIT,
        "list": [3, 1, 2, 3], "names": ["ab", "ac", "b"],
        "map": {"a": 1, "b": {"c": 2}},
        "people": [{"name": "x", "age": 3}, {"name": "y", "age": 4}],
        "result": {"changed": true, "failed": false, "stdout": "v1.10.2"},
        "skipped": {"skipped": true, "changed": false},
        "nested": "{{ text }}!", "broken": "{{ nowhere }}",
    });
    Scope::new(
        Arc::new(Templates::default()),
        vec![Layer::new(vars.as_object().unwrap())],
        HashMap::new(),
    )
}

#[test]
fn expressions_give_what_ansible_gives() {
    let templates = Templates::default();
    let scope = scope();
    for (source, expected) in [
        // whole expressions keep their type, mixed text is text
        ("{{ n }}", json!(5)),
        ("n={{ n }}", json!("n=5")),
        (
            "{{ yes }} {{ none }} {{ names }}",
            json!("True None ['ab', 'ac', 'b']"),
        ),
        ("{{ map }}", json!({"a": 1, "b": {"c": 2}})),
        ("{{ nested }}", json!("a-b!")),
        // undefined and defaults
        ("{{ nowhere | default('x') }}", json!("x")),
        ("{{ map.nowhere.deep | default('x') }}", json!("x")),
        ("{{ nowhere.deep.deeper is defined }}", json!(false)),
        (
            "{{ map.b.c is defined and nowhere is undefined }}",
            json!(true),
        ),
        ("{{ '' | default('x', true) }}", json!("x")),
        // conversions
        (
            "{{ 'yes' | bool }}{{ 'no' | bool }}{{ 1 | bool }}{{ 'x' | bool }}",
            json!("TrueFalseTrueFalse"),
        ),
        ("{{ '12' | int + 1 }}", json!(13)),
        ("{{ 'x' | int(7) }}", json!(7)),
        ("{{ '0x1f' | int(base=16) }}", json!(31)),
        ("{{ '1.5' | float }}", json!(1.5)),
        ("{{ n | string }}", json!("5")),
        // lists
        ("{{ names | join(',') }}", json!("ab,ac,b")),
        ("{{ list | unique }}", json!([3, 1, 2])),
        ("{{ list | sort | first }}", json!(1)),
        ("{{ list | difference([1]) }}", json!([3, 2])),
        ("{{ list | intersect([2, 3, 9]) }}", json!([3, 2])),
        ("{{ list | union([9]) }}", json!([3, 1, 2, 9])),
        (
            "{{ people | map(attribute='name') | list }}",
            json!(["x", "y"]),
        ),
        (
            "{{ people | selectattr('age', '>', 3) | map(attribute='name') | list }}",
            json!(["y"]),
        ),
        (
            "{{ people | rejectattr('name', 'equalto', 'x') | list | length }}",
            json!(1),
        ),
        (
            "{{ names | select('match', 'a') | list }}",
            json!(["ab", "ac"]),
        ),
        (
            "{{ names | reject('search', 'c$') | list }}",
            json!(["ab", "b"]),
        ),
        (
            "{{ ['a', 'b'] | map('extract', map) | list }}",
            json!([1, {"c": 2}]),
        ),
        ("{{ [[1, [2]], 3] | flatten }}", json!([1, 2, 3])),
        (
            "{{ [1, 2] | zip(['a', 'b']) | list }}",
            json!([[1, "a"], [2, "b"]]),
        ),
        (
            "{{ names | map('upper') | list }}",
            json!(["AB", "AC", "B"]),
        ),
        (
            "{{ names | map('regex_replace', '^a', 'x') | list }}",
            json!(["xb", "xc", "b"]),
        ),
        // mappings
        (
            "{{ map | combine({'b': {'d': 3}}) }}",
            json!({"a": 1, "b": {"d": 3}}),
        ),
        (
            "{{ map | combine({'b': {'d': 3}}, recursive=true) }}",
            json!({"a": 1, "b": {"c": 2, "d": 3}}),
        ),
        (
            "{{ {'k': 1} | dict2items }}",
            json!([{"key": "k", "value": 1}]),
        ),
        (
            "{{ [{'key': 'k', 'value': 1}] | items2dict }}",
            json!({"k": 1}),
        ),
        ("{{ map.keys() | list }}", json!(["a", "b"])),
        ("{{ map.get('z', 9) }}", json!(9)),
        // text
        ("{{ text.split('-')[1] }}", json!("b")),
        (
            "{{ text | regex_replace('(.)-(.)', '\\2-\\1') }}",
            json!("b-a"),
        ),
        ("{{ 'x=12' | regex_search('[0-9]+') }}", json!("12")),
        ("{{ 'x=12' | regex_search('y') is none }}", json!(true)),
        ("{{ 'x=12' | regex_search('x=(.)', '\\1') }}", json!(["1"])),
        ("{{ 'a1b2' | regex_findall('[0-9]') }}", json!(["1", "2"])),
        (
            "{{ '/a/b.txt' | basename }} {{ '/a/b.txt' | dirname }}",
            json!("b.txt /a"),
        ),
        ("{{ 'a b' | quote }}", json!("'a b'")),
        (
            "{{ 'abc' | b64encode }} {{ 'YWJj' | b64decode }}",
            json!("YWJj abc"),
        ),
        (
            "{{ 'abc' | hash('sha256') }}",
            json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ),
        (
            "{{ 'abc' | hash('md5') }}",
            json!("900150983cd24fb0d6963f7d28e17f72"),
        ),
        (
            "{{ {'b': [1, true]} | to_json }}",
            json!("{\"b\": [1, true]}"),
        ),
        ("{{ '{\"a\": 1}' | from_json }}", json!({"a": 1})),
        (
            "{{ {'b': 1, 'a': 2} | to_nice_json }}",
            json!("{\n    \"a\": 2,\n    \"b\": 1\n}"),
        ),
        (
            "{{ {'b': 1, 'a': 'x'} | to_yaml }}",
            json!("{a: x, b: 1}\n"),
        ),
        ("{{ yes | ternary('a', 'b') }}", json!("a")),
        // addresses
        ("{{ '10.0.0.5/24' | ipaddr('network') }}", json!("10.0.0.0")),
        ("{{ '10.0.0.5/24' | ipaddr('address') }}", json!("10.0.0.5")),
        ("{{ '10.0.0.0/24' | ipaddr(5) }}", json!("10.0.0.5/24")),
        (
            "{{ '10.0.0.0/24' | ipaddr('netmask') }}",
            json!("255.255.255.0"),
        ),
        ("{{ 'x' | ipaddr }}", json!(false)),
        ("{{ '::1' | ipwrap }}", json!("[::1]")),
        // tests
        ("{{ result is changed }}", json!(true)),
        ("{{ result is failed }}", json!(false)),
        (
            "{{ skipped is skipped and result is not skipped }}",
            json!(true),
        ),
        ("{{ result.stdout is version('1.9', '>') }}", json!(true)),
        ("{{ '1.10' is version('1.9', 'lt') }}", json!(false)),
        (
            "{{ text is match('a') and text is not match('b') }}",
            json!(true),
        ),
        ("{{ [1] is subset([1, 2]) }}", json!(true)),
        ("{{ names is contains('b') }}", json!(true)),
        // look-ups and omitted values
        ("{{ lookup('vars', 'te' ~ 'xt') }}", json!("a-b")),
        (
            "{{ query('dict', {'k': 1}) }}",
            json!([{"key": "k", "value": 1}]),
        ),
        // control
        (
            "{% for x in list if x > 2 %}{{ x }}{% endfor %}",
            json!("33"),
        ),
        (
            "{% if yes %}\nline\n{% endif %}\nend\n",
            json!("line\nend\n"),
        ),
        (
            "{% set ns = namespace(n=0) %}{% for x in list %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}",
            json!("9"),
        ),
    ] {
        let got = templates.value(&json!(source), &scope);
        assert_eq!(got.as_ref(), Ok(&expected), "{source}");
    }
    assert_eq!(
        templates.value(&json!({"a": "{{ omit }}", "b": ["{{ omit }}", 1]}), &scope),
        Ok(json!({"b": [1]}))
    );
}

#[test]
fn faults_name_what_is_missing_and_where() {
    let templates = Templates::default();
    let scope = scope();
    let mut out = String::new();
    for (name, source) in [
        ("string", "{{ nowhere }}"),
        ("string", "{{ map.nowhere.deep }}"),
        ("string", "{{ broken }}"),
        ("string", "a {{ nowhere | upper }}"),
        ("string", "{{ map.nowhere | default(other) }}"),
        ("string", "{{ 1 | nofilter }}"),
        ("string", "{{ 1 +"),
        ("string", "{% for x in nowhere %}{% endfor %}"),
        ("string", "{{ 'x' | regex_replace('(?=a)', '') }}"),
        ("string", "{{ lookup('file', 'no such file') }}"),
        (
            "roles/a/templates/b.j2",
            "one\ntwo {{ n }}\nthree {{ missing.name }}\n",
        ),
        (
            "roles/a/templates/b.j2",
            "one\n{% if nowhere %}\n{% endif %}\n",
        ),
    ] {
        let result = match name {
            "string" => templates
                .value(&json!(source), &scope)
                .map(|value| value.to_string()),
            name => templates.text(name, source, &scope),
        };
        out.push_str(&format!("{source:?}\n    {}\n", result.unwrap_err()));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn conditions() {
    let templates = Templates::default();
    let scope = scope();
    for (source, expected) in [
        ("yes", true),
        ("not yes", false),
        ("n > 3 and text == 'a-b'", true),
        ("'ab' in names", true),
        ("result.stdout | regex_search('v1')", true),
        ("nowhere is defined", false),
        ("nowhere | default(false)", false),
        ("{{ yes }}", true),
        ("list | length == 4", true),
        ("none is none", true),
    ] {
        assert_eq!(
            templates.condition(source, &scope),
            Ok(expected),
            "{source}"
        );
    }
    assert!(matches!(
        templates.condition("nowhere", &scope),
        Err(TemplateError::Undefined { .. })
    ));
    assert!(matches!(
        templates.condition("not nowhere", &scope),
        Err(TemplateError::Undefined { .. })
    ));
}
