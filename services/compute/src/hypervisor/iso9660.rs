//! A small writer of ISO 9660 images with Rock Ridge names: what a config drive needs and no more (ECMA-119 level 1,
//! IEEE P1282 `NM` and `PX`). Pure: a tree of names and bytes in, the image's bytes out. Rock Ridge rather than Joliet,
//! because Linux then needs no character set table to read names such as `meta_data.json`.

use std::collections::BTreeMap;

/// Bytes of a logical sector.
const SECTOR: usize = 2048;
/// Folders nest at most this deep (ECMA-119 6.8.2.1).
const MAX_DEPTH: usize = 8;

/// A tree that cannot be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IsoError {
    /// Empty, `.` or `..`, too long, or with a control character.
    #[error("`{0}` cannot be a file name on an ISO image")]
    Name(String),
    /// A file stands where a folder is needed.
    #[error("`{0}` is both a file and a folder")]
    Conflict(String),
    /// Deeper than ECMA-119 allows.
    #[error("`{0}` lies deeper than eight folders")]
    Depth(String),
    /// The volume label is longer than 32 characters or not ASCII.
    #[error("`{0}` cannot be a volume label")]
    Label(String),
    /// More than 4 GiB.
    #[error("the image would be larger than 4 GiB")]
    TooLarge,
}

enum Node<'a> {
    File(&'a [u8]),
    Folder(BTreeMap<&'a str, Node<'a>>),
}

/// A folder with its place in the image.
struct Folder<'a> {
    parent: usize,
    /// ISO identifier; the root's is one zero byte.
    identifier: Vec<u8>,
    entries: Vec<Entry<'a>>,
    sector: u32,
    /// Bytes, a multiple of the sector.
    size: u32,
}

struct Entry<'a> {
    name: &'a str,
    identifier: Vec<u8>,
    target: Target<'a>,
}

enum Target<'a> {
    File { data: &'a [u8], sector: u32 },
    Folder(usize),
}

/// Builds an image of `files` (path relative to the root, with `/`) with the given volume label.
pub fn build(label: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>, IsoError> {
    let label_ok =
        !label.is_empty() && label.len() <= 32 && label.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !label_ok {
        return Err(IsoError::Label(label.to_owned()));
    }
    let root = tree(files)?;
    let mut folders = Vec::new();
    flatten(&root, 0, vec![0], &mut folders);
    sort_by_path_table_order(&mut folders);
    let total = place(&mut folders)?;

    let mut image = vec![0u8; 16 * SECTOR];
    image.extend(volume_descriptor(label, &folders, total));
    image.extend(terminator());
    let little = path_table(&folders, u32::to_le_bytes, u16::to_le_bytes);
    let big = path_table(&folders, u32::to_be_bytes, u16::to_be_bytes);
    for table in [little, big] {
        image.extend(table);
        pad(&mut image);
    }
    for index in 0..folders.len() {
        image.extend(folder_extent(&folders, index));
    }
    for folder in &folders {
        for entry in &folder.entries {
            if let Target::File { data, .. } = entry.target {
                image.extend_from_slice(data);
                pad(&mut image);
            }
        }
    }
    debug_assert_eq!(image.len(), total as usize * SECTOR);
    Ok(image)
}

fn tree(files: &BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<&str, Node<'_>>, IsoError> {
    let mut root = BTreeMap::new();
    for (path, data) in files {
        let parts: Vec<&str> = path.split('/').collect();
        if parts.len() >= MAX_DEPTH {
            return Err(IsoError::Depth(path.clone()));
        }
        for part in &parts {
            let bad = part.is_empty()
                || *part == "."
                || *part == ".."
                || part.len() > 120
                || part.chars().any(char::is_control);
            if bad {
                return Err(IsoError::Name(path.clone()));
            }
        }
        insert(&mut root, &parts, data, path)?;
    }
    Ok(root)
}

fn insert<'a>(
    folder: &mut BTreeMap<&'a str, Node<'a>>,
    parts: &[&'a str],
    data: &'a [u8],
    path: &str,
) -> Result<(), IsoError> {
    match parts {
        [] => Err(IsoError::Name(path.to_owned())),
        [name] => match folder.insert(name, Node::File(data)) {
            None => Ok(()),
            Some(_) => Err(IsoError::Conflict(path.to_owned())),
        },
        [name, rest @ ..] => match folder
            .entry(name)
            .or_insert_with(|| Node::Folder(BTreeMap::new()))
        {
            Node::Folder(inner) => insert(inner, rest, data, path),
            Node::File(_) => Err(IsoError::Conflict(path.to_owned())),
        },
    }
}

/// Appends the folder and everything below it; returns its index.
fn flatten<'a>(
    node: &BTreeMap<&'a str, Node<'a>>,
    parent: usize,
    identifier: Vec<u8>,
    folders: &mut Vec<Folder<'a>>,
) -> usize {
    let index = folders.len();
    folders.push(Folder {
        parent,
        identifier,
        entries: Vec::new(),
        sector: 0,
        size: 0,
    });
    let mut entries = Vec::new();
    for (number, (name, child)) in node.iter().enumerate() {
        // Level 1 identifiers need only be unique and in order: readers with Rock Ridge never show them.
        let target;
        let short;
        match child {
            Node::File(data) => {
                short = format!("F{number:06}.;1");
                target = Target::File { data, sector: 0 };
            }
            Node::Folder(inner) => {
                short = format!("F{number:06}");
                target = Target::Folder(flatten(inner, index, short.clone().into_bytes(), folders));
            }
        }
        entries.push(Entry {
            name,
            identifier: short.into_bytes(),
            target,
        });
    }
    folders[index].entries = entries;
    index
}

