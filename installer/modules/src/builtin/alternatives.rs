//! `alternatives`: which of several programs a common name means.
use agent_protocol::task::TaskResult;
use serde_json::Value;

use crate::args::Args;
use crate::context::{Context, Fault, With};
use crate::process::words;
use crate::spec::{Arg, Effect, Kind, Module};

pub const ALTERNATIVES: Module = Module::new(
    "alternatives",
    "Choose what a common name of a program means",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "the common name").required(),
    Arg::new("path", Kind::Path, "the program that is meant"),
    Arg::new("link", Kind::Path, "the link, of a name that is new"),
    Arg::new("priority", Kind::Int, "how much it is preferred"),
    Arg::new("family", Kind::Text, "not supported by Debian").choices(&[]),
    Arg::new(
        "subcommands",
        Kind::Any,
        "links that go with it: name, path, link",
    )
    .aliases(&["slaves"]),
    Arg::new(
        "state",
        Kind::Text,
        "present: known; selected: used; auto: used if preferred most",
    )
    .choices(&["present", "selected", "auto", "absent"])
    .default("selected"),
];

const PRIORITY: i64 = 50;

#[derive(Debug, Default, PartialEq)]
struct Group {
    link: String,
    /// Chosen by hand rather than by priority.
    manual: bool,
    value: String,
    alternatives: Vec<Alternative>,
}

#[derive(Debug, Default, PartialEq)]
struct Alternative {
    path: String,
    priority: i64,
    /// Name and path.
    slaves: Vec<(String, String)>,
}

struct Slave {
    name: String,
    path: String,
    link: String,
}

struct Wish<'a> {
    name: &'a str,
    path: Option<&'a str>,
    link: Option<&'a str>,
    priority: Option<i64>,
    slaves: Option<Vec<Slave>>,
    state: &'a str,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    if args.text("family").is_some() {
        return Err(Fault::new(
            "family is not supported by Debian's update-alternatives",
        ));
    }
    let wish = Wish {
        name,
        path: args.text("path"),
        link: args.text("link"),
        priority: args.int("priority"),
        slaves: args
            .value("subcommands")
            .map(slaves)
            .transpose()
            .map_err(Fault::new)?,
        state: args.need("state"),
    };
    // Status 2: nobody knows the name.
    let output = context.output(&["update-alternatives", "--query", name])?;
    let now = (output.rc == 0).then(|| parse(&output.stdout));
    if wish.state != "absent"
        && let Some(path) = wish.path
        && !context.path(path).exists()
        && !context.check
    {
        return Err(Fault::new(format!("Specified path {path} does not exist")));
    }
    let plan = plan(&wish, now.as_ref()).map_err(Fault::new)?;
    Ok(context.carry_out(name, &plan)?.with("name", name))
}

fn slaves(value: &Value) -> Result<Vec<Slave>, String> {
    let items = value.as_array().ok_or("subcommands must be a list")?;
    items
        .iter()
        .map(|item| {
            let field = |name: &str| {
                item.get(name)
                    .and_then(Value::as_str)
                    .map(str::to_owned)
                    .ok_or_else(|| format!("each of subcommands needs `{name}`"))
            };
            Ok(Slave {
                name: field("name")?,
                path: field("path")?,
                link: field("link")?,
            })
        })
        .collect()
}

/// Reads what `update-alternatives --query` says.
fn parse(text: &str) -> Group {
    let mut group = Group::default();
    for line in text.lines() {
        let last = group.alternatives.last_mut();
        match (line.split_once(": "), line.strip_prefix(' ')) {
            (_, Some(slave)) => {
                if let (Some(last), Some((name, path))) = (last, slave.split_once(' ')) {
                    last.slaves.push((name.to_owned(), path.to_owned()));
                }
            }
            (Some(("Link", link)), _) => group.link = link.to_owned(),
            (Some(("Status", status)), _) => group.manual = status == "manual",
            (Some(("Value", value)), _) => group.value = value.to_owned(),
            (Some(("Alternative", path)), _) => group.alternatives.push(Alternative {
                path: path.to_owned(),
                ..Alternative::default()
            }),
            (Some(("Priority", priority)), _) => {
                if let Some(last) = last {
                    last.priority = priority.parse().unwrap_or(0);
                }
            }
            _ => {}
        }
    }
    group
}

