//! `service`, `systemd` and `systemd_service`: units of systemd.
//!
//! One `systemctl show` tells all there is to know; when nothing is to be done, nothing else is run.
use std::collections::BTreeMap;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const SERVICE: Module = Module::new(
    "service",
    "Start, stop and enable a service",
    Effect::Converges,
    SERVICE_ARGS,
    run,
)
.one_of(&[&["state", "enabled"]]);
pub const SYSTEMD: Module = Module::new(
    "systemd",
    "Start, stop, enable and mask a unit",
    Effect::Converges,
    SYSTEMD_ARGS,
    run,
)
.one_of(SYSTEMD_ONE_OF);
pub const SYSTEMD_SERVICE: Module = Module::new(
    "systemd_service",
    "Start, stop, enable and mask a unit",
    Effect::Converges,
    SYSTEMD_ARGS,
    run,
)
.one_of(SYSTEMD_ONE_OF);

const SYSTEMD_ONE_OF: &[&[&str]] = &[&[
    "state",
    "enabled",
    "masked",
    "daemon_reload",
    "daemon_reexec",
]];
const STATE: Arg = Arg::new("state", Kind::Text, "what it is to do").choices(&[
    "started",
    "stopped",
    "restarted",
    "reloaded",
]);
const ENABLED: Arg = Arg::new("enabled", Kind::Flag, "start it with the machine");

const SERVICE_ARGS: &[Arg] = &[
    Arg::new(
        "name",
        Kind::Text,
        "name of the unit; .service may be left off",
    )
    .required(),
    STATE,
    ENABLED,
    Arg::new(
        "daemon_reload",
        Kind::Flag,
        "read the unit files again first",
    )
    .default("false"),
    Arg::new("no_block", Kind::Flag, "do not wait until it has started").default("false"),
    Arg::new("use", Kind::Text, "service manager")
        .choices(&[
            "auto",
            "systemd",
            "service",
            "ansible.builtin.systemd",
            "ansible.builtin.service",
        ])
        .default("auto"),
    Arg::new(
        "sleep",
        Kind::Int,
        "accepted for compatibility: only of init scripts",
    ),
    Arg::new(
        "pattern",
        Kind::Text,
        "accepted for compatibility: only of init scripts",
    ),
    Arg::new(
        "runlevel",
        Kind::Text,
        "accepted for compatibility: only of init scripts",
    ),
    Arg::new(
        "arguments",
        Kind::Text,
        "accepted for compatibility: only of init scripts",
    )
    .aliases(&["args"]),
];

