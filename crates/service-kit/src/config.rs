//! A service's TOML file: the sections `[service]` and `[policy]` that all share, and the service's own sections.
//!
//! Unknown keys are refused with file, line and a suggestion. Secrets may be written into the
//! file (then it should be 0600) or, better, named by a `*_file` key. The kit does not know the
//! services' own sections: each gives a type for them.

use diagnostics::{Diagnostic, Diagnostics, Source};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use toml::de::DeTable;

/// A value that no log shows.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value: for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `[service]`: what every service needs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// URL under which users reach the service, without a path: `http://10.20.0.10:9696`.
    pub public_url: String,
    /// TLS on the socket; without it the service speaks plain HTTP.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Region of the catalogue.
    #[serde(default = "default_region")]
    pub region: String,
    /// This host's FQDN as APIs print it; default: the system's host name.
    #[serde(default = "default_host")]
    pub host: String,
    /// Folder of the service's own files.
    pub data_dir: PathBuf,
    /// The service's database.
    pub database: DatabaseConfig,
    /// Message broker; without one, wake-ups stay in the process.
    #[serde(default)]
    pub bus: BusConfig,
    /// The service's own user in identity.
    pub identity: IdentityConfig,
    /// Logging.
    #[serde(default)]
    pub log: LogConfig,
    /// `[policy]`, which is no part of `[service]`.
    #[serde(skip)]
    pub policy: PolicyConfig,
}

/// `[policy]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// YAML file with an operator's rules of who may call what (docs/policies.md). It is read again when it changes. Without
    /// it the rules of the code hold.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

/// `[service.tls]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate, and what else is to be sent with it.
    pub certificate: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
}

/// `[service.database]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `mysql://USER@HOST:PORT/NAME`, `postgres://...` or `sqlite:///PATH`.
    pub url: Secret,
    /// File with the password that goes into the URL.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificate authority of a server over the network: nothing is then sent in the clear.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// `[service.bus]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusConfig {
    /// `amqps://USER@HOST:PORT/VHOST`, or several separated by commas; none: in process.
    #[serde(default)]
    pub url: Option<Secret>,
    /// File with the password that goes into the URLs.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM file with the brokers' certificate authority.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// `[service.identity]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Identity's URL with `/v3`.
    pub auth_url: String,
    /// The service's user: `nova`, `neutron`, ...
    pub username: String,
    /// Its password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File with its password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Its project.
    #[serde(default = "default_project")]
    pub project: String,
    /// PEM file with the only certificate authority that is trusted.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// `[service.log]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// File beside standard error, by upstream's name: `/var/log/nova/nova-api.log`.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Filter in `tracing`'s notation; default `info`.
    #[serde(default)]
    pub level: Option<String>,
    /// Only into the file: for a program that talks to a person on standard error.
    #[serde(default)]
    pub quiet: bool,
}

fn default_region() -> String {
    "RegionOne".to_owned()
}

fn default_project() -> String {
    "service".to_owned()
}

/// The system's host name.
pub fn default_host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Reads a file: `[service]` and the service's own sections.
pub fn load<C: DeserializeOwned>(path: &Path) -> Result<(ServiceConfig, C), Diagnostics> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Diagnostics::from(Diagnostic::error(format!("cannot read `{name}`: {error}")))
    })?;
    parse(&name, &text)
}

/// Reads the text of a file.
pub fn parse<C: DeserializeOwned>(
    name: &str,
    text: &str,
) -> Result<(ServiceConfig, C), Diagnostics> {
    let source = Source::new(name, text);
    let mut table =
        DeTable::parse(text).map_err(|error| Diagnostics::from(explain_toml(&source, &error)))?;
    let mut diagnostics = Diagnostics::new();
    let service = match table.get_mut().remove("service") {
        None => {
            diagnostics.push(
                Diagnostic::error("the section `[service]` is missing")
                    .expected("[service] with listen, database, ..."),
            );
            None
        }
        Some(value) => ServiceConfig::deserialize(toml::de::ValueDeserializer::from(value))
            .map_err(|error| diagnostics.push(explain_toml(&source, &error)))
            .ok(),
    };
    let policy = match table.get_mut().remove("policy") {
        None => Some(PolicyConfig::default()),
        Some(value) => PolicyConfig::deserialize(toml::de::ValueDeserializer::from(value))
            .map_err(|error| diagnostics.push(explain_toml(&source, &error)))
            .ok(),
    };
    let own = C::deserialize(toml::de::Deserializer::from(table))
        .map_err(|error| diagnostics.push(explain_toml(&source, &error)))
        .ok();
    match (service, policy, own) {
        (Some(mut service), Some(policy), Some(own)) => {
            service.policy = policy;
            Ok((service, own))
        }
        _ => Err(diagnostics),
    }
}

