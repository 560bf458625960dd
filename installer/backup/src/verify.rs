//! Proving a backup: its files are as they were written, and a server made of it has the tables that it should have.
use crate::create::{READ, STREAM, TABLES, least_used};
use crate::manifest::Manifest;
use crate::nodes::{self, Work};
use crate::shelf::Shelf;
use crate::{BackupError, Nodes, Tell, pack, tables};
use serde::Serialize;
use std::io::{self, Write};

/// How much room a restored server takes, of the bytes that were streamed: its log and what it makes beside.
pub(crate) const ROOM: u64 = 2;
pub(crate) const ROOM_MIN: u64 = 512 << 20;

#[derive(Debug, Serialize)]
pub struct Proof {
    pub id: String,
    /// Where the scratch server ran.
    pub node: String,
    /// Tables that are the same to the last row.
    pub same: usize,
    /// Tables that were written to while the backup was made: there, and not compared.
    pub moving: usize,
    /// Databases whose dumps are whole.
    pub dumps: Vec<String>,
    pub faults: Vec<String>,
}

/// Room that a backup's server needs.
pub(crate) fn room(manifest: &Manifest) -> u64 {
    let raw = manifest.physical().map_or(0, |part| part.raw_bytes);
    raw * ROOM + ROOM_MIN
}

/// Reads all files, restores into a scratch server on a controller, compares, and cleans up.
///
/// # Errors
/// It is damaged, or no server can be made of it.
pub fn verify(
    shelf: &Shelf,
    nodes: &dyn Nodes,
    controllers: &[String],
    id: &str,
    tell: Tell,
) -> Result<Proof, BackupError> {
    let manifest = shelf.open(id)?;
    tell("reading every file");
    shelf.check(&manifest)?;
    let folder = shelf.folder(id);
    let mut faults = Vec::new();
    let mut dumps = Vec::new();
    for database in manifest.dumps() {
        let mut end = End::default();
        if let Some(part) = manifest.dump(database) {
            pack::unpack(&folder, part, &mut end)?;
        }
        match end.is_whole() {
            true => dumps.push(database.to_owned()),
            false => faults.push(format!("the dump of `{database}` has no end")),
        }
    }
    let physical = manifest.physical().ok_or_else(|| BackupError::Damaged {
        id: id.to_owned(),
        reason: "it holds no database".to_owned(),
    })?;
    let place = least_used(nodes, controllers)?;
    tell(&format!(
        "restoring into a scratch server on {}",
        place.node
    ));
    let bytes = room(&manifest).to_string();
    let work = Work {
        doing: "the scratch server",
        script: include_str!("scripts/scratch.sh"),
        args: &[&bytes, TABLES],
        limit: STREAM + READ,
    };
    let said = nodes::push(nodes, &place.node, work, |sink| {
        pack::unpack(&folder, physical, sink)
    })?;
    let found = tables::parse(&said).map_err(|reason| BackupError::Node {
        node: place.node.clone(),
        doing: work.doing,
        reason,
    })?;
    let (same, differ) = tables::compare(&manifest.tables, &found);
    faults.extend(differ);
    Ok(Proof {
        id: id.to_owned(),
        node: place.node,
        same,
        moving: manifest
            .tables
            .values()
            .filter(|table| table.checksum.is_none())
            .count(),
        dumps,
        faults,
    })
}

/// Keeps the end of what is written to it.
#[derive(Default)]
struct End(Vec<u8>);

impl End {
    /// `mariadb-dump` writes this when it has written everything.
    fn is_whole(&self) -> bool {
        String::from_utf8_lossy(&self.0).contains("-- Dump completed")
    }
}

impl Write for End {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(piece);
        if self.0.len() > 8192 {
            self.0.drain(..self.0.len() - 256);
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_ends_with_its_mark() {
        let mut end = End::default();
        for _ in 0..1000 {
            end.write_all(&[b'x'; 100]).unwrap();
        }
        assert!(!end.is_whole() && end.0.len() <= 8192);
        end.write_all(b"\n-- Dump completed on 2026-11-27\n")
            .unwrap();
        assert!(end.is_whole());
    }
}
