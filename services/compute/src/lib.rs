//! The compute service: servers, flavors, key pairs, hosts (API v2.1), and the agent that runs on compute nodes.
//!
//! `api/` decodes and encodes, `app/` decides, `store/` keeps, `hypervisor/` runs guests, `agent/` is the other program:
//! it talks to the API below `/v2.1/internal` and needs no database.

pub mod agent;
pub mod api;
pub mod app;
pub mod config;
pub mod hypervisor;
mod start;
pub mod store;

pub use agent::{AgentContext, shut_down_guests, start_agent};
pub use config::{AgentConfig, Config};
pub use start::{api, start, table};