/// Reads the sections that a service has of its own, from a table without `[service]`.
pub fn own_section<C: DeserializeOwned>(text: &str) -> Result<C, Diagnostics> {
    let source = Source::new("built-in", text);
    toml::from_str(text).map_err(|error| explain_toml(&source, &error).into())
}

/// What is wrong with a TOML file, with its place.
pub fn explain_toml(source: &Source, error: &toml::de::Error) -> Diagnostic {
    let message = error.message();
    let mut diagnostic = Diagnostic::error(message);
    if let Some(span) = error.span() {
        let before = source.text().get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        let length = source.text().get(span).map_or(1, |text| {
            text.lines().next().unwrap_or_default().chars().count()
        });
        diagnostic = diagnostic.at(source.location(line, column, length));
    }
    // serde: unknown field `lisen`, expected one of `listen`, `public_url`
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut words = rest.split('`').skip(1).step_by(2);
        if let Some(word) = words.next() {
            let known: Vec<&str> = words.collect();
            diagnostic = diagnostic.suggest(word, known);
        }
    }
    diagnostic
}

/// The value of a secret that may be written directly or named by a file.
pub fn secret(direct: Option<&Secret>, file: Option<&Path>, name: &str) -> Result<Secret, String> {
    match (direct, file) {
        (Some(secret), None) => Ok(secret.clone()),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])))
            .map_err(|error| format!("{name}_file `{}`: {error}", path.display())),
        (Some(_), Some(_)) => Err(format!("`{name}` and `{name}_file` are both set: keep one")),
        (None, None) => Err(format!("one of `{name}` and `{name}_file` must be set")),
    }
}

/// Puts a password from a file into a URL: `mysql://nova@host/nova`.
pub fn url_with_password(
    url: &Secret,
    password_file: Option<&Path>,
    name: &str,
) -> Result<Secret, String> {
    let Some(path) = password_file else {
        return Ok(url.clone());
    };
    let password = secret(None, Some(path), name)?;
    let insert = |url: &str| -> Option<String> {
        let (scheme, rest) = url.split_once("://")?;
        let (user, place) = rest.split_once('@')?;
        (!user.contains(':')).then(|| {
            format!(
                "{scheme}://{user}:{}@{place}",
                percent_encode(password.expose())
            )
        })
    };
    url.expose()
        .split(',')
        .map(|url| insert(url.trim()))
        .collect::<Option<Vec<_>>>()
        .map(|urls| Secret::new(urls.join(",")))
        .ok_or_else(|| {
            format!(
                "{name}_file needs a URL with a user and without a password: SCHEME://USER@HOST/..."
            )
        })
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        #[serde(default)]
        mtu: Option<u32>,
    }

    const GOOD: &str = r#"
mtu = 1442
[service]
listen = "127.0.0.1:9696"
public_url = "http://127.0.0.1:9696"
data_dir = "/tmp/x"
[service.database]
url = "mysql://neutron@127.0.0.1/network"
[service.identity]
auth_url = "http://127.0.0.1:5000/v3"
username = "neutron"
"#;

    #[test]
    fn reads_both_parts() {
        let (service, own): (_, Own) = parse("network.toml", GOOD).unwrap();
        assert_eq!(service.listen.port(), 9696);
        assert_eq!(own.mtu, Some(1442));
        assert!(
            !format!("{service:?}").contains("mysql"),
            "URLs may hold passwords"
        );
    }

    #[test]
    fn refuses_unknown_keys_of_both_parts_at_once() {
        let text =
            GOOD.replace("listen", "lisen").replace("mtu", "mtv") + "[policy]\nfiel = \"x\"\n";
        let faults = parse::<Own>("network.toml", &text).unwrap_err();
        insta::assert_snapshot!(faults.to_string());
    }

    #[test]
    fn a_policy_file_is_named_in_a_section_of_its_own() {
        let named = GOOD.to_owned() + "[policy]\nfile = \"/etc/wright/policy.yaml\"\n";
        let (service, _): (_, Own) = parse("network.toml", &named).unwrap();
        assert_eq!(
            service.policy.file.as_deref(),
            Some(Path::new("/etc/wright/policy.yaml"))
        );
        let (service, _): (_, Own) = parse("network.toml", GOOD).unwrap();
        assert_eq!(service.policy.file, None);
    }

    #[test]
    fn puts_the_password_into_the_url() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "a/b@c\n").unwrap();
        let url = Secret::new("amqp://u@h1/v,amqp://u@h2/v");
        let url = url_with_password(&url, Some(&path), "password").unwrap();
        assert_eq!(
            url.expose(),
            "amqp://u:a%2Fb%40c@h1/v,amqp://u:a%2Fb%40c@h2/v"
        );
    }
}
