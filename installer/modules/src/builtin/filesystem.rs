//! `filesystem`: what is on a block device: made, grown, or wiped.
//!
//! A device that is in use as something else is left alone unless `force` is said.
use std::os::unix::fs::FileTypeExt;

use agent_protocol::task::TaskResult;

use crate::args::Args;
use crate::context::{Context, Fault, changed};
use crate::process::{options, words};
use crate::spec::{Arg, Effect, Kind, Module};

pub const FILESYSTEM: Module = Module::new(
    "filesystem",
    "Make a file system on a device",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("dev", Kind::Path, "the device, or a file")
        .aliases(&["device"])
        .required(),
    Arg::new("fstype", Kind::Text, "what kind; lvm: a physical volume")
        .aliases(&["type"])
        .choices(&[
            "bcachefs", "btrfs", "ext2", "ext3", "ext4", "ext4dev", "f2fs", "lvm", "ocfs2",
            "reiserfs", "swap", "ufs", "vfat", "xfs",
        ]),
    Arg::new("state", Kind::Text, "absent: the device is wiped")
        .choices(&["present", "absent"])
        .default("present"),
    Arg::new("force", Kind::Flag, "also where there is something else").default("false"),
    Arg::new("resizefs", Kind::Flag, "grow it to the size of its device").default("false"),
    Arg::new(
        "opts",
        Kind::Text,
        "more arguments for the program that makes it",
    ),
    Arg::new("uuid", Kind::Text, "its UUID"),
];

/// What is wished for.
struct Wish<'a> {
    dev: &'a str,
    kind: &'a str,
    force: bool,
    resize: bool,
    options: Vec<String>,
    uuid: Option<&'a str>,
}

/// What is there.
#[derive(Default)]
struct Now<'a> {
    /// As `blkid` calls it; empty: nothing.
    kind: &'a str,
    uuid: &'a str,
    device_bytes: u64,
    /// Of the file system, where that is known.
    bytes: Option<u64>,
    /// Where it is mounted.
    mount: Option<&'a str>,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let name = args.need("dev");
    let path = context.path(name);
    let dev = path.display().to_string();
    let absent = args.need("state") == "absent";
    if !absent && args.text("fstype").is_none() {
        return Err(Fault::new("fstype is required with state=present"));
    }
    let Ok(found) = std::fs::metadata(&path) else {
        return match (absent, context.check) {
            (true, _) => Ok(TaskResult {
                msg: format!("Device {name} not found."),
                ..changed(false)
            }),
            // An earlier task may be about to make it.
            (false, true) => Ok(TaskResult {
                msg: format!("Device {name} is not there yet."),
                ..changed(true)
            }),
            (false, false) => Err(Fault::new(format!("Device {name} not found."))),
        };
    };
    if !found.is_file() && !found.file_type().is_block_device() {
        return Err(Fault::new(format!("{name} is neither a device nor a file")));
    }
    let about = probe(context, &dev)?;
    if absent {
        let plan = match about.kind.is_empty() {
            true => Vec::new(),
            false => vec![words(&["wipefs", "--all", &dev])],
        };
        return context.carry_out(name, &plan);
    }
    let wish = Wish {
        dev: &dev,
        kind: args.need("fstype"),
        force: args.flag("force"),
        resize: args.flag("resizefs"),
        options: options("opts", args.text("opts").unwrap_or_default())?,
        uuid: args.text("uuid"),
    };
    let mounts = std::fs::read_to_string(context.path("/proc/self/mounts")).unwrap_or_default();
    let mut now = Now {
        kind: &about.kind,
        uuid: &about.uuid,
        mount: mount_of(&mounts, &dev),
        ..Now::default()
    };
    if wish.resize && is_same(now.kind, wish.kind) {
        now.device_bytes = match found.is_file() {
            true => found.len(),
            false => number(&context.must(&["blockdev", "--getsize64", &dev])?)?,
        };
        now.bytes = size(context, &wish, &now)?;
    }
    let plan = plan(&wish, &now).map_err(Fault::new)?;
    context.carry_out(name, &plan)
}

struct About {
    kind: String,
    uuid: String,
}

