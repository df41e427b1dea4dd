//! What comes before HTTP on a connection: a proxy's word on who it is, and the handshake of TLS.
//!
//! Both together have the time of one head, on a connection that counts as one already.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::proxies::Proxies;
use super::proxy_protocol;
use super::tls::{Challenges, Tls};
use super::transport::{Counted, Transport};
use crate::budget::{Budget, Holder, Share};
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
    /// The client's, where a proxy says it.
    pub address: SocketAddr,
    pub client: Option<ClientCertificate>,
}

/// Why HTTP does not begin.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("it went away")]
    Gone,
    #[error("a proxy that is believed did not begin with a PROXY header")]
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

impl Front {
    /// Whether HTTP begins at once on a connection from this address.
    pub(super) fn is_open(&self, address: SocketAddr) -> bool {
        self.tls.is_none() && !self.announces(address)
    }

    /// Whether a connection from this address begins with a proxy's word.
    fn announces(&self, address: SocketAddr) -> bool {
        self.proxies.protocol && self.proxies.trusts(address.ip())
    }

    /// Sees a connection through all that is before HTTP. `None`: it did not come so far, which has been counted.
    pub(super) async fn arrive(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        within: Duration,
        share: Share<Arc<Budget>, Arc<Holder>>,
        refusals: &AtTheConnection,
    ) -> Option<Arrived> {
        let arriving = self.all_before_http(stream, address, share);
        let Ok(arrived) = tokio::time::timeout(within, arriving).await else {
            refusals.head_too_slow.inc();
            return None;
        };
        match &arrived {
            Ok(_) | Err(Failed::Gone | Failed::Authority) => 0,
            Err(Failed::NoProxyHeader) => refusals.no_proxy_header.inc(),
            Err(Failed::PlainHttp) => refusals.plain_http.inc(),
            Err(Failed::Handshake(_)) => refusals.no_handshake.inc(),
            Err(Failed::Busy) => refusals.busy.inc(),
        };
        if let Err(error) = &arrived {
            tracing::debug!(%address, %error, "a connection was closed before HTTP");
        }
        arrived.ok()
    }

    async fn all_before_http(
        &self,
        mut stream: TcpStream,
        mut address: SocketAddr,
        share: Share<Arc<Budget>, Arc<Holder>>,
    ) -> Result<Arrived, Failed> {
        if self.announces(address) {
            let named = proxy_protocol::read(&mut stream).await;
            address = named.map_err(|error| no_header(&error))?.unwrap_or(address);
        }
        let Some(tls) = &self.tls else {
            return Ok(Arrived {
                transport: Transport::Plain(stream),
                address,
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
            address,
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