/// The path table lists folders by level, then by parent, then by name (ECMA-119 6.9.1).
fn sort_by_path_table_order(folders: &mut Vec<Folder<'_>>) {
    let level = |folders: &[Folder<'_>], mut index: usize| {
        let mut level = 0;
        while index != 0 {
            index = folders[index].parent;
            level += 1;
        }
        level
    };
    let mut order: Vec<usize> = (0..folders.len()).collect();
    let levels: Vec<usize> = order.iter().map(|&i| level(folders, i)).collect();
    order.sort_by_key(|&i| levels[i]);
    let mut new_index = vec![0; order.len()];
    for (new, &old) in order.iter().enumerate() {
        new_index[old] = new;
    }
    for folder in folders.iter_mut() {
        folder.parent = new_index[folder.parent];
        for entry in &mut folder.entries {
            if let Target::Folder(index) = &mut entry.target {
                *index = new_index[*index];
            }
        }
    }
    let mut sorted: Vec<(usize, Folder<'_>)> = folders
        .drain(..)
        .enumerate()
        .map(|(old, folder)| (new_index[old], folder))
        .collect();
    sorted.sort_by_key(|(new, _)| *new);
    folders.extend(sorted.into_iter().map(|(_, folder)| folder));
}

/// Gives each extent its sector; returns the number of sectors of the whole image.
fn place(folders: &mut [Folder<'_>]) -> Result<u32, IsoError> {
    let table = path_table(folders, u32::to_le_bytes, u16::to_le_bytes)
        .len()
        .div_ceil(SECTOR);
    let mut next = 18 + 2 * table as u64;
    for (index, folder) in folders.iter_mut().enumerate() {
        let size = folder_extent_len(folder, index == 0);
        folder.sector = next as u32;
        folder.size = size as u32;
        next += (size / SECTOR) as u64;
    }
    for folder in folders.iter_mut() {
        for entry in &mut folder.entries {
            if let Target::File { data, sector } = &mut entry.target {
                *sector = next as u32;
                next += data.len().div_ceil(SECTOR) as u64;
            }
        }
    }
    if next * SECTOR as u64 > u64::from(u32::MAX) {
        return Err(IsoError::TooLarge);
    }
    Ok(next as u32)
}

fn pad(bytes: &mut Vec<u8>) {
    let len = bytes.len().div_ceil(SECTOR) * SECTOR;
    bytes.resize(len, 0);
}

fn both16(value: u16) -> [u8; 4] {
    let [a, b] = value.to_le_bytes();
    [a, b, b, a]
}

fn both32(value: u32) -> [u8; 8] {
    let mut out = [0; 8];
    out[..4].copy_from_slice(&value.to_le_bytes());
    out[4..].copy_from_slice(&value.to_be_bytes());
    out
}

/// The date of all records: 2000-01-01, so that the same input gives the same image.
const DATE: [u8; 7] = [100, 1, 1, 0, 0, 0, 0];

fn volume_descriptor(label: &str, folders: &[Folder<'_>], total: u32) -> Vec<u8> {
    let text = |text: &str, len: usize| {
        let mut out = text.as_bytes().to_vec();
        out.resize(len, b' ');
        out
    };
    let table_len = path_table(folders, u32::to_le_bytes, u16::to_le_bytes).len() as u32;
    let table_sectors = (table_len as usize).div_ceil(SECTOR) as u32;
    let mut d = Vec::with_capacity(SECTOR);
    d.extend([1]);
    d.extend(b"CD001");
    d.extend([1, 0]);
    d.extend(text("LINUX", 32));
    d.extend(text(label, 32));
    d.extend([0; 8]);
    d.extend(both32(total));
    d.extend([0; 32]);
    d.extend(both16(1)); // volume set size
    d.extend(both16(1)); // sequence number
    d.extend(both16(SECTOR as u16));
    d.extend(both32(table_len));
    d.extend(18u32.to_le_bytes()); // path table, little endian
    d.extend([0; 4]);
    d.extend((18 + table_sectors).to_be_bytes()); // path table, big endian
    d.extend([0; 4]);
    d.extend(record(&[0], folders[0].sector, folders[0].size, true, &[]));
    d.extend(text("", 128 * 4)); // volume set, publisher, preparer, application
    d.extend(text("", 37 * 3)); // copyright, abstract, bibliographic
    for _ in 0..2 {
        d.extend(b"2000010100000000");
        d.extend([0]);
    }
    for _ in 0..2 {
        d.extend(b"0000000000000000");
        d.extend([0]);
    }
    d.extend([1, 0]);
    d.resize(SECTOR, 0);
    d
}

fn terminator() -> Vec<u8> {
    let mut d = vec![255];
    d.extend(b"CD001");
    d.extend([1]);
    d.resize(SECTOR, 0);
    d
}

fn path_table(
    folders: &[Folder<'_>],
    long: fn(u32) -> [u8; 4],
    short: fn(u16) -> [u8; 2],
) -> Vec<u8> {
    let mut out = Vec::new();
    for folder in folders {
        out.push(folder.identifier.len() as u8);
        out.push(0);
        out.extend(long(folder.sector));
        out.extend(short(folder.parent as u16 + 1));
        out.extend(&folder.identifier);
        if folder.identifier.len() % 2 == 1 {
            out.push(0);
        }
    }
    out
}

/// One directory record (ECMA-119 9.1) with its system use area.
fn record(identifier: &[u8], sector: u32, size: u32, folder: bool, system_use: &[u8]) -> Vec<u8> {
    let mut r = vec![0, 0];
    r.extend(both32(sector));
    r.extend(both32(size));
    r.extend(DATE);
    r.extend([if folder { 2 } else { 0 }, 0, 0]);
    r.extend(both16(1));
    r.push(identifier.len() as u8);
    r.extend(identifier);
    if identifier.len().is_multiple_of(2) {
        r.push(0);
    }
    r.extend(system_use);
    if r.len() % 2 == 1 {
        r.push(0);
    }
    r[0] = r.len() as u8;
    r
}

/// `PX`: POSIX mode, links, owner (P1282 4.1.1, without the serial number as version 1.10 has it).
fn posix(folder: bool) -> Vec<u8> {
    let mode: u32 = if folder { 0o040555 } else { 0o100444 };
    let mut out = b"PX".to_vec();
    out.extend([36, 1]);
    for value in [mode, 1, 0, 0] {
        out.extend(both32(value));
    }
    out
}

/// `SP` (SUSP 5.3) and `ER` (5.5), which only the root's `.` carries.
fn root_marks() -> Vec<u8> {
    const ID: &[u8] = b"RRIP_1991A";
    const DESCRIPTION: &[u8] = b"THE ROCK RIDGE INTERCHANGE PROTOCOL";
    let mut out = vec![b'S', b'P', 7, 1, 0xbe, 0xef, 0];
    out.extend(b"ER");
    out.push((8 + ID.len() + DESCRIPTION.len()) as u8);
    out.extend([1, ID.len() as u8, DESCRIPTION.len() as u8, 0, 1]);
    out.extend(ID);
    out.extend(DESCRIPTION);
    out
}

fn records(folders: &[Folder<'_>], index: usize) -> Vec<Vec<u8>> {
    let folder = &folders[index];
    let parent = &folders[folder.parent];
    let mut own = if index == 0 { root_marks() } else { Vec::new() };
    own.extend(posix(true));
    let mut out = vec![
        record(&[0], folder.sector, folder.size, true, &own),
        record(&[1], parent.sector, parent.size, true, &posix(true)),
    ];
    for entry in &folder.entries {
        let (sector, size, is_folder) = match entry.target {
            Target::File { data, sector } => (sector, data.len() as u32, false),
            Target::Folder(i) => (folders[i].sector, folders[i].size, true),
        };
        out.push(record(
            &entry.identifier,
            sector,
            size,
            is_folder,
            &named(entry.name, is_folder),
        ));
    }
    out
}

/// `NM` (P1282 4.1.4) and `PX` of one entry.
fn named(name: &str, folder: bool) -> Vec<u8> {
    let mut out = b"NM".to_vec();
    out.extend([(5 + name.len()) as u8, 1, 0]);
    out.extend(name.as_bytes());
    out.extend(posix(folder));
    out
}

/// A record never crosses a sector's end (ECMA-119 6.8.1.1).
fn pack(records: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for record in records {
        if out.len() % SECTOR + record.len() > SECTOR {
            pad(&mut out);
        }
        out.extend(record);
    }
    pad(&mut out);
    out
}

fn folder_extent(folders: &[Folder<'_>], index: usize) -> Vec<u8> {
    pack(records(folders, index).into_iter())
}

/// The length does not depend on sectors and sizes, so it is known before they are.
fn folder_extent_len(folder: &Folder<'_>, root: bool) -> usize {
    let mut own = if root { root_marks() } else { Vec::new() };
    own.extend(posix(true));
    let dots = [
        record(&[0], 0, 0, true, &own),
        record(&[1], 0, 0, true, &posix(true)),
    ];
    let entries = folder.entries.iter().map(|entry| {
        let is_folder = matches!(entry.target, Target::Folder(_));
        record(
            &entry.identifier,
            0,
            0,
            is_folder,
            &named(entry.name, is_folder),
        )
    });
    pack(dots.into_iter().chain(entries)).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn files(list: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
        list.iter()
            .map(|(name, data)| ((*name).to_owned(), data.to_vec()))
            .collect()
    }

    /// Reads an image back by its Rock Ridge names: an independent walk over directory records.
    fn read(image: &[u8]) -> BTreeMap<String, Vec<u8>> {
        fn walk(
            image: &[u8],
            sector: usize,
            size: usize,
            prefix: &str,
            out: &mut BTreeMap<String, Vec<u8>>,
        ) {
            let extent = &image[sector * SECTOR..sector * SECTOR + size];
            let mut at = 0;
            while at < extent.len() {
                let len = extent[at] as usize;
                if len == 0 {
                    at = (at / SECTOR + 1) * SECTOR;
                    continue;
                }
                let record = &extent[at..at + len];
                at += len;
                let start =
                    u32::from_le_bytes(record[2..6].try_into().expect("four bytes")) as usize;
                let size =
                    u32::from_le_bytes(record[10..14].try_into().expect("four bytes")) as usize;
                let id_len = record[32] as usize;
                if id_len == 1 && record[33] <= 1 {
                    continue;
                }
                let mut use_area = &record[33 + id_len + usize::from(id_len.is_multiple_of(2))..];
                let mut name = String::new();
                while use_area.len() >= 4 {
                    let entry_len = use_area[2] as usize;
                    if &use_area[..2] == b"NM" {
                        name = String::from_utf8(use_area[5..entry_len].to_vec()).expect("UTF-8");
                    }
                    use_area = &use_area[entry_len..];
                }
                let path = format!("{prefix}{name}");
                if record[25] & 2 != 0 {
                    walk(image, start, size, &format!("{path}/"), out);
                } else {
                    out.insert(path, image[start * SECTOR..start * SECTOR + size].to_vec());
                }
            }
        }
        let root = &image[16 * SECTOR + 156..];
        let sector = u32::from_le_bytes(root[2..6].try_into().expect("four bytes")) as usize;
        let size = u32::from_le_bytes(root[10..14].try_into().expect("four bytes")) as usize;
        let mut out = BTreeMap::new();
        walk(image, sector, size, "", &mut out);
        out
    }

    #[test]
    fn what_is_written_can_be_read() {
        let tree = files(&[
            ("openstack/latest/meta_data.json", b"{}"),
            ("openstack/latest/user_data", b"#!/bin/sh\n"),
            ("ec2/x", b""),
        ]);
        let image = build("config-2", &tree).expect("a valid tree");
        assert_eq!(read(&image), tree);
        assert_eq!(&image[16 * SECTOR + 40..16 * SECTOR + 48], b"config-2");
        assert_eq!(
            image,
            build("config-2", &tree).expect("a valid tree"),
            "the same input gives the same image"
        );
    }

    #[test]
    fn isoinfo_reads_it() {
        let tree = files(&[
            ("openstack/latest/meta_data.json", b"{\"a\": 1}"),
            ("openstack/2018-08-27/network_data.json", b"[]"),
        ]);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("drive.iso");
        std::fs::write(&path, build("config-2", &tree).expect("a valid tree")).expect("written");
        let Ok(out) = std::process::Command::new("isoinfo")
            .args(["-R", "-f", "-i"])
            .arg(&path)
            .output()
        else {
            println!("skipped: isoinfo (package genisoimage) is not installed");
            return;
        };
        let listing = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            listing.contains("/openstack/latest/meta_data.json"),
            "{listing}"
        );
        assert!(
            listing.contains("/openstack/2018-08-27/network_data.json"),
            "{listing}"
        );
    }

    #[test]
    fn bad_trees_are_refused() {
        assert_eq!(
            build("config-2", &files(&[("a/../b", b"")])),
            Err(IsoError::Name("a/../b".into()))
        );
        assert_eq!(
            build("config-2", &files(&[("a", b""), ("a/b", b"")])),
            Err(IsoError::Conflict("a/b".into()))
        );
        assert_eq!(build("", &files(&[])), Err(IsoError::Label(String::new())));
        assert_eq!(
            build("x", &files(&[("1/2/3/4/5/6/7/8/9", b"")])),
            Err(IsoError::Depth("1/2/3/4/5/6/7/8/9".into()))
        );
    }

    proptest! {
        #[test]
        fn any_tree_round_trips(list in proptest::collection::btree_map("[a-z]{1,8}(/[a-z0-9_.]{2,20}x){0,3}", proptest::collection::vec(any::<u8>(), 0..5000), 0..40)) {
            if let Ok(image) = build("config-2", &list) {
                prop_assert_eq!(read(&image), list);
            }
        }
    }
}
