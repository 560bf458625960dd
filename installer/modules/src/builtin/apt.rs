//! `apt` and `package`: Debian packages.
//!
//! What is installed is read from dpkg's own status file: a run without work starts no program.
use std::collections::BTreeMap;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};

pub const APT: Module = Module::new(
    "apt",
    "Install and remove Debian packages",
    Effect::Converges,
    APT_ARGS,
    run,
)
.one_of(&[&["name", "update_cache", "autoremove"]]);
pub const PACKAGE: Module = Module::new(
    "package",
    "Install and remove packages",
    Effect::Converges,
    PACKAGE_ARGS,
    run,
);

const STATE: Arg = Arg::new("state", Kind::Text, "whether they are to be there")
    .choices(&["present", "installed", "latest", "absent", "removed"])
    .default("present");
const UPDATE_CACHE: Arg = Arg::new(
    "update_cache",
    Kind::Flag,
    "fetch the lists of packages first",
)
.aliases(&["update-cache"])
.default("false");

const APT_ARGS: &[Arg] = &[
    Arg::new("name", Kind::List, "names, or name=version").aliases(&["pkg", "package"]),
    STATE,
    UPDATE_CACHE,
    Arg::new(
        "cache_valid_time",
        Kind::Int,
        "seconds for which fetched lists are good",
    )
    .default("0"),
    Arg::new(
        "install_recommends",
        Kind::Flag,
        "also what packages recommend",
    )
    .aliases(&["install-recommends"]),
    Arg::new("purge", Kind::Flag, "remove configuration too").default("false"),
    Arg::new(
        "autoremove",
        Kind::Flag,
        "remove what nothing needs any more",
    )
    .default("false"),
    Arg::new("default_release", Kind::Text, "release to prefer").aliases(&["default-release"]),
    Arg::new("lock_timeout", Kind::Int, "seconds to wait for another apt").default("300"),
];

const PACKAGE_ARGS: &[Arg] = &[
    Arg::new("name", Kind::List, "names").required(),
    STATE,
    UPDATE_CACHE,
    Arg::new("use", Kind::Text, "package manager")
        .choices(&["auto", "apt"])
        .default("auto"),
];

const DPKG_STATUS: &str = "/var/lib/dpkg/status";
const LISTS: &str = "/var/lib/apt/lists";
/// Touched after each update, so that `cache_valid_time` has something to go by.
const UPDATED: &str = "/var/lib/apt/periodic/update-success-stamp";

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let mut result = changed(false);
    if (args.flag("update_cache") || args.int("cache_valid_time").unwrap_or(0) > 0)
        && is_stale(context, args)
    {
        if !context.check {
            context.must(&["apt-get", "update", "-q"])?;
            touch(context);
        }
        // Only told as a change when it is all that was asked for, as in Ansible.
        result.changed = args.list("name").is_none();
        result = result.with("cache_updated", true);
    }
    let names = args.list("name").unwrap_or_default();
    let status = std::fs::read_to_string(context.path(DPKG_STATUS))
        .map_err(Fault::io(format!("read {DPKG_STATUS}")))?;
    let installed = installed(&status);
    let (removing, latest) = (
        matches!(args.need("state"), "absent" | "removed"),
        args.need("state") == "latest",
    );
    let todo: Vec<&str> = names
        .iter()
        .copied()
        .filter(|wanted| is_installed(&installed, wanted) == removing || latest)
        .collect();
    if todo.is_empty() && !args.flag("autoremove") {
        return Ok(result);
    }
    let plan = apt_get(args, removing, latest, &todo);
    let words = |extra: &[&'static str]| {
        plan.iter()
            .map(String::as_str)
            .chain(extra.iter().copied())
            .collect::<Vec<_>>()
    };
    context
        .environment
        .push(("DEBIAN_FRONTEND".into(), "noninteractive".into()));
    if context.check || latest || todo.is_empty() {
        // apt itself says what would happen: "Inst name ..." and "Remv name ...".
        let simulated = context.output(&words(&["--simulate"]))?;
        if simulated.rc != 0 && context.check {
            return Ok(TaskResult {
                changed: true,
                msg: format!("apt cannot tell yet: {}", simulated.stderr.trim()),
                ..result
            });
        }
        let acts: Vec<&str> = simulated
            .stdout
            .lines()
            .filter(|line| {
                line.starts_with("Inst ") || line.starts_with("Remv ") || line.starts_with("Purg ")
            })
            .collect();
        result.changed |= !acts.is_empty();
        result.diff = context.diff_of("packages", "", &acts.join("\n"));
        if context.check || acts.is_empty() {
            return Ok(result);
        }
    }
    let output = context.output(&words(&[]))?;
    if output.rc != 0 {
        return Err(Fault::WithData {
            msg: format!("'apt-get {}' failed: {}", plan[1], output.stderr.trim()),
            data: output.data(),
        });
    }
    result.changed = true;
    Ok(result
        .with("stdout", output.stdout.as_str())
        .with("stderr", output.stderr.as_str()))
}

