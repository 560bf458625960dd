//! The image service (Glance): API v2; images as files, and in other stores.
//!
//! `api/` decodes and encodes, `app/` stores and inspects the data, `store/` holds the tables.

mod api;
mod app;
mod store;

use app::{
    copies::Peers,
    imports::{self, Way},
    quota::Quotas,
    stores::{StoreConfig, Stores},
    web::{Web, rules::WebConfig},
};
use axum::routing::any;
use serde::Deserialize;
use service_kit::{Context, Service, StartError, work};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// Image's own sections of its configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[images]`
    pub images: ImagesConfig,
    /// `[import]`
    pub import: ImportConfig,
    /// `[web_download]`
    pub web_download: WebConfig,
    /// `[stores.NAME]`
    pub stores: BTreeMap<String, StoreConfig>,
}

/// `[import]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportConfig {
    /// Ways that are offered.
    pub methods: Vec<Way>,
    /// Imports that one controller does at a time.
    pub parallel: usize,
}

impl Default for ImportConfig {
    fn default() -> Self {
        ImportConfig {
            methods: Way::ALL.to_vec(),
            parallel: 16,
        }
    }
}

/// `[images]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// Folder of the data; default: `images` in `data_dir`.
    pub folder: Option<PathBuf>,
    /// The image services of the other controllers, for example `https://10.20.1.12:9292`: each has a copy of the data. Empty
    /// on a single controller, and where the folder is shared by all.
    pub peers: Vec<String>,
    /// By which controllers know each other; needed with `peers`.
    pub peer_secret: String,
    /// PEM file with the only certificate authority that peers are trusted by.
    pub peer_ca_file: Option<PathBuf>,
    /// Largest image in bytes.
    pub max_bytes: u64,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        ImagesConfig {
            folder: None,
            peers: Vec::new(),
            peer_secret: String::new(),
            peer_ca_file: None,
            max_bytes: 1 << 40,
        }
    }
}

/// The rows of the HTTP side, for whatever tells or checks what the service can do.
pub fn table() -> service_kit::Table {
    api::api().table()
}

/// Migrates, clears away what an interrupted upload left, and gives the router.
pub async fn start(ctx: Context, config: Config) -> Result<Service, StartError> {
    service_kit::store::migrate::<store::Migrator>(&ctx.db).await?;
    let folder = config
        .images
        .folder
        .clone()
        .unwrap_or_else(|| ctx.data_dir.join("images"));
    let files = app::files::Files::open(&folder, &ctx.host).map_err(|source| StartError::Io {
        what: format!("image folder `{}`", folder.display()),
        source,
    })?;
    let images = config.images;
    if !images.peers.is_empty() && images.peer_secret.is_empty() {
        return Err(StartError::Config(
            "[images] peers needs peer_secret, the same on every controller".to_owned(),
        ));
    }
    let files = Arc::new(files);
    let mut peers = None;
    if !images.peers.is_empty() {
        let ca = images.peer_ca_file.as_deref();
        let ca = ca.map(service_kit::server::read_ca).transpose()?;
        let others = Peers::new(images.peers, images.peer_secret, ca.as_deref())
            .map_err(|error| StartError::Config(error.to_string()))?;
        peers = Some(Arc::new(others));
    }
    let app = Arc::new(app::App {
        db: ctx.db.clone(),
        files,
        peers,
        stores: Stores::open(config.stores).map_err(StartError::Config)?,
        web: Web::new(config.web_download)
            .map_err(|error| StartError::Config(error.to_string()))?,
        quotas: Quotas::new(ctx.client.clone()),
        import_methods: config.import.methods,
        queue: work::Queue::new(ctx.db.clone(), ctx.bus.clone(), "image", imports::QUEUE),
        stop: ctx.shutdown.clone(),
        max_bytes: images.max_bytes,
        host: ctx.host.clone(),
        public_url: ctx.public_url.clone(),
    });
    app.forget_interrupted_uploads().await?;
    ctx.tasks.spawn(app::copies::keep_whole(app.clone()));
    // Another name at each start: what the one before had claimed is not taken for this one's.
    let worker = format!("{}/{}", ctx.host, uuid::Uuid::new_v4());
    ctx.tasks.spawn(work::run(
        app.queue.clone(),
        worker,
        config.import.parallel.max(1),
        ctx.shutdown.clone(),
        Arc::new(imports::work::Importer(app.clone())),
    ));
    Ok(Service {
        router: api::api()
            .governed_by(&ctx)?
            .into_router(app, ctx.tokens.clone(), &ctx.auth_url)
            .route("/v2/images/", any(api::no_id))
            .layer(axum::middleware::from_fn(api::without_nul)),
    })
}
