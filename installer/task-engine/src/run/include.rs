//! Dynamic includes: which tasks they bring in, and walking through those.
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value as Json;

use super::context::Context;
use super::item::DEPENDS;
use super::loops;
use super::walk::{Flow, Stop, Walk};
use crate::event::Status;
use crate::parse::{Action, Item, Role, Task};

/// Includes in includes; a recursion that never ends is stopped here.
const DEPTH_MAX: usize = 40;

impl Walk {
    pub(super) async fn include(
        &mut self,
        task: &Arc<Task>,
        context: &Context,
        outer: &Context,
    ) -> Flow {
        if self.depth >= DEPTH_MAX {
            return self
                .stop(
                    task,
                    &format!("includes are nested deeper than {DEPTH_MAX}"),
                )
                .await;
        }
        let scope = context.scope(&self.engine, &self.node);
        let rounds = match loops::rounds(&self.engine.templates, task, &scope) {
            Ok(rounds) => rounds,
            Err(error) => return self.stop(task, &error.to_string()).await,
        };
        for round in rounds {
            let scope = round.scope(&scope);
            match self.conditions(&context.inherited.when, &scope) {
                Ok(true) => {}
                Ok(false) => {
                    self.tell_done(
                        task,
                        round.label(),
                        Status::Skipped,
                        "",
                        Vec::new(),
                        0.0,
                        false,
                    )
                    .await;
                    continue;
                }
                Err(crate::template::TemplateError::Unknown { task: until }) => {
                    self.tell_done(
                        task,
                        round.label(),
                        Status::Unknown {
                            until,
                            reason: DEPENDS.to_owned(),
                        },
                        "",
                        Vec::new(),
                        0.0,
                        false,
                    )
                    .await;
                    continue;
                }
                Err(error) => return self.stop(task, &error.to_string()).await,
            }
            // Of a dynamic include only the variables pass on, and what `apply` says, as in Ansible; its condition has
            // been decided here.
            let inner = outer
                .with_params(&task.inherited.vars)
                .with_literals(round.vars.clone());
            let inner = match &task.action {
                Action::IncludeTasks { apply, .. } | Action::IncludeRole { apply, .. } => {
                    inner.enter(apply)
                }
                _ => inner,
            };
            let (items, inner) = match self.included(task, &scope, inner) {
                Ok(found) => found,
                Err(msg) => return self.stop(task, &msg).await,
            };
            self.depth += 1;
            let flow = self.items(&items, &inner).await;
            self.depth -= 1;
            match flow {
                Err(Stop::EndRole) if matches!(task.action, Action::IncludeRole { .. }) => {}
                flow => flow?,
            }
        }
        Ok(())
    }

    fn included(
        &mut self,
        task: &Task,
        scope: &Arc<crate::vars::Scope>,
        inner: Context,
    ) -> Result<(Arc<Vec<Item>>, Context), String> {
        let playbook = &self.engine.playbook;
        let (path, inner) = match &task.action {
            Action::IncludeRole {
                role, from, public, ..
            } => {
                let rendered = |text: &str| {
                    let value = self.engine.templates.value(&Json::from(text), scope);
                    value
                        .map(|value| crate::template::display(&value))
                        .map_err(|error| error.to_string())
                };
                let name = rendered(role)?;
                let role = playbook
                    .roles
                    .get(&name)
                    .ok_or_else(|| format!("there is no role `{name}`, or it cannot be read"))?;
                let role = role_from(role, from, &rendered)?;
                if *public {
                    self.node.publish(self.work.play_number, &role);
                }
                self.node.learn(&role.name, &role.handlers);
                let inner = inner.enter_role(&role);
                let tasks = rendered(&from.tasks)?;
                if tasks == "main" {
                    return Ok((role.main.clone(), inner));
                }
                (vec![role.path.join("tasks").join(tasks)], inner)
            }
            Action::IncludeTasks { file, .. } => {
                let file = self
                    .engine
                    .templates
                    .value(&Json::from(file.as_str()), scope)
                    .map_err(|e| e.to_string())?;
                let file = crate::template::display(&file);
                let mut folders: Vec<PathBuf> = PathBuf::from(&*task.place.file)
                    .parent()
                    .map(PathBuf::from)
                    .into_iter()
                    .collect();
                folders.extend(inner.role.as_ref().map(|role| role.role.path.join("tasks")));
                folders.push(playbook.folder.clone());
                (
                    folders.iter().map(|folder| folder.join(&file)).collect(),
                    inner,
                )
            }
            _ => (Vec::new(), inner),
        };
        let endings = |path: &PathBuf| {
            ["", ".yml", ".yaml"].map(|ending| {
                let mut name = path.clone().into_os_string();
                name.push(ending);
                PathBuf::from(name)
            })
        };
        let found = path
            .iter()
            .flat_map(endings)
            .find_map(|path| playbook.files.get(&path));
        match found {
            Some(items) => Ok((items.clone(), inner)),
            None => Err(format!(
                "there is no task file `{}`",
                path.first()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default()
            )),
        }
    }
}

/// The role with the files of variables that an include names.
fn role_from(
    role: &Arc<Role>,
    from: &crate::parse::RoleFiles,
    rendered: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Arc<Role>, String> {
    if from.vars == "main" && from.defaults == "main" {
        return Ok(role.clone());
    }
    let mut out = Role::clone(role);
    for (folder, name, into) in [
        ("defaults", &from.defaults, &mut out.defaults),
        ("vars", &from.vars, &mut out.vars),
    ] {
        let name = rendered(name)?;
        if name == "main" {
            continue;
        }
        let found = role.more_vars.get(&(folder.to_owned(), name.clone()));
        let found = found
            .ok_or_else(|| format!("the role `{}` has no file `{folder}/{name}`", role.name))?;
        *into = found.clone();
    }
    Ok(Arc::new(out))
}
