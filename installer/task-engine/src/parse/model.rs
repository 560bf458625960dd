//! What playbooks and roles say, parsed and checked: the input of planning. Values still hold their templates.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

/// A place in a file, as messages show it: `roles/web/tasks/main.yml:12:3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[derive(Debug, Clone)]
pub struct Playbook {
    pub plays: Vec<Arc<Play>>,
    /// Every role that a play, an `import_role` or an `include_role` names.
    pub roles: BTreeMap<String, Arc<Role>>,
    /// Every task file that an `include_tasks` or `include_role` can name, by path.
    pub files: BTreeMap<PathBuf, Arc<Vec<Item>>>,
    /// Folder of the playbook's file.
    pub folder: PathBuf,
    /// What was sealed by Ansible Vault, and must be shown nowhere.
    pub vault: Arc<crate::vault::Vault>,
}

impl Playbook {
    /// Plays that say nothing of `become` say this from now on.
    pub fn default_become(&mut self, wanted: bool, user: Option<&str>) {
        for play in self.plays.iter_mut().filter(|_| wanted) {
            let defaults = &mut Arc::make_mut(play).defaults;
            defaults.r#become.get_or_insert(Json::Bool(true));
            if let Some(user) = user {
                defaults.become_user.get_or_insert(Json::from(user));
            }
        }
    }

    /// Whether any task may have to run as root, or as another user than the one who logs in.
    pub fn becomes(&self) -> bool {
        let of = |inherited: &Inherited| match &inherited.r#become {
            None | Some(Json::Bool(false)) => false,
            Some(_) => true,
        };
        fn items(list: &[Item], of: &dyn Fn(&Inherited) -> bool) -> bool {
            list.iter().any(|item| match item {
                Item::Task(task) => of(&task.inherited),
                Item::Block(block) => {
                    of(&block.inherited)
                        || [&block.body, &block.rescue, &block.always]
                            .iter()
                            .any(|list| items(list, of))
                }
            })
        }
        let handlers = |list: &[Arc<Task>]| list.iter().any(|task| of(&task.inherited));
        self.plays.iter().any(|play| {
            of(&play.defaults)
                || [&play.pre_tasks, &play.tasks, &play.post_tasks]
                    .iter()
                    .any(|list| items(list, &of))
                || handlers(&play.handlers)
                || play.roles.iter().any(|role| of(&role.inherited))
        }) || self
            .roles
            .values()
            .any(|role| items(&role.main, &of) || handlers(&role.handlers))
            || self.files.values().any(|file| items(file, &of))
    }
}

impl Playbook {
    /// The titles of all tasks that a run can come to.
    pub fn titles(&self) -> BTreeSet<String> {
        fn walk(items: &[Item], out: &mut BTreeSet<String>) {
            for item in items {
                match item {
                    Item::Task(task) => drop(out.insert(task.title())),
                    Item::Block(block) => {
                        walk(&block.body, out);
                        walk(&block.rescue, out);
                        walk(&block.always, out);
                    }
                }
            }
        }
        let mut out = BTreeSet::new();
        for play in &self.plays {
            for items in [&play.pre_tasks, &play.tasks, &play.post_tasks] {
                walk(items, &mut out);
            }
        }
        for items in self.roles.values().map(|role| &role.main) {
            walk(items, &mut out);
        }
        for items in self.files.values() {
            walk(items, &mut out);
        }
        out
    }
}

#[derive(Debug, Clone)]
pub struct Play {
    pub name: String,
    /// Ansible's host pattern, for example `compute:hybrid:!node-3`.
    pub hosts: String,
    pub gather_facts: Option<bool>,
    /// Who logs in, where the inventory names nobody.
    pub remote_user: Option<String>,
    pub vars: Map<String, Json>,
    pub defaults: Inherited,
    pub pre_tasks: Vec<Item>,
    pub roles: Vec<RoleUse>,
    pub tasks: Vec<Item>,
    pub post_tasks: Vec<Item>,
    pub handlers: Vec<Arc<Task>>,
    /// One failed node ends the play for all.
    pub any_errors_fatal: bool,
    /// How many nodes the play works on at a time: the first batch, the second, and so on; the last entry counts for
    /// all further ones. Empty: all at once.
    pub serial: Vec<Allowance>,
    /// When more than this share of a batch has failed, the others stop.
    pub max_fail_percentage: Option<u8>,
    pub place: Place,
}

