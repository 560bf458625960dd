//! The way forward: every wanted resource is created, changed, replaced or left alone, in the order of the
//! graph, as many at a time as do not need each other.
use super::{PARALLEL, Snapshot, StackScope, Stop, Traversal, implicit, steps::json_map};
use crate::{
    resources::{self, property},
    store::{Resource, now},
};
use futures::{StreamExt, stream::FuturesUnordered};
use graph::Outcome;
use hot::{Bound, DeletionPolicy, ResolveError};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// What is to be done with a wanted resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    Create,
    /// An interrupted create goes on.
    Resume,
    Update,
    Replace,
    Nothing,
}

/// Decides from what there is and what is wanted. Pure.
pub fn decide(
    row: Option<&Resource>,
    type_name: &str,
    known: &[property::Property],
    wanted: &Map<String, Value>,
) -> Decision {
    let Some(row) = row else {
        return Decision::Create;
    };
    if row.type_name != type_name {
        return Decision::Replace;
    }
    let change = property::change(known, &json_map(&row.properties), wanted);
    match (row.action.as_str(), row.status.as_str(), change) {
        ("CREATE", "IN_PROGRESS", property::Change::Nothing) => Decision::Resume,
        ("CREATE", "IN_PROGRESS", _) => Decision::Replace,
        ("CREATE", "FAILED", _) | ("DELETE", _, _) => Decision::Replace,
        (_, _, property::Change::Replace) => Decision::Replace,
        // An update that failed or was interrupted is made again.
        ("UPDATE", "IN_PROGRESS" | "FAILED", _) => Decision::Update,
        (_, _, property::Change::Update) => Decision::Update,
        _ => Decision::Nothing,
    }
}

