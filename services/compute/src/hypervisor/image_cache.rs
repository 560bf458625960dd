//! Images on a compute node: fetched once per host, verified, and never read before they were. A file in the cache
//! is complete and checked by definition: it gets its name only after that. Knows no hypervisor.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha512};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::{HypervisorError, ImageRef, ImageSource, Step};

/// `qemu-img` is killed when it takes longer: an hour is enough for hundreds of GiB.
const QEMU_IMG_TIMEOUT: Duration = Duration::from_secs(3600);

/// The folder of cached images.
pub struct ImageCache {
    folder: PathBuf,
    /// One lock an image, so that ten guests of one image fetch it once.
    fetching: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

fn failed(message: impl Into<String>) -> HypervisorError {
    HypervisorError::new(Step::Image, message)
}

impl ImageCache {
    /// A cache in `folder`, which is made when needed.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            fetching: Mutex::default(),
        }
    }

    /// The path of the image's data as it is in the image service, fetched and verified when it is not there yet.
    pub async fn fetch(
        &self,
        image: &ImageRef,
        source: &dyn ImageSource,
    ) -> Result<PathBuf, HypervisorError> {
        let name = file_name(&image.id)?;
        let path = self.folder.join(&name);
        let lock = {
            let mut fetching = self
                .fetching
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            // Locks that nobody holds are forgotten here, so that the map stays small.
            fetching.retain(|_, lock| Arc::strong_count(lock) > 1);
            fetching.entry(name.clone()).or_default().clone()
        };
        let _one_at_a_time = lock.lock().await;
        if tokio::fs::try_exists(&path).await.unwrap_or(false) {
            return Ok(path);
        }
        tokio::fs::create_dir_all(&self.folder)
            .await
            .map_err(|e| failed(format!("cannot create `{}`: {e}", self.folder.display())))?;
        let part = self.folder.join(format!("{name}.part"));
        let _ = tokio::fs::remove_file(&part).await; // the rest of a download that was cut off
        let result = async {
            source.download(&image.id, &part).await?;
            verify(&part, image).await
        };
        if let Err(error) = result.await {
            let _ = tokio::fs::remove_file(&part).await;
            return Err(error);
        }
        tokio::fs::rename(&part, &path)
            .await
            .map_err(|e| failed(format!("cannot keep image {}: {e}", image.id)))?;
        tracing::info!(image = %image.id, "image fetched and verified");
        Ok(path)
    }

    /// A qcow2 file at `target` on top of the cached image, `size_gib` large (as large as the image when 0).
    /// Nothing is done when `target` exists.
    pub async fn overlay(
        &self,
        image: &ImageRef,
        source: &dyn ImageSource,
        target: &Path,
        size_gib: u64,
    ) -> Result<(), HypervisorError> {
        if tokio::fs::try_exists(target).await.unwrap_or(false) {
            return Ok(());
        }
        let base = self.fetch(image, source).await?;
        let (base, format) = self.usable_base(image, base).await?;
        let virtual_size = virtual_size(&base, format).await?;
        let wanted = size_gib * (1 << 30);
        if wanted != 0 && virtual_size > wanted {
            return Err(failed(format!(
                "the flavor's disk of {size_gib} GiB is smaller than image {} with {:.2} GiB",
                image.id,
                virtual_size as f64 / f64::from(1 << 30)
            )));
        }
        // Under another name first: a file with the right name is a whole disk.
        let part = target.with_extension("part");
        let size = wanted.max(virtual_size).to_string();
        let arguments: Vec<&std::ffi::OsStr> = vec![
            "create".as_ref(),
            "-q".as_ref(),
            "-f".as_ref(),
            "qcow2".as_ref(),
            "-F".as_ref(),
            format.as_ref(),
            "-b".as_ref(),
            base.as_os_str(),
            part.as_os_str(),
            size.as_ref(),
        ];
        qemu_img(&arguments).await?;
        tokio::fs::rename(&part, target)
            .await
            .map_err(|e| failed(format!("cannot create `{}`: {e}", target.display())))
    }

    /// Formats other than raw and qcow2 are converted once: overlays on them are slow or impossible.
    async fn usable_base(
        &self,
        image: &ImageRef,
        base: PathBuf,
    ) -> Result<(PathBuf, &'static str), HypervisorError> {
        let format = match image.disk_format.as_str() {
            "raw" | "ami" | "iso" => return Ok((base, "raw")),
            "qcow2" => {
                refuse_references(&base, "qcow2").await?;
                return Ok((base, "qcow2"));
            }
            "vmdk" => "vmdk",
            "vdi" => "vdi",
            "vhd" => "vpc",
            "vhdx" => "vhdx",
            other => {
                return Err(failed(format!(
                    "a server cannot boot from disk format `{other}` of image {}",
                    image.id
                )));
            }
        };
        let converted = base.with_extension("qcow2");
        if !tokio::fs::try_exists(&converted).await.unwrap_or(false) {
            refuse_references(&base, format).await?;
            let part = base.with_extension("converting");
            qemu_img(&[
                "convert".as_ref(),
                "-q".as_ref(),
                "-f".as_ref(),
                format.as_ref(),
                "-O".as_ref(),
                "qcow2".as_ref(),
                base.as_os_str(),
                part.as_os_str(),
            ])
            .await?;
            tokio::fs::rename(&part, &converted)
                .await
                .map_err(|e| failed(format!("cannot keep image {}: {e}", image.id)))?;
        }
        Ok((converted, "qcow2"))
    }
}

