//! The listener: connections, their limits, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::api;
use crate::context::{Context, Ports};
use crate::write_deadline::WriteDeadline;

/// The wait after a failed accept: the usual reason, no free file descriptor, does not pass at once.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// What bounds the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; further ones wait in the system's queue. 256.
    pub connections: usize,
    /// How long a client may take to send a request's head, or stay idle between two. 15 s.
    pub header_timeout: Duration,
    /// The longest that a request may take from its head to its answer. 30 s.
    pub request_timeout: Duration,
    /// The longest that a client may take nothing of its answer. 30 s.
    pub write_timeout: Duration,
    /// The largest head of a request that is surely taken, in bytes; twice that is surely refused, with
    /// 431. 64 KiB.
    pub header_bytes: usize,
    /// The largest body of a request, in bytes. 1 MiB.
    pub body_bytes: usize,
    /// Requests that read events at once, until their answers are taken. 4.
    pub looking_back: usize,
    /// How long requests under way may take once the listener is told to end. 5 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            header_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            header_bytes: 64 << 10,
            body_bytes: 1 << 20,
            looking_back: 4,
            drain: Duration::from_secs(5),
        }
    }
}

/// Why the listener did not start to serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The rules were made for loopback, and the listener is not on it.
    #[error(
        "the admin listener is bound to {0}, which other machines can reach, and has no token: set server.admin_token"
    )]
    Open(SocketAddr),
    /// The listener does not know its address.
    #[error("cannot tell the address of the admin listener: {0}")]
    Address(#[from] std::io::Error),
}

/// The admin listener.
#[derive(Debug)]
pub struct AdminServer;

impl AdminServer {
    /// The whole listener as one service, without sockets: what [`AdminServer::serve`] puts behind each
    /// connection.
    pub fn router(access: Access, ports: Ports, limits: Limits) -> Router {
        api::router(Context::new(ports, limits), access)
    }

    /// Serves until `shutdown` is cancelled, and then ends within [`Limits::drain`]: no new connection,
    /// requests under way are answered, what is left is cut. The caller bound `listener` early, so that
    /// a port in use is known before any work is done.
    ///
    /// Dropping the future cuts every connection.
    ///
    /// # Errors
    /// [`ServeError`], before anything is served.
    pub async fn serve(
        listener: TcpListener,
        access: Access,
        ports: Ports,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        Self::serve_within(Limits::default(), listener, access, ports, shutdown).await
    }

    /// [`AdminServer::serve`] with other limits.
    ///
    /// # Errors
    /// [`ServeError`], before anything is served.
    pub async fn serve_within(
        limits: Limits,
        listener: TcpListener,
        access: Access,
        ports: Ports,
        shutdown: CancellationToken,
    ) -> Result<(), ServeError> {
        let address = listener.local_addr()?;
        if !access.suits(address) {
            return Err(ServeError::Open(address));
        }
        let serving = Serving {
            router: Self::router(access, ports, limits),
            limits,
            graceful: GracefulShutdown::new(),
            connections: JoinSet::new(),
        };
        serving.run(listener, shutdown).await;
        Ok(())
    }
}

struct Serving {
    router: Router,
    limits: Limits,
    graceful: GracefulShutdown,
    connections: JoinSet<()>,
}

impl Serving {
    async fn run(mut self, listener: TcpListener, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        while let Some((stream, place)) = shutdown
            .run_until_cancelled(next_connection(&listener, &places))
            .await
        {
            self.serve_connection(stream, place);
            // Reap those that have ended.
            while self.connections.try_join_next().is_some() {}
        }
        drop(listener);
        let Self {
            graceful,
            mut connections,
            limits,
            ..
        } = self;
        if tokio::time::timeout(limits.drain, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("admin requests were still under way at the deadline and were cut");
        }
        connections.shutdown().await;
    }

    fn serve_connection(&mut self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(self.limits.header_bytes)
            .serve_connection(
                TokioIo::new(WriteDeadline::new(stream, self.limits.write_timeout)),
                service,
            );
        let connection = self.graceful.watch(connection);
        self.connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection broke");
            }
            drop(place);
        });
    }
}

/// The next connection, once there is a place for it.
async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else {
            // Nobody closes the semaphore.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return (stream, place);
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept a connection");
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
            }
        }
    }
}
