//! Looks at the first bytes of an image: is it what it says, and does it stand alone?
//!
//! A disk image that names another file would let its owner read that file on the compute node.
//! So a qcow2 with a backing or data file is refused, and anything that looks like another
//! format than the declared one. Pure: bytes in, verdict out.

/// How many bytes [`inspect`] wants to see.
pub const HEAD: usize = 64 << 10;

const QCOW2: &[u8] = b"QFI\xfb";
const VMDK: &[u8] = b"KDMV";
const VHDX: &[u8] = b"vhdxfile";
const VHD: &[u8] = b"conectix";
const VDI: &[u8] = &[0x7f, 0x10, 0xda, 0xbe];

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Bytes of the disk inside, where the head tells.
    pub virtual_size: Option<i64>,
}

/// The format whose signature the head bears.
fn detect(head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    if at(0, QCOW2) {
        Some("qcow2")
    } else if at(0, VMDK) || at(0, b"# Disk DescriptorFile") {
        Some("vmdk")
    } else if at(0, VHDX) {
        Some("vhdx")
    } else if at(0, VHD) {
        Some("vhd")
    } else if at(64, VDI) {
        Some("vdi")
    } else if at(32769, b"CD001") {
        Some("iso")
    } else {
        None
    }
}

/// Checks the head of an image that is declared to be of this format.
pub fn inspect(format: &str, head: &[u8]) -> Result<Inspected, String> {
    let found = detect(head);
    match (format, found) {
        ("qcow2", Some("qcow2")) => qcow2(head),
        ("vmdk", Some("vmdk")) => vmdk(head),
        // A fixed VHD has its signature at the end only; a hybrid ISO may look like a disk.
        ("qcow2" | "vmdk" | "vhdx" | "vdi", other) if other != Some(format) => Err(format!(
            "The data is not of disk format {format}{}.",
            found.map_or(String::new(), |f| format!(": it looks like {f}"))
        )),
        ("raw" | "aki" | "ari" | "ami" | "vhd", Some(other))
            if other != format && other != "iso" =>
        {
            Err(format!(
                "The data looks like {other}, but the disk format is {format}."
            ))
        }
        _ => Ok(Inspected { virtual_size: None }),
    }
}

/// QEMU's docs/interop/qcow2.txt: all numbers big-endian.
fn qcow2(head: &[u8]) -> Result<Inspected, String> {
    let u32_at = |offset: usize| {
        Some(u32::from_be_bytes(
            head.get(offset..offset + 4)?.try_into().ok()?,
        ))
    };
    let u64_at = |offset: usize| {
        Some(u64::from_be_bytes(
            head.get(offset..offset + 8)?.try_into().ok()?,
        ))
    };
    let short = || "The qcow2 header is cut short.".to_owned();
    let version = u32_at(4).ok_or_else(short)?;
    if !(2..=3).contains(&version) {
        return Err(format!("qcow2 version {version} is not supported."));
    }
    if u64_at(8).ok_or_else(short)? != 0 {
        return Err("A qcow2 image with a backing file is not accepted.".to_owned());
    }
    // Bit 2 of the incompatible features: the data lies in another file.
    if version == 3 && u64_at(72).ok_or_else(short)? & 4 != 0 {
        return Err("A qcow2 image with an external data file is not accepted.".to_owned());
    }
    let size = u64_at(24).ok_or_else(short)?;
    Ok(Inspected {
        virtual_size: i64::try_from(size).ok(),
    })
}

/// Only kinds whose data is inside the one file.
fn vmdk(head: &[u8]) -> Result<Inspected, String> {
    let text = String::from_utf8_lossy(head);
    let kind = text
        .split_once("createType=\"")
        .and_then(|(_, rest)| rest.split('"').next());
    match kind {
        Some("monolithicSparse" | "streamOptimized") => Ok(Inspected { virtual_size: None }),
        Some(kind) => Err(format!(
            "A vmdk image of kind {kind} is not accepted: it names other files."
        )),
        None => Err("The vmdk image has no readable descriptor.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qcow2_head(backing: u64, features: u64) -> Vec<u8> {
        let mut head = vec![0; 104];
        head[..4].copy_from_slice(QCOW2);
        head[4..8].copy_from_slice(&3u32.to_be_bytes());
        head[8..16].copy_from_slice(&backing.to_be_bytes());
        head[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        head[72..80].copy_from_slice(&features.to_be_bytes());
        head
    }

    #[test]
    fn accepts_what_stands_alone() {
        assert_eq!(
            inspect("qcow2", &qcow2_head(0, 0)),
            Ok(Inspected {
                virtual_size: Some(1 << 30)
            })
        );
        assert_eq!(
            inspect("raw", b"anything"),
            Ok(Inspected { virtual_size: None })
        );
    }

    #[test]
    fn refuses_what_names_other_files_or_lies() {
        assert!(inspect("qcow2", &qcow2_head(512, 0)).is_err());
        assert!(inspect("qcow2", &qcow2_head(0, 4)).is_err());
        assert!(inspect("raw", &qcow2_head(0, 0)).is_err());
        assert!(inspect("qcow2", b"raw data").is_err());
        assert!(
            inspect(
                "vmdk",
                b"# Disk DescriptorFile\ncreateType=\"monolithicFlat\""
            )
            .is_err()
        );
        for length in 0..104 {
            let _ = inspect("qcow2", &qcow2_head(0, 0)[..length]);
        }
    }
}
