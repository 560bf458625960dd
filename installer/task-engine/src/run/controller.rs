//! Tasks that need no node: `set_fact`, `debug`, `assert`, `fail`, `pause`, `group_by`, `add_host`,
//! `wait_for_connection`.
use std::sync::Arc;
use std::time::Duration;

use agent_protocol::task::TaskResult;
use serde_json::{Map, Value as Json, json};

use super::context::Context;
use super::item::RoundEnd;
use super::walk::Walk;
use crate::event::Status;
use crate::hosts::HostSpec;
use crate::parse::{Action, Condition, Task};
use crate::template::{TemplateError, display, is_omit};
use crate::vars::{Scope, SharedVars};

pub(super) async fn run(
    walk: &Walk,
    task: &Task,
    context: &Context,
    scope: &Arc<Scope>,
) -> Result<RoundEnd, TemplateError> {
    let templates = &walk.engine.templates;
    let render = |raw: &Option<Json>, otherwise: &str| match raw {
        Some(raw) => templates.value(raw, scope).map(|value| display(&value)),
        None => Ok(otherwise.to_owned()),
    };
    Ok(match &task.action {
        Action::SetFact { facts } => {
            let mut set = Vec::new();
            for (name, raw) in facts {
                let value = templates.value(raw, scope)?;
                if !is_omit(&value) {
                    set.push((name.clone(), value));
                }
            }
            let facts: Map<String, Json> = set.iter().cloned().collect();
            // They come back as `set`, not as facts of the node: they win over its variables.
            let result = result("", [("facts", Json::Object(facts))]);
            RoundEnd {
                set,
                ..RoundEnd::ok(result)
            }
        }
        Action::Debug { msg, var, .. } => {
            let shown = match var {
                Some(name) => {
                    let value = match templates.expression(name, scope) {
                        Ok(value) => serde_json::to_value(value).unwrap_or_default(),
                        Err(TemplateError::Undefined { .. }) => {
                            Json::from("VARIABLE IS NOT DEFINED!")
                        }
                        Err(error) => return Err(error),
                    };
                    format!(
                        "{name}: {}",
                        serde_json::to_string_pretty(&value).unwrap_or_default()
                    )
                }
                None => match msg {
                    Some(raw) => match templates.value(raw, scope)? {
                        omitted if is_omit(&omitted) => "Hello world!".to_owned(),
                        Json::String(text) => text,
                        other if other.is_array() || other.is_object() => {
                            serde_json::to_string_pretty(&other).unwrap_or_default()
                        }
                        other => display(&other),
                    },
                    None => "Hello world!".to_owned(),
                },
            };
            RoundEnd::ok(result(&shown, []))
        }
        Action::Assert {
            that,
            fail_msg,
            success_msg,
            ..
        } => {
            for condition in that {
                if !walk.conditions(std::slice::from_ref(condition), scope)? {
                    let written = match condition {
                        Condition::Expression(text) => text.clone(),
                        Condition::Literal(value) => value.to_string(),
                    };
                    let msg = render(fail_msg, &format!("assertion failed: {written}"))?;
                    let mut failed = RoundEnd::failed(msg);
                    failed
                        .result
                        .data
                        .insert("assertion".to_owned(), Json::from(written));
                    return Ok(failed);
                }
            }
            RoundEnd::ok(result(&render(success_msg, "All assertions passed")?, []))
        }
        Action::Fail { msg } => RoundEnd::failed(render(msg, "Failed as requested from task")?),
        Action::Pause { seconds } => {
            let value = templates.value(seconds, scope)?;
            let seconds = value
                .as_f64()
                .or_else(|| display(&value).trim().parse().ok());
            match seconds {
                Some(seconds) if (0.0..=86_400.0).contains(&seconds) => {
                    if !walk.engine.check() {
                        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
                    }
                    RoundEnd::ok(result("", []))
                }
                _ => RoundEnd::failed(format!("`{}` is no number of seconds", display(&value))),
            }
        }
        Action::GroupBy { key, parents } => {
            let mut groups = words(&templates.value(key, scope)?);
            if let Some(parents) = parents {
                groups.extend(words(&templates.value(parents, scope)?));
            }
            // Ansible's names of groups have no blanks.
            groups
                .iter_mut()
                .for_each(|group| *group = group.replace(' ', "-"));
            let changed = walk.engine.join(&walk.node, &groups);
            RoundEnd::ok(TaskResult {
                changed,
                ..result("", [("groups", json!(groups))])
            })
        }
        Action::AddHost { args } => add_host(walk, args, scope)?,
        Action::IncludeVars { args } => super::include_vars::run(walk, context, scope, args)?,
        Action::ValidateArguments { role, options } => {
            let mut faults = Vec::new();
            super::arguments::check(scope, options, &mut faults)?;
            match faults.is_empty() {
                true => RoundEnd::ok(result("", [])),
                false => RoundEnd::failed(format!(
                    "the arguments of the role `{role}` are not as its argument_specs say: {}",
                    faults.join("; ")
                )),
            }
        }
        Action::Unsupported { name } => RoundEnd::failed(format!(
            "the module `{name}` is for systems that are not supported"
        )),
        Action::WaitForConnection { .. } => match walk.greet(task).await {
            Ok(()) => RoundEnd::ok(result("", [])),
            Err(error) => RoundEnd::failed(error),
        },
        Action::ClearFacts => {
            walk.node.clear_facts();
            RoundEnd::ok(result("", []))
        }
        other => RoundEnd::new(
            Status::Failed,
            TaskResult {
                failed: true,
                msg: format!("`{}` cannot stand here", other.name()),
                ..TaskResult::default()
            },
        ),
    })
}

