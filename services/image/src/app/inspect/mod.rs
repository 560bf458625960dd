//! Looks at the first bytes of an image: is it what it says, and does it stand alone?
//!
//! A disk image that names another file would let its owner read that file on the compute node, so whatever names one is
//! refused, and so is what looks like another format than the declared one. Pure: bytes in, verdict out.

mod bytes;
mod vhdx;
mod vmdk;

use bytes::Head;

/// How many bytes [`inspect`] wants to see: VHDX says at 2 MiB whether it stands alone.
pub const HEAD: usize = 3 << 20;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Bytes of the disk inside, where the head tells.
    pub virtual_size: Option<i64>,
}

/// Formats by their signatures: place, bytes, name.
const SIGNATURES: [(usize, &[u8], &str); 12] = [
    (0, b"QFI\xfb", "qcow2"),
    (0, b"QED\0", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk Descriptor", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (64, &[0x7f, 0x10, 0xda, 0xbe], "vdi"),
    (0, b"WithoutFreeSpace", "ploop"),
    (0, b"WithouFreSpacExt", "ploop"),
    (0, b"LUKS\xba\xbe", "luks"),
    (32769, b"CD001", "iso"),
];

/// The format whose signature the head bears.
fn detect(head: Head) -> Option<&'static str> {
    let mut all = SIGNATURES.iter();
    all.find(|(at, magic, _)| head.has(*at, magic))
        .map(|(_, _, name)| *name)
}

/// Checks the head of an image that is declared to be of this format.
///
/// # Errors
/// Why it is not taken.
pub fn inspect(format: &str, head: &[u8]) -> Result<Inspected, String> {
    let head = Head(head);
    let found = detect(head);
    let fits = match (format, found) {
        // These have their signature at the beginning, always.
        ("qcow2" | "vmdk" | "vhdx" | "vdi" | "ploop", found) => found == Some(format),
        // A fixed VHD has its signature at the end only.
        ("vhd", found) => found.is_none() || found == Some("vhd"),
        // A disk can begin so that it is an ISO 9660 as well, and hold an encrypted volume.
        ("raw" | "ami" | "ari" | "aki", found) => matches!(found, None | Some("iso" | "luks")),
        ("iso", found) => matches!(found, None | Some("iso")),
        _ => true,
    };
    if !fits {
        let looks = found.map_or(String::new(), |found| format!(": it looks like {found}"));
        return Err(format!("The data is not of disk format {format}{looks}."));
    }
    let size = match format {
        "qcow2" => Some(qcow2(head)?),
        "vmdk" => Some(vmdk::check(head)?),
        "vhdx" => Some(vhdx::check(head)?),
        "vhd" if found.is_some() => Some(vhd(head)?),
        "vdi" => Some(vdi(head)?),
        "ploop" => head.u64_le(36).and_then(|sectors| sectors.checked_mul(512)),
        _ => None,
    };
    let virtual_size = match size.map(i64::try_from) {
        None => None,
        Some(Ok(size)) => Some(size),
        Some(Err(_)) => return Err(format!("The {format} image claims an impossible size.")),
    };
    Ok(Inspected { virtual_size })
}

fn short(format: &str) -> impl Fn() -> String {
    move || format!("The {format} header is cut short.")
}

/// QEMU's docs/interop/qcow2.txt: all numbers big-endian.
fn qcow2(head: Head) -> Result<u64, String> {
    let short = short("qcow2");
    let version = head.u32_be(4).ok_or_else(&short)?;
    if !(2..=3).contains(&version) {
        return Err(format!("qcow2 version {version} is not supported."));
    }
    if head.u64_be(8).ok_or_else(&short)? != 0 {
        return Err("A qcow2 image with a backing file is not accepted.".to_owned());
    }
    if version == 3 {
        let features = head.u64_be(72).ok_or_else(&short)?;
        // Bit 2: the data lies in another file. Bits 0, 1, 3, 4: dirty, corrupt, compression type, extended L2 entries.
        if features & 4 != 0 {
            return Err("A qcow2 image with an external data file is not accepted.".to_owned());
        }
        if features & !0b1_1111 != 0 {
            return Err("The qcow2 image needs features that are not known.".to_owned());
        }
    }
    let cluster = head.u32_be(20).ok_or_else(&short)?;
    if !(9..=21).contains(&cluster) {
        return Err("The qcow2 image has clusters of an impossible size.".to_owned());
    }
    head.u64_be(24).ok_or_else(&short)
}

/// Microsoft's specification of VHD: all numbers big-endian; a dynamic disk begins with a copy of its footer.
fn vhd(head: Head) -> Result<u64, String> {
    let short = short("vhd");
    match head.u32_be(60).ok_or_else(&short)? {
        2 | 3 => head.u64_be(48).ok_or_else(&short),
        4 => Err("A differencing vhd image, which needs a parent, is not accepted.".to_owned()),
        other => Err(format!("A vhd image of type {other} is not supported.")),
    }
}