/// What `blkid` reads on the device now, past its cache.
fn probe(context: &mut Context<'_>, dev: &str) -> Result<About, Fault> {
    let output = context.output(&["blkid", "-c", "/dev/null", "-p", "-o", "export", dev])?;
    // Status 2: nothing was recognised. 8: several things at once, which is as good as something.
    let kind = match output.rc {
        0 | 2 => "",
        8 => "ambivalent",
        _ => {
            let msg = format!("`blkid` cannot read {dev}: {}", output.stderr.trim());
            return Err(Fault::new(msg));
        }
    };
    let field = |name: &str| {
        output
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };
    // A partition table is something, too.
    Ok(About {
        kind: field("TYPE").or(field("PTTYPE")).unwrap_or(kind).to_owned(),
        uuid: field("UUID").unwrap_or_default().to_owned(),
    })
}

fn size(context: &mut Context<'_>, wish: &Wish<'_>, now: &Now<'_>) -> Result<Option<u64>, Fault> {
    Ok(match wish.kind {
        "ext2" | "ext3" | "ext4" | "ext4dev" => {
            ext_bytes(&context.must(&["dumpe2fs", "-h", wish.dev])?)
        }
        "xfs" => match now.mount {
            Some(mount) => xfs_bytes(&context.must(&["xfs_info", mount])?),
            None => None,
        },
        "btrfs" => match now.mount {
            Some(mount) => {
                btrfs_bytes(&context.must(&["btrfs", "filesystem", "show", "--raw", mount])?)
            }
            None => None,
        },
        "lvm" => {
            let argv = [
                "pvs",
                "--noheadings",
                "--units",
                "b",
                "--nosuffix",
                "-o",
                "pv_size",
                wish.dev,
            ];
            context.must(&argv)?.trim().parse().ok()
        }
        _ => None,
    })
}

fn number(text: &str) -> Result<u64, Fault> {
    text.trim()
        .parse()
        .map_err(|_| Fault::new(format!("`{}` is no size of a device", text.trim())))
}

/// The commands that make the device what is wished.
fn plan(wish: &Wish<'_>, now: &Now<'_>) -> Result<Vec<Vec<String>>, String> {
    if !is_same(now.kind, wish.kind) {
        if !now.kind.is_empty() && !wish.force {
            return Err(format!(
                "'{}' is already used as {}, use force=true to overwrite",
                wish.dev, now.kind
            ));
        }
        if let Some(mount) = now.mount {
            return Err(format!("'{}' is mounted on {mount}", wish.dev));
        }
        return make(wish).map(|argv| vec![argv]);
    }
    let mut plan = Vec::new();
    if let Some(uuid) = wish
        .uuid
        .filter(|uuid| !uuid.eq_ignore_ascii_case(now.uuid))
    {
        plan.push(renumber(wish, uuid)?);
    }
    if wish.resize {
        plan.extend(grow(wish, now)?);
    }
    Ok(plan)
}

fn is_same(found: &str, kind: &str) -> bool {
    found == kind || matches!((found, kind), ("LVM2_member", "lvm") | ("ext4", "ext4dev"))
}

fn make(wish: &Wish<'_>) -> Result<Vec<String>, String> {
    let mut argv = match wish.kind {
        "ext2" | "ext3" | "ext4" | "ext4dev" => words(&[&format!("mkfs.{}", wish.kind), "-F"]),
        "xfs" => words(&["mkfs.xfs", "-f"]),
        "btrfs" => words(&["mkfs.btrfs", "-f"]),
        "f2fs" => words(&["mkfs.f2fs", "-f"]),
        "bcachefs" => words(&["mkfs.bcachefs", "--force"]),
        "ocfs2" => words(&["mkfs.ocfs2", "-Fx"]),
        "reiserfs" => words(&["mkfs.reiserfs", "-q"]),
        "ufs" => words(&["newfs"]),
        "vfat" => words(&["mkfs.vfat"]),
        "swap" => words(&["mkswap", "-f"]),
        _ => words(&["pvcreate", "-f", "-y"]),
    };
    if let Some(uuid) = wish.uuid {
        argv.extend(match wish.kind {
            "ext2" | "ext3" | "ext4" | "ext4dev" | "btrfs" | "swap" => words(&["-U", uuid]),
            "xfs" => words(&["-m", &format!("uuid={uuid}")]),
            "vfat" => words(&["-i", &uuid.replace('-', "")]),
            "lvm" => words(&["--norestorefile", "--uuid", uuid]),
            other => return Err(format!("uuid is not supported with fstype={other}")),
        });
    }
    argv.extend(wish.options.iter().cloned());
    argv.push(wish.dev.to_owned());
    Ok(argv)
}

