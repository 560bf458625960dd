//! Making a backup: the whole server from the controller that is least used, each database as SQL, and what the
//! deployment host alone has. The cloud goes on meanwhile.
use crate::manifest::{FILE, Kind, Manifest, Part, SUMS};
use crate::nodes::{self, Work};
use crate::shelf::Shelf;
use crate::tables::{self, Tables};
use crate::{BackupError, Nodes, Tell, pack};
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For questions.
pub(crate) const ASK: Duration = Duration::from_secs(60);
/// For what reads every table.
pub(crate) const READ: Duration = Duration::from_secs(2 * 3600);
/// For streams: half a terabyte over a slow wire. One that stands still is noticed by SSH.
pub(crate) const STREAM: Duration = Duration::from_secs(24 * 3600);
/// More than this of the deployment host's files is no state.
const HOST_BYTES: u64 = 256 << 20;
/// The server's socket on a controller.
pub(crate) const SOCKET: &str = "/run/mysqld/mysqld.sock";
pub(crate) const TABLES: &str = include_str!("scripts/tables.sh");

/// What is to be backed up.
pub struct Wanted<'a> {
    /// In the inventory's order.
    pub controllers: &'a [String],
    pub environment: &'a str,
    /// Of `wright`.
    pub version: &'a str,
    /// Image data too.
    pub images: bool,
    /// Files and folders of the deployment host, by the folder of the backup that they go into.
    pub host: &'a [(String, PathBuf)],
}

/// A controller's database, as `where.sh` says it.
pub(crate) struct Place {
    pub node: String,
    pub state: String,
    pub connections: u64,
    pub server: String,
    pub position: Option<String>,
    pub databases: Vec<String>,
}

impl Place {
    /// It has all of the cluster's data.
    pub fn is_whole(&self) -> bool {
        matches!(self.state.as_str(), "Synced" | "alone")
    }
}

pub(crate) fn place(nodes: &dyn Nodes, node: &str) -> Result<Place, BackupError> {
    let work = Work {
        doing: "asking the database",
        script: include_str!("scripts/where.sh"),
        args: &[],
        limit: ASK,
    };
    let said = nodes::run(nodes, node, work)?;
    let mut lines = said.lines().map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    Ok(Place {
        node: node.to_owned(),
        state: next(),
        connections: next().parse().unwrap_or(0),
        server: next(),
        position: Some(next())
            .filter(|position| position.contains(':') && !position.starts_with(':')),
        databases: lines.collect(),
    })
}

