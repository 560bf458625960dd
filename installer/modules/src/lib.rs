//! Task modules, by the names and arguments that Ansible users know.
//!
//! One file per module in `builtin/`, all of one shape: a [`Module`] table (name, arguments, effect) and
//! its `run` function. The controller reads the same tables through [`catalogue`] to check roles before
//! anything runs; the agent calls [`run`]. Text is edited by pure functions in `text/`.
//!
//! A module works below [`Context::root`], so that it can be tried on a temporary folder. It does not
//! know SSH, templates or variables: its arguments are resolved.
mod args;
mod attributes;
mod builtin;
mod context;
mod digest;
mod facts;
mod http;
mod process;
mod spec;
mod text;
mod write;

pub use args::{ArgFault, Args};
pub use context::{Context, Fault};
pub use process::Output;
pub use spec::{Arg, Effect, Kind, Module};

use agent_protocol::task::{Task, TaskResult};

/// Every module, in name order.
pub fn catalogue() -> &'static [&'static Module] {
    builtin::ALL
}

/// The module of that name; a collection prefix such as `ansible.builtin.` may be left on.
pub fn find(name: &str) -> Option<&'static Module> {
    let name = name.rsplit('.').next().unwrap_or(name);
    builtin::ALL
        .binary_search_by(|module| module.name.cmp(name))
        .ok()
        .map(|index| builtin::ALL[index])
}

/// What running the task twice means; of a module that is not there, nothing.
pub fn effect(task: &Task) -> Effect {
    find(&task.module).map_or(Effect::Reads, |module| module.effect_of(&task.args))
}

/// The nearest known module name, for a hint.
pub fn near(name: &str) -> Option<&'static str> {
    args::near(name, builtin::ALL.iter().map(|module| module.name))
}

/// Runs one task. Every fault becomes a failed result: a task never takes the agent down.
pub fn run(context: &mut Context<'_>, task: &Task) -> TaskResult {
    let Some(module) = find(&task.module) else {
        let hint = near(&task.module)
            .map(|near| format!(", did you mean `{near}`?"))
            .unwrap_or_default();
        return failed(format!("there is no module `{}`{hint}", task.module));
    };
    let args = match module.check(&task.args) {
        Ok(args) => args,
        Err(faults) => {
            return failed(
                faults
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("; "),
            );
        }
    };
    if let Some(flag) = module
        .secret_if
        .filter(|flag| args.flag(flag) && !task.no_log)
    {
        return failed(format!(
            "{flag} of {} gives a secret: the task needs `no_log: true`",
            module.name
        ));
    }
    (module.run)(context, &args).unwrap_or_else(Fault::into_result)
}

fn failed(msg: String) -> TaskResult {
    TaskResult {
        failed: true,
        msg,
        ..TaskResult::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sorted_and_every_table_is_sound() {
        assert!(catalogue().is_sorted_by_key(|module| module.name));
        for module in catalogue() {
            let mut names: Vec<_> = module
                .args()
                .flat_map(|arg| std::iter::once(arg.name).chain(arg.aliases.iter().copied()))
                .collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(
                names.len(),
                count,
                "{} names an argument twice",
                module.name
            );
            let lists = module
                .one_of
                .iter()
                .chain(module.exclusive)
                .copied()
                .flatten();
            for name in lists.chain(module.free_form.iter().chain(&module.secret_if)) {
                assert!(
                    module.args().any(|arg| arg.name == *name),
                    "{}: {name}",
                    module.name
                );
            }
            for arg in module.args() {
                if let Some(default) = arg.default {
                    assert!(
                        arg.value(&default.into()).is_ok(),
                        "{}: default of {}",
                        module.name,
                        arg.name
                    );
                }
            }
        }
    }

    #[test]
    fn a_collection_prefix_is_taken_off() {
        assert_eq!(
            find("ansible.builtin.copy").map(|module| module.name),
            Some("copy")
        );
        assert_eq!(near("ansible.builtin.coppy"), Some("copy"));
    }
}
