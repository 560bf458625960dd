//! `lvol`: a logical volume of LVM, a snapshot, or a thin pool.
use agent_protocol::task::TaskResult;

use super::lvg::{is_name, report};
use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::{options, words};
use crate::spec::{Arg, Effect, Kind, Module};
use crate::text::lvm::{Size, size};

pub const LVOL: Module = Module::new(
    "lvol",
    "Make, resize or remove a logical volume",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("vg", Kind::Text, "its volume group").required(),
    Arg::new("lv", Kind::Text, "its name"),
    Arg::new(
        "size",
        Kind::Text,
        "in MiB or with a unit; 50%VG, 100%FREE; +: more than it has",
    ),
    Arg::new("state", Kind::Text, "whether it is to be there")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("active", Kind::Flag, "whether it can be used").default("true"),
    Arg::new("force", Kind::Flag, "remove it, or make it smaller").default("false"),
    Arg::new("opts", Kind::Text, "more arguments for lvcreate"),
    Arg::new("snapshot", Kind::Text, "name of a snapshot of lv"),
    Arg::new(
        "thinpool",
        Kind::Text,
        "a pool; alone it is made, with lv it holds that",
    ),
    Arg::new("pvs", Kind::List, "devices that it is to lie on"),
    Arg::new("shrink", Kind::Flag, "size may be less than it has").default("true"),
    Arg::new("resizefs", Kind::Flag, "with what is on it").default("false"),
];

struct Wish<'a> {
    vg: &'a str,
    lv: Option<&'a str>,
    size: Option<Size>,
    absent: bool,
    active: bool,
    force: bool,
    options: Vec<String>,
    snapshot: Option<&'a str>,
    thinpool: Option<&'a str>,
    devices: Vec<&'a str>,
    shrink: bool,
    resize_content: bool,
}

#[derive(Debug, Default, PartialEq)]
struct Now {
    group: Option<Group>,
    volumes: Vec<Volume>,
}

#[derive(Debug, Default, PartialEq)]
struct Group {
    bytes: u64,
    free: u64,
    extent: u64,
}

#[derive(Debug, Default, PartialEq)]
struct Volume {
    name: String,
    bytes: u64,
    active: bool,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let vg = args.need("vg");
    let names = ["vg", "lv", "snapshot", "thinpool"].map(|name| args.text(name));
    if let Some(name) = names.into_iter().flatten().find(|name| !is_name(name)) {
        return Err(Fault::new(format!("`{name}` is not a name of LVM's")));
    }
    if args.text("lv").is_none() && args.text("thinpool").is_none() {
        return Err(Fault::new("one of the following is required: lv, thinpool"));
    }
    let wish = Wish {
        vg,
        lv: args.text("lv"),
        size: args
            .text("size")
            .map(size)
            .transpose()
            .map_err(Fault::new)?,
        absent: args.need("state") == "absent",
        active: args.flag("active"),
        force: args.flag("force"),
        options: options("opts", args.text("opts").unwrap_or_default())?,
        snapshot: args.text("snapshot"),
        thinpool: args.text("thinpool"),
        devices: args.list("pvs").unwrap_or_default(),
        shrink: args.flag("shrink"),
        resize_content: args.flag("resizefs"),
    };
    let groups = report(context, "vgs", "vg_name,vg_size,vg_free,vg_extent_size")?;
    let Some(groups) = groups else {
        return Ok(TaskResult {
            msg: "LVM is not installed yet".into(),
            ..changed(true)
        });
    };
    let volumes = report(context, "lvs", "vg_name,lv_name,lv_size,lv_active")?.unwrap_or_default();
    let now = parse(vg, &groups, &volumes);
    if now.group.is_none() {
        return match (wish.absent, context.check) {
            (true, _) => Ok(TaskResult {
                msg: format!("Volume group {vg} does not exist."),
                ..changed(false)
            }),
            // An earlier task may be about to make it.
            (false, true) => Ok(TaskResult {
                msg: format!("Volume group {vg} is not there yet."),
                ..changed(true)
            }),
            (false, false) => Err(Fault::new(format!("Volume group {vg} does not exist."))),
        };
    }
    let plan = plan(&wish, &now).map_err(Fault::new)?;
    let name = wish.name();
    Ok(context
        .carry_out(&format!("{vg}/{name}"), &plan)?
        .with("vg", vg)
        .with("lv", name))
}

