//! Connections over the real network: TCP, through a proxy if there is one, TLS by the system's certificates.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;
use http::Uri;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::dial::{Dial, Place, Stream};

/// Name, connection, proxy and TLS together.
const LIMIT: Duration = Duration::from_secs(10);

/// The most that a proxy may say before it lets us through.
const PROXY_HEAD: usize = 8 << 10;

/// A proxy that is asked to `CONNECT`.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    place: Place,
    /// `Basic …`.
    authorization: Option<Secret>,
}

impl Proxy {
    /// Of `http://[user:password@]host[:port]`.
    ///
    /// # Errors
    /// What would be right; never what stands there.
    pub(crate) fn parse(url: &Secret) -> Result<Self, String> {
        let wrong = "must be http://host:port, with user:password@ before the host if the proxy asks for it";
        let uri: Uri = url.expose().parse().map_err(|_| wrong.to_owned())?;
        let place = Place::of(&uri).filter(|place| !place.tls);
        let authority = uri.authority().map(http::uri::Authority::as_str);
        let user = authority.and_then(|authority| authority.rsplit_once('@'));
        Ok(Self {
            place: place.ok_or_else(|| wrong.to_owned())?,
            authorization: user
                .map(|(user, _)| Secret::new(format!("Basic {}", STANDARD.encode(user)))),
        })
    }

    async fn through(&self, place: &Place) -> io::Result<TcpStream> {
        let name = self.place.authority();
        let mut stream = connect(&self.place)
            .await
            .map_err(|error| because(&error, &format!("the proxy {name}")))?;
        let to = format!("{}:{}", place.host, place.port);
        let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!(
                "Proxy-Authorization: {}\r\n",
                authorization.expose()
            ));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await?;
        let answer = answer(&mut stream).await?;
        match answer.split(' ').nth(1) {
            Some(code) if code.len() == 3 && code.starts_with('2') => Ok(stream),
            Some("407") => Err(io::Error::other(format!(
                "the proxy {name} wants a user and a password: put them into the proxy's URL"
            ))),
            Some(code) => Err(io::Error::other(format!(
                "the proxy {name} answered {} to CONNECT {to}",
                code.chars()
                    .filter(char::is_ascii_digit)
                    .take(3)
                    .collect::<String>()
            ))),
            None => Err(io::Error::other(format!("{name} is no HTTP proxy"))),
        }
    }
}

/// The status line of the proxy's answer; the head is read to its end and not beyond.
async fn answer(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD {
            return Err(io::Error::other("the proxy's answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

/// The real network.
#[derive(Debug, Clone)]
pub struct Network {
    proxy: Option<Proxy>,
    tls: Arc<ClientConfig>,
}

impl Network {
    /// With the system's certificates. Blocks on files; connects to nothing.
    ///
    /// # Errors
    /// TLS cannot be set up, or the proxy's URL is none.
    pub fn new(proxy: Option<&Secret>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            proxy: proxy.map(Proxy::parse).transpose()?,
            tls: Arc::new(tls),
        })
    }

    async fn connection(&self, place: &Place) -> io::Result<Box<dyn Stream>> {
        let stream = match &self.proxy {
            Some(proxy) => proxy.through(place).await?,
            None => connect(place).await?,
        };
        if !place.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(place.host.clone())
            .map_err(|_| io::Error::other(format!("{} is no name of a server", place.host)))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await;
        let stream =
            stream.map_err(|error| because(&error, &format!("TLS with {}", place.host)))?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Dial for Network {
    async fn dial(&self, place: &Place) -> io::Result<Box<dyn Stream>> {
        let late = || {
            let what = format!(
                "no connection to {} within {} s",
                place.host,
                LIMIT.as_secs()
            );
            io::Error::new(io::ErrorKind::TimedOut, what)
        };
        let connected = tokio::time::timeout(LIMIT, self.connection(place)).await;
        connected.unwrap_or_else(|_| Err(late()))
    }
}

async fn connect(place: &Place) -> io::Result<TcpStream> {
    let host = place.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, place.port)).await;
    let stream = stream.map_err(|error| because(&error, &place.authority()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The error with what it happened to. A name that is not resolved, a refused connection: the system's own words.
fn because(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_s_url_is_never_shown() {
        let right = Proxy::parse(&Secret::new("http://me:hunter2@proxy:3128".into())).unwrap();
        assert_eq!(right.place.authority(), "proxy:3128");
        let expected = STANDARD.encode("me:hunter2");
        assert_eq!(
            right.authorization.as_ref().unwrap().expose(),
            format!("Basic {expected}")
        );
        assert!(!format!("{right:?}").contains(&expected));
        for wrong in ["https://me:hunter2@proxy", "proxy:3128:hunter2", "hunter2"] {
            let told = Proxy::parse(&Secret::new(wrong.into())).unwrap_err();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
