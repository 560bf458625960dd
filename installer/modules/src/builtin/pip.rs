//! `pip`: Python packages, by the node's own pip or that of a virtual environment.
use std::collections::BTreeMap;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::{Output, Start, options, words};
use crate::spec::{Arg, Effect, Kind, Module};

pub const PIP: Module = Module::new(
    "pip",
    "Install and remove Python packages",
    Effect::Converges,
    ARGS,
    run,
)
.exclusive(&[&["executable", "virtualenv"]])
.one_of(&[&["name", "requirements"]]);

const ARGS: &[Arg] = &[
    Arg::new(
        "name",
        Kind::List,
        "names, with versions and extras as pip takes them",
    ),
    Arg::new("version", Kind::Text, "of the one package that is named"),
    Arg::new("requirements", Kind::Text, "file of requirements"),
    Arg::new("state", Kind::Text, "whether they are to be there")
        .choices(&["present", "absent", "latest", "forcereinstall"])
        .default("present"),
    Arg::new(
        "virtualenv",
        Kind::Path,
        "folder of a virtual environment; made if need be",
    ),
    Arg::new("virtualenv_command", Kind::Text, "what makes it").default("virtualenv"),
    Arg::new("virtualenv_python", Kind::Text, "Python for it"),
    Arg::new(
        "virtualenv_site_packages",
        Kind::Flag,
        "with the system's packages",
    )
    .default("false"),
    Arg::new("extra_args", Kind::Text, "more arguments for pip").default(""),
    Arg::new("editable", Kind::Flag, "as links to their sources").default("false"),
    Arg::new("chdir", Kind::Path, "working folder"),
    Arg::new("executable", Kind::Path, "the pip to use"),
    Arg::new(
        "break_system_packages",
        Kind::Flag,
        "beside packages of the system",
    )
    .default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let names = names(args)?;
    let (state, venv) = (args.need("state"), args.text("virtualenv"));
    if state == "latest" && args.text("version").is_some() {
        return Err(Fault::new("version is incompatible with state=latest"));
    }
    if args.flag("break_system_packages") {
        context
            .environment
            .push(("PIP_BREAK_SYSTEM_PACKAGES".into(), "1".into()));
    }
    context
        .environment
        .push(("PIP_DISABLE_PIP_VERSION_CHECK".into(), "1".into()));
    context
        .environment
        .push(("PIP_NO_INPUT".into(), "1".into()));
    let result = |done: bool| {
        changed(done)
            .with("name", names.clone())
            .with("state", state)
            .with("version", args.text("version"))
            .with("requirements", args.text("requirements"))
            .with("virtualenv", venv)
    };
    let mut made = false;
    if let Some(venv) = venv
        && !context.path(&format!("{venv}/bin/activate")).exists()
    {
        if context.check {
            return Ok(result(true));
        }
        make(context, args, venv)?;
        made = true;
    }
    let pip = pip(context, args);
    let before = match installed(context, &pip) {
        Ok(before) => before,
        // An earlier task may be about to install pip.
        Err(_) if context.check => return Ok(result(true)),
        Err(fault) => return Err(fault),
    };
    if args.text("requirements").is_none() {
        let satisfied = |name: &String| match state {
            "absent" => is_installed(&before, name) == Some(false),
            "present" => is_installed(&before, name) == Some(true),
            _ => false,
        };
        if names.iter().all(satisfied) {
            return Ok(result(made));
        }
    }
    let mut argv = pip.clone();
    argv.push(
        if state == "absent" {
            "uninstall"
        } else {
            "install"
        }
        .into(),
    );
    match state {
        "absent" => argv.push("-y".into()),
        "latest" => argv.push("--upgrade".into()),
        "forcereinstall" => argv.push("--force-reinstall".into()),
        _ => {}
    }
    argv.extend(options("extra_args", args.need("extra_args"))?);
    if let Some(file) = args.text("requirements") {
        let chdir = args.text("chdir").unwrap_or_default();
        let file = match file.starts_with('/') {
            true => context.path(file).display().to_string(),
            false if chdir.is_empty() => file.to_owned(),
            false => context
                .path(&format!("{chdir}/{file}"))
                .display()
                .to_string(),
        };
        argv.extend(words(&["-r", &file]));
    }
    for name in &names {
        if args.flag("editable") {
            argv.push("-e".into());
        }
        argv.push(name.clone());
    }
    if context.check {
        if state == "absent" {
            return Ok(result(true));
        }
        // pip itself says what it would do: "Would install a-1 b-2".
        let mut foretell = argv.clone();
        foretell.insert(pip.len() + 1, "--dry-run".into());
        let output = start(context, args, &foretell)?;
        let acts = output
            .stdout
            .lines()
            .find(|line| line.starts_with("Would install"));
        let mut result = result(output.rc != 0 || acts.is_some());
        result.diff = context.diff_of("packages", "", acts.unwrap_or_default());
        return Ok(result);
    }
    let output = start(context, args, &argv)?;
    if output.rc != 0 {
        let said = [output.stdout.trim(), output.stderr.trim()].join("\n");
        return Err(Fault::WithData {
            msg: format!("`pip {}` failed: {}", argv[pip.len()], said.trim()),
            data: output.data(),
        });
    }
    let after = installed(context, &pip)?;
    let show = |list: &BTreeMap<String, String>| -> String {
        list.iter()
            .map(|(name, version)| format!("{name}=={version}\n"))
            .collect()
    };
    let mut result = result(made || before != after || state == "forcereinstall");
    result.diff = context.diff_of("packages", &show(&before), &show(&after));
    Ok(result
        .with("cmd", argv)
        .with("stdout", output.stdout)
        .with("stderr", output.stderr))
}

