//! A template with its parameters' values: conditions decided, and the graph of its resources.
use crate::{
    expr::Expr,
    resolve::{ResolveError, Scope, resolve_condition, resolve_value},
    template::{Output, Resource, Template},
};
use graph::Graph;
use indexmap::IndexMap;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What is wrong with the values given to a template, or with what follows from them.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BindError {
    #[error("The Parameter ({0}) was not provided.")]
    Missing(String),
    #[error("The Parameter ({0}) was not defined in template.")]
    Unknown(String),
    #[error("Parameter '{name}' is invalid: {reason}")]
    Invalid { name: String, reason: String },
    #[error("condition `{name}`: {reason}")]
    Condition { name: String, reason: String },
    #[error("the resource `{resource}` needs `{needs}`, whose condition is false")]
    NotThere { resource: String, needs: String },
    #[error("Circular Dependency Found: {0}")]
    Cycle(String),
}

/// What the pseudo parameters give.
#[derive(Debug, Clone, Default)]
pub struct Pseudo {
    pub stack_id: String,
    pub stack_name: String,
    pub project_id: String,
    pub region: String,
}

/// A template whose parameters have values.
#[derive(Debug, Clone)]
pub struct Bound {
    pub template: Template,
    /// Values of all parameters, pseudo parameters among them.
    pub parameters: Map<String, Value>,
    conditions: IndexMap<String, bool>,
    files: Map<String, Value>,
}

/// Gives a template its parameters: `given` before `defaults` (an environment's) before its own.
///
/// # Errors
/// Everything that is missing, unknown, or breaks a constraint.
pub fn bind(
    template: Template,
    given: &Map<String, Value>,
    defaults: &Map<String, Value>,
    files: Map<String, Value>,
    pseudo: &Pseudo,
) -> Result<Bound, Vec<BindError>> {
    let mut faults = Vec::new();
    let mut parameters = Map::new();
    for name in given
        .keys()
        .filter(|name| !template.parameters.contains_key(*name))
    {
        faults.push(BindError::Unknown(name.clone()));
    }
    for (name, parameter) in &template.parameters {
        let from = given
            .get(name)
            .or_else(|| defaults.get(name))
            .or(parameter.default.as_ref());
        let Some(value) = from else {
            faults.push(BindError::Missing(name.clone()));
            continue;
        };
        match parameter.coerce(value) {
            Ok(value) => {
                let shown = |reason: String| {
                    if parameter.hidden {
                        "it breaks a constraint".to_owned()
                    } else {
                        reason
                    }
                };
                faults.extend(parameter.violations(&value).into_iter().map(|reason| {
                    BindError::Invalid {
                        name: name.clone(),
                        reason: shown(reason),
                    }
                }));
                parameters.insert(name.clone(), value);
            }
            Err(reason) => {
                let reason = if parameter.hidden {
                    "it has the wrong type".to_owned()
                } else {
                    reason
                };
                faults.push(BindError::Invalid {
                    name: name.clone(),
                    reason,
                });
            }
        }
    }
    for (name, value) in [
        ("OS::stack_id", &pseudo.stack_id),
        ("OS::stack_name", &pseudo.stack_name),
        ("OS::project_id", &pseudo.project_id),
        ("OS::region", &pseudo.region),
    ] {
        parameters.insert(name.to_owned(), Value::String(value.clone()));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut bound = Bound {
        template,
        parameters,
        conditions: IndexMap::new(),
        files,
    };
    let mut conditions = IndexMap::new();
    for (name, expr) in &bound.template.conditions {
        let scope = Conditions {
            bound: &bound,
            open: vec![name.clone()],
        };
        match resolve_condition(expr, &scope) {
            Ok(holds) => {
                conditions.insert(name.clone(), holds);
            }
            Err(error) => faults.push(BindError::Condition {
                name: name.clone(),
                reason: error.to_string(),
            }),
        }
    }
    bound.conditions = conditions;
    if faults.is_empty() {
        Ok(bound)
    } else {
        Err(faults)
    }
}

impl Bound {
    /// The resources whose condition holds, in the order of the template.
    pub fn resources(&self) -> impl Iterator<Item = (&String, &Resource)> {
        self.template
            .resources
            .iter()
            .filter(|(_, resource)| self.holds(resource.condition.as_ref()))
    }

    /// The outputs whose condition holds.
    pub fn outputs(&self) -> impl Iterator<Item = (&String, &Output)> {
        self.template
            .outputs
            .iter()
            .filter(|(_, output)| self.holds(output.condition.as_ref()))
    }

    fn holds(&self, condition: Option<&Expr>) -> bool {
        condition.is_none_or(|expr| resolve_condition(expr, &Static(self)).unwrap_or(false))
    }

    /// The resources that `name` refers to or depends on, in order of their names.
    pub fn dependencies(&self, resource: &Resource) -> BTreeSet<String> {
        let mut needs: BTreeSet<String> = resource
            .depends_on
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        for expr in [&resource.properties, &resource.metadata] {
            expr.walk(&mut |part| needs.extend(part.referenced_resource().map(str::to_owned)));
        }
        needs
    }

    /// The graph of the resources whose condition holds; a resource comes after what it needs.
    /// `implicit` gives further pairs (resource, what it needs) that only the resource types know.
    ///
    /// # Errors
    /// References to resources that are not there, or a cycle, named.
    pub fn graph(
        &self,
        implicit: &[(String, String)],
    ) -> Result<Graph<String, ()>, Vec<BindError>> {
        let present: BTreeSet<&String> = self.resources().map(|(name, _)| name).collect();
        let mut graph = Graph::default();
        let mut faults = Vec::new();
        let cycle = |error: graph::GraphError| match error {
            graph::GraphError::Cycle(path) => BindError::Cycle(path.join(" -> ")),
            other => BindError::Cycle(other.to_string()),
        };
        for name in &present {
            if let Err(error) = graph.add_node((*name).clone(), ()) {
                faults.push(cycle(error));
            }
        }
        for (name, resource) in self.resources() {
            let more = implicit
                .iter()
                .filter(|(from, _)| from == name)
                .map(|(_, to)| to.clone());
            for needs in self.dependencies(resource).into_iter().chain(more) {
                if !present.contains(&needs) {
                    faults.push(BindError::NotThere {
                        resource: name.clone(),
                        needs,
                    });
                } else if let Err(error) = graph.add_edge(&needs, name) {
                    faults.push(cycle(error));
                }
            }
        }
        if faults.is_empty()
            && let Err(error) = graph.check()
        {
            faults.push(cycle(error));
        }
        if faults.is_empty() {
            Ok(graph)
        } else {
            Err(faults)
        }
    }

    /// The properties of a resource as far as they are known; see [`Scope`] for what `scope` must know.
    pub fn properties(
        &self,
        resource: &Resource,
        scope: &dyn Scope,
    ) -> Result<Value, ResolveError> {
        resolve_value(&resource.properties, scope)
    }

    /// What functions can know from the template alone; a [`Scope`] of a stack delegates to these.
    pub fn parameter(&self, name: &str) -> Result<Value, ResolveError> {
        self.parameters.get(name).cloned().ok_or_else(|| {
            ResolveError::Invalid(format!(
                "The Parameter ({name}) was not defined in template."
            ))
        })
    }

    pub fn condition(&self, name: &str) -> Result<bool, ResolveError> {
        match (
            self.conditions.get(name),
            name.to_ascii_lowercase().as_str(),
        ) {
            (Some(holds), _) => Ok(*holds),
            (None, "true") => Ok(true),
            (None, "false") => Ok(false),
            _ => Err(ResolveError::Invalid(format!(
                "there is no condition `{name}`"
            ))),
        }
    }

    pub fn file(&self, name: &str) -> Result<String, ResolveError> {
        match self.files.get(name) {
            Some(Value::String(content)) => Ok(content.clone()),
            Some(other) => Ok(other.to_string()),
            None => Err(ResolveError::Invalid(format!(
                "No content found in the \"files\" section for get_file path: {name}"
            ))),
        }
    }
}

/// What is known before any resource exists.
pub struct Static<'a>(pub &'a Bound);