fn renumber(wish: &Wish<'_>, uuid: &str) -> Result<Vec<String>, String> {
    Ok(match wish.kind {
        "ext2" | "ext3" | "ext4" | "ext4dev" => words(&["tune2fs", "-U", uuid, wish.dev]),
        "xfs" => words(&["xfs_admin", "-U", uuid, wish.dev]),
        "swap" => words(&["swaplabel", "-U", uuid, wish.dev]),
        "btrfs" => words(&["btrfstune", "-f", "-U", uuid, wish.dev]),
        other => return Err(format!("the uuid of {other} cannot be changed")),
    })
}

fn grow(wish: &Wish<'_>, now: &Now<'_>) -> Result<Option<Vec<String>>, String> {
    // What is smaller than this is the room that a file system leaves at its end.
    let slack = match wish.kind {
        "lvm" => 8 << 20,
        _ => 64 << 10,
    };
    let has_room = now
        .bytes
        .is_some_and(|bytes| bytes.saturating_add(slack) < now.device_bytes);
    Ok(match wish.kind {
        "ext2" | "ext3" | "ext4" | "ext4dev" => has_room.then(|| words(&["resize2fs", wish.dev])),
        "xfs" | "btrfs" => {
            let mount = now.mount.ok_or_else(|| {
                format!("{} grows only while '{}' is mounted", wish.kind, wish.dev)
            })?;
            has_room.then(|| match wish.kind {
                "xfs" => words(&["xfs_growfs", mount]),
                _ => words(&["btrfs", "filesystem", "resize", "max", mount]),
            })
        }
        "lvm" => has_room.then(|| words(&["pvresize", wish.dev])),
        other => return Err(format!("resizefs is not supported with fstype={other}")),
    })
}

fn ext_bytes(text: &str) -> Option<u64> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    field("Block count:")?.checked_mul(field("Block size:")?)
}

/// From the line `data = bsize=4096 blocks=131072, imaxpct=25`.
fn xfs_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("data"))?;
    let field = |name: &str| {
        line.split(['=', ' ', ','])
            .filter(|word| !word.is_empty())
            .skip_while(|word| *word != name)
            .nth(1)?
            .parse::<u64>()
            .ok()
    };
    field("bsize")?.checked_mul(field("blocks")?)
}

fn btrfs_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("devid"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "size")?;
    words.next()?.parse().ok()
}