/// As VirtualBox writes them: all numbers little-endian.
fn vdi(head: Head) -> Result<u64, String> {
    let short = short("vdi");
    match head.u32_le(76).ok_or_else(&short)? {
        1 | 2 => head.u64_le(368).ok_or_else(&short),
        3 | 4 => Err("A differencing vdi image, which needs a parent, is not accepted.".to_owned()),
        other => Err(format!("A vdi image of type {other} is not supported.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn qcow2_head(backing: u64, features: u64) -> Vec<u8> {
        let mut head = vec![0; 104];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[4..8].copy_from_slice(&3u32.to_be_bytes());
        head[8..16].copy_from_slice(&backing.to_be_bytes());
        head[20..24].copy_from_slice(&16u32.to_be_bytes());
        head[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        head[72..80].copy_from_slice(&features.to_be_bytes());
        head
    }

    fn vhd_head(kind: u32) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..8].copy_from_slice(b"conectix");
        head[48..56].copy_from_slice(&(1u64 << 30).to_be_bytes());
        head[60..64].copy_from_slice(&kind.to_be_bytes());
        head
    }

    fn vdi_head(kind: u32) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[64..68].copy_from_slice(&[0x7f, 0x10, 0xda, 0xbe]);
        head[76..80].copy_from_slice(&kind.to_le_bytes());
        head[368..376].copy_from_slice(&(1u64 << 30).to_le_bytes());
        head
    }

    #[test]
    fn accepts_what_stands_alone() {
        let gib = Inspected {
            virtual_size: Some(1 << 30),
        };
        assert_eq!(
            inspect("qcow2", &qcow2_head(0, 0b1_1011)).as_ref(),
            Ok(&gib)
        );
        assert_eq!(inspect("vhd", &vhd_head(3)).as_ref(), Ok(&gib));
        assert_eq!(inspect("vdi", &vdi_head(1)).as_ref(), Ok(&gib));
        for format in ["raw", "ami", "vhd", "iso"] {
            assert_eq!(
                inspect(format, b"anything"),
                Ok(Inspected { virtual_size: None })
            );
        }
    }

    #[test]
    fn refuses_what_names_other_files_or_lies() {
        for (format, head) in [
            ("qcow2", qcow2_head(512, 0)),
            ("qcow2", qcow2_head(0, 4)),
            ("qcow2", qcow2_head(0, 1 << 40)),
            ("vhd", vhd_head(4)),
            ("vhd", vhd_head(9)),
            ("vdi", vdi_head(4)),
            ("vdi", b"raw data".to_vec()),
            ("qcow2", b"raw data".to_vec()),
            ("ploop", b"raw data".to_vec()),
            (
                "vmdk",
                b"# Disk DescriptorFile\ncreateType=\"monolithicFlat\"".to_vec(),
            ),
        ] {
            assert!(inspect(format, &head).is_err(), "{format}");
        }
        for lying in [
            qcow2_head(0, 0),
            vhd_head(3),
            vdi_head(1),
            b"KDMV".to_vec(),
            b"QED\0".to_vec(),
        ] {
            for format in ["raw", "iso", "aki"] {
                assert!(inspect(format, &lying).is_err(), "{format}");
            }
        }
    }

    proptest! {
        /// Whatever comes, there is a verdict.
        #[test]
        fn no_head_breaks_it(
            which in 0..SIGNATURES.len(),
            format in 0..11usize,
            signed in any::<bool>(),
            mut head in proptest::collection::vec(any::<u8>(), 0..2048),
        ) {
            let (at, magic, _) = SIGNATURES[which];
            if signed && head.len() >= at + magic.len() {
                head[at..at + magic.len()].copy_from_slice(magic);
            }
            let formats = ["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"];
            let _ = inspect(formats[format], &head);
        }

        /// Nor does a good one that has another number somewhere, or ends early.
        #[test]
        fn no_change_breaks_it(at in 0..512usize, byte in any::<u8>(), length in 0..512usize) {
            for (format, mut head) in [
                ("qcow2", qcow2_head(0, 0)),
                ("vhd", vhd_head(3)),
                ("vdi", vdi_head(1)),
                ("vmdk", vmdk::tests::sparse("streamOptimized", "RW 1 SPARSE \"a\"")),
                ("vhdx", vhdx::tests::head(0)),
            ] {
                if let Some(place) = head.get_mut(at) {
                    *place = byte;
                }
                head.truncate(length.max(at));
                let _ = inspect(format, &head);
            }
        }
    }
}