const SYSTEMD_ARGS: &[Arg] = &[
    Arg::new(
        "name",
        Kind::Text,
        "name of the unit; .service may be left off",
    )
    .aliases(&["service", "unit"]),
    STATE,
    ENABLED,
    Arg::new("masked", Kind::Flag, "make it impossible to start"),
    Arg::new(
        "daemon_reload",
        Kind::Flag,
        "read the unit files again first",
    )
    .aliases(&["daemon-reload"])
    .default("false"),
    Arg::new("daemon_reexec", Kind::Flag, "start systemd itself anew")
        .aliases(&["daemon-reexec"])
        .default("false"),
    Arg::new("no_block", Kind::Flag, "do not wait until it has started").default("false"),
    Arg::new("force", Kind::Flag, "overwrite links when enabling").default("false"),
    Arg::new("scope", Kind::Text, "whose systemd")
        .choices(&["system", "user", "global"])
        .default("system"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let scope: &[&str] = match args.text("scope") {
        Some("user") => &["systemctl", "--user"],
        Some("global") => &["systemctl", "--global"],
        _ => &["systemctl"],
    };
    for (flag, verb) in [
        ("daemon_reload", "daemon-reload"),
        ("daemon_reexec", "daemon-reexec"),
    ] {
        if args.flag(flag) && !context.check {
            context.must(&[scope, &[verb]].concat())?;
        }
    }
    let Some(name) = args.text("name") else {
        if args.text("state").is_some()
            || args.given_flag("enabled").is_some()
            || args.given_flag("masked").is_some()
        {
            return Err(Fault::new("name is required with state, enabled or masked"));
        }
        return Ok(changed(false));
    };
    let unit = show(context, scope, name)?;
    if !unit.is_known() {
        // In check mode an earlier task may be about to install it.
        if context.check {
            return Ok(TaskResult {
                msg: format!("the service {name} is not there yet"),
                ..changed(true)
            }
            .with("name", name));
        }
        return Err(Fault::new(format!(
            "Could not find the requested service {name}: host"
        )));
    }
    let mut steps = Vec::new();
    if let Some(masked) = args.given_flag("masked")
        && masked != unit.is_masked()
    {
        steps.push(if masked { "mask" } else { "unmask" });
    }
    if let Some(enabled) = args.given_flag("enabled")
        && enabled != is_enabled(context, scope, name, &unit)?
    {
        steps.push(if enabled { "enable" } else { "disable" });
    }
    match args.text("state") {
        Some("started") if !unit.is_running() => steps.push("start"),
        Some("stopped") if unit.is_running() || unit.get("ActiveState") == "deactivating" => {
            steps.push("stop")
        }
        // A service that does not run is started by both, as in Ansible.
        Some("restarted") => steps.push("restart"),
        Some("reloaded") => steps.push(if unit.is_running() { "reload" } else { "start" }),
        _ => {}
    }
    let mut result = changed(!steps.is_empty()).with("name", name).with(
        "status",
        unit.0
            .clone()
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect::<serde_json::Map<_, _>>(),
    );
    result.diff = context.diff_of(name, "", &steps.join("\n"));
    if context.check {
        return Ok(result);
    }
    if unit.get("NeedDaemonReload") == "yes" && !steps.is_empty() {
        // systemd would act on the old file and only warn.
        context.must(&[scope, &["daemon-reload"]].concat())?;
    }
    for step in steps {
        let mut command = [scope, &[step, name]].concat();
        if args.flag("no_block") && matches!(step, "start" | "stop" | "restart" | "reload") {
            command.insert(1, "--no-block");
        }
        if args.flag("force") && step == "enable" {
            command.insert(1, "--force");
        }
        if matches!(step, "enable" | "disable") && unit.is_native() {
            command.insert(1, "--no-reload");
            command.splice(..0, ["env", "SYSTEMCTL_SKIP_SYSV=1"]);
            act(context, name, &command)?;
            // For a unit that another one names, systemd answers what it once read until it reads its files again.
            if show(context, scope, name)?.get("UnitFileState") == unit.get("UnitFileState") {
                context.must(&[scope, &["daemon-reload"]].concat())?;
            }
            continue;
        }
        act(context, name, &command)?;
    }
    if let Some(enabled) = args.given_flag("enabled") {
        result = result.with("enabled", enabled);
    }
    if let Some(state) = args.text("state") {
        result = result.with(
            "state",
            if state == "stopped" {
                "stopped"
            } else {
                "started"
            },
        );
    }
    Ok(result)
}

/// Runs systemctl; a failure carries the unit's last journal lines, which hold the cause.
fn act(context: &mut Context<'_>, name: &str, command: &[&str]) -> Result<(), Fault> {
    let output = context.output(command)?;
    if output.rc == 0 {
        return Ok(());
    }
    let journal = context
        .output(&[
            "journalctl",
            "-u",
            name,
            "-n",
            "20",
            "--no-pager",
            "-o",
            "cat",
        ])
        .map(|journal| journal.stdout)
        .unwrap_or_default();
    let mut data = output.data();
    data.insert("journal".into(), journal.clone().into());
    Err(Fault::WithData {
        msg: format!(
            "Unable to {} service {name}: {}\n{}",
            command[command.len() - 2],
            output.stderr.trim(),
            journal.trim()
        ),
        data,
    })
}

struct Unit(BTreeMap<String, String>);

impl Unit {
    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn is_known(&self) -> bool {
        !matches!(self.get("LoadState"), "not-found" | "")
    }

    fn is_masked(&self) -> bool {
        self.get("LoadState") == "masked" || self.get("UnitFileState").starts_with("masked")
    }

    /// Has a unit file of its own. Enabling it makes links, which systemd heeds without reading all its files again, as
    /// `systemctl` would have it do up to three times: seconds on a small machine. What is made from an init script has
    /// more to it.
    fn is_native(&self) -> bool {
        let path = self.get("FragmentPath");
        !path.is_empty() && !path.starts_with("/run/systemd/generator")
    }

    fn is_running(&self) -> bool {
        matches!(
            self.get("ActiveState"),
            "active" | "activating" | "reloading"
        )
    }
}

fn show(context: &mut Context<'_>, scope: &[&str], name: &str) -> Result<Unit, Fault> {
    let fields = "Id,Names,Description,FragmentPath,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,MainPID,Result,ExecMainStatus";
    let text = context.must(&[scope, &["show", "--no-pager", "-p", fields, name]].concat())?;
    Ok(Unit(
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    ))
}

fn is_enabled(
    context: &mut Context<'_>,
    scope: &[&str],
    name: &str,
    unit: &Unit,
) -> Result<bool, Fault> {
    match unit.get("UnitFileState") {
        "enabled" | "enabled-runtime" | "static" | "alias" | "indirect" | "linked" => Ok(true),
        "disabled" | "masked" | "masked-runtime" => Ok(false),
        // Units made from init scripts: only systemctl knows how to ask.
        _ => Ok(context
            .output(&[scope, &["is-enabled", "--quiet", name]].concat())?
            .rc
            == 0),
    }
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    /// Answers as systemctl does for one unit, whose state it keeps in two files.
    const SYSTEMCTL: &str = r#"
echo "$*" >> "$ROOT/calls.log"
case $1 in --no-block | --no-reload) shift;; esac
case $1 in
  show) for last; do :; done
    [ "$last" = chrony ] || { echo LoadState=not-found; exit 0; }
    echo LoadState=loaded; echo ActiveState=$(cat $ROOT/active); echo UnitFileState=$(cat $ROOT/kept $ROOT/enabled 2>/dev/null | head -n 1); echo NeedDaemonReload=no
    echo FragmentPath=$(cat $ROOT/fragment);;
  start|restart) echo active > $ROOT/active;;
  stop) echo inactive > $ROOT/active;;
  enable) echo enabled > $ROOT/enabled;;
  disable) echo disabled > $ROOT/enabled;;
  reload) echo reload refused >&2; exit 1;;
  daemon-reload) rm -f $ROOT/kept;;
