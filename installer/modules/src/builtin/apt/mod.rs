//! `apt` and `package`: Debian packages.
//!
//! What is installed is read from dpkg's own status file: a run without work starts no program.
mod deb;
mod policy;

use std::fs;
use std::time::{Duration, SystemTime};

use agent_protocol::task::TaskResult;

use self::deb::fetch_deb;
use self::policy::Policy;
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::words;
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::dpkg::{Packages, Wanted, packages};

pub const APT: Module = Module::new(
    "apt",
    "Install and remove Debian packages",
    Effect::Converges,
    &[NAME],
    run,
)
.shares(SHARED_ARGS)
.exclusive(&[&["deb", "name", "upgrade"]]);
pub const PACKAGE: Module = Module::new(
    "package",
    "Install and remove packages",
    Effect::Converges,
    &[
        NAME.required(),
        Arg::new("use", Kind::Text, "package manager")
            .choices(&["auto", "apt", "ansible.builtin.apt"])
            .default("auto"),
    ],
    run,
)
.shares(SHARED_ARGS)
.exclusive(APT.exclusive);

const NAME: Arg = Arg::new("name", Kind::List, "names, name=version, or name>=version")
    .aliases(&["pkg", "package"]);

/// All of `apt` but the name, which tasks may give to `package`, too.
const SHARED_ARGS: &[Arg] = &[
    Arg::new("state", Kind::Text, "whether they are to be there")
        .choices(&[
            "present",
            "installed",
            "latest",
            "absent",
            "removed",
            "build-dep",
            "fixed",
        ])
        .default("present"),
    Arg::new(
        "update_cache",
        Kind::Flag,
        "fetch the lists of packages first",
    )
    .aliases(&["update-cache"])
    .default("false"),
    Arg::new(
        "cache_valid_time",
        Kind::Int,
        "seconds for which fetched lists are good",
    )
    .default("0"),
    Arg::new("update_cache_retries", Kind::Int, "tries to fetch them").default("5"),
    Arg::new(
        "update_cache_retry_max_delay",
        Kind::Int,
        "most seconds between tries",
    )
    .default("12"),
    Arg::new(
        "install_recommends",
        Kind::Flag,
        "also what packages recommend",
    )
    .aliases(&["install-recommends"]),
    Arg::new(
        "deb",
        Kind::Text,
        "path on the node, or address, of a package",
    ),
    Arg::new(
        "upgrade",
        Kind::Text,
        "bring all packages up to date; full: also by removing some",
    )
    .choices(&[
        "no", "yes", "safe", "full", "dist", "False", "True", "false", "true",
    ]),
    Arg::new("only_upgrade", Kind::Flag, "nothing that is not installed").default("false"),
    Arg::new("purge", Kind::Flag, "remove configuration too").default("false"),
    Arg::new(
        "autoremove",
        Kind::Flag,
        "remove what nothing needs any more",
    )
    .default("false"),
    Arg::new("autoclean", Kind::Flag, "forget old files of packages").default("false"),
    Arg::new("clean", Kind::Flag, "forget files of packages").default("false"),
    Arg::new("default_release", Kind::Text, "release to prefer").aliases(&["default-release"]),
    Arg::new(
        "dpkg_options",
        Kind::Text,
        "options of dpkg, without their dashes",
    )
    .default("force-confdef,force-confold"),
    Arg::new(
        "force",
        Kind::Flag,
        "packages that nobody signed, downgrades, held packages",
    )
    .default("false"),
    Arg::new(
        "allow_unauthenticated",
        Kind::Flag,
        "packages that nobody signed",
    )
    .aliases(&["allow-unauthenticated"])
    .default("false"),
    Arg::new("allow_downgrade", Kind::Flag, "older versions")
        .aliases(&["allow-downgrade", "allow_downgrades", "allow-downgrades"])
        .default("false"),
    Arg::new("allow_change_held_packages", Kind::Flag, "held packages").default("false"),
    Arg::new(
        "fail_on_autoremove",
        Kind::Flag,
        "refuse to remove anything",
    )
    .default("false"),
    Arg::new(
        "policy_rc_d",
        Kind::Int,
        "status that keeps services from being started meanwhile",
    ),
    Arg::new("force_apt_get", Kind::Flag, "accepted for compatibility").default("false"),
    Arg::new(
        "auto_install_module_deps",
        Kind::Flag,
        "accepted for compatibility",
    )
    .default("true"),
    Arg::new("lock_timeout", Kind::Int, "seconds to wait for another apt").default("300"),
];

