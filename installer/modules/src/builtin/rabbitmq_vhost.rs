//! `rabbitmq_vhost`: a virtual host of RabbitMQ.
use agent_protocol::task::TaskResult;

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
    Arg::new("node", Kind::Text, "node of the broker"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let there = control(context, args, &["list_vhosts", "--silent", "name"])?
        .lines()
        .any(|line| line == name);
    let wanted = args.need("state") == "present";
    if there != wanted && !context.check {
        control(
            context,
            args,
            &[
                if wanted { "add_vhost" } else { "delete_vhost" },
                "--",
                name,
            ],
        )?;
    }
    Ok(changed(there != wanted)
        .with("name", name)
        .with("state", args.need("state")))
}

/// One call of `rabbitmqctl`: each starts an Erlang machine, so that callers make as few as they can.
pub fn control(context: &mut Context<'_>, args: &Args, words: &[&str]) -> Result<String, Fault> {
    let mut argv = vec!["rabbitmqctl", "--quiet"];
    if let Some(node) = args.text("node") {
        argv.extend(["--node", node]);
    }
    argv.extend(words);
    context.must(&argv)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_virtual_host_is_made_once() {
        let bench = Bench::new();
        bench.write("/vhosts", "/\n");
        bench.program("rabbitmqctl", "case $2 in list_vhosts) cat $ROOT/vhosts;; add_vhost) echo $4 >> $ROOT/vhosts;; delete_vhost) sed -i \"/^$4$/d\" $ROOT/vhosts;; esac");
        bench.converges("rabbitmq_vhost", json!({"name": "openstack"}));
        bench.converges(
            "rabbitmq_vhost",
            json!({"name": "openstack", "state": "absent"}),
        );
    }
}
