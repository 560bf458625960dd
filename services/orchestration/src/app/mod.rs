//! What the API can do with stacks. HTTP is in `api/`, the work itself in `engine/`.
pub mod definition;
pub mod stacks;

use crate::{resources::ResourceType, store::Store};
use openstack_client::Client;
use service_kit::work::Queue;
use std::sync::Arc;

/// The service's state, shared by all handlers.
pub struct App {
    pub store: Store,
    pub queue: Queue,
    pub types: Arc<Vec<Box<dyn ResourceType>>>,
    /// With the service's own credentials.
    pub client: Client,
    pub region: String,
    /// Name of the machine that this process runs on.
    pub host: String,
    /// Changes with each start.
    pub engine_id: String,
    /// `http://HOST:8004`.
    pub public_url: String,
    pub stacks_per_project: u64,
}
