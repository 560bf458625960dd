//! `dpkg_selections`: what dpkg is to do with a package, for example to hold it at its version.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::Start;
use crate::spec::{Arg, Effect, Kind, Module};

pub const DPKG_SELECTIONS: Module = Module::new(
    "dpkg_selections",
    "Hold a package at its version, or let it go",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("name", Kind::Text, "the package").required(),
    Arg::new("selection", Kind::Text, "what is to be done with it")
        .choices(&["install", "hold", "deinstall", "purge"])
        .required(),
];

const DPKG_STATUS: &str = "/var/lib/dpkg/status";

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (name, wanted) = (args.need("name"), args.need("selection"));
    if name.split_whitespace().count() != 1 {
        return Err(Fault::new(format!("`{name}` is not one package")));
    }
    let status = std::fs::read_to_string(context.path(DPKG_STATUS))
        .map_err(Fault::io(format!("read {DPKG_STATUS}")))?;
    let now = selection(&status, name).unwrap_or("not present");
    let mut result = changed(now != wanted)
        .with("before", now)
        .with("after", wanted);
    result.diff = context.diff_of(name, &format!("{now}\n"), &format!("{wanted}\n"));
    if !result.changed || context.check {
        return Ok(result);
    }
    let output = context.start(Start {
        argv: vec!["dpkg", "--set-selections"],
        stdin: Some(format!("{name} {wanted}\n").into_bytes()),
        ..Start::default()
    })?;
    // dpkg only warns of a package that it does not know.
    if output.rc != 0 || output.stderr.contains("not in") {
        return Err(Fault::WithData {
            msg: format!("`dpkg --set-selections` failed: {}", output.stderr.trim()),
            data: output.data(),
        });
    }
    Ok(result)
}

/// The first word of the package's status.
fn selection<'a>(status: &'a str, wanted: &str) -> Option<&'a str> {
    let (name, architecture) = match wanted.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (wanted, None),
    };
    status.split("\n\n").find_map(|paragraph| {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let is_it = field("Package") == Some(name)
            && architecture.is_none_or(|wanted| field("Architecture") == Some(wanted));
        is_it.then(|| field("Status")?.split(' ').next()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_package_is_held_once() {
        let bench = Bench::new();
        bench.write(
            "/var/lib/dpkg/status",
            "Package: a\nStatus: deinstall ok config-files\n\nPackage: linux\nStatus: install ok installed\nArchitecture: amd64\n",
        );
        bench.program("dpkg", "read name what; [ $name = linux ] || { echo \"package not in status nor available database\" >&2; exit; }; sed -i \"s/Status: install/Status: $what/\" $ROOT/var/lib/dpkg/status");
        bench.converges(
            "dpkg_selections",
            json!({"name": "linux", "selection": "hold"}),
        );
        assert!(
            !bench
                .run(
                    "dpkg_selections",
                    json!({"name": "linux:amd64", "selection": "hold"})
                )
                .changed
        );
        for name in ["none", "a b", ""] {
            assert!(
                bench
                    .run(
                        "dpkg_selections",
                        json!({"name": name, "selection": "hold"})
                    )
                    .failed
            );
        }
    }
}
