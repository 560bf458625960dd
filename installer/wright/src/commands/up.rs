//! `wright up`: every service in one process, on SQLite, with calls between them in memory.
//!
//! The services are the very same as on a controller; only what is around them is smaller. This
//! file wires: it knows ports and names, and nothing of what a service does.

use crate::args::up::UpArgs;
use crate::commands::serve::explain;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use diagnostics::ExitStatus;
use openstack_client::{Client, ClientOptions, Credentials, InProcess, Transport};
use openstack_types::Interface;
use serde::Serialize;
use service_kit::{
    Context, IdentityTokens, Secret, Service, StartError, config, server, store, telemetry,
};
use state::{EnvironmentFolder, EnvironmentLock, Secrets};
use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The environment of `wright up` unless `--env` names another one.
const ENVIRONMENT: &str = "one-machine";
const REGION: &str = "RegionOne";
/// Where libvirt's daemons listen: the one for all, or the one for QEMU.
const LIBVIRT_SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];
/// Purpose of the lock that a running `wright up` holds.
const LOCK: &str = "up";

/// One bundled service: its name here, in the catalogue, and to operators.
struct Bundled {
    /// Also its type in the catalogue.
    service: &'static str,
    /// Upstream's name, and its user in identity.
    name: &'static str,
    /// As in docs/ports.md.
    port: u16,
    /// What the catalogue adds to `http://HOST:PORT`.
    path: &'static str,
}

/// One line per service, in the order in which they start; [`start`] has the other one.
const SERVICES: [Bundled; 6] = [
    Bundled {
        service: "identity",
        name: "keystone",
        port: 5000,
        path: "/v3",
    },
    Bundled {
        service: "image",
        name: "glance",
        port: 9292,
        path: "",
    },
    Bundled {
        service: "placement",
        name: "placement",
        port: 8778,
        path: "",
    },
    Bundled {
        service: "network",
        name: "neutron",
        port: 9696,
        path: "",
    },
    Bundled {
        service: "compute",
        name: "nova",
        port: 8774,
        path: "/v2.1",
    },
    Bundled {
        service: "orchestration",
        name: "heat",
        port: 8004,
        path: "/v1/%(project_id)s",
    },
];

impl Bundled {
    fn url(&self, offset: u16) -> String {
        format!("http://127.0.0.1:{}{}", self.port + offset, self.path)
    }
}

/// The other line per service.
async fn start(
    ctx: Context,
    args: &UpArgs,
    bootstrap: identity::Bootstrap,
) -> Result<Service, StartError> {
    match ctx.service {
        "identity" => {
            identity::start(
                ctx,
                identity::Config {
                    token: identity::TokenConfig::default(),
                    bootstrap,
                },
            )
            .await
        }
        "image" => image::start(ctx, image::Config::default()).await,
        "placement" => placement::start(ctx, placement::Config::default()).await,
        "network" => {
            let mut own = network::Config {
                simulate: args.simulate,
                ..network::Config::default()
            };
            own.ovn.northbound = args.ovn_northbound.clone();
            own.ovn.southbound = args.ovn_southbound.clone();
            network::start(ctx, own).await
        }
        "compute" => {
            let own = compute::Config {
                simulate: args.simulate.then(Default::default),
                ..compute::Config::default()
            };
            if !args.simulate {
                // This machine is the compute node, too; the agent waits until the API answers.
                let agent = compute::AgentConfig {
                    instances: ctx.data_dir.join("instances"),
                    // The namespaces of the metadata service belong to compute nodes of a deployed cloud.
                    metadata: false,
                    ..compute::AgentConfig::default()
                };
                let around = compute::AgentContext {
                    host: ctx.host.clone(),
                    client: ctx.client.clone(),
                    shutdown: ctx.shutdown.clone(),
                    tasks: ctx.tasks.clone(),
                };
                compute::start_agent(around, agent).await?;
            }
            compute::start(ctx, own).await
        }
        "orchestration" => orchestration::start(ctx, orchestration::Config::default()).await,
        other => Err(StartError::Config(format!(
            "`{other}` is no bundled service"
        ))),
    }
}

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
    if !args.simulate {
        check_real_parts(&args)?;
    }
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
    let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
    server::stop_on_signal(shutdown.clone()).map_err(explain)?;
    let registry = InProcess::new();
    let bus: Arc<dyn bus::Bus> = Arc::new(bus::InProcessBus::new());
    let auth_url = SERVICES[0].url(args.port_offset);
    let mut serving = JoinSet::new();
    let mut databases = Vec::new();
    for ((bundled, listener), password) in SERVICES.iter().zip(listeners).zip(&passwords) {
        let data_dir = folder.root().join("services").join(bundled.service);
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
            client,
            data_dir,
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
        };
        let db = ctx.db.clone();
        let service = start(ctx, &args, bootstrap.clone())
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
    let text = openrc_text(&auth_url, &admin_password);
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
    Ok(ExitStatus::Done)
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

