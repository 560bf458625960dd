//! The kernel inside a tree: its release, and its modules with all they depend on in the order to load them.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    command::run,
    error::{At, ImageError},
    tree::names,
};

/// A kernel and where its modules lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kernel {
    /// `uname -r`.
    pub release: String,
    pub image: PathBuf,
    modules: PathBuf,
    tree: PathBuf,
}

/// A module, uncompressed, to be loaded after those before it.
pub(super) struct Module {
    /// Without `.ko`.
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Kernel {
    /// The one kernel of `tree`.
    ///
    /// # Errors
    /// When there is none, or more than one: then nobody could say which one a node boots.
    pub fn of(tree: &Path) -> Result<Self, ImageError> {
        let fault = |reason: String| ImageError::Kernel {
            tree: tree.to_owned(),
            reason,
        };
        let files = names(&tree.join("boot"))?;
        let releases: Vec<&str> = files
            .iter()
            .filter_map(|name| name.strip_prefix("vmlinuz-"))
            .collect();
        let release = match releases.as_slice() {
            [release] => release.to_string(),
            [] => return Err(fault("no /boot/vmlinuz-* there".into())),
            several => return Err(fault(format!("more than one: {}", several.join(", ")))),
        };
        let modules = tree.join("usr/lib/modules").join(&release);
        if !modules.join("modules.dep").is_file() {
            return Err(fault(format!("no modules.dep for release {release}")));
        }
        let image = tree.join("boot").join(format!("vmlinuz-{release}"));
        Ok(Self {
            release,
            image,
            modules,
            tree: tree.to_owned(),
        })
    }

    /// The modules `wanted` and what they depend on, in the order to load them; built-in ones are left out.
    ///
    /// # Errors
    /// When the kernel has no such module.
    pub fn modules(&self, wanted: &[&str], log: &Path) -> Result<Vec<Module>, ImageError> {
        let read = |name: &str| {
            let path = self.modules.join(name);
            fs::read_to_string(&path).at("read", &path)
        };
        let paths = load_order(&read("modules.dep")?, &read("modules.builtin")?, wanted).map_err(
            |reason| ImageError::Kernel {
                tree: self.tree.clone(),
                reason,
            },
        )?;
        paths.iter().map(|path| self.module(path, log)).collect()
    }

    fn module(&self, path: &str, log: &Path) -> Result<Module, ImageError> {
        let file = self.modules.join(path);
        let bytes = match path.rsplit('.').next() {
            Some("xz") => {
                let folder = tempfile::tempdir().at("make", Path::new("temporary folder"))?;
                let copy = folder.path().join("module.ko.xz");
                fs::copy(&file, &copy).at("copy", &file)?;
                run(Command::new("xz").arg("--decompress").arg(&copy), log)?;
                fs::read(copy.with_extension("")).at("read", &file)?
            }
            Some("zst") => {
                let packed = fs::File::open(&file).at("open", &file)?;
                zstd::decode_all(packed).at("decompress", &file)?
            }
            _ => fs::read(&file).at("read", &file)?,
        };
        Ok(Module {
            name: module_name(path).to_owned(),
            bytes,
        })
    }
}

/// `kernel/drivers/virtio/virtio_pci.ko.xz` → `virtio_pci`. The kernel takes `-` and `_` for the same.
fn module_name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").map_or(file, |(name, _)| name)
}

fn same_name(path: &str, name: &str) -> bool {
    module_name(path).replace('-', "_") == name.replace('-', "_")
}

/// Paths of the modules `wanted` with their dependencies, dependencies first. `modules.dep` lists for each
/// module everything it needs, nearest first.
fn load_order(dep: &str, builtin: &str, wanted: &[&str]) -> Result<Vec<String>, String> {
    let mut order: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        let line = dep
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(path, _)| same_name(path, name));
        let Some((path, needs)) = line else {
            if builtin.lines().any(|path| same_name(path, name)) {
                continue;
            }
            return Err(format!("it has no module `{name}`"));
        };
        let needs: Vec<&str> = needs.split_whitespace().collect();
        for path in needs.into_iter().rev().chain([path]) {
            if seen.insert(path.to_owned()) {
                order.push(path.to_owned());
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/virtio/virtio.ko: kernel/virtio/virtio_ring.ko\nkernel/virtio/virtio_ring.ko:\n\
        kernel/virtio/virtio_pci.ko.xz: kernel/virtio/virtio.ko kernel/virtio/virtio_ring.ko\n\
        kernel/char/virtio-rng.ko: kernel/virtio/virtio.ko kernel/virtio/virtio_ring.ko\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let order = load_order(
            DEP,
            "kernel/fs/ext4/ext4.ko\n",
            &["virtio_pci", "ext4", "virtio_rng"],
        )
        .unwrap();
        let order: Vec<&str> = order.iter().map(|path| module_name(path)).collect();
        assert_eq!(order, ["virtio_ring", "virtio", "virtio_pci", "virtio-rng"]);
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        assert_eq!(
            load_order(DEP, "", &["nvme"]).unwrap_err(),
            "it has no module `nvme`"
        );
    }

    #[test]
    fn two_kernels_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("boot")).unwrap();
        assert!(
            Kernel::of(folder.path())
                .unwrap_err()
                .to_string()
                .contains("no /boot/vmlinuz")
        );
        for release in ["6.1.0-1", "6.1.0-2"] {
            fs::write(
                folder
                    .path()
                    .join("boot")
                    .join(format!("vmlinuz-{release}")),
                "",
            )
            .unwrap();
        }
        let told = Kernel::of(folder.path()).unwrap_err().to_string();
        assert!(told.contains("more than one: 6.1.0-1, 6.1.0-2"), "{told}");
    }
}
