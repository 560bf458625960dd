//! Creating, updating and deleting stacks: what is accepted is written with its operation, in one transaction.
use super::{
    App,
    definition::{Definition, invalid},
};
use crate::{
    engine::{self, implicit},
    resources::{self, property},
    store::{Stack, live_name, now},
};
use hot::{Bound, ExprKind, Pseudo};
use serde_json::{Map, Value, json};
use service_kit::{ApiError, RequestContext, work::NewOperation};

/// How long an operation may take unless the request says otherwise, in minutes.
const TIMEOUT_MINUTES: i64 = 60;

/// What a create or update asks for beside its definition.
pub struct Options {
    pub timeout_mins: i64,
    pub disable_rollback: bool,
    pub tags: String,
}

impl Options {
    /// From a request's body.
    pub fn from_body(body: &Value, before: Option<&Stack>) -> Result<Self, ApiError> {
        let timeout = match &body["timeout_mins"] {
            Value::Null => Some(before.map_or(TIMEOUT_MINUTES, |stack| stack.timeout_mins)),
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        let timeout_mins = timeout
            .filter(|minutes| (1..=1440).contains(minutes))
            .ok_or_else(|| {
                ApiError::bad_request("HTTPBadRequest", "Invalid timeout value: 1 to 1440 minutes")
            })?;
        let disable_rollback = match &body["disable_rollback"] {
            Value::Null => before.is_none_or(|stack| stack.disable_rollback),
            Value::Bool(value) => *value,
            Value::String(text) if text.eq_ignore_ascii_case("true") => true,
            Value::String(text) if text.eq_ignore_ascii_case("false") => false,
            _ => {
                return Err(ApiError::bad_request(
                    "HTTPBadRequest",
                    "\"disable_rollback\" is true or false",
                ));
            }
        };
        let tags = match &body["tags"] {
            Value::String(text) => text.clone(),
            _ => before.map(|stack| stack.tags.clone()).unwrap_or_default(),
        };
        Ok(Options {
            timeout_mins,
            disable_rollback,
            tags,
        })
    }
}

/// The operation that carries out a stack's traversal.
fn operation(stack: &Stack) -> NewOperation {
    NewOperation {
        queue: "engine".to_owned(),
        kind: "stack".to_owned(),
        target: stack.id.clone(),
        payload: json!({ "traversal": stack.traversal }),
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let fine = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 255
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if fine {
        return Ok(());
    }
    Err(invalid(format!(
        "Invalid stack name {name} must contain only alphanumeric or \"_-.\" characters, must start with alpha and must be 255 characters or less."
    )))
}

impl App {
    /// A stack that the caller may see, by id, or by name in the caller's project.
    pub async fn stack_find(
        &self,
        caller: &RequestContext,
        identity: &str,
    ) -> Result<Stack, ApiError> {
        let not_found = || {
            ApiError::not_found(
                "EntityNotFound",
                format!("The Stack ({identity}) could not be found."),
            )
        };
        if let Some(stack) = self.store.stack(identity).await? {
            return if caller.owns(&stack.project_id) {
                Ok(stack)
            } else {
                Err(not_found())
            };
        }
        self.store
            .stack_named(&caller.project_id, identity)
            .await?
            .ok_or_else(not_found)
    }

    /// Accepts a new stack.
    pub async fn stack_create(
        &self,
        caller: &RequestContext,
        body: &Value,
    ) -> Result<Stack, ApiError> {
        let name = body["stack_name"].as_str().unwrap_or_default();
        check_name(name)?;
        let definition = Definition::from_body(body)?;
        let options = Options::from_body(body, None)?;
        let mut stack = self.new_stack(caller, name, &definition, &options)?;
        self.validate(&definition, &engine::pseudo(&stack, &self.region))?;
        let taken =
            || ApiError::conflict("StackExists", format!("The Stack ({name}) already exists."));
        if self
            .store
            .stack_named(&caller.project_id, name)
            .await?
            .is_some()
        {
            return Err(taken());
        }
        if self.store.stack_count(&caller.project_id).await? >= self.stacks_per_project {
            return Err(ApiError::forbidden(
                "RequestLimitExceeded",
                format!(
                    "You have reached the maximum stacks per tenant, {}.",
                    self.stacks_per_project
                ),
            ));
        }
        stack.trust_id = Some(engine::create_trust(&self.client, caller).await?);
        if !self
            .store
            .stack_create(stack.clone(), operation(&stack))
            .await?
        {
            engine::delete_trust(&self.client, &stack).await;
            return Err(taken());
        }
        self.queue.wake();
        Ok(stack)
    }

    fn new_stack(
        &self,
        caller: &RequestContext,
        name: &str,
        definition: &Definition,
        options: &Options,
    ) -> Result<Stack, ApiError> {
        Ok(Stack {
            id: uuid::Uuid::new_v4().to_string(),
            project_id: caller.project_id.clone(),
            name: name.to_owned(),
            live_name: Some(live_name(&caller.project_id, name)),
            user_id: caller.user_id.clone(),
            user_name: caller.user_name.clone(),
            project_name: caller.project_name.clone(),
            trust_id: None,
            action: "CREATE".to_owned(),
            status: "IN_PROGRESS".to_owned(),
            status_reason: "Stack CREATE started".to_owned(),
            traversal: 1,
            definition: serde_json::to_string(definition).map_err(ApiError::internal)?,
            previous: None,
            disable_rollback: options.disable_rollback,
            timeout_mins: options.timeout_mins,
            deadline: now() + options.timeout_mins * 60_000,
            tags: options.tags.clone(),
            created_at: now(),
            updated_at: None,
            deleted_at: None,
        })
    }

    /// What an update would be made from: with `patch`, what the body leaves out stays as it is.
    pub fn updated_definition(
        &self,
        stack: &Stack,
        body: &Value,
        patch: bool,
    ) -> Result<Definition, ApiError> {
        let before: Definition =
            serde_json::from_str(&stack.definition).map_err(ApiError::internal)?;
        // What is no object has no template either: refused there.
        if !patch || !body.is_object() {
            return Definition::from_body(body);
        }
        let mut body = body.clone();
        if body["template"].is_null() && body["template_url"].is_null() {
            body["template"] = json!(before.template);
        }
        let mut new = Definition::from_body(&body)?;
        let mut parameters = before.given();
        for name in body["clear_parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            parameters.remove(name);
        }
        parameters.extend(new.given());
        new.parameters = parameters;
        new.environment.remove("parameters");
        if new.environment.is_empty() {
            new.environment = before.environment;
            new.environment.remove("parameters");
        }
        let mut files = before.files;
        files.extend(new.files);
        new.files = files;
        Ok(new)
    }

    /// Accepts an update.
    pub async fn stack_update(
        &self,
        caller: &RequestContext,
        stack: Stack,
        body: &Value,
        patch: bool,
    ) -> Result<(), ApiError> {
        if stack.deleted_at.is_some() || stack.action == "DELETE" {
            return Err(ApiError::not_found(
                "EntityNotFound",
                format!("The Stack ({}) could not be found.", stack.name),
            ));
        }
        let definition = self.updated_definition(&stack, body, patch)?;
        let options = Options::from_body(body, Some(&stack))?;
        self.validate(&definition, &engine::pseudo(&stack, &self.region))?;
        let mut next = self.next(&stack, "UPDATE");
        // What a rollback goes back to is the last definition that was complete.
        if stack.status == "COMPLETE" || stack.previous.is_none() {
            next.previous = Some(stack.definition.clone());
        }
        next.definition = serde_json::to_string(&definition).map_err(ApiError::internal)?;
        next.disable_rollback = options.disable_rollback;
        next.timeout_mins = options.timeout_mins;
        next.deadline = now() + options.timeout_mins * 60_000;
        next.tags = options.tags;
        next.updated_at = Some(now());
        if next.trust_id.is_none() {
            next.trust_id = Some(engine::create_trust(&self.client, caller).await?);
        }
        self.begin(next).await
    }

    /// Accepts a delete; deleting what is being deleted is fine.
    pub async fn stack_delete(&self, stack: Stack) -> Result<(), ApiError> {
        if stack.deleted_at.is_some() || (stack.action == "DELETE" && stack.status == "IN_PROGRESS")
        {
            return Ok(());
        }
        let next = self.next(&stack, "DELETE");
        self.begin(next).await
    }

    fn next(&self, stack: &Stack, action: &str) -> Stack {
        Stack {
            action: action.to_owned(),
            status: "IN_PROGRESS".to_owned(),
            status_reason: format!("Stack {action} started"),
            traversal: stack.traversal + 1,
            deadline: now() + stack.timeout_mins * 60_000,
            ..stack.clone()
        }
    }

    async fn begin(&self, next: Stack) -> Result<(), ApiError> {
        let from = next.traversal - 1;
        let operation = operation(&next);
        if !self.store.stack_begin(next, from, operation).await? {
            return Err(ApiError::conflict(
                "ActionInProgress",
                "Another operation on the stack has begun; try again.",
            ));
        }
        self.queue.wake();
        Ok(())
    }

    /// Everything that can be known to be wrong without asking another service.
    pub fn validate(&self, definition: &Definition, pseudo: &Pseudo) -> Result<Bound, ApiError> {
        let bound = definition.bind(pseudo)?;
        let mut faults = Vec::new();
        for (name, resource) in bound.resources() {
            let Some(kind) = resources::find(&self.types, &resource.type_name) else {
                faults.push(format!(
                    "The Resource Type ({}) could not be found.",
                    resource.type_name
                ));
                continue;
            };
            if resource.external_id.is_some() {
                faults.push(format!("resources.{name}: external_id is not supported"));
            }
            if let (ExprKind::Map(entries), false) =
                (&resource.properties.kind, kind.takes_any_property())
            {
                for (property, value) in entries {
                    if !kind.properties().iter().any(|known| known.name == property) {
                        let at = value.span.location();
                        faults.push(format!(
                            "Property error: resources.{name}.properties: Unknown Property {property} (line {}, column {})",
                            at.line, at.column
                        ));
                    }
                }
                for known in kind.properties().iter().filter(|known| known.required) {
                    if !entries.iter().any(|(property, _)| property == known.name) {
                        faults.push(format!(
                            "Property error: resources.{name}.properties: Property {} not assigned",
                            known.name
                        ));
                    }
                }
            }
            // What is known already is checked now, what depends on other resources when they are there.
            if let Ok(Value::Object(values)) = bound.properties(resource, &hot::Static(&bound))
                && !kind.takes_any_property()
                && let Err(wrong) = property::check(kind.properties(), &values)
            {
                let wrong = wrong.into_iter().map(|w| format!("resources.{name}: {w}"));
                faults
                    .extend(wrong.filter(|w| {
                        !w.contains("Unknown Property") && !w.contains("not assigned")
                    }));
            }
        }
        if let Err(wrong) = bound.graph(&implicit(&bound, &self.types)) {
            faults.extend(wrong.iter().map(ToString::to_string));
        }
        if faults.is_empty() {
            Ok(bound)
        } else {
            Err(invalid(faults.join("\n")))
        }
    }

    /// The stack's parameters as the API shows them: hidden ones as stars.
    pub fn shown_parameters(&self, bound: &Bound) -> Map<String, Value> {
        bound
            .parameters
            .iter()
            .map(|(name, value)| {
                let hidden = bound
                    .template
                    .parameters
                    .get(name)
                    .is_some_and(|parameter| parameter.hidden);
                let text = match value {
                    _ if hidden => "******".to_owned(),
                    Value::String(text) => text.clone(),
                    Value::Array(items) if items.iter().all(Value::is_string) => items
                        .iter()
                        .filter_map(Value::as_str)
                        .collect::<Vec<_>>()
                        .join(","),
                    other => other.to_string(),
                };
                (name.clone(), Value::String(text))
            })
            .collect()
    }
}