esac
"#;

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.program("systemctl", SYSTEMCTL);
        bench.program("journalctl", "echo the cause");
        bench.write("/active", "inactive\n");
        bench.write("/enabled", "disabled\n");
        bench.write("/fragment", "/lib/systemd/system/chrony.service\n");
        bench.program("env", "shift\nexec \"$@\"");
        bench
    }

    #[test]
    fn only_what_comes_from_an_init_script_is_enabled_with_a_reload() {
        for (fragment, call) in [
            (
                "/lib/systemd/system/chrony.service",
                "--no-reload enable chrony",
            ),
            (
                "/run/systemd/generator.late/chrony.service",
                "enable chrony",
            ),
            ("", "enable chrony"),
        ] {
            let bench = bench();
            bench.write("/fragment", fragment);
            assert!(
                bench
                    .run("service", json!({"name": "chrony", "enabled": true}))
                    .changed
            );
            let calls = bench.read("/calls.log");
            assert!(
                calls.lines().any(|line| line == call),
                "{fragment}: {calls}"
            );
        }
    }

    #[test]
    fn a_service_is_started_and_enabled_once() {
        let bench = bench();
        bench.converges(
            "service",
            json!({"name": "chrony", "state": "started", "enabled": true}),
        );
        std::fs::remove_file(bench.path("/calls.log")).unwrap();
        assert!(
            !bench
                .run(
                    "systemd",
                    json!({"name": "chrony", "state": "started", "enabled": true})
                )
                .changed
        );
        assert_eq!(
            bench.read("/calls.log").lines().count(),
            1,
            "a run without work asks once"
        );
        bench.converges(
            "systemd_service",
            json!({"name": "chrony", "state": "stopped", "enabled": false}),
        );
        assert!(
            bench
                .run(
                    "systemd",
                    json!({"name": "chrony", "state": "restarted", "no_block": true})
                )
                .changed
        );
    }

    #[test]
    fn a_unit_whose_state_systemd_keeps_is_enabled_once() {
        let bench = bench();
        bench.write("/kept", "disabled\n");
        bench.converges("service", json!({"name": "chrony", "enabled": true}));
        bench.write("/kept", "enabled\n");
        bench.converges("service", json!({"name": "chrony", "enabled": false}));
    }

    #[test]
    fn faults_name_the_service_and_the_cause() {
        let bench = bench();
        assert_eq!(
            bench
                .run("service", json!({"name": "crony", "state": "started"}))
                .msg,
            "Could not find the requested service crony: host"
        );
        bench.run("service", json!({"name": "chrony", "state": "started"}));
        let failed = bench.run("service", json!({"name": "chrony", "state": "reloaded"}));
        assert_eq!(
            failed.msg,
            "Unable to reload service chrony: reload refused\nthe cause"
        );
        assert!(!bench.run("systemd", json!({"daemon_reload": true})).failed);
    }
}
