//! What makes a copy of the image this one node: names, keys, files, the agent itself.
//!
//! All paths are below the mounted root; a symbolic link in the image cannot lead out of it.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use agent_protocol::enrol::{InstallOrders, SeedFile};

use super::InstallError;
use super::tool;

/// Where the agent lives in the installed system.
pub const AGENT_PATH: &str = "/usr/local/sbin/wright-agent";
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// `wright-agent seed ROOT`: a system that is there already, as a container's is, becomes the node that the orders on
/// standard input say. Prints its SSH host key.
///
/// # Errors
/// When the orders cannot be read, or what they ask for not be written.
pub fn run(root: &Path) -> Result<(), InstallError> {
    let orders: InstallOrders = serde_json::from_reader(io::stdin().lock())
        .map_err(|error| InstallError::io("seed", "read the orders".into(), error.into()))?;
    plant(root, &orders, Path::new("/proc/self/exe"))?;
    println!("{}", make_host_key(root, &orders.hostname)?);
    Ok(())
}

/// Writes everything the orders ask for below `root`. `agent` is the running binary.
pub fn plant(root: &Path, orders: &InstallOrders, agent: &Path) -> Result<(), InstallError> {
    let file = |path: &str, mode: u32, content: String| SeedFile {
        path: path.to_owned(),
        mode,
        content,
    };
    let mut files = vec![
        file("/etc/hostname", 0o644, format!("{}\n", orders.hostname)),
        file("/etc/machine-id", 0o444, format!("{}\n", orders.machine_id)),
    ];
    if !orders.authorized_keys.is_empty() {
        files.push(file(
            "/root/.ssh/authorized_keys",
            0o600,
            format!("{}\n", orders.authorized_keys.join("\n")),
        ));
    }
    files.extend(orders.files.iter().cloned());
    for file in &files {
        write(root, file)
            .map_err(|source| InstallError::io("seed", format!("write {}", file.path), source))?;
    }
    let ssh = root.join("root/.ssh");
    if ssh.is_dir() {
        // sshd ignores keys in a folder that others could write to.
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o700))
            .map_err(|source| InstallError::io("seed", "close /root/.ssh".into(), source))?;
    }
    copy_agent(root, agent)
        .map_err(|source| InstallError::io("seed", format!("write {AGENT_PATH}"), source))
}

/// Makes a fresh SSH host key with the image's own `ssh-keygen`; returns its public part, one line.
/// Keys that came with the image are shared by all its copies: they are removed.
pub fn make_host_key(root: &Path, hostname: &str) -> Result<String, InstallError> {
    let io = |what: &str| {
        let what = what.to_owned();
        move |source| InstallError::io("seed", what, source)
    };
    let folder = root.join("etc/ssh");
    for entry in fs::read_dir(&folder)
        .map_err(io("read /etc/ssh"))?
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(entry.path()).map_err(io("remove an old host key"))?;
        }
    }
    let comment = format!("root@{hostname}");
    let mut keygen = Command::new("/usr/bin/ssh-keygen");
    let new_root = root.to_owned();
    // SAFETY: between fork and exec only two system calls are made, on a path made before.
    unsafe {
        keygen.pre_exec(move || {
            nix::unistd::chroot(&new_root)?;
            nix::unistd::chdir("/")?;
            Ok(())
        });
    }
    keygen.args([
        "-q", "-t", "ed25519", "-N", "", "-C", &comment, "-f", HOST_KEY,
    ]);
    tool::run("seed", &mut keygen, "", 0)?;
    let public = fs::read_to_string(folder.join("ssh_host_ed25519_key.pub"))
        .map_err(io("read the new host key"))?;
    Ok(public.trim().to_owned())
}

/// Removes what is there first, so that a link in the image is replaced and not followed.
fn write(root: &Path, file: &SeedFile) -> io::Result<()> {
    let path = below(root, &file.path)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
        if !fs::canonicalize(parent)?.starts_with(fs::canonicalize(root)?) {
            return Err(io::Error::other(
                "a link on the way leads out of the new root",
            ));
        }
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(file.mode & 0o7777)
        .open(&path)?;
    out.write_all(file.content.as_bytes())?;
    // The mode given to open() is cut by the umask.
    out.set_permissions(fs::Permissions::from_mode(file.mode & 0o7777))
}

fn below(root: &Path, path: &str) -> io::Result<PathBuf> {
    let inside = Path::new(path)
        .strip_prefix("/")
        .map_err(|_| io::Error::other("the path is not absolute"))?;
    if inside
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
        && inside.file_name().is_some()
    {
        Ok(root.join(inside))
    } else {
        Err(io::Error::other("the path has parts that are not names"))
    }
}

fn copy_agent(root: &Path, agent: &Path) -> io::Result<()> {
    let target = below(root, AGENT_PATH)?;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(agent, &target)?;
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_protocol::enrol::{Image, NextBoot};
    use std::os::unix::fs::symlink;

    fn orders() -> InstallOrders {
        InstallOrders {
            disk: None,
            image: Image {
                url: String::new(),
                sha256: String::new(),
                compressed_bytes: 0,
                disk_bytes: 0,
                root_partition: 2,
                kernel: String::new(),
            },
            next: NextBoot::Reboot,
            hostname: "node-1".into(),
            fqdn: "node-1.domain.tld".into(),
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            authorized_keys: vec!["ssh-ed25519 AAAA one".into(), "ssh-ed25519 BBBB two".into()],
            files: vec![SeedFile {
                path: "/etc/systemd/network/10-eth0.network".into(),
                mode: 0o640,
                content: "[Match]\n".into(),
            }],
        }
    }

    fn mode(path: PathBuf) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_node_gets_its_names_keys_files_and_agent() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("agent"), "binary").unwrap();
        // As in an image whose machine-id is a link to somewhere outside.
        fs::create_dir_all(root.join("etc")).unwrap();
        symlink("/nowhere/machine-id", root.join("etc/machine-id")).unwrap();
        for _ in 0..2 {
            plant(root, &orders(), &root.join("agent")).unwrap();
        }
        assert_eq!(
            fs::read_to_string(root.join("etc/hostname")).unwrap(),
            "node-1\n"
        );
        assert_eq!(
            fs::read_to_string(root.join("etc/machine-id")).unwrap(),
            "0123456789abcdef0123456789abcdef\n"
        );
        assert_eq!(
            fs::read_to_string(root.join("root/.ssh/authorized_keys")).unwrap(),
            "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n"
        );
        assert_eq!(mode(root.join("root/.ssh/authorized_keys")), 0o600);
        assert_eq!(mode(root.join("root/.ssh")), 0o700);
        assert_eq!(
            mode(root.join("etc/systemd/network/10-eth0.network")),
            0o640
        );
        assert_eq!(mode(root.join("usr/local/sbin/wright-agent")), 0o755);
    }

    #[test]
    fn no_path_leads_out_of_the_new_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.join("link")).unwrap();
        for path in ["etc/x", "/../x", "/etc/../../x", "/link/x", "/"] {
            let file = SeedFile {
                path: path.into(),
                mode: 0o644,
                content: String::new(),
            };
            assert!(write(root, &file).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
