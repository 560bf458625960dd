//! What an account has on the disk: its home folder, and its key for SSH.
use std::fs;
use std::path::Path;

use crate::args::Args;
use crate::attributes::Attributes;
use crate::context::{Context, Fault};

/// Makes the home of an account that has none, with the skeleton's files in it.
pub fn make_home(
    context: &mut Context<'_>,
    args: &Args,
    home: &str,
    (uid, gid): (u32, u32),
) -> Result<bool, Fault> {
    let path = context.path(home);
    if path.exists() || home.is_empty() || home == "/nonexistent" {
        return Ok(false);
    }
    if context.check {
        return Ok(true);
    }
    let io = || Fault::io(format!("make {home}"));
    let skeleton = context.path(args.text("skeleton").unwrap_or("/etc/skel"));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io())?;
    }
    fs::create_dir(&path).map_err(io())?;
    if skeleton.is_dir() {
        let from = format!("{}/.", skeleton.display());
        context.must(&["cp", "-RT", "--", &from, &path.display().to_string()])?;
    }
    fn own(path: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
        if path.is_dir() && !path.is_symlink() {
            for entry in fs::read_dir(path)? {
                own(&entry?.path(), uid, gid)?;
            }
        }
        Ok(())
    }
    own(&path, uid, gid).map_err(io())?;
    let mask = args
        .text("umask")
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .unwrap_or(0o022);
    let mode = format!("{:04o}", 0o777 & !mask);
    Attributes::new(Some(&mode), None, None).apply(context, &path)?;
    Ok(true)
}

pub type Fields = Vec<(&'static str, String)>;

/// Makes the account's key unless it is there; gives its file, fingerprint and public part.
pub fn ssh_key(
    context: &mut Context<'_>,
    args: &Args,
    home: &str,
    (uid, gid): (u32, u32),
) -> Result<(bool, Fields), Fault> {
    let kind = args.need("ssh_key_type");
    let file = match args.text("ssh_key_file") {
        Some(file) if file.starts_with(['/', '~']) => context.expand(file).into_owned(),
        Some(file) => format!("{}/{file}", home.trim_end_matches('/')),
        None => format!("{}/.ssh/id_{kind}", home.trim_end_matches('/')),
    };
    let path = context.path(&file);
    let made = !path.exists();
    let mut fields = vec![("ssh_key_file", file.clone())];
    if made {
        if context.check {
            return Ok((true, fields));
        }
        let Some(folder) = path.parent() else {
            return Err(Fault::new(format!("{file} is no file")));
        };
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(Fault::io(format!("make {}", folder.display())))?;
            Attributes::new(Some("0700"), Some(uid), Some(gid)).apply(context, folder)?;
        }
        let host = nix::unistd::gethostname().unwrap_or_default();
        let comment = args.text("ssh_key_comment").map_or_else(
            || format!("ansible-generated on {}", host.to_string_lossy()),
            str::to_owned,
        );
        let bits = args.int("ssh_key_bits").map(|bits| bits.to_string());
        let target = path.display().to_string();
        let mut argv = vec![
            "ssh-keygen",
            "-q",
            "-t",
            kind,
            "-N",
            "",
            "-C",
            &comment,
            "-f",
            &target,
        ];
        if let Some(bits) = &bits {
            argv.extend(["-b", bits]);
        }
        context.must(&argv)?;
        for (part, mode) in [(target.clone(), "0600"), (format!("{target}.pub"), "0644")] {
            Attributes::new(Some(mode), Some(uid), Some(gid)).apply(context, Path::new(&part))?;
        }
    }
    let target = path.display().to_string();
    if let Ok(print) = context.must(&["ssh-keygen", "-l", "-f", &target]) {
        fields.push(("ssh_fingerprint", print.trim().to_owned()));
    }
    if let Ok(public) = fs::read_to_string(format!("{target}.pub")) {
        fields.push(("ssh_public_key", public.trim().to_owned()));
    }
    Ok((made, fields))
}
