//! `loop`, `with_*` and `loop_control`.
use serde_json::Value as Json;
use yaml_source::{Fault, Map};

use super::{Loop, LoopSource, Parser, get};

impl Parser<'_> {
    pub(super) fn looping(&mut self, map: &Map) -> Option<Loop> {
        let mut found = None;
        for (key, node) in map.iter() {
            let source: fn(Json) -> LoopSource = match key.text.as_str() {
                "loop" | "with_list" => LoopSource::List,
                "with_items" => LoopSource::Items,
                "with_dict" => LoopSource::Dict,
                "with_sequence" => LoopSource::Sequence,
                "with_nested" | "with_cartesian" => LoopSource::Nested,
                "with_together" => LoopSource::Together,
                "with_subelements" => LoopSource::Subelements,
                "with_indexed_items" => LoopSource::Indexed,
                "with_first_found" => |raw| LoopSource::Lookup("first_found".to_owned(), raw),
                "with_fileglob" => |raw| LoopSource::Lookup("fileglob".to_owned(), raw),
                "with_flattened" => |raw| LoopSource::Lookup("flattened".to_owned(), raw),
                "with_file" => |raw| LoopSource::Lookup("file".to_owned(), raw),
                "with_vars" => |raw| LoopSource::Lookup("vars".to_owned(), raw),
                "with_random_choice" => |raw| LoopSource::Lookup("random_choice".to_owned(), raw),
                "with_inventory_hostnames" => {
                    |raw| LoopSource::Lookup("inventory_hostnames".to_owned(), raw)
                }
                "with_lines" => {
                    let fault = key.error("`with_lines` is not supported: it would run a program on the deployment host");
                    self.fault(fault.expected(
                        "a task `command` with `delegate_to: localhost` and `register`, then `loop: \"{{ x.stdout_lines }}\"`",
                    ));
                    continue;
                }
                other if other.starts_with("with_") => {
                    let known = [
                        "with_items",
                        "with_dict",
                        "with_list",
                        "with_sequence",
                        "with_nested",
                        "with_together",
                        "with_subelements",
                        "with_first_found",
                        "with_fileglob",
                        "with_flattened",
                        "with_indexed_items",
                        "with_random_choice",
                        "with_cartesian",
                        "with_inventory_hostnames",
                    ];
                    let fault = key.error(format!("the loop `{other}` is not supported"));
                    self.fault(fault.suggest(other, known));
                    continue;
                }
                _ => continue,
            };
            if found.is_some() {
                self.fault(key.error("a task can have one loop only"));
            }
            found = Some(source(self.data(node)));
        }
        let mut out = Loop {
            source: found?,
            variable: "item".to_owned(),
            index_variable: None,
            label: None,
            pause_seconds: None,
            extended: false,
        };
        if let Some(control) =
            get(map, "loop_control").and_then(|node| node.as_map("`loop_control`", &mut self.diags))
        {
            let known = ["loop_var", "index_var", "label", "pause", "extended"];
            control.check_keys("`loop_control`", &known, &mut self.diags);
            let mut name = |key: &str| {
                get(control, key)
                    .and_then(|node| node.as_str(key, &mut self.diags))
                    .map(str::to_owned)
            };
            if let Some(variable) = name("loop_var") {
                out.variable = variable;
            }
            out.index_variable = name("index_var");
            out.label = get(control, "label").map(|node| self.data(node));
            out.extended = get(control, "extended")
                .and_then(|node| node.as_bool("`extended`", &mut self.diags))
                .unwrap_or(false);
            out.pause_seconds = get(control, "pause").map(|node| self.data(node));
        }
        Some(out)
    }
}
