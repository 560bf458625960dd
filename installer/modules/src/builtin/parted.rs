//! `parted`: the partitions of a disk.
//!
//! A disk that has a partition table of another kind with partitions in it is not given a new one: that would
//! lose them all.
use agent_protocol::task::TaskResult;
use serde_json::{Value, json};

use crate::args::Args;
use crate::context::{Context, Fault, With, changed};
use crate::process::words;
use crate::spec::{Arg, Effect, Kind, Module};

pub const PARTED: Module = Module::new(
    "parted",
    "Make or remove a partition",
    Effect::Converges,
    ARGS,
    run,
);

const ARGS: &[Arg] = &[
    Arg::new("device", Kind::Path, "the disk").required(),
    Arg::new("number", Kind::Int, "of the partition"),
    Arg::new("state", Kind::Text, "info: only tell what is there")
        .choices(&["absent", "present", "info"])
        .default("info"),
    Arg::new("label", Kind::Text, "kind of partition table")
        .choices(&[
            "aix", "amiga", "bsd", "dvh", "gpt", "loop", "mac", "msdos", "pc98", "sun",
        ])
        .default("msdos"),
    Arg::new("part_type", Kind::Text, "kind of partition")
        .choices(&["extended", "logical", "primary"])
        .default("primary"),
    Arg::new("part_start", Kind::Text, "where it begins, with a unit").default("0%"),
    Arg::new("part_end", Kind::Text, "where it ends, with a unit").default("100%"),
    Arg::new("name", Kind::Text, "its name in the table"),
    Arg::new("flags", Kind::List, "its flags, all of them"),
    Arg::new(
        "fs_type",
        Kind::Text,
        "what it is to hold, as a hint to parted",
    ),
    Arg::new(
        "resize",
        Kind::Flag,
        "move the end of a partition that is there",
    )
    .default("false"),
    Arg::new("align", Kind::Text, "of beginnings and ends")
        .choices(&["cylinder", "minimal", "none", "optimal", "undefined"])
        .default("optimal"),
    Arg::new("unit", Kind::Text, "in which sizes are told")
        .choices(&[
            "s", "B", "KB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB", "%", "cyl", "chs",
            "compact",
        ])
        .default("KiB"),
];

/// A partition that ends this near to where it is wished to end is there.
const END_SLACK_BYTES: u64 = 2 << 20;

struct Wish<'a> {
    number: i64,
    label: &'a str,
    part_type: &'a str,
    fs_type: Option<&'a str>,
    start: &'a str,
    end: &'a str,
    name: Option<&'a str>,
    flags: Option<Vec<&'a str>>,
    resize: bool,
}

/// What parted tells of a disk.
#[derive(Debug, Default, PartialEq)]
struct Disk {
    bytes: u64,
    logical: u64,
    physical: u64,
    /// Empty: none.
    table: String,
    model: String,
    partitions: Vec<Partition>,
}

#[derive(Debug, Default, PartialEq)]
struct Partition {
    number: i64,
    begin: u64,
    end: u64,
    size: u64,
    fs_type: String,
    name: String,
    flags: Vec<String>,
}

fn run(context: &mut Context<'_>, args: &Args) -> Result<TaskResult, Fault> {
    let (name, state) = (args.need("device"), args.need("state"));
    let device = context.path(name).display().to_string();
    let number = match (state, args.int("number")) {
        ("info", number) => number.unwrap_or(0),
        (_, Some(number)) if (1..=256).contains(&number) => number,
        (_, Some(number)) => {
            return Err(Fault::new(format!("number must be 1 to 256, not {number}")));
        }
        (_, None) => return Err(Fault::new(format!("number is required with state={state}"))),
    };
    for argument in ["part_start", "part_end"] {
        let text = args.need(argument);
        if place(text).is_none() {
            let msg =
                format!("{argument} must be a number with a unit such as 10GiB or 50%, not {text}");
            return Err(Fault::new(msg));
        }
    }
    if context.check && !context.path(name).exists() {
        // An earlier task may be about to make it.
        return Ok(TaskResult {
            msg: format!("{name} is not there yet"),
            ..changed(state != "info")
        });
    }
    let disk = look(context, &device)?;
    let wish = Wish {
        number,
        label: args.need("label"),
        part_type: args.need("part_type"),
        fs_type: args.text("fs_type"),
        start: args.need("part_start"),
        end: args.need("part_end"),
        name: args.text("name"),
        flags: args.list("flags"),
        resize: args.flag("resize"),
    };
    let script = match state {
        "present" => present(&wish, &disk).map_err(Fault::new)?,
        "absent" if disk.partitions.iter().any(|part| part.number == number) => {
            words(&["rm", &number.to_string()])
        }
        _ => Vec::new(),
    };
    let plan = match script.is_empty() {
        true => Vec::new(),
        false => {
            let mut argv = words(&[
                "parted",
                "-s",
                "-m",
                "-a",
                args.need("align"),
                &device,
                "--",
            ]);
            // A unit that parted takes for numbers without one.
            argv.extend(words(&["unit", "KiB"]));
            argv.extend(script.iter().cloned());
            vec![argv]
        }
    };
    let mut result = context.carry_out(name, &plan)?;
    let mut disk = disk;
    if result.changed && !context.check {
        // The kernel's names of partitions appear through udev, and the next task uses them.
        if context.is_live() {
            let _ = context.output(&["udevadm", "settle", "--timeout=30"]);
        }
        disk = look(context, &device)?;
    }
    let info = info(&disk, name, args.need("unit"), &script);
    for (key, value) in info {
        result = result.with(key, value);
    }
    Ok(result)
}