impl Traversal<'_> {
    pub(crate) async fn converge(&self, bound: &Bound) -> Result<(), Stop> {
        let mut graph = bound
            .graph(&implicit(bound, self.types))
            .map_err(|faults| {
                let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
                Stop::Failed(all.join("\n"))
            })?;
        let scope = StackScope::new(bound, self.types);
        let mut rows: HashMap<String, Resource> = HashMap::new();
        let mut replaced: HashMap<String, Vec<Resource>> = HashMap::new();
        for row in self.store.resources(&self.stack.id).await? {
            if row.replaced {
                replaced.entry(row.name.clone()).or_default().push(row);
            } else {
                if let (Some(id), true) = (&row.physical_id, row.status == "COMPLETE") {
                    scope.put(&row.name, snapshot(&row, id));
                }
                rows.insert(row.name.clone(), row);
            }
        }
        let mut running = FuturesUnordered::new();
        let mut failure = None;
        loop {
            if failure.is_none() {
                for name in graph.ready() {
                    if running.len() >= PARALLEL {
                        break;
                    }
                    if let Err(stop) = self.check().await {
                        failure = Some(stop);
                        break;
                    }
                    graph
                        .start(&name)
                        .map_err(|e| Stop::Failed(e.to_string()))?;
                    let requires: Vec<String> = graph.before(&name).into_iter().cloned().collect();
                    let known = (
                        rows.remove(&name),
                        replaced.remove(&name).unwrap_or_default(),
                    );
                    running.push(async {
                        let result = self.one(bound, &scope, &name, requires, known).await;
                        (name, result)
                    });
                }
            }
            let Some((name, result)) = running.next().await else {
                break;
            };
            let outcome = if result.is_ok() {
                Outcome::Done
            } else {
                Outcome::Failed
            };
            graph
                .finish(&name, outcome)
                .map_err(|e| Stop::Failed(e.to_string()))?;
            if let Err(stop) = result {
                // What runs is brought to its end; nothing new begins.
                failure = Some(match failure {
                    Some(first @ (Stop::Superseded | Stop::Failed(_))) => first,
                    _ => stop,
                });
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn one(
        &self,
        bound: &Bound,
        scope: &StackScope<'_>,
        name: &str,
        requires: Vec<String>,
        (row, replaced): (Option<Resource>, Vec<Resource>),
    ) -> Result<(), Stop> {
        let failed = |reason: String| {
            Stop::Failed(format!(
                "Resource CREATE failed: resources.{name}: {reason}"
            ))
        };
        let declared = &bound.template.resources[name];
        let kind = resources::find(self.types, &declared.type_name).ok_or_else(|| {
            failed(format!(
                "The Resource Type ({}) could not be found.",
                declared.type_name
            ))
        })?;
        let resolve = |error: ResolveError| failed(error.to_string());
        let wanted = bound.properties(declared, scope).map_err(resolve)?;
        let wanted = wanted.as_object().cloned().unwrap_or_default();
        let wanted = if kind.takes_any_property() {
            Map::new()
        } else {
            property::check(kind.properties(), &wanted)
                .map_err(|faults| failed(faults.join("; ")))?
        };
        let metadata = hot::resolve_value(&declared.metadata, scope)
            .map_err(resolve)?
            .to_string();
        let requires = serde_json::to_string(&requires).unwrap_or_default();
        let retain = declared.deletion_policy == DeletionPolicy::Retain;

        let decision = decide(
            row.as_ref(),
            &declared.type_name,
            kind.properties(),
            &wanted,
        );
        // What never came to be goes first: nothing needs it, and it may hold a name or a port.
        let (decision, row) = match (decision, row) {
            (Decision::Replace, Some(mut old))
                if old.action == "CREATE" && old.status != "COMPLETE" =>
            {
                let kind = resources::find(self.types, &old.type_name);
                self.delete(kind, &mut old).await?;
                (Decision::Create, None)
            }
            other => other,
        };
        // On the way back, what was replaced but still stands is taken rather than made anew.
        let standing = replaced
            .iter()
            .find(|old| {
                let known = kind.properties();
                decide(Some(old), &declared.type_name, known, &wanted) == Decision::Nothing
            })
            .cloned();
        let (decision, row) = match (decision, standing) {
            (Decision::Create | Decision::Replace, Some(mut old)) => {
                self.let_go(row.as_slice()).await?;
                self.take_back(&old).await?;
                self.store.resource_restore(row, &old).await?;
                old.replaced = false;
                (Decision::Nothing, Some(old))
            }
            (decision, _) => (decision, row),
        };
        let fresh = || {
            let time = now();
            Resource {
                id: uuid::Uuid::new_v4().to_string(),
                stack_id: self.stack.id.clone(),
                name: name.to_owned(),
                type_name: declared.type_name.clone(),
                physical_id: None,
                action: "CREATE".to_owned(),
                status: "IN_PROGRESS".to_owned(),
                status_reason: "state changed".to_owned(),
                properties: Value::Object(wanted.clone()).to_string(),
                attributes: "{}".to_owned(),
                metadata: metadata.clone(),
                requires: requires.clone(),
                retain,
                replaced: false,
                created_at: time,
                updated_at: time,
            }
        };
        let row = match (decision, row) {
            (Decision::Resume, Some(mut row)) => {
                // Marked as seen before, so that what was made is looked for before it is made again.
                row.updated_at = now().max(row.created_at + 1);
                self.let_go(&replaced).await?;
                self.create(kind, &mut row).await?;
                row
            }
            (Decision::Update, Some(mut row)) => {
                row.requires = requires;
                row.retain = retain;
                row.metadata = metadata.clone();
                self.update(kind, &mut row, &wanted).await?;
                row
            }
            (Decision::Nothing, Some(mut row)) => {
                if row.requires != requires || row.retain != retain || row.metadata != metadata {
                    row.requires = requires;
                    row.retain = retain;
                    row.metadata = metadata.clone();
                    self.store.resource_note(&row).await?;
                }
                row
            }
            (_, old) => {
                let mut row = fresh();
                // Both rows in one transaction: never two current ones, never none.
                self.store.resource_replace(old.clone(), &row).await?;
                scope.remove(name);
                self.let_go(old.as_slice()).await?;
                self.let_go(&replaced).await?;
                self.create(kind, &mut row).await?;
                row
            }
        };
        scope.put(
            name,
            snapshot(&row, row.physical_id.as_deref().unwrap_or_default()),
        );
        Ok(())
    }
}

fn snapshot(row: &Resource, physical_id: &str) -> Snapshot {
    Snapshot {
        type_name: row.type_name.clone(),
        physical_id: physical_id.to_owned(),
        attributes: json_map(&row.attributes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{Kind, Property};
    use serde_json::json;

    const KNOWN: &[Property] = &[
        Property::new("name", Kind::String, "").in_place(),
        Property::new("size", Kind::Integer, ""),
    ];

    fn row(action: &str, status: &str, type_name: &str) -> Resource {
        Resource {
            id: String::new(),
            stack_id: String::new(),
            name: "r".to_owned(),
            type_name: type_name.to_owned(),
            physical_id: None,
            action: action.to_owned(),
            status: status.to_owned(),
            status_reason: String::new(),
            properties: json!({"name": "a", "size": 1}).to_string(),
            attributes: "{}".to_owned(),
            metadata: String::new(),
            requires: "[]".to_owned(),
            retain: false,
            replaced: false,
            created_at: 0,
            updated_at: 0,
        }
    }

    #[test]
    fn decisions() {
        use Decision::{Create, Nothing, Replace, Resume, Update};
        let same = json!({"name": "a", "size": 1});
        let renamed = json!({"name": "b", "size": 1});
        let resized = json!({"name": "a", "size": 2});
        // State of the row; what is decided for the same, a renamed and a resized resource.
        let table = [
            ("CREATE", "COMPLETE", [Nothing, Update, Replace]),
            ("UPDATE", "COMPLETE", [Nothing, Update, Replace]),
            ("CREATE", "IN_PROGRESS", [Resume, Replace, Replace]),
            ("CREATE", "FAILED", [Replace, Replace, Replace]),
            ("UPDATE", "IN_PROGRESS", [Update, Update, Replace]),
            ("UPDATE", "FAILED", [Update, Update, Replace]),
            ("DELETE", "IN_PROGRESS", [Replace, Replace, Replace]),
            ("DELETE", "FAILED", [Replace, Replace, Replace]),
        ];
        for (action, status, decisions) in table {
            for (wanted, decision) in [&same, &renamed, &resized].into_iter().zip(decisions) {
                let wanted = wanted.as_object().unwrap();
                let there = row(action, status, "T");
                assert_eq!(
                    decide(Some(&there), "T", KNOWN, wanted),
                    decision,
                    "{action} {status} {wanted:?}"
                );
                assert_eq!(decide(Some(&there), "U", KNOWN, wanted), Replace);
                assert_eq!(decide(None, "T", KNOWN, wanted), Create);
            }
        }
    }
}
