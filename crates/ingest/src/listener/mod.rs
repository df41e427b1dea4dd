//! The HTTP listener: accepts connections, HTTP/1.1 or HTTP/2, and gives requests to a [`Handler`].
//!
//! Owns the limits that hold before a request exists: connections in all and of an address, time for a head, size of a head,
//! streams, resets, the memory of what is half read. Knows nothing of sources. Stops in two steps: no new
//! connections, then a bounded wait for what is in flight.

mod addresses;
mod arrival;
mod chunks;
mod guarded;
mod lines;
mod proxies;
mod proxy_protocol;
mod tls;
mod transport;
mod wire;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Request, Version};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::Answer;
use crate::budget::{Budget, Share};
use crate::deadline::Patience;
use crate::limits::Limits;
use crate::metrics::{AtTheConnection, Metrics};
use crate::verify::ClientCertificate;
use addresses::{Addresses, Entered};
pub use arrival::Front;
use arrival::{Arrived, Named};
use guarded::{Activity, Guarded};
pub use proxies::{ForwardedHeader, Proxies};
#[cfg(fuzzing)]
pub(crate) use proxy_protocol::{Parsed, parse as parse_proxy_header};
pub use tls::{AcmeChallenge, AcmeOptions, ClientAuth, Tls, TlsOptions, TlsVersion};
use transport::Transport;

