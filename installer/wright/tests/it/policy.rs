//! `wright policy`, and services that do not start with a wrong policy file.

use crate::run::Place;

#[test]
fn files_are_checked() {
    let place = Place::new();
    place.write(
        "good.yaml",
        "identity:list_users: role:auditor or rule:admin\n",
    );
    place.write(
        "bad.yaml",
        "identity:list_user: rol:auditor\nidentity:create_token: '@'\n",
    );
    let good = place.wright(&["policy", "check", "identity", "good.yaml"]);
    assert!(good.contains("── status 0"), "{good}");
    assert!(good.contains("1 rule, nothing wrong"), "{good}");
    let bad = place.wright(&["policy", "check", "identity", "bad.yaml"]);
    assert!(bad.contains("── status 1"), "{bad}");
    for told in [
        " --> bad.yaml:1:1",
        "did you mean `list_users`?",
        " --> bad.yaml:1:21",
        "did you mean `role:auditor`?",
        "who may call `create_token` cannot be changed",
        "3 errors",
    ] {
        assert!(bad.contains(told), "{told}: {bad}");
    }
    // Of another service, and not there.
    for args in [["network", "good.yaml"], ["identity", "missing.yaml"]] {
        let answer = place.wright(&["policy", "check", args[0], args[1]]);
        assert!(answer.contains("── status 1"), "{answer}");
        assert!(answer.contains(args[1]), "{answer}");
    }
}

#[test]
fn the_rules_of_every_service_are_shown() {
    let place = Place::new();
    for (service, line) in [
        ("identity", "\"identity:list_users\": \"rule:admin\""),
        ("image", "\"image:get_images\": \"rule:reader\""),
        ("placement", "\"placement:list_traits\": \"rule:service\""),
        ("network", "\"network:create_network\": \"rule:member\""),
        ("compute", "\"compute:servers:create\": \"rule:member\""),
        (
            "orchestration",
            "\"orchestration:create_stack\": \"rule:member\"",
        ),
    ] {
        let answer = place.wright(&["policy", "show", service]);
        assert!(answer.contains(line), "{answer}");
        assert!(!answer.contains("internal"), "{answer}");
    }
}

#[test]
fn no_service_starts_with_a_wrong_policy_file() {
    let place = Place::new();
    place.write("policy.yaml", "no_such_operation: role:admin\n");
    place.write("password", "secret");
    for service in [
        "identity",
        "image",
        "placement",
        "network",
        "compute",
        "orchestration",
    ] {
        let own = match service {
            "identity" => "[bootstrap]\nadmin_password = \"secret\"\n",
            "network" => "simulate = true\n",
            _ => "",
        };
        place.write(
            "service.toml",
            &format!(
                "{own}[policy]\nfile = \"policy.yaml\"\n[service]\nlisten = \"127.0.0.1:0\"\n\
                 public_url = \"http://127.0.0.1:1\"\ndata_dir = \"{service}\"\n\
                 [service.database]\nurl = \"sqlite://{service}/db.sqlite\"\n\
                 [service.identity]\nauth_url = \"http://127.0.0.1:1/v3\"\nusername = \"x\"\npassword = \"x\"\n"
            ),
        );
        let answer = place.wright(&["serve", service, "--config", "service.toml"]);
        assert!(answer.contains("── status 1"), "{answer}");
        assert!(answer.contains("policy.yaml:1:1"), "{answer}");
        assert!(answer.contains("no_such_operation"), "{answer}");
    }
}
