//! What functions of a template can know of a stack that runs.
use crate::resources::{self, ResourceType};
use hot::{Bound, ResolveError, Scope};
use serde_json::{Map, Value};
use std::{collections::HashMap, sync::Mutex};

/// A resource that exists.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub type_name: String,
    pub physical_id: String,
    pub attributes: Map<String, Value>,
}

/// The template, and the resources that are there so far.
pub struct StackScope<'a> {
    pub bound: &'a Bound,
    pub types: &'a [Box<dyn ResourceType>],
    pub resources: Mutex<HashMap<String, Snapshot>>,
}

impl<'a> StackScope<'a> {
    pub fn new(bound: &'a Bound, types: &'a [Box<dyn ResourceType>]) -> Self {
        StackScope {
            bound,
            types,
            resources: Mutex::default(),
        }
    }

    pub fn put(&self, name: &str, snapshot: Snapshot) {
        self.lock().insert(name.to_owned(), snapshot);
    }

    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Snapshot>> {
        self.resources
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn get(&self, name: &str) -> Result<Snapshot, ResolveError> {
        self.lock()
            .get(name)
            .cloned()
            .ok_or_else(|| ResolveError::UnknownUntil(name.to_owned()))
    }
}

impl Scope for StackScope<'_> {
    fn parameter(&self, name: &str) -> Result<Value, ResolveError> {
        self.bound.parameter(name)
    }

    fn reference(&self, resource: &str) -> Result<Value, ResolveError> {
        let snapshot = self.get(resource)?;
        Ok(match resources::find(self.types, &snapshot.type_name) {
            Some(known) => known.reference(&snapshot.physical_id, &snapshot.attributes),
            None => Value::String(snapshot.physical_id),
        })
    }

    fn attribute(&self, resource: &str, attribute: Option<&str>) -> Result<Value, ResolveError> {
        let snapshot = self.get(resource)?;
        let Some(attribute) = attribute else {
            return Ok(Value::Object(snapshot.attributes));
        };
        let declared = resources::find(self.types, &snapshot.type_name)
            .is_some_and(|known| known.attribute_names().contains(&attribute));
        match snapshot.attributes.get(attribute) {
            Some(value) => Ok(value.clone()),
            None if declared => Ok(Value::Null),
            None => Err(ResolveError::Invalid(format!(
                "The Referenced Attribute ({resource} {attribute}) is incorrect."
            ))),
        }
    }

    fn file(&self, name: &str) -> Result<String, ResolveError> {
        self.bound.file(name)
    }

    fn condition(&self, name: &str) -> Result<bool, ResolveError> {
        self.bound.condition(name)
    }
}
