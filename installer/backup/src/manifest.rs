//! What a backup holds, as its `manifest.json` says, and whether that is to be believed. The manifest names every file
//! with its size and SHA-256; `SHA256SUMS` beside it has them all, the manifest's too, so that `sha256sum -c` can ask the
//! same. That finds damage, and a careless change: who can write into the folder can also write new sums, and its mode
//! keeps others out.
use crate::BackupError;
use crate::tables::Tables;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub const FILE: &str = "manifest.json";
pub const SUMS: &str = "SHA256SUMS";
const FORMAT: &str = "wright-backup/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub id: String,
    pub environment: String,
    /// RFC 3339.
    pub created_at: String,
    /// Of `wright`.
    pub version: String,
    /// The database server's, as it says it.
    pub server: String,
    /// The controller that it was taken from.
    pub node: String,
    /// `UUID:SEQNO` of the cluster at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    pub parts: Vec<Part>,
    /// Bytes of images that are not in this backup; `None`: they are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_left_out: Option<u64>,
    pub tables: Tables,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Below the backup's folder.
    pub file: String,
    pub kind: Kind,
    /// Of the file as it lies there.
    pub bytes: u64,
    pub sha256: String,
    /// Before it was compressed.
    pub raw_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The whole server, as `mariabackup` streams it.
    Physical,
    /// One database as SQL.
    Dump { database: String },
    /// The image service's files, as `tar` streams them.
    Images,
    /// Of the deployment host: state, secrets, keys, inventory.
    Host,
}

impl Manifest {
    pub fn format() -> String {
        FORMAT.to_owned()
    }

    /// The texts of `manifest.json` and of `SHA256SUMS`.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_texts(&self) -> Result<(String, String), serde_json::Error> {
        let text = serde_json::to_string_pretty(self)?;
        let sums = self
            .parts
            .iter()
            .map(|part| format!("{}  {}\n", part.sha256, part.file));
        let own = format!("{}  {FILE}\n", sha256(&text));
        Ok((text, sums.chain([own]).collect()))
    }

    /// Reads both texts.
    ///
    /// # Errors
    /// It is no manifest, of another format, or not as it was written.
    pub fn parse(id: &str, text: &str, sums: &str) -> Result<Self, BackupError> {
        let damaged = |reason: String| BackupError::Damaged {
            id: id.to_owned(),
            reason,
        };
        let own = format!("{}  {FILE}", sha256(text));
        if !sums.lines().any(|line| line == own) {
            return Err(damaged(format!("{FILE} is not as it was written")));
        }
        let value: Value =
            serde_json::from_str(text).map_err(|error| damaged(format!("{FILE}: {error}")))?;
        let format = value["format"].as_str().unwrap_or("none");
        if format != FORMAT {
            return Err(BackupError::Refused(format!(
                "backup `{id}` has the format `{format}`, and this version reads `{FORMAT}`: use the version that made it"
            )));
        }
        let manifest: Manifest =
            serde_json::from_value(value).map_err(|error| damaged(format!("{FILE}: {error}")))?;
        // A name that leads elsewhere would be read from there.
        let leads_out = |part: &&Part| {
            part.file
                .split('/')
                .any(|word| matches!(word, "" | "." | ".."))
        };
        if let Some(part) = manifest.parts.iter().find(leads_out) {
            return Err(damaged(format!("`{}` is no file of a backup", part.file)));
        }
        if manifest.id != id {
            return Err(damaged(format!(
                "its folder was renamed from `{}`",
                manifest.id
            )));
        }
        Ok(manifest)
    }

    pub fn physical(&self) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == Kind::Physical)
    }

    pub fn images(&self) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == Kind::Images)
    }

    pub fn dump(&self, of: &str) -> Option<&Part> {
        self.parts
            .iter()
            .find(|part| matches!(&part.kind, Kind::Dump { database } if database == of))
    }

    pub fn dumps(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match &part.kind {
            Kind::Dump { database } => Some(database.as_str()),
            _ => None,
        })
    }

    /// All files together.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn some(id: &str) -> Manifest {
        Manifest {
            format: Manifest::format(),
            id: id.to_owned(),
            environment: "lab".into(),
            created_at: "2026-11-27T15:00:00Z".into(),
            version: "0.1.0".into(),
            server: "10.11.19-MariaDB".into(),
            node: "node-3".into(),
            position: Some("3a46ae16-ea75-11f1-915d-ff305f626da9:2045".into()),
            parts: vec![Part {
                file: "compute.sql.zst".into(),
                kind: Kind::Dump {
                    database: "compute".into(),
                },
                bytes: 5,
                sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".into(),
                raw_bytes: 10,
            }],
            images_left_out: Some(7),
            tables: Tables::default(),
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let manifest = some("20261127T150000Z");
        let (text, sums) = manifest.to_texts().unwrap();
        assert_eq!(
            Manifest::parse("20261127T150000Z", &text, &sums).unwrap(),
            manifest
        );
        insta::assert_snapshot!(sums.lines().next().unwrap(), @"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824  compute.sql.zst");
    }

    #[test]
    fn an_altered_one_is_refused() {
        let (text, sums) = some("a").to_texts().unwrap();
        let told = |manifest: &Manifest, id: &str| {
            let (text, sums) = manifest.to_texts().unwrap();
            Manifest::parse(id, &text, &sums).unwrap_err().to_string()
        };
        let altered = Manifest::parse("a", &text.replace("node-3", "node-1"), &sums);
        insta::assert_snapshot!(altered.unwrap_err(), @"backup `a` is damaged or was altered: manifest.json is not as it was written. Take another one");
        insta::assert_snapshot!(told(&some("a"), "b"), @"backup `b` is damaged or was altered: its folder was renamed from `a`. Take another one");
        let mut other = some("a");
        other.format = "wright-backup/9".into();
        insta::assert_snapshot!(told(&other, "a"), @"backup `a` has the format `wright-backup/9`, and this version reads `wright-backup/1`: use the version that made it");
        let mut outside = some("a");
        outside.parts[0].file = "../../state.db".into();
        insta::assert_snapshot!(told(&outside, "a"), @"backup `a` is damaged or was altered: `../../state.db` is no file of a backup. Take another one");
    }
}
