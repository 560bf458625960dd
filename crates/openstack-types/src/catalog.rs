//! The service catalogue as identity v3 prints it inside a token.
//!
//! Does not know how a caller chooses between regions: see `openstack-client`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which audience an endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// For users, from outside.
    Public,
    /// For services among themselves, on the management network.
    Internal,
    /// For administrators.
    Admin,
}

impl Interface {
    /// All three, in the order in which Keystone lists them.
    pub const ALL: [Interface; 3] = [Interface::Public, Interface::Internal, Interface::Admin];

    /// The word used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Interface::Public => "public",
            Interface::Internal => "internal",
            Interface::Admin => "admin",
        }
    }

    /// Reads the word used on the wire; old clients say `publicURL`.
    pub fn parse(word: &str) -> Option<Interface> {
        match word.strip_suffix("URL").unwrap_or(word) {
            "public" => Some(Interface::Public),
            "internal" => Some(Interface::Internal),
            "admin" => Some(Interface::Admin),
            _ => None,
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One URL of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEndpoint {
    /// Endpoint id.
    pub id: String,
    /// Audience.
    pub interface: Interface,
    /// Region id; Keystone prints it twice for the sake of old clients.
    #[serde(default)]
    pub region_id: Option<String>,
    /// Same as `region_id`.
    #[serde(default)]
    pub region: Option<String>,
    /// URL with `%(project_id)s` already filled in.
    pub url: String,
}

/// One service and its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogService {
    /// Service id.
    pub id: String,
    /// `compute`, `network`, `image`, ...
    #[serde(rename = "type")]
    pub service_type: String,
    /// `nova`, `neutron`, `glance`, ...
    #[serde(default)]
    pub name: String,
    /// Endpoints of every region.
    pub endpoints: Vec<CatalogEndpoint>,
}

/// Finds a service's URL: by type, audience, and region when one is named.
pub fn endpoint_url<'a>(
    catalog: &'a [CatalogService],
    service_type: &str,
    interface: Interface,
    region: Option<&str>,
) -> Option<&'a str> {
    catalog
        .iter()
        .filter(|service| service.service_type == service_type)
        .flat_map(|service| &service.endpoints)
        .find(|endpoint| {
            endpoint.interface == interface
                && region.is_none_or(|wanted| endpoint.region_id.as_deref() == Some(wanted))
        })
        .map(|endpoint| endpoint.url.as_str())
}
