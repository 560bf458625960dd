//! What lies below the services: nothing, with `--simulate`; a host of the environment's own, whose daemons are started
//! and looked after here; or OVN and libvirt that run on this machine already.

use crate::args::up::UpArgs;
use crate::error::CommandError;
use crate::printer::Printer;
use crate::settings::Settings;
use compute::AgentConfig;
use inventory::{AddressRange, NetworkName};
use lab::{Host, HostSpec, LabError};
use serde::Serialize;
use service_kit::config;
use state::EnvironmentFolder;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where libvirt's own daemons listen: the one for all, or the one for QEMU.
const LIBVIRT_SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];
const SIMULATE: &str = "or do without hypervisor and virtual networks: `wright up --simulate`";
/// Between two looks at the daemons, and between two tries to start one that will not run.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(30);

/// See the file's head.
pub(super) enum Below {
    Simulated,
    Own(Own),
    Given {
        northbound: String,
        southbound: String,
    },
}

/// A host of the environment's own.
pub(super) struct Own {
    host: Host,
    env: String,
    pub app: App,
}

/// The network that floating addresses come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct App {
    pub cidr: String,
    pub gateway: Ipv4Addr,
    #[serde(skip)]
    prefix: u8,
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    /// The network namespace from which the network is reached.
    pub namespace: String,
}

impl App {
    /// As `inventories/one-machine` has it.
    fn default_for(namespace: String) -> Self {
        App {
            cidr: "10.30.4.0/24".to_owned(),
            gateway: Ipv4Addr::new(10, 30, 4, 1),
            prefix: 24,
            first: Ipv4Addr::new(10, 30, 4, 100),
            last: Ipv4Addr::new(10, 30, 4, 199),
            namespace,
        }
    }

    /// What the inventory says, if there is one; it needs a gateway and a range of floating addresses.
    fn of(folder: &Path, namespace: String, printer: &Printer) -> Result<Self, CommandError> {
        if !folder.exists() {
            return Ok(Self::default_for(namespace));
        }
        let (inventory, findings) = inventory::load(folder);
        if findings.has_errors() {
            return Err(findings.into());
        }
        printer.warnings(&findings);
        let Some(network) = inventory.networks.get(&NetworkName::App) else {
            return Ok(Self::default_for(namespace));
        };
        let (Some(gateway), Some(floating)) = (network.gateway, network.ranges.floating) else {
            return Err(CommandError::failed(format!(
                "the network `app` in `{}` has no gateway or no range `floating`",
                folder.display()
            ))
            .hint("write for example `gateway: 10.30.4.1` and `ranges: {floating: 10.30.4.100-10.30.4.199}`"));
        };
        let (first, last) = (AddressRange::first(&floating), floating.last());
        Ok(App {
            cidr: network.cidr.to_string(),
            gateway,
            prefix: network.cidr.prefix(),
            first,
            last,
            namespace,
        })
    }
}

fn lab_error(error: LabError) -> CommandError {
    CommandError::failed(error.to_string())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, CommandError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(anyhow::Error::from)?
        .map_err(lab_error)
}

/// What stands in the way, told before anything is made.
///
/// # Errors
/// All of it at once, with what to do.
pub(super) fn check(args: &UpArgs) -> Result<(), CommandError> {
    if args.simulate {
        return Ok(());
    }
    let Some((northbound, southbound)) = given(args) else {
        let found = lab::host_shortfalls();
        return match found.is_empty() {
            true => Ok(()),
            false => Err(CommandError::failed(found.join("\n")).hint(SIMULATE)),
        };
    };
    let mut missing: Vec<String> = [northbound, southbound]
        .iter()
        .filter_map(|address| address.strip_prefix("unix:"))
        .filter(|path| !Path::new(path).exists())
        .map(|path| format!("OVN's database ({path})"))
        .collect();
    if !LIBVIRT_SOCKETS.iter().any(|path| Path::new(path).exists()) {
        missing.push(format!("libvirt ({})", LIBVIRT_SOCKETS[0]));
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(
            CommandError::failed(format!("not running here: {}", missing.join(", "))).hint(
                "start them, or leave --ovn-northbound and --ovn-southbound away: then daemons of its own are started",
            ),
        ),
    }
}

/// Both, or neither: the grammar of the arguments sees to it.
fn given(args: &UpArgs) -> Option<(String, String)> {
    args.ovn_northbound.clone().zip(args.ovn_southbound.clone())
}

impl Below {
    pub fn new(
        args: &UpArgs,
        settings: &Settings,
        folder: &EnvironmentFolder,
        printer: &Printer,
    ) -> Result<Self, CommandError> {
        if args.simulate {
            return Ok(Below::Simulated);
        }
        if let Some((northbound, southbound)) = given(args) {
            return Ok(Below::Given {
                northbound,
                southbound,
            });
        }
        let namespace = lab::namespace(folder.environment());
        let app = App::of(&inventory_dir(settings, folder), namespace, printer)?;
        Ok(Below::Own(Own::new(folder, app)))
    }

