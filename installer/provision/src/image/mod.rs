//! Building node images, the boot ramdisk and the guest image: Debian packages in, files for the boot server
//! and the image service out. Every result is cached by a hash of what it was made from.
//!
//! This module does not know the inventory or the roles: what is to be in an image comes as [`ImageRecipe`].
//! All calls block for seconds to minutes; async callers use a blocking thread.
mod cache;
mod command;
mod disk;
mod error;
mod guest;
mod initramfs;
mod kernel;
mod ramdisk;
mod recipe;
mod slim;
mod source;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

pub use cache::Cache;
pub use command::missing_tools;
pub use error::{ImageError, MissingTool};
pub use recipe::{BASE_PACKAGES, ImageRecipe, SUITE};
pub use source::PackageSource;

use crate::manifest::ImageManifest;
use error::At;
use kernel::Kernel;

/// Free room in a node's root file system beside what the image brings; it is grown to the whole disk anyway.
const ROOT_SLACK_BYTES: u64 = 256 << 20;
/// The partition's part that ext4 itself takes: inode tables, bitmaps, journal.
const ROOT_OVERHEAD_PERCENT: u64 = 12;

/// Builds images into a cache folder.
pub struct Builder<'a> {
    cache: Cache,
    source: PackageSource,
    report: &'a (dyn Fn(&str) + Sync),
}

impl<'a> Builder<'a> {
    /// A builder that takes packages from the source that this machine is set up with; `report` is given a line
    /// for each step.
    ///
    /// # Errors
    /// When tools are missing (all are named), we are not root, or apt has no source of Debian's.
    pub fn new(cache: &Path, report: &'a (dyn Fn(&str) + Sync)) -> Result<Self, ImageError> {
        let missing = missing_tools();
        if !missing.is_empty() {
            return Err(ImageError::MissingTools(missing));
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(ImageError::NotRoot);
        }
        let source = PackageSource::of_this_machine(Path::new("/etc/apt"), SUITE)?;
        Ok(Self {
            cache: Cache::open(cache)?,
            source,
            report,
        })
    }

    /// Builds the image that `recipe` asks for and the ramdisk that installs it, with `agent` (a static program)
    /// inside. What is in the cache is taken from there.
    ///
    /// # Errors
    /// What stopped the build; then nothing of it is left.
    pub fn node_image(
        &self,
        recipe: &ImageRecipe,
        agent: &Path,
    ) -> Result<ImageManifest, ImageError> {
        recipe.validate()?;
        let _lock = self
            .cache
            .lock(|| (self.report)("waiting for another build to end"))?;
        let (base, base_key) = self.base()?;
        let folder = self.cache.produce(
            &format!("node-{}", recipe.name),
            &recipe.key(&base_key),
            |folder| self.build_node_image(recipe, &base, folder),
        )?;
        let installer = self.installer(&base, &base_key, agent)?;
        let file = folder.join("manifest.json");
        let text = fs::read(&file).at("read", &file)?;
        let mut manifest: ImageManifest = serde_json::from_slice(&text)
            .map_err(io_error)
            .at("understand", &file)?;
        manifest.kernel = installer.join("vmlinuz");
        manifest.ramdisk = installer.join("ramdisk.img");
        write_manifest(&manifest, &file)?;
        let manifest = ImageManifest::load(&file)?;
        Ok(manifest)
    }

    /// Builds the guest image; returns the path of the qcow2 file.
    ///
    /// # Errors
    /// What stopped the build.
    pub fn guest_image(&self) -> Result<PathBuf, ImageError> {
        let _lock = self
            .cache
            .lock(|| (self.report)("waiting for another build to end"))?;
        let (base, base_key) = self.base()?;
        let key = recipe::key(&["guest", &base_key, guest::CONTENT_KEY, disk::GRUB_EMBEDDED]);
        let folder = self.cache.produce("guest", &key, |folder| {
            let log = self.fresh_log("guest")?;
            self.step("guest image", || {
                guest::build(&base, &self.source, folder, &log)
            })
        })?;
        Ok(folder.join(guest::FILE_NAME))
    }