fn look(context: &mut Context<'_>, device: &str) -> Result<Disk, Fault> {
    let output = context.output(&["parted", "-s", "-m", device, "--", "unit", "B", "print"])?;
    // A disk without a table is told of by an error, and described all the same.
    if output.rc != 0 && !output.stderr.contains("unrecognised disk label") {
        let said = [output.stderr.trim(), output.stdout.trim()].join(" ");
        return Err(Fault::WithData {
            msg: format!("`parted` cannot read {device}: {}", said.trim()),
            data: output.data(),
        });
    }
    let text = format!("{}\n{}", output.stdout, output.stderr);
    parse(&text).ok_or_else(|| {
        let said = text.trim();
        Fault::new(format!(
            "what parted says of {device} is not understood: {said}"
        ))
    })
}

/// Reads parted's machine-readable lines, sizes in bytes.
fn parse(text: &str) -> Option<Disk> {
    let mut disk: Option<Disk> = None;
    for line in text.lines() {
        let Some(line) = line.trim().strip_suffix(';') else {
            continue;
        };
        let fields: Vec<&str> = line.split(':').collect();
        let bytes = |text: &str| text.strip_suffix('B')?.parse::<u64>().ok();
        match (fields.as_slice(), &mut disk) {
            ([path, size, _, logical, physical, table, model, ..], None)
                if path.starts_with('/') =>
            {
                disk = Some(Disk {
                    bytes: bytes(size)?,
                    logical: logical.parse().ok()?,
                    physical: physical.parse().ok()?,
                    table: if *table == "unknown" { "" } else { table }.to_owned(),
                    model: (*model).to_owned(),
                    partitions: Vec::new(),
                });
            }
            ([number, begin, end, size, fs_type, name, flags], Some(disk)) => {
                disk.partitions.push(Partition {
                    number: number.parse().ok()?,
                    begin: bytes(begin)?,
                    end: bytes(end)?,
                    size: bytes(size)?,
                    fs_type: (*fs_type).to_owned(),
                    name: (*name).to_owned(),
                    flags: flags
                        .split(',')
                        .map(|flag| flag.trim().to_owned())
                        .filter(|flag| !flag.is_empty())
                        .collect(),
                });
            }
            _ => {}
        }
    }
    disk
}

/// The commands for parted that make the partition what is wished.
fn present(wish: &Wish<'_>, disk: &Disk) -> Result<Vec<String>, String> {
    let mut script = Vec::new();
    let number = wish.number.to_string();
    let new_table = disk.table != wish.label;
    if new_table {
        if !disk.partitions.is_empty() {
            return Err(format!(
                "the disk has {} partitions in a table of kind {}, not {}: say label={}, or wipe the disk first",
                disk.partitions.len(),
                disk.table,
                wish.label,
                disk.table
            ));
        }
        script.extend(words(&["mklabel", wish.label]));
    }
    let now = disk
        .partitions
        .iter()
        .find(|part| part.number == wish.number);
    match now {
        None => {
            script.push("mkpart".into());
            // A table with names takes one in this place, and the kinds are no names.
            let place = match (wish.label, wish.name) {
                ("gpt", Some(name)) => quoted(name),
                _ => wish.part_type.to_owned(),
            };
            script.push(place);
            script.extend(wish.fs_type.map(str::to_owned));
            script.extend(words(&[wish.start, wish.end]));
        }
        Some(now) if wish.resize => {
            let wanted = offset(wish.end, disk.bytes)
                .ok_or_else(|| format!("part_end={} cannot be compared", wish.end))?;
            if wanted.abs_diff(now.end) > END_SLACK_BYTES {
                script.extend(words(&["resizepart", &number, wish.end]));
            }
        }
        Some(_) => {}
    }
    if let Some(name) = wish.name
        && wish.label != "msdos"
        && now.map_or(wish.label != "gpt", |now| now.name != name)
    {
        script.extend([words(&["name", &number]), vec![quoted(name)]].concat());
    }
    if let Some(flags) = &wish.flags {
        let empty = Vec::new();
        let has = now.map_or(&empty, |now| &now.flags);
        for flag in flags
            .iter()
            .filter(|flag| !has.iter().any(|now| now == *flag))
        {
            script.extend(words(&["set", &number, flag, "on"]));
        }
        for flag in has.iter().filter(|flag| !flags.contains(&flag.as_str())) {
            // parted tells these of its own accord beside the flag that brings them.
            let comes_along = (flag == "boot" && flags.contains(&"esp") && wish.label == "gpt")
                || (flag == "esp" && flags.contains(&"boot") && wish.label == "gpt")
                || (flag == "lba" && wish.label == "msdos");
            if !comes_along {
                script.extend(words(&["set", &number, flag, "off"]));
            }
        }
    }
    Ok(script)
}

