//! Finding one cycle and giving it as a path, so that a message can name it.
//!
//! `petgraph`'s topological sort names one node of a cycle only; a strongly connected component and a walk
//! inside it give the whole path.
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

/// The shortest cycle through the first node that is in one; first and last entry are the same.
pub(crate) fn find<N>(graph: &DiGraph<N, ()>) -> Option<Vec<NodeIndex>> {
    let component = tarjan_scc(graph)
        .into_iter()
        .filter(|component| component.len() > 1 || graph.contains_edge(component[0], component[0]))
        .min_by_key(|component| component.iter().min().copied())?;
    let start = component.iter().min().copied()?;
    let members: HashSet<_> = component.into_iter().collect();

    // Breadth first from the start, within the component, until an edge leads back to it.
    let mut came_from = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        let mut after: Vec<_> = graph
            .neighbors(at)
            .filter(|next| members.contains(next))
            .collect();
        after.sort_unstable();
        for next in after {
            if next == start {
                let mut path = vec![start, at];
                let mut back = at;
                while let Some(&before) = came_from.get(&back) {
                    path.push(before);
                    back = before;
                }
                if at == start {
                    path.pop();
                    path.push(start);
                }
                path.reverse();
                return Some(path);
            }
            if let Entry::Vacant(unseen) = came_from.entry(next) {
                unseen.insert(at);
                queue.push_back(next);
            }
        }
    }
    None
}
