//! How a connection is made: the one seam between this crate and the network.

use std::io;

use async_trait::async_trait;
use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};

/// Host and port, and whether TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// A name, or an address (with brackets if it is IPv6).
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl Place {
    /// Where an `http`, `https`, `ws` or `wss` URI leads; `None` for any other, and for one without a host.
    #[must_use]
    pub fn of(uri: &Uri) -> Option<Self> {
        let (tls, port) = match uri.scheme_str()? {
            "https" | "wss" => (true, 443),
            "http" | "ws" => (false, 80),
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?;
        Some(Self {
            host: host.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(port),
            tls,
        })
    }

    /// As it stands in a `Host` header: the port only where it is not the usual one.
    #[must_use]
    pub fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// What a connection is read and written by.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Stream for T {}

/// Opens connections. [`crate::Network`] does it in earnest; a simulation has its own.
#[async_trait]
pub trait Dial: Send + Sync + std::fmt::Debug + 'static {
    /// Connects, TLS included, within the limits of its own. Dropping the call abandons it.
    ///
    /// # Errors
    /// Why not, naming the place and no secret.
    async fn dial(&self, place: &Place) -> io::Result<Box<dyn Stream>>;
}
