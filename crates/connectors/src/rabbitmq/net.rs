//! The socket under the client library, opened here and not there.
//!
//! Left to itself the library resolves, connects and shakes hands in a thread of its own that nothing can end. What is
//! opened here ends with its caller, TLS is the project's own, and a handle stays to close it by: a library that waits
//! for a broker that hangs is woken by the end of its connection.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use futures_util::Stream;
use futures_util::io::{AsyncRead, AsyncWrite};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use tokio_util::either::Either;

use crate::broker_url::BrokerUrl;

/// A connection, with TLS or without, as the library reads and writes it.
pub(super) type Socket = Compat<Either<TcpStream, TlsStream<TcpStream>>>;

/// What the library runs on: tokio, with sockets of this module.
pub(super) type Kit = RuntimeParts<Tokio, Opened>;

/// A socket, and the handle to close it by.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) socket: Socket,
    pub(super) closer: Closer,
}

/// Ends a connection when dropped, whoever reads from it or writes to it.
#[derive(Debug)]
pub(super) struct Closer(std::net::TcpStream);

impl Drop for Closer {
    fn drop(&mut self) {
        // Closed already is closed as well.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Connects, and shakes hands if there is a set-up for TLS.
///
/// # Errors
/// What the system or TLS said.
pub(super) async fn open(url: &BrokerUrl, tls: Option<Arc<ClientConfig>>) -> io::Result<Line> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    stream.set_nodelay(true)?;
    let closer = Closer(stream.as_fd().try_clone_to_owned()?.into());
    let stream = match tls {
        None => Either::Left(stream),
        Some(config) => {
            let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
            Either::Right(TlsConnector::from(config).connect(name, stream).await?)
        }
    };
    Ok(Line {
        socket: stream.compat(),
        closer,
    })
}

/// Tokio's timers and sockets, but for connecting, which is done by then.
#[derive(Debug, Clone)]
pub(super) struct Opened(pub(super) Tokio);

impl Reactor for Opened {
    type TcpStream = Socket;
    type Sleep = tokio::time::Sleep;

    fn register<H: io::Read + io::Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        _: std::net::SocketAddr,
    ) -> impl Future<Output = io::Result<Socket>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
