//! Fetching an image's data from the web: the address is checked, what its name means is checked, and that is what is
//! connected to; each redirect is checked in the same way.
//!
//! Does not know what is done with the data.

pub mod rules;

use super::stores::words;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use http::{StatusCode, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rules::WebConfig;
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// How long it may say nothing.
const IDLE: Duration = Duration::from_secs(60);

/// Fetches by the rules.
pub struct Web {
    /// Which addresses.
    pub rules: Arc<WebConfig>,
    client: reqwest::Client,
}

/// What a server gives.
pub struct Download {
    /// Bytes, if it told.
    pub length: Option<u64>,
    /// The data.
    pub data: BoxStream<'static, Result<Bytes, String>>,
}

impl Web {
    /// With an own client, which uses no proxy and no name's address that the rules refuse.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(rules: WebConfig) -> Result<Web, reqwest::Error> {
        let rules = Arc::new(rules);
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Checked {
                rules: rules.clone(),
            }))
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(IDLE)
            .timeout(Duration::from_secs(rules.seconds))
            .user_agent("stackwright-image")
            .build()?;
        Ok(Web { rules, client })
    }

    /// Asks for what is at an address.
    ///
    /// # Errors
    /// Why there is nothing to be had, for the user.
    pub async fn open(&self, address: &str) -> Result<Download, String> {
        let mut url = self.rules.check(address)?;
        for _ in 0..=self.rules.redirects {
            let answer = self
                .client
                .get(url.clone())
                // What is packed on the way would have another length and another digest.
                .header(header::ACCEPT_ENCODING, "identity")
                .send()
                .await
                .map_err(|error| words(&error))?;
            let status = answer.status();
            if status == StatusCode::OK {
                let length = answer.content_length();
                let data = answer.bytes_stream();
                return Ok(Download {
                    length,
                    data: data
                        .map(|piece| piece.map_err(|error| words(&error)))
                        .boxed(),
                });
            }
            let next = answer.headers().get(header::LOCATION);
            let next = next.and_then(|value| value.to_str().ok());
            match (status.is_redirection(), next) {
                (true, Some(next)) => {
                    let next = url.join(next).map_err(|error| error.to_string())?;
                    url = self.rules.check(next.as_str())?;
                }
                _ => return Err(format!("{url} was answered with {status}")),
            }
        }
        let most = self.rules.redirects;
        Err(format!("{address} sends on more than {most} times"))
    }
}

/// Looks names up and gives only addresses that may be reached; the client connects to just these.
struct Checked {
    rules: Arc<WebConfig>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.rules.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let mut allowed = found
                .into_iter()
                .filter(|at| rules.may_reach(at.ip()))
                .peekable();
            if allowed.peek().is_none() {
                return Err(format!("{} has no address on the internet", name.as_str()).into());
            }
            Ok(Box::new(allowed.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}
