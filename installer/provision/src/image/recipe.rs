//! What goes into a node image, as a value, and the key under which the result is cached.
use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// Raised whenever the builder itself would make something else from the same recipe.
const BUILDER_VERSION: u32 = 1;

/// Digits of a cache key.
pub(super) const KEY_DIGITS: usize = 16;

/// The Debian release that nodes run.
pub const SUITE: &str = "bookworm";

/// What every node has, whatever its roles; and what the ramdisk and the guest image are taken from.
pub const BASE_PACKAGES: &[&str] = &[
    "busybox-static",
    "ca-certificates",
    "curl",
    "dbus",
    "e2fsprogs",
    "fdisk",
    "iproute2",
    "iputils-ping",
    "kexec-tools",
    "kmod",
    "libnss-systemd",
    "linux-image-cloud-amd64",
    "netbase",
    "openssh-server",
    "procps",
    "systemd",
    "systemd-sysv",
    "udev",
    "zstd",
];

/// A node image to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecipe {
    /// Letters, digits and `-`; the image is offered under this name, for example `controller`.
    pub name: String,
    /// Debian packages beside [`BASE_PACKAGES`].
    pub packages: BTreeSet<String>,
    /// Added to the installed system's kernel command line, for example `mitigations=off` for emulated nodes.
    pub kernel_arguments: Vec<String>,
}

impl ImageRecipe {
    /// # Errors
    /// The first word that is no name, package or kernel argument.
    pub fn validate(&self) -> Result<(), super::ImageError> {
        let invalid = |reason: String| {
            Err(super::ImageError::Recipe {
                name: self.name.clone(),
                reason,
            })
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if self.name.is_empty() || !self.name.chars().all(|c| plain(c) || c == '-') {
            return invalid("the name may hold lower-case letters, digits and '-' only".into());
        }
        // Debian Policy §5.6.1; a leading '-' would be read as an option by apt.
        for package in &self.packages {
            if !package.starts_with(plain)
                || !package.chars().all(|c| plain(c) || "+-.".contains(c))
            {
                return invalid(format!("`{package}` is not the name of a Debian package"));
            }
        }
        for word in &self.kernel_arguments {
            if word.is_empty()
                || !word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-=,:/@".contains(c))
            {
                return invalid(format!("`{word}` is not a kernel argument"));
            }
        }
        Ok(())
    }

    /// The key of this recipe's disk image over the base tree with key `base`.
    pub(super) fn key(&self, base: &str) -> String {
        let mut words = vec!["node", base, &self.name];
        words.extend(self.packages.iter().map(String::as_str));
        words.push("--");
        words.extend(self.kernel_arguments.iter().map(String::as_str));
        words.extend([
            super::slim::CONTENT_KEY,
            super::disk::GRUB_EMBEDDED,
            super::initramfs::NODE_INIT,
        ]);
        key(&words)
    }
}

/// The key of the base tree made from the package source `sources`.
pub(super) fn base_key(sources: &str) -> String {
    let mut words = vec!["base", SUITE, sources];
    words.extend(BASE_PACKAGES);
    words.extend(super::tree::EXCLUDED_PATHS);
    key(&words)
}

/// A short digest of `words` and of the builder's version.
pub(super) fn key(words: &[&str]) -> String {
    let mut digest = Sha256::new();
    digest.update(BUILDER_VERSION.to_le_bytes());
    for word in words {
        digest.update((word.len() as u64).to_le_bytes());
        digest.update(word);
    }
    let mut text = hex::encode(digest.finalize());
    text.truncate(KEY_DIGITS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(packages: &[&str]) -> ImageRecipe {
        ImageRecipe {
            name: "controller".into(),
            packages: packages.iter().map(|p| p.to_string()).collect(),
            kernel_arguments: Vec::new(),
        }
    }

    #[test]
    fn the_order_of_packages_does_not_matter_and_the_packages_do() {
        assert_eq!(
            recipe(&["a1", "b1"]).key("x"),
            recipe(&["b1", "a1"]).key("x")
        );
        assert_ne!(recipe(&["a1"]).key("x"), recipe(&["a1", "b1"]).key("x"));
        assert_ne!(recipe(&["a1"]).key("x"), recipe(&["a1"]).key("y"));
    }

    #[test]
    fn options_do_not_pass_as_packages() {
        assert!(recipe(&["galera-4", "g++", "libc6.1"]).validate().is_ok());
        for bad in ["-o", "a b", "../x", ""] {
            assert!(recipe(&[bad]).validate().is_err(), "{bad}");
        }
    }
}
