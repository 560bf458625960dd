//! What a task does: the module and its arguments, or what the engine does itself.
use serde_json::Value as Json;
use yaml_source::{Fault, Key, Map, Node};

use super::{Action, Context, ModuleSpec, Parser, get, short_name};

/// Modules that run here and not on the node.
pub(super) const CONTROLLER: &[&str] = &[
    "add_host",
    "assert",
    "debug",
    "fail",
    "fetch",
    "group_by",
    "import_role",
    "import_tasks",
    "include",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "pause",
    "set_fact",
    "wait_for_connection",
];

/// Modules of Ansible for systems that nodes of this product do not run, or for which it has no use. Where a condition
/// may keep one from running (`when: ansible_os_family == 'RedHat'`) it is no fault of the role.
const ELSEWHERE: &[&str] = &[
    "apk",
    "dnf",
    "dnf5",
    "firewalld",
    "homebrew",
    "homebrew_cask",
    "homebrew_tap",
    "launchd",
    "openbsd_pkg",
    "opkg",
    "pacman",
    "pkg5",
    "pkgin",
    "pkgng",
    "pkgutil",
    "portage",
    "rhsm_repository",
    "redhat_subscription",
    "rpm_key",
    "seboolean",
    "sefcontext",
    "selinux",
    "selinux_permissive",
    "seport",
    "slackpkg",
    "snap",
    "svr4pkg",
    "swdepot",
    "urpmi",
    "win_command",
    "win_copy",
    "win_feature",
    "win_file",
    "win_package",
    "win_reboot",
    "win_regedit",
    "win_service",
    "win_shell",
    "win_template",
    "win_user",
    "xbps",
    "yum",
    "yum_repository",
    "zypper",
    "zypper_repository",
];

pub(super) fn is_elsewhere(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    ELSEWHERE.contains(&last)
}