/// A role where a play names it.
#[derive(Debug, Clone)]
pub struct RoleUse {
    pub role: Arc<Role>,
    /// Role parameters: all keys that are no keywords. `vars` are weaker, and stand in `inherited`.
    pub params: Map<String, Json>,
    pub inherited: Inherited,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub struct Role {
    pub name: String,
    pub path: PathBuf,
    /// `tasks/main.yml`; empty where there is none.
    pub main: Arc<Vec<Item>>,
    pub handlers: Vec<Arc<Task>>,
    pub defaults: Map<String, Json>,
    pub vars: Map<String, Json>,
    pub graph: RoleGraph,
    /// It may run more than once in a play with the same parameters.
    pub allow_duplicates: bool,
    /// For `vars_from` and `defaults_from`: all files of variables, by folder and name without ending.
    pub more_vars: BTreeMap<(String, String), Map<String, Json>>,
}

/// `meta/graph.yml`: what the role needs of other nodes' roles, what it provides to them, and how many nodes of a
/// group may fail in it.
#[derive(Debug, Clone, Default)]
pub struct RoleGraph {
    pub needs: Vec<RoleNeed>,
    pub provides: Vec<String>,
    pub budget: BTreeMap<String, Allowance>,
}

/// A number of nodes, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    Nodes(usize),
    Percent(u8),
}

impl Allowance {
    /// Of so many nodes, rounded down.
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Allowance::Nodes(count) => count.min(nodes),
            Allowance::Percent(percent) => nodes * usize::from(percent) / 100,
        }
    }
}

#[derive(Debug, Clone)]
pub struct RoleNeed {
    pub capability: String,
    pub policy: graph::Need,
    pub place: Place,
}

/// One entry of a task list.
#[derive(Debug, Clone)]
pub enum Item {
    Task(Arc<Task>),
    Block(Arc<Block>),
}

#[derive(Debug, Clone)]
pub struct Block {
    pub name: Option<String>,
    pub inherited: Inherited,
    pub body: Vec<Item>,
    pub rescue: Vec<Item>,
    pub always: Vec<Item>,
    /// Set where the block stands for an `import_role`: its items belong to that role.
    pub role: Option<Arc<Role>>,
    pub place: Place,
}

/// What tasks take over from the block, role and play around them.
#[derive(Debug, Clone, Default)]
pub struct Inherited {
    pub when: Vec<Condition>,
    pub tags: Vec<String>,
    pub vars: Map<String, Json>,
    pub environment: Vec<Json>,
    pub r#become: Option<Json>,
    pub become_user: Option<Json>,
    pub delegate_to: Option<Json>,
    pub run_once: Option<bool>,
    pub check_mode: Option<bool>,
    pub no_log: Option<Json>,
    pub ignore_errors: Option<Json>,
    /// Facts that a delegated task gathers belong to the host that it ran on.
    pub delegate_facts: Option<bool>,
    /// Arguments by module, outermost first.
    pub module_defaults: Vec<Map<String, Json>>,
    pub ignore_unreachable: Option<Json>,
    pub any_errors_fatal: Option<bool>,
    /// At most so many nodes run the task at the same time.
    pub throttle: Option<Json>,
}

/// A bare expression, or a literal.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Literal(bool),
    Expression(String),
}

#[derive(Debug, Clone)]
pub struct Task {
    pub name: Option<String>,
    pub action: Action,
    pub inherited: Inherited,
    pub r#loop: Option<Loop>,
    pub register: Option<String>,
    pub notify: Vec<String>,
    /// Handlers only.
    pub listen: Vec<String>,
    pub changed_when: Option<Vec<Condition>>,
    pub failed_when: Option<Vec<Condition>>,
    pub until: Option<Vec<Condition>>,
    pub retries: Option<Json>,
    pub delay: Option<Json>,
    pub timeout: Option<Json>,
    pub place: Place,
}

impl Task {
    /// A task with nothing but its action.
    pub fn new(action: Action, place: Place) -> Self {
        Task {
            name: None,
            action,
            inherited: Inherited::default(),
            r#loop: None,
            register: None,
            notify: Vec::new(),
            listen: Vec::new(),
            changed_when: None,
            failed_when: None,
            until: None,
            retries: None,
            delay: None,
            timeout: None,
            place,
        }
    }

