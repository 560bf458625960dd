//! What lies in JSON columns: lists that the API takes and gives as they are.

use std::net::IpAddr;

use sea_orm::FromJsonQueryResult;
use serde::{Deserialize, Serialize};

/// Plain texts, for example DNS servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(transparent)]
pub struct Strings(pub Vec<String>);

/// The ranges of a subnet that addresses are taken from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(transparent)]
pub struct Pools(pub Vec<Pool>);

/// One range, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub start: IpAddr,
    pub end: IpAddr,
}

/// Host routes of a subnet, or extra routes of a router.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(transparent)]
pub struct Routes(pub Vec<Route>);

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// A prefix, for example `10.1.0.0/24`.
    pub destination: String,
    pub nexthop: IpAddr,
}

/// Addresses that a port may use beside its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
#[serde(transparent)]
pub struct AddressPairs(pub Vec<AddressPair>);

/// One such address or prefix; without a MAC address the port's own is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPair {
    pub ip_address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
}
