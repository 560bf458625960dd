//! `cron`: a job or a variable of a user's crontab, or of a file in `/etc/cron.d`; marked by its name as Ansible does.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::process::Start;
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::crontab::{Place, mark, set_job, set_variable};
use crate::write::{Wish, place};

pub const CRON: Module = Module::new("cron", "Manage a job of cron", Effect::Converges, ARGS, run);

const ARGS: &[Arg] = &[
    Arg::new(
        "name",
        Kind::Text,
        "what marks the job, or the variable's name",
    )
    .required(),
    Arg::new("job", Kind::Text, "the command, or the variable's value").aliases(&["value"]),
    Arg::new(
        "cron_file",
        Kind::Text,
        "file below /etc/cron.d, or a path; none: the user's own table",
    ),
    Arg::new("user", Kind::Text, "who runs it"),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("minute", Kind::Text, "when").default("*"),
    Arg::new("hour", Kind::Text, "when").default("*"),
    Arg::new("day", Kind::Text, "when")
        .aliases(&["dom"])
        .default("*"),
    Arg::new("month", Kind::Text, "when").default("*"),
    Arg::new("weekday", Kind::Text, "when")
        .aliases(&["dow"])
        .default("*"),
    Arg::new("special_time", Kind::Text, "instead of the five fields").choices(&[
        "reboot", "hourly", "daily", "weekly", "monthly", "annually", "yearly",
    ]),
    Arg::new("disabled", Kind::Flag, "comment it out").default("false"),
    Arg::new("env", Kind::Flag, "it is a variable").default("false"),
    Arg::new(
        "insertafter",
        Kind::Text,
        "variable behind which a new one goes",
    ),
    Arg::new(
        "insertbefore",
        Kind::Text,
        "variable before which a new one goes",
    ),
    Arg::new("backup", Kind::Flag, "keep the old file").default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let user = args.text("user").unwrap_or("root");
    let file = args
        .text("cron_file")
        .map(|file| match file.starts_with('/') {
            true => file.to_owned(),
            false => format!("/etc/cron.d/{file}"),
        });
    let present = args.need("state") == "present";
    let job = match args.text("job") {
        Some(job) if !job.contains('\n') && !name.contains('\n') => Some(job),
        None if !present => None,
        _ => {
            return Err(Fault::new(
                "job is required with state=present, in one line",
            ));
        }
    };
    if user.is_empty() || user.starts_with('-') || user.contains(char::is_whitespace) {
        return Err(Fault::new(format!("`{user}` is no account")));
    }
    let before = match &file {
        Some(file) => std::fs::read_to_string(context.path(file)).unwrap_or_default(),
        None => own_table(context, user)?,
    };
    let after = if args.flag("env") {
        let at = match (args.text("insertafter"), args.text("insertbefore")) {
            (Some(name), _) => Place::After(name),
            (None, Some(name)) => Place::Before(name),
            (None, None) => Place::Top,
        };
        // Cron takes quotes for part of no value.
        let value = job
            .filter(|_| present)
            .map(|value| format!("\"{}\"", value.trim_matches('"')));
        set_variable(&before, name, value.as_deref(), &at)
    } else {
        let job = job
            .filter(|_| present)
            .map(|job| line(args, file.is_some(), user, job));
        set_job(&before, &mark(name), job.as_deref())
    };
    let result = match (&file, before == after) {
        (_, true) => changed(false),
        (Some(file), false) => write(context, args, file, &before, &after)?,
        (None, false) => {
            let mut result = changed(true);
            result.diff = context.diff_of(&format!("crontab of {user}"), &before, &after);
            if !context.check {
                install(context, user, &after)?;
            }
            result
        }
    };
    Ok(result.with("cron_file", file).with("user", user))
}

fn line(args: &Args, with_user: bool, user: &str, job: &str) -> String {
    let when = args.text("special_time").map_or_else(
        || {
            ["minute", "hour", "day", "month", "weekday"]
                .map(|field| args.need(field))
                .join(" ")
        },
        |time| format!("@{time}"),
    );
    let hash = if args.flag("disabled") { "#" } else { "" };
    match with_user {
        true => format!("{hash}{when} {user} {job}"),
        false => format!("{hash}{when} {job}"),
    }
}

