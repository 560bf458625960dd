//! A service as a process or as part of one: its socket, `/healthz`, `/metrics`, and a clean stop.
//!
//! Knows no service: `start` is given. A stop lets requests and accepted work finish.

use crate::{
    config::{self, IdentityConfig, ServiceConfig},
    context::{Context, Service, StartError},
    store, telemetry,
    tls::{Identity, TlsListener},
    tokens::IdentityTokens,
};
use axum::{Router, routing::get, serve::Listener};
use http::{StatusCode, header};
use openstack_client::{Client, ClientOptions, Credentials, Scope, Transport};
use openstack_types::Interface;
use sea_orm::DatabaseConnection;
use std::{fmt::Debug, future::Future, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a stop waits for open requests and workers.
const STOP_TIME: Duration = Duration::from_secs(30);

/// Binds a socket, with an error that names the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Io {
            what: format!("cannot listen on {address}"),
            source,
        })
}

/// Adds `/healthz` (200 when the database answers) and `/metrics` to a service's router.
/// A balancer in front must not pass these two on to the outside.
pub fn with_health(router: Router, db: DatabaseConnection) -> Router {
    let health = move || {
        let db = db.clone();
        async move {
            // In a task of its own: a balancer that hangs up must not stop the question half way.
            let ping = tokio::spawn(async move { db.ping().await });
            match tokio::time::timeout(Duration::from_secs(5), ping).await {
                Ok(Ok(Ok(()))) => (StatusCode::OK, "ok\n"),
                _ => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the database does not answer\n",
                ),
            }
        }
    };
    let metrics = async || {
        (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            telemetry::metrics_text(),
        )
    };
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .fallback_service(router)
}

/// Serves until `shutdown`; then lets open requests finish, for at most 30 s. The listener may be a plain one or a
/// [`TlsListener`].
pub async fn serve<L: Listener<Addr: Debug>>(
    listener: L,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let stop = shutdown.clone();
    let server = async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await
    };
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(STOP_TIME).await;
    };
    tokio::select! {
        result = server => result,
        () = deadline => Ok(()),
    }
}

/// A client with the credentials that `[service.identity]` names. Nothing is sent yet.
pub fn client(region: &str, identity: &IdentityConfig) -> Result<Client, StartError> {
    let password = config::secret(
        identity.password.as_ref(),
        identity.password_file.as_deref(),
        "password",
    )
    .map_err(|reason| StartError::Config(format!("[service.identity] {reason}")))?;
    let transport = match &identity.ca_file {
        None => Transport::http(),
        Some(path) => Transport::http_with_roots(&[read_ca(path)?.into_bytes()]),
    }
    .map_err(|reason| StartError::Config(format!("TLS: {reason}")))?;
    let options = ClientOptions {
        auth_url: identity.auth_url.clone(),
        region: region.to_owned(),
        interface: Interface::Internal,
    };
    let credentials = Credentials::Password {
        username: identity.username.clone(),
        user_domain_id: "default".to_owned(),
        password: password.expose().to_owned(),
        scope: Scope::Project {
            name: identity.project.clone(),
            domain_id: "default".to_owned(),
        },
    };
    Ok(Client::new(transport, options, credentials))
}

/// The certificates of an authority, as PEM.
pub fn read_ca(path: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|source| StartError::Io {
        what: format!("ca_file `{}`", path.display()),
        source,
    })
}

/// Connects what `[service]` names.
pub async fn context(
    service: &'static str,
    settings: &ServiceConfig,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) -> Result<Context, StartError> {
    let database = &settings.database;
    let url =
        config::url_with_password(&database.url, database.password_file.as_deref(), "password")
            .map_err(|reason| StartError::Config(format!("[service.database] {reason}")))?;
    let bus: Arc<dyn bus::Bus> = match &settings.bus.url {
        None => Arc::new(bus::InProcessBus::new()),
        Some(url) => {
            let url =
                config::url_with_password(url, settings.bus.password_file.as_deref(), "password")
                    .map_err(|reason| StartError::Config(format!("[service.bus] {reason}")))?;
            let ca = settings.bus.ca_file.as_deref().map(read_ca).transpose()?;
            Arc::new(bus::RabbitBus::connect(url.expose(), ca))
        }
    };
    let client = client(&settings.region, &settings.identity)?;
    std::fs::create_dir_all(&settings.data_dir).map_err(|source| StartError::Io {
        what: format!("data_dir `{}`", settings.data_dir.display()),
        source,
    })?;
    Ok(Context {
        service,
        region: settings.region.clone(),
        host: settings.host.clone(),
        public_url: settings.public_url.trim_end_matches('/').to_owned(),
        auth_url: settings.identity.auth_url.clone(),
        db: store::connect_trusting(url.expose(), database.ca_file.as_deref()).await?,
        bus,
        tokens: Arc::new(IdentityTokens::new(client.clone())),
        policy_file: settings.policy.file.clone(),
        client,
        data_dir: settings.data_dir.clone(),
        shutdown,
        tasks,
    })
}

/// Runs one service as a process of its own, until SIGINT or SIGTERM.
pub async fn run_alone<F, Fut>(
    service: &'static str,
    settings: &ServiceConfig,
    start: F,
) -> Result<(), StartError>
where
    F: FnOnce(Context) -> Fut,
    Fut: Future<Output = Result<Service, StartError>>,
{
    telemetry::init(&settings.log).map_err(|source| StartError::Io {
        what: "cannot open the log file".to_owned(),
        source,
    })?;
    telemetry::install_metrics();
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    stop_on_signal(shutdown.clone())?;
    let context = context(service, settings, shutdown.clone(), tasks.clone()).await?;
    let (bus, db) = (Arc::clone(&context.bus), context.db.clone());
    let started = start(context).await?;
    let tls = settings.tls.as_ref().map(Identity::read).transpose()?;
    let listener = bind(settings.listen).await?;
    tracing::info!(service, listen = %settings.listen, "ready");
    tell_ready();
    let router = with_health(started.router, db.clone());
    let result = match tls {
        Some(tls) => match TlsListener::new(listener, tls) {
            Ok(listener) => serve(listener, router, shutdown.clone()).await,
            Err(error) => Err(error),
        },
        None => serve(listener, router, shutdown.clone()).await,
    };
    shutdown.cancel();
    drain(&tasks).await;
    bus.close().await;
    let _ = db.close().await;
    tracing::info!(service, "stopped");
    result.map_err(|source| StartError::Io {
        what: "serving".to_owned(),
        source,
    })
}

/// Tells systemd that the service is ready; without systemd there is nobody to tell.
pub fn tell_ready() {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Waits for background workers, for at most 30 s.
pub async fn drain(tasks: &TaskTracker) {
    tasks.close();
    if tokio::time::timeout(STOP_TIME, tasks.wait()).await.is_err() {
        tracing::warn!(
            left = tasks.len(),
            "some workers did not finish; their work is taken up at the next start"
        );
    }
}

/// Cancels `shutdown` at SIGINT or SIGTERM.
pub fn stop_on_signal(shutdown: CancellationToken) -> Result<(), StartError> {
    let listen = |kind| {
        signal(kind).map_err(|source| StartError::Io {
            what: "cannot listen for signals".to_owned(),
            source,
        })
    };
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = shutdown.cancelled() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}
