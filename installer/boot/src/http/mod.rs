//! What machines fetch over HTTP: script, kernel, ramdisk, token, images, files.
//!
//! | path | gives | to whom |
//! |---|---|---|
//! | `/boot/<mac>` | iPXE script | the machine's reserved address |
//! | `/boot/<mac>/token` | second initrd with the one-time token | the same, when it is due one |
//! | `/boot/kernel`, `/boot/ramdisk`, `/boot/loader/<name>` | files | everyone |
//! | `/images/<name>`, `/files/<name>` | files that were named at the start | everyone |
//!
//! Deliberately not here: who is due what; [`crate::policy::BootPolicy`] decides.
mod files;
pub mod script;
pub(crate) mod serve;
pub mod token;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::Mac;
use crate::dhcp::DhcpPolicy;
use crate::policy::{BootPolicy, Fetched, Observed};

/// What the routes know.
pub(crate) struct Offers {
    pub(crate) dhcp: Arc<DhcpPolicy>,
    /// Reserved address to machine.
    pub(crate) machines: HashMap<Ipv4Addr, Mac>,
    pub(crate) boot: Arc<dyn BootPolicy>,
    pub(crate) scripts: script::Scripts,
    pub(crate) kernel: PathBuf,
    pub(crate) ramdisk: PathBuf,
    pub(crate) loaders: PathBuf,
    pub(crate) images: BTreeMap<String, PathBuf>,
    pub(crate) files: BTreeMap<String, PathBuf>,
}

type Shared = State<Arc<Offers>>;
type Peer = ConnectInfo<SocketAddr>;

pub(crate) fn routes(offers: Arc<Offers>) -> Router {
    Router::new()
        .route("/boot/kernel", get(kernel))
        .route("/boot/ramdisk", get(ramdisk))
        .route("/boot/loader/{name}", get(loader))
        .route("/boot/{mac}", get(script))
        .route("/boot/{mac}/token", get(token))
        .route("/images/{name}", get(image))
        .route("/files/{name}", get(file))
        .with_state(offers)
}

impl Offers {
    /// The machine that the peer's address is reserved for.
    fn machine(&self, peer: SocketAddr) -> Option<Mac> {
        match peer.ip() {
            IpAddr::V4(address) => self.machines.get(&address).copied(),
            IpAddr::V6(_) => None,
        }
    }

    fn observe(&self, peer: SocketAddr, what: Fetched) {
        if let Some(mac) = self.machine(peer) {
            self.boot.observe(Observed::Http { mac, what });
        }
    }
}

async fn kernel(State(offers): Shared, ConnectInfo(peer): Peer) -> Response {
    offers.observe(peer, Fetched::Kernel);
    files::stream(&offers.kernel).await
}

async fn ramdisk(State(offers): Shared, ConnectInfo(peer): Peer) -> Response {
    offers.observe(peer, Fetched::Ramdisk);
    files::stream(&offers.ramdisk).await
}

async fn loader(
    State(offers): Shared,
    ConnectInfo(peer): Peer,
    Path(name): Path<String>,
) -> Response {
    use crate::dhcp::answer::{BIOS_LOADER, EFI_LOADER};
    if ![BIOS_LOADER, EFI_LOADER].contains(&name.as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    offers.observe(peer, Fetched::Loader);
    files::stream(&offers.loaders.join(name)).await
}

async fn image(
    State(offers): Shared,
    ConnectInfo(peer): Peer,
    Path(name): Path<String>,
) -> Response {
    let Some(path) = offers.images.get(&name) else {
        return (
            StatusCode::NOT_FOUND,
            format!("no image is named '{name}'\n"),
        )
            .into_response();
    };
    offers.observe(peer, Fetched::Image);
    files::stream(path).await
}

async fn file(
    State(offers): Shared,
    ConnectInfo(peer): Peer,
    Path(name): Path<String>,
) -> Response {
    let Some(path) = offers.files.get(&name) else {
        return (
            StatusCode::NOT_FOUND,
            format!("no file is named '{name}'\n"),
        )
            .into_response();
    };
    offers.observe(peer, Fetched::File);
    files::stream(path).await
}

/// The machine of the path if the request comes from its reserved address; else the refusal.
fn asking(offers: &Offers, peer: SocketAddr, mac: &str) -> Result<Mac, Box<Response>> {
    let refuse = |status: StatusCode, text: String| Err(Box::new((status, text).into_response()));
    let mac: Mac = match mac.parse() {
        Ok(mac) => mac,
        Err(error) => return refuse(StatusCode::NOT_FOUND, format!("{error}\n")),
    };
    match offers.machine(peer) {
        Some(owner) if owner == mac => Ok(mac),
        _ => {
            tracing::warn!(%peer, %mac, "refused: the address is not this machine's");
            refuse(
                StatusCode::FORBIDDEN,
                format!("{} is not the address of {mac}\n", peer.ip()),
            )
        }
    }
}

async fn script(
    State(offers): Shared,
    ConnectInfo(peer): Peer,
    Path(mac): Path<String>,
) -> Response {
    let mac = match asking(&offers, peer, &mac) {
        Ok(mac) => mac,
        Err(refusal) => return *refusal,
    };
    offers.boot.observe(Observed::Http {
        mac,
        what: Fetched::Script,
    });
    let choice = offers.boot.choose(mac).await;
    match offers.scripts.render(&offers.dhcp, mac, &choice) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%mac, %error, "boot script");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn token(
    State(offers): Shared,
    ConnectInfo(peer): Peer,
    Path(mac): Path<String>,
) -> Response {
    let mac = match asking(&offers, peer, &mac) {
        Ok(mac) => mac,
        Err(refusal) => return *refusal,
    };
    let Some(token) = offers.boot.take_token(mac).await else {
        tracing::warn!(%mac, "refused a token: none is due");
        return (StatusCode::FORBIDDEN, "no token is due to this machine\n").into_response();
    };
    offers.boot.observe(Observed::Http {
        mac,
        what: Fetched::Token,
    });
    match token::archive(&token) {
        Ok(archive) => (
            [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CACHE_CONTROL, "no-store"),
            ],
            archive,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%mac, %error, "token archive");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