/// The user's table; one that is not there is empty.
fn own_table(context: &mut Context<'_>, user: &str) -> Result<String, Fault> {
    let output = match context.output(&["crontab", "-u", user, "-l"]) {
        // An earlier task may be about to install cron.
        Err(Fault::WithData { .. }) if context.check => return Ok(String::new()),
        output => output?,
    };
    match output.rc {
        0 => Ok(output.stdout),
        _ if output.stderr.contains("no crontab for") => Ok(String::new()),
        _ if context.check => Ok(String::new()),
        _ => Err(Fault::WithData {
            msg: format!(
                "the table of {user} cannot be read: {}",
                output.stderr.trim()
            ),
            data: output.data(),
        }),
    }
}

fn install(context: &mut Context<'_>, user: &str, text: &str) -> Result<(), Fault> {
    let output = context.start(Start {
        argv: vec!["crontab", "-u", user, "-"],
        stdin: Some(text.as_bytes().to_vec()),
        ..Start::default()
    })?;
    match output.rc {
        0 => Ok(()),
        _ => Err(Fault::WithData {
            msg: format!(
                "the table of {user} cannot be written: {}",
                output.stderr.trim()
            ),
            data: output.data(),
        }),
    }
}

/// A file in which nothing is left is removed.
fn write(
    context: &mut Context<'_>,
    args: &Args,
    file: &str,
    before: &str,
    after: &str,
) -> Result<TaskResult, Fault> {
    if after.trim().is_empty() {
        let mut result = changed(true);
        result.diff = context.diff_of(file, before, "");
        if !context.check {
            std::fs::remove_file(context.path(file))
                .map_err(Fault::io(format!("remove {file}")))?;
        }
        return Ok(result);
    }
    place(
        context,
        Wish {
            dest: file,
            content: after.as_bytes(),
            attributes: Attributes::default(),
            validate: None,
            backup: args.flag("backup"),
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_job_is_made_changed_and_removed() {
        let bench = Bench::new();
        bench.write("/etc/cron.d/wright", "PATH=/bin\n");
        bench.converges(
            "cron",
            json!({"name": "rotate", "cron_file": "wright", "job": "x", "hour": 3, "minute": "0"}),
        );
        bench.converges(
            "cron",
            json!({"name": "rotate", "cron_file": "wright", "job": "x", "special_time": "daily"}),
        );
        assert_eq!(
            bench.read("/etc/cron.d/wright"),
            "PATH=/bin\n#Ansible: rotate\n@daily root x\n"
        );
        bench.converges(
            "cron",
            json!({"name": "rotate", "cron_file": "wright", "state": "absent"}),
        );
        bench.converges(
            "cron",
            json!({"name": "PATH", "env": true, "cron_file": "wright", "state": "absent"}),
        );
        assert!(!bench.path("/etc/cron.d/wright").exists());
    }

    #[test]
    fn a_users_own_table_is_kept_by_crontab() {
        let bench = Bench::new();
        bench.program("crontab", "[ \"$3\" = - ] && exec cat > $ROOT/table.$2; cat $ROOT/table.$2 2>/dev/null || { echo \"no crontab for $2\" >&2; exit 1; }");
        bench.converges("cron", json!({"name": "a", "job": "x", "minute": "5"}));
        bench.converges(
            "cron",
            json!({"name": "MAILTO", "env": true, "job": "me@here"}),
        );
        assert_eq!(
            bench.read("/table.root"),
            "MAILTO=\"me@here\"\n#Ansible: a\n5 * * * * x\n"
        );
        bench.converges(
            "cron",
            json!({"name": "a", "job": "x", "user": "nova", "disabled": true}),
        );
        assert_eq!(bench.read("/table.nova"), "#Ansible: a\n#* * * * * x\n");
        for args in [
            json!({"name": "a"}),
            json!({"name": "a", "job": "x\ny"}),
            json!({"name": "a", "job": "x", "user": "-r"}),
            json!({"name": "a", "job": "x", "special_time": "sometimes"}),
        ] {
            assert!(bench.run("cron", args).failed);
        }
    }
}
