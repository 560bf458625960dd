//! Debian installed into a folder: the base tree that all images share, and a role's tree, which is a copy of
//! it with more packages. Making it fit for a node is `slim`'s work, making it a disk is `disk`'s.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{
    command::{chrooted, isolated, run},
    error::{At, ImageError},
    recipe::{BASE_PACKAGES, SUITE},
    source::PackageSource,
};

/// Packages of kernels begin so.
const KERNEL_PACKAGE: &str = "linux-image-";
/// Draws in the kernel of the base system.
const BASE_KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// What dpkg leaves out: documentation, and binaries that only make a node bigger. libvirt probes every
/// emulator it finds (5 CPU seconds each under emulation), so one is kept.
pub(super) const EXCLUDED_PATHS: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
    "/usr/share/bug/*",
    "/lib/firmware/*",
    "/usr/lib/firmware/*",
    "/usr/bin/qemu-system-i386",
    "/usr/bin/qemu-system-x86_64-microvm",
];

/// Installs the base system into `tree`, which must not exist.
///
/// # Errors
/// When mmdebstrap fails; the end of its log is in the error.
pub(super) fn base(source: &PackageSource, tree: &Path, log: &Path) -> Result<(), ImageError> {
    let list = tree.with_extension("sources");
    fs::write(&list, source.to_deb822()).at("write", &list)?;
    let mut command = isolated("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--format=directory"]);
    command.args([
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=Acquire::Languages \"none\"",
    ]);
    for (name, value) in &source.options {
        command.arg(format!("--aptopt={name} \"{value}\""));
    }
    for path in EXCLUDED_PATHS {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    // Debian asks that licences stay with the programs.
    command.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    command
        .arg(format!("--include={}", BASE_PACKAGES.join(",")))
        .arg(SUITE)
        .arg(tree)
        .arg(&list);
    run(&mut command, log)?;
    // Our own initial ramdisk goes into the image; the distribution's (13 MB) is never used.
    for name in names(&tree.join("boot"))?
        .iter()
        .filter(|name| name.starts_with("initrd.img"))
    {
        let path = tree.join("boot").join(name);
        fs::remove_file(&path).at("remove", &path)?;
    }
    let conf = tree.join("etc/initramfs-tools/update-initramfs.conf");
    if conf.exists() {
        fs::write(&conf, "update_initramfs=no\nbackup_initramfs=no\n").at("write", &conf)?;
    }
    Ok(())
}

/// Copies `base` to `tree` and installs `packages` there. Units that the packages enable are disabled again:
/// the roles enable what they have configured. A kernel among the packages takes the place of the base system's:
/// one image boots one kernel.
///
/// # Errors
/// When copying or apt fails.
pub(super) fn with_packages(
    base: &Path,
    source: &PackageSource,
    packages: &BTreeSet<String>,
    tree: &Path,
    log: &Path,
) -> Result<(), ImageError> {
    run(
        isolated("cp")
            .args(["--archive", "--reflink=auto"])
            .arg(base)
            .arg(tree),
        log,
    )?;
    if packages.is_empty() {
        return Ok(());
    }
    let before = enabled_units(tree)?;
    // invoke-rc.d asks this program; 101 means "not allowed": nothing is started while packages are installed.
    let policy = tree.join("usr/sbin/policy-rc.d");
    write_program(&policy, "#!/bin/sh\nexit 101\n")?;
    let resolver = tree.join("etc/resolv.conf");
    fs::copy("/etc/resolv.conf", &resolver).at("copy to", &resolver)?;
    for key in source.keyrings() {
        let inside = tree.join(key.strip_prefix("/").unwrap_or(&key));
        if !inside.exists() {
            let folder = inside.parent().unwrap_or(tree).to_owned();
            fs::create_dir_all(&folder).at("make", &folder)?;
            fs::copy(&key, &inside).at("copy", &key)?;
        }
    }
    run(
        chrooted(tree, "apt-get").args(["update", "--quiet", "--error-on=any"]),
        log,
    )?;
    let mut install = chrooted(tree, "apt-get");
    install.args(["install", "--yes", "--quiet", "--no-install-recommends"]);
    install
        .args(["--option=Dpkg::Options::=--force-unsafe-io", "--"])
        .args(packages);
    run(&mut install, log)?;
    if packages.iter().any(|name| name.starts_with(KERNEL_PACKAGE)) {
        remove_kernels_of(base, tree, log)?;
    }
    fs::remove_file(&policy).at("remove", &policy)?;
    for link in enabled_units(tree)?.difference(&before) {
        fs::remove_file(link).at("remove", link)?;
    }
    run(chrooted(tree, "apt-get").arg("clean"), log)?;
    clear(&tree.join("var/lib/apt/lists"))
}

