//! Tests of order, text and near spellings.

use super::*;

fn sample() -> Diagnostics {
    let hosts = Source::new("hosts.yml", "all:\n  nics:\n    eth1: [mgnt]\n");
    let nets = Source::new("networks.yml", "pxe: 1\n\tpxe: \u{1b}[31m2\n");
    let mut all = Diagnostics::new();
    all.push(
        Diagnostic::error("`pxe` is given twice")
            .at(nets.location(2, 2, 3))
            .related(nets.location(1, 1, 3), "first given here"),
    );
    all.push(
        Diagnostic::error("there is no network `mgnt`")
            .at(hosts.location(3, 12, 4))
            .expected("one of `pxe`, `mgmt`")
            .suggest("mgnt", ["pxe", "mgmt"]),
    );
    all.push(Diagnostic::warning("no folder `host_vars`"));
    all
}

#[test]
fn text_shows_line_and_caret() {
    insta::assert_snapshot!(sample());
}

#[test]
fn json_holds_the_same() {
    insta::assert_json_snapshot!(sample().to_json());
}

#[test]
fn order_is_by_place() {
    let lines: Vec<_> = sample()
        .iter()
        .map(|d| d.location.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(
        lines,
        [
            None,
            Some("hosts.yml:3:12".into()),
            Some("networks.yml:2:2".into())
        ]
    );
}

#[test]
fn places_outside_the_text_do_no_harm() {
    let source = Source::new("x", "é\n");
    for (line, column, length) in [(0, 0, 0), (1, 99, 99), (9, 1, 1), (2, 1, 0)] {
        let text = Diagnostic::error("x")
            .at(source.location(line, column, length))
            .to_string();
        assert!(text.contains("-->"));
    }
    let long = Source::new("x", "a".repeat(1000));
    let text = Diagnostic::error("x")
        .at(long.location(1, 900, 500))
        .to_string();
    assert!(text.lines().all(|l| l.chars().count() < 140), "{text}");
}

#[test]
fn near_words() {
    let words = ["controller", "compute", "storage", "hybrid"];
    assert_eq!(did_you_mean("controler", words), Some("controller"));
    assert_eq!(did_you_mean("compuet", words), Some("compute"));
    assert_eq!(did_you_mean("COMPUTE", words), Some("compute"));
    assert_eq!(did_you_mean("database", words), None);
    assert_eq!(did_you_mean("", words), None);
    assert_eq!(did_you_mean("x", ["y"]), None);
}
