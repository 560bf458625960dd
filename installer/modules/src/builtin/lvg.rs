//! `lvg`: a volume group of LVM and the devices that it is made of.
use std::path::PathBuf;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::{options, words};
use crate::spec::{Arg, Effect, Kind, Module};

pub const LVG: Module = Module::new(
    "lvg",
    "Make or change a volume group",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("vg", Kind::Text, "its name").required(),
    Arg::new("pvs", Kind::List, "its devices; all of them"),
    Arg::new(
        "pesize",
        Kind::Text,
        "size of an extent, in MiB unless a unit is given",
    )
    .default("4"),
    Arg::new("pv_options", Kind::Text, "more arguments for pvcreate").default(""),
    Arg::new("vg_options", Kind::Text, "more arguments for vgcreate").default(""),
    Arg::new("pvresize", Kind::Flag, "grow into devices that have grown").default("false"),
    Arg::new(
        "state",
        Kind::Text,
        "active, inactive: with all its volumes",
    )
    .choices(&["present", "absent", "active", "inactive"])
    .default("present"),
    Arg::new(
        "force",
        Kind::Flag,
        "remove it with its volumes; use devices that hold something",
    )
    .default("false"),
    Arg::new(
        "remove_extra_pvs",
        Kind::Flag,
        "take away devices that are not named",
    )
    .default("true"),
    Arg::new("reset_vg_uuid", Kind::Text, "not supported").choices(&["False", "false", "no"]),
    Arg::new("reset_pv_uuid", Kind::Text, "not supported").choices(&["False", "false", "no"]),
];

struct Wish<'a> {
    vg: &'a str,
    /// As LVM calls them.
    devices: Option<Vec<String>>,
    extent: &'a str,
    pv_options: Vec<String>,
    vg_options: Vec<String>,
    resize: bool,
    force: bool,
    remove_extra: bool,
    state: &'a str,
}

/// What LVM tells.
#[derive(Debug, Default, PartialEq)]
struct Now {
    groups: Vec<Group>,
    devices: Vec<Device>,
    /// Of the group that is meant: how many of its volumes are active, and how many not.
    volumes: (usize, usize),
}

#[derive(Debug, Default, PartialEq)]
struct Group {
    name: String,
    extent_bytes: u64,
}

#[derive(Debug, Default, PartialEq)]
struct Device {
    path: String,
    group: String,
    bytes: u64,
    device_bytes: u64,
    data_begins: u64,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (vg, state) = (args.need("vg"), args.need("state"));
    if !is_name(vg) {
        return Err(Fault::new(format!(
            "`{vg}` is not the name of a volume group"
        )));
    }
    let mut devices = None;
    if let Some(paths) = args.list("pvs") {
        let mut real = Vec::new();
        for path in paths {
            match std::fs::canonicalize(context.path(path)) {
                Ok(found) => real.push(found.display().to_string()),
                // An earlier task may be about to make it.
                Err(_) if context.check || state != "present" => real.push(path.to_owned()),
                Err(_) => return Err(Fault::new(format!("Device {path} not found."))),
            }
        }
        devices = Some(real);
    }
    let wish = Wish {
        vg,
        devices,
        extent: args.need("pesize"),
        pv_options: options("pv_options", args.need("pv_options"))?,
        vg_options: options("vg_options", args.need("vg_options"))?,
        resize: args.flag("pvresize"),
        force: args.flag("force"),
        remove_extra: args.flag("remove_extra_pvs"),
        state,
    };
    let Some(now) = look(context, vg)? else {
        return Ok(TaskResult {
            msg: "LVM is not installed yet".into(),
            ..changed(true)
        });
    };
    let plan = plan(&wish, &now).map_err(Fault::new)?;
    Ok(context
        .carry_out(vg, &plan)?
        .with("vg", vg)
        .with("state", state))
}

/// Whether LVM takes it as a name, and no program as an option.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 127
        && !text.starts_with(['-', '.'])
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+_.-".contains(c))
}

