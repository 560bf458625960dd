//! Neutron's faults, with upstream's types and words: clients (nova and heat among them) tell cases apart by type.

use service_kit::ApiError;

/// `NetworkNotFound` and its like.
pub fn not_found(resource: &str, id: &str) -> ApiError {
    let (kind, message) = match resource {
        "security_group" => (
            "SecurityGroupNotFound",
            format!("Security group {id} does not exist"),
        ),
        "security_group_rule" => (
            "SecurityGroupRuleNotFound",
            format!("Security group rule {id} does not exist"),
        ),
        "floatingip" => (
            "FloatingIPNotFound",
            format!("Floating IP {id} could not be found"),
        ),
        "network" => (
            "NetworkNotFound",
            format!("Network {id} could not be found."),
        ),
        "subnet" => ("SubnetNotFound", format!("Subnet {id} could not be found.")),
        "port" => ("PortNotFound", format!("Port {id} could not be found.")),
        "router" => ("RouterNotFound", format!("Router {id} could not be found")),
        "agent" => ("AgentNotFound", format!("Agent {id} could not be found.")),
        _ => (
            "HTTPNotFound",
            "The resource could not be found.".to_owned(),
        ),
    };
    ApiError::not_found(kind, message)
}

/// An attribute with a wrong value.
pub fn invalid(attribute: &str, reason: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(
        "HTTPBadRequest",
        format!("Invalid input for {attribute}. Reason: {reason}"),
    )
}

/// A request whose parts do not fit each other.
pub fn invalid_input(reason: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(
        "InvalidInput",
        format!("Invalid input for operation: {reason}."),
    )
}

/// An attribute that only administrators may set.
pub fn policy(rule: &str) -> ApiError {
    ApiError::forbidden(
        "PolicyNotAuthorized",
        format!("rule:{rule} is disallowed by policy"),
    )
}

pub fn over_quota(resource: &str) -> ApiError {
    ApiError::conflict(
        "OverQuota",
        format!("Quota exceeded for resources: ['{resource}']."),
    )
}
