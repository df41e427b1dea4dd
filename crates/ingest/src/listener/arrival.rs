//! What comes before HTTP on a connection: a proxy's word on who it is, and the handshake of TLS.
//!
//! Both together have the time of one head, on a connection that counts as one already.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::proxies::Proxies;
use super::proxy_protocol;
use super::tls::{Challenges, Tls};
use super::transport::{Counted, Transport};
use crate::budget::ConnectionShare;
use crate::metrics::AtTheConnection;
use crate::verify::ClientCertificate;

/// Said to a client that speaks HTTP where TLS is spoken.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n\
content-length: 125\r\nconnection: close\r\n\r\n\
{\"code\":\"https-expected\",\"detail\":\"this port speaks https: use that\",\"status\":400,\"title\":\"Bad Request\",\"type\":\"about:blank\"}";

/// What stands before HTTP on every connection. Nothing does until something is said.
#[derive(Debug, Clone, Default)]
pub struct Front {
    /// TLS, if it is spoken.
    pub tls: Option<Arc<Tls>>,
    /// The proxies that are believed.
    pub proxies: Arc<Proxies>,
}

/// A connection on which HTTP may begin.
#[derive(Debug)]
pub(super) struct Arrived {
    pub transport: Transport,
    pub named: Named,
    pub client: Option<ClientCertificate>,
}

/// Whose a connection is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    /// The client's, where a proxy says it.
    pub address: SocketAddr,
    /// Whether its requests may say who sent them.
    pub forwards: bool,
}

/// Why HTTP does not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("it went away")]
    Gone,
    #[error("it took too long")]
    TooSlow,
    #[error("a proxy that is believed began without a PROXY header, or with a malformed one")]
    NoProxyHeader,
    #[error("it does not speak TLS but HTTP")]
    PlainHttp,
    #[error("the handshake failed: {0}")]
    Handshake(io::Error),
    #[error("too much is half read")]
    Busy,
    #[error("it was an authority, and has its answer")]
    Authority,
}

impl Failed {
    /// Counts what is anybody's fault.
    pub(super) fn count(self, address: SocketAddr, refusals: &AtTheConnection) {
        match self {
            Self::Gone | Self::Authority => 0,
            Self::TooSlow => refusals.head_too_slow.inc(),
            Self::NoProxyHeader => refusals.no_proxy_header.inc(),
            Self::PlainHttp => refusals.plain_http.inc(),
            Self::Handshake(_) => refusals.no_handshake.inc(),
            Self::Busy => refusals.busy.inc(),
        };
        tracing::debug!(%address, error = %self, "a connection was closed before HTTP");
    }
}

impl Front {
    /// Whether a connection from this address begins with a proxy's word.
    pub(super) fn announces(&self, address: SocketAddr) -> bool {
        self.proxies.protocol && self.proxies.trusts(address.ip())
    }

    /// Whose a connection from this address is, if no proxy says another.
    pub(super) fn named(&self, address: SocketAddr) -> Named {
        Named {
            address,
            forwards: self.proxies.forwards(address.ip()),
        }
    }

    /// Whose a connection is, as a proxy says it if it is one's. Where a proxy that forwards connections does not say
    /// whose one is, it may be anybody's, and so may be what its requests say.
    ///
    /// # Errors
    /// [`Failed`].
    pub(super) async fn announced(
        &self,
        stream: &mut TcpStream,
        address: SocketAddr,
    ) -> Result<Named, Failed> {
        if !self.announces(address) {
            return Ok(self.named(address));
        }
        let client = proxy_protocol::read(stream).await;
        Ok(match client.map_err(|error| no_header(&error))? {
            Some(client) => self.named(client),
            None => Named {
                address,
                forwards: false,
            },
        })
    }

    /// Sees a connection through the rest of what is before HTTP: the handshake, if TLS is spoken.
    ///
    /// # Errors
    /// [`Failed`].
    pub(super) async fn arrive(
        &self,
        mut stream: TcpStream,
        named: Named,
        share: ConnectionShare,
    ) -> Result<Arrived, Failed> {
        let Some(tls) = &self.tls else {
            return Ok(Arrived {
                transport: Transport::Plain(stream),
                named,
                client: None,
            });
        };
        refuse_plain_http(&mut stream).await?;
        let mut stream = handshake(tls, Counted::new(stream, share)).await?;
        let (counted, session) = stream.get_mut();
        counted.made_something();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let client = shown.map(ClientCertificate::of);
        Ok(Arrived {
            transport: Transport::Tls(Box::new(stream)),
            named,
            client,
        })
    }
}

/// The handshake of a client; of an authority that looks whether we are who we say, the answer.
async fn handshake(tls: &Tls, stream: Counted) -> Result<TlsStream<Counted>, Failed> {
    let none = || io::Error::other("there is no certificate yet");
    let Some(challenges) = tls.challenges() else {
        let current = tls.current().ok_or_else(none)?;
        return Ok(TlsAcceptor::from(current).accept(stream).await?);
    };
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    if Challenges::is_one(&hello.client_hello()) {
        let mut answered = hello.into_stream(challenges.config()).await?;
        drop(answered.shutdown().await);
        return Err(Failed::Authority);
    }
    Ok(hello.into_stream(tls.current().ok_or_else(none)?).await?)
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::QuotaExceeded => Self::Busy,
            _ => Self::Handshake(error),
        }
    }
}

fn no_header(error: &io::Error) -> Failed {
    match error.kind() {
        io::ErrorKind::InvalidData => Failed::NoProxyHeader,
        _ => Failed::Gone,
    }
}

/// Tells a client that speaks HTTP what is spoken here. A handshake of TLS begins with no letter, and a method with one.
async fn refuse_plain_http(stream: &mut TcpStream) -> Result<(), Failed> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first[0].is_ascii_alphabetic() => {}
        Ok(1) => return Ok(()),
        Ok(_) | Err(_) => return Err(Failed::Gone),
    }
    // What is unread when the socket is closed would take the answer with it. Best effort.
    let mut scratch = [0; 4 << 10];
    while matches!(stream.try_read(&mut scratch), Ok(read) if read == scratch.len()) {}
    drop(stream.try_write(PLAIN));
    Err(Failed::PlainHttp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raw_answer_says_its_own_length() {
        let text = std::str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}\r\n", body.len());
        assert!(head.contains(&length), "{length}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 400);
    }
}
