//! `modprobe`: a kernel module, now and at every boot.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{Wish, place};

pub const MODPROBE: Module = Module::new(
    "modprobe",
    "Load or remove a kernel module",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "its name").required(),
    Arg::new("state", Kind::Text, "whether it is to be loaded")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("params", Kind::Text, "its parameters").default(""),
    Arg::new("persistent", Kind::Text, "whether it is loaded at boot")
        .choices(&["disabled", "present", "absent"])
        .default("disabled"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (name, wanted) = (args.need("name"), args.need("state") == "present");
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    {
        return Err(Fault::new(format!("`{name}` is not the name of a module")));
    }
    let mut result = changed(is_loaded(context, name) != wanted);
    if result.changed && !context.check {
        let mut argv = vec!["modprobe"];
        if !wanted {
            argv.push("-r");
        }
        argv.push(name);
        if wanted {
            argv.extend(args.need("params").split_whitespace());
        }
        context.must(&argv)?;
    }
    let files = [
        (
            format!("/etc/modules-load.d/{name}.conf"),
            format!("{name}\n"),
            true,
        ),
        (
            format!("/etc/modprobe.d/{name}.conf"),
            format!("options {name} {}\n", args.need("params")),
            !args.need("params").is_empty(),
        ),
    ];
    for (file, content, needed) in files {
        match args.need("persistent") {
            "present" if needed => {
                let placed = place(
                    context,
                    Wish {
                        dest: &file,
                        content: content.as_bytes(),
                        attributes: Attributes::default(),
                        validate: None,
                        backup: false,
                    },
                )?;
                result.changed |= placed.changed;
            }
            "absent" if context.path(&file).exists() => {
                result.changed = true;
                if !context.check {
                    std::fs::remove_file(context.path(&file))
                        .map_err(Fault::io(format!("remove {file}")))?;
                }
            }
            _ => {}
        }
    }
    Ok(result.with("name", name).with("state", args.need("state")))
}

/// In the list of loaded modules, or built into the kernel. Dashes and underscores are the same.
fn is_loaded(context: &Context<'_>, name: &str) -> bool {
    let name = name.replace('-', "_");
    let modules = std::fs::read_to_string(context.path("/proc/modules")).unwrap_or_default();
    if modules
        .lines()
        .any(|line| line.split(' ').next() == Some(&name))
    {
        return true;
    }
    let release =
        std::fs::read_to_string(context.path("/proc/sys/kernel/osrelease")).unwrap_or_default();
    let built_in = std::fs::read_to_string(
        context.path(&format!("/lib/modules/{}/modules.builtin", release.trim())),
    )
    .unwrap_or_default();
    built_in
        .lines()
        .filter_map(|line| line.rsplit('/').next()?.strip_suffix(".ko"))
        .any(|module| module.replace('-', "_") == name)
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_module_is_loaded_once_and_kept() {
        let bench = Bench::new();
        bench.write("/proc/modules", "ext4 1 1 - Live 0x0\n");
        bench.write("/proc/sys/kernel/osrelease", "6.1\n");
        bench.write(
            "/lib/modules/6.1/modules.builtin",
            "kernel/fs/nls/nls-base.ko\n",
        );
        bench.write("/etc/modules-load.d/keep", "");
        bench.program(
            "modprobe",
            "echo \"$1 1 1 - Live 0x0\" >> $ROOT/proc/modules",
        );
        bench.converges(
            "modprobe",
            json!({"name": "br_netfilter", "persistent": "present"}),
        );
        assert_eq!(
            bench.read("/etc/modules-load.d/br_netfilter.conf"),
            "br_netfilter\n"
        );
        assert!(!bench.run("modprobe", json!({"name": "nls_base"})).changed);
    }
}
