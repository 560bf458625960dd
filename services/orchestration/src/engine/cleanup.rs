//! The way back: resources that are no longer wanted, and those that were replaced, go; what needs another
//! goes before it.
use super::{PARALLEL, Stop, Traversal};
use crate::{resources, store::Resource};
use futures::{StreamExt, stream::FuturesUnordered};
use graph::{Graph, Outcome};
use hot::Bound;
use std::collections::{HashMap, HashSet};

impl Traversal<'_> {
    /// Removes every resource that `wanted` does not have; all of them without a template.
    pub(crate) async fn clean_up(&self, wanted: Option<&Bound>) -> Result<(), Stop> {
        let keep: HashSet<&String> = wanted
            .map(|bound| bound.resources().map(|(name, _)| name).collect())
            .unwrap_or_default();
        let rows: Vec<Resource> = self.store.resources(&self.stack.id).await?;
        let mut going: HashMap<String, Resource> = rows
            .into_iter()
            .filter(|row| row.replaced || !keep.contains(&row.name))
            .map(|row| (row.id.clone(), row))
            .collect();
        let mut graph = order(going.values()).map_err(|e| Stop::Failed(e.to_string()))?;
        let mut running = FuturesUnordered::new();
        let mut failure: Option<Stop> = None;
        loop {
            for id in graph.ready() {
                if running.len() >= PARALLEL
                    || matches!(failure, Some(Stop::Superseded | Stop::Store(_)))
                {
                    break;
                }
                if let Err(stop) = self.check().await {
                    failure = Some(stop);
                    break;
                }
                graph.start(&id).map_err(|e| Stop::Failed(e.to_string()))?;
                let Some(mut row) = going.remove(&id) else {
                    continue;
                };
                running.push(async move {
                    let kind = resources::find(self.types, &row.type_name);
                    (id, self.delete(kind, &mut row).await)
                });
            }
            let Some((id, result)) = running.next().await else {
                break;
            };
            // One that cannot be deleted holds up only what it needs.
            let outcome = if result.is_ok() {
                Outcome::Done
            } else {
                Outcome::Failed
            };
            graph
                .finish(&id, outcome)
                .map_err(|e| Stop::Failed(e.to_string()))?;
            if let Err(stop) = result {
                failure.get_or_insert(stop);
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Dependents before what they need.
fn order<'a>(
    rows: impl Iterator<Item = &'a Resource> + Clone,
) -> Result<Graph<String, ()>, graph::GraphError> {
    let mut graph = Graph::default();
    let mut by_name: HashMap<&str, Vec<&Resource>> = HashMap::new();
    let mut sorted: Vec<&Resource> = rows.collect();
    sorted.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    for row in &sorted {
        graph.add_node(row.id.clone(), ())?;
        by_name.entry(&row.name).or_default().push(row);
    }
    for row in &sorted {
        let requires: Vec<String> = serde_json::from_str(&row.requires).unwrap_or_default();
        for needed in requires
            .iter()
            .filter_map(|name| by_name.get(name.as_str()))
            .flatten()
        {
            // Rows of different generations of a template may need each other; the older edge gives way.
            graph.add_edge(&row.id, &needed.id)?;
        }
    }
    match graph.check() {
        Ok(()) => Ok(graph),
        Err(_) => {
            let mut flat = Graph::default();
            for row in &sorted {
                flat.add_node(row.id.clone(), ())?;
            }
            Ok(flat)
        }
    }
}
