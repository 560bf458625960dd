//! What every command shares: wrong arguments, exit statuses, the namespace.

use crate::run::Place;

#[test]
fn wrong_arguments_are_the_users_fault() {
    let place = Place::new();
    for args in [
        &["chekc"][..],
        &["check", "--output", "xml"],
        &["check", "--env", "../etc"],
        &["node", "show"],
    ] {
        let answer = place.wright(args);
        assert!(
            answer.contains("── status 1\n── stdout\n── stderr\nerror: "),
            "{answer}"
        );
    }
    let answer = place.wright(&["chekc"]);
    assert!(answer.contains("check"), "{answer}");
}

#[test]
fn help_goes_to_stdout() {
    let place = Place::new();
    for args in [
        &["--help"][..],
        &["--version"],
        &["check", "--help"],
        &["help", "node"],
    ] {
        let answer = place.wright(args);
        assert!(answer.contains("── status 0\n"), "{answer}");
        assert!(answer.ends_with("── stderr\n"), "{answer}");
    }
    insta::assert_snapshot!(place.wright(&["check", "--help"]));
}

#[test]
fn a_namespace_that_is_not_there_is_told() {
    let place = Place::new();
    insta::assert_snapshot!(
        ["wl-no-such-namespace", "../../etc/passwd"]
            .map(|name| place.wright_with(&["check"], &[("WRIGHT_NETNS", name)]))
            .join("\n")
    );
}