/// A list, or words with commas between them.
fn words(value: &Json) -> Vec<String> {
    match value {
        Json::Array(items) => items.iter().map(display).collect(),
        Json::Null => Vec::new(),
        other => display(other)
            .split(',')
            .map(|word| word.trim().to_owned())
            .filter(|word| !word.is_empty())
            .collect(),
    }
}

fn add_host(
    walk: &Walk,
    args: &Map<String, Json>,
    scope: &Arc<Scope>,
) -> Result<RoundEnd, TemplateError> {
    let rendered = walk
        .engine
        .templates
        .value(&Json::Object(args.clone()), scope)?;
    let Json::Object(mut vars) = rendered else {
        return Ok(RoundEnd::failed("`add_host` has no arguments"));
    };
    let mut take = |names: &[&str]| names.iter().find_map(|name| vars.remove(*name));
    let Some(name) = take(&["name", "hostname", "host"]).map(|name| display(&name)) else {
        return Ok(RoundEnd::failed("`add_host` lacks `name`"));
    };
    let groups = take(&["groups", "groupname", "group"]);
    let groups = groups.map(|groups| words(&groups)).unwrap_or_default();
    let text = |key: &str| vars.get(key).map(display);
    let host = HostSpec {
        address: text("ansible_host").unwrap_or_else(|| name.clone()),
        port: text("ansible_port")
            .and_then(|port| port.parse().ok())
            .unwrap_or(22),
        user: text("ansible_user").unwrap_or_else(|| walk.node.spec.user.clone()),
        name: name.clone(),
        groups: groups.clone(),
        vars,
        shared: SharedVars::default(),
        ..walk.node.spec.clone()
    };
    // Its host key is not this node's: without one of its own it is refused.
    let host = HostSpec {
        host_key: String::new(),
        ..host
    };
    let changed = walk.engine.add_host(host);
    Ok(RoundEnd::ok(TaskResult {
        changed,
        ..result(
            "",
            [("add_host", json!({"host_name": name, "groups": groups}))],
        )
    }))
}

pub(super) fn result<const N: usize>(msg: &str, data: [(&str, Json); N]) -> TaskResult {
    let data = data
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    TaskResult {
        msg: msg.to_owned(),
        data,
        ..TaskResult::default()
    }
}
