//! The HTTP listener: accepts, with limits on how many connections there are and how long a silent one lives.
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::error::BootError;

const BACKLOG: i32 = 1024;
/// A rack of machines fetching at once, with room to spare; more wait in the backlog.
const CONNECTIONS: usize = 1024;
/// From accepting, or the last answer, to the end of a request's headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// A peer that takes nothing for this long is gone: a machine that was switched off sends no goodbye.
const UNACKNOWLEDGED: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) fn bind(
    interface: &str,
    address: Ipv4Addr,
    port: u16,
) -> Result<TcpListener, BootError> {
    let address = SocketAddr::from((address, port));
    (|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    })()
    .map_err(|source: io::Error| BootError::Socket {
        what: "HTTP",
        interface: interface.to_owned(),
        address,
        source,
    })
}

/// Serves until stopped; then requests under way are finished by whoever waits for the tracker.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = async {
                let permit = room.clone().acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        let (permit, (stream, peer)) = match accepted {
            (Ok(permit), Ok(accepted)) => (permit, accepted),
            (_, Err(error)) => {
                // Out of file handles, mostly: it passes.
                tracing::warn!(%error, "HTTP accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            (Err(_), _) => return,
        };
        let routes = routes.clone();
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = connection(stream, peer, routes, stop).await {
                tracing::debug!(%peer, error, "HTTP connection ended");
            }
            drop(permit);
        });
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    routes: Router,
    stop: CancellationToken,
) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    SockRef::from(&stream)
        .set_tcp_user_timeout(Some(UNACKNOWLEDGED))
        .map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let service = routes.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = &mut serving => ended.map_err(|error| error.to_string()),
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await.map_err(|error| error.to_string())
        }
    }
}
