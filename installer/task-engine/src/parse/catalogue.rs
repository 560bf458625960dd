//! What the parser must know of modules to refuse a wrong one before anything runs.
//!
//! The node's modules describe themselves; see [`Catalogue::of_modules`].
use std::collections::BTreeMap;

/// One module's arguments, as far as checking names needs them.
#[derive(Debug, Clone, Default)]
pub struct ModuleSpec {
    /// Argument names with their aliases, each with whether it must be given.
    pub args: Vec<ArgSpec>,
    /// Takes `command: free text`.
    pub free_form: Option<&'static str>,
    /// Running it a second time does no harm.
    pub idempotent: bool,
    /// The node's own table: what it refuses with advice, which arguments go together, what their values may be.
    pub table: Option<&'static modules::Module>,
}

#[derive(Debug, Clone, Default)]
pub struct ArgSpec {
    pub name: String,
    pub aliases: Vec<String>,
    pub required: bool,
    pub choices: Vec<String>,
}

/// All modules that the agent has, by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    modules: BTreeMap<String, ModuleSpec>,
}

/// Names of modules come with these before them in roles written for Ansible ≥ 2.10.
const PREFIXES: &[&str] = &[
    "ansible.builtin.",
    "ansible.legacy.",
    "ansible.mysql.",
    "ansible.posix.",
    "community.general.",
    "community.mysql.",
    "community.rabbitmq.",
    "community.postgresql.",
    "community.crypto.",
];

/// The name without its collection.
pub fn short_name(name: &str) -> &str {
    PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

impl Catalogue {
    /// The modules that the agent of this build has.
    pub fn of_modules() -> Self {
        Catalogue::from_specs(modules::catalogue().iter().map(|module| {
            let arg = |arg: &modules::Arg| ArgSpec {
                name: arg.name.to_owned(),
                aliases: arg
                    .aliases
                    .iter()
                    .map(|alias| (*alias).to_owned())
                    .collect(),
                required: arg.required,
                choices: arg
                    .choices
                    .iter()
                    .map(|choice| (*choice).to_owned())
                    .collect(),
            };
            let args = module.args().map(arg).collect();
            let spec = ModuleSpec {
                args,
                free_form: module.free_form,
                idempotent: module.idempotent(),
                table: Some(module),
            };
            (module.name.to_owned(), spec)
        }))
    }

    pub fn from_specs(specs: impl IntoIterator<Item = (String, ModuleSpec)>) -> Self {
        Catalogue {
            modules: specs.into_iter().collect(),
        }
    }

    pub fn get(&self, name: &str) -> Option<&ModuleSpec> {
        self.modules.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }
}
