use super::*;
use std::fmt::Write;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn of_lab(name: &str) -> (NetworkPlan, Playbook, BTreeMap<String, Vec<Opening>>) {
    let (inventory, _) = inventory::load(&root().join("inventories").join(name));
    let (plan, _) = network_plan::plan(&inventory, &Default::default()).unwrap();
    let playbook = super::super::roles::parse(&root().join("roles/site.yml")).unwrap();
    let openings = openings(&playbook).unwrap();
    (plan, playbook, openings)
}

fn told(walls: &Walls, node: &str) -> String {
    let mut text = String::new();
    for name in &walls.nodes[node].sets {
        let _ = writeln!(text, "{name} = {}", walls.sets[name].join(" "));
    }
    for rule in &walls.nodes[node].rules {
        let ports: Vec<String> = rule.ports.iter().map(u16::to_string).collect();
        let from = match rule.from.is_empty() {
            true => "anyone".to_owned(),
            false => rule.from.join(" "),
        };
        let _ = writeln!(
            text,
            "{} {} {} {} from {from} to {}",
            rule.network,
            rule.interface,
            rule.protocol,
            ports.join(","),
            rule.to.join(" ")
        );
    }
    text
}

#[test]
fn a_controller_and_a_compute_node_let_in_what_their_roles_need() {
    let (plan, playbook, openings) = of_lab("lab-ha");
    let walls = walls(&plan, &playbook, &openings);
    insta::assert_snapshot!("controller", told(&walls, "node-2"));
    insta::assert_snapshot!("compute", told(&walls, "node-4"));
}

/// Outside there are the APIs at the public address and what controllers say to each other of it.
#[test]
fn app_is_open_for_the_apis_only() {
    let (plan, playbook, openings) = of_lab("lab-ha");
    let public = plan.vips.public.unwrap().to_string();
    for (node, wall) in walls(&plan, &playbook, &openings).nodes {
        let rules = wall.rules.iter();
        for rule in rules.filter(|rule| rule.network == NetworkName::App) {
            let known = rule.protocol == "vrrp" || rule.to == [public.clone()];
            assert!(known, "{node}: {}", rule.what);
        }
    }
}

#[test]
fn a_cluster_of_one_opens_nothing_for_other_members() {
    let (plan, playbook, openings) = of_lab("lab");
    let walls = walls(&plan, &playbook, &openings);
    let controller = plan.nodes.values().find(|node| node.in_group("controller"));
    let text = told(&walls, &controller.unwrap().name);
    assert!(!text.contains("4567") && !text.contains("vrrp"), "{text}");
}

/// `docs/ports.md` says of every port that a role opens what the role says.
#[test]
fn the_documentation_has_every_opening() {
    let (_, playbook, openings) = of_lab("lab-ha");
    let document = std::fs::read_to_string(root().join("docs/ports.md")).unwrap();
    let mut missing = String::new();
    let in_order = playbook.plays.iter().flat_map(|play| &play.roles);
    for role in in_order.map(|used| &used.role.name) {
        for opening in openings.get(role).into_iter().flatten() {
            let ports: Vec<String> = opening.ports.iter().map(u16::to_string).collect();
            let ports = match opening.protocol.as_str() {
                "tcp" => ports.join(", "),
                "udp" => format!("{}/UDP", ports.join(", ")),
                other => other.to_uppercase(),
            };
            let networks: Vec<String> = opening.networks.iter().map(ToString::to_string).collect();
            let at = if opening.at_vip {
                ", virtual address"
            } else {
                ""
            };
            let row = format!(
                "| {} | {ports} | {}{at} | {} | `{role}` |\n",
                opening.what,
                networks.join(", "),
                opening.from.join(", "),
            );
            if !document.contains(&row) {
                missing += &row;
            }
        }
    }
    assert!(missing.is_empty(), "docs/ports.md lacks:\n{missing}");
}

#[test]
fn every_fault_of_a_file_is_told_with_its_place() {
    let text = "opens:
  - {what: one, tcp: [0], networks: [mgmt], from: [controler]}
  - {what: two, tcp: [1], udp: [1], networks: [mgmt], from: [anyone]}
  - {what: three, protocol: gre, networks: [mgmt], from: [anyone]}
  - {what: four, tcp: [80], networks: [dmz], from: [anybody]}
  - {tcp: [80], network: [app], from: [anyone]}
";
    let mut faults = Diagnostics::new();
    parse("roles/x/meta/ports.yml", text, &mut faults);
    insta::assert_snapshot!(faults.to_string());
}
