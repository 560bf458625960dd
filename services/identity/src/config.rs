//! Identity's own sections of its configuration file. Unknown keys are refused.

use serde::Deserialize;
use service_kit::Secret;
use std::path::PathBuf;

/// Everything but `[service]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How tokens are made.
    #[serde(default)]
    pub token: TokenConfig,
    /// How credentials are kept.
    #[serde(default)]
    pub credential: CredentialConfig,
    /// What projects see of the catalogue.
    #[serde(default)]
    pub catalog: CatalogConfig,
    /// What must exist before anybody can log in.
    pub bootstrap: Bootstrap,
}

impl Config {
    /// Defaults for all but what must exist.
    pub fn new(bootstrap: Bootstrap) -> Self {
        Config {
            token: TokenConfig::default(),
            credential: CredentialConfig::default(),
            catalog: CatalogConfig::default(),
            bootstrap,
        }
    }
}

/// `[token]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Life of a token in seconds.
    #[serde(default = "default_life")]
    pub expiration_seconds: u64,
    /// Folder of the Fernet keys, the same on every controller; default: `fernet-keys` in `data_dir`.
    #[serde(default)]
    pub key_dir: Option<PathBuf>,
}

impl Default for TokenConfig {
    fn default() -> Self {
        TokenConfig {
            expiration_seconds: default_life(),
            key_dir: None,
        }
    }
}

fn default_life() -> u64 {
    3600
}

/// `[credential]`: what the contents of `/v3/credentials` are encrypted with. It must stay the same as long as there are
/// credentials, and be the same on every controller.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialConfig {
    /// A long random text that the key is derived from.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// File with it.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// Without a secret: folder of the keys, in the manner of `[token] key_dir`; default: `credential-keys` in `data_dir`.
    #[serde(default)]
    pub key_dir: Option<PathBuf>,
    /// A signed EC2 request is accepted so many minutes before and after the time in it.
    #[serde(default = "default_auth_minutes")]
    pub auth_minutes: u16,
}

impl Default for CredentialConfig {
    fn default() -> Self {
        CredentialConfig {
            secret: None,
            secret_file: None,
            key_dir: None,
            auth_minutes: default_auth_minutes(),
        }
    }
}

fn default_auth_minutes() -> u16 {
    15
}

/// `[catalog]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogConfig {
    /// Whether a project that no endpoint is associated with (OS-EP-FILTER) sees all of them, or none.
    #[serde(default = "yes")]
    pub return_all_endpoints_if_no_filter: bool,
}

impl Default for CatalogConfig {
    fn default() -> Self {
        CatalogConfig {
            return_all_endpoints_if_no_filter: true,
        }
    }
}

fn yes() -> bool {
    true
}

/// `[bootstrap]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// Password of the user `admin`.
    #[serde(default)]
    pub admin_password: Option<Secret>,
    /// File with it.
    #[serde(default)]
    pub admin_password_file: Option<PathBuf>,
    /// The services of this cloud.
    #[serde(default)]
    pub services: Vec<BootstrapService>,
}

/// `[[bootstrap.services]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapService {
    /// `compute`
    #[serde(rename = "type")]
    pub service_type: String,
    /// `nova`
    pub name: String,
    /// Its user in the project `service`.
    pub user: String,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File with it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// URL for users; `%(project_id)s` is filled in.
    pub public_url: String,
    /// URL for services; default: `public_url`.
    #[serde(default)]
    pub internal_url: Option<String>,
    /// URL for administrators; default: `internal_url`.
    #[serde(default)]
    pub admin_url: Option<String>,
}
