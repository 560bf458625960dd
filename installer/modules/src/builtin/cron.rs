//! `cron`: a job in a file of `/etc/cron.d`, marked by its name as Ansible does.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{Wish, place};

pub const CRON: Module = Module::new("cron", "Manage a job of cron", Effect::Converges, ARGS, run);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "what marks the job").required(),
    Arg::new("job", Kind::Text, "the command").aliases(&["value"]),
    Arg::new("cron_file", Kind::Text, "file below /etc/cron.d, or a path").required(),
    Arg::new("user", Kind::Text, "who runs it").default("root"),
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
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let file = match args.need("cron_file") {
        path if path.starts_with('/') => path.to_owned(),
        name => format!("/etc/cron.d/{name}"),
    };
    let line = match (args.need("state"), args.text("job")) {
        ("absent", _) => None,
        (_, Some(job)) if !job.contains('\n') && !name.contains('\n') => {
            let when = args.text("special_time").map_or_else(
                || {
                    ["minute", "hour", "day", "month", "weekday"]
                        .map(|field| args.need(field))
                        .join(" ")
                },
                |time| format!("@{time}"),
            );
            let hash = if args.flag("disabled") { "#" } else { "" };
            Some(format!("{hash}{when} {} {job}", args.need("user")))
        }
        _ => {
            return Err(Fault::new(
                "job is required with state=present, in one line",
            ));
        }
    };
    let before = std::fs::read_to_string(context.path(&file)).unwrap_or_default();
    let after = edit(&before, &format!("#Ansible: {name}"), line.as_deref());
    if before == after {
        return Ok(TaskResult::default().with("cron_file", file));
    }
    place(
        context,
        Wish {
            dest: &file,
            content: after.as_bytes(),
            attributes: Attributes::default(),
            validate: None,
            backup: false,
        },
    )
    .map(|result| result.with("cron_file", file.as_str()))
}

/// The file's text with the marked job once, or without it.
fn edit(text: &str, mark: &str, job: Option<&str>) -> String {
    let mut out = String::new();
    let mut lines = text.lines();
    let mut job = job;
    let mut add = |out: &mut String| {
        if let Some(job) = job.take() {
            out.push_str(&format!("{mark}\n{job}\n"));
        }
    };
    while let Some(line) = lines.next() {
        if line == mark {
            lines.next();
            add(&mut out);
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    add(&mut out);
    out
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
    }
}
