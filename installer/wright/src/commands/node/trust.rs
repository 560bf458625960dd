//! `wright node trust`.

use crate::commands::play::trusted;
use crate::error::CommandError;
use crate::printer::Printer;
use diagnostics::ExitStatus;
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;
use task_engine::link::known_hosts::{TrustError, trust};

pub async fn run(
    node: &str,
    fingerprint: &str,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    if !fingerprint.starts_with("SHA256:") {
        return Err(
            CommandError::failed(format!("`{fingerprint}` is no fingerprint"))
                .hint("one looks like `SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU`"),
        );
    }
    let (host, port) = address(node);
    let file = trusted();
    match trust(&host, port, fingerprint, &file, Duration::from_secs(20)).await {
        Ok(key) => {
            printer.data(&Trusted {
                host,
                port,
                key,
                file: file.display().to_string(),
            })?;
            Ok(ExitStatus::Done)
        }
        Err(error @ TrustError::Other { .. }) => Err(CommandError::failed(error.to_string())
            .hint("compare with the host itself, on its console; nothing is trusted now")),
        Err(error) => Err(CommandError::failed(error.to_string())),
    }
}

/// `host`, `host:port`, `[v6]:port`, or a bare IPv6 address.
fn address(node: &str) -> (String, u16) {
    let bare = |text: &str| text.trim_matches(['[', ']']).to_owned();
    match node.rsplit_once(':') {
        Some((host, port)) if !bare(host).contains(':') || host.ends_with(']') => {
            match port.parse() {
                Ok(port) => (bare(host), port),
                Err(_) => (bare(node), 22),
            }
        }
        _ => (bare(node), 22),
    }
}

#[derive(Serialize)]
struct Trusted {
    host: String,
    port: u16,
    key: String,
    file: String,
}

impl Display for Trusted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} port {} is trusted with this key (in {}):\n{}",
            self.host, self.port, self.file, self.key
        )
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_with_and_without_port() {
        for (text, host, port) in [
            ("web", "web", 22),
            ("web:2222", "web", 2222),
            ("10.0.0.1:22", "10.0.0.1", 22),
            ("[::1]:23", "::1", 23),
            ("::1", "::1", 22),
        ] {
            assert_eq!(address(text), (host.to_owned(), port), "{text}");
        }
    }
}