impl Wish<'_> {
    /// Of what is made or removed.
    fn name(&self) -> &str {
        self.snapshot
            .or(self.lv)
            .or(self.thinpool)
            .unwrap_or_default()
    }
}

fn parse(vg: &str, groups: &str, volumes: &str) -> Now {
    let rows = |text: &str| -> Vec<Vec<String>> {
        text.lines()
            .map(|line| {
                line.trim()
                    .split(';')
                    .map(|field| field.trim().to_owned())
                    .collect()
            })
            .filter(|row: &Vec<String>| row[0] == vg)
            .collect()
    };
    let number = |text: &String| text.parse().unwrap_or(0);
    let group = rows(groups).into_iter().find(|row| row.len() == 4);
    Now {
        group: group.map(|row| Group {
            bytes: number(&row[1]),
            free: number(&row[2]),
            extent: number(&row[3]).max(1),
        }),
        volumes: rows(volumes)
            .iter()
            .filter(|row| row.len() == 4)
            .map(|row| Volume {
                name: row[1].clone(),
                bytes: number(&row[2]),
                active: row[3] == "active",
            })
            .collect(),
    }
}

fn plan(wish: &Wish<'_>, now: &Now) -> Result<Vec<Vec<String>>, String> {
    let (vg, name) = (wish.vg, wish.name());
    let full = format!("{vg}/{name}");
    let found = now.volumes.iter().find(|volume| volume.name == name);
    if wish.absent {
        return match found {
            None => Ok(Vec::new()),
            Some(_) if !wish.force => Err(format!(
                "Sorry, no removal of logical volume {name} without force=true."
            )),
            Some(_) => Ok(vec![words(&["lvremove", "--force", "--yes", &full])]),
        };
    }
    let Some(volume) = found else {
        return create(wish, now).map(|argv| vec![argv]);
    };
    let mut plan = Vec::new();
    // What a snapshot was given once is its origin's matter afterwards.
    if wish.snapshot.is_none()
        && let Some(size) = &wish.size
    {
        plan.extend(resize(wish, now, volume, size)?);
    }
    if wish.snapshot.is_none() && volume.active != wish.active {
        let switch = if wish.active { "-ay" } else { "-an" };
        plan.push(words(&["lvchange", switch, &full]));
    }
    Ok(plan)
}

fn create(wish: &Wish<'_>, now: &Now) -> Result<Vec<String>, String> {
    let vg = wish.vg;
    let size = |wish: &Wish<'_>| {
        let size = wish.size.as_ref().ok_or("No size given.")?;
        match size.sign() {
            // More than nothing is all the same.
            Some('+') | None => Ok(size.option(false)),
            Some(_) => Err("Bad size specification of '-' for a volume that is not there"),
        }
    };
    let mut argv = words(&["lvcreate", "--yes"]);
    match (wish.snapshot, wish.lv, wish.thinpool) {
        (Some(snapshot), Some(lv), _) => {
            if !now.volumes.iter().any(|volume| volume.name == lv) {
                return Err(format!(
                    "Snapshot origin LV {lv} does not exist in volume group {vg}."
                ));
            }
            argv.extend(words(&["-n", snapshot, "-s"]));
            // A thin volume's snapshot has no size.
            if wish.size.is_some() {
                argv.extend(size(wish)?);
            }
            argv.extend(wish.options.iter().cloned());
            argv.push(format!("{vg}/{lv}"));
        }
        (Some(_), None, _) => return Err("lv is required with snapshot".to_owned()),
        (None, Some(lv), Some(pool)) => {
            if !now.volumes.iter().any(|volume| volume.name == pool) {
                return Err(format!(
                    "Thin pool LV {pool} does not exist in volume group {vg}."
                ));
            }
            let Some(Size::Bytes { text, .. }) = &wish.size else {
                return Err("Thin volume sizing with percentage not supported.".to_owned());
            };
            argv.extend(words(&["-n", lv, "-V", text]));
            argv.extend(wish.options.iter().cloned());
            argv.extend(words(&["-T", &format!("{vg}/{pool}")]));
        }
        (None, None, Some(pool)) => {
            argv.extend(size(wish)?);
            argv.extend(wish.options.iter().cloned());
            argv.extend(words(&["-T", &format!("{vg}/{pool}")]));
            argv.extend(words(&wish.devices));
        }
        (None, Some(lv), None) => {
            argv.extend(words(&["-n", lv]));
            argv.extend(size(wish)?);
            argv.extend(wish.options.iter().cloned());
            if !wish.active {
                argv.extend(words(&["-an", "-Zn", "-Wn"]));
            }
            argv.push(vg.to_owned());
            argv.extend(words(&wish.devices));
        }
        (None, None, None) => return Err("lv or thinpool is required".to_owned()),
    }
    Ok(argv)
}

