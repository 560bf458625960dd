//! The environment's certificates: kept among its secrets, brought up to date for the nodes of the plan, and the
//! authority's beside `openrc` for whoever is to trust it. When one is renewed is the crate `certificates`' to know.
use crate::environment::Environment;
use crate::error::CommandError;
use crate::printer::Printer;
use ::certificates::{Certificates, NODE_DAYS, Names};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use state::{EnvironmentFolder, Secrets};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Its name among the secrets.
const SECRET: &str = "certificates";

/// The certificates as they are to be now. What is new is kept before it is given out.
pub fn up_to_date(
    folder: &EnvironmentFolder,
    environment: &Environment,
    secrets: &Secrets,
    printer: &Printer,
) -> Result<Certificates, CommandError> {
    let now = Utc::now();
    let kept = secrets.get(SECRET).map_err(anyhow::Error::from)?;
    let mut certificates: Certificates = match &kept {
        Some(kept) => serde_json::from_str(kept.expose()).map_err(|error| {
            CommandError::failed(format!("the kept certificates cannot be read: {error}"))
                .hint("was the environment last deployed by a newer wright? Then use that one")
        })?,
        None => Certificates::new(folder.environment(), now).map_err(anyhow::Error::from)?,
    };
    let renewed = certificates
        .renew(&names(environment), now)
        .map_err(anyhow::Error::from)?;
    let text = serde_json::to_string(&certificates).map_err(anyhow::Error::from)?;
    if kept.is_none_or(|kept| kept.expose() != text) {
        secrets.put(SECRET, &text).map_err(anyhow::Error::from)?;
    }
    state::folder::replace_file(&folder.ca(), certificates.authority().as_bytes())
        .map_err(anyhow::Error::from)?;
    if !renewed.is_empty() {
        printer.event(
            "certificates",
            &format!("new certificates: {}", renewed.join(", ")),
            &json!({ "nodes": renewed }),
        );
    }
    if let Some(warning) = ends_soon(certificates.authority_ends(), now) {
        printer.warn(&warning);
    }
    Ok(certificates)
}

/// Said for as long as nodes get certificates of less than their usual life.
fn ends_soon(ends: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    (ends - now < TimeDelta::days(NODE_DAYS)).then(|| {
        let day = ends.format("%Y-%m-%d");
        format!("the environment's certificate authority ends on {day}: docs/certificates.md says what that means")
    })
}

/// What each node's certificate is for: its names and addresses, loopback, and, where it may hold them, the virtual
/// addresses; no other node can pass for the cloud.
fn names(environment: &Environment) -> BTreeMap<String, Names> {
    let plan = &environment.plan;
    let nodes = plan.nodes.values().map(|node| {
        let dns = [node.name.as_str(), node.fqdn.as_str(), "localhost"];
        let mut addresses: Vec<IpAddr> = node.addresses.values().map(|ip| (*ip).into()).collect();
        addresses.extend([
            IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
            std::net::Ipv6Addr::LOCALHOST.into(),
        ]);
        if node.groups.iter().any(|group| group == "controller") {
            let vips = [plan.vips.internal, plan.vips.public];
            addresses.extend(vips.into_iter().flatten().map(IpAddr::from));
        }
        let names = Names {
            dns: dns.map(str::to_owned).into(),
            addresses: addresses.into_iter().collect(),
        };
        (node.name.clone(), names)
    });
    nodes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authoritys_end_is_told_in_time() {
        let now: DateTime<Utc> = "2035-06-01T00:00:00Z".parse().unwrap();
        assert_eq!(ends_soon(now + TimeDelta::days(398), now), None);
        insta::assert_snapshot!(
            ends_soon(now + TimeDelta::days(300), now).unwrap(),
            @"the environment's certificate authority ends on 2036-03-27: docs/certificates.md says what that means"
        );
    }
}
