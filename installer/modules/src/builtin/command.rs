//! `command`, `shell` and `raw`: run something. `creates` and `removes` make it safe to repeat.
use std::time::{Instant, SystemTime};

use agent_protocol::task::TaskResult;
use serde_json::Value;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::Start;
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::time::{span, stamp};

pub const COMMAND: Module = Module::new(
    "command",
    "Run a program, without a shell",
    Effect::Once,
    COMMAND_ARGS,
    run_command,
)
.free_form("cmd")
.exclusive(&[&["cmd", "argv"]])
.one_of(&[&["cmd", "argv"]]);
pub const SHELL: Module = Module::new(
    "shell",
    "Run a line of shell",
    Effect::Once,
    SHELL_ARGS,
    run_shell,
)
.free_form("cmd");
pub const RAW: Module = Module::new(
    "raw",
    "Run a line of shell, always as changed",
    Effect::Once,
    RAW_ARGS,
    run_shell,
)
.free_form("cmd");

const CMD: Arg = Arg::new("cmd", Kind::Text, "what is run").aliases(&["_raw_params"]);
const CHDIR: Arg = Arg::new("chdir", Kind::Path, "working folder");
const CREATES: Arg = Arg::new("creates", Kind::Path, "do nothing if this is there");
const REMOVES: Arg = Arg::new("removes", Kind::Path, "do nothing if this is not there");
const STDIN: Arg = Arg::new("stdin", Kind::Text, "text for the program's standard input");
const STDIN_NEWLINE: Arg = Arg::new(
    "stdin_add_newline",
    Kind::Flag,
    "end that text with a newline",
)
.default("true");
const STRIP: Arg = Arg::new(
    "strip_empty_ends",
    Kind::Flag,
    "drop newlines at the end of output",
)
.default("true");
const WARN: Arg = Arg::new("warn", Kind::Flag, "accepted for compatibility");
const EXECUTABLE: Arg = Arg::new("executable", Kind::Path, "shell to use").default("/bin/sh");

const COMMAND_ARGS: &[Arg] = &[
    CMD,
    Arg::new(
        "argv",
        Kind::List,
        "the program and its arguments, one by one",
    ),
    CHDIR,
    CREATES,
    REMOVES,
    STDIN,
    STDIN_NEWLINE,
    STRIP,
    WARN,
    Arg::new(
        "expand_argument_vars",
        Kind::Flag,
        "$NAME is a variable of the environment",
    )
    .default("true"),
];
const SHELL_ARGS: &[Arg] = &[
    CMD.required(),
    CHDIR,
    CREATES,
    REMOVES,
    STDIN,
    STDIN_NEWLINE,
    STRIP,
    WARN,
    EXECUTABLE,
];
const RAW_ARGS: &[Arg] = &[CMD.required(), EXECUTABLE];

fn run_command(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let argv: Vec<String> = match args.list("argv") {
        Some(list) => list.into_iter().map(str::to_owned).collect(),
        None => shlex::split(args.need("cmd"))
            .ok_or_else(|| Fault::new(format!("a quote has no partner: {}", args.need("cmd"))))?,
    };
    if argv.is_empty() {
        return Err(Fault::new("no command given"));
    }
    let argv = match args.flag("expand_argument_vars") {
        true => argv.iter().map(|word| expand(context, word)).collect(),
        false => argv,
    };
    run(context, args, argv)
}

fn run_shell(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    run(
        context,
        args,
        [args.need("executable"), "-c", args.need("cmd")]
            .map(str::to_owned)
            .into(),
    )
}

/// Runs it unless `creates`, `removes` or check mode say that it is not to be.
pub fn run(context: &mut Context<'_>, args: &Args, argv: Vec<String>) -> Result<TaskResult, Fault> {
    let shown = match args.text("cmd") {
        Some(line) => Value::from(line),
        None => Value::from(argv.clone()),
    };
    let there = |name: &str| args.text(name).map(|path| (path, exists(context, path)));
    if let Some((path, true)) = there("creates") {
        return Ok(done_already(
            format!("Did not run command since '{path}' exists"),
            shown,
        ));
    }
    if let Some((path, false)) = there("removes") {
        return Ok(done_already(
            format!("Did not run command since '{path}' does not exist"),
            shown,
        ));
    }
    if context.check {
        // What a command would change is known only where the user says what it makes.
        let told = args.text("creates").or(args.text("removes")).is_some();
        let msg = if told {
            "Command would have run if not in check mode"
        } else {
            "Command was not run in check mode"
        };
        return Ok(TaskResult {
            changed: told,
            skipped: !told,
            msg: msg.into(),
            ..TaskResult::default()
        }
        .with("cmd", shown)
        .with("rc", 0));
    }
    let stdin = args.text("stdin").map(|text| {
        let newline = if args.flag("stdin_add_newline") {
            "\n"
        } else {
            ""
        };
        format!("{text}{newline}").into_bytes()
    });
    let (start, started) = (SystemTime::now(), Instant::now());
    let output = context.start(Start {
        argv: argv.iter().map(String::as_str).collect(),
        folder: args.text("chdir"),
        stdin,
        live: true,
    })?;
    let mut data = output.data();
    data.insert("cmd".into(), shown);
    if args.given_flag("strip_empty_ends") == Some(false) {
        data.insert("stdout".into(), output.stdout.into());
        data.insert("stderr".into(), output.stderr.into());
    }
    data.insert("start".into(), stamp(start).into());
    data.insert("end".into(), stamp(SystemTime::now()).into());
    data.insert("delta".into(), span(started.elapsed()).into());
    if output.rc != 0 {
        return Ok(TaskResult {
            changed: true,
            failed: true,
            msg: "non-zero return code".into(),
            data,
            ..TaskResult::default()
        });
    }
    Ok(TaskResult {
        changed: true,
        data,
        ..TaskResult::default()
    })
}