impl Scope for Static<'_> {
    fn parameter(&self, name: &str) -> Result<Value, ResolveError> {
        self.0.parameter(name)
    }
    fn reference(&self, resource: &str) -> Result<Value, ResolveError> {
        Err(ResolveError::UnknownUntil(resource.to_owned()))
    }
    fn attribute(&self, resource: &str, _: Option<&str>) -> Result<Value, ResolveError> {
        Err(ResolveError::UnknownUntil(resource.to_owned()))
    }
    fn file(&self, name: &str) -> Result<String, ResolveError> {
        self.0.file(name)
    }
    fn condition(&self, name: &str) -> Result<bool, ResolveError> {
        self.0.condition(name)
    }
}

/// Conditions that name each other, while they are being decided.
struct Conditions<'a> {
    bound: &'a Bound,
    open: Vec<String>,
}

impl Scope for Conditions<'_> {
    fn parameter(&self, name: &str) -> Result<Value, ResolveError> {
        self.bound.parameter(name)
    }
    fn reference(&self, resource: &str) -> Result<Value, ResolveError> {
        Err(ResolveError::UnknownUntil(resource.to_owned()))
    }
    fn attribute(&self, resource: &str, _: Option<&str>) -> Result<Value, ResolveError> {
        Err(ResolveError::UnknownUntil(resource.to_owned()))
    }
    fn file(&self, name: &str) -> Result<String, ResolveError> {
        self.bound.file(name)
    }
    fn condition(&self, name: &str) -> Result<bool, ResolveError> {
        if self.open.iter().any(|open| open == name) {
            return Err(ResolveError::Invalid(format!(
                "Circular definition for condition \"{name}\""
            )));
        }
        let Some(expr) = self.bound.template.conditions.get(name) else {
            return self.bound.condition(name);
        };
        let mut open = self.open.clone();
        open.push(name.to_owned());
        resolve_condition(
            expr,
            &Conditions {
                bound: self.bound,
                open,
            },
        )
    }
}