    /// What progress and errors call the task.
    pub fn title(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.action.name().to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Loop {
    pub source: LoopSource,
    pub variable: String,
    pub index_variable: Option<String>,
    pub label: Option<Json>,
    pub pause_seconds: Option<Json>,
    /// `ansible_loop` also has the items before and after, and all of them.
    pub extended: bool,
}

#[derive(Debug, Clone)]
pub enum LoopSource {
    /// `loop`, `with_list`: the list as it is.
    List(Json),
    /// `with_items`: lists in the list are flattened by one level.
    Items(Json),
    /// `with_dict`: items are `{key, value}`.
    Dict(Json),
    /// `with_sequence: start=1 end=4`.
    Sequence(Json),
    /// `with_nested`: the product of lists.
    Nested(Json),
    /// `with_together`: the lists side by side.
    Together(Json),
    /// `with_subelements: [list, path]`.
    Subelements(Json),
    /// `with_indexed_items`.
    Indexed(Json),
    /// `with_first_found`, `with_fileglob` and others: what the lookup of that name gives.
    Lookup(String, Json),
}

#[derive(Debug, Clone)]
pub enum Action {
    /// Runs on the node, by the agent.
    Module {
        name: String,
        args: Args,
    },
    SetFact {
        facts: Map<String, Json>,
    },
    Debug {
        msg: Option<Json>,
        var: Option<String>,
        verbosity: i64,
    },
    Assert {
        that: Vec<Condition>,
        fail_msg: Option<Json>,
        success_msg: Option<Json>,
        quiet: bool,
    },
    Fail {
        msg: Option<Json>,
    },
    Pause {
        seconds: Json,
    },
    FlushHandlers,
    /// `meta: noop`, `clear_host_errors`: nothing to be done here.
    Noop,
    /// `meta: reset_connection`: the node's next task goes over a new connection.
    ResetConnection,
    /// `meta: end_host` and `end_play`: this node's play ends well.
    EndHost,
    ClearFacts,
    /// `include_tasks` with a file name that may hold a template.
    IncludeTasks {
        file: String,
        /// Keywords for every task that is included.
        apply: Inherited,
    },
    IncludeRole {
        /// May hold a template.
        role: String,
        from: RoleFiles,
        apply: Inherited,
        /// Its defaults and variables stay known to the tasks after it.
        public: bool,
    },
    /// Puts the node into a group whose name comes from its variables.
    GroupBy {
        key: Json,
        parents: Option<Json>,
    },
    /// A file of the node, brought to the deployment host.
    Fetch {
        args: Map<String, Json>,
    },
    /// Makes a node known, with its groups and variables, to the plays that follow.
    AddHost {
        args: Map<String, Json>,
    },
    IncludeVars {
        args: Map<String, Json>,
    },
    /// A role's `meta/argument_specs.yml`, checked where the role begins.
    ValidateArguments {
        role: String,
        options: Map<String, Json>,
    },
    /// A module that this product does not have, in a place that a condition may never let run: other systems' package
    /// managers, mostly. It fails if it is come to.
    Unsupported {
        name: String,
    },
    /// `meta: end_role`: the rest of the role is left out.
    EndRole,
    /// `wait_for_connection`, `ping` of the connection: the link itself.
    WaitForConnection {
        timeout: Option<Json>,
    },
}

impl Action {
    pub fn name(&self) -> &str {
        match self {
            Action::Module { name, .. } => name,
            Action::SetFact { .. } => "set_fact",
            Action::Debug { .. } => "debug",
            Action::Assert { .. } => "assert",
            Action::Fail { .. } => "fail",
            Action::Pause { .. } => "pause",
            Action::FlushHandlers
            | Action::Noop
            | Action::ResetConnection
            | Action::EndHost
            | Action::EndRole
            | Action::ClearFacts => "meta",
            Action::ValidateArguments { .. } => "validate_argument_spec",
            Action::Unsupported { name } => name,
            Action::IncludeTasks { .. } => "include_tasks",
            Action::IncludeRole { .. } => "include_role",
            Action::GroupBy { .. } => "group_by",
            Action::AddHost { .. } => "add_host",
            Action::Fetch { .. } => "fetch",
            Action::IncludeVars { .. } => "include_vars",
            Action::WaitForConnection { .. } => "wait_for_connection",
        }
    }
}

/// Which files of a role are meant, without their endings; `main` where nothing is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleFiles {
    pub tasks: String,
    pub vars: String,
    pub defaults: String,
    pub handlers: String,
}

impl Default for RoleFiles {
    fn default() -> Self {
        let main = || "main".to_owned();
        RoleFiles {
            tasks: main(),
            vars: main(),
            defaults: main(),
            handlers: main(),
        }
    }
}

/// A module's arguments.
#[derive(Debug, Clone, PartialEq)]
pub enum Args {
    Map(Map<String, Json>),
    /// The whole mapping comes from a variable: `copy: "{{ options }}"`, checked when it is known.
    Template(String),
}
