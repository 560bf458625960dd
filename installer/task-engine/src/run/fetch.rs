//! `fetch`: a file of a node, brought to the deployment host piece by piece. It stands there whole or not at all.
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use agent_protocol::task::{Task as Call, TaskResult};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};
use sha1::{Digest, Sha1};

use super::context::Context;
use super::controller::result;
use super::item::{At, RoundEnd};
use super::walk::Walk;
use crate::parse::{Args, Task};
use crate::template::{TemplateError, display, is_omit};
use crate::vars::Scope;

/// One answer of the node; a frame carries it as base64.
const PIECE_BYTES: u64 = 4 << 20;

/// A node cannot fill the deployment host's disk.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// What the node says of the file.
struct About {
    size: u64,
    checksum: String,
}

impl Walk {
    pub(super) async fn fetch(
        &self,
        task: &Task,
        context: &Context,
        scope: &Arc<Scope>,
        raw: &Map<String, Json>,
        at: At,
    ) -> Result<RoundEnd, TemplateError> {
        let Json::Object(args) = self
            .engine
            .templates
            .value(&Json::Object(raw.clone()), scope)?
        else {
            return Ok(RoundEnd::failed("the arguments of `fetch` are no mapping"));
        };
        let text = |name: &str| args.get(name).filter(|value| !is_omit(value)).map(display);
        let flag = |name: &str, otherwise: bool| match text(name) {
            Some(word) => matches!(word.to_lowercase().as_str(), "true" | "yes" | "on" | "1"),
            None => otherwise,
        };
        let (Some(src), Some(dest)) = (text("src"), text("dest")) else {
            return Ok(RoundEnd::failed("`fetch` wants `src` and `dest`"));
        };
        let place = place(
            &self.engine.playbook.folder,
            &self.node.spec.name,
            &src,
            &dest,
            flag("flat", false),
        );
        let place = match place {
            Ok(place) => place,
            Err(msg) => return Ok(RoundEnd::failed(msg)),
        };
        let source = raw.get("src").cloned().unwrap_or_default();
        let look = Args::Map(Map::from_iter([
            ("path".to_owned(), source.clone()),
            ("follow".to_owned(), Json::Bool(true)),
        ]));
        let looked = match self
            .ask(task, context, scope, ("stat", &look), at, "")
            .await?
        {
            Ok(looked) => looked,
            Err(failed) => return Ok(failed),
        };
        let about = match about(&looked, &src) {
            Ok(about) => about,
            Err(msg) if flag("fail_on_missing", true) => return Ok(RoundEnd::failed(msg)),
            Err(msg) => {
                let msg = format!("{msg}; ignored");
                return Ok(RoundEnd::ok(result(&msg, [("file", Json::from(src))])));
            }
        };
        let done = |changed| {
            let data = [
                ("dest", Json::from(place.to_string_lossy())),
                ("checksum", Json::from(about.checksum.as_str())),
                ("remote_checksum", Json::from(about.checksum.as_str())),
            ];
            RoundEnd::ok(TaskResult {
                changed,
                ..result("", data)
            })
        };
        if checksum_of(&place).is_ok_and(|found| found == about.checksum) {
            return Ok(done(false));
        }
        if self.engine.check() {
            return Ok(done(true));
        }
        let cannot = |error: io::Error| {
            RoundEnd::failed(format!("`{}` cannot be written: {error}", place.display()))
        };
        let mut copy = match Part::begin(&place, &self.node.spec.name) {
            Ok(copy) => copy,
            Err(error) => return Ok(cannot(error)),
        };
        loop {
            let piece = Args::Map(Map::from_iter([
                ("src".to_owned(), source.clone()),
                ("offset".to_owned(), json!(copy.size)),
                ("limit".to_owned(), json!(PIECE_BYTES)),
            ]));
            let suffix = format!("p{}", copy.size);
            // What the file holds is for its destination, not for the journal.
            let quiet = At { no_log: true, ..at };
            let piece = self.ask(task, context, scope, ("slurp", &piece), quiet, &suffix);
            let piece = match piece.await? {
                Ok(piece) => piece,
                Err(failed) => return Ok(failed),
            };
            let bytes = piece.data.get("content").and_then(Json::as_str);
            let Some(bytes) = bytes.and_then(|text| STANDARD.decode(text).ok()) else {
                return Ok(RoundEnd::failed(format!(
                    "the node sent no content of `{src}`"
                )));
            };
            if let Err(error) = copy.write(&bytes) {
                return Ok(cannot(error));
            }
            let more = piece.data.get("more") == Some(&Json::Bool(true));
            if !more || bytes.is_empty() || copy.size > about.size {
                break;
            }
        }
        if copy.checksum() != about.checksum {
            return Ok(RoundEnd::failed(format!(
                "`{src}` changed while it was fetched; nothing was kept of it"
            )));
        }
        Ok(copy.finish(&place).map_or_else(cannot, |()| done(true)))
    }

