//! The network plan's allocations: one JSON document, every version kept. What it says is the plan's affair.
//!
//! Addresses once given never move, so the latest document is what the next plan starts from; the earlier
//! ones show when a node got its address.
use sea_orm::ConnectionTrait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::statement;
use crate::{StateError, Store};

/// The allocations as they stand, with the version to hand back when replacing them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocations<T> {
    /// 0 when none were ever stored.
    pub version: i64,
    pub document: Option<T>,
}

impl Store {
    /// The latest allocations.
    ///
    /// # Errors
    /// When the database does not answer or the document is not a `T`.
    pub async fn allocations<T: DeserializeOwned>(&self) -> Result<Allocations<T>, StateError> {
        let doing = "reading the allocations";
        let sql = "SELECT version, document FROM allocations ORDER BY version DESC LIMIT 1";
        let row = self
            .connection()
            .query_one_raw(statement(sql, []))
            .await
            .map_err(StateError::database(doing))?;
        let Some(row) = row else {
            return Ok(Allocations {
                version: 0,
                document: None,
            });
        };
        let version = row
            .try_get("", "version")
            .map_err(StateError::database(doing))?;
        let text: String = row
            .try_get("", "document")
            .map_err(StateError::database(doing))?;
        let document = serde_json::from_str(&text).map_err(|source| StateError::Json {
            what: "allocations",
            source,
        })?;
        Ok(Allocations {
            version,
            document: Some(document),
        })
    }

    /// Stores new allocations made from those of version `expected`; returns the version that now holds,
    /// which is `expected` itself when nothing changed.
    ///
    /// # Errors
    /// [`StateError::AllocationsConflict`] when another process stored some in between.
    pub async fn replace_allocations<T: Serialize>(
        &self,
        expected: i64,
        document: &T,
    ) -> Result<i64, StateError> {
        let doing = "storing the allocations";
        let text = serde_json::to_string(document).map_err(|source| StateError::Json {
            what: "allocations",
            source,
        })?;
        let sql = "INSERT INTO allocations (version, document, created_at)
            SELECT ?1 + 1, ?2, ?3
            WHERE ?1 = (SELECT coalesce(max(version), 0) FROM allocations)
              AND NOT EXISTS (SELECT 1 FROM allocations WHERE version = ?1 AND document = ?2)";
        let values = [
            expected.into(),
            text.into(),
            chrono::Utc::now().to_rfc3339().into(),
        ];
        let inserted = self
            .connection()
            .execute_raw(statement(sql, values))
            .await
            .map_err(StateError::database(doing))?
            .rows_affected();
        let sql = "SELECT coalesce(max(version), 0) AS version FROM allocations";
        let row = self.query_one(doing, sql, []).await?;
        let found: i64 = row
            .try_get("", "version")
            .map_err(StateError::database(doing))?;
        match inserted {
            1 => Ok(expected + 1),
            _ if found == expected => Ok(expected),
            _ => Err(StateError::AllocationsConflict { expected, found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[tokio::test]
    async fn versions_grow_by_change_only_and_stale_writers_are_refused() {
        let (_scratch, store) = scratch().await;
        let none = store.allocations::<Vec<String>>().await.unwrap();
        assert_eq!((none.version, none.document), (0, None));
        assert_eq!(
            store.replace_allocations(0, &["10.0.0.2"]).await.unwrap(),
            1
        );
        assert_eq!(
            store.replace_allocations(1, &["10.0.0.2"]).await.unwrap(),
            1
        );
        assert_eq!(
            store
                .replace_allocations(1, &["10.0.0.2", "10.0.0.3"])
                .await
                .unwrap(),
            2
        );
        assert!(matches!(
            store.replace_allocations(1, &["10.0.0.9"]).await,
            Err(StateError::AllocationsConflict {
                expected: 1,
                found: 2
            })
        ));
        let latest = store.allocations::<Vec<String>>().await.unwrap();
        assert_eq!(latest.document.unwrap().len(), 2);
    }
}
