//! The language, what is wrong with files, and whom rules let through.

use super::{
    check::{Attribute, Check, Operand},
    parse::parse,
    *,
};
use crate::{
    fault::FaultStyle,
    table::{Row, Table},
};
use http::Method;
use openstack_types::{NamedRef, ProjectRef, Token};
use proptest::prelude::*;

fn row(method: Method, path: &'static str, operation: &'static str, rule: Rule) -> Row {
    Row {
        method,
        path,
        operation,
        rule,
        body: None,
        streaming: false,
    }
}

fn table() -> Table {
    Table {
        service: "identity",
        style: FaultStyle::Keystone,
        microversions: None,
        rows: vec![
            row(
                Method::POST,
                "/v3/auth/tokens",
                "create_token",
                Rule::Public,
            ),
            row(Method::GET, "/v3/users", "list_users", Rule::Admin),
            row(Method::POST, "/v3/users", "create_user", Rule::Admin),
            row(
                Method::GET,
                "/v3/users/{user_id}",
                "get_user",
                Rule::Authenticated,
            ),
            row(
                Method::GET,
                "/v3/projects/{id}",
                "get_project",
                Rule::Authenticated,
            ),
            row(
                Method::PUT,
                "/v3/policies/{id}/x/{key}",
                "servers:update",
                Rule::Member,
            ),
            row(Method::POST, "/v3/regions", "create_region", Rule::Admin),
            row(
                Method::PUT,
                "/v3/regions/{id}",
                "create_region",
                Rule::Admin,
            ),
            row(
                Method::GET,
                "/v3/internal/things",
                "get_things",
                Rule::Service,
            ),
        ],
    }
}

fn faults(text: &str) -> String {
    check("policy.yaml", text, &table())
        .unwrap_err()
        .to_string()
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = r#"# a comment
identity:create_usr: role:admin
"list_users": "role:admin and"
list_domains: "@"
identity:list_users: "rule:nobody-knows or role:x"
get_user: "user_id:%(user_id)s or user_id:%(target.user.id)s"
create_user: "user:%(user_id)s"
create_token: "role:admin"
get_things: "@"
get_project:
- - role:admin
- - role:member
admin: "role:cloud_admin"
os_compute_api:servers:update: "rule:admin_required"
create_region: 'project_id:%(region_id)s'
"#;
    insta::assert_snapshot!(faults(text));
}

#[test]
fn keys_are_looked_at_even_where_their_rules_are_wrong() {
    let told = faults("get_projcet: rol:admin\nother: 'role:'\n");
    for hint in [
        "did you mean `get_project`?",
        "did you mean `role:admin`?",
        "is missing",
    ] {
        assert!(told.contains(hint), "{told}");
    }
    assert!(told.contains("3 errors"), "{told}");
}

