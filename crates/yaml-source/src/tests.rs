//! Tests of scalars, maps, tags, faults, limits, and of `serde`.

use super::*;
use diagnostics::Diagnostics;
use proptest::prelude::*;
use serde_json::json;

fn json(text: &str) -> serde_json::Value {
    parse("t.yml", text).expect("valid").root.to_json()
}

fn faults(text: &str) -> String {
    parse("t.yml", text).expect_err("has faults").to_string()
}

#[test]
fn plain_scalars_are_yaml_1_1() {
    for (text, value) in [
        ("yes", json!(true)),
        ("Off", json!(false)),
        ("y", json!("y")),
        ("~", json!(null)),
        ("", json!(null)),
        ("0644", json!(420)),
        ("0o644", json!("0o644")),
        ("08", json!("08")),
        ("0", json!(0)),
        ("-0x1F", json!(-31)),
        ("0b101", json!(5)),
        ("1_000", json!(1000)),
        ("+5", json!(5)),
        ("-", json!([null])),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("1.5e+3", json!(1500.0)),
        ("1e3", json!("1e3")),
        ("1.5e3", json!("1.5e3")),
        (".inf", json!(".inf")),
        ("1.", json!(1.0)),
        ("1.e+3", json!(1000.0)),
        ("00.5", json!(0.5)),
        ("-.5", json!("-.5")),
        ("-.nan", json!("-.nan")),
        ("._5", json!("._5")),
        ("1__0.5", json!(10.5)),
        ("+0644", json!(420)),
        ("0_7", json!(7)),
        ("_1", json!("_1")),
        ("0x", json!("0x")),
        ("1.2.3", json!("1.2.3")),
        ("10.20.0.0/24", json!("10.20.0.0/24")),
        ("12:30", json!("12:30")),
        ("52:54:00:12:34:56", json!("52:54:00:12:34:56")),
        ("2021-04-16", json!("2021-04-16")),
        (
            "123456789012345678901234567890",
            json!("123456789012345678901234567890"),
        ),
        ("9223372036854775807", json!(i64::MAX)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("'yes'", json!("yes")),
        ("\"0644\"", json!("0644")),
        ("|-\n  yes", json!("yes")),
        ("!!str yes", json!("yes")),
        ("!!int '0644'", json!(420)),
        ("! yes", json!("yes")),
        ("é: ü", json!({"é": "ü"})),
    ] {
        assert_eq!(json(text), value, "{text}");
    }
}

#[test]
fn maps_keep_order_and_merge_as_pyyaml_does() {
    assert_eq!(
        json("b: 1\na: 2\n80: x\non: y").to_string(),
        r#"{"b":1,"a":2,"80":"x","on":"y"}"#
    );
    let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  z: 3\n  <<: [*a, *b]\n";
    assert_eq!(json(text)["c"].to_string(), r#"{"y":1,"z":3,"x":1}"#);
    assert_eq!(json("'<<': 1"), json!({"<<": 1}));
}

#[test]
fn tags_are_kept() {
    assert_eq!(
        json("a: !Ref 12\nb: !vault |\n  line\nc: !Sub [x, {y: 1}]"),
        json!({"a": {"!Ref": "12"}, "b": {"!vault": "line\n"}, "c": {"!Sub": ["x", {"y": 1}]}})
    );
}

#[test]
fn several_documents() {
    let all = parse_all("t.yml", "---\na: 1\n---\nb: 2\n").expect("valid");
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].root.to_json(), json!({"b": 2}));
    insta::assert_snapshot!(faults("a: 1\n---\nb: 2\n"));
}

#[test]
fn all_faults_are_told() {
    insta::assert_snapshot!(faults(
        "a: 1\nb: {c: 1, c: 2}\na: 2\nd: !!int x\ne: {{ name }}\nf:\n  <<: 7\n"
    ));
}

#[test]
fn syntax_errors_say_where() {
    insta::assert_snapshot!(
        [
            "a: b: c\n",
            "a: [1, 2\nb: 3\n",
            "a: 1\n\tb: 2\n",
            "a: 'x\n",
            "a: *nothing\n",
            "a: \u{1}\nb: \0\n"
        ]
        .map(faults)
        .join("\n")
    );
}

#[test]
fn bombs_are_defused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..20 {
        text += &format!(
            "a{n}: &a{n} [{}]\n",
            vec![format!("*a{}", n - 1); 10].join(", ")
        );
    }
    assert!(faults(&text).contains("aliases multiply"));
    assert!(faults(&"[".repeat(150)).contains("deep"));
    assert!(faults(&"[".repeat(100_000)).contains("not YAML"));
    let block: String = (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert!(faults(&block).contains("deep"));
    assert!(faults("&a [*a]").contains("itself"));
    let mut deep = String::from("a0: &a0 [x]\n");
    for n in 1..200 {
        deep += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
    }
    assert!(faults(&deep).contains("deep"));
}

