//! `mount`: an entry of `/etc/fstab`, and whether it is mounted.
use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault, With, changed};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::write::{Wish, place};

pub const MOUNT: Module = Module::new(
    "mount",
    "Mount a file system, now and at boot",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("path", Kind::Path, "where it is mounted").aliases(&["name"]).required(),
    Arg::new("state", Kind::Text, "mounted: in fstab and mounted; present: in fstab only; unmounted: only not mounted; absent: neither").choices(&["mounted", "present", "unmounted", "absent", "absent_from_fstab", "remounted", "ephemeral"]).required(),
    Arg::new("src", Kind::Text, "device or share"),
    Arg::new("fstype", Kind::Text, "kind of file system"),
    Arg::new("opts", Kind::Text, "options").default("defaults"),
    Arg::new("dump", Kind::Text, "fifth field of fstab").default("0"),
    Arg::new("passno", Kind::Text, "sixth field of fstab").default("0"),
    Arg::new("fstab", Kind::Path, "the table").default("/etc/fstab"),
    Arg::new("boot", Kind::Flag, "mount it at boot").default("true"),
    Arg::new("backup", Kind::Flag, "keep the old table").default("false"),
    Arg::new("opts_no_log", Kind::Flag, "the options are a secret").default("false"),
];

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (path, state, fstab) = (
        args.need("path").trim_end_matches('/'),
        args.need("state"),
        args.need("fstab"),
    );
    let path = if path.is_empty() { "/" } else { path };
    let mut opts = args.need("opts").to_owned();
    if !args.flag("boot") && !opts.split(',').any(|option| option == "noauto") {
        opts.push_str(",noauto");
    }
    let entry = match (state, args.text("src"), args.text("fstype")) {
        ("mounted" | "present" | "ephemeral", Some(src), Some(kind)) => Some([
            src,
            path,
            kind,
            &opts,
            args.need("dump"),
            args.need("passno"),
        ]),
        ("mounted" | "present" | "ephemeral", ..) => {
            return Err(Fault::new(format!(
                "src and fstype are required with state={state}"
            )));
        }
        _ => None,
    };
    let mut result = changed(false);
    if matches!(
        state,
        "mounted" | "present" | "absent" | "absent_from_fstab"
    ) {
        let before = std::fs::read_to_string(context.path(fstab)).unwrap_or_default();
        let after = edit(&before, path, args.text("src"), entry.as_ref());
        if before != after {
            result = place(
                context,
                Wish {
                    dest: fstab,
                    content: after.as_bytes(),
                    attributes: Attributes::default(),
                    validate: None,
                    backup: args.flag("backup"),
                },
            )?;
            if args.flag("opts_no_log") {
                result.diff.clear();
            }
        }
    }
    let mounted = is_mounted(
        &std::fs::read_to_string(context.path("/proc/self/mounts")).unwrap_or_default(),
        path,
    );
    let act: Option<Vec<&str>> = match (state, mounted, &entry) {
        ("mounted", false, _) => Some(vec!["mount", path]),
        // The entry changed under a mounted file system.
        ("mounted", true, _) if result.changed => Some(vec!["mount", "-o", "remount", path]),
        ("ephemeral", false, Some([src, _, kind, opts, ..])) => {
            Some(vec!["mount", "-t", kind, "-o", opts, src, path])
        }
        ("remounted", true, _) => Some(vec!["mount", "-o", "remount", path]),
        ("unmounted" | "absent", true, _) => Some(vec!["umount", path]),
        _ => None,
    };
    if let Some(act) = act {
        result.changed = true;
        if !context.check {
            if act[0] == "mount" {
                std::fs::create_dir_all(context.path(path))
                    .map_err(Fault::io(format!("make {path}")))?;
            }
            // Only of the system's own table do the programs know without being told.
            let table = context.path(fstab).display().to_string();
            let mut argv = act;
            if argv[0] == "mount" && fstab != "/etc/fstab" && state != "ephemeral" {
                argv.splice(1..1, ["-T", table.as_str()]);
            }
            context.must(&argv)?;
        }
    }
    if state == "absent" {
        result.changed |= remove_point(context, path)?;
    }
    result = result
        .with("name", path)
        .with("fstab", fstab)
        .with("boot", args.flag("boot"));
    for (name, value) in [("src", args.text("src")), ("fstype", args.text("fstype"))] {
        result = result.with(name, value);
    }
    Ok(match args.flag("opts_no_log") {
        true => result,
        false => result.with("opts", opts),
    })
}