    /// Starts what does not run yet.
    pub async fn start(&self, printer: &Printer) -> Result<(), CommandError> {
        let Below::Own(own) = self else {
            return Ok(());
        };
        let new = !lab::host_is_there(&own.env);
        printer.say(if new {
            "starting OVN, Open vSwitch and libvirt"
        } else {
            "taking over the daemons and guests that run already"
        });
        let host = own.host.clone();
        let started = blocking(move || host.up()).await;
        if started.is_err() && new {
            let host = own.host.clone();
            // The first error says more.
            let _ = blocking(move || host.down()).await;
        }
        started
    }

    /// Northbound and southbound.
    pub fn databases(&self) -> Option<(String, String)> {
        match self {
            Below::Simulated => None,
            Below::Own(own) => Some((own.host.northbound(), own.host.southbound())),
            Below::Given {
                northbound,
                southbound,
            } => Some((northbound.clone(), southbound.clone())),
        }
    }

    /// This machine's agent, with its guests in `folder`.
    pub fn agent(&self, folder: &Path) -> Option<AgentConfig> {
        match self {
            Below::Simulated => None,
            Below::Own(own) => Some(own.agent(folder)),
            Below::Given { .. } => Some(AgentConfig {
                instances: instances(folder),
                // Which of the machine's namespaces are whose is not ours to say.
                metadata: false,
                ..AgentConfig::default()
            }),
        }
    }

    /// Starts daemons again that die, until `stop`.
    pub fn look_after(&self, stop: CancellationToken) -> Option<JoinHandle<()>> {
        match self {
            Below::Own(own) => Some(tokio::spawn(look_after(own.host.clone(), stop))),
            _ => None,
        }
    }

    /// Shuts the guests down and ends the daemons that [`Below::start`] started.
    pub async fn stop(
        &self,
        folder: &EnvironmentFolder,
        printer: &Printer,
    ) -> Result<(), CommandError> {
        match self {
            Below::Own(own) => own.stop(folder, printer).await,
            _ => Ok(()),
        }
    }
}

impl Own {
    fn new(folder: &EnvironmentFolder, app: App) -> Self {
        let spec = HostSpec {
            env: folder.environment().to_owned(),
            name: config::default_host(),
            gateway: (app.gateway, app.prefix),
        };
        Own {
            host: Host::new(spec, folder.root(), &folder.logs()),
            env: folder.environment().to_owned(),
            app,
        }
    }

    fn agent(&self, folder: &Path) -> AgentConfig {
        AgentConfig {
            instances: instances(folder),
            libvirt_uri: self.host.libvirt_uri(),
            ovsdb: Some(self.host.ovsdb()),
            network_namespace: Some(self.host.namespace()),
            metadata_prefix: self.host.metadata_prefix(),
            offload: false,
            resume_guests: true,
            ..AgentConfig::default()
        }
    }

    async fn stop(
        &self,
        folder: &EnvironmentFolder,
        printer: &Printer,
    ) -> Result<(), CommandError> {
        printer.say("shutting down the guests; they start again with the next `wright up`");
        let agent = self.agent(&super::data_dir(folder, "compute"));
        if let Err(error) = compute::shut_down_guests(&agent).await {
            // Their plug is pulled with the rest.
            printer.warn(&format!("guests could not be shut down: {error}"));
        }
        let host = self.host.clone();
        blocking(move || host.down()).await
    }
}

/// Ends what a `wright up` that was killed left running, if anything; says whether there was something.
pub(super) async fn stop_left_behind(
    folder: &EnvironmentFolder,
    printer: &Printer,
) -> Result<bool, CommandError> {
    if !lab::host_is_there(folder.environment()) {
        return Ok(false);
    }
    // Nothing is started, so the network does not matter.
    let app = App::default_for(lab::namespace(folder.environment()));
    Own::new(folder, app).stop(folder, printer).await?;
    Ok(true)
}

async fn look_after(host: Host, stop: CancellationToken) {
    let mut pause = LOOK;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let host = host.clone();
        // One that dies again and again is tried less and less often.
        pause = match blocking(move || host.mend()).await {
            Ok(started) if started.is_empty() => LOOK,
            Ok(started) => {
                tracing::error!(daemons = started.join(", "), "died, and was started again");
                (pause * 2).min(LOOK_MAX)
            }
            Err(error) => {
                tracing::error!(%error, "a daemon does not run");
                (pause * 2).min(LOOK_MAX)
            }
        };
    }
}

fn instances(folder: &Path) -> PathBuf {
    folder.join("instances")
}

/// The inventory of the environment that is really meant: `lab` is only the default of a flag that others share.
fn inventory_dir(settings: &Settings, folder: &EnvironmentFolder) -> PathBuf {
    match settings.inventory_dir == Path::new("inventories").join(&settings.env) {
        true => Path::new("inventories").join(folder.environment()),
        false => settings.inventory_dir.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::Output;

    #[test]
    fn without_an_inventory_the_network_is_that_of_the_example() {
        let printer = Printer::new(Output::Json);
        let inventories = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inventories");
        let of = |name: &str| App::of(&inventories.join(name), "ns".to_owned(), &printer);
        let built_in = App::default_for("ns".to_owned());
        assert_eq!(of("one-machine").unwrap(), built_in);
        assert_eq!(of("no-such-folder").unwrap(), built_in);
        assert_eq!(of("lab").unwrap().cidr, "10.20.4.0/24");
    }
}