const DPKG_STATUS: &str = "/var/lib/dpkg/status";
const LISTS: &str = "/var/lib/apt/lists";
/// Touched after each update, so that `cache_valid_time` has something to go by.
const UPDATED: &str = "/var/lib/apt/periodic/update-success-stamp";

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let names = args.list("name").unwrap_or_default();
    if let Some(name) = names.iter().find(|name| name.starts_with('-')) {
        return Err(Fault::new(format!("`{name}` is no package")));
    }
    context
        .environment
        .push(("DEBIAN_FRONTEND".into(), "noninteractive".into()));
    context
        .environment
        .push(("DEBIAN_PRIORITY".into(), "critical".into()));
    let mut result = changed(false).with("cache_updated", false);
    if (args.flag("update_cache") || args.int("cache_valid_time").unwrap_or(0) > 0)
        && is_stale(context, args)
    {
        if !context.check {
            update(context, args)?;
        }
        let all = names.is_empty() && args.text("deb").is_none() && upgrade(args).is_none();
        // Only told as a change when it is all that was asked for, as in Ansible.
        result.changed = all;
        result = result.with("cache_updated", true);
    }
    result = result.with("cache_update_time", seconds(updated(context)));
    let policy = match args.int("policy_rc_d") {
        Some(status) if !context.check => Some(Policy::new(context, status)?),
        _ => None,
    };
    let done = act(context, args, &names, result);
    drop(policy);
    done
}

/// All but the update of lists.
fn act(
    context: &mut Context<'_>,
    args: &Args,
    names: &[&str],
    mut result: TaskResult,
) -> Result<TaskResult, Fault> {
    let status = fs::read_to_string(context.path(DPKG_STATUS))
        .map_err(Fault::io(format!("read {DPKG_STATUS}")))?;
    let packages = packages(&status);
    if let Some(deb) = args.text("deb") {
        let Some(file) = fetch_deb(context, args, deb, &packages)? else {
            return Ok(result);
        };
        let argv = apt_get(args, "install", &[file.path.display().to_string()]);
        return perform(context, argv, result, false);
    }
    if let Some(verb) = upgrade(args) {
        result = perform(context, apt_get(args, verb, &[]), result, true)?;
    }
    let state = args.need("state");
    if state == "fixed" {
        result = perform(
            context,
            apt_get(args, "install", &["--fix-broken".into()]),
            result,
            true,
        )?;
    }
    let todo = todo(args, names, &packages);
    if !todo.is_empty() {
        let verb = match state {
            "absent" | "removed" if args.flag("purge") => "purge",
            "absent" | "removed" => "remove",
            "build-dep" => "build-dep",
            _ => "install",
        };
        // Of these only apt knows whether there is anything to do.
        let ask = matches!(state, "latest" | "build-dep")
            || names
                .iter()
                .any(|name| matches!(Wanted::parse(name), Wanted::Pattern(_)));
        result = perform(context, apt_get(args, verb, &todo), result, ask)?;
    }
    if args.flag("autoremove") && names.is_empty() {
        let verb = if args.flag("purge") {
            "--purge"
        } else {
            "--yes"
        };
        result = perform(
            context,
            apt_get(args, "autoremove", &[verb.into()]),
            result,
            true,
        )?;
    }
    for (flag, verb) in [("autoclean", "autoclean"), ("clean", "clean")] {
        if args.flag(flag) && !context.check {
            context.must(&["apt-get", "-q", verb])?;
        }
    }
    Ok(result)
}

/// The names that something is to be done with, as apt-get takes them.
fn todo(args: &Args, names: &[&str], packages: &Packages<'_>) -> Vec<String> {
    let state = args.need("state");
    names
        .iter()
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
        .map(Wanted::parse)
        .filter(|wanted| match state {
            "absent" | "removed" => {
                packages.has(Wanted::parse(wanted.name()))
                    || (args.flag("purge") && packages.left_over(wanted.name()))
            }
            "build-dep" => true,
            _ if args.flag("only_upgrade") && !packages.has(Wanted::Any(wanted.name())) => false,
            "latest" => true,
            _ => !packages.has(*wanted) || matches!(wanted, Wanted::Pattern(_)),
        })
        .map(|wanted| match wanted {
            Wanted::Exactly(name, version) if !matches!(state, "absent" | "removed") => {
                format!("{name}={version}")
            }
            wanted => wanted.name().to_owned(),
        })
        .collect()
}