/// parted parts its arguments at blanks once more.
fn quoted(name: &str) -> String {
    format!("'{}'", name.replace(['\'', '\\'], ""))
}

/// A number and its unit; `None` for what parted would not understand.
fn place(text: &str) -> Option<(f64, &str)> {
    const UNITS: [&str; 13] = [
        "", "s", "B", "KB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB", "%", "cyl",
    ];
    let text = text.trim();
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-')
        .unwrap_or(text.len());
    let number: f64 = text[..at].parse().ok()?;
    let unit = text[at..].trim();
    UNITS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(unit))
        .then_some((number, unit))
}

/// The byte on the disk that is meant; from its end if negative.
fn offset(text: &str, disk_bytes: u64) -> Option<u64> {
    let (number, unit) = place(text)?;
    let bytes = match unit.to_ascii_lowercase().as_str() {
        "%" => number / 100.0 * disk_bytes as f64,
        "" => number * 1024.0,
        _ => number * factor(unit)?,
    };
    let bytes = if text.trim().starts_with('-') {
        disk_bytes as f64 + bytes
    } else {
        bytes
    };
    (0.0..=disk_bytes as f64)
        .contains(&bytes)
        .then_some(bytes as u64)
}

fn factor(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "s" => 512.0,
        "b" => 1.0,
        "kb" => 1e3,
        "kib" => 1024.0,
        "mb" => 1e6,
        "mib" => f64::from(1 << 20),
        "gb" => 1e9,
        "gib" => f64::from(1 << 30),
        "tb" => 1e12,
        "tib" => 1024.0 * f64::from(1 << 30),
        _ => return None,
    })
}

