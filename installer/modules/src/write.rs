//! The one writer of files: `copy`, `template`, `lineinfile` and the others end here.
//!
//! A file is either the old one or the new one, at every moment and after a power cut: the content goes
//! to a temporary file beside it, is validated there, and replaces it by rename.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use agent_protocol::task::{Diff, TaskResult};

use crate::attributes::{Attributes, with_file};
use crate::context::{Context, Fault, With, changed};
use crate::digest;

/// What a file is to be.
pub struct Wish<'a> {
    /// As the user wrote it.
    pub dest: &'a str,
    pub content: &'a [u8],
    pub attributes: Attributes,
    /// Command that checks the new content before it is put in place; `%s` stands for its path.
    pub validate: Option<&'a str>,
    /// Keep the old file under a name with the time in it.
    pub backup: bool,
}

/// Makes the file what it is wished to be. The result has `dest`, `checksum`, and `backup_file`.
pub fn place(context: &mut Context<'_>, wish: Wish<'_>) -> Result<TaskResult, Fault> {
    place_as(context, wish, true)
}

/// The same; a link at the file's place is replaced by the file unless it is to be followed.
pub fn place_as(
    context: &mut Context<'_>,
    wish: Wish<'_>,
    through_link: bool,
) -> Result<TaskResult, Fault> {
    let path = match through_link {
        true => follow(&context.path(wish.dest)),
        false => context.path(wish.dest),
    };
    let before = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => {
            return Err(Fault::Io {
                what: format!("read {}", wish.dest),
                source,
            });
        }
    };
    let differs = before.as_deref() != Some(wish.content) || path.is_symlink();
    let was = wish.attributes.picture(&path);
    let mut result = changed(differs)
        .with("dest", wish.dest)
        // Ansible's own kind of checksum: roles compare it with that of `stat`.
        .with("checksum", digest::of_bytes("sha1", wish.content));
    if differs {
        result.diff = content_diff(context, wish.dest, before.as_deref(), wish.content);
        if context.check {
            if let Some(parent) = path.parent()
                && !parent.is_dir()
            {
                // An earlier task may be about to make it: said, not failed.
                result.msg = format!("the folder {} is not there yet", parent.display());
            }
            return Ok(result);
        }
        let temporary = write_beside(&path, wish.content, &wish.attributes)
            .map_err(Fault::io(format!("write {}", wish.dest)))?;
        if let Some(command) = wish.validate {
            validate(context, command, temporary.path())?;
        }
        if wish.backup && before.is_some() {
            let backup =
                backup(&path).map_err(Fault::io(format!("keep a copy of {}", wish.dest)))?;
            result = result.with("backup_file", backup.display().to_string());
        }
        temporary
            .replace(&path)
            .map_err(Fault::io(format!("replace {}", wish.dest)))?;
        wish.attributes.apply(context, &path)?;
    } else if wish.attributes.apply(context, &path)? {
        result.changed = true;
        let wished = wish.attributes.wished(&path);
        result.diff = context.diff_of(wish.dest, &was, &wished);
    }
    Ok(with_file(context, result, &path))
}

/// Before and after for a reader; bytes that are no text are only counted.
fn content_diff(
    context: &Context<'_>,
    header: &str,
    before: Option<&[u8]>,
    after: &[u8],
) -> Vec<Diff> {
    let show = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} bytes)", bytes.len()),
    };
    context.diff_of(header, &before.map(show).unwrap_or_default(), &show(after))
}

/// Runs a validation command on the new content; what it says is the task's failure.
pub fn validate(context: &mut Context<'_>, command: &str, path: &Path) -> Result<(), Fault> {
    if !command.contains("%s") {
        return Err(Fault::new(format!("validate must contain %s: {command}")));
    }
    let words = shlex::split(command).ok_or_else(|| {
        Fault::new(format!(
            "validate has a quote without its partner: {command}"
        ))
    })?;
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.replace("%s", &path.to_string_lossy()))
        .collect();
    let output = context.output(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    if output.rc == 0 {
        return Ok(());
    }
    Err(Fault::WithData {
        msg: format!("failed to validate: {}{}", output.stdout, output.stderr),
        data: output.data(),
    })
}

/// Where a link leads: a configuration file behind a link is changed there, the link stays.
fn follow(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A file that is removed again unless it replaces another one.
pub struct Temporary {
    path: PathBuf,
    done: bool,
}

impl Temporary {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in place of `target` and makes that durable.
    pub fn replace(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.done = true;
        match target.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// An empty file beside `path` that only root can read.
pub fn temporary_beside(path: &Path) -> io::Result<(Temporary, File)> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.wright-{}", std::process::id()));
    // Left over from a run that was killed.
    let _ = fs::remove_file(&temporary);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    Ok((
        Temporary {
            path: temporary,
            done: false,
        },
        file,
    ))
}

fn write_beside(path: &Path, content: &[u8], attributes: &Attributes) -> io::Result<Temporary> {
    let (temporary, mut file) = temporary_beside(path)?;
    file.write_all(content)?;
    finish(&file, path, attributes)?;
    Ok(temporary)
}

/// Gives a new file the attributes of the one it replaces, or of a plain new file, and syncs it.
/// The wished mode is set here already, so that a secret is never readable under its final name.
pub fn finish(file: &File, target: &Path, attributes: &Attributes) -> io::Result<()> {
    let old = fs::metadata(target).ok();
    let mode = attributes.mode(old.as_ref().map_or(0o644, |old| old.mode() & 0o7777), false);
    let now = file.metadata()?;
    let owner = attributes
        .uid
        .or(old.as_ref().map(MetadataExt::uid))
        .filter(|uid| *uid != now.uid());
    let group = attributes
        .gid
        .or(old.as_ref().map(MetadataExt::gid))
        .filter(|gid| *gid != now.gid());
    if owner.is_some() || group.is_some() {
        std::os::unix::fs::fchown(file, owner, group)?;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Keeps a copy of the file beside it, under a name with the time in it, and gives that name.
pub fn backup(path: &Path) -> io::Result<PathBuf> {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let backup = path.with_file_name(format!("{name}.{}.{seconds}~", std::process::id()));
    fs::copy(path, &backup)?;
    Ok(backup)
}