/// The whole member with the fewest connections, the last of equals: the first is the one that is written to.
pub(crate) fn least_used(nodes: &dyn Nodes, controllers: &[String]) -> Result<Place, BackupError> {
    let mut reasons = Vec::new();
    let mut best: Option<Place> = None;
    for node in controllers {
        match place(nodes, node) {
            Ok(place) if place.is_whole() => {
                if best
                    .as_ref()
                    .is_none_or(|best| place.connections <= best.connections)
                {
                    best = Some(place);
                }
            }
            Ok(place) => reasons.push(format!("{node}: the database is {}", place.state)),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    best.ok_or_else(|| {
        BackupError::Refused(format!(
            "no controller has a database that is whole:\n{}\n`wright status` shows more",
            reasons.join("\n")
        ))
    })
}

pub(crate) fn tables_of(nodes: &dyn Nodes, node: &str) -> Result<Tables, BackupError> {
    let work = Work {
        doing: "reading every table",
        script: TABLES,
        args: &[SOCKET],
        limit: READ,
    };
    let said = nodes::run(nodes, node, work)?;
    tables::parse(&said).map_err(|reason| BackupError::Node {
        node: node.to_owned(),
        doing: work.doing,
        reason,
    })
}

/// Makes a backup named `id`.
///
/// # Errors
/// Any part cannot be had; nothing is left then.
pub fn create(
    shelf: &Shelf,
    nodes: &dyn Nodes,
    wanted: &Wanted,
    id: &str,
    tell: Tell,
) -> Result<Manifest, BackupError> {
    let place = least_used(nodes, wanted.controllers)?;
    let node = place.node.as_str();
    let draft = shelf.begin(id)?;
    let mut parts = Vec::new();
    // First, as it says which secrets open what follows.
    for (folder, path) in wanted.host {
        host(draft.path(), folder, path, &mut parts)?;
    }
    tell(&format!(
        "reading the tables of {node}, which has the fewest users"
    ));
    let before = tables_of(nodes, node)?;
    tell(&format!("taking the whole database from {node}"));
    let stream = |doing, script, args: &[&str], name: &str, kind| {
        let work = Work {
            doing,
            script,
            args,
            limit: STREAM,
        };
        nodes::pull(nodes, node, work, |stream| {
            pack::pack(draft.path(), name, kind, stream)
        })
    };
    parts.push(stream(
        "the physical backup",
        include_str!("scripts/physical.sh"),
        &[],
        "database.mbstream.zst",
        Kind::Physical,
    )?);
    for database in &place.databases {
        tell(&format!("dumping `{database}`"));
        parts.push(stream(
            "a dump",
            include_str!("scripts/dump.sh"),
            &[database],
            &format!("{database}.sql.zst"),
            Kind::Dump {
                database: database.clone(),
            },
        )?);
    }
    // After the dumps, so that what holds of the whole holds of them, too.
    let tables = tables::between(&before, &tables_of(nodes, node)?);
    let images_left_out = match wanted.images {
        true => {
            tell("taking the images");
            let script = include_str!("scripts/images.sh");
            parts.push(stream(
                "the images",
                script,
                &[],
                "images.tar.zst",
                Kind::Images,
            )?);
            None
        }
        false => {
            let work = Work {
                doing: "measuring the images",
                script: "find /var/lib/wright/image/images -type f -printf '%s\\n' | awk '{ n += $1 } END { printf \"%.0f\", n }'",
                args: &[],
                limit: ASK,
            };
            Some(nodes::run(nodes, node, work)?.trim().parse().unwrap_or(0))
        }
    };
    let manifest = Manifest {
        format: Manifest::format(),
        id: id.to_owned(),
        environment: wanted.environment.to_owned(),
        created_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        version: wanted.version.to_owned(),
        server: place.server.clone(),
        node: place.node.clone(),
        position: place.position.clone(),
        parts,
        images_left_out,
        tables,
    };
    draft.finish(&manifest)?;
    Ok(manifest)
}

/// A file of the deployment host, or all files of a folder; links and devices are passed over.
fn host(draft: &Path, folder: &str, path: &Path, parts: &mut Vec<Part>) -> Result<(), BackupError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::file(path)(error)),
    };
    let Some(name) = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
    else {
        return Ok(());
    };
    let name = format!("{folder}/{name}");
    if found.is_dir() {
        let entries = fs::read_dir(path).map_err(BackupError::file(path))?;
        for entry in entries {
            let entry = entry.map_err(BackupError::file(path))?;
            host(draft, &name, &entry.path(), parts)?;
        }
        return Ok(());
    }
    if !found.is_file() || [FILE, SUMS].contains(&name.as_str()) {
        return Ok(());
    }
    let into = draft.join(folder);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&into);
    made.map_err(BackupError::file(&into))?;
    let file = File::open(path).map_err(BackupError::file(path))?;
    let taken: u64 = parts.iter().map(|part| part.raw_bytes).sum();
    if taken + found.len() > HOST_BYTES {
        return Err(BackupError::Refused(format!(
            "with `{}` the deployment host's state and inventory are larger than {} MiB: keep other files elsewhere",
            path.display(),
            HOST_BYTES >> 20
        )));
    }
    let part = pack::pack(
        draft,
        &format!("{name}.zst"),
        Kind::Host,
        &mut file.take(found.len()),
    )?;
    parts.push(part);
    Ok(())
}
