//! `rabbitmq_vhost`: a virtual host of RabbitMQ.
use agent_protocol::task::TaskResult;

use super::rabbitmq::{NODE, control};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const RABBITMQ_VHOST: Module = Module::new(
    "rabbitmq_vhost",
    "Make or remove a virtual host",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "its name")
        .aliases(&["vhost"])
        .required(),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new(
        "tracing",
        Kind::Flag,
        "whether copies of all messages go to the exchange amq.rabbitmq.trace",
    )
    .aliases(&["trace"])
    .default("false"),
    NODE,
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let listed = control(
        context,
        args,
        &["list_vhosts", "--silent", "name", "tracing"],
    )?;
    // `None`: not there. Older brokers write the two words with a tab between them.
    let now = listed
        .lines()
        .filter_map(|line| line.rsplit_once('\t'))
        .find(|(found, _)| *found == name)
        .map(|(_, tracing)| tracing == "true");
    let wanted = (args.need("state") == "present").then(|| args.flag("tracing"));
    let words: &[&[&str]] = match (now, wanted) {
        (None, Some(false)) => &[&["add_vhost", "--", name]],
        (None, Some(true)) => &[&["add_vhost", "--", name], &["trace_on", "-p", name]],
        (Some(false), Some(true)) => &[&["trace_on", "-p", name]],
        (Some(true), Some(false)) => &[&["trace_off", "-p", name]],
        (Some(_), None) => &[&["delete_vhost", "--", name]],
        _ => &[],
    };
    if !context.check {
        for words in words {
            control(context, args, words)?;
        }
    }
    let show = |state: Option<bool>| match state {
        None => String::new(),
        Some(tracing) => format!("{name}, tracing {}\n", if tracing { "on" } else { "off" }),
    };
    Ok(TaskResult {
        diff: context.diff_of("virtual host", &show(now), &show(wanted)),
        ..changed(now != wanted)
            .with("name", name)
            .with("state", args.need("state"))
    })
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_virtual_host_is_made_once() {
        let bench = Bench::new();
        bench.write("/vhosts", "/\tfalse\n");
        bench.program("rabbitmqctl", "case $2 in list_vhosts) cat $ROOT/vhosts;; add_vhost) printf '%s\\tfalse\\n' $4 >> $ROOT/vhosts;; delete_vhost) sed -i \"/^$4\\t/d\" $ROOT/vhosts;; trace_on) sed -i \"/^$4\\t/s/false/true/\" $ROOT/vhosts;; esac");
        bench.converges("rabbitmq_vhost", json!({"name": "openstack"}));
        let traced = bench.converges(
            "rabbitmq_vhost",
            json!({"name": "openstack", "trace": true}),
        );
        assert_eq!(traced.diff[0].after, "openstack, tracing on\n");
        bench.converges(
            "rabbitmq_vhost",
            json!({"name": "openstack", "state": "absent"}),
        );
    }
}
