//! The shape of a module: its name, what it does to a node, and its table of arguments.
use agent_protocol::task::TaskResult;
use serde_json::{Map, Value};

use crate::args::Args;
use crate::context::{Context, Fault};

/// Whether a call with these arguments only reads.
pub(crate) type ReadsIf = fn(&Map<String, Value>) -> bool;

/// One module. Tables are constants; see any file of `builtin/` for an example.
#[derive(Debug)]
pub struct Module {
    pub name: &'static str,
    pub summary: &'static str,
    pub effect: Effect,
    /// The argument that takes free text (`command: uptime`).
    pub free_form: Option<&'static str>,
    /// Whether the arguments common to all modules that make files are taken too.
    pub file_args: bool,
    /// Groups of arguments of which at most one may be given.
    pub exclusive: &'static [&'static [&'static str]],
    /// Groups of arguments of which at least one must be given.
    pub one_of: &'static [&'static [&'static str]],
    /// Arguments of Ansible's module that this one does not have, each with what to write instead.
    pub refused: &'static [(&'static str, &'static str)],
    /// The flag that puts a secret into the result: a task that sets it must have `no_log: true`.
    pub secret_if: Option<&'static str>,
    /// Calls that only read, of a module that does not always.
    pub(crate) reads_if: Option<ReadsIf>,
    pub(crate) args: &'static [Arg],
    /// Arguments that several modules have, such as those of a login.
    pub(crate) shared: &'static [Arg],
    pub(crate) run: fn(&mut Context<'_>, &Args) -> Result<TaskResult, Fault>,
}

/// What running a module twice means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing.
    Reads,
    /// A second run finds the wished state and changes nothing.
    Converges,
    /// Each run acts again: it must not be repeated after an interruption.
    Once,
}

impl Module {
    /// Whether a started run without an end may simply be begun anew.
    pub fn idempotent(&self) -> bool {
        self.effect != Effect::Once
    }

    /// What running it twice with these arguments means.
    pub fn effect_of(&self, args: &Map<String, Value>) -> Effect {
        match self.reads_if {
            Some(reads) if reads(args) => Effect::Reads,
            _ => self.effect,
        }
    }

    /// Every argument it takes.
    pub fn args(&self) -> impl Iterator<Item = &'static Arg> {
        let common: &[Arg] = if self.file_args { FILE_ARGS } else { &[] };
        self.args.iter().chain(self.shared).chain(common)
    }

    pub(crate) const fn new(
        name: &'static str,
        summary: &'static str,
        effect: Effect,
        args: &'static [Arg],
        run: fn(&mut Context<'_>, &Args) -> Result<TaskResult, Fault>,
    ) -> Self {
        Module {
            name,
            summary,
            effect,
            free_form: None,
            file_args: false,
            exclusive: &[],
            one_of: &[],
            refused: &[],
            secret_if: None,
            reads_if: None,
            args,
            shared: &[],
            run,
        }
    }

    pub(crate) const fn free_form(mut self, arg: &'static str) -> Self {
        self.free_form = Some(arg);
        self
    }

    pub(crate) const fn file_args(mut self) -> Self {
        self.file_args = true;
        self
    }

    pub(crate) const fn shares(mut self, args: &'static [Arg]) -> Self {
        self.shared = args;
        self
    }

    pub(crate) const fn refuses(mut self, args: &'static [(&'static str, &'static str)]) -> Self {
        self.refused = args;
        self
    }

    pub(crate) const fn secret_if(mut self, flag: &'static str) -> Self {
        self.secret_if = Some(flag);
        self
    }

    pub(crate) const fn exclusive(mut self, groups: &'static [&'static [&'static str]]) -> Self {
        self.exclusive = groups;
        self
    }

    pub(crate) const fn reads_if(mut self, reads: fn(&Map<String, Value>) -> bool) -> Self {
        self.reads_if = Some(reads);
        self
    }

    pub(crate) const fn one_of(mut self, groups: &'static [&'static [&'static str]]) -> Self {
        self.one_of = groups;
        self
    }
}

/// One argument of a module.
#[derive(Debug)]
pub struct Arg {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub kind: Kind,
    pub required: bool,
    /// As it would be written in YAML.
    pub default: Option<&'static str>,
    /// Empty: any value of its kind.
    pub choices: &'static [&'static str],
    pub help: &'static str,
}

/// What an argument's value may be. Text is converted as Ansible does: `"yes"` is a flag, `"80"` a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Flag,
    Int,
    /// Absolute path on the node.
    Path,
    /// A list of texts; one text is split at its commas.
    List,
    Map,
    /// Permission bits: `"0644"`, the number that YAML makes of `0644`, or `u=rw,g=r`.
    Mode,
    Any,
}

impl Arg {
    pub(crate) const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Arg {
            name,
            aliases: &[],
            kind,
            required: false,
            default: None,
            choices: &[],
            help,
        }
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    pub(crate) const fn choices(mut self, values: &'static [&'static str]) -> Self {
        self.choices = values;
        self
    }

    pub(crate) const fn aliases(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }
}

/// Who owns a file and who may read it.
const FILE_ARGS: &[Arg] = &[
    Arg::new("mode", Kind::Mode, "permission bits"),
    Arg::new("owner", Kind::Text, "user name or number"),
    Arg::new("group", Kind::Text, "group name or number"),
    Arg::new("unsafe_writes", Kind::Flag, "accepted for compatibility").default("false"),
    Arg::new(
        "seuser",
        Kind::Text,
        "accepted for compatibility: of SELinux",
    ),
    Arg::new(
        "serole",
        Kind::Text,
        "accepted for compatibility: of SELinux",
    ),
    Arg::new(
        "setype",
        Kind::Text,
        "accepted for compatibility: of SELinux",
    ),
    Arg::new(
        "selevel",
        Kind::Text,
        "accepted for compatibility: of SELinux",
    ),
];
