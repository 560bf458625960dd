//! Rows of nodes: state and reason, hardware report, host key, token hash.
//!
//! Deliberately not here: which states there are and what leads from one to the next (`provision` knows).
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, QueryResult, Value};

use crate::store::statement;
use crate::{StateError, Store};

pub(crate) const SCHEMA: &[&str] = &["CREATE TABLE nodes (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    reason TEXT,
    boot_mac TEXT,
    hardware TEXT,
    ssh_host_key TEXT,
    machine_id TEXT,
    image_sha256 TEXT,
    token_hash TEXT,
    token_expires_at TEXT,
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    changed_at TEXT NOT NULL
)"];

/// When the node became one of the running cloud's. Of clouds from before this was kept, it is when they were last deployed.
pub(crate) const SCHEMA_JOINED: &[&str] = &[
    "ALTER TABLE nodes ADD COLUMN joined_at TEXT",
    "UPDATE nodes SET joined_at = changed_at WHERE state = 'deployed'",
];

const COLUMNS: &str = "name, state, reason, boot_mac, hardware, ssh_host_key, machine_id, image_sha256, \
                       token_hash, token_expires_at, revision, created_at, changed_at, joined_at";

/// What is known of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRecord {
    /// Inventory name, for example `node-1`.
    pub name: String,
    pub state: String,
    /// Why it failed; `None` in every other state.
    pub reason: Option<String>,
    /// Lower case with colons.
    pub boot_mac: Option<String>,
    /// The hardware report as it came.
    pub hardware: Option<serde_json::Value>,
    /// Public part, one OpenSSH line; every later connection is checked against it.
    pub ssh_host_key: Option<String>,
    /// 32 hex digits.
    pub machine_id: Option<String>,
    /// Digest of the image that was installed.
    pub image_sha256: Option<String>,
    pub token: Option<Token>,
    /// Counts writes; [`Store::update_node`] compares it.
    pub revision: i64,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
    /// All its roles have run once: it is one of the running cloud's, and stays so until it is forgotten.
    pub joined_at: Option<DateTime<Utc>>,
}

/// A one-time token as it is kept: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the token, lower-case hex.
    pub hash: String,
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// All nodes ever known, by name.
    ///
    /// # Errors
    /// When the database does not answer or a row is not understood.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, StateError> {
        let sql = format!("SELECT {COLUMNS} FROM nodes ORDER BY name");
        let rows = self
            .connection()
            .query_all_raw(statement(&sql, []))
            .await
            .map_err(StateError::database("listing nodes"))?;
        rows.iter().map(record).collect()
    }

    /// One node, if it is known.
    ///
    /// # Errors
    /// When the database does not answer or the row is not understood.
    pub async fn node(&self, name: &str) -> Result<Option<NodeRecord>, StateError> {
        let sql = format!("SELECT {COLUMNS} FROM nodes WHERE name = ?");
        let row = self
            .connection()
            .query_one_raw(statement(&sql, [name.into()]))
            .await
            .map_err(StateError::database("reading a node"))?;
        row.as_ref().map(record).transpose()
    }

    /// The node's row, made in `state` if there is none yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ensure_node(&self, name: &str, state: &str) -> Result<NodeRecord, StateError> {
        let now = Utc::now().to_rfc3339();
        let sql = "INSERT INTO nodes (name, state, revision, created_at, changed_at) VALUES (?1, ?2, 0, ?3, ?3)
            ON CONFLICT (name) DO NOTHING";
        self.connection()
            .execute_raw(statement(sql, [name.into(), state.into(), now.into()]))
            .await
            .map_err(StateError::database("adding a node"))?;
        self.node(name)
            .await?
            .ok_or_else(|| StateError::UnknownNode(name.to_owned()))
    }

    /// Writes all fields if the row still has the record's revision; the record gets the new revision.
    ///
    /// # Errors
    /// [`StateError::Conflict`] when someone else wrote in between; nothing is changed then.
    pub async fn update_node(&self, record: &mut NodeRecord) -> Result<(), StateError> {
        let now = Utc::now();
        let hardware = record
            .hardware
            .as_ref()
            .map(serde_json::to_string)
            .transpose()
            .map_err(|source| StateError::Json {
                what: "hardware",
                source,
            })?;
        let (hash, expires): (Option<String>, Option<String>) = match &record.token {
            Some(token) => (
                Some(token.hash.clone()),
                Some(token.expires_at.to_rfc3339()),
            ),
            None => (None, None),
        };
        let sql = "UPDATE nodes SET state = ?, reason = ?, boot_mac = ?, hardware = ?, ssh_host_key = ?,
                machine_id = ?, image_sha256 = ?, token_hash = ?, token_expires_at = ?, changed_at = ?,
                revision = revision + 1
            WHERE name = ? AND revision = ?";
        let values: [Value; 12] = [
            record.state.clone().into(),
            record.reason.clone().into(),
            record.boot_mac.clone().into(),
            hardware.into(),
            record.ssh_host_key.clone().into(),
            record.machine_id.clone().into(),
            record.image_sha256.clone().into(),
            hash.into(),
            expires.into(),
            now.to_rfc3339().into(),
            record.name.clone().into(),
            record.revision.into(),
        ];
        let changed = self
            .connection()
            .execute_raw(statement(sql, values))
            .await
            .map_err(StateError::database("updating a node"))?
            .rows_affected();
        if changed == 0 {
            return Err(match self.node(&record.name).await? {
                Some(_) => StateError::Conflict(record.name.clone()),
                None => StateError::UnknownNode(record.name.clone()),
            });
        }
        record.revision += 1;
        record.changed_at = now;
        Ok(())
    }

    /// The node is one of the running cloud's from now on, if it was not before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn joined(&self, name: &str) -> Result<(), StateError> {
        let now = Utc::now().to_rfc3339();
        let sql = "UPDATE nodes SET joined_at = ? WHERE name = ? AND joined_at IS NULL";
        self.connection()
            .execute_raw(statement(sql, [now.into(), name.into()]))
            .await
            .map_err(StateError::database("noting a node that joined"))?;
        Ok(())
    }

    /// Forgets a node.
    ///
    /// # Errors
    /// [`StateError::UnknownNode`] when there is none of that name.
    pub async fn remove_node(&self, name: &str) -> Result<(), StateError> {
        let removed = self
            .connection()
            .execute_raw(statement("DELETE FROM nodes WHERE name = ?", [name.into()]))
            .await
            .map_err(StateError::database("removing a node"))?
            .rows_affected();
        if removed == 0 {
            Err(StateError::UnknownNode(name.to_owned()))
        } else {
            Ok(())
        }
    }
}

