//! What nodes last said of themselves: kept, so that a run that does not ask a node still knows it.
//!
//! Deliberately not here: what facts mean. They are a JSON object.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Map, Value as Json};

use crate::store::statement;
use crate::{StateError, Store};

pub(crate) const SCHEMA: &[&str] = &["CREATE TABLE facts (
    node TEXT PRIMARY KEY,
    facts TEXT NOT NULL,
    gathered_at TEXT NOT NULL
)"];

/// One node's facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    pub facts: Map<String, Json>,
    pub gathered_at: DateTime<Utc>,
}

impl Store {
    /// Keeps facts, node and JSON text, in the place of older ones.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn keep_facts(&self, facts: &[(String, String)]) -> Result<(), StateError> {
        let doing = "keeping facts";
        let transaction = self
            .connection()
            .begin()
            .await
            .map_err(StateError::database(doing))?;
        let now = Utc::now().to_rfc3339();
        for (node, text) in facts {
            let sql = "INSERT INTO facts (node, facts, gathered_at) VALUES (?, ?, ?)
                ON CONFLICT (node) DO UPDATE SET facts = excluded.facts, gathered_at = excluded.gathered_at";
            let values = [node.clone().into(), text.clone().into(), now.clone().into()];
            transaction
                .execute_raw(statement(sql, values))
                .await
                .map_err(StateError::database(doing))?;
        }
        transaction
            .commit()
            .await
            .map_err(StateError::database(doing))
    }

    /// The kept facts of all nodes.
    ///
    /// # Errors
    /// When the database does not answer or a row is not understood.
    pub async fn facts(&self) -> Result<BTreeMap<String, Facts>, StateError> {
        let doing = "reading facts";
        let sql = "SELECT node, facts, gathered_at FROM facts";
        let rows = self
            .connection()
            .query_all_raw(statement(sql, []))
            .await
            .map_err(StateError::database(doing))?;
        let mut out = BTreeMap::new();
        for row in rows {
            let text = |column: &str| {
                row.try_get::<String>("", column)
                    .map_err(StateError::database(doing))
            };
            let node = text("node")?;
            let time = text("gathered_at")?;
            let gathered_at =
                DateTime::parse_from_rfc3339(&time).map_err(|error| StateError::BadRow {
                    node: node.clone(),
                    reason: format!("time '{time}': {error}"),
                })?;
            let facts =
                serde_json::from_str(&text("facts")?).map_err(|source| StateError::Json {
                    what: "facts of a node",
                    source,
                })?;
            let gathered_at = gathered_at.with_timezone(&Utc);
            out.insert(node, Facts { facts, gathered_at });
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[tokio::test]
    async fn newer_facts_take_the_place_of_older_ones() {
        let (_scratch, store) = scratch().await;
        assert!(store.facts().await.unwrap().is_empty());
        for text in ["{\"os\": \"old\"}", "{\"os\": \"new\"}"] {
            store
                .keep_facts(&[("node-1".to_owned(), text.to_owned())])
                .await
                .unwrap();
        }
        let facts = store.facts().await.unwrap();
        assert_eq!(facts.len(), 1);
        assert_eq!(facts["node-1"].facts["os"], "new");
        assert!(facts["node-1"].gathered_at <= Utc::now());
    }
}