#[test]
fn places_count_from_one_in_characters() {
    let doc = parse("t.yml", "é: [ü, abc]\nx:\n  y: long text here  # c\n").expect("valid");
    let map = doc.root.map().expect("map");
    let abc = &map.get("é").and_then(Node::seq).expect("list")[1].span;
    assert_eq!((abc.line(), abc.column(), abc.length()), (1, 8, 3));
    let (key, _) = map.get_entry("x").expect("x");
    assert_eq!(
        (key.span.line(), key.span.column(), key.span.length()),
        (2, 1, 1)
    );
    let y = &map
        .get("x")
        .and_then(Node::map)
        .and_then(|m| m.get("y"))
        .expect("y")
        .span;
    assert_eq!((y.line(), y.column(), y.length()), (3, 6, 14));
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    cidr: String,
    vlan: Option<u16>,
    #[serde(default)]
    dns: Vec<String>,
    kind: Option<Kind>,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Flat,
    Vlan(u16),
}

#[test]
fn serde_reads_types_and_points_to_faults() {
    let read = |text: &str| {
        parse("t.yml", text)
            .expect("valid")
            .root
            .deserialize::<Network>()
    };
    assert_eq!(
        read("cidr: a\nvlan: 12\ndns: [x]\nkind: {vlan: 7}").expect("valid"),
        Network {
            cidr: "a".into(),
            vlan: Some(12),
            dns: vec!["x".into()],
            kind: Some(Kind::Vlan(7))
        }
    );
    let all: Diagnostics = [
        "cidr: a\nvlan: many\n",
        "cidr: a\nvlan: 70000\n",
        "cidr: a\ndns: [x, [y]]\n",
        "cidr: a\nvlam: 3\n",
        "vlan: 3\n",
        "cidr: a\nkind: flaot\n",
        "cidr: !Ref a\n",
    ]
    .iter()
    .map(|text| read(text).expect_err("has a fault"))
    .collect();
    insta::assert_snapshot!(all);
}

#[test]
fn accessors_collect() {
    let doc = parse("t.yml", "name: [x]\nvlna: 3\nup: maybe\n").expect("valid");
    let mut diags = Diagnostics::new();
    let map = doc.root.as_map("a network", &mut diags).expect("map");
    map.check_keys("a network", &["name", "vlan", "up"], &mut diags);
    assert_eq!(
        map.get("name").expect("name").as_str("`name`", &mut diags),
        None
    );
    assert_eq!(map.get("up").expect("up").as_bool("`up`", &mut diags), None);
    assert!(
        map.required("cidr", "the network", &doc.root.span, &mut diags)
            .is_none()
    );
    insta::assert_snapshot!(diags);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_gives_an_answer(text in "\\PC{0,200}") {
        let _ = parse_all("t.yml", &text).map_err(|d| d.to_string());
    }

    #[test]
    fn yaml_like_text_gives_an_answer(
        text in proptest::collection::vec(
            prop::sample::select(vec![
                "a", "b: ", "- ", "\n", "  ", "[", "]", "{", "}", ",", ": ", "&x ", "*x", "!t ", "!!int ",
                "<<: ", "'", "\"", "|\n", ">-\n", "#", "---\n", "...\n", "? ", "%TAG ! x\n", "\t", "\\", "é", "0x", "1", ".", "\r\n", "\u{feff}", "\0",
            ]),
            0..60,
        )
    ) {
        let text = text.concat();
        match parse_all("t.yml", &text) {
            Ok(documents) => for document in documents {
                let _ = document.root.to_json();
                let _ = document.root.deserialize::<serde_json::Value>().map_err(|d| d.to_string());
            },
            Err(diags) => prop_assert!(diags.has_errors() && !diags.to_string().is_empty()),
        }
    }

    #[test]
    fn json_comes_back(
        map in proptest::collection::btree_map("[a-z]{1,8}", prop_oneof![
            any::<i64>().prop_map(|n| json!(n)),
            any::<bool>().prop_map(|b| json!(b)),
            "[ -~]{0,20}".prop_map(|s| json!(s)),
            Just(json!(null)),
            Just(json!([1, "x", {"y": []}])),
        ], 0..8)
    ) {
        let value = json!(map);
        prop_assert_eq!(json(&value.to_string()), value);
    }
}
