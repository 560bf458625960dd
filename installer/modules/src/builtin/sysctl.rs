//! `sysctl`: a kernel parameter, in a file and in the running kernel.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{Wish, place};

pub const SYSCTL: Module = Module::new(
    "sysctl",
    "Set a kernel parameter",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new(
        "name",
        Kind::Text,
        "name with dots, for example net.ipv4.ip_forward",
    )
    .aliases(&["key"])
    .required(),
    Arg::new("value", Kind::Text, "its value").aliases(&["val"]),
    Arg::new("state", Kind::Text, "whether the file has it")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("sysctl_file", Kind::Path, "the file that is read at boot")
        .default("/etc/sysctl.conf"),
    Arg::new("sysctl_set", Kind::Flag, "check the running kernel too").default("false"),
    Arg::new("reload", Kind::Flag, "tell the running kernel").default("true"),
    Arg::new(
        "ignoreerrors",
        Kind::Flag,
        "a kernel that does not know it is no failure",
    )
    .default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (name, file) = (args.need("name"), args.need("sysctl_file"));
    let value = match (args.need("state"), args.text("value")) {
        ("absent", _) => None,
        (_, Some(value)) => Some(value),
        _ => return Err(Fault::new("value is required with state=present")),
    };
    let before = std::fs::read_to_string(context.path(file)).unwrap_or_default();
    let after = edit(&before, name, value);
    let mut result = changed(false);
    if before != after {
        if let Some(folder) = context.path(file).parent().filter(|_| !context.check) {
            std::fs::create_dir_all(folder).map_err(Fault::io("make the file's folder"))?;
        }
        result = place(
            context,
            Wish {
                dest: file,
                content: after.as_bytes(),
                attributes: Attributes::default(),
                validate: None,
                backup: false,
            },
        )?;
    }
    if let Some(value) = value
        && (args.flag("sysctl_set") || args.flag("reload"))
    {
        result.changed |= tell_kernel(context, name, value, args.flag("ignoreerrors"))?;
    }
    Ok(result.with("name", name))
}

/// The file's text with `name` set once, or gone.
fn edit(text: &str, name: &str, value: Option<&str>) -> String {
    let is_it = |line: &str| {
        line.split_once('=')
            .is_some_and(|(key, _)| key.trim().replace('/', ".") == name.replace('/', "."))
    };
    let mut wanted = value.map(|value| format!("{name}={value}"));
    let mut out = String::new();
    for line in text.lines() {
        if !is_it(line) {
            out.push_str(line);
            out.push('\n');
        } else if let Some(value) = value
            && line
                .split_once('=')
                .is_some_and(|(_, now)| same(now, value))
            && wanted.take().is_some()
        {
            out.push_str(line);
            out.push('\n');
        } else if let Some(line) = wanted.take() {
            out.push_str(&line);
            out.push('\n');
        }
    }
    if let Some(line) = wanted {
        out.push_str(&line);
        out.push('\n');
    }
    if out == format!("{text}\n") {
        text.to_owned()
    } else {
        out
    }
}

fn tell_kernel(
    context: &Context<'_>,
    name: &str,
    value: &str,
    forgiving: bool,
) -> Result<bool, Fault> {
    // A dot may stand in the name of an interface; then slashes part the words.
    let inside = if name.contains('/') {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    let path = context.path(&format!("/proc/sys/{inside}"));
    match std::fs::read_to_string(&path) {
        Ok(now) if same(&now, value) => return Ok(false),
        Ok(_) => {}
        Err(_) if forgiving || context.check || !context.is_live() => return Ok(false),
        Err(source) => {
            return Err(Fault::Io {
                what: format!("read the kernel's {name}"),
                source,
            });
        }
    }
    if !context.check {
        match std::fs::write(&path, value) {
            Err(source) if !forgiving => {
                return Err(Fault::Io {
                    what: format!("set the kernel's {name} to {value}"),
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(true)
}

/// The kernel answers with tabs between several numbers.
fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_parameter_is_set_in_file_and_kernel() {
        let bench = Bench::new();
        bench.write("/proc/sys/net/ipv4/ip_nonlocal_bind", "0\n");
        bench.write("/etc/sysctl.d/keep", "");
        bench.converges("sysctl", json!({"name": "net.ipv4.ip_nonlocal_bind", "value": "1", "sysctl_file": "/etc/sysctl.d/90-wright.conf"}));
        assert_eq!(
            bench.read("/etc/sysctl.d/90-wright.conf"),
            "net.ipv4.ip_nonlocal_bind=1\n"
        );
        assert_eq!(bench.read("/proc/sys/net/ipv4/ip_nonlocal_bind"), "1");
        bench.converges("sysctl", json!({"name": "net.ipv4.ip_nonlocal_bind", "state": "absent", "sysctl_file": "/etc/sysctl.d/90-wright.conf"}));
    }

    proptest! {
        #[test]
        fn twice_is_once(text in "([ab] ?= ?[12]\n|# c\n){0,5}", name in "[abc]", value in "[12]") {
            let once = edit(&text, &name, Some(&value));
            prop_assert_eq!(&edit(&once, &name, Some(&value)), &once);
            prop_assert!(!edit(&once, &name, None).lines().any(|line| line.starts_with(&name)));
        }
    }
}
