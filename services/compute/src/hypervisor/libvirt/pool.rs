//! The connection to libvirtd, and the threads that its blocking calls run on: a few at once, each with a time limit,
//! and a new connection when the daemon was restarted. Knows nothing of guests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::ffi::{Connection, LibvirtError};
use crate::hypervisor::{HypervisorError, Step};

/// Calls at once. A call that hangs keeps its place, so that a dead daemon cannot eat all threads of the process.
const CALLS_AT_ONCE: usize = 8;

/// Runs calls on a connection.
#[derive(Clone)]
pub struct Pool {
    uri: Arc<str>,
    connection: Arc<Mutex<Option<Arc<Connection>>>>,
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Pool {
    /// A pool for `uri`; connects at the first call. `timeout` bounds each call.
    pub fn new(uri: &str, timeout: Duration) -> Self {
        Self {
            uri: uri.into(),
            connection: Arc::default(),
            places: Arc::new(Semaphore::new(CALLS_AT_ONCE)),
            timeout,
        }
    }

    /// Runs `work` with a live connection. A call that failed because the daemon went away is tried once more on a
    /// new connection, so `work` must be safe to repeat.
    pub async fn run<T, F>(&self, what: &'static str, work: F) -> Result<T, HypervisorError>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T, LibvirtError> + Send + 'static,
    {
        let busy = || {
            HypervisorError::transient(
                Step::Hypervisor,
                format!(
                    "libvirt did not answer within {} s: {what}",
                    self.timeout.as_secs()
                ),
            )
        };
        let place = tokio::time::timeout(self.timeout, self.places.clone().acquire_owned())
            .await
            .map_err(|_| busy())?;
        let place = place.map_err(|_| busy())?;
        let pool = self.clone();
        let call = tokio::task::spawn_blocking(move || {
            let _place = place;
            let first = pool.connect().and_then(|connection| work(&connection));
            match first {
                Err(error) if error.is_connection() => {
                    pool.forget();
                    pool.connect().and_then(|connection| work(&connection))
                }
                other => other,
            }
        });
        match tokio::time::timeout(self.timeout, call).await {
            Err(_) => Err(busy()),
            Ok(Err(_)) => Err(HypervisorError::transient(
                Step::Hypervisor,
                format!("{what} was cut off"),
            )),
            Ok(Ok(Err(error))) => Err(HypervisorError {
                step: Step::Hypervisor,
                transient: error.is_connection(),
                message: format!("{what}: {error}"),
            }),
            Ok(Ok(Ok(value))) => Ok(value),
        }
    }

    fn connect(&self) -> Result<Arc<Connection>, LibvirtError> {
        let mut slot = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = slot.as_ref()
            && connection.is_alive()
        {
            return Ok(connection.clone());
        }
        if slot.take().is_some() {
            tracing::warn!(uri = %self.uri, "the connection to libvirtd was lost, connecting again");
        }
        let connection = Arc::new(Connection::open(&self.uri)?);
        *slot = Some(connection.clone());
        Ok(connection)
    }

    fn forget(&self) {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}
