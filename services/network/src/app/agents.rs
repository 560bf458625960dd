//! Chassis, shown as agents.

use serde_json::Value;
use service_kit::ApiError;

use super::{App, faults};
use crate::views;

impl App {
    /// All chassis. Without a connection to OVN the list cannot be known: 503, not an empty list.
    pub fn agent_list(&self) -> Result<Vec<Value>, ApiError> {
        let now = chrono::Utc::now();
        let chassis = self.driver.chassis(now.timestamp()).map_err(|error| {
            ApiError::unavailable("OVN's databases do not answer now.")
                .with_cause(crate::ovn::ovsdb::chain(&error))
        })?;
        let time = |seconds: i64| {
            let heard = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or(now);
            heard.format("%Y-%m-%d %H:%M:%S").to_string()
        };
        Ok(chassis
            .iter()
            .map(|chassis| views::agent(chassis, &time(chassis.heard_at)))
            .collect())
    }

    pub fn agent_show(&self, id: &str) -> Result<Value, ApiError> {
        let found = self
            .agent_list()?
            .into_iter()
            .find(|agent| agent["id"] == id);
        found.ok_or_else(|| faults::not_found("agent", id))
    }
}
