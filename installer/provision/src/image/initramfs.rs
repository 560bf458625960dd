//! Initial RAM file systems: a tree in memory, written as a zstd-compressed cpio archive in the kernel's
//! `newc` format; and the small one with which an installed node finds its root.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use cpio::newc;

use super::{
    command::{chrooted, output},
    error::{At, ImageError},
    kernel::{Kernel, Module},
};

/// The installed node's first program.
pub(super) const NODE_INIT: &str = include_str!("files/node-init.sh");
/// What a node's root disk hangs on.
const NODE_MODULES: &[&str] = &["virtio_pci", "virtio_blk"];
const COMPRESSION_LEVEL: i32 = 15;

#[derive(Debug)]
enum Entry {
    Folder,
    File { mode: u32, bytes: Vec<u8> },
    Link(String),
}

/// The archive's content, by path without leading slash.
#[derive(Debug, Default)]
pub(super) struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// An archive with the mount points that every init needs, and busybox of `tree` with a link for each of
    /// its commands.
    ///
    /// # Errors
    /// When `tree` has no busybox.
    pub fn with_busybox(tree: &Path, log: &Path) -> Result<Self, ImageError> {
        let mut archive = Self::default();
        for folder in [
            "bin", "dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp",
        ] {
            archive.folder(folder);
        }
        archive.copy(&tree.join("bin/busybox"), "bin/busybox", 0o755)?;
        for command in output(chrooted(tree, "/bin/busybox").arg("--list"), log)?.lines() {
            if command != "busybox" {
                archive.link(&format!("bin/{command}"), "busybox");
            }
        }
        archive.link("sbin", "bin");
        Ok(archive)
    }

    pub fn folder(&mut self, path: &str) {
        self.add_parents(path);
        self.entries.entry(path.to_owned()).or_insert(Entry::Folder);
    }

    /// A file with these permission bits; one that is there is replaced.
    pub fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.add_parents(path);
        self.entries.insert(
            path.to_owned(),
            Entry::File {
                mode,
                bytes: bytes.into(),
            },
        );
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.add_parents(path);
        self.entries
            .insert(path.to_owned(), Entry::Link(target.to_owned()));
    }

    /// # Errors
    /// When `from` cannot be read.
    pub fn copy(&mut self, from: &Path, to: &str, mode: u32) -> Result<(), ImageError> {
        let bytes = fs::read(from).at("read", from)?;
        self.file(to, mode, bytes);
        Ok(())
    }

    /// Modules below `/lib/modules` by name, and their order in `/lib/modules/order`.
    pub fn modules(&mut self, modules: Vec<Module>) {
        let order: String = modules
            .iter()
            .map(|module| format!("{}\n", module.name))
            .collect();
        self.file("lib/modules/order", 0o644, order);
        for module in modules {
            self.file(
                &format!("lib/modules/{}.ko", module.name),
                0o644,
                module.bytes,
            );
        }
    }

    /// Programs of `tree` in `/bin`, with the libraries that they are linked to.
    ///
    /// # Errors
    /// When a program or a library is not there.
    pub fn programs(
        &mut self,
        tree: &Path,
        programs: &[&str],
        log: &Path,
    ) -> Result<(), ImageError> {
        for program in programs {
            let name = program.rsplit('/').next().unwrap_or(program);
            self.copy(
                &tree.join(program.trim_start_matches('/')),
                &format!("bin/{name}"),
                0o755,
            )?;
        }
        let listed = output(chrooted(tree, "ldd").args(programs), log)?;
        for library in libraries(&listed) {
            self.copy(
                &tree.join(library.trim_start_matches('/')),
                library.trim_start_matches('/'),
                0o755,
            )?;
        }
        Ok(())
    }

    fn add_parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.entries
                .entry(path[..at].to_owned())
                .or_insert(Entry::Folder);
        }
    }

    /// Writes the archive to `path`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ImageError> {
        let file = File::create(path).at("create", path)?;
        let write = || -> io::Result<()> {
            let mut encoder = zstd::Encoder::new(file, COMPRESSION_LEVEL)?;
            self.write_cpio(&mut encoder)?;
            encoder.finish()?.sync_all()
        };
        write().at("write", path)
    }

    fn write_cpio(&self, out: &mut dyn Write) -> io::Result<()> {
        const FOLDER: u32 = 0o040_755;
        const FILE: u32 = 0o100_000;
        const LINK: u32 = 0o120_777;
        let mut out = out;
        for (number, (path, entry)) in (1u32..).zip(&self.entries) {
            let (mode, bytes): (u32, &[u8]) = match entry {
                Entry::Folder => (FOLDER, &[]),
                Entry::File { mode, bytes } => (FILE | mode, bytes),
                Entry::Link(target) => (LINK, target.as_bytes()),
            };
            let size = u32::try_from(bytes.len())
                .map_err(|_| io::Error::other(format!("{path} is over 4 GiB")))?;
            let head = newc::Builder::new(path).ino(number).mode(mode).nlink(1);
            let mut writer = head.write(&mut out, size);
            writer.write_all(bytes)?;
            writer.finish()?;
        }
        newc::trailer(&mut out)?;
        Ok(())
    }
}

/// Paths in the output of `ldd`.
fn libraries(text: &str) -> std::collections::BTreeSet<&str> {
    text.lines()
        .filter(|line| line.starts_with('\t'))
        .flat_map(str::split_whitespace)
        .filter(|w| w.starts_with('/'))
        .collect()
}

/// The initial ramdisk of an installed node: 1 MB that loads the disk's driver and goes on to the root.
///
/// # Errors
/// When the tree lacks busybox or a module.
pub(super) fn node(
    tree: &Path,
    kernel: &Kernel,
    path: &Path,
    log: &Path,
) -> Result<(), ImageError> {
    let mut archive = Archive::default();
    for folder in ["dev", "mnt", "proc", "sys"] {
        archive.folder(folder);
    }
    archive.copy(&tree.join("bin/busybox"), "bin/busybox", 0o755)?;
    archive.modules(kernel.modules(NODE_MODULES, log)?);
    archive.file("init", 0o755, NODE_INIT);
    archive.write(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_reads_back_with_parents_before_children() {
        let mut archive = Archive::default();
        archive.file("etc/wright/x", 0o600, "secret");
        archive.link("bin/sh", "busybox");
        archive.file("init", 0o755, "#!");
        let mut bytes = Vec::new();
        archive.write_cpio(&mut bytes).unwrap();
        let mut seen = Vec::new();
        let mut rest: &[u8] = &bytes;
        loop {
            let reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            seen.push(format!(
                "{} {:o} {}",
                reader.entry().name(),
                reader.entry().mode(),
                reader.entry().file_size()
            ));
            rest = reader.finish().unwrap();
        }
        assert_eq!(
            seen,
            [
                "bin 40755 0",
                "bin/sh 120777 7",
                "etc 40755 0",
                "etc/wright 40755 0",
                "etc/wright/x 100600 6",
                "init 100755 2"
            ]
        );
    }

    #[test]
    fn libraries_of_several_programs_are_found_once() {
        let text = "/sbin/a:\n\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld-linux.so.2 (0x3)\n\
            /sbin/b:\n\tlibc.so.6 => /lib/libc.so.6 (0x4)\n\tnot a dynamic executable\n";
        assert_eq!(
            libraries(text).into_iter().collect::<Vec<_>>(),
            ["/lib/libc.so.6", "/lib64/ld-linux.so.2"]
        );
    }
}
