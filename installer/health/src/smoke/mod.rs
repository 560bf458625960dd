//! Checks that use the cloud as its users do. Whatever they make bears [`PREFIX`] and is removed again,
//! also when the check fails half way.
mod image;
mod network;
mod server;
mod stack;
mod token;

use crate::Check;
use openstack_client::Client;

/// Begins the name of everything that a check makes.
const PREFIX: &str = "wright-health-";

/// Every smoke check, in the order in which they build on each other.
pub fn checks() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(token::IssueToken),
        Box::new(image::StoreImage),
        Box::new(network::MakeNetwork),
        Box::new(server::BootServer),
        Box::new(stack::CreateStack),
    ]
}

/// A name that no other run uses.
fn fresh_name() -> String {
    format!(
        "{PREFIX}{}",
        &uuid::Uuid::new_v4().simple().to_string()[..12]
    )
}

/// The string at `pointer`, or what is missing, in words.
fn text_at<'a>(value: &'a serde_json::Value, pointer: &str) -> Result<&'a str, String> {
    value
        .pointer(pointer)
        .and_then(serde_json::Value::as_str)
        .ok_or_else(|| format!("the answer has no {pointer}"))
}

/// Deletes and keeps the first complaint: a check that cannot clean up has failed.
async fn remove(client: &Client, service: &str, path: &str) -> Result<(), String> {
    match client.delete(service, path).await {
        Ok(()) => Ok(()),
        Err(error) if error.status().is_some_and(|status| status.as_u16() == 404) => Ok(()),
        Err(error) => Err(format!("cannot remove what the check made: {error}")),
    }
}
