//! `reboot`: starts the node anew. The node's part is to answer first and to go down then; the deployment
//! host waits until another boot answers, and runs `test_command` (fields `rebooting` and `boot_id`).
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::{options, words};
use crate::spec::{Arg, Effect, Kind, Module};

pub const REBOOT: Module = Module::new(
    "reboot",
    "Start the node anew and wait until it is back",
    Effect::Once,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("pre_reboot_delay", Kind::Int, "seconds before it goes down").default("0"),
    Arg::new("post_reboot_delay", Kind::Int, "seconds after it is back").default("0"),
    Arg::new(
        "reboot_timeout",
        Kind::Int,
        "seconds until it has to be back",
    )
    .aliases(&["reboot_timeout_sec"])
    .default("600"),
    Arg::new("connect_timeout", Kind::Int, "accepted for compatibility")
        .aliases(&["connect_timeout_sec"]),
    Arg::new("test_command", Kind::Text, "what has to succeed then").default("whoami"),
    Arg::new("msg", Kind::Text, "what users of the node are told")
        .default("Reboot initiated by Ansible"),
    Arg::new(
        "search_paths",
        Kind::List,
        "folders in which shutdown is looked for",
    )
    .default("/sbin,/bin,/usr/sbin,/usr/bin,/usr/local/sbin"),
    Arg::new(
        "boot_time_command",
        Kind::Text,
        "accepted for compatibility: the boot's id is compared",
    ),
    Arg::new("reboot_command", Kind::Text, "instead of shutdown"),
];

/// The answer is on its way before the node goes down.
const HEAD_START: Duration = Duration::from_secs(2);
const DELAY_MAX: i64 = 86_400;

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let command = command(context, args)?;
    let boot_id = std::fs::read_to_string(context.path("/proc/sys/kernel/random/boot_id"))
        .map(|id| id.trim().to_owned())
        .map_err(Fault::io("read the id of this boot"))?;
    let result = changed(true).with("elapsed", 0);
    if context.check {
        return Ok(result.with("rebooted", true));
    }
    let delay = args
        .int("pre_reboot_delay")
        .unwrap_or(0)
        .clamp(0, DELAY_MAX) as u64;
    later(
        context,
        Duration::from_secs(delay).max(HEAD_START),
        &command,
    )?;
    Ok(result
        .with("rebooting", true)
        .with("rebooted", false)
        .with("boot_id", boot_id))
}

/// What brings the node down at once.
fn command(context: &Context<'_>, args: &Args) -> Result<Vec<String>, Fault> {
    if let Some(line) = args.text("reboot_command") {
        return match options("reboot_command", line)? {
            argv if argv.is_empty() => Err(Fault::new("reboot_command is empty")),
            argv => Ok(argv),
        };
    }
    let folders = args.list("search_paths").unwrap_or_default();
    let found = folders
        .iter()
        .map(|folder| format!("{}/shutdown", folder.trim_end_matches('/')))
        .find(|path| context.path(path).exists());
    Ok(match found {
        Some(path) => {
            let program = context.path(&path).display().to_string();
            words(&[&program, "-r", "now", args.need("msg")])
        }
        // Part of systemd where shutdown is a package of its own.
        None => words(&["systemctl", "reboot"]),
    })
}

/// Runs the command after a while, in a process that does not end with this one.
fn later(context: &Context<'_>, delay: Duration, command: &[String]) -> Result<(), Fault> {
    let mut shell = Command::new("/bin/sh");
    shell
        .args([
            "-c",
            "sleep \"$0\"; exec \"$@\"",
            &delay.as_secs().to_string(),
        ])
        .args(command)
        .envs(
            context
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = shell.spawn().map_err(Fault::io("start the reboot"))?;
    // Reaped if it fails; else the machine ends before it.
    std::thread::spawn(move || child.wait());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;
    use std::time::{Duration, Instant};

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("/proc/sys/kernel/random/boot_id", "first\n");
        bench.write("/sbin/keep", "");
        bench
    }

    #[test]
    fn the_answer_comes_before_the_node_goes_down() {
        let bench = bench();
        bench.program(
            "down",
            "echo \"$@\" > $ROOT/called.new; mv $ROOT/called.new $ROOT/called",
        );
        let result = bench.run("reboot", json!({"reboot_command": "down 'now please'"}));
        assert!(!bench.path("/called").exists(), "down before the answer");
        assert_eq!(
            (&result.data["rebooting"], &result.data["boot_id"]),
            (&json!(true), &json!("first")),
            "{result:?}"
        );
        let deadline = Instant::now() + Duration::from_secs(120);
        while !bench.path("/called").exists() {
            assert!(Instant::now() < deadline, "the node never goes down");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(bench.read("/called"), "now please\n");
    }

    #[test]
    fn check_mode_leaves_the_node_up() {
        let bench = bench();
        bench.program("down", "touch $ROOT/called");
        let result = bench.check("reboot", json!({"reboot_command": "down"}));
        assert!(
            result.changed && result.data["rebooted"] == true,
            "{result:?}"
        );
        assert!(!result.data.contains_key("rebooting"));
        assert!(bench.run("reboot", json!({"reboot_command": "'"})).failed);
        assert!(
            bench
                .run("reboot", json!({"reboot_timeout": "soon"}))
                .failed
        );
    }
}