/// Removes the base system's kernels from `tree`, unless they are all that it has.
fn remove_kernels_of(base: &Path, tree: &Path, log: &Path) -> Result<(), ImageError> {
    let kernels = |tree: &Path| -> Result<BTreeSet<String>, ImageError> {
        let files = names(&tree.join("boot"))?;
        let releases = files
            .iter()
            .filter_map(|name| name.strip_prefix("vmlinuz-"));
        Ok(releases.map(str::to_owned).collect())
    };
    let old = kernels(base)?;
    if kernels(tree)?.is_subset(&old) {
        return Ok(());
    }
    let mut purge = chrooted(tree, "apt-get");
    purge.args(["purge", "--yes", "--quiet", "--", BASE_KERNEL_PACKAGE]);
    for release in old {
        purge.arg(format!("{KERNEL_PACKAGE}{release}"));
    }
    run(&mut purge, log)
}

/// The links by which units are enabled: those in `/etc/systemd/system/*.wants` and `*.requires`, and other names beside
/// them. One of any kind is enough for `systemctl is-enabled`, so that a unit that has kept another name would pass for
/// enabled and not start.
fn enabled_units(tree: &Path) -> Result<BTreeSet<PathBuf>, ImageError> {
    let folder = tree.join("etc/systemd/system");
    let mut links = BTreeSet::new();
    for name in names(&folder)? {
        let path = folder.join(&name);
        if name.ends_with(".wants") || name.ends_with(".requires") {
            links.extend(names(&path)?.into_iter().map(|link| path.join(link)));
        } else if fs::read_link(&path).is_ok_and(|target| target != Path::new("/dev/null")) {
            links.insert(path);
        }
    }
    Ok(links)
}

/// The names in a folder, in order; none when there is no such folder.
pub(super) fn names(folder: &Path) -> Result<BTreeSet<String>, ImageError> {
    if !folder.is_dir() {
        return Ok(BTreeSet::new());
    }
    let entries = fs::read_dir(folder)
        .at("read", folder)?
        .collect::<Result<Vec<_>, _>>()
        .at("read", folder)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

/// Empties a folder, which may be absent.
pub(super) fn clear(folder: &Path) -> Result<(), ImageError> {
    for name in names(folder)? {
        let path = folder.join(name);
        let removed = match path.symlink_metadata().at("read", &path)?.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.at("remove", &path)?;
    }
    Ok(())
}

fn write_program(path: &Path, text: &str) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).at("write", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).at("make executable", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_that_enables_a_unit_is_seen_and_no_mask() {
        let tree = tempfile::tempdir().unwrap();
        let folder = tree.path().join("etc/systemd/system");
        fs::create_dir_all(folder.join("multi-user.target.wants")).unwrap();
        for (link, target) in [
            (
                "multi-user.target.wants/chrony.service",
                "/lib/systemd/system/chrony.service",
            ),
            ("chronyd.service", "/lib/systemd/system/chrony.service"),
            ("fstrim.timer", "/dev/null"),
        ] {
            symlink(target, folder.join(link)).unwrap();
        }
        fs::write(folder.join("wright-agent.service"), "").unwrap();
        let seen: Vec<PathBuf> = enabled_units(tree.path()).unwrap().into_iter().collect();
        assert_eq!(
            seen,
            ["chronyd.service", "multi-user.target.wants/chrony.service"]
                .map(|link| folder.join(link))
        );
    }
}