/// Runs apt-get, asking it first what it would do where that is not known (`ask`) or check mode wants it.
fn perform(
    context: &mut Context<'_>,
    argv: Vec<String>,
    mut result: TaskResult,
    ask: bool,
) -> Result<TaskResult, Fault> {
    let plain: Vec<&str> = argv.iter().map(String::as_str).collect();
    if context.check || ask {
        // apt itself says what would happen: "Inst name ..." and "Remv name ...".
        let simulated = context.output(&[plain.as_slice(), &["--simulate"]].concat())?;
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
                ["Inst ", "Remv ", "Purg "]
                    .iter()
                    .any(|start| line.starts_with(start))
            })
            .collect();
        result.changed |= !acts.is_empty();
        result
            .diff
            .extend(context.diff_of("packages", "", &acts.join("\n")));
        if context.check || (acts.is_empty() && simulated.rc == 0) {
            return Ok(result);
        }
    }
    let output = context.output(&plain)?;
    if output.rc != 0 {
        return Err(Fault::WithData {
            msg: format!("'apt-get {}' failed: {}", plain[1], output.stderr.trim()),
            data: output.data(),
        });
    }
    result.changed = true;
    Ok(result
        .with("stdout", output.stdout.as_str())
        .with("stderr", output.stderr.as_str()))
}

fn upgrade(args: &Args) -> Option<&'static str> {
    match args.text("upgrade")? {
        "yes" | "safe" | "True" | "true" => Some("upgrade"),
        "full" | "dist" => Some("dist-upgrade"),
        _ => None,
    }
}

fn apt_get(args: &Args, verb: &str, names: &[String]) -> Vec<String> {
    let mut argv = words(&["apt-get", verb, "-y", "-q"]);
    let mut option = |text: String| argv.extend(["-o".to_owned(), text]);
    let dpkg = args
        .text("dpkg_options")
        .unwrap_or("force-confdef,force-confold");
    for name in dpkg
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        option(format!("Dpkg::Options::=--{name}"));
    }
    option(format!(
        "DPkg::Lock::Timeout={}",
        args.int("lock_timeout").unwrap_or(300)
    ));
    if let Some(recommends) = args.given_flag("install_recommends") {
        option(format!("APT::Install-Recommends={recommends}"));
    }
    if let Some(release) = args.text("default_release") {
        argv.extend(words(&["-t", release]));
    }
    let force = args.flag("force");
    for (flag, given) in [
        (
            "--allow-unauthenticated",
            force || args.flag("allow_unauthenticated"),
        ),
        ("--allow-downgrades", force || args.flag("allow_downgrade")),
        (
            "--allow-change-held-packages",
            force || args.flag("allow_change_held_packages"),
        ),
        (
            "--allow-remove-essential",
            force && matches!(verb, "remove" | "purge"),
        ),
        (
            "--only-upgrade",
            args.flag("only_upgrade") && verb == "install",
        ),
        ("--with-new-pkgs", verb == "upgrade"),
        (
            "--auto-remove",
            args.flag("autoremove") && matches!(verb, "remove" | "purge"),
        ),
        (
            "--no-remove",
            matches!(verb, "install" | "upgrade")
                && (args.need("state") == "latest" || args.flag("fail_on_autoremove")),
        ),
    ] {
        if given {
            argv.push(flag.to_owned());
        }
    }
    argv.extend(names.iter().cloned());
    argv
}

/// Fetches the lists of packages; one mirror that stumbles is no reason to give up.
pub fn update(context: &mut Context<'_>, args: &Args) -> Result<(), Fault> {
    let retries = args.int("update_cache_retries").unwrap_or(5).clamp(0, 100);
    let most = args
        .int("update_cache_retry_max_delay")
        .unwrap_or(12)
        .clamp(0, 600) as u64;
    let mut pause = 1;
    for attempt in 0.. {
        match context.must(&["apt-get", "update", "-q"]) {
            Ok(_) => break,
            Err(fault @ Fault::WithData { .. }) if attempt >= retries => return Err(fault),
            Err(Fault::WithData { .. }) => {}
            Err(fault) => return Err(fault),
        }
        context.sleep(Duration::from_secs(pause.min(most)))?;
        pause *= 2;
    }
    let path = context.path(UPDATED);
    if let Some(folder) = path.parent() {
        let _ = fs::create_dir_all(folder);
    }
    // Without the stamp the lists are fetched once more than needed.
    let _ = fs::write(path, "");
    Ok(())
}

fn is_stale(context: &Context<'_>, args: &Args) -> bool {
    let valid = args.int("cache_valid_time").unwrap_or(0).max(0) as u64;
    let age = updated(context).and_then(|time| time.elapsed().ok());
    age.is_none_or(|age| age.as_secs() >= valid)
}

fn updated(context: &Context<'_>) -> Option<SystemTime> {
    [UPDATED, LISTS]
        .iter()
        .find_map(|path| fs::metadata(context.path(path)).ok()?.modified().ok())
}

