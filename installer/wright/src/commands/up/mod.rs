//! `wright up`: every service in one process, on SQLite, with calls between them in memory.
//!
//! The services are the very same as on a controller; only what is around them is smaller. This
//! folder wires: `services.rs` knows ports and names, `below.rs` what guests and networks are made with,
//! and none of them what a service does.

mod below;
mod down;
mod services;
mod summary;

use crate::args::up::UpArgs;
use crate::commands::serve::explain;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use below::Below;
use diagnostics::ExitStatus;
pub use down::run as down;
use openstack_client::{Client, ClientOptions, Credentials, InProcess, Transport};
use openstack_types::Interface;
use service_kit::{Context, IdentityTokens, Secret, config, server, store, telemetry};
use services::{SERVICES, start};
use state::{EnvironmentFolder, EnvironmentLock, Secrets};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use summary::{Endpoint, Summary};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The environment of `wright up` unless `--env` names another one.
const ENVIRONMENT: &str = "one-machine";
const REGION: &str = "RegionOne";
/// Purpose of the lock that a running `wright up` holds.
const LOCK: &str = "up";

fn environment(settings: &Settings) -> (String, PathBuf) {
    // `lab` is only the default of a flag that most commands share.
    if settings.env == "lab" {
        let default = EnvironmentFolder::default_root("lab");
        let root = if settings.state_dir == default {
            EnvironmentFolder::default_root(ENVIRONMENT)
        } else {
            settings.state_dir.clone()
        };
        return (ENVIRONMENT.to_owned(), root);
    }
    (settings.env.clone(), settings.state_dir.clone())
}

fn state_error(error: state::StateError) -> CommandError {
    CommandError::failed(error.to_string())
}

/// Runs until SIGINT, SIGTERM or `wright down`.
pub async fn run(
    args: UpArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<ExitStatus, CommandError> {
    below::check(&args)?;
    let (name, root) = environment(settings);
    let folder = EnvironmentFolder::create(root, name).map_err(state_error)?;
    let _lock = EnvironmentLock::acquire(&folder, LOCK).map_err(state_error)?;
    let log = config::LogConfig {
        file: Some(folder.logs().join("services.log")),
        level: None,
        quiet: true,
    };
    telemetry::init(&log)
        .map_err(|error| CommandError::failed(format!("cannot open the log: {error}")))?;
    telemetry::install_metrics();
    let below = Below::new(&args, settings, &folder, printer)?;
    let secrets = Secrets::open(&folder).map_err(state_error)?;
    let secret = |name: &str| {
        secrets
            .get_or_generate(name)
            .map(|s| s.expose().to_owned())
            .map_err(state_error)
    };
    let admin_password = secret("identity_admin")?;
    let mut listeners = Vec::new();
    for bundled in &SERVICES {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, bundled.port + args.port_offset));
        // All ports first: nothing has been started when one of them is taken.
        let listener = server::bind(address).await.map_err(|error| match explain(error) {
            CommandError::Failed { message, .. } => CommandError::failed(message)
                .hint("another program listens there; `--port-offset N` moves every port of this cloud"),
            other => other,
        })?;
        listeners.push(listener);
    }
    let mut bootstrap = identity::Bootstrap {
        admin_password: Some(Secret::new(admin_password.as_str())),
        admin_password_file: None,
        services: Vec::new(),
    };
    let mut passwords = Vec::new();
    for bundled in &SERVICES {
        let password = secret(&format!("identity_{}", bundled.service))?;
        bootstrap.services.push(identity::BootstrapService {
            service_type: bundled.service.to_owned(),
            name: bundled.name.to_owned(),
            user: bundled.name.to_owned(),
            password: Some(Secret::new(password.as_str())),
            password_file: None,
            public_url: bundled.url(args.port_offset),
            internal_url: None,
            admin_url: None,
        });
        passwords.push(password);
    }
    let shutdown = CancellationToken::new();
    server::stop_on_signal(shutdown.clone()).map_err(explain)?;
    below.start(printer).await?;
    let looked_after = CancellationToken::new();
    let looking = below.look_after(looked_after.clone());
    let served = serve(Serving {
        args: &args,
        folder: &folder,
        below: &below,
        admin_password,
        bootstrap,
        passwords,
        listeners,
        shutdown,
        printer,
    })
    .await;
    looked_after.cancel();
    if let Some(looking) = looking {
        looking.await.map_err(anyhow::Error::from)?;
    }
    let stopped = below.stop(&folder, printer).await;
    served?;
    stopped?;
    Ok(ExitStatus::Done)
}

