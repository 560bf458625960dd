//! What people read of backups. Takes values, gives text.
use crate::table;
use ::backup::Manifest;
use ::backup::restore::Restored;
use ::backup::shelf::Entry;
use ::backup::verify::Proof;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};

#[derive(Serialize)]
pub struct List {
    pub backups: Vec<Entry>,
}

impl Display for List {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.backups.is_empty() {
            return f.write_str("there is no backup yet: `wright backup create` makes one");
        }
        let mut rows =
            vec![["backup", "made", "size", "images", "from", "state"].map(str::to_owned)];
        rows.extend(self.backups.iter().map(|entry| {
            match &entry.manifest {
                Some(manifest) => [
                    entry.id.clone(),
                    manifest.created_at.clone(),
                    size(manifest.bytes()),
                    if manifest.images().is_some() {
                        "yes"
                    } else {
                        "no"
                    }
                    .to_owned(),
                    manifest.node.clone(),
                    entry.state.clone(),
                ],
                None => [&*entry.id, "-", "-", "-", "-", &entry.state].map(str::to_owned),
            }
        }));
        f.write_str(&table::columns(&rows))
    }
}

/// Another crate's value, for people.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Shown<T>(pub T);

#[derive(Serialize)]
pub struct Made {
    pub folder: String,
    #[serde(flatten)]
    pub manifest: Shown<Manifest>,
    /// Older ones that were removed.
    pub removed: Vec<String>,
}

impl Display for Made {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let manifest = &self.manifest.0;
        let dumps: Vec<&str> = manifest.dumps().collect();
        writeln!(
            f,
            "Backup `{}`, {}, in {}",
            manifest.id,
            size(manifest.bytes()),
            self.folder
        )?;
        writeln!(
            f,
            "  in it: the whole database from {}; dumps of {}; this host's state, secrets and inventory",
            manifest.node,
            dumps.join(", ")
        )?;
        match manifest.images_left_out {
            None => writeln!(f, "  and the images")?,
            Some(0) => writeln!(f, "  there are no images")?,
            Some(bytes) => writeln!(
                f,
                "  NOT in it: {} of images (`--images` takes them, too)",
                size(bytes)
            )?,
        }
        writeln!(
            f,
            "  not needed: queues and OVN's databases, which are made anew from the database; disks of instances are not backed up"
        )?;
        if !self.removed.is_empty() {
            writeln!(f, "  removed: {}", self.removed.join(", "))?;
        }
        f.write_str(
            "  It holds every secret of the cloud. Copy it to another place, and guard that place.",
        )
    }
}

impl Display for Shown<Proof> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let proof = &self.0;
        let verdict = if proof.faults.is_empty() {
            "is good"
        } else {
            "IS NOT GOOD"
        };
        writeln!(
            f,
            "Backup `{}` {verdict}: a server made of it on {} has {} tables as they were, to the last row",
            proof.id, proof.node, proof.same
        )?;
        if proof.moving > 0 {
            writeln!(
                f,
                "  {} tables were written to while it was made, and were not compared",
                proof.moving
            )?;
        }
        write!(f, "  whole dumps: {}", proof.dumps.join(", "))?;
        proof
            .faults
            .iter()
            .try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl Display for Shown<Restored> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let restored = &self.0;
        write!(
            f,
            "Backup `{}` is restored: {} tables are as they were, to the last row",
            restored.id, restored.same
        )?;
        for fault in &restored.faults {
            write!(f, "\n  NOT AS IN THE BACKUP: {fault}")?;
        }
        write!(
            f,
            "\n  what was there before: {}",
            restored.aside.join(", ")
        )?;
        write!(
            f,
            "\n  remove that when you are content; `wright status` and `wright verify health` look at the cloud"
        )
    }
}

/// What a restore will do, before the question.
pub fn before(
    manifest: &Manifest,
    controllers: &[String],
    service: Option<&str>,
    images: bool,
) -> String {
    let head = format!(
        "Backup `{}` was made at {} from {}.",
        manifest.id, manifest.created_at, manifest.node
    );
    match service {
        Some(service) => format!(
            "{head} Restoring `{service}` from its dump:\n\
             - {service} stands still on {} for some seconds;\n\
             - all that it did since then is forgotten; other services are not, and may know of things that it no longer does;\n\
             - its present tables stay beside it, in `{}__before`.",
            controllers.join(", "),
            service.replace('-', "_")
        ),
        None => format!(
            "{head} Restoring the whole database:\n\
             - all services and the database stop on {}; instances run on;\n\
             - everything that was done since then is forgotten: what was made is unknown, what was deleted is back;\n\
             - the present data are set aside on each controller, not removed{}.",
            controllers.join(", "),
            if images {
                ";\n- images that a controller lacks are given back"
            } else {
                ""
            }
        ),
    }
}

pub fn size(bytes: u64) -> String {
    health::overview::size(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::backup::manifest::{Kind, Part};

    fn manifest() -> Manifest {
        let part = |file: &str, kind| Part {
            file: file.into(),
            kind,
            bytes: 3_000_000,
            sha256: String::new(),
            raw_bytes: 90_000_000,
        };
        Manifest {
            format: Manifest::format(),
            id: "20261127T150000Z".into(),
            environment: "lab".into(),
            created_at: "2026-11-27T15:00:07Z".into(),
            version: "0.1.0".into(),
            server: "10.11.19-MariaDB".into(),
            node: "node-3".into(),
            position: None,
            parts: vec![
                part("database.mbstream.zst", Kind::Physical),
                part(
                    "compute.sql.zst",
                    Kind::Dump {
                        database: "compute".into(),
                    },
                ),
                part(
                    "image.sql.zst",
                    Kind::Dump {
                        database: "image".into(),
                    },
                ),
            ],
            images_left_out: Some(5_000_000_000),
            tables: Default::default(),
        }
    }

    #[test]
    fn a_backup_names_what_is_not_in_it() {
        let made = Made {
            folder: "/var/lib/wright/lab/backups/20261127T150000Z".into(),
            manifest: Shown(manifest()),
            removed: vec!["20261120T150000Z".into()],
        };
        insta::assert_snapshot!(made);
    }

    #[test]
    fn the_question_says_what_is_lost() {
        let nodes = ["node-1", "node-2", "node-3"].map(str::to_owned);
        insta::assert_snapshot!(before(&manifest(), &nodes, None, false));
        insta::assert_snapshot!(before(&manifest(), &nodes, Some("compute"), false));
    }

    #[test]
    fn a_list_tells_whole_from_unfinished() {
        let list = List {
            backups: vec![
                Entry {
                    id: "20261127T150000Z".into(),
                    state: "whole".into(),
                    manifest: Some(manifest()),
                },
                Entry {
                    id: "20261127T160000Z".into(),
                    state: "unfinished".into(),
                    manifest: None,
                },
            ],
        };
        insta::assert_snapshot!(list);
    }

    #[test]
    fn a_proof_and_a_restore_tell_what_differs() {
        let proof = Proof {
            id: "1".into(),
            node: "node-3".into(),
            same: 80,
            moving: 2,
            dumps: vec!["compute".into()],
            faults: vec!["compute.servers is missing".into()],
        };
        insta::assert_snapshot!(Shown(proof));
        let restored = Restored {
            id: "1".into(),
            same: 80,
            faults: Vec::new(),
            aside: vec!["node-1:/var/lib/mysql.before-restore-2".into()],
        };
        insta::assert_snapshot!(Shown(restored));
    }
}
