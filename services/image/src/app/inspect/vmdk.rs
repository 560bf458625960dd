//! VMDK, as VMware's "Virtual Disk Format" has it: a text inside describes the disk, and names the files of its data.
//!
//! Only kinds whose data is inside the one file are taken, and only when the text names no other.

use super::bytes::Head;

const SECTOR: u64 = 512;

/// The size of the disk inside.
pub fn check(head: Head) -> Result<u64, String> {
    if !head.has(0, b"KDMV") {
        return Err(
            "A vmdk image that is only a description names other files: it is not accepted."
                .to_owned(),
        );
    }
    let short = super::short("vmdk");
    let version = head.u32_le(4).ok_or_else(&short)?;
    if !(1..=3).contains(&version) {
        return Err(format!("vmdk version {version} is not supported."));
    }
    let capacity = head.u64_le(12).ok_or_else(&short)?;
    let (at, length) = (
        head.u64_le(28).ok_or_else(&short)?,
        head.u64_le(36).ok_or_else(&short)?,
    );
    let bytes = |sectors: u64| {
        let bytes = sectors.checked_mul(SECTOR)?;
        usize::try_from(bytes).ok()
    };
    let text = bytes(at)
        .zip(bytes(length))
        .filter(|(at, length)| *at > 0 && *length > 0)
        .and_then(|(at, length)| head.slice(at, length));
    let text = text.ok_or("The vmdk image has no description at its beginning.")?;
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    describe(&String::from_utf8_lossy(text))?;
    capacity.checked_mul(SECTOR).ok_or_else(short)
}

/// Looks through the description.
fn describe(text: &str) -> Result<(), String> {
    let mut kind = None;
    let mut extents = 0;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let first = line
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        if !["RW", "RDONLY", "NOACCESS"].contains(&first.as_str())
            && let Some((name, value)) = line.split_once('=')
        {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "createtype" if kind.is_some() => {
                    return Err("The vmdk image says twice of which kind it is.".to_owned());
                }
                "createtype" => kind = Some(value.to_owned()),
                "parentcid" if !value.eq_ignore_ascii_case("ffffffff") => {
                    return Err("A vmdk image with a parent is not accepted.".to_owned());
                }
                "parentfilenamehint" => {
                    return Err("A vmdk image with a parent is not accepted.".to_owned());
                }
                _ => {}
            }
            continue;
        }
        extents += 1;
        extent(line)?;
    }
    match kind.as_deref() {
        Some("monolithicSparse" | "streamOptimized") => {}
        Some(kind) => {
            return Err(format!(
                "A vmdk image of kind {kind} is not accepted: it names other files."
            ));
        }
        None => return Err("The vmdk image does not say of which kind it is.".to_owned()),
    }
    if extents != 1 {
        return Err(format!(
            "A vmdk image with {extents} extents is not accepted."
        ));
    }
    Ok(())
}

/// `RW 4192256 SPARSE "disk.vmdk"`: the file itself, whatever it was called.
fn extent(line: &str) -> Result<(), String> {
    let refused = || {
        Err(format!(
            "The vmdk image has an extent that is not accepted: {line:?}"
        ))
    };
    let mut words = line.splitn(4, ' ');
    let (Some("RW" | "RDONLY" | "NOACCESS"), Some(size), Some("SPARSE"), Some(file)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return refused();
    };
    let file = file.trim();
    let name = file
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    match name {
        Some(name)
            if size.parse::<u64>().is_ok()
                && !name.contains(['/', '\\', '"', ':'])
                && !matches!(name, "" | "." | "..") =>
        {
            Ok(())
        }
        _ => refused(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The beginning of a VMDK with this description.
    pub fn sparse(kind: &str, extent: &str) -> Vec<u8> {
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n{extent}\n\nddb.adapterType = \"ide\"\n"
        );
        let mut head = vec![0; 512 * 21];
        head[..4].copy_from_slice(b"KDMV");
        head[4..8].copy_from_slice(&3u32.to_le_bytes());
        head[12..20].copy_from_slice(&2048u64.to_le_bytes());
        head[28..36].copy_from_slice(&1u64.to_le_bytes());
        head[36..44].copy_from_slice(&20u64.to_le_bytes());
        head[512..512 + text.len()].copy_from_slice(text.as_bytes());
        head
    }

    #[test]
    fn only_what_is_in_the_one_file() {
        let good = "RW 2048 SPARSE \"disk.vmdk\"";
        for kind in ["monolithicSparse", "streamOptimized"] {
            assert_eq!(check(Head(&sparse(kind, good))), Ok(1 << 20));
        }
        for (kind, extent) in [
            ("monolithicFlat", good),
            ("custom", good),
            ("monolithicSparse", ""),
            ("monolithicSparse", "RW 2048 FLAT \"disk.vmdk\" 0"),
            ("monolithicSparse", "RW 2048 SPARSE \"/etc/shadow\""),
            ("monolithicSparse", "RW 2048 SPARSE \"..\\shadow\""),
            ("monolithicSparse", "RW 2048 SPARSE \"..\""),
            ("monolithicSparse", "RW 2048 SPARSE \"a\" 0 \"b\""),
            ("monolithicSparse", "RW 1 SPARSE \"a\"\nRW 1 SPARSE \"b\""),
            (
                "monolithicSparse",
                "RW 1 SPARSE \"a\"\nRW 1 FLAT \"/etc/a=b\" 0",
            ),
            (
                "monolithicSparse",
                "RW 1 SPARSE \"a\"\nparentFileNameHint=\"b\"",
            ),
            ("monolithicSparse", "RW 1 SPARSE \"a\"\nparentCID=1234abcd"),
            (
                "monolithicSparse",
                "RW 1 SPARSE \"a\"\ncreateType=\"monolithicFlat\"",
            ),
        ] {
            assert!(
                check(Head(&sparse(kind, extent))).is_err(),
                "{kind} {extent}"
            );
        }
        let mut far = sparse("monolithicSparse", good);
        far[28..36].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(check(Head(&far)).is_err());
    }
}