impl Parser<'_> {
    pub(super) fn action(
        &mut self,
        key: &Key,
        value: &Node,
        map: &Map,
        context: &Context,
    ) -> Option<Action> {
        let name = short_name(&key.text);
        if is_elsewhere(&key.text) && self.catalogue.get(name).is_none() {
            if context.conditional {
                let name = key.text.clone();
                return Some(Action::Unsupported { name });
            }
            self.fault(
                key.error(format!(
                    "the module `{}` is for systems that are not supported",
                    key.text
                ))
                .expected("`apt` or `package`, or a condition that keeps it from running here"),
            );
            return None;
        }
        let mut more = get(map, "args");
        let spec = |args: &[&str], free_form| ModuleSpec {
            args: args
                .iter()
                .map(|name| super::ArgSpec {
                    name: (*name).to_owned(),
                    ..Default::default()
                })
                .collect(),
            free_form,
            idempotent: true,
            table: None,
        };
        let mut plain = |parser: &mut Self, names: &[&str], free_form| {
            let spec = spec(names, free_form);
            match parser.arguments(key, value, more.take(), &spec) {
                super::Args::Map(args) => Some(args),
                super::Args::Template(_) => {
                    parser.fault(
                        value.error(format!("the arguments of `{name}` must be written out")),
                    );
                    None
                }
            }
        };
        Some(match name {
            "set_fact" => {
                let mut facts = match value.map() {
                    Some(_) => self.vars(value, "`set_fact`"),
                    None => plain(self, &[], None)?,
                };
                facts.remove("cacheable");
                Action::SetFact { facts }
            }
            "debug" => {
                let mut args = plain(self, &["msg", "var", "verbosity"], None)?;
                let var = args
                    .remove("var")
                    .and_then(|var| var.as_str().map(str::to_owned));
                let verbosity = args
                    .remove("verbosity")
                    .and_then(|level| level.as_i64())
                    .unwrap_or(0);
                Action::Debug {
                    msg: args.remove("msg"),
                    var,
                    verbosity,
                }
            }
            "assert" => {
                let mut args = plain(
                    self,
                    &["that", "fail_msg", "msg", "success_msg", "quiet"],
                    None,
                )?;
                let that = match value.map().and_then(|map| get(map, "that")) {
                    Some(node) => self.conditions(node, "that"),
                    None => {
                        self.fault(key.error("`assert` lacks `that`"));
                        Vec::new()
                    }
                };
                let fail_msg = args.remove("fail_msg").or_else(|| args.remove("msg"));
                let quiet = args
                    .remove("quiet")
                    .and_then(|quiet| quiet.as_bool())
                    .unwrap_or(false);
                Action::Assert {
                    that,
                    fail_msg,
                    success_msg: args.remove("success_msg"),
                    quiet,
                }
            }
            "fail" => Action::Fail {
                msg: plain(self, &["msg"], None)?.remove("msg"),
            },
            "pause" => {
                let mut args = plain(self, &["seconds", "minutes"], None)?;
                let seconds = match (args.remove("seconds"), args.remove("minutes")) {
                    (Some(seconds), _) => seconds,
                    (None, Some(Json::Number(minutes))) => {
                        Json::from(minutes.as_f64().unwrap_or(0.0) * 60.0)
                    }
                    _ => {
                        self.fault(
                            key.error("`pause` cannot wait for a key")
                                .expected("`seconds` or `minutes`"),
                        );
                        return None;
                    }
                };
                Action::Pause { seconds }
            }
            "meta" => self.meta(value)?,
            "include_tasks" | "include" => {
                let file = self.file_name(key, value)?;
                // What includes it may never come to it.
                let inner = Context {
                    conditional: context.conditional || crate::template::has_template(&file),
                    ..context.clone()
                };
                if crate::template::has_template(&file) {
                    self.read_all_task_files(&inner, &file, &key.span);
                } else {
                    let path = self.task_path(&file, context, &value.span)?;
                    if !self.open.contains(&path) {
                        self.task_file(&path, &inner, &value.span);
                    }
                }
                let apply = self.apply(value);
                Action::IncludeTasks { file, apply }
            }
            "include_role" => {
                let reference = self.role_reference(key, value)?;
                let names = match crate::template::has_template(&reference.name) {
                    true => self.roles_like(&reference.name),
                    false => vec![reference.name.clone()],
                };
                if names.is_empty() {
                    let fault = reference
                        .span
                        .error("no role has a name that this can become");
                    self.fault(fault.expected("a role in one of the folders of roles"));
                }
                for name in names {
                    if let Some(role) = self.role(&name, &reference.span) {
                        if reference.from.tasks != "main"
                            && !crate::template::has_template(&reference.from.tasks)
                        {
                            let file = &reference.from.tasks;
                            self.role_file(&role, file, &reference.span, true)?;
                        } else if reference.from.tasks != "main" {
                            let inner = Context {
                                role: Some(super::RoleContext {
                                    name: role.name.clone(),
                                    path: role.path.clone(),
                                }),
                                folder: role.path.join("tasks"),
                                handlers: false,
                                conditional: true,
                            };
                            self.read_all_task_files(&inner, &reference.from.tasks, &key.span);
                        }
                        self.role_with(&role, &reference.from, &reference.span)?;
                    }
                }
                Action::IncludeRole {
                    role: reference.name,
                    from: reference.from,
                    apply: self.apply(value),
                    public: reference.public,
                }
            }
            "group_by" => {
                let mut args = plain(self, &["key", "parents"], None)?;
                let Some(key) = args.remove("key") else {
                    self.fault(key.error("`group_by` lacks `key`"));
                    return None;
                };
                let parents = args.remove("parents");
                Action::GroupBy { key, parents }
            }
            "add_host" => {
                let args = self.vars(value, "`add_host`");
                if !["name", "hostname", "host"]
                    .iter()
                    .any(|name| args.contains_key(*name))
                {
                    self.fault(key.error("`add_host` lacks `name`"));
                    return None;
                }
                Action::AddHost { args }
            }
            "fetch" => {
                let names = [
                    "src",
                    "dest",
                    "flat",
                    "fail_on_missing",
                    "validate_checksum",
                ];
                let args = plain(self, &names, None)?;
                for name in ["src", "dest"]
                    .iter()
                    .filter(|name| !args.contains_key(**name))
                {
                    self.fault(key.error(format!("`fetch` lacks `{name}`")));
                }
                Action::Fetch { args }
            }
            "include_vars" => {
                let names = [
                    "file",
                    "name",
                    "dir",
                    "depth",
                    "files_matching",
                    "ignore_files",
                    "extensions",
                    "ignore_unknown_extensions",
                ];
                let args = plain(self, &names, Some("file"))?;
                if args.contains_key("file") == args.contains_key("dir") {
                    self.fault(key.error("`include_vars` takes either `file` or `dir`"));
                    return None;
                }
                Action::IncludeVars { args }
            }
            "wait_for_connection" => {
                let mut args = plain(
                    self,
                    &["timeout", "delay", "sleep", "connect_timeout"],
                    None,
                )?;
                Action::WaitForConnection {
                    timeout: args.remove("timeout"),
                }
            }
            name => {
                let spec = self.catalogue.get(name)?;
                Action::Module {
                    name: name.to_owned(),
                    args: self.arguments(key, value, more, spec),
                }
            }
        })
    }

    fn meta(&mut self, value: &Node) -> Option<Action> {
        const KNOWN: &[&str] = &[
            "flush_handlers",
            "noop",
            "end_host",
            "end_play",
            "clear_facts",
            "reset_connection",
            "clear_host_errors",
            "end_batch",
            "end_role",
        ];
        let word = value.as_str("`meta`", &mut self.diags)?;
        Some(match word {
            "flush_handlers" => Action::FlushHandlers,
            "noop" | "clear_host_errors" => Action::Noop,
            "reset_connection" => Action::ResetConnection,
            // Every host comes here by itself, so each ends its own part of the play.
            "end_host" | "end_play" | "end_batch" => Action::EndHost,
            "end_role" => Action::EndRole,
            "refresh_inventory" => {
                let fault = value.error(
                    "`meta: refresh_inventory` is not supported: the inventory is read once",
                );
                self.fault(
                    fault.expected("`add_host` for hosts that come up while the playbook runs"),
                );
                return None;
            }
            "clear_facts" => Action::ClearFacts,
            _ => {
                let fault = value
                    .error(format!("`meta` cannot `{word}`"))
                    .suggest(word, KNOWN.iter().copied());
                self.fault(fault);
                return None;
            }
        })
    }
}
