//! `hostname`: the node's name, in `/etc/hostname` and in the kernel.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{Wish, place};

pub const HOSTNAME: Module = Module::new(
    "hostname",
    "Set the node's name",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "the name").required(),
    Arg::new("use", Kind::Text, "accepted for compatibility")
        .choices(&["systemd", "debian", "generic"]),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("name");
    let valid = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
    };
    if name.len() > 64 || !name.split('.').all(valid) {
        return Err(Fault::new(format!("`{name}` is not a host name")));
    }
    let mut result = place(
        context,
        Wish {
            dest: "/etc/hostname",
            content: format!("{name}\n").as_bytes(),
            attributes: Attributes::default(),
            validate: None,
            backup: false,
        },
    )?;
    if context.is_live() && nix::unistd::gethostname().is_ok_and(|now| now != *name) {
        result.changed = true;
        if !context.check {
            nix::unistd::sethostname(name)
                .map_err(|error| Fault::new(format!("set the kernel's host name: {error}")))?;
        }
    }
    let short = name.split('.').next().unwrap_or_default();
    let mut facts = serde_json::Map::new();
    for (fact, value) in [("ansible_hostname", short), ("ansible_nodename", name)] {
        facts.insert(fact.to_owned(), value.into());
    }
    let domain = name.split_once('.').map(|(_, domain)| domain);
    if let Some(domain) = domain {
        facts.insert("ansible_fqdn".to_owned(), name.into());
        facts.insert("ansible_domain".to_owned(), domain.into());
    }
    Ok(result.with("name", name).with("ansible_facts", facts))
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn the_name_is_written_once() {
        let bench = Bench::new();
        bench.write("/etc/hostname", "old\n");
        bench.converges("hostname", json!({"name": "node-1"}));
        assert!(bench.run("hostname", json!({"name": "no_de"})).failed);
    }
}
