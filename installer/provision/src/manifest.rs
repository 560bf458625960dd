//! What a built node image consists of: the one value that the image builder leaves behind and that the boot
//! server and the install orders are made from.
//!
//! Deliberately not here: how an image is built, and which node gets it.
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A built node image with the kernel and ramdisk that install it. Written as `manifest.json` beside the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageManifest {
    /// Recipe's name, for example `controller`; the image is offered as `/images/<name>`.
    pub name: String,
    /// The zstd-compressed disk image.
    pub disk_image: PathBuf,
    /// SHA-256 of the compressed file, lower-case hex.
    pub sha256: String,
    /// Size of the compressed file in bytes.
    pub compressed_bytes: u64,
    /// Size of the disk image once unpacked, in bytes.
    pub disk_bytes: u64,
    /// Number of the root partition (1-based), grown to the end of the disk on installation.
    pub root_partition: u32,
    /// `uname -r` of the kernel inside the image.
    pub kernel_release: String,
    /// Kernel that the boot server offers to blank nodes; the ramdisk's drivers are its own.
    pub kernel: PathBuf,
    /// Ramdisk that the boot server offers to blank nodes.
    pub ramdisk: PathBuf,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("image manifest {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("image manifest {path} is not understood: {source}")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("image {name}: {reason}")]
    Invalid { name: String, reason: String },
}

impl ImageManifest {
    /// Reads a manifest; paths in it that are relative are taken from the manifest's own folder.
    ///
    /// # Errors
    /// When the file cannot be read or parsed, or [`ImageManifest::validate`] refuses it.
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read(path).map_err(|source| ManifestError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut manifest: Self =
            serde_json::from_slice(&text).map_err(|source| ManifestError::Parse {
                path: path.to_owned(),
                source,
            })?;
        if let Some(folder) = path.parent() {
            for file in [
                &mut manifest.disk_image,
                &mut manifest.kernel,
                &mut manifest.ramdisk,
            ] {
                *file = folder.join(&*file);
            }
        }
        manifest.validate()?;
        Ok(manifest)
    }

    /// Whether the disk image is the one that was built. Reads all of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_intact(&self) -> std::io::Result<bool> {
        let mut file = std::fs::File::open(&self.disk_image)?;
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex::encode(digest.finalize()) == self.sha256),
                length => digest.update(buffer.get(..length).unwrap_or_default()),
            }
        }
    }

    /// Checks that the files are there and that the sizes and the digest can be true. The digest itself is
    /// checked by every node while the image streams, so it is not computed here.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), ManifestError> {
        let invalid = |reason: String| {
            Err(ManifestError::Invalid {
                name: self.name.clone(),
                reason,
            })
        };
        if self.name.is_empty()
            || !self
                .name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            return invalid("the name may hold letters, digits, '-', '_' and '.' only".into());
        }
        if self.sha256.len() != 64
            || !self
                .sha256
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return invalid(format!(
                "'{}' is not a SHA-256 in lower-case hex",
                self.sha256
            ));
        }
        if self.root_partition == 0 {
            return invalid("partitions are counted from 1".into());
        }
        for file in [&self.disk_image, &self.kernel, &self.ramdisk] {
            match std::fs::metadata(file) {
                Ok(found) if found.is_file() => {}
                Ok(_) => return invalid(format!("{} is not a file", file.display())),
                Err(error) => return invalid(format!("{}: {error}", file.display())),
            }
        }
        let found = std::fs::metadata(&self.disk_image)
            .map(|found| found.len())
            .unwrap_or_default();
        if found != self.compressed_bytes {
            return invalid(format!(
                "{} has {found} bytes, the manifest says {}",
                self.disk_image.display(),
                self.compressed_bytes
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> ImageManifest {
        for name in ["disk.zst", "vmlinuz", "ramdisk"] {
            std::fs::write(folder.join(name), name).unwrap();
        }
        ImageManifest {
            name: "base".into(),
            disk_image: "disk.zst".into(),
            sha256: "ab".repeat(32),
            compressed_bytes: 8,
            disk_bytes: 1 << 30,
            root_partition: 2,
            kernel_release: "6.1.0-56-cloud-amd64".into(),
            kernel: "vmlinuz".into(),
            ramdisk: "ramdisk".into(),
        }
    }

    #[test]
    fn a_manifest_is_read_back_with_paths_from_its_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = written(folder.path());
        let file = folder.path().join("manifest.json");
        std::fs::write(&file, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let loaded = ImageManifest::load(&file).unwrap();
        assert_eq!(loaded.kernel, folder.path().join("vmlinuz"));
    }

    #[test]
    fn a_damaged_image_is_told_from_an_intact_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = written(folder.path());
        manifest.disk_image = folder.path().join("disk.zst");
        assert!(!manifest.is_intact().unwrap());
        manifest.sha256 = hex::encode(Sha256::digest("disk.zst"));
        assert!(manifest.is_intact().unwrap());
    }

    #[test]
    fn a_truncated_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = written(folder.path());
        manifest.compressed_bytes = 9;
        let file = folder.path().join("manifest.json");
        std::fs::write(&file, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let told = ImageManifest::load(&file).unwrap_err().to_string();
        assert!(told.contains("has 8 bytes, the manifest says 9"), "{told}");
    }
}
