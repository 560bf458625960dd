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
    /// What passwords must be like.
    #[serde(default)]
    pub security_compliance: SecurityConfig,
    /// One-time passwords.
    #[serde(default)]
    pub totp: TotpConfig,
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
            security_compliance: SecurityConfig::default(),
            totp: TotpConfig::default(),
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

/// `[security_compliance]`: names and meaning as upstream. Without the section, passwords hold for ever and may be guessed at
/// without end.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityConfig {
    /// After so many wrong passwords in a row a user is locked; left out: never.
    pub lockout_failure_attempts: Option<u16>,
    /// For so many seconds after the last wrong one.
    pub lockout_duration_seconds: u32,
    /// A password must be changed after so many days; left out: never.
    pub password_expires_days: Option<u16>,
    /// So many days must pass before a user may change the own password again; what an administrator has set may be changed
    /// at once.
    pub minimum_password_age_days: u16,
    /// A new password must not be one of the last so many; 24 at most, 0: it may.
    pub unique_last_password_count: u16,
    /// Every one of these regular expressions must match a new password. There is no looking ahead: write one expression
    /// for each thing that a password must have.
    pub password_regexes: Vec<String>,
    /// What they mean, for users.
    pub password_regex_description: String,
    /// A password that somebody else has set gives no token before it is changed.
    pub change_password_upon_first_use: bool,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        SecurityConfig {
            lockout_failure_attempts: None,
            lockout_duration_seconds: 1800,
            password_expires_days: None,
            minimum_password_age_days: 0,
            unique_last_password_count: 0,
            password_regexes: Vec::new(),
            password_regex_description: String::new(),
            change_password_upon_first_use: false,
        }
    }
}

/// `[totp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TotpConfig {
    /// So many passcodes before the current one are accepted, thirty seconds each; 10 at most.
    pub included_previous_windows: u8,
}

impl Default for TotpConfig {
    fn default() -> Self {
        TotpConfig {
            included_previous_windows: 1,
        }
    }
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