/// Said to a connection that is one too many.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
content-length: 157\r\nretry-after: 2\r\nconnection: close\r\n\r\n\
{\"code\":\"too-many-connections\",\"detail\":\"there are as many connections as may be; try again\",\"status\":503,\"title\":\"Service Unavailable\",\"type\":\"about:blank\"}";

/// Said to a connection that is one too many of its address.
const TOO_MANY_OF_ADDRESS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
content-length: 170\r\nretry-after: 2\r\nconnection: close\r\n\r\n\
{\"code\":\"too-many-from-address\",\"detail\":\"your address has as many connections as it may have; try again\",\"status\":503,\"title\":\"Service Unavailable\",\"type\":\"about:blank\"}";

/// How long accepting rests when the process has no file descriptors left.
const REST: Duration = Duration::from_millis(100);

/// How much of a request's body, per HTTP/2 connection, may be on its way to us.
const H2_WINDOW: u32 = 1 << 20;

/// Streams that a client of HTTP/2 resets before they were taken notice of, and those that had to be reset for
/// what it did: more of either in one connection end it (CVE-2023-44487 and its kin).
const H2_RESETS: usize = 20;
const H2_FAULTS: usize = 256;

/// HTTP/2 counts so much for each header besides its text (RFC 9113, 6.5.2). With as many headers as
/// hyper takes in HTTP/1, both protocols have the same limit.
const H2_FIELD: usize = 32;
const H2_FIELDS: usize = 100;

/// Who sent a request.
#[derive(Debug)]
pub struct Peer {
    /// The other end of the connection; behind a proxy that says it, the client's.
    pub address: SocketAddr,
    /// Its IP address as text, written once a connection.
    pub ip: String,
    /// The certificate that it showed, if it did; it has been verified.
    pub client: Option<ClientCertificate>,
    /// Those who know better than the address, if it is one of theirs.
    forwards: Option<Arc<Proxies>>,
    /// For waiting on behalf of its requests.
    pub patience: Patience,
}

impl Peer {
    /// The address that a request came from, as far as proxies that are believed say so.
    #[must_use]
    pub fn origin(&self, headers: &HeaderMap) -> IpAddr {
        let address = self.address.ip().to_canonical();
        let origin = |proxies: &Arc<Proxies>| proxies.origin(address, headers);
        self.forwards.as_ref().map_or(address, origin)
    }

    /// The same as text.
    #[must_use]
    pub fn origin_text(&self, headers: &HeaderMap) -> String {
        match self.forwards {
            None => self.ip.clone(),
            Some(_) => self.origin(headers).to_string(),
        }
    }
}

/// What the requests of one connection share. A request holds on to this one count and to none that
/// other connections hold as well: with many cores those are where they meet.
#[derive(Debug)]
pub struct Connection<H> {
    /// Answers them.
    pub handler: Arc<H>,
    /// Who sent them.
    pub peer: Peer,
}

/// Answers requests.
pub trait Handler: Sized + Send + Sync + 'static {
    /// Answers one request. Dropping the future gives the request up: the client has gone.
    fn handle(
        connection: Arc<Connection<Self>>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Answer> + Send + 'static;
}

/// A running listener.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    accepting: CancellationToken,
    serving: CancellationToken,
    stopped: Arc<AtomicBool>,
    tasks: TaskTracker,
}

impl Listener {
    /// Serves a bound socket until [`Listener::stop`], what `front` says before HTTP. Must be called within a tokio runtime. What is refused
    /// before the handler hears of it is counted in `metrics`.
    ///
    /// # Errors
    /// When the socket does not know its address: it is not bound.
    pub fn start<H: Handler>(
        socket: TcpListener,
        limits: &Limits,
        front: Front,
        metrics: &Metrics,
        handler: Arc<H>,
    ) -> std::io::Result<Self> {
        let listener = Self {
            address: socket.local_addr()?,
            accepting: CancellationToken::new(),
            serving: CancellationToken::new(),
            stopped: Arc::default(),
            tasks: TaskTracker::new(),
        };
        let server = Arc::new(Server {
            front,
            protocol: protocol(limits),
            connections: Arc::new(Semaphore::new(limits.connections)),
            addresses: Arc::new(Addresses::new(limits.connections_per_address)),
            head_timeout: limits.header_timeout,
            budget: Arc::new(Budget::divided(limits.for_half_read())),
            refusals: Arc::new(metrics.at_the_connection()),
            serving: listener.serving.clone(),
            stopped: Arc::clone(&listener.stopped),
            tasks: listener.tasks.clone(),
            handler,
        });
        let accepting = listener.accepting.clone();
        if let Some(tls) = &server.front.tls {
            let watching = accepting
                .clone()
                .run_until_cancelled_owned(Arc::clone(tls).watch());
            listener.tasks.spawn(watching);
        }
        listener.tasks.spawn(async move {
            let accepted = accepting.run_until_cancelled(server.accept(&socket)).await;
            debug_assert!(accepted.is_none(), "accepting ends by being told to");
        });
        Ok(listener)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, lets what is in flight be answered, and closes what is idle. Returns whether all
    /// of it ended before the deadline; the rest is cut off when the runtime ends.
    pub async fn stop(self, deadline: Duration) -> bool {
        self.accepting.cancel();
        self.stopped.store(true, Ordering::Relaxed);
        self.serving.cancel();
        self.tasks.close();
        tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_ok()
    }
}

fn protocol(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let list_size = limits.header_bytes + H2_FIELDS * H2_FIELD;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Time is `Guarded`'s business, in both protocols the same way.
        .header_read_timeout(None)
        // Twice the limit, so that most of what is over it gets a proper answer from the handler.
        .max_buf_size(limits.header_bytes * 2)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(H2_RESETS)
        .max_local_error_reset_streams(H2_FAULTS)
        .max_header_list_size(u32::try_from(list_size).unwrap_or(u32::MAX))
        .initial_connection_window_size(H2_WINDOW)
        .initial_stream_window_size(H2_WINDOW / 4);
    builder
}

struct Server<H> {
    front: Front,
    protocol: auto::Builder<TokioExecutor>,
    connections: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    head_timeout: Duration,
    budget: Arc<Budget>,
    refusals: Arc<AtTheConnection>,
    serving: CancellationToken,
    /// Set ahead of `serving`.
    stopped: Arc<AtomicBool>,
    tasks: TaskTracker,
    handler: Arc<H>,
}

impl<H: Handler> Server<H> {
    async fn accept(self: &Arc<Self>, socket: &TcpListener) {
        loop {
            match socket.accept().await {
                Ok((stream, address)) => self.connection(stream, address),
                Err(error) => {
                    // A connection that was reset before we took it costs nothing; anything else is a
                    // shortage that passes.
                    if error.kind() != std::io::ErrorKind::ConnectionAborted {
                        tracing::warn!(%error, "cannot accept a connection; trying again");
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        }
    }

    fn connection(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            // Best effort: the client hears more than a closed connection, or just that.
            if self.front.tls.is_none() {
                drop(stream.try_write(TOO_MANY));
            }
            self.refusals.too_many.inc();
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it began");
            return;
        }
        let entered = if self.front.announces(address) {
            // Whose it is will be said.
            None
        } else {
            let Some(entered) = self.enter(address) else {
                self.too_many_of_address(&stream);
                return;
            };
            Some(entered)
        };
        let entered = match entered {
            Some(entered) if self.front.tls.is_none() => {
                let arrived = Arrived {
                    transport: Transport::Plain(stream),
                    named: self.front.named(address),
                    client: None,
                };
                self.serve(arrived, entered, permit);
                return;
            }
            entered => entered,
        };
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            let arriving = server.arrive(stream, address, entered);
            // One that has said nothing yet is not waited for at the end.
            let arrived = server.serving.run_until_cancelled(arriving).await;
            if let Some((arrived, entered)) = arrived.flatten() {
                server.serve(arrived, entered, permit);
            }
        });
    }

    /// A proxy's connections are its clients', and it may have as many as there are.
    fn enter(&self, address: SocketAddr) -> Option<Entered> {
        match self.front.proxies.trusts(address.ip()) {
            true => self.addresses.enter_uncounted(address.ip()),
            false => self.addresses.enter(address.ip()),
        }
    }

    fn too_many_of_address(&self, stream: &TcpStream) {
        if self.front.tls.is_none() {
            drop(stream.try_write(TOO_MANY_OF_ADDRESS));
        }
        self.refusals.too_many_of_address.inc();
    }

    /// All that is before HTTP, in the time of one head. `None`: it did not come so far, which has been counted.
    async fn arrive(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        entered: Option<Entered>,
    ) -> Option<(Arrived, Entered)> {
        let arriving = async {
            let named = self.front.announced(&mut stream, address).await?;
            let Some(entered) = entered.or_else(|| self.enter(named.address)) else {
                self.too_many_of_address(&stream);
                return Ok(None);
            };
            let share = Share::of(Arc::clone(&self.budget), entered.holder());
            let arrived = self.front.arrive(stream, named, share).await?;
            Ok(Some((arrived, entered)))
        };
        let arrived = tokio::time::timeout(self.head_timeout, arriving).await;
        let arrived = arrived.unwrap_or(Err(arrival::Failed::TooSlow));
        arrived
            .map_err(|failed| failed.count(address, &self.refusals))
            .ok()
            .flatten()
    }

    /// Begins HTTP.
    fn serve(&self, arrived: Arrived, entered: Entered, permit: OwnedSemaphorePermit) {
        let Named { address, forwards } = arrived.named;
        let client = arrived.client;
        let activity = Arc::new(Activity::default());
        let io = TokioIo::new(Guarded::new(
            arrived.transport,
            Arc::clone(&activity),
            self.head_timeout,
            Arc::clone(&self.stopped),
            Share::of(Arc::clone(&self.budget), entered.holder()),
            Arc::clone(&self.refusals),
        ));
        let connection = Arc::new(Connection {
            handler: Arc::clone(&self.handler),
            peer: Peer {
                address,
                ip: address.ip().to_canonical().to_string(),
                client,
                forwards: forwards.then(|| Arc::clone(&self.front.proxies)),
                patience: Patience::default(),
            },
        });
        let protocol = self.protocol.clone();
        let (serving, stopped) = (self.serving.clone(), Arc::clone(&self.stopped));
        let refusals = Arc::clone(&self.refusals);
        self.tasks.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let length = request.body().size_hint().exact();
                let under_way = activity.begin(length);
                // Where its body ends can be told only by reading it.
                let endless = length.is_none() && request.version() < Version::HTTP_2;
                H::handle(Arc::clone(&connection), request).map(move |mut answer| {
                    under_way.answered(&answer);
                    if endless && !answer.status().is_success() {
                        let close = HeaderValue::from_static("close");
                        answer.headers_mut().insert(CONNECTION, close);
                    }
                    Ok::<_, Infallible>(answer)
                })
            });
            let connection = protocol.serve_connection(io, service);
            let stopping = serving.cancelled();
            tokio::pin!(connection, stopping);
            // Told once to end after what is in flight. The token is asked once, which registers this
            // task to be woken, and then not before its flag is up: asking it takes a lock.
            let (mut registered, mut told) = (false, false);
            let ended = poll_fn(|context| {
                if !told && (!registered || stopped.load(Ordering::Relaxed)) {
                    registered = true;
                    if stopping.as_mut().poll(context).is_ready() {
                        told = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
                connection.as_mut().poll(context)
            })
            .await;
            if let Err(error) = ended {
                // The client's doing: reset, malformed, gone. Its own end told it more.
                match error.downcast_ref::<hyper::Error>() {
                    Some(error) if error.is_parse_too_large() => refusals.head_too_large.inc(),
                    Some(error) if error.is_parse() => refusals.unreadable.inc(),
                    _ => 0,
                };
                tracing::trace!(%error, "a connection ended early");
            }
            drop((entered, permit));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raw_answers_say_their_own_length() {
        for raw in [TOO_MANY, TOO_MANY_OF_ADDRESS] {
            let text = std::str::from_utf8(raw).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length = format!("content-length: {}\r\n", body.len());
            assert!(head.contains(&length), "{length}");
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["status"], 503);
        }
    }
}