/// One of LVM's reports, in bytes, a row a line, fields parted by `;`. `None` if it cannot be had in check mode.
pub fn report(
    context: &mut Context<'_>,
    program: &str,
    fields: &str,
) -> Result<Option<String>, Fault> {
    let quiet = "LVM_SUPPRESS_FD_WARNINGS";
    // What else the agent has open is not LVM's matter.
    if !context.environment.iter().any(|(name, _)| name == quiet) {
        context.environment.push((quiet.into(), "1".into()));
    }
    let argv = [
        program,
        "--noheadings",
        "--nosuffix",
        "--units",
        "b",
        "--separator",
        ";",
        "-o",
        fields,
    ];
    match context.must(&argv) {
        Ok(text) => Ok(Some(text)),
        Err(Fault::WithData { data, .. })
            if context.check && data.get("rc") == Some(&127.into()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn look(context: &mut Context<'_>, vg: &str) -> Result<Option<Now>, Fault> {
    let Some(groups) = report(context, "vgs", "vg_name,vg_extent_size")? else {
        return Ok(None);
    };
    let fields = "pv_name,vg_name,pv_size,dev_size,pe_start";
    let devices = report(context, "pvs", fields)?.unwrap_or_default();
    let volumes = report(context, "lvs", "vg_name,lv_active")?.unwrap_or_default();
    Ok(Some(parse(vg, &groups, &devices, &volumes)))
}

fn parse(vg: &str, groups: &str, devices: &str, volumes: &str) -> Now {
    let rows = |text: &str| -> Vec<Vec<String>> {
        text.lines()
            .map(|line| {
                line.trim()
                    .split(';')
                    .map(|field| field.trim().to_owned())
                    .collect()
            })
            .collect()
    };
    let mut now = Now::default();
    for row in rows(groups) {
        if let [name, extent] = row.as_slice() {
            now.groups.push(Group {
                name: name.clone(),
                extent_bytes: extent.parse().unwrap_or(0),
            });
        }
    }
    for row in rows(devices) {
        if let [path, group, size, device, begins] = row.as_slice() {
            let number = |text: &String| text.parse().unwrap_or(0);
            now.devices.push(Device {
                path: real(path),
                group: group.clone(),
                bytes: number(size),
                device_bytes: number(device),
                data_begins: number(begins),
            });
        }
    }
    for row in rows(volumes) {
        match row.as_slice() {
            [group, active] if group == vg && active == "active" => now.volumes.0 += 1,
            [group, ..] if group == vg => now.volumes.1 += 1,
            _ => {}
        }
    }
    now
}

/// The same device under the name that the kernel gives it.
fn real(path: &str) -> String {
    std::fs::canonicalize(path)
        .unwrap_or_else(|_| PathBuf::from(path))
        .display()
        .to_string()
}

fn plan(wish: &Wish<'_>, now: &Now) -> Result<Vec<Vec<String>>, String> {
    let vg = wish.vg;
    let group = now.groups.iter().find(|group| group.name == vg);
    match (wish.state, group) {
        ("absent", None) => Ok(Vec::new()),
        ("absent", Some(_)) => {
            if now.volumes != (0, 0) && !wish.force {
                return Err(format!(
                    "Refuse to remove non-empty volume group {vg} without force=true"
                ));
            }
            Ok(vec![words(&["vgremove", "--force", "--yes", vg])])
        }
        ("active" | "inactive", None) => Err(format!("Volume group {vg} does not exist.")),
        ("active", Some(_)) if now.volumes.1 > 0 => {
            Ok(vec![words(&["vgchange", "--activate", "y", vg])])
        }
        ("inactive", Some(_)) if now.volumes.0 > 0 => {
            Ok(vec![words(&["vgchange", "--activate", "n", vg])])
        }
        ("active" | "inactive", Some(_)) => Ok(Vec::new()),
        (_, None) => create(wish, now),
        (_, Some(group)) => change(wish, now, group),
    }
}

/// Makes the devices physical volumes, unless they are, and refuses those of another group.
fn prepare(wish: &Wish<'_>, now: &Now, devices: &[&String]) -> Result<Vec<Vec<String>>, String> {
    let mut plan = Vec::new();
    for path in devices {
        match now.devices.iter().find(|device| device.path == **path) {
            Some(device) if !device.group.is_empty() => {
                return Err(format!(
                    "Device {path} is already in {} volume group.",
                    device.group
                ));
            }
            Some(_) => {}
            None => {
                let mut argv = words(&["pvcreate"]);
                argv.extend(wish.pv_options.iter().cloned());
                if wish.force {
                    argv.extend(words(&["--force", "--force", "--yes"]));
                }
                argv.push((*path).clone());
                plan.push(argv);
            }
        }
    }
    Ok(plan)
}

fn create(wish: &Wish<'_>, now: &Now) -> Result<Vec<Vec<String>>, String> {
    let devices: Vec<&String> = wish.devices.iter().flatten().collect();
    if devices.is_empty() {
        return Err("No physical volumes given.".to_owned());
    }
    let mut plan = prepare(wish, now, &devices)?;
    let mut argv = words(&["vgcreate"]);
    argv.extend(wish.vg_options.iter().cloned());
    argv.extend(words(&["-s", wish.extent, wish.vg]));
    argv.extend(devices.into_iter().cloned());
    plan.push(argv);
    Ok(plan)
}

fn change(wish: &Wish<'_>, now: &Now, group: &Group) -> Result<Vec<Vec<String>>, String> {
    let own: Vec<&Device> = now
        .devices
        .iter()
        .filter(|device| device.group == wish.vg)
        .collect();
    let mut plan = Vec::new();
    if wish.resize {
        for device in &own {
            let room = device
                .device_bytes
                .saturating_sub(device.data_begins + device.bytes);
            if room >= group.extent_bytes.max(1) {
                plan.push(words(&["pvresize", &device.path]));
            }
        }
    }
    let Some(devices) = &wish.devices else {
        return Ok(plan);
    };
    let new: Vec<&String> = devices
        .iter()
        .filter(|path| !own.iter().any(|device| device.path == **path))
        .collect();
    if !new.is_empty() {
        plan.extend(prepare(wish, now, &new)?);
        let mut argv = words(&["vgextend", wish.vg]);
        argv.extend(new.into_iter().cloned());
        plan.push(argv);
    }
    let old: Vec<&str> = own
        .iter()
        .map(|device| device.path.as_str())
        .filter(|path| !devices.iter().any(|wanted| wanted == path))
        .collect();
    if !old.is_empty() && wish.remove_extra {
        plan.push([words(&["vgreduce", wish.vg]), words(&old)].concat());
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;

    /// LVM 2.03.16's answers on a node with one group on two disks.
    const GROUPS: &str = "  data;4194304\n  spare;4194304\n";
    const DEVICES: &str = "  /dev/vdb;data;1069547520;1073741824;1048576\n  /dev/vdc;data;1069547520;2147483648;1048576\n  /dev/vdd;spare;1069547520;1073741824;1048576\n  /dev/vde;;1073741824;1073741824;1048576\n";
    const VOLUMES: &str = "  data;active\n  data;\n";

    #[test]
    fn plans() {
        let now = parse("data", GROUPS, DEVICES, VOLUMES);
        let empty = parse("data", "  data;4194304\n", "", "");
        let wish = |devices: &[&str]| Wish {
            vg: "data",
            devices: (!devices.is_empty()).then(|| words(devices)),
            extent: "4",
            pv_options: Vec::new(),
            vg_options: Vec::new(),
            resize: false,
            force: false,
            remove_extra: true,
            state: "present",
        };
        let state = |state| Wish { state, ..wish(&[]) };
        let nothing = Now::default();
        let cases = [
            ("new", wish(&["/dev/vdb", "/dev/vdc"]), &nothing),
            (
                "new with options",
                Wish {
                    pv_options: words(&["--dataalignment", "1M"]),
                    vg_options: words(&["--maxlogicalvolumes", "8"]),
                    extent: "32",
                    force: true,
                    ..wish(&["/dev/vdb"])
                },
                &nothing,
            ),
            ("new without devices", wish(&[]), &nothing),
            ("there", wish(&["/dev/vdb", "/dev/vdc"]), &now),
            (
                "one more",
                wish(&["/dev/vdb", "/dev/vdc", "/dev/vde"]),
                &now,
            ),
            ("one less", wish(&["/dev/vdb"]), &now),
            (
                "one less, kept",
                Wish {
                    remove_extra: false,
                    ..wish(&["/dev/vdb"])
                },
                &now,
            ),
            ("exchanged", wish(&["/dev/vdb", "/dev/vdf"]), &now),
            ("of another group", wish(&["/dev/vdb", "/dev/vdd"]), &now),
            (
                "grown devices",
                Wish {
                    resize: true,
                    ..wish(&[])
                },
                &now,
            ),
            ("absent with volumes", state("absent"), &now),
            (
                "absent, forced",
                Wish {
                    force: true,
                    ..state("absent")
                },
                &now,
            ),
            ("absent", state("absent"), &empty),
            ("absent already", state("absent"), &nothing),
            ("active", state("active"), &now),
            ("inactive", state("inactive"), &now),
            ("active without volumes", state("active"), &empty),
            ("active, not there", state("active"), &nothing),
        ];
        let text: Vec<String> = cases
            .iter()
            .map(|(name, wish, now)| match plan(wish, now) {
                Ok(plan) => {
                    let lines: Vec<String> = plan.iter().map(|argv| argv.join(" ")).collect();
                    format!("{name}: [{}]", lines.join("; "))
                }
                Err(error) => format!("{name}: error: {error}"),
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn a_group_is_made_once() {
        let bench = Bench::new();
        bench.write("/disk", "");
        for program in ["vgs", "pvs", "lvs"] {
            bench.program(
                program,
                &format!("cat $ROOT/{program}.txt 2>/dev/null || true"),
            );
        }
        bench.program("pvcreate", "echo pvcreate \"$@\" >> $ROOT/calls.log");
        bench.program("vgcreate", "echo \"data;4194304\" > $ROOT/vgs.txt; for last; do :; done; echo \"$last;data;1;1;1\" > $ROOT/pvs.txt");
        bench.program("vgremove", "rm $ROOT/vgs.txt $ROOT/pvs.txt");
        bench.converges("lvg", json!({"vg": "data", "pvs": "/disk"}));
        bench.converges("lvg", json!({"vg": "data", "state": "absent"}));
        assert!(bench.run("lvg", json!({"vg": "-x", "pvs": "/disk"})).failed);
        assert!(
            bench
                .run("lvg", json!({"vg": "data", "pvs": "/none"}))
                .failed
        );
    }
}