/// Removes the empty folder on which something was mounted.
fn remove_point(context: &Context<'_>, path: &str) -> Result<bool, Fault> {
    let point = context.path(path);
    let is_empty = std::fs::read_dir(&point).is_ok_and(|mut entries| entries.next().is_none());
    if path == "/" || !is_empty {
        return Ok(false);
    }
    if !context.check {
        std::fs::remove_dir(&point).map_err(Fault::io(format!("remove {path}")))?;
    }
    Ok(true)
}

/// The table with one entry for `path`, or none. Comments and other entries stay as they are.
fn edit(fstab: &str, path: &str, src: Option<&str>, entry: Option<&[&str; 6]>) -> String {
    let escaped = |field: &str| field.replace(' ', "\\040").replace('\t', "\\011");
    let path = escaped(path);
    let mut wanted = entry.map(|fields| fields.map(escaped).join(" "));
    let mut out = String::new();
    for line in fstab.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Swap is mounted nowhere: there the device tells entries apart.
        let is_it = !line.trim_start().starts_with('#')
            && fields.get(1) == Some(&path.as_str())
            && (path != "none" || fields.first().copied() == src.map(escaped).as_deref());
        let kept = match (is_it, &wanted) {
            (false, _) => line.to_owned(),
            (true, Some(entry)) => {
                let same = entry.split(' ').eq(fields.iter().copied());
                let kept = if same { line.to_owned() } else { entry.clone() };
                wanted = None;
                kept
            }
            (true, None) => continue,
        };
        out.push_str(&kept);
        out.push('\n');
    }
    if let Some(entry) = wanted {
        out.push_str(&entry);
        out.push('\n');
    }
    out
}

fn is_mounted(mounts: &str, path: &str) -> bool {
    let path = path.replace(' ', "\\040");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(&path))
}

#[cfg(test)]
mod tests {
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn a_file_system_is_mounted_and_taken_away() {
        let bench = Bench::new();
        bench.write("/etc/fstab", "# table\nLABEL=root / ext4 defaults 0 1\n");
        bench.write("/proc/self/mounts", "/dev/vda2 / ext4 rw 0 0\n");
        bench.write("/srv/keep", "");
        bench.program("mount", "for last; do :; done; printf 'x %s nfs rw 0 0\\n' \"$(echo \"$last\" | sed 's/ /\\\\040/')\" >> $ROOT/proc/self/mounts");
        bench.program("umount", "sed -i '/nfs/d' $ROOT/proc/self/mounts");
        bench.converges("mount", json!({"path": "/srv/nfs data", "src": "10.0.0.1:/x", "fstype": "nfs", "state": "mounted"}));
        assert_eq!(
            bench.read("/etc/fstab"),
            "# table\nLABEL=root / ext4 defaults 0 1\n10.0.0.1:/x /srv/nfs\\040data nfs defaults 0 0\n"
        );
        bench.converges(
            "mount",
            json!({"path": "/srv/nfs data", "state": "unmounted"}),
        );
        bench.converges("mount", json!({"path": "/srv/nfs data", "state": "absent"}));
        assert!(!bench.path("/srv/nfs data").exists());
        for device in ["/dev/vdb", "/dev/vdc"] {
            bench.converges("mount", json!({"path": "none", "src": device, "fstype": "swap", "opts": "sw", "boot": false, "state": "present"}));
        }
        assert!(
            bench
                .read("/etc/fstab")
                .ends_with("/dev/vdb none swap sw,noauto 0 0\n/dev/vdc none swap sw,noauto 0 0\n")
        );
        assert!(
            bench
                .run("mount", json!({"path": "/x", "state": "present"}))
                .failed
        );
    }

    #[test]
    fn a_table_of_its_own_is_named_to_mount() {
        let bench = Bench::new();
        bench.write("/mine/fstab", "");
        bench.write("/else/keep", "");
        bench.write("/proc/self/keep", "");
        bench.program("mount", "[ $1 = -T ] && [ $2 = $ROOT/mine/fstab ] && echo 'x /else nfs rw 0 0' >> $ROOT/proc/self/mounts");
        bench.converges("mount", json!({"path": "/else", "src": "10.0.0.1:/y", "fstype": "nfs", "state": "mounted", "fstab": "/mine/fstab"}));
    }
}