/// The word with `$NAME` and `${NAME}` replaced, and `~` at its beginning. What is not set stays as it is.
fn expand(context: &Context<'_>, word: &str) -> String {
    let word = match word.starts_with('~') {
        true => context.expand(word).into_owned(),
        false => word.to_owned(),
    };
    let variable = |name: &str| {
        let own = context
            .environment
            .iter()
            .rev()
            .find(|(known, _)| known == name);
        own.map(|(_, value)| value.clone())
            .or_else(|| std::env::var(name).ok())
    };
    let mut out = String::new();
    let mut rest = word.as_str();
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, after) = match behind
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            Some((name, after)) => (name, after),
            None => {
                let end = behind.find(|c| !is_name(c)).unwrap_or(behind.len());
                behind.split_at(end)
            }
        };
        let known = !name.is_empty() && name.chars().all(is_name);
        match known.then(|| variable(name)).flatten() {
            Some(value) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Whether a path is there; its last part may be a pattern, as in Ansible.
fn exists(context: &Context<'_>, path: &str) -> bool {
    let full = context.path(path);
    let Some((folder, name)) = full
        .parent()
        .zip(full.file_name().and_then(|name| name.to_str()))
    else {
        return full.exists();
    };
    if !name.contains(['*', '?', '[']) {
        return full.symlink_metadata().is_ok();
    }
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| crate::text::glob::matches(name, &entry.file_name().to_string_lossy()))
}

fn done_already(msg: String, cmd: Value) -> TaskResult {
    let stdout = format!("skipped, {msg}");
    TaskResult {
        msg,
        ..changed(false)
    }
    .with("cmd", cmd)
    .with("rc", 0)
    .with("stdout", stdout)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn programs_are_run_with_and_without_a_shell() {
        let bench = Bench::new();
        assert_eq!(
            bench
                .run(
                    "command",
                    json!({"cmd": "echo 'a b' $NOT_SET $ROOT/x ${ROOT}"})
                )
                .data["stdout"],
            format!("a b $NOT_SET {0}/x {0}", bench.root().display())
        );
        let literal = json!({"cmd": "echo $ROOT", "expand_argument_vars": false});
        assert_eq!(bench.run("command", literal).data["stdout"], "$ROOT");
        let ends = json!({"cmd": "echo x", "strip_empty_ends": false});
        assert_eq!(bench.run("shell", ends).data["stdout"], "x\n");
        assert_eq!(
            bench.run("command", json!({"argv": ["echo", "a;b"]})).data["stdout_lines"],
            json!(["a;b"])
        );
        assert_eq!(
            bench
                .run("shell", json!({"_raw_params": "echo $((1+1)) | cat"}))
                .data["stdout"],
            "2"
        );
        assert_eq!(
            bench
                .run(
                    "command",
                    json!({"cmd": "cat", "stdin": "text", "stdin_add_newline": false})
                )
                .data["stdout"],
            "text"
        );
        let failed = bench.run("raw", json!({"cmd": "echo out; exit 4"}));
        assert!(
            failed.failed && failed.data["rc"] == 4 && failed.data["stdout"] == "out",
            "{failed:?}"
        );
        let absent = bench.run("command", json!({"cmd": "no-such-program-here"}));
        assert!(absent.failed && absent.data["rc"] == 127, "{absent:?}");
    }

    #[test]
    fn creates_and_removes_decide_whether_it_runs() {
        let bench = Bench::new();
        let made = json!({"cmd": "touch made.txt", "creates": "/made.*", "chdir": "/"});
        assert!(bench.converges("shell", made).changed);
        assert!(
            !bench
                .run("command", json!({"cmd": "false", "removes": "/not-there"}))
                .failed
        );
    }
}
