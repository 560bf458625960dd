//! Microversion negotiation and version documents.
//!
//! Does not know any service's range: the service gives it.

use crate::fault::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use openstack_types::Microversion;
use serde_json::{Value, json};

/// A service's microversions and the headers that carry them.
#[derive(Debug, Clone, Copy)]
pub struct Microversions {
    /// The word in `OpenStack-API-Version: compute 2.79`.
    pub service: &'static str,
    /// An older header of the same meaning (`x-openstack-nova-api-version`), lower case.
    pub legacy_header: Option<&'static str>,
    /// What a request without a header gets.
    pub min: Microversion,
    /// What `latest` gets.
    pub max: Microversion,
}

impl Microversions {
    /// The version that a request asks for; 406 when it is outside the range, 400 when it is none.
    pub fn negotiate(&self, headers: &HeaderMap) -> Result<Microversion, ApiError> {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::trim).map(str::to_owned);
        let asked = headers
            .get_all("openstack-api-version")
            .iter()
            .filter_map(text)
            .flat_map(|line| {
                line.split(',')
                    .map(|part| part.trim().to_owned())
                    .collect::<Vec<_>>()
            })
            .find_map(|part| {
                let (service, version) = part.split_once(' ')?;
                (service == self.service).then(|| version.trim().to_owned())
            })
            .or_else(|| {
                self.legacy_header
                    .and_then(|name| headers.get(name))
                    .and_then(text)
            });
        let version = match asked.as_deref() {
            None => return Ok(self.min),
            Some("latest") => return Ok(self.max),
            Some(text) => text.parse::<Microversion>().map_err(|_| {
                ApiError::bad_request(
                    "HTTPBadRequest",
                    format!("API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."),
                )
            })?,
        };
        if version < self.min || version > self.max {
            return Err(ApiError::new(
                StatusCode::NOT_ACCEPTABLE,
                "HTTPNotAcceptable",
                format!(
                    "Version {version} is not supported by the API. Minimum is {} and maximum is {}.",
                    self.min, self.max
                ),
            ));
        }
        Ok(version)
    }

    /// Adds the headers that tell the client which version answered.
    pub fn answer(&self, version: Microversion, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&format!("{} {version}", self.service)) {
            headers.insert("openstack-api-version", value);
        }
        headers.append("vary", HeaderValue::from_static("OpenStack-API-Version"));
        if let Some(name) = self.legacy_header
            && let Ok(value) = HeaderValue::from_str(&version.to_string())
        {
            headers.insert(HeaderName::from_static(name), value);
            headers.append("vary", HeaderValue::from_static(name));
        }
    }
}

/// One entry of a version document.
///
/// `min`/`max` are the microversions, empty where the API has none, as upstream prints them.
pub fn version_entry(
    id: &str,
    status: &str,
    updated: &str,
    url: &str,
    min: &str,
    max: &str,
) -> Value {
    json!({
        "id": id,
        "status": status,
        "updated": updated,
        "version": max,
        "min_version": min,
        "links": [{"rel": "self", "href": url}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVA: Microversions = Microversions {
        service: "compute",
        legacy_header: Some("x-openstack-nova-api-version"),
        min: Microversion::new(2, 1),
        max: Microversion::new(2, 90),
    };

    fn ask(pairs: &[(&'static str, &'static str)]) -> Result<Microversion, u16> {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        NOVA.negotiate(&headers)
            .map_err(|error| error.status.as_u16())
    }

    #[test]
    fn negotiates() {
        assert_eq!(ask(&[]), Ok(NOVA.min));
        assert_eq!(
            ask(&[("openstack-api-version", "compute latest")]),
            Ok(NOVA.max)
        );
        assert_eq!(
            ask(&[("openstack-api-version", "identity 3.1, compute 2.79")]),
            Ok(Microversion::new(2, 79))
        );
        assert_eq!(
            ask(&[("x-openstack-nova-api-version", "2.3")]),
            Ok(Microversion::new(2, 3))
        );
        assert_eq!(
            ask(&[("openstack-api-version", "compute 2.9999")]),
            Err(406)
        );
        assert_eq!(ask(&[("openstack-api-version", "compute two")]), Err(400));
    }
}