fn resize(
    wish: &Wish<'_>,
    now: &Now,
    volume: &Volume,
    size: &Size,
) -> Result<Option<Vec<String>>, String> {
    let group = now.group.as_ref().ok_or("the volume group is gone")?;
    let name = &volume.name;
    let only_grows = matches!(size, Size::Share { of, sign: None, .. } if of == "FREE");
    let asked = match size {
        Size::Bytes { bytes, .. } => *bytes,
        Size::Share { percent, of, .. } => {
            let whole = match of.as_str() {
                "FREE" => group.free,
                _ => group.bytes,
            };
            (u128::from(whole) * u128::from(*percent) / 100) as u64
        }
    };
    let wanted = match size.sign() {
        Some('+') => volume.bytes.saturating_add(asked),
        Some(_) => volume.bytes.saturating_sub(asked),
        None => asked,
    };
    // LVM makes whole extents: of a size it takes more, of a share less.
    let wanted = match size {
        Size::Bytes { .. } => wanted.div_ceil(group.extent).saturating_mul(group.extent),
        Size::Share { .. } => wanted - wanted % group.extent,
    };
    let mut argv = if wanted > volume.bytes {
        if group.free == 0 || (size.sign().is_none() && wanted - volume.bytes > group.free) {
            return Err(format!(
                "Logical Volume {name} could not be extended. Not enough free space left ({} bytes required / {} bytes available)",
                wanted - volume.bytes,
                group.free
            ));
        }
        words(&["lvextend"])
    } else if wanted < volume.bytes && wish.shrink && !only_grows {
        if wanted == 0 {
            return Err(format!("Sorry, no shrinking of {name} to 0 permitted."));
        }
        if !wish.force {
            return Err(format!("Sorry, no shrinking of {name} without force=true."));
        }
        words(&["lvreduce", "--force"])
    } else {
        return Ok(None);
    };
    if wish.resize_content {
        argv.push("--resizefs".into());
    }
    argv.extend(size.option(true));
    argv.push(format!("{}/{name}", wish.vg));
    argv.extend(words(&wish.devices));
    Ok(Some(argv))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;

    /// LVM 2.03.16's answers: a group of 1020 MiB, 508 of them free.
    const GROUPS: &str = "  data;1069547520;532676608;4194304\n  other;1;1;1\n";
    const VOLUMES: &str = "  data;root;536870912;active\n  data;pool;4194304;active\n  data;off;4194304;\n  other;x;1;active\n";

    #[test]
    fn plans() {
        let now = parse("data", GROUPS, VOLUMES);
        let full = Now {
            group: Some(Group {
                bytes: 1_069_547_520,
                free: 0,
                extent: 4 << 20,
            }),
            volumes: vec![Volume {
                name: "root".into(),
                bytes: 1_069_547_520,
                active: true,
            }],
        };
        let wish = |lv, text: &str| Wish {
            vg: "data",
            lv: Some(lv),
            size: (!text.is_empty()).then(|| size(text).unwrap()),
            absent: false,
            active: true,
            force: false,
            options: Vec::new(),
            snapshot: None,
            thinpool: None,
            devices: Vec::new(),
            shrink: true,
            resize_content: false,
        };
        let absent = |lv, force| Wish {
            absent: true,
            force,
            ..wish(lv, "")
        };
        let cases = [
            ("new, MiB", wish("log", "256"), &now),
            ("new, with a unit", wish("log", "1g"), &now),
            ("new, a share", wish("log", "100%FREE"), &now),
            (
                "new, with options",
                Wish {
                    options: words(&["-m", "1"]),
                    devices: vec!["/dev/vdb"],
                    ..wish("log", "50%VG")
                },
                &now,
            ),
            (
                "new, not active",
                Wish {
                    active: false,
                    ..wish("log", "4")
                },
                &now,
            ),
            ("new, without size", wish("log", ""), &now),
            ("there", wish("root", "512"), &now),
            ("there, rounded up", wish("root", "510"), &now),
            ("there, no size", wish("root", ""), &now),
            (
                "grow",
                Wish {
                    resize_content: true,
                    ..wish("root", "600m")
                },
                &now,
            ),
            ("grow by", wish("root", "+100%FREE"), &now),
            ("grow to a share", wish("root", "80%VG"), &now),
            ("grow too far", wish("root", "2g"), &now),
            (
                "all that is free, once more",
                wish("root", "100%FREE"),
                &full,
            ),
            ("shrink", wish("root", "100m"), &now),
            (
                "shrink, forced",
                Wish {
                    force: true,
                    ..wish("root", "100m")
                },
                &now,
            ),
            (
                "shrink by",
                Wish {
                    force: true,
                    ..wish("root", "-50%VG")
                },
                &now,
            ),
            (
                "shrink, not wanted",
                Wish {
                    shrink: false,
                    ..wish("root", "100m")
                },
                &now,
            ),
            ("switch on", wish("off", ""), &now),
            (
                "switch off",
                Wish {
                    active: false,
                    ..wish("root", "")
                },
                &now,
            ),
            (
                "pool",
                Wish {
                    lv: None,
                    thinpool: Some("new"),
                    ..wish("", "200m")
                },
                &now,
            ),
            (
                "thin volume",
                Wish {
                    thinpool: Some("pool"),
                    ..wish("thin", "10g")
                },
                &now,
            ),
            (
                "thin volume without pool",
                Wish {
                    thinpool: Some("none"),
                    ..wish("thin", "10g")
                },
                &now,
            ),
            (
                "snapshot",
                Wish {
                    snapshot: Some("before"),
                    ..wish("root", "64m")
                },
                &now,
            ),
            (
                "thin snapshot",
                Wish {
                    snapshot: Some("before"),
                    ..wish("root", "")
                },
                &now,
            ),
            (
                "snapshot of nothing",
                Wish {
                    snapshot: Some("before"),
                    ..wish("none", "64m")
                },
                &now,
            ),
            ("remove", absent("root", false), &now),
            ("remove, forced", absent("root", true), &now),
            ("removed already", absent("none", false), &now),
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
    fn a_volume_is_made_once() {
        let bench = Bench::new();
        bench.write("/vgs.txt", "data;1069547520;532676608;4194304\n");
        bench.program("vgs", "cat $ROOT/vgs.txt");
        bench.program("lvs", "cat $ROOT/lvs.txt 2>/dev/null || true");
        bench.program(
            "lvcreate",
            "echo 'data;log;268435456;active' > $ROOT/lvs.txt",
        );
        bench.program("lvremove", "rm $ROOT/lvs.txt");
        bench.converges("lvol", json!({"vg": "data", "lv": "log", "size": 256}));
        bench.converges(
            "lvol",
            json!({"vg": "data", "lv": "log", "state": "absent", "force": true}),
        );
        for args in [
            json!({"vg": "none", "lv": "log", "size": 256}),
            json!({"vg": "data", "size": 256}),
            json!({"vg": "data", "lv": "../x", "size": 256}),
            json!({"vg": "data", "lv": "log", "size": "much"}),
        ] {
            assert!(bench.run("lvol", args).failed);
        }
    }
}
