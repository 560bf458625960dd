//! VHDX, as Microsoft's \[MS-VHDX\] has it: a table of regions names the one with metadata, which tells the size and whether
//! there is a parent. All numbers little-endian.

use super::bytes::Head;

const REGIONS: [usize; 2] = [192 << 10, 256 << 10];
/// 8b7ca206-4790-4b9a-b8fe-575f050f886e
const METADATA: [u8; 16] = [
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
];
/// caa16737-fa36-4d43-b3b6-33f0aa44e76b
const FILE_PARAMETERS: [u8; 16] = [
    0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b,
];
/// 2fa54224-cd1b-4876-b211-5dbed83bf4b8
const SIZE: [u8; 16] = [
    0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8,
];
/// Most entries of either table.
const MOST: usize = 2047;

/// The size of the disk inside.
pub fn check(head: Head) -> Result<u64, String> {
    // Both copies of the table must say the same: it is not told here which one a reader takes.
    let [first, second] = REGIONS.map(|at| region(head, at));
    let at = match (first, second) {
        (Some(first), Some(second)) if first == second => first,
        (Some(first), None) => first,
        _ => return Err("The vhdx image has no table of regions that can be read.".to_owned()),
    };
    let unreadable =
        || "The vhdx image's metadata are not near its beginning, or cut short.".to_owned();
    if !head.has(at, b"metadata") {
        return Err(unreadable());
    }
    let count = usize::from(head.u16_le(at + 10).ok_or_else(unreadable)?).min(MOST);
    let item = |guid: &[u8; 16]| {
        let entries = (0..count).map(|n| at + 32 + 32 * n);
        let mut mine = entries.filter(|entry| head.has(*entry, guid));
        let entry = mine.next()?;
        let place = usize::try_from(head.u32_le(entry + 16)?).ok()?;
        mine.next().is_none().then(|| at.checked_add(place))?
    };
    let parameters = item(&FILE_PARAMETERS).ok_or_else(unreadable)?;
    let flags = head
        .u32_le(parameters.saturating_add(4))
        .ok_or_else(unreadable)?;
    if flags & 2 != 0 {
        return Err("A differencing vhdx image, which needs a parent, is not accepted.".to_owned());
    }
    let size = item(&SIZE).ok_or_else(unreadable)?;
    head.u64_le(size).ok_or_else(unreadable)
}

/// Where one copy of the table says the metadata are.
fn region(head: Head, table: usize) -> Option<usize> {
    if !head.has(table, b"regi") {
        return None;
    }
    let count = usize::try_from(head.u32_le(table + 8)?).ok()?.min(MOST);
    let mut entries = (0..count).map(|n| table + 16 + 32 * n);
    let entry = entries.find(|entry| head.has(*entry, &METADATA))?;
    let at = usize::try_from(head.u64_le(entry + 16)?).ok()?;
    // So far that no sum of it and what is added here runs over.
    (at < usize::MAX / 2).then_some(at)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The beginning of a VHDX with these flags.
    pub fn head(flags: u32) -> Vec<u8> {
        let at = 2usize << 20;
        let mut head = vec![0; at + (128 << 10)];
        head[..8].copy_from_slice(b"vhdxfile");
        for table in REGIONS {
            head[table..table + 4].copy_from_slice(b"regi");
            head[table + 8] = 1;
            head[table + 16..table + 32].copy_from_slice(&METADATA);
            head[table + 32..table + 40].copy_from_slice(&(at as u64).to_le_bytes());
        }
        head[at..at + 8].copy_from_slice(b"metadata");
        head[at + 10] = 2;
        for (n, (guid, place)) in [(FILE_PARAMETERS, 65536u32), (SIZE, 65544)]
            .into_iter()
            .enumerate()
        {
            let entry = at + 32 + 32 * n;
            head[entry..entry + 16].copy_from_slice(&guid);
            head[entry + 16..entry + 20].copy_from_slice(&place.to_le_bytes());
        }
        head[at + 65540..at + 65544].copy_from_slice(&flags.to_le_bytes());
        head[at + 65544..at + 65552].copy_from_slice(&(1u64 << 30).to_le_bytes());
        head
    }

    #[test]
    fn one_with_a_parent_is_refused() {
        assert_eq!(check(Head(&head(0))), Ok(1 << 30));
        assert!(check(Head(&head(2))).is_err());
        let mut two = head(0);
        two[(256 << 10) + 32] ^= 1;
        assert!(check(Head(&two)).is_err(), "the tables differ");
        assert!(check(Head(&head(0)[..1 << 20])).is_err(), "cut short");
    }
}
