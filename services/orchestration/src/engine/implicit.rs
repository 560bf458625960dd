//! Dependencies that no template writes down: a server comes after the subnets that give it addresses, a
//! floating IP after the router's leg that makes its port reachable.
use crate::resources::{self, ResourceType};
use hot::Bound;
use std::collections::{HashMap, HashSet};

/// Pairs (resource, what it needs) beyond those in the template. A pair that would close a cycle is left out.
pub fn implicit(bound: &Bound, types: &[Box<dyn ResourceType>]) -> Vec<(String, String)> {
    let mut by_type: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut dependents: HashMap<String, Vec<String>> = HashMap::new();
    for (name, resource) in bound.resources() {
        by_type.entry(&resource.type_name).or_default().push(name);
        for needs in bound.dependencies(resource) {
            dependents.entry(needs).or_default().push(name.clone());
        }
    }
    let mut pairs = Vec::new();
    for (name, resource) in bound.resources() {
        let after =
            resources::find(types, &resource.type_name).map_or(&[][..], ResourceType::comes_after);
        if after.iter().all(|other| !by_type.contains_key(other)) {
            continue;
        }
        let behind = reachable(name, &dependents);
        for other in after
            .iter()
            .filter_map(|other| by_type.get(other))
            .flatten()
        {
            if *other != name && !behind.contains(*other) {
                pairs.push((name.clone(), (*other).to_owned()));
                dependents
                    .entry((*other).to_owned())
                    .or_default()
                    .push(name.clone());
            }
        }
    }
    pairs
}

/// Everything that comes after `name`.
fn reachable(name: &str, dependents: &HashMap<String, Vec<String>>) -> HashSet<String> {
    let mut seen = HashSet::new();
    let mut open = vec![name.to_owned()];
    while let Some(next) = open.pop() {
        for dependent in dependents.get(&next).into_iter().flatten() {
            if seen.insert(dependent.clone()) {
                open.push(dependent.clone());
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_wait_for_subnets_but_never_for_what_waits_for_them() {
        let text = "heat_template_version: rocky
resources:
  server: { type: OS::Nova::Server, properties: { flavor: f } }
  subnet: { type: OS::Neutron::Subnet, properties: { cidr: 10.0.0.0/24 } }
  late: { type: OS::Neutron::Subnet, depends_on: server, properties: { cidr: 10.0.1.0/24 } }
";
        let template = hot::parse("t", text).unwrap();
        let none = serde_json::Map::new();
        let bound = hot::bind(
            template,
            &none,
            &none,
            none.clone(),
            &hot::Pseudo::default(),
        )
        .unwrap();
        let pairs = implicit(&bound, &resources::registry());
        assert_eq!(pairs, vec![("server".to_owned(), "subnet".to_owned())]);
        assert!(bound.graph(&pairs).is_ok());
    }
}