    fn base(&self) -> Result<(PathBuf, String), ImageError> {
        let key = recipe::base_key(&self.source.to_deb822());
        let folder = self.cache.produce("base", &key, |folder| {
            let log = self.fresh_log("base")?;
            self.step("base system by mmdebstrap", || {
                tree::base(&self.source, &folder.join("tree"), &log)
            })
        })?;
        Ok((folder.join("tree"), key))
    }

    fn build_node_image(
        &self,
        recipe: &ImageRecipe,
        base: &Path,
        folder: &Path,
    ) -> Result<(), ImageError> {
        let name = &recipe.name;
        let log = self.fresh_log(&format!("node-{name}"))?;
        let tree = folder.join("tree");
        let packages = recipe.packages.len();
        self.step(
            &format!("{name}: {packages} packages over the base system"),
            || tree::with_packages(base, &self.source, &recipe.packages, &tree, &log),
        )?;
        let kernel = Kernel::of(&tree)?;
        let disk_image = folder.join("disk.img");
        let disk_bytes = self.step(&format!("{name}: disk image"), || {
            slim::finish(&tree, &kernel, &recipe.kernel_arguments, &log)?;
            initramfs::node(&tree, &kernel, &tree.join("boot/initrd.img"), &log)?;
            let used = disk::used_bytes(&tree)?;
            disk::write(
                &tree,
                &disk_image,
                used + used * ROOT_OVERHEAD_PERCENT / 100 + ROOT_SLACK_BYTES,
                &log,
            )
        })?;
        let packed = folder.join("disk.zst");
        self.step(&format!("{name}: compression"), || {
            disk::compress(&disk_image, &packed, &log)
        })?;
        let (sha256, compressed_bytes) = disk::sha256(&packed)?;
        let manifest = ImageManifest {
            name: name.clone(),
            disk_image: "disk.zst".into(),
            sha256,
            compressed_bytes,
            disk_bytes,
            root_partition: disk::ROOT_PARTITION,
            kernel_release: kernel.release,
            // Named when the image is asked for: they change with the agent, the image does not.
            kernel: PathBuf::new(),
            ramdisk: PathBuf::new(),
        };
        write_manifest(&manifest, &folder.join("manifest.json"))?;
        fs::remove_file(&disk_image).at("remove", &disk_image)?;
        fs::remove_dir_all(&tree).at("remove", &tree)
    }

    /// The folder with the kernel and the ramdisk that install every image: the base system's, whatever kernel
    /// an image has.
    fn installer(&self, base: &Path, base_key: &str, agent: &Path) -> Result<PathBuf, ImageError> {
        let key = recipe::key(&["kernel and ramdisk", base_key, &disk::sha256(agent)?.0]);
        self.cache.produce("ramdisk", &key, |folder| {
            let log = self.fresh_log("ramdisk")?;
            let kernel = Kernel::of(base)?;
            fs::copy(&kernel.image, folder.join("vmlinuz")).at("copy", &kernel.image)?;
            self.step("ramdisk", || {
                ramdisk::write(base, &kernel, agent, &folder.join("ramdisk.img"), &log)
            })
        })
    }

    fn fresh_log(&self, name: &str) -> Result<PathBuf, ImageError> {
        let log = self.cache.log(name);
        fs::write(&log, "").at("write", &log)?;
        Ok(log)
    }

    fn step<T>(
        &self,
        what: &str,
        work: impl FnOnce() -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        (self.report)(&format!("{what} ..."));
        let begun = Instant::now();
        let done = work()?;
        (self.report)(&format!("{what}: {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(done)
    }
}

fn write_manifest(manifest: &ImageManifest, path: &Path) -> Result<(), ImageError> {
    let text = serde_json::to_vec_pretty(manifest)
        .map_err(io_error)
        .at("write", path)?;
    disk::write_whole(path, &text)
}

fn io_error(error: serde_json::Error) -> std::io::Error {
    error.into()
}
