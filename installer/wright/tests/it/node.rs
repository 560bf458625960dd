//! `wright node` on an environment of which nothing was installed yet.

use crate::run::{Place, shipped};

#[test]
fn nodes_are_listed_and_shown() {
    let place = Place::new();
    let path = shipped("lab").display().to_string();
    let answers = [
        &["node", "list"][..],
        &["node", "show", "node-2"],
        &["node", "show", "nod-2"],
    ]
    .map(|args| place.wright_with(args, &[("WRIGHT_INVENTORY", &path)]));
    insta::assert_snapshot!(answers.join("\n"));
}
