//! Resource types: what the engine can make. One file a type (or a family of one shape); adding one is a
//! page, docs/adding-a-resource-type.md. A type knows the API that it calls; it knows neither the store
//! nor the order in which resources are made.
mod heat;
mod lookup;
mod neutron;
mod nova_flavor;
mod nova_key_pair;
mod nova_server;
pub mod property;

use async_trait::async_trait;
use openstack_client::{Client, ClientError};
pub use property::{Kind, Property};
use serde_json::{Map, Value};

/// What a resource type is given to work with.
pub struct Cloud {
    /// Acts as the stack's user.
    pub client: Client,
    /// `<stack>-<resource>-<12 letters>`: unique, and the same each time the engine tries.
    pub physical_name: String,
}

/// Why a step did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ResourceError {
    /// It may well succeed a little later: a service does not answer.
    #[error("{0}")]
    Later(String),
    /// Something else is in the way; it may go.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Failed(String),
}

impl From<ClientError> for ResourceError {
    fn from(error: ClientError) -> Self {
        if error.is_conflict() {
            ResourceError::Conflict(error.to_string())
        } else if error.is_transient() {
            ResourceError::Later(error.to_string())
        } else {
            ResourceError::Failed(error.to_string())
        }
    }
}

/// A resource type. Every step may be repeated after a crash.
#[async_trait]
pub trait ResourceType: Send + Sync {
    /// For example `OS::Neutron::Net`.
    fn name(&self) -> &'static str;

    fn properties(&self) -> &'static [Property];

    /// Whether properties that the type does not know are taken as they are.
    fn takes_any_property(&self) -> bool {
        false
    }

    /// Names of the attributes that [`ResourceType::attributes`] gives.
    fn attribute_names(&self) -> &'static [&'static str];

    /// The physical id of what an interrupted `create` has already made under the physical name.
    async fn find(&self, _: &Cloud) -> Result<Option<String>, ResourceError> {
        Ok(None)
    }

    /// Begins to make it; the physical id.
    async fn create(
        &self,
        cloud: &Cloud,
        properties: &Map<String, Value>,
    ) -> Result<String, ResourceError>;

    /// Whether what `create` or `update` began has come to its end.
    async fn is_ready(
        &self,
        _: &Cloud,
        _id: &str,
        _properties: &Map<String, Value>,
    ) -> Result<bool, ResourceError> {
        Ok(true)
    }

    /// Changes properties that are [`Update::InPlace`].
    async fn update(
        &self,
        _: &Cloud,
        _id: &str,
        _old: &Map<String, Value>,
        _new: &Map<String, Value>,
    ) -> Result<(), ResourceError> {
        Ok(())
    }

    /// Gives back what its replacement needs, before that is made; asked again until it says `true`.
    async fn let_go(
        &self,
        _: &Cloud,
        _id: &str,
        _properties: &Map<String, Value>,
    ) -> Result<bool, ResourceError> {
        Ok(true)
    }

    /// Takes that again, when a rollback puts it back in its place; asked again until it says `true`.
    async fn take_back(
        &self,
        _: &Cloud,
        _id: &str,
        _properties: &Map<String, Value>,
    ) -> Result<bool, ResourceError> {
        Ok(true)
    }

    /// Begins to remove it; what is not there is removed.
    async fn delete(&self, cloud: &Cloud, id: &str) -> Result<(), ResourceError>;

    /// Whether what `delete` began has come to its end.
    async fn is_gone(&self, _: &Cloud, _id: &str) -> Result<bool, ResourceError> {
        Ok(true)
    }

    /// All attributes, `show` among them.
    async fn attributes(
        &self,
        cloud: &Cloud,
        id: &str,
        properties: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ResourceError>;

    /// What `get_resource` gives.
    fn reference(&self, id: &str, _attributes: &Map<String, Value>) -> Value {
        Value::String(id.to_owned())
    }

    /// Types whose resources come before this one's when both belong to the same network, see
    /// `engine/implicit.rs`.
    fn comes_after(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Every type that the engine knows.
pub fn registry() -> Vec<Box<dyn ResourceType>> {
    let mut types: Vec<Box<dyn ResourceType>> = heat::types();
    types.extend(neutron::types());
    types.push(Box::new(nova_flavor::Flavor));
    types.push(Box::new(nova_key_pair::KeyPair));
    types.push(Box::new(nova_server::Server));
    types
}

/// The type of this name, aliases of old templates included.
pub fn find<'a>(types: &'a [Box<dyn ResourceType>], name: &str) -> Option<&'a dyn ResourceType> {
    types
        .iter()
        .find(|known| known.name() == name)
        .map(|known| known.as_ref())
}

/// `true` for a delete of something that is not there.
pub(crate) fn gone(result: Result<(), ClientError>) -> Result<(), ResourceError> {
    match result {
        Err(error) if error.status().is_some_and(|status| status.as_u16() == 404) => Ok(()),
        other => other.map_err(ResourceError::from),
    }
}
