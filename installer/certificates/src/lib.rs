//! The certificates of an environment: its own authority, and one certificate for each node.
//!
//! A value that is kept between deployments: [`Certificates::renew`] makes what is missing, about to end, or for names that
//! have changed, and leaves all else as it is, to the byte. The clock is an argument; of the outside only the system's
//! source of randomness is used, for keys. Deliberately not here: where certificates and keys are kept, and who gets them.

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// How long the authority is good.
pub const AUTHORITY_DAYS: i64 = 3650;
/// How long a node's certificate is good: the longest that clients commonly take.
pub const NODE_DAYS: i64 = 397;
/// Certificates begin earlier than now: a machine's clock may be behind until it has found its source of time.
const BACKDATED: TimeDelta = TimeDelta::hours(24);

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the certificate of {what}: {source}")]
pub struct Error {
    what: String,
    source: rcgen::Error,
}

/// What a node's certificate is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    pub dns: BTreeSet<String>,
    pub addresses: BTreeSet<IpAddr>,
}

/// A certificate and its key, both as PEM. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
    pub begins: DateTime<Utc>,
    pub ends: DateTime<Utc>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({} to {})", self.begins, self.ends)
    }
}

/// A node's certificate, with the names that it was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OfNode {
    names: Names,
    #[serde(flatten)]
    pair: Pair,
}

/// The authority and what it has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    environment: String,
    authority: Pair,
    nodes: BTreeMap<String, OfNode>,
}

impl Certificates {
    /// A new authority, which has signed nothing yet.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(environment: &str, now: DateTime<Utc>) -> Result<Self, Error> {
        let fault = |source| Error {
            what: "the authority".to_owned(),
            source,
        };
        let key = KeyPair::generate().map_err(fault)?;
        let (begins, ends) = life(now, AUTHORITY_DAYS);
        let mut params = authority(environment);
        params.not_before = std::time::SystemTime::from(begins).into();
        params.not_after = std::time::SystemTime::from(ends).into();
        let certificate = params.self_signed(&key).map_err(fault)?;
        Ok(Self {
            environment: environment.to_owned(),
            authority: Pair {
                certificate: certificate.pem(),
                key: key.serialize_pem(),
                begins,
                ends,
            },
            nodes: BTreeMap::new(),
        })
    }

    /// The authority's certificate, as PEM: what everybody is to trust.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority.certificate
    }

    /// When the authority ends, and with it all that it signed.
    #[must_use]
    pub fn authority_ends(&self) -> DateTime<Utc> {
        self.authority.ends
    }

    /// A node's certificate and key.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Pair> {
        self.nodes.get(name).map(|node| &node.pair)
    }

    /// Makes the certificates of exactly these nodes what they should be; gives the nodes that got a new one, sorted. Those
    /// of other nodes are forgotten.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn renew(
        &mut self,
        wanted: &BTreeMap<String, Names>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, Error> {
        self.nodes.retain(|name, _| wanted.contains_key(name));
        let mut renewed = Vec::new();
        for (name, names) in wanted {
            let kept = self.nodes.get(name);
            if kept.is_some_and(|kept| kept.names == *names && !is_due(&kept.pair, now)) {
                continue;
            }
            let node = OfNode {
                names: names.clone(),
                pair: self.sign(name, names, now)?,
            };
            self.nodes.insert(name.clone(), node);
            renewed.push(name.clone());
        }
        Ok(renewed)
    }

    fn sign(&self, name: &str, names: &Names, now: DateTime<Utc>) -> Result<Pair, Error> {
        let fault = |source| Error {
            what: format!("node `{name}`"),
            source,
        };
        let authority_key = KeyPair::from_pem(&self.authority.key).map_err(fault)?;
        let issuer = Issuer::new(authority(&self.environment), authority_key);
        let key = KeyPair::generate().map_err(fault)?;
        let (begins, ends) = life(now, NODE_DAYS);
        let ends = ends.min(self.authority.ends);
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        for dns in &names.dns {
            let dns = dns.as_str().try_into().map_err(fault)?;
            params.subject_alt_names.push(SanType::DnsName(dns));
        }
        let addresses = names.addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Members of a cluster are servers and clients of each other.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = std::time::SystemTime::from(begins).into();
        params.not_after = std::time::SystemTime::from(ends).into();
        let certificate = params.signed_by(&key, &issuer).map_err(fault)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            begins,
            ends,
        })
    }
}

/// The authority as it names itself, the same whenever it signs.
fn authority(environment: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Stackwright environment {environment}"),
    );
    // It signs nodes, and no other authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Whole seconds, as certificates have no others.
fn life(now: DateTime<Utc>, days: i64) -> (DateTime<Utc>, DateTime<Utc>) {
    let now = DateTime::from_timestamp(now.timestamp(), 0).unwrap_or(now);
    (now - BACKDATED, now + TimeDelta::days(days))
}

/// Less than a third of its life is left.
fn is_due(pair: &Pair, now: DateTime<Utc>) -> bool {
    (pair.ends - now) * 3 < pair.ends - pair.begins
}

#[cfg(test)]
mod tests;