/// Names with their versions; none is an option of pip.
fn names(args: &Args) -> Result<Vec<String>, Fault> {
    let mut names: Vec<String> = Vec::new();
    for name in args.list("name").unwrap_or_default() {
        // A comma inside a list of versions is no comma between names.
        match names.last_mut() {
            Some(last) if name.starts_with(['<', '>', '=', '!', '~']) => {
                last.push(',');
                last.push_str(name);
            }
            _ => names.push(name.trim().to_owned()),
        }
    }
    if let Some(version) = args.text("version") {
        let [name] = names.as_mut_slice() else {
            return Err(Fault::new(
                "version goes with one name; write name==version for several",
            ));
        };
        let is_spec = version.starts_with(['<', '>', '=', '!', '~']);
        *name = format!("{name}{}{version}", if is_spec { "" } else { "==" });
    }
    match names
        .iter()
        .find(|name| name.starts_with('-') || name.is_empty())
    {
        Some(name) => Err(Fault::new(format!("`{name}` is no package"))),
        None => Ok(names),
    }
}

fn make(context: &mut Context<'_>, args: &Args, venv: &str) -> Result<(), Fault> {
    let mut argv = options("virtualenv_command", args.need("virtualenv_command"))?;
    let is_venv = argv
        .iter()
        .any(|word| word == "venv" || word.ends_with("pyvenv"));
    if args.flag("virtualenv_site_packages") {
        argv.push("--system-site-packages".into());
    }
    match args.text("virtualenv_python") {
        Some(_) if is_venv => {
            let msg = "virtualenv_python is for virtualenv; name the Python in virtualenv_command: python3.11 -m venv";
            return Err(Fault::new(msg));
        }
        Some(python) => argv.push(format!("-p{python}")),
        None => {}
    }
    argv.push(context.path(venv).display().to_string());
    let output = start(context, args, &argv)?;
    if output.rc == 0 {
        return Ok(());
    }
    let said = [output.stdout.trim(), output.stderr.trim()].join("\n");
    Err(Fault::WithData {
        msg: format!(
            "the virtual environment {venv} cannot be made: {}",
            said.trim()
        ),
        data: output.data(),
    })
}

fn start(context: &mut Context<'_>, args: &Args, argv: &[String]) -> Result<Output, Fault> {
    context.start(Start {
        argv: argv.iter().map(String::as_str).collect(),
        folder: args.text("chdir"),
        ..Start::default()
    })
}

/// The command that is pip here.
fn pip(context: &Context<'_>, args: &Args) -> Vec<String> {
    if let Some(venv) = args.text("virtualenv") {
        let python = context
            .path(&format!("{venv}/bin/python"))
            .display()
            .to_string();
        return words(&[&python, "-m", "pip"]);
    }
    match args.text("executable") {
        Some(path) if path.starts_with('/') => words(&[&context.path(path).display().to_string()]),
        Some(name) => words(&[name]),
        None => words(&["python3", "-m", "pip"]),
    }
}

/// Versions by names as pip compares them.
fn installed(context: &mut Context<'_>, pip: &[String]) -> Result<BTreeMap<String, String>, Fault> {
    let mut argv: Vec<&str> = pip.iter().map(String::as_str).collect();
    argv.extend(["list", "--format=freeze"]);
    let text = context.must(&argv)?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once("=="))
        .map(|(name, version)| (normal(name), version.trim().to_owned()))
        .collect())
}