/// What [`serve`] needs.
struct Serving<'a> {
    args: &'a UpArgs,
    folder: &'a EnvironmentFolder,
    below: &'a Below,
    admin_password: String,
    bootstrap: identity::Bootstrap,
    /// Of the services' users, in the order of [`SERVICES`].
    passwords: Vec<String>,
    listeners: Vec<tokio::net::TcpListener>,
    shutdown: CancellationToken,
    printer: &'a Printer,
}

/// The services, from their start until they have finished after `shutdown`.
async fn serve(given: Serving<'_>) -> Result<(), CommandError> {
    let Serving {
        args,
        folder,
        shutdown,
        printer,
        ..
    } = given;
    let tasks = TaskTracker::new();
    let registry = InProcess::new();
    let bus: Arc<dyn bus::Bus> = Arc::new(bus::InProcessBus::new());
    let auth_url = SERVICES[0].url(args.port_offset);
    let mut serving = JoinSet::new();
    let mut databases = Vec::new();
    let each = SERVICES.iter().zip(given.listeners).zip(&given.passwords);
    for ((bundled, listener), password) in each {
        let data_dir = data_dir(folder, bundled.service);
        let client = Client::new(
            Transport::InProcess(registry.clone()),
            ClientOptions {
                auth_url: auth_url.clone(),
                region: REGION.to_owned(),
                interface: Interface::Internal,
            },
            Credentials::password(bundled.name, password, "service"),
        );
        let ctx = Context {
            service: bundled.service,
            region: REGION.to_owned(),
            host: config::default_host(),
            public_url: format!("http://127.0.0.1:{}", bundled.port + args.port_offset),
            auth_url: auth_url.clone(),
            db: open_database(&data_dir, bundled.service).await?,
            bus: Arc::clone(&bus),
            tokens: Arc::new(IdentityTokens::new(client.clone())),
            policy_file: None,
            client,
            data_dir,
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
        };
        let db = ctx.db.clone();
        let service = start(ctx, given.below, given.bootstrap.clone())
            .await
            .map_err(|error| CommandError::failed(format!("{}: {error}", bundled.service)))?;
        registry.register(bundled.service, service.router.clone());
        serving.spawn(server::serve(
            listener,
            server::with_health(service.router, db.clone()),
            shutdown.clone(),
        ));
        databases.push(db);
    }
    let openrc = folder.openrc();
    let text = openrc_text(&auth_url, &given.admin_password);
    state::folder::replace_file(&openrc, text.as_bytes())
        .map_err(|error| CommandError::failed(format!("{}: {error}", openrc.display())))?;
    printer.data(&Summary {
        endpoints: SERVICES
            .iter()
            .map(|b| Endpoint {
                service: b.service,
                name: b.name,
                url: b.url(args.port_offset),
            })
            .collect(),
        openrc,
        log: folder.logs().join("services.log"),
        environment: folder.environment().to_owned(),
        app: match given.below {
            Below::Own(own) => Some(own.app.clone()),
            _ => None,
        },
    })?;
    shutdown.cancelled().await;
    printer.say("stopping: open requests and accepted work are finished first");
    while serving.join_next().await.is_some() {}
    server::drain(&tasks).await;
    bus.close().await;
    for db in databases {
        // A SQLite file needs no farewell; its log is merged when the last connection closes.
        let _ = db.close().await;
    }
    Ok(())
}

/// A service's own folder.
fn data_dir(folder: &EnvironmentFolder, service: &str) -> PathBuf {
    folder.root().join("services").join(service)
}

async fn open_database(
    folder: &Path,
    service: &str,
) -> Result<sea_orm::DatabaseConnection, CommandError> {
    let url = format!(
        "sqlite://{}",
        folder.join(format!("{service}.db")).display()
    );
    store::connect(&url)
        .await
        .map_err(|error| CommandError::failed(format!("{service}: {error}")))
}

/// The administrator's credentials, to be sourced by a shell.
fn openrc_text(auth_url: &str, password: &str) -> String {
    let lines = [
        ("OS_AUTH_URL", auth_url),
        ("OS_USERNAME", "admin"),
        ("OS_PASSWORD", password),
        ("OS_PROJECT_NAME", "admin"),
        ("OS_USER_DOMAIN_NAME", "Default"),
        ("OS_PROJECT_DOMAIN_NAME", "Default"),
        ("OS_REGION_NAME", REGION),
        ("OS_IDENTITY_API_VERSION", "3"),
        ("OS_IMAGE_API_VERSION", "2"),
        ("OS_INTERFACE", "public"),
    ];
    lines
        .iter()
        .map(|(name, value)| format!("export {name}='{value}'\n"))
        .collect()
}
