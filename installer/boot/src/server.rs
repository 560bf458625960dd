//! The boot server of one network: DHCP, router advertisements, TFTP and HTTP on one interface, started and
//! stopped together.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dhcp::server::{Counts, Seen};
use crate::dhcp::{self, DhcpPolicy};
use crate::error::BootError;
use crate::http::{self, Offers, script::Scripts};
use crate::policy::BootPolicy;
use crate::router_advertisement;
use crate::tftp;

/// How long stopping waits for requests under way.
const GRACE: Duration = Duration::from_secs(5);

/// What to serve and where.
#[derive(Debug, Clone)]
pub struct BootConfig {
    /// Interface of the boot network, for example `wl-lab-pxe`; it has `dhcp.server` as its address.
    pub interface: String,
    pub dhcp: DhcpPolicy,
    /// Offered as `/boot/kernel`.
    pub kernel: PathBuf,
    /// Offered as `/boot/ramdisk`.
    pub ramdisk: PathBuf,
    /// Offered as `/images/<name>`.
    pub images: BTreeMap<String, PathBuf>,
    /// Offered as `/files/<name>`.
    pub files: BTreeMap<String, PathBuf>,
    /// Where the boot loaders come from, usually [`DEBIAN_LOADERS`].
    pub loaders: PathBuf,
}

/// Where Debian's `ipxe` package puts its boot loaders.
pub const DEBIAN_LOADERS: &str = "/usr/lib/ipxe";

/// A running boot server. Dropping it stops everything at once; [`BootServer::stop`] lets requests finish.
pub struct BootServer {
    stop: CancellationToken,
    tasks: TaskTracker,
    seen: Arc<Seen>,
    base_url: String,
}

impl BootServer {
    /// Binds all sockets and starts to serve; `routes` are added to the HTTP server's own.
    ///
    /// # Errors
    /// What could not be bound or prepared, and what to do about it. Nothing runs then.
    pub fn start(
        config: BootConfig,
        boot: Arc<dyn BootPolicy>,
        routes: Router,
    ) -> Result<Self, BootError> {
        let BootConfig {
            interface,
            dhcp,
            kernel,
            ramdisk,
            images,
            files,
            loaders,
        } = config;
        let index = nix::net::if_::if_nametoindex(interface.as_str())
            .map_err(|_| BootError::NoInterface(interface.clone()))?;
        let scripts = Scripts::new()?;
        let first_stage = tftp::load(&loaders)?;
        let dhcp = Arc::new(dhcp);
        let dhcp_socket = dhcp::server::bind(&interface)?;
        let listener = http::serve::bind(&interface, dhcp.server, dhcp.http_port)?;
        // Without IPv6 on this host nothing can be advertised; machines then wait some seconds more.
        let solicitations = router_advertisement::bind(&interface, index)
            .map_err(|error| tracing::warn!(%error, "machines will wait for IPv6"))
            .ok();
        let tftp_socket = tftp::bind(&interface, dhcp.server)?;

        let base_url = dhcp.base_url();
        let machines = dhcp
            .reservations
            .iter()
            .map(|(mac, reservation)| (reservation.address, *mac))
            .collect();
        let offers = Offers {
            dhcp: dhcp.clone(),
            machines,
            boot: boot.clone(),
            scripts,
            kernel,
            ramdisk,
            loaders,
            images,
            files,
        };
        let server = Self {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            seen: Arc::default(),
            base_url,
        };
        let (stop, tasks) = (&server.stop, &server.tasks);
        let seen = server.seen.clone();
        tasks.spawn(dhcp::server::serve(
            dhcp_socket,
            dhcp.clone(),
            boot,
            seen,
            stop.clone(),
        ));
        if let Some(socket) = solicitations {
            tasks.spawn(router_advertisement::serve(socket, dhcp, stop.clone()));
        }
        tasks.spawn(tftp::serve(
            tftp_socket,
            first_stage,
            tasks.clone(),
            stop.clone(),
        ));
        let routes = http::routes(Arc::new(offers)).merge(routes);
        tasks.spawn(http::serve::serve(
            listener,
            routes,
            tasks.clone(),
            stop.clone(),
        ));
        Ok(server)
    }

    /// For example `http://10.20.0.1:7080`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What DHCP has seen so far.
    #[must_use]
    pub fn dhcp_counts(&self) -> Counts {
        self.seen.counts()
    }

    /// Stops taking requests and waits some seconds for those under way.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(GRACE, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::info!("boot server stopped with transfers under way");
        }
    }
}

impl Drop for BootServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
