//! TCP from loopback ports of this host to addresses inside of the lab's namespace. The listening socket belongs
//! to the host; connections to the lab are made by a thread that has entered the namespace.
use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    thread,
};

use nix::sched::{CloneFlags, setns};
use tokio::{net, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{At, LabError},
    names,
};

/// Connections at a time on one forwarded port.
const CONNECTIONS_MAX: usize = 256;

/// A port of this host and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Forward {
    /// Loopback; port 0 takes a free one.
    pub from: SocketAddr,
    pub to: SocketAddr,
}

/// Opens the ports of `forwards` and serves them until `stop`. Returns what they became.
///
/// # Errors
/// When a port is in use (then none is served), or the namespace cannot be entered.
pub fn forward(
    env: &str,
    forwards: &[Forward],
    stop: &CancellationToken,
) -> Result<Vec<Forward>, LabError> {
    let mut listeners = Vec::new();
    for forward in forwards {
        let shown = forward.from.to_string();
        let listener = TcpListener::bind(forward.from).at("listen on", Path::new(&shown))?;
        listener
            .set_nonblocking(true)
            .at("listen on", Path::new(&shown))?;
        let from = listener.local_addr().at("listen on", Path::new(&shown))?;
        listeners.push((listener, Forward { from, ..*forward }));
    }
    let opened = listeners.iter().map(|(_, forward)| *forward).collect();
    let path = Path::new("/run/netns").join(names::namespace(env));
    let namespace = File::open(&path).at("open", &path)?;
    let (stop, entered) = (stop.clone(), path.clone());
    let (report, reported) = std::sync::mpsc::channel();
    let work = move || {
        // A thread of its own, as entering a namespace changes the whole thread for good.
        let runtime = setns(namespace, CloneFlags::CLONE_NEWNET)
            .map_err(io::Error::from)
            .and_then(|()| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
            });
        match runtime {
            Err(error) => report.send(Err(error)),
            Ok(runtime) => {
                let sent = report.send(Ok(()));
                runtime.block_on(serve(listeners, stop));
                sent
            }
        }
    };
    thread::Builder::new()
        .name("lab-forward".into())
        .spawn(work)
        .at("start a thread for", &path)?;
    match reported.recv() {
        Ok(result) => result.at("enter", &entered)?,
        Err(_) => Err(io::Error::other("the thread ended")).at("enter", &entered)?,
    }
    Ok(opened)
}

async fn serve(listeners: Vec<(TcpListener, Forward)>, stop: CancellationToken) {
    let mut tasks = tokio::task::JoinSet::new();
    for (listener, forward) in listeners {
        tasks.spawn(accept(listener, forward.to));
    }
    stop.cancelled().await;
    tasks.abort_all();
}

async fn accept(listener: TcpListener, to: SocketAddr) {
    let listener = match net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!(%to, %error, "a forwarded port is not served"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((mut near, _)) => {
                tokio::spawn(async move {
                    let _place = place;
                    match net::TcpStream::connect(to).await {
                        // Either side may go away at any time; that is the end of the connection, no fault.
                        Ok(mut far) => {
                            drop(tokio::io::copy_bidirectional(&mut near, &mut far).await)
                        }
                        Err(error) => {
                            tracing::info!(%to, %error, "nobody answers a forwarded connection")
                        }
                    }
                });
            }
            // Too many open files: wait for some to be closed.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}
