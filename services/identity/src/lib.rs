//! The identity service (Keystone): API v3 with users, projects, roles, tokens and the catalogue.
//!
//! Rooms as in every service: `api` decodes and encodes, `app` decides, `store` holds the tables.

mod api;
mod app;
mod config;
mod store;

pub use config::{
    Bootstrap, BootstrapService, CatalogConfig, Config, CredentialConfig, SecurityConfig,
    TokenConfig, TotpConfig,
};

use service_kit::{Context, Service, StartError};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// How often is looked whether the keys of tokens were replaced.
const KEYS_EVERY: Duration = Duration::from_secs(2);

/// The rows of the HTTP side, for whatever tells or checks what the service can do.
pub fn table() -> service_kit::Table {
    api::api().table()
}

/// Migrates, bootstraps, and gives the router.
pub async fn start(ctx: Context, config: Config) -> Result<Service, StartError> {
    service_kit::store::migrate::<store::Migrator>(&ctx.db).await?;
    let folder = config
        .token
        .key_dir
        .clone()
        .unwrap_or_else(|| ctx.data_dir.join("fernet-keys"));
    let keys = app::keys::TokenKeys::open(&folder).map_err(|source| StartError::Io {
        what: format!("Fernet keys in `{}`", folder.display()),
        source,
    })?;
    let credential_keys = app::credentials::keys(&config.credential, &ctx.data_dir)?;
    let password_rules = app::password_rules::PasswordRules::new(&config.security_compliance)
        .map_err(|reason| StartError::Config(format!("[security_compliance] {reason}")))?;
    if config.totp.included_previous_windows > 10 {
        return Err(StartError::Config(
            "[totp] included_previous_windows: 10 is the most".to_owned(),
        ));
    }
    let mut db = ctx.db.clone();
    let memory = app::memory::Memory::new(&mut db, &ctx.host);
    let app = Arc::new(app::App {
        db,
        memory,
        keys,
        credential_keys,
        password_rules,
        totp_previous_windows: u64::from(config.totp.included_previous_windows),
        ec2_skew: Duration::from_secs(u64::from(config.credential.auth_minutes) * 60),
        all_endpoints_without_filter: config.catalog.return_all_endpoints_if_no_filter,
        token_life: Duration::from_secs(config.token.expiration_seconds),
        public_url: ctx.public_url.clone(),
    });
    app.bootstrap(&config.bootstrap, &ctx.region).await?;
    app.memory.tell(&app.db).await;
    tokio::spawn(watch_keys(Arc::downgrade(&app)));
    let router =
        api::api()
            .governed_by(&ctx)?
            .into_router(Arc::clone(&app), app.clone(), &ctx.auth_url);
    Ok(Service {
        router: api::told::layer(router, app),
    })
}

/// Takes new keys as long as the service is there.
async fn watch_keys(app: Weak<app::App>) {
    loop {
        tokio::time::sleep(KEYS_EVERY).await;
        let Some(app) = app.upgrade() else { return };
        if let Err(error) = app.keys.look_again() {
            tracing::warn!(%error, "the keys of tokens stay as they were");
        }
    }
}