fn record(row: &QueryResult) -> Result<NodeRecord, StateError> {
    let database = StateError::database;
    let doing = "reading a node";
    let name: String = row.try_get("", "name").map_err(database(doing))?;
    let text = |column: &str| {
        row.try_get::<Option<String>>("", column)
            .map_err(database(doing))
    };
    let bad = |reason: String| StateError::BadRow {
        node: name.clone(),
        reason,
    };
    let time = |column: &str, text: &str| {
        DateTime::parse_from_rfc3339(text)
            .map(|time| time.with_timezone(&Utc))
            .map_err(|error| bad(format!("{column} '{text}': {error}")))
    };
    let required = |column: &str| text(column)?.ok_or_else(|| bad(format!("{column} is empty")));
    let hardware = text("hardware")?
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|source| StateError::Json {
            what: "hardware",
            source,
        })?;
    let token = match (text("token_hash")?, text("token_expires_at")?) {
        (Some(hash), Some(expires)) => Some(Token {
            hash,
            expires_at: time("token_expires_at", &expires)?,
        }),
        _ => None,
    };
    Ok(NodeRecord {
        state: required("state")?,
        reason: text("reason")?,
        boot_mac: text("boot_mac")?,
        hardware,
        ssh_host_key: text("ssh_host_key")?,
        machine_id: text("machine_id")?,
        image_sha256: text("image_sha256")?,
        token,
        revision: row.try_get("", "revision").map_err(database(doing))?,
        created_at: time("created_at", &required("created_at")?)?,
        changed_at: time("changed_at", &required("changed_at")?)?,
        joined_at: text("joined_at")?
            .map(|text| time("joined_at", &text))
            .transpose()?,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EnvironmentFolder;
    use crate::store::scratch;

    #[tokio::test]
    async fn a_node_is_kept_with_all_its_fields() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = EnvironmentFolder::create(scratch.path().join("lab"), "lab").unwrap();
        let store = Store::open(&folder).await.unwrap();
        let mut node = store.ensure_node("node-1", "discovered").await.unwrap();
        node.state = "failed".into();
        node.reason = Some("no disk".into());
        node.hardware = Some(serde_json::json!({"cpu_count": 2}));
        node.token = Some(Token {
            hash: "00".into(),
            expires_at: Utc::now(),
        });
        store.update_node(&mut node).await.unwrap();
        store.close().await.unwrap();
        let store = Store::open(&folder).await.unwrap();
        assert_eq!(
            store.ensure_node("node-1", "discovered").await.unwrap(),
            node
        );
        assert_eq!(store.nodes().await.unwrap(), [node]);
        store.joined("node-1").await.unwrap();
        let joined = store.node("node-1").await.unwrap().unwrap().joined_at;
        assert!(joined.is_some());
        store.joined("node-1").await.unwrap();
        assert_eq!(
            store.node("node-1").await.unwrap().unwrap().joined_at,
            joined
        );
        store.remove_node("node-1").await.unwrap();
        assert!(matches!(
            store.remove_node("node-1").await,
            Err(StateError::UnknownNode(_))
        ));
    }

    #[tokio::test]
    async fn of_two_writers_the_later_is_refused() {
        let (_scratch, store) = scratch().await;
        let mut first = store.ensure_node("node-1", "discovered").await.unwrap();
        let mut second = first.clone();
        store.update_node(&mut first).await.unwrap();
        assert!(matches!(
            store.update_node(&mut second).await,
            Err(StateError::Conflict(_))
        ));
    }
}