/// Ids come from the image service, but a file name is not the place to trust that.
fn file_name(id: &str) -> Result<String, HypervisorError> {
    let ok = !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if ok {
        Ok(id.to_owned())
    } else {
        Err(failed(format!("`{id}` is not an image id")))
    }
}

async fn verify(path: &Path, image: &ImageRef) -> Result<(), HypervisorError> {
    let mut file = tokio::fs::File::open(path)
        .await
        .map_err(|e| failed(format!("cannot read image {}: {e}", image.id)))?;
    let (mut sha512, mut md5, mut size) = (Sha512::new(), md5::Md5::new(), 0u64);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file
            .read(&mut buffer)
            .await
            .map_err(|e| failed(format!("cannot read image {}: {e}", image.id)))?;
        if n == 0 {
            break;
        }
        size += n as u64;
        if image.sha512.is_some() {
            sha512.update(&buffer[..n]);
        } else {
            md5.update(&buffer[..n]);
        }
    }
    file.sync_all()
        .await
        .map_err(|e| failed(format!("cannot write image {}: {e}", image.id)))?;
    if let Some(expected) = image.size
        && expected != size
    {
        return Err(failed(format!(
            "image {} has {size} bytes, the image service says {expected}",
            image.id
        )));
    }
    let (kind, expected, found) = match (&image.sha512, &image.md5) {
        (Some(expected), _) => ("SHA-512", expected, hex::encode(sha512.finalize())),
        (None, Some(expected)) => ("MD5", expected, hex::encode(md5.finalize())),
        (None, None) => return Err(failed(format!("image {} has no checksum", image.id))),
    };
    if expected.eq_ignore_ascii_case(&found) {
        Ok(())
    } else {
        Err(failed(format!(
            "checksum of image {} is wrong: {kind} {found}, the image service says {expected}",
            image.id
        )))
    }
}

