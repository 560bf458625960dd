//! Handlers that were notified on a node and did not come to run, because the run failed there before: the next run owes
//! them. Without this a changed configuration would never reach its service, as the task that changed it is done.
use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::store::statement;
use crate::{StateError, Store};

pub(crate) const SCHEMA: &[&str] = &["CREATE TABLE owed_handlers (
    node TEXT NOT NULL,
    handler TEXT NOT NULL,
    PRIMARY KEY (node, handler)
)"];

impl Store {
    /// Names of handlers that are owed, by node.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn owed_handlers(&self) -> Result<BTreeMap<String, BTreeSet<String>>, StateError> {
        let doing = "reading the handlers that are owed";
        let sql = "SELECT node, handler FROM owed_handlers";
        let rows = self
            .connection()
            .query_all_raw(statement(sql, []))
            .await
            .map_err(StateError::database(doing))?;
        let mut owed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in rows {
            let text = |column: &str| {
                row.try_get::<String>("", column)
                    .map_err(StateError::database(doing))
            };
            owed.entry(text("node")?)
                .or_default()
                .insert(text("handler")?);
        }
        Ok(owed)
    }

    /// On each of these nodes the handlers are owed from now on, and no others there.
    ///
    /// # Errors
    /// When the database does not answer; nothing is changed then.
    pub async fn owe_handlers(
        &self,
        owed: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<(), StateError> {
        let doing = "keeping the handlers that are owed";
        let failed = || StateError::database(doing);
        let transaction = self.connection().begin().await.map_err(failed())?;
        for (node, handlers) in owed {
            let sql = "DELETE FROM owed_handlers WHERE node = ?";
            let delete = statement(sql, [node.as_str().into()]);
            transaction.execute_raw(delete).await.map_err(failed())?;
            for handler in handlers {
                let sql = "INSERT INTO owed_handlers (node, handler) VALUES (?, ?)";
                let insert = statement(sql, [node.as_str().into(), handler.as_str().into()]);
                transaction.execute_raw(insert).await.map_err(failed())?;
            }
        }
        transaction.commit().await.map_err(failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[tokio::test]
    async fn what_is_owed_now_takes_the_place_of_what_was() {
        let (_scratch, store) = scratch().await;
        assert!(store.owed_handlers().await.unwrap().is_empty());
        let owe = |list: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let of = |(node, handlers): &(&str, &[&str])| ((*node).to_owned(), names(handlers));
            list.iter().map(of).collect()
        };
        let first = owe(&[("node-1", &["a", "b"]), ("node-2", &["a"])]);
        store.owe_handlers(&first).await.unwrap();
        assert_eq!(store.owed_handlers().await.unwrap(), first);
        let later = owe(&[("node-1", &["b", "c"]), ("node-2", &[])]);
        store.owe_handlers(&later).await.unwrap();
        let left = owe(&[("node-1", &["b", "c"])]);
        assert_eq!(store.owed_handlers().await.unwrap(), left);
    }
}