    /// One question to the node on the way; `Err` is its failure.
    async fn ask(
        &self,
        task: &Task,
        context: &Context,
        scope: &Arc<Scope>,
        module: (&str, &Args),
        at: At,
        suffix: &str,
    ) -> Result<Result<TaskResult, RoundEnd>, TemplateError> {
        let target = match self.target(context, scope)? {
            Ok(target) => target,
            Err(failed) => return Ok(Err(failed)),
        };
        let call = match self.call(task, context, scope, module, at.no_log, &target)? {
            Ok(call) => call,
            Err(failed) => return Ok(Err(failed)),
        };
        let call = Call {
            id: format!("{}{suffix}", self.id_of(&call, at)),
            ..call
        };
        let ended = self.send(task, &target, call).await;
        Ok(match ended.result.failed || ended.pending.is_some() {
            true => Err(ended),
            false => Ok(ended.result),
        })
    }
}

fn about(looked: &TaskResult, src: &str) -> Result<About, String> {
    let stat = looked.data.get("stat").cloned().unwrap_or_default();
    let is = |name: &str| stat[name] == Json::Bool(true);
    if !is("exists") {
        return Err(format!("the remote file `{src}` does not exist"));
    }
    if !is("isreg") {
        return Err(format!("`{src}` is no file: folders cannot be fetched"));
    }
    let size = stat["size"].as_u64().unwrap_or(u64::MAX);
    if size > FILE_BYTES_MAX {
        let most = FILE_BYTES_MAX >> 30;
        return Err(format!(
            "`{src}` is larger than the {most} GiB that can be fetched"
        ));
    }
    let checksum = stat["checksum"].as_str().unwrap_or_default().to_owned();
    Ok(About { size, checksum })
}

/// `DEST/NODE/SRC`, or with `flat` what `dest` says, below the playbook's folder unless it is absolute.
fn place(
    playbook: &Path,
    node: &str,
    src: &str,
    dest: &str,
    flat: bool,
) -> Result<PathBuf, String> {
    let below = playbook.join(dest);
    let source = Path::new(src);
    if flat {
        if dest.ends_with('/') {
            let name = source.file_name().unwrap_or_default();
            return Ok(below.join(name));
        }
        return match below.is_dir() {
            true => Err(format!(
                "`{dest}` is a folder: with `/` behind its name the file is put into it"
            )),
            false => Ok(below),
        };
    }
    let mut place = below.join(node);
    for part in source.components() {
        match part {
            Component::Normal(part) => place.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(format!("`{src}` leads out of the folder of its node"));
            }
        }
    }
    Ok(place)
}

fn checksum_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut sum, mut buffer) = (Sha1::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(sum.finalize())),
            read => sum.update(&buffer[..read]),
        }
    }
}

/// The file while it grows, beside its destination; gone when it is dropped unfinished.
struct Part {
    path: PathBuf,
    file: File,
    sum: Sha1,
    size: u64,
}

impl Part {
    fn begin(place: &Path, node: &str) -> io::Result<Self> {
        let folder = place.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let path = folder.join(format!(".{name}.{node}.part"));
        Ok(Part {
            file: File::create(&path)?,
            path,
            sum: Sha1::new(),
            size: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn checksum(&self) -> String {
        hex::encode(self.sum.clone().finalize())
    }

    fn finish(self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, place)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After `finish` it is not there any more.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_to_where_ansible_puts_them() {
        let put = |src, dest, flat| {
            place(Path::new("/p"), "n1", src, dest, flat).map(|path| path.display().to_string())
        };
        assert_eq!(
            put("/etc/a.conf", "out", false),
            Ok("/p/out/n1/etc/a.conf".to_owned())
        );
        assert_eq!(put("/etc/a.conf", "/x/", true), Ok("/x/a.conf".to_owned()));
        assert_eq!(put("/etc/a.conf", "b", true), Ok("/p/b".to_owned()));
        assert!(put("/etc/../../a", "out", false).is_err());
    }
}