/// Runs `qemu-img` and returns its output.
pub async fn qemu_img(arguments: &[&std::ffi::OsStr]) -> Result<Vec<u8>, HypervisorError> {
    let run = Command::new("qemu-img")
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(QEMU_IMG_TIMEOUT, run).await {
        Err(_) => return Err(failed("qemu-img did not finish within an hour")),
        Ok(Err(error)) => {
            return Err(failed(format!(
                "qemu-img cannot be started: {error} (package qemu-utils)"
            )));
        }
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(format!(
            "qemu-img: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

async fn info(path: &Path, format: &str) -> Result<serde_json::Value, HypervisorError> {
    let out = qemu_img(&[
        "info".as_ref(),
        "-U".as_ref(),
        "--output=json".as_ref(),
        "-f".as_ref(),
        format.as_ref(),
        path.as_os_str(),
    ])
    .await?;
    serde_json::from_slice(&out).map_err(|e| failed(format!("qemu-img info: {e}")))
}

async fn virtual_size(path: &Path, format: &str) -> Result<u64, HypervisorError> {
    let info = info(path, format).await?;
    info["virtual-size"]
        .as_u64()
        .ok_or_else(|| failed("qemu-img info told no virtual size"))
}

/// An image that names other files would show the host's files to the guest.
async fn refuse_references(path: &Path, format: &str) -> Result<(), HypervisorError> {
    let info = info(path, format).await?;
    let data_file = &info["format-specific"]["data"]["data-file"];
    if !info["backing-filename"].is_null() || !data_file.is_null() {
        return Err(failed(
            "the image refers to another file, which is not allowed",
        ));
    }
    if format == "vmdk" {
        let extents = info["format-specific"]["data"]["create-type"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if !matches!(extents.as_str(), "monolithicSparse" | "streamOptimized") {
            return Err(failed(format!("VMDK of type `{extents}` is not allowed")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Folder {
        data: Vec<u8>,
        downloads: AtomicU32,
    }

    #[async_trait::async_trait]
    impl ImageSource for Folder {
        async fn download(&self, _image_id: &str, target: &Path) -> Result<(), HypervisorError> {
            self.downloads.fetch_add(1, Ordering::SeqCst);
            tokio::fs::write(target, &self.data)
                .await
                .map_err(|e| failed(e.to_string()))
        }
    }

    fn image(data: &[u8]) -> ImageRef {
        ImageRef {
            id: "i-1".into(),
            disk_format: "raw".into(),
            size: Some(data.len() as u64),
            sha512: Some(hex::encode(Sha512::digest(data))),
            md5: None,
        }
    }

    #[tokio::test]
    async fn fetched_once_and_checked() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let source = Folder {
            data: vec![7; 4096],
            downloads: AtomicU32::new(0),
        };
        let cache = ImageCache::new(dir.path().join("_base"));
        let image = image(&source.data);
        let (a, b) = tokio::join!(cache.fetch(&image, &source), cache.fetch(&image, &source));
        assert_eq!(a.expect("fetched"), b.expect("fetched"));
        assert_eq!(source.downloads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_wrong_checksum_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let source = Folder {
            data: vec![7; 4096],
            downloads: AtomicU32::new(0),
        };
        let cache = ImageCache::new(dir.path().to_owned());
        let wrong = ImageRef {
            sha512: Some("00".repeat(64)),
            ..image(&source.data)
        };
        let error = cache
            .fetch(&wrong, &source)
            .await
            .expect_err("the checksum is wrong");
        assert_eq!(error.step, Step::Image);
        assert!(
            error.message.starts_with("checksum of image i-1 is wrong"),
            "{error}"
        );
        let short = ImageRef {
            size: Some(5000),
            ..image(&source.data)
        };
        assert!(cache.fetch(&short, &source).await.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
        let outside = ImageRef {
            id: "../x".into(),
            ..image(&source.data)
        };
        assert!(cache.fetch(&outside, &source).await.is_err());
    }

    #[tokio::test]
    async fn overlay_is_as_large_as_the_flavor() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let source = Folder {
            data: vec![7; 4096],
            downloads: AtomicU32::new(0),
        };
        let cache = ImageCache::new(dir.path().join("_base"));
        let image = image(&source.data);
        if std::process::Command::new("qemu-img")
            .arg("--version")
            .output()
            .is_err()
        {
            println!("skipped: qemu-img (package qemu-utils) is not installed");
            return;
        }
        let disk = dir.path().join("disk");
        cache
            .overlay(&image, &source, &disk, 1)
            .await
            .expect("an overlay");
        assert_eq!(virtual_size(&disk, "qcow2").await.expect("a size"), 1 << 30);
        // An image that refers to a file of the host is never used.
        let evil = std::fs::read(&disk).expect("readable");
        let source = Folder {
            data: evil.clone(),
            downloads: AtomicU32::new(0),
        };
        let evil = ImageRef {
            id: "evil".into(),
            disk_format: "qcow2".into(),
            size: None,
            sha512: Some(hex::encode(Sha512::digest(&evil))),
            md5: None,
        };
        let error = cache
            .overlay(&evil, &source, &dir.path().join("disk2"), 1)
            .await
            .expect_err("refused");
        assert!(error.message.contains("refers to another file"), "{error}");
    }
}