/// What the real parts need, told before anything is started.
fn check_real_parts(args: &UpArgs) -> Result<(), CommandError> {
    let mut missing: Vec<String> = [&args.ovn_northbound, &args.ovn_southbound]
        .into_iter()
        .filter_map(|address| address.strip_prefix("unix:"))
        .filter(|path| !Path::new(path).exists())
        .map(|path| format!("OVN ({path})"))
        .collect();
    if !LIBVIRT_SOCKETS.iter().any(|path| Path::new(path).exists()) {
        missing.push(format!("libvirt ({})", LIBVIRT_SOCKETS[0]));
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(
        CommandError::failed(format!("not running here: {}", missing.join(", "))).hint(
            "install and start them (`apt install ovn-central ovn-host libvirt-daemon-system`), name OVN's databases \
             with --ovn-northbound and --ovn-southbound, or do without: `wright up --simulate`",
        ),
    )
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

#[derive(Serialize)]
struct Summary {
    endpoints: Vec<Endpoint>,
    openrc: PathBuf,
    log: PathBuf,
}

#[derive(Serialize)]
struct Endpoint {
    service: &'static str,
    name: &'static str,
    url: String,
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for endpoint in &self.endpoints {
            writeln!(
                f,
                "{:<14} {:<10} {}",
                endpoint.service, endpoint.name, endpoint.url
            )?;
        }
        let openrc = self.openrc.display();
        writeln!(
            f,
            "\nThe services run; their log is {}.",
            self.log.display()
        )?;
        writeln!(f, "In another terminal:\n")?;
        writeln!(f, "  source {openrc}")?;
        writeln!(f, "  openstack token issue")?;
        writeln!(f, "  openstack network list\n")?;
        write!(f, "Stop with Ctrl-C, or with `wright down`.")
    }
}

/// `wright down`: ends a running `wright up` and waits until it has finished.
pub async fn down(settings: &Settings, printer: &Printer) -> Result<ExitStatus, CommandError> {
    let (name, root) = environment(settings);
    let Some(folder) = EnvironmentFolder::existing(root, name) else {
        printer.say("nothing runs: this environment was never started");
        return Ok(ExitStatus::Done);
    };
    let holder = match EnvironmentLock::acquire(&folder, LOCK) {
        Ok(_) => {
            printer.say("nothing runs");
            return Ok(ExitStatus::Done);
        }
        Err(state::StateError::Locked { holder, .. }) => holder,
        Err(error) => return Err(state_error(error)),
    };
    // `up (pid 123, start time 456)`
    let number = |after: &str| -> Option<u64> {
        let rest = holder.split_once(after)?.1;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    let unclear = || CommandError::failed(format!("cannot tell which process runs: `{holder}`"));
    let pid = number("pid ")
        .and_then(|pid| i32::try_from(pid).ok())
        .ok_or_else(unclear)?;
    // Pid and start time together name a process for good.
    if number("start time ") != u32::try_from(pid).ok().and_then(state::lock::start_time) {
        return Err(unclear());
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )
    .map_err(|error| CommandError::failed(format!("cannot stop process {pid}: {error}")))?;
    // A stop lets requests and work finish, for at most a minute.
    for _ in 0..900 {
        if EnvironmentLock::acquire(&folder, LOCK).is_ok() {
            printer.say("stopped");
            return Ok(ExitStatus::Done);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(CommandError::failed(format!("process {pid} does not end")))
}