fn apt_get(args: &Args, removing: bool, latest: bool, names: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = vec!["apt-get".into()];
    words.push(match (names.is_empty(), removing, args.flag("purge")) {
        (true, ..) => "autoremove".into(),
        (false, true, true) => "purge".into(),
        (false, true, false) => "remove".into(),
        (false, false, _) => "install".into(),
    });
    words.extend(
        [
            "-y",
            "-q",
            "-o",
            "Dpkg::Options::=--force-confdef",
            "-o",
            "Dpkg::Options::=--force-confold",
            "-o",
        ]
        .map(str::to_owned),
    );
    words.push(format!(
        "DPkg::Lock::Timeout={}",
        args.int("lock_timeout").unwrap_or(300)
    ));
    if let Some(recommends) = args.given_flag("install_recommends") {
        words.push(format!("APT::Install-Recommends={recommends}"));
        let last = words.len() - 1;
        words.insert(last, "-o".into());
    }
    if let Some(release) = args.text("default_release") {
        words.extend(["-t".to_owned(), release.to_owned()]);
    }
    if args.flag("autoremove") && removing {
        words.push("--auto-remove".into());
    }
    if latest {
        words.push("--no-remove".into());
    }
    words.extend(names.iter().map(|name| (*name).to_owned()));
    words
}

/// Version by name and by name:architecture of all that dpkg has installed; names that a package
/// provides have none.
fn installed(status: &str) -> BTreeMap<String, Option<&str>> {
    let mut out = BTreeMap::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let is_installed = field("Status").is_some_and(|status| status.ends_with(" installed"));
        let (true, Some(package)) = (is_installed, field("Package")) else {
            continue;
        };
        if let Some(architecture) = field("Architecture") {
            out.insert(format!("{package}:{architecture}"), field("Version"));
        }
        out.insert(package.to_owned(), field("Version"));
        for provided in field("Provides")
            .into_iter()
            .flat_map(|list| list.split(','))
        {
            let name = provided
                .split(['(', ' '])
                .find(|word| !word.is_empty())
                .unwrap_or_default();
            out.entry(name.to_owned()).or_insert(None);
        }
    }
    out
}

fn is_installed(installed: &BTreeMap<String, Option<&str>>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        None => installed.contains_key(wanted),
        Some((name, version)) => installed
            .get(name)
            .copied()
            .flatten()
            .is_some_and(|now| crate::text::glob::matches(version, now)),
    }
}

fn is_stale(context: &Context<'_>, args: &Args) -> bool {
    let valid = args.int("cache_valid_time").unwrap_or(0).max(0) as u64;
    let age = [UPDATED, LISTS].iter().find_map(|path| {
        std::fs::metadata(context.path(path))
            .ok()?
            .modified()
            .ok()?
            .elapsed()
            .ok()
    });
    age.is_none_or(|age| age.as_secs() >= valid)
}

fn touch(context: &Context<'_>) {
    let path = context.path(UPDATED);
    if let Some(folder) = path.parent() {
        let _ = std::fs::create_dir_all(folder);
    }
    // Without the stamp the lists are fetched once more than needed.
    let _ = std::fs::write(path, "");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;

    const STATUS: &str = "Package: chrony\nStatus: install ok installed\nArchitecture: amd64\nVersion: 4.3-2+deb12u1\nProvides: time-daemon, ntp (= 1)\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";

    /// apt-get as far as it matters here: it installs by appending to dpkg's status.
    const APT_GET: &str = r#"
case "$*" in
  update*) exit 0;;
  *--simulate*) for last; do [ "$last" = --simulate ] || name=$last; done
    grep -q "^Package: $name$" $ROOT/var/lib/dpkg/status || echo "Inst $name (1 Debian)";;
  *no-such*) echo "E: Unable to locate package no-such" >&2; exit 100;;
  install*) for last; do :; done; printf '\n\nPackage: %s\nStatus: install ok installed\nVersion: 1\n' $last >> $ROOT/var/lib/dpkg/status;;
esac
"#;

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("/var/lib/dpkg/status", STATUS);
        bench.program("apt-get", APT_GET);
        bench
    }

    #[test]
    fn dpkgs_status_is_understood() {
        let installed = installed(STATUS);
        let cases = [
            ("chrony", true),
            ("chrony:amd64", true),
            ("chrony=4.3*", true),
            ("chrony=5", false),
            ("time-daemon", true),
            ("ntp", true),
            ("gone", false),
        ];
        for (name, there) in cases {
            assert_eq!(is_installed(&installed, name), there, "{name}");
        }
    }

    #[test]
    fn packages_are_installed_once() {
        let bench = bench();
        bench.converges(
            "apt",
            json!({"name": ["chrony", "haproxy"], "install_recommends": false}),
        );
        assert!(
            !bench
                .run("package", json!({"name": "chrony, haproxy"}))
                .changed
        );
        assert!(
            !bench
                .run("package", json!({"name": "gone", "state": "absent"}))
                .changed
        );
        assert!(
            !bench
                .run("apt", json!({"name": "chrony", "state": "latest"}))
                .changed
        );
        let failed = bench.run("apt", json!({"name": "no-such"}));
        assert_eq!(
            failed.msg,
            "'apt-get install' failed: E: Unable to locate package no-such"
        );
    }

    #[test]
    fn fresh_lists_are_not_fetched_again() {
        let bench = bench();
        assert!(
            bench
                .run(
                    "apt",
                    json!({"update_cache": true, "cache_valid_time": 3600})
                )
                .changed
        );
        assert!(
            !bench
                .run(
                    "apt",
                    json!({"update_cache": true, "cache_valid_time": 3600})
                )
                .changed
        );
    }
}