fn normal(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace(['_', '.'], "-")
}

/// Whether a requirement is there; `None` if only pip can tell.
fn is_installed(installed: &BTreeMap<String, String>, wanted: &str) -> Option<bool> {
    let end = wanted
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
        .unwrap_or(wanted.len());
    let (name, rest) = wanted.split_at(end);
    let rest = rest.trim();
    if name.is_empty() || rest.contains(['/', '@', ';', '[']) || wanted.contains("://") {
        return None;
    }
    let now = installed.get(&normal(name));
    match (now, rest) {
        (None, _) => Some(false),
        (Some(_), "") => Some(true),
        (Some(now), rest) => match rest.strip_prefix("==") {
            Some(version) if !version.contains([',', '*']) => Some(now == version.trim()),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;
    use std::process::Command;

    #[test]
    fn what_is_there_is_known_without_pip() {
        let installed = BTreeMap::from([
            ("pyyaml".to_owned(), "6.0".to_owned()),
            ("a-b".to_owned(), "1".to_owned()),
        ]);
        for (wanted, there) in [
            ("PyYAML", Some(true)),
            ("a_b", Some(true)),
            ("pyyaml==6.0", Some(true)),
            ("pyyaml == 6.1", Some(false)),
            ("pyyaml>=5", None),
            ("pyyaml[x]", None),
            ("none", Some(false)),
            ("git+https://a/b", None),
            ("./local", None),
        ] {
            assert_eq!(is_installed(&installed, wanted), there, "{wanted}");
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        let bench = Bench::new();
        for args in [
            json!({"name": "--index-url=x"}),
            json!({"name": ["a", "b"], "version": "1"}),
            json!({"name": "a", "state": "latest", "version": "1"}),
            json!({"virtualenv": "/v"}),
        ] {
            assert!(bench.run("pip", args).failed);
        }
        let args = crate::find("pip").unwrap();
        let list = json!({"name": "a>=1,<2,b"});
        assert_eq!(
            names(&args.check(list.as_object().unwrap()).unwrap()).unwrap(),
            ["a>=1,<2", "b"]
        );
    }

    /// A package that needs no network: a wheel is a zip of a few files.
    const WHEEL: &str = r#"
import sys, zipfile
for version in ("1.0", "2.0"):
    info = "wright_sample-%s.dist-info" % version
    with zipfile.ZipFile("%s/wright_sample-%s-py3-none-any.whl" % (sys.argv[1], version), "w") as wheel:
        wheel.writestr("wright_sample.py", "")
        wheel.writestr(info + "/METADATA", "Metadata-Version: 2.1\nName: wright-sample\nVersion: %s\n" % version)
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "/RECORD", "")
"#;

    #[test]
    fn a_real_package_comes_and_goes() {
        let bench = Bench::new();
        std::fs::create_dir(bench.path("/wheels")).unwrap();
        let made = Command::new("/usr/bin/python3")
            .args(["-c", WHEEL])
            .arg(bench.path("/wheels"))
            .status();
        let has_venv = Command::new("/usr/bin/python3")
            .args(["-c", "import venv, ensurepip"])
            .output();
        if !made.is_ok_and(|status| status.success())
            || !has_venv.is_ok_and(|output| output.status.success())
        {
            return eprintln!("skipped: python3-venv is not there");
        }
        let find = format!(
            "--no-index --find-links {}",
            bench.path("/wheels").display()
        );
        let args = |more: serde_json::Value| {
            let mut args = json!({"name": "wright_sample", "virtualenv": "/venv", "extra_args": find, "virtualenv_command": "/usr/bin/python3 -m venv"});
            args.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            args
        };
        let steps = [
            (json!({"version": "1.0"}), true),
            (json!({"version": "1.0"}), false),
            (json!({}), false),
            (json!({"state": "latest"}), true),
            (json!({"state": "latest"}), false),
            (json!({"name": "wright-sample>=2,<3"}), false),
            (json!({"state": "absent", "extra_args": ""}), true),
            (json!({"state": "absent", "extra_args": ""}), false),
        ];
        for (step, changes) in steps {
            let foretold = bench.check("pip", args(step.clone()));
            assert_eq!(
                foretold.changed, changes,
                "check mode of {step}: {foretold:?}"
            );
            let done = bench.run("pip", args(step.clone()));
            assert!(!done.failed && done.changed == changes, "{step}: {done:?}");
        }
    }
}