/// Ansible's fields, in the unit that was asked for.
fn info(disk: &Disk, device: &str, unit: &str, script: &[String]) -> [(&'static str, Value); 3] {
    // Cylinders belong to disks of another age.
    let (unit, factor) = match factor(unit) {
        Some(factor) => (unit, factor),
        None => ("KiB", 1024.0),
    };
    let told = |bytes: u64| {
        let value = bytes as f64 / factor;
        let rounded = (value * 100.0).round() / 100.0;
        match rounded.fract() == 0.0 {
            true => Value::from(rounded as u64),
            false => Value::from(rounded),
        }
    };
    let unit = unit.to_lowercase();
    let partitions: Vec<Value> = disk
        .partitions
        .iter()
        .map(|part| {
            json!({
                "num": part.number, "begin": told(part.begin), "end": told(part.end),
                "size": told(part.size), "fstype": part.fs_type, "name": part.name,
                "flags": part.flags, "unit": unit,
            })
        })
        .collect();
    let about = json!({
        "dev": device, "size": told(disk.bytes), "unit": unit, "model": disk.model,
        "table": if disk.table.is_empty() { "unknown" } else { &disk.table },
        "logical_block": disk.logical, "physical_block": disk.physical,
    });
    [
        ("disk", about),
        ("partitions", partitions.into()),
        ("script", script.join(" ").into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::testing::{Bench, has};

    /// What parted 3.5 said of a disk of a node.
    const GPT: &str = "BYT;\n/dev/vdb:2147483648B:virtblk:512:512:gpt:Virtio Block Device:;\n1:1048576B:105906175B:104857600B:fat32:boot efi:boot, esp;\n2:105906176B:2146435071B:2040528896B:ext4:data:;\n";
    const BLANK: &str = "BYT;\n/dev/vdc:1073741824B:virtblk:512:512:unknown:Virtio Block Device:;\nError: /dev/vdc: unrecognised disk label\n";

    #[test]
    fn what_parted_says_is_read() {
        insta::assert_debug_snapshot!((parse(GPT), parse(BLANK), parse("nonsense")));
    }

    #[test]
    fn scripts() {
        let (gpt, blank) = (parse(GPT).unwrap(), parse(BLANK).unwrap());
        let wish = |number, label| Wish {
            number,
            label,
            part_type: "primary",
            fs_type: None,
            start: "0%",
            end: "100%",
            name: None,
            flags: None,
            resize: false,
        };
        let cases = [
            ("first partition", wish(1, "gpt"), &blank),
            (
                "msdos for lvm",
                Wish {
                    flags: Some(vec!["lvm"]),
                    ..wish(1, "msdos")
                },
                &blank,
            ),
            (
                "named",
                Wish {
                    name: Some("my data"),
                    fs_type: Some("ext4"),
                    start: "1MiB",
                    end: "50%",
                    ..wish(1, "gpt")
                },
                &blank,
            ),
            (
                "there",
                Wish {
                    name: Some("data"),
                    flags: Some(vec![]),
                    ..wish(2, "gpt")
                },
                &gpt,
            ),
            (
                "flags there",
                Wish {
                    flags: Some(vec!["esp"]),
                    ..wish(1, "gpt")
                },
                &gpt,
            ),
            (
                "flags off",
                Wish {
                    flags: Some(vec![]),
                    ..wish(1, "gpt")
                },
                &gpt,
            ),
            (
                "another name",
                Wish {
                    name: Some("x"),
                    ..wish(2, "gpt")
                },
                &gpt,
            ),
            (
                "third",
                Wish {
                    start: "-1GiB",
                    end: "-1s",
                    ..wish(3, "gpt")
                },
                &gpt,
            ),
            (
                "resized already",
                Wish {
                    resize: true,
                    ..wish(2, "gpt")
                },
                &gpt,
            ),
            (
                "resize",
                Wish {
                    resize: true,
                    end: "1GiB",
                    ..wish(2, "gpt")
                },
                &gpt,
            ),
            ("another table", wish(1, "msdos"), &gpt),
        ];
        let text: Vec<String> = cases
            .iter()
            .map(|(name, wish, disk)| match present(wish, disk) {
                Ok(script) => format!("{name}: {}", script.join(" ")),
                Err(error) => format!("{name}: error: {error}"),
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn places_are_understood() {
        let gib = 1 << 30;
        for (text, bytes) in [
            ("50%", Some(gib / 2)),
            ("10MiB", Some(10 << 20)),
            ("10 mib", Some(10 << 20)),
            ("1.5KB", Some(1500)),
            ("-1MiB", Some(gib - (1 << 20))),
            ("2GiB", None),
            ("ten", None),
            ("1 furlong", None),
            ("; rm", None),
        ] {
            assert_eq!(offset(text, gib), bytes, "{text}");
        }
    }

    #[test]
    fn a_real_table_is_made_and_changed() {
        if !has("parted") {
            return eprintln!("skipped: parted is not there");
        }
        let bench = Bench::new();
        let disk = std::fs::File::create(bench.path("/disk")).unwrap();
        disk.set_len(64 << 20).unwrap();
        let info = bench.run("parted", json!({"device": "/disk", "unit": "MiB"}));
        assert_eq!(
            (&info.data["disk"]["size"], &info.data["disk"]["table"]),
            (&json!(64), &json!("unknown"))
        );
        let made = bench.converges("parted", json!({"device": "/disk", "number": 1, "state": "present", "label": "gpt", "name": "first one", "part_end": "32MiB", "flags": ["lvm"]}));
        assert_eq!(made.data["partitions"][0]["name"], "first one", "{made:?}");
        assert_eq!(made.data["partitions"][0]["flags"], json!(["lvm"]));
        bench.converges("parted", json!({"device": "/disk", "number": 2, "state": "present", "label": "gpt", "part_start": "32MiB", "part_end": "40MiB"}));
        bench.converges("parted", json!({"device": "/disk", "number": 2, "state": "present", "label": "gpt", "part_end": "100%", "resize": true}));
        let refused = bench.run(
            "parted",
            json!({"device": "/disk", "number": 1, "state": "present"}),
        );
        assert!(refused.msg.contains("2 partitions"), "{refused:?}");
        bench.converges(
            "parted",
            json!({"device": "/disk", "number": 2, "state": "absent"}),
        );
        for args in [
            json!({"device": "/disk", "state": "present"}),
            json!({"device": "/disk", "state": "present", "number": 0}),
            json!({"device": "/disk", "state": "present", "number": 1, "part_end": "x"}),
            json!({"device": "/none"}),
        ] {
            assert!(bench.run("parted", args).failed);
        }
    }
}
