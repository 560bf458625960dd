//! The second initrd: a cpio archive (newc) that puts the one-time token where the agent looks for it.
use std::io;

use agent_protocol::enrol::TOKEN_PATH;
use cpio::newc::{Builder, ModeFileType, trailer};

/// The kernel reads archives that follow each other at multiples of four; a block of zeros suits every loader.
const BLOCK: usize = 512;

/// # Errors
/// When the archive cannot be written, which memory does not refuse.
pub fn archive(token: &str) -> io::Result<Vec<u8>> {
    let mut archive = Vec::with_capacity(2 * BLOCK);
    let path = TOKEN_PATH.trim_start_matches('/');
    // Folders first, for a ramdisk that has none of them yet.
    let folders: Vec<&str> = path
        .match_indices('/')
        .map(|(end, _)| &path[..end])
        .collect();
    for (number, folder) in folders.iter().enumerate() {
        // The outermost, /etc, is everybody's; the one that holds the token is not.
        let mode = if number == 0 { 0o755 } else { 0o700 };
        Builder::new(folder)
            .mode(mode)
            .set_mode_file_type(ModeFileType::Directory)
            .nlink(2)
            .write(&mut archive, 0)
            .finish()?;
    }
    let length = u32::try_from(token.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut file = Builder::new(path)
        .mode(0o600)
        .set_mode_file_type(ModeFileType::Regular)
        .nlink(1)
        .write(&mut archive, length);
    io::Write::write_all(&mut file, token.as_bytes())?;
    file.finish()?;
    trailer(&mut archive)?;
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_archive_holds_the_token_for_root_alone() {
        let archive = archive("secret").unwrap();
        assert_eq!(archive.len() % BLOCK, 0);
        let mut rest = io::Cursor::new(archive);
        let mut found = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            let entry = reader.entry();
            found.push((entry.name().to_owned(), entry.mode(), entry.uid(), content));
            rest = reader.finish().unwrap();
        }
        assert_eq!(
            found,
            [
                ("etc".to_owned(), 0o040_755, 0, String::new()),
                ("etc/wright".to_owned(), 0o040_700, 0, String::new()),
                (
                    "etc/wright/token".to_owned(),
                    0o100_600,
                    0,
                    "secret".to_owned()
                ),
            ]
        );
    }
}