#[test]
fn rules_that_cannot_be_read_say_why() {
    let rules = [
        "",
        "admin",
        "role:",
        "role:'admin'",
        "role:a role:b",
        "(role:a",
        "role:a)",
        "role:a and (role:b role:c)",
        "and role:a",
        "not",
        "role:a or or role:b",
        "rol:admin",
        "is_admin:yes",
        "http://policy.example.org/check",
        "field:networks:shared=True",
        "system_scope:some",
        "project_id:%(id)",
        "project_id:%()s",
        "project_id:a%b",
        "'x",
        "'x'",
        "'x':y",
        "x:%(id)s",
        "token.project.domain.id:default",
        "role:ä or nott role:b",
    ];
    let all: Vec<String> = rules
        .iter()
        .map(|rule| format!("{rule:?}\n{}", faults(&format!("list_users: {rule:?}\n"))))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn what_is_no_rule_says_how_to_write_one() {
    let values = ["", "!", "true", "5", "[]", "{role: admin}"];
    let all: Vec<String> = values
        .iter()
        .map(|value| format!("{value}\n{}", faults(&format!("list_users: {value}\n"))))
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn places_are_right_in_every_form_of_text() {
    let text = "list_users: role:a or rule:b\nget_user: 'role:a or rule:c'\ncreate_user: \"\\x72ole:a or rule:d\"\n\
                get_project: >-\n  role:a or\n  rule:e\n";
    let places: Vec<String> = check("p", text, &table())
        .unwrap_err()
        .iter()
        .map(|fault| fault.location.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(places, ["p:1:23", "p:2:22", "p:3:14", "p:5:3"]);
}

#[test]
fn rules_that_ask_for_themselves_are_refused() {
    insta::assert_snapshot!(faults(
        "list_users: rule:a\na: rule:b or role:x\nb: not rule:a\nget_user: rule:identity:get_user\n"
    ));
    let chain = |length: usize| {
        let links: Vec<String> = (0..length)
            .map(|n| format!("r{n}: rule:r{}\n", n + 1))
            .collect();
        format!("list_users: rule:r0\n{}r{length}: '@'\n", links.concat())
    };
    assert!(check("p", &chain(20), &table()).is_ok());
    for length in [40, 5000] {
        assert!(
            faults(&chain(length)).contains("lead on to one another"),
            "{length}"
        );
    }
}

#[test]
fn rules_are_decided_once_however_often_they_are_named() {
    let mut text = "list_users: rule:r0\n".to_owned();
    for n in 0..30 {
        text += &format!("r{n}: (rule:r{0} and rule:r{0}) or rule:r{0}\n", n + 1);
    }
    text += "r30: '!'\n";
    let overrides = check("p", &text, &table()).unwrap();
    assert_eq!(
        overrides.decide("list_users", &token(&["admin"]), &Target::default()),
        Some(false)
    );
}

#[test]
fn depth_has_a_limit() {
    for deep in ["(".repeat(100_000), "not ".repeat(100_000)] {
        let found = parse(&format!("{deep}role:a")).unwrap_err();
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("within one another"));
    }
    assert!(parse(&format!("{}role:a{}", "(".repeat(50), ")".repeat(50))).is_ok());
}

#[test]
fn the_defaults_are_a_file_that_changes_nothing() {
    let text = defaults(&table());
    insta::assert_snapshot!(text);
    let overrides = check("p", &text, &table()).unwrap();
    let roles = ["reader", "member", "manager", "admin", "service", "other"];
    for row in &table().rows {
        for role in roles {
            let token = token(&[role]);
            let decided = overrides.decide(row.operation, &token, &Target::default());
            let fixed = row.rule == Rule::Public || row.is_internal();
            let wanted = (!fixed).then(|| allows(row.rule, &token));
            assert_eq!(decided, wanted, "{} by {role}", row.operation);
        }
    }
}

fn token(roles: &[&str]) -> Token {
    let named = |name: &str| NamedRef {
        id: name.to_owned(),
        name: name.to_owned(),
    };
    let mut token = Token {
        project: Some(ProjectRef {
            id: "p1".into(),
            name: "demo".into(),
            domain: named("d1"),
        }),
        roles: roles.iter().map(|name| named(name)).collect(),
        ..Token::default()
    };
    token.user.id = "u1".into();
    token.user.domain.id = "d2".into();
    token
}

#[test]
fn whom_rules_let_through() {
    let project = token(&["Auditor", "member"]);
    let domain = Token {
        project: None,
        domain: Some(NamedRef {
            id: "d1".into(),
            name: "d".into(),
        }),
        ..token(&["admin"])
    };
    let system = Token {
        project: None,
        system: Some(serde_json::json!({"all": true})),
        ..token(&["admin"])
    };
    let unscoped = Token {
        project: None,
        ..token(&["admin"])
    };
    let tokens = [&project, &domain, &system, &unscoped];
    let target = Target(vec![("user_id", "u1"), ("id", "p1"), ("key", "x y")]);
    // In the order project, domain, system, no scope.
    for (rule, expected) in [
        ("@", "yyyy"),
        ("!", "nnnn"),
        ("role:auditor", "ynnn"),
        ("role:admin", "nyyn"),
        ("role:reader", "nnnn"),
        ("rule:reader", "yyyn"),
        ("rule:admin", "nyyn"),
        ("rule:authenticated", "yyyy"),
        ("rule:service", "nyyn"),
        ("rule:list_users", "nyyn"),
        ("rule:identity:servers:update", "yyyn"),
        ("rule:named", "ynnn"),
        ("is_admin:True", "nyyn"),
        ("is_admin:False", "ynny"),
        ("not role:admin", "ynny"),
        ("user_id:%(user_id)s", "yyyy"),
        ("user_id:%(id)s", "nnnn"),
        ("user_id:u1", "yyyy"),
        ("user_domain_id:d2", "yyyy"),
        ("project_id:%(id)s", "ynnn"),
        ("tenant_id:%(id)s", "ynnn"),
        ("project_domain_id:d1", "ynnn"),
        ("domain_id:d1", "nynn"),
        ("system_scope:all", "nnyn"),
        ("'p1':%(id)s", "yyyy"),
        ("'x y':%(key)s", "yyyy"),
        ("\"p2\":%(id)s", "nnnn"),
        ("role:admin and system_scope:all or role:member", "ynyn"),
        ("role:admin and (system_scope:all or role:member)", "nnyn"),
        ("NOT role:admin AND NOT role:member", "nnny"),
        ("not (role:admin or role:member)", "nnny"),
    ] {
        let mut overrides = check(
            "p",
            "named: role:member\nlist_users: rule:named\n",
            &table(),
        )
        .unwrap();
        // The rule of `list_users` itself is the default's in these.
        overrides.rules.remove("list_users");
        overrides
            .rules
            .insert("get_user".into(), parse(rule).unwrap().check);
        let found: String = tokens
            .iter()
            .map(|token| match overrides.decide("get_user", token, &target) {
                Some(true) => 'y',
                Some(false) => 'n',
                None => '?',
            })
            .collect();
        assert_eq!(found, expected, "{rule}");
    }
}

#[test]
fn parameters_go_by_the_names_of_their_resources() {
    let names =
        |path| -> Vec<String> { attributes(path).into_iter().map(|(name, _)| name).collect() };
    assert_eq!(names("/v3/users"), Vec::<String>::new());
    assert_eq!(
        names("/v3/projects/{id}"),
        ["id", "project_id", "tenant_id"]
    );
    assert_eq!(
        names("/v3/policies/{id}/x/{key}"),
        ["id", "policy_id", "key"]
    );
    assert_eq!(
        names("/v1/{tenant_id}/stacks/{stack_name}"),
        ["tenant_id", "project_id", "stack_name"]
    );
    assert_eq!(
        names("/v2.0/security-groups/{id}"),
        ["id", "security_group_id"]
    );
}

fn leaf() -> impl Strategy<Value = Check> {
    let name = "[a-zA-Z0-9_.:@!äé-]{1,8}";
    let target = "[a-z_.]{1,8}";
    let attribute = proptest::sample::select(vec![
        Attribute::UserId,
        Attribute::UserDomainId,
        Attribute::ProjectId,
        Attribute::ProjectDomainId,
        Attribute::DomainId,
    ]);
    let operand = prop_oneof![
        name.prop_map(Operand::Text),
        target.prop_map(Operand::Target)
    ];
    prop_oneof![
        Just(Check::Always),
        Just(Check::Never),
        Just(Check::Token(
            Attribute::SystemScope,
            Operand::Text("all".into())
        )),
        any::<bool>().prop_map(Check::IsAdmin),
        name.prop_map(Check::Role),
        name.prop_map(Check::Rule),
        (attribute, operand).prop_map(|(attribute, operand)| Check::Token(attribute, operand)),
        ("[^']{0,8}", target).prop_map(|(text, name)| Check::Literal(text, name)),
        ("[^\"]{0,8}", target).prop_map(|(text, name)| Check::Literal(text, name)),
    ]
}

fn tree() -> impl Strategy<Value = Check> {
    leaf().prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|check| Check::Not(Box::new(check))),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Check::All),
            proptest::collection::vec(inner, 2..4).prop_map(Check::Any),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same(check in tree()) {
        let text = check.to_string();
        prop_assert_eq!(parse(&text).map(|parsed| parsed.check).unwrap(), check, "{}", text);
    }

    #[test]
    fn no_text_is_too_strange(text in "[@!()a:%'\" notrle_s\\PC]{0,40}") {
        if let Ok(parsed) = parse(&text) {
            let printed = parsed.check.to_string();
            prop_assert_eq!(parse(&printed).unwrap().check, parsed.check);
        }
    }

    #[test]
    fn no_file_is_too_strange(text in "[a-z_:{}\\[\\]!@%&*'\"\n -]{0,80}") {
        let _ = check("p", &text, &table());
    }
}