fn plan(wish: &Wish<'_>, now: Option<&Group>) -> Result<Vec<Vec<String>>, String> {
    let name = wish.name;
    let mut plan = Vec::new();
    if wish.state == "auto" && wish.path.is_none() {
        let Some(now) = now else {
            return Err(format!("there is no alternative `{name}`"));
        };
        if now.manual {
            plan.push(words(&["update-alternatives", "--auto", name]));
        }
        return Ok(plan);
    }
    let path = wish.path.ok_or("path is required")?;
    let known = now.and_then(|now| now.alternatives.iter().find(|known| known.path == path));
    if wish.state == "absent" {
        if known.is_some() {
            plan.push(words(&["update-alternatives", "--remove", name, path]));
        }
        return Ok(plan);
    }
    let link_now = now
        .map(|now| now.link.as_str())
        .filter(|link| !link.is_empty());
    let slaves_differ = |known: &Alternative| {
        wish.slaves.as_ref().is_some_and(|wanted| {
            let mut wanted: Vec<_> = wanted
                .iter()
                .map(|s| (s.name.clone(), s.path.clone()))
                .collect();
            let mut has = known.slaves.clone();
            wanted.sort();
            has.sort();
            wanted != has
        })
    };
    let differs = match known {
        None => true,
        Some(known) => {
            wish.priority
                .is_some_and(|priority| priority != known.priority)
                || wish.link.is_some_and(|link| Some(link) != link_now)
                || slaves_differ(known)
        }
    };
    if differs {
        let link = wish.link.or(link_now).ok_or_else(|| {
            format!("Needed to install the alternative, but unable to do so as we are missing the link of `{name}`")
        })?;
        let priority = wish
            .priority
            .or(known.map(|known| known.priority))
            .unwrap_or(PRIORITY);
        let mut argv = words(&[
            "update-alternatives",
            "--install",
            link,
            name,
            path,
            &priority.to_string(),
        ]);
        for slave in wish.slaves.iter().flatten() {
            argv.extend(words(&["--slave", &slave.link, &slave.name, &slave.path]));
        }
        plan.push(argv);
    }
    match wish.state {
        "selected" if now.is_none_or(|now| now.value != path) => {
            plan.push(words(&["update-alternatives", "--set", name, path]));
        }
        "auto" if now.is_some_and(|now| now.manual) => {
            plan.push(words(&["update-alternatives", "--auto", name]));
        }
        _ => {}
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::{Bench, has};
    use serde_json::json;

    const EDITOR: &str = "Name: editor\nLink: /usr/bin/editor\nSlaves:\n editor.1.gz /usr/share/man/man1/editor.1.gz\nStatus: auto\nBest: /bin/nano\nValue: /bin/nano\n\nAlternative: /bin/nano\nPriority: 40\nSlaves:\n editor.1.gz /usr/share/man/man1/nano.1.gz\n\nAlternative: /usr/bin/vim.tiny\nPriority: 15\n";

    #[test]
    fn plans() {
        let now = parse(EDITOR);
        let manual = Group {
            manual: true,
            ..parse(EDITOR)
        };
        let wish = |path| Wish {
            name: "editor",
            path: Some(path),
            link: None,
            priority: None,
            slaves: None,
            state: "selected",
        };
        let slave = || {
            Some(vec![Slave {
                name: "editor.1.gz".into(),
                path: "/m/x".into(),
                link: "/l/x".into(),
            }])
        };
        let cases = [
            ("selected already", wish("/bin/nano"), Some(&now)),
            ("select", wish("/usr/bin/vim.tiny"), Some(&now)),
            ("new and selected", wish("/usr/bin/ed"), Some(&now)),
            (
                "only present",
                Wish {
                    state: "present",
                    priority: Some(7),
                    ..wish("/usr/bin/ed")
                },
                Some(&now),
            ),
            (
                "present already",
                Wish {
                    state: "present",
                    ..wish("/usr/bin/vim.tiny")
                },
                Some(&now),
            ),
            (
                "another priority",
                Wish {
                    state: "present",
                    priority: Some(99),
                    ..wish("/usr/bin/vim.tiny")
                },
                Some(&now),
            ),
            (
                "another slave",
                Wish {
                    state: "present",
                    slaves: slave(),
                    ..wish("/bin/nano")
                },
                Some(&now),
            ),
            (
                "new group",
                Wish {
                    link: Some("/usr/bin/editor"),
                    slaves: slave(),
                    ..wish("/usr/bin/ed")
                },
                None,
            ),
            ("new group without link", wish("/usr/bin/ed"), None),
            (
                "auto",
                Wish {
                    path: None,
                    state: "auto",
                    ..wish("")
                },
                Some(&manual),
            ),
            (
                "auto already",
                Wish {
                    path: None,
                    state: "auto",
                    ..wish("")
                },
                Some(&now),
            ),
            (
                "absent",
                Wish {
                    state: "absent",
                    ..wish("/bin/nano")
                },
                Some(&now),
            ),
            (
                "absent already",
                Wish {
                    state: "absent",
                    ..wish("/bin/none")
                },
                Some(&now),
            ),
        ];
        let text: Vec<String> = cases
            .iter()
            .map(|(name, wish, now)| match plan(wish, *now) {
                Ok(plan) => {
                    let lines: Vec<String> = plan.iter().map(|argv| argv[1..].join(" ")).collect();
                    format!("{name}: [{}]", lines.join("; "))
                }
                Err(error) => format!("{name}: error: {error}"),
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn real_alternatives_are_chosen() {
        if !has("update-alternatives") {
            return eprintln!("skipped: update-alternatives is not there");
        }
        let bench = Bench::new();
        for folder in ["/admin", "/alt", "/bin"] {
            std::fs::create_dir_all(bench.path(folder)).unwrap();
        }
        bench.write("/bin/one", "");
        bench.write("/bin/two", "");
        bench.program("update-alternatives", "exec /usr/bin/update-alternatives --admindir $ROOT/admin --altdir $ROOT/alt --log /dev/null \"$@\"");
        let root = bench.root().display().to_string();
        bench.context(|context| {
            let choose = |context: &mut Context<'_>, path: &str, state: &str| {
                let wish = Wish {
                    name: "tool",
                    path: Some(path),
                    link: Some(&format!("{root}/bin/tool")),
                    priority: None,
                    slaves: None,
                    state,
                };
                let said = context
                    .output(&["update-alternatives", "--query", "tool"])
                    .unwrap();
                let now = (said.rc == 0).then(|| parse(&said.stdout));
                let plan = plan(&wish, now.as_ref()).unwrap();
                context.carry_out("tool", &plan).unwrap().changed
            };
            let (one, two) = (format!("{root}/bin/one"), format!("{root}/bin/two"));
            for (path, state, changes) in [
                (&one, "present", true),
                (&two, "selected", true),
                (&two, "selected", false),
                (&one, "auto", true),
                (&one, "auto", false),
                (&two, "absent", true),
                (&two, "absent", false),
            ] {
                assert_eq!(choose(context, path, state), changes, "{path} {state}");
            }
        });
        for args in [
            json!({"name": "tool"}),
            json!({"name": "tool", "path": "/none"}),
            json!({"name": "tool", "path": "/bin/one", "subcommands": [{"name": "x"}]}),
        ] {
            assert!(bench.run("alternatives", args).failed);
        }
    }
}