fn mount_of<'a>(mounts: &'a str, dev: &str) -> Option<&'a str> {
    let real = std::fs::canonicalize(dev).ok();
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let source = fields.next()?;
        let same = source == dev
            || (source.starts_with("/dev/")
                && real.is_some()
                && std::fs::canonicalize(source).ok() == real);
        same.then(|| fields.next()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::Bench;
    use serde_json::json;

    #[test]
    fn plans() {
        let wish = |kind| Wish {
            dev: "/dev/vdb",
            kind,
            force: false,
            resize: false,
            options: Vec::new(),
            uuid: None,
        };
        let resize = |kind| Wish {
            resize: true,
            ..wish(kind)
        };
        let is = |kind| Now {
            kind,
            ..Now::default()
        };
        let room = |kind, mount| Now {
            device_bytes: 2 << 30,
            bytes: Some(1 << 30),
            mount,
            ..is(kind)
        };
        let full = |kind| Now {
            device_bytes: 1 << 30,
            bytes: Some(1 << 30),
            ..is(kind)
        };
        let uuid = Some("0b4c6e5e-0000-4000-8000-000000000001");
        let cases = [
            ("ext4 on nothing", wish("ext4"), is("")),
            ("ext4 there", wish("ext4"), is("ext4")),
            ("xfs over ext4", wish("xfs"), is("ext4")),
            (
                "xfs over ext4, forced",
                Wish {
                    force: true,
                    ..wish("xfs")
                },
                is("ext4"),
            ),
            (
                "forced, but mounted",
                Wish {
                    force: true,
                    ..wish("xfs")
                },
                Now {
                    mount: Some("/srv"),
                    ..is("ext4")
                },
            ),
            ("over a partition table", wish("ext4"), is("gpt")),
            (
                "options and uuid",
                Wish {
                    options: words(&["-m", "0"]),
                    uuid,
                    ..wish("ext4")
                },
                is(""),
            ),
            (
                "xfs with uuid",
                Wish {
                    uuid,
                    ..wish("xfs")
                },
                is(""),
            ),
            (
                "another uuid",
                Wish {
                    uuid,
                    ..wish("ext4")
                },
                is("ext4"),
            ),
            ("physical volume", wish("lvm"), is("")),
            ("physical volume there", wish("lvm"), is("LVM2_member")),
            ("swap", wish("swap"), is("")),
            (
                "vfat",
                Wish {
                    uuid: Some("ABCD-0123"),
                    ..wish("vfat")
                },
                is(""),
            ),
            ("grow ext4", resize("ext4"), room("ext4", None)),
            ("grow ext4 that is full", resize("ext4"), full("ext4")),
            ("grow xfs", resize("xfs"), room("xfs", Some("/srv"))),
            (
                "grow xfs that is not mounted",
                resize("xfs"),
                room("xfs", None),
            ),
            ("grow btrfs", resize("btrfs"), room("btrfs", Some("/srv"))),
            (
                "grow a physical volume",
                resize("lvm"),
                room("LVM2_member", None),
            ),
            ("grow swap", resize("swap"), is("swap")),
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
    fn sizes_are_read() {
        assert_eq!(
            ext_bytes("Block count:              256\nBlock size:               1024\n"),
            Some(262_144)
        );
        let xfs = "meta-data=/dev/vdb  isize=512    agcount=4, agsize=65536 blks\ndata     =                       bsize=4096   blocks=262144, imaxpct=25\n";
        assert_eq!(xfs_bytes(xfs), Some(1 << 30));
        let btrfs = "Label: none  uuid: x\n\tTotal devices 1 FS bytes used 147456\n\tdevid    1 size 1073741824 used 126222336 path /dev/vdb\n";
        assert_eq!(btrfs_bytes(btrfs), Some(1 << 30));
        assert_eq!(
            mount_of("/dev/vdb /srv ext4 rw 0 0\n", "/dev/vdb"),
            Some("/srv")
        );
    }

    #[test]
    fn a_real_file_system_is_made_grown_and_wiped() {
        if !["mkfs.ext4", "blkid", "dumpe2fs"]
            .iter()
            .all(|program| crate::builtin::testing::has(program))
        {
            return eprintln!("skipped: e2fsprogs or blkid is not there");
        }
        let bench = Bench::new();
        let disk = std::fs::File::create(bench.path("/disk")).unwrap();
        disk.set_len(4 << 20).unwrap();
        let args = json!({"dev": "/disk", "fstype": "ext4", "opts": "-q -m 0"});
        bench.converges("filesystem", args);
        let other = bench.run("filesystem", json!({"dev": "/disk", "fstype": "vfat"}));
        assert!(other.msg.contains("already used as ext4"), "{other:?}");
        disk.set_len(8 << 20).unwrap();
        bench.converges(
            "filesystem",
            json!({"dev": "/disk", "fstype": "ext4", "resizefs": true}),
        );
        bench.converges("filesystem", json!({"dev": "/disk", "state": "absent"}));
        bench.converges("filesystem", json!({"dev": "/disk", "fstype": "swap"}));
    }

    #[test]
    fn wrong_devices_are_refused() {
        let bench = Bench::new();
        let none = bench.run("filesystem", json!({"dev": "/none", "fstype": "ext4"}));
        assert_eq!(none.msg, "Device /none not found.");
        assert!(
            !bench
                .run("filesystem", json!({"dev": "/none", "state": "absent"}))
                .failed
        );
        assert!(
            bench
                .run("filesystem", json!({"dev": "/", "fstype": "ext4"}))
                .failed
        );
        assert!(bench.run("filesystem", json!({"dev": "/none"})).failed);
    }
}