fn seconds(time: Option<SystemTime>) -> u64 {
    time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use crate::http;
    use serde_json::json;

    const STATUS: &str = "Package: chrony\nStatus: install ok installed\nArchitecture: amd64\nVersion: 4.3-2+deb12u1\nProvides: time-daemon, ntp (= 1)\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n";

    /// apt-get as far as it matters here: it installs by appending to dpkg's status.
    const APT_GET: &str = r#"
echo "$*" >> $ROOT/calls.log
case "$*" in
  update*) exit 0;;
  *--simulate*) for last; do [ "$last" = --simulate ] || name=$last; done
    grep -q "^Package: $name$" $ROOT/var/lib/dpkg/status || echo "Inst $name (1 Debian)";;
  *no-such*) echo "E: Unable to locate package no-such" >&2; exit 100;;
  install*) cat $ROOT/usr/sbin/policy-rc.d >> $ROOT/calls.log 2>/dev/null
    for last; do :; done; printf '\n\nPackage: %s\nStatus: install ok installed\nVersion: 1\n' ${last##*/} >> $ROOT/var/lib/dpkg/status;;
  purge*) sed -i '/^Package: gone/,$d' $ROOT/var/lib/dpkg/status;;
esac
"#;

    fn bench() -> Bench {
        let bench = Bench::new();
        bench.write("/var/lib/dpkg/status", STATUS);
        bench.program("apt-get", APT_GET);
        bench
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
        assert!(
            !bench
                .run("apt", json!({"name": "none", "only_upgrade": true}))
                .changed
        );
        let failed = bench.run("apt", json!({"name": "no-such"}));
        assert_eq!(
            failed.msg,
            "'apt-get install' failed: E: Unable to locate package no-such"
        );
        assert!(bench.run("apt", json!({"name": "--reinstall"})).failed);
        let purged = bench.run(
            "apt",
            json!({"name": "gone", "state": "absent", "purge": true}),
        );
        assert!(purged.changed, "{purged:?}");
        let purged = json!({"name": "gone", "state": "absent", "purge": true});
        assert!(!bench.run("apt", purged).changed);
    }

    #[test]
    fn a_package_of_its_own_is_installed_by_its_file() {
        let bench = bench();
        bench.write("/tmp/mine", "");
        bench.program(
            "dpkg-deb",
            "printf 'Package: mine\\nVersion: 1\\nArchitecture: all\\n'",
        );
        bench.converges("apt", json!({"deb": "/tmp/mine"}));
        std::fs::create_dir_all(bench.path("/tmp")).unwrap();
        let address = http::testing::serve(|_| http::testing::reply("200 OK", &[], b"deb"));
        assert!(!bench.run("apt", json!({"deb": address})).changed);
        assert_eq!(fs::read_dir(bench.path("/tmp")).unwrap().count(), 1);
    }

    #[test]
    fn services_are_kept_from_starting_meanwhile() {
        let bench = bench();
        assert!(
            bench
                .run("apt", json!({"name": "haproxy", "policy_rc_d": 101}))
                .changed
        );
        assert!(bench.read("/calls.log").contains("exit 101"));
        assert!(!bench.path("/usr/sbin/policy-rc.d").exists());
    }

    #[test]
    fn commands() {
        let arguments = |args: serde_json::Value| APT.check(args.as_object().unwrap()).unwrap();
        let cases = [
            ("install", json!({"name": "a"})),
            (
                "install",
                json!({"name": "a", "state": "latest", "default_release": "bookworm-backports"}),
            ),
            (
                "install",
                json!({"name": "a", "dpkg_options": "force-confnew", "force": true, "only_upgrade": true}),
            ),
            (
                "remove",
                json!({"name": "a", "state": "absent", "autoremove": true}),
            ),
            (
                "dist-upgrade",
                json!({"upgrade": "dist", "allow_downgrade": true}),
            ),
        ];
        let text: Vec<String> = cases
            .into_iter()
            .map(|(verb, args)| apt_get(&arguments(args), verb, &["a".into()]).join(" "))
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn fresh_lists_are_not_fetched_again() {
        let bench = bench();
        let args = json!({"update_cache": true, "cache_valid_time": 3600});
        let first = bench.run("apt", args.clone());
        assert!(
            first.changed && first.data["cache_updated"] == true,
            "{first:?}"
        );
        let again = bench.run("apt", args);
        assert!(
            !again.changed && again.data["cache_updated"] == false,
            "{again:?}"
        );
        assert!(again.data["cache_update_time"].as_u64().unwrap() > 0);
    }
}
