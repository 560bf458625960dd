//! `debconf`: answers to the questions that packages ask when they are installed.
//!
//! What is answered already is read from debconf's own files: a run without work starts no program.
use agent_protocol::task::TaskResult;
use serde_json::Value;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::Start;
use crate::spec::{Arg, Effect, Kind, Module};

pub const DEBCONF: Module = Module::new(
    "debconf",
    "Answer a package's question beforehand",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "the package")
        .aliases(&["pkg"])
        .required(),
    Arg::new("question", Kind::Text, "the question").aliases(&["selection", "setting"]),
    Arg::new("vtype", Kind::Text, "kind of question").choices(&[
        "boolean",
        "error",
        "multiselect",
        "note",
        "password",
        "seen",
        "select",
        "string",
        "text",
        "title",
    ]),
    Arg::new("value", Kind::Any, "the answer").aliases(&["answer"]),
    Arg::new("unseen", Kind::Flag, "ask it all the same").default("false"),
];

const CONFIG: &str = "/var/cache/debconf/config.dat";
const PASSWORDS: &str = "/var/cache/debconf/passwords.dat";

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let read = |file: &str| std::fs::read_to_string(context.path(file)).unwrap_or_default();
    let Some(question) = args.text("question") else {
        let config = read(CONFIG);
        let current: serde_json::Map<String, Value> = stanzas(&config)
            .filter(|stanza| stanza.owners().any(|owner| owner == name))
            .map(|stanza| (stanza.name.to_owned(), stanza.value.into()))
            .collect();
        return Ok(changed(false).with("current", current));
    };
    let (Some(kind), Some(value)) = (args.text("vtype"), args.value("value")) else {
        return Err(Fault::new(
            "when supplying a question you must supply a valid vtype and value",
        ));
    };
    let value = answer(kind, value).map_err(Fault::new)?;
    let one_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    if !one_word(name) || !one_word(question) || value.contains('\n') {
        return Err(Fault::new(
            "name and question are one word, value is one line",
        ));
    }
    let secret = kind == "password";
    let table = read(if secret { PASSWORDS } else { CONFIG });
    let now = stanzas(&table).find(|stanza| stanza.name == question);
    let same = now.as_ref().is_some_and(|now| match kind {
        "multiselect" => items(now.value) == items(&value),
        "seen" => now.is_seen() == (value == "true"),
        _ => now.value == value,
    });
    let told = |value: &str| if secret { "(hidden)" } else { value }.to_owned();
    let before = now.as_ref().map(|now| now.value);
    let mut result = changed(!same)
        .with("previous", before.map(told))
        .with("current", told(&value));
    if !same && !secret {
        let line = |value: &str| format!("{question}: {value}\n");
        result.diff = context.diff_of(name, &before.map(line).unwrap_or_default(), &line(&value));
    }
    if same || context.check {
        return Ok(result);
    }
    let mut argv = vec!["debconf-set-selections"];
    if args.flag("unseen") {
        argv.push("-u");
    }
    let output = context.start(Start {
        argv,
        // By standard input: arguments can be read by every user of the node.
        stdin: Some(format!("{name} {question} {kind} {value}\n").into_bytes()),
        ..Start::default()
    })?;
    if output.rc != 0 || output.stderr.contains("error:") {
        let said = output.stderr.replace(&value, &told(&value));
        return Err(Fault::new(format!(
            "`debconf-set-selections` failed: {}",
            said.trim()
        )));
    }
    Ok(result)
}

fn answer(kind: &str, value: &Value) -> Result<String, String> {
    Ok(match (kind, value) {
        (_, Value::Bool(flag)) => flag.to_string(),
        ("boolean" | "seen", Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => "true".to_owned(),
            "false" | "no" | "off" | "0" => "false".to_owned(),
            other => return Err(format!("value of a {kind} must be a boolean, got: {other}")),
        },
        (_, Value::String(text)) => text.clone(),
        ("multiselect", Value::Array(items)) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            texts.ok_or("value must be a list of texts")?.join(", ")
        }
        (_, Value::Number(number)) => number.to_string(),
        _ => return Err("value must be a text".to_owned()),
    })
}

fn items(text: &str) -> Vec<&str> {
    let mut items: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect();
    items.sort_unstable();
    items
}

/// One question of debconf's database.
struct Stanza<'a> {
    name: &'a str,
    value: &'a str,
    owners: &'a str,
    flags: &'a str,
}

impl Stanza<'_> {
    fn owners(&self) -> impl Iterator<Item = &str> {
        self.owners.split(',').map(str::trim)
    }

    fn is_seen(&self) -> bool {
        self.flags.split(',').any(|flag| flag.trim() == "seen")
    }
}

fn stanzas(table: &str) -> impl Iterator<Item = Stanza<'_>> {
    table.split("\n\n").filter_map(|text| {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        Some(Stanza {
            name: field("Name")?,
            value: field("Value").unwrap_or_default(),
            owners: field("Owners").unwrap_or_default(),
            flags: field("Flags").unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    const CONFIG: &str = "Name: tzdata/Areas\nTemplate: tzdata/Areas\nValue: Etc\nOwners: tzdata\nFlags: seen\n\nName: x/many\nTemplate: x/many\nValue: b, a\nOwners: x\n\n";

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("/var/cache/debconf/config.dat", CONFIG);
        bench.write("/var/cache/debconf/passwords.dat", "");
        bench.program("debconf-set-selections", "read name question kind value; file=config; [ $kind = password ] && file=passwords; sed -i \"/^Name: x\\/new$/,/^$/d\" $ROOT/var/cache/debconf/$file.dat; printf 'Name: %s\\nValue: %s\\nOwners: %s\\n\\n' \"$question\" \"$value\" $name >> $ROOT/var/cache/debconf/$file.dat");
        bench
    }

    #[test]
    fn a_question_is_answered_once() {
        let bench = bench();
        let same = json!({"name": "tzdata", "question": "tzdata/Areas", "vtype": "select", "value": "Etc"});
        assert!(!bench.run("debconf", same).changed);
        let many =
            json!({"name": "x", "question": "x/many", "vtype": "multiselect", "value": ["a", "b"]});
        assert!(!bench.run("debconf", many).changed);
        bench.converges(
            "debconf",
            json!({"name": "x", "question": "x/new", "vtype": "boolean", "value": true}),
        );
        bench.converges(
            "debconf",
            json!({"name": "x", "question": "x/new", "vtype": "boolean", "value": "no"}),
        );
        let all = bench.run("debconf", json!({"name": "x"}));
        assert_eq!(
            all.data["current"],
            json!({"x/many": "b, a", "x/new": "false"})
        );
    }

    #[test]
    fn passwords_are_not_told() {
        let bench = bench();
        let args =
            json!({"name": "x", "question": "x/new", "vtype": "password", "value": "s3cret"});
        let done = bench.converges("debconf", args);
        assert!(!format!("{done:?}").contains("s3cret"), "{done:?}");
        for args in [
            json!({"name": "x", "question": "x/new"}),
            json!({"name": "x", "question": "x/new", "vtype": "boolean", "value": "maybe"}),
            json!({"name": "x y", "question": "q", "vtype": "string", "value": "a"}),
            json!({"name": "x", "question": "q", "vtype": "string", "value": "a\nx q2 string b"}),
        ] {
            assert!(bench.run("debconf", args).failed);
        }
    }
}
