//! The pool of connections and the exchange of one request for one answer.
//!
//! What may change while Forebay runs (a URL or a signing secret in a file) is read again from time to time, before a
//! request and off the runtime.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ports::Delivery;
use domain::{Clock, Outcome, Secret, Unavailable};
use reqwest::{Method, Request, Response};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::guard::{self, LookUp, Resolver};
use super::options::{Config, Given};
use super::sign::Signer;
use super::{error, headers, tls};
use crate::{outbound, roots};

/// How old what a file said may be.
const FRESH: Duration = Duration::from_secs(5);

/// An idle connection is closed before most servers and balancers close it on their side.
const IDLE: Duration = Duration::from_secs(30);

/// What of an answer's body is read to have the connection back. With more to come, closing it is cheaper.
const DRAIN_BYTES: usize = 64 << 10;

/// A key of the section and what is wrong with it.
pub(super) type Wrong = (&'static str, String);

/// What a request needs that a file may say.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: Address,
    signer: Option<Signer>,
}

impl Target {
    /// Blocks on files.
    pub(super) fn read(config: &Config) -> Result<Self, Wrong> {
        let address = match &config.endpoint {
            Given::Here(address) => address.clone(),
            Given::File(path) => {
                let parsed = read(path).and_then(|text| {
                    let parsed = Address::parse(text.expose().trim());
                    parsed.map_err(|reason| format!("{} {reason}", path.display()))
                });
                parsed.map_err(|reason| ("url_file", reason))?
            }
        };
        let signer = match &config.signer {
            None => None,
            Some(Given::Here(signer)) => Some(signer.clone()),
            Some(Given::File(path)) => {
                let parsed = read(path).and_then(|text| {
                    Signer::new(&text).map_err(|reason| format!("{}: {reason}", path.display()))
                });
                Some(parsed.map_err(|reason| ("sign", reason))?)
            }
        };
        Ok(Self { address, signer })
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    std::fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// A target and when it was read.
#[derive(Debug)]
struct Held {
    target: Arc<Target>,
    read_at: Instant,
}

/// The endpoint's client.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    tls: Arc<ClientConfig>,
    /// Where a guard has to judge what a name leads to.
    resolver: Option<Resolver>,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
}

impl Client {
    /// Reads files and the system's certificates, and connects to nothing.
    ///
    /// # Errors
    /// The key, and what cannot be read or does not fit.
    pub(super) fn new(config: Arc<Config>, clock: Arc<dyn Clock>) -> Result<Self, Wrong> {
        let target = Target::read(&config)?;
        let in_file = matches!(config.endpoint, Given::File(_));
        let key = if in_file { "url_file" } else { "url" };
        // What is in a file may become https later.
        let roots = if in_file || target.address.is_https() {
            roots::system("name a file with them in SSL_CERT_FILE").map_err(|why| (key, why))?
        } else {
            RootCertStore::empty()
        };
        Self::trusting(roots, target, config, clock, guard::by_system()).map_err(|why| (key, why))
    }

    pub(super) fn trusting(
        roots: RootCertStore,
        target: Target,
        config: Arc<Config>,
        clock: Arc<dyn Clock>,
        look_up: Arc<LookUp>,
    ) -> Result<Self, String> {
        let tls = tls::config(roots)?;
        let resolver = config.guard.map(|guard| Resolver::new(guard, look_up));
        let mut builder = reqwest::Client::builder();
        if let Some(resolver) = &resolver {
            builder = builder.dns_resolver(resolver.clone());
        }
        let http = builder
            .tls_backend_preconfigured(tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .referer(false)
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.concurrency)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(15))
            .build()
            .map_err(|_| "the HTTP client cannot be set up")?;
        Ok(Self {
            http,
            tls: Arc::new(tls),
            resolver,
            config,
            clock,
            held: Mutex::new(Held {
                target: Arc::new(target),
                read_at: Instant::now(),
            }),
        })
    }

    /// The target now, if the guard lets it through.
    ///
    /// # Errors
    /// A file can no longer be read, or holds what it should not; or nothing may be sent there.
    async fn target(&self) -> Result<Arc<Target>, Unavailable> {
        let target = self.read_target().await?;
        match self.config.guard {
            Some(guard) => guard.admits(&target.address).map(|()| target),
            None => Ok(target),
        }
    }

    async fn read_target(&self) -> Result<Arc<Target>, Unavailable> {
        let files = matches!(self.config.endpoint, Given::File(_))
            || matches!(self.config.signer, Some(Given::File(_)));
        let (target, read_at) = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&held.target), held.read_at)
        };
        if !files || read_at.elapsed() < FRESH {
            return Ok(target);
        }
        let config = Arc::clone(&self.config);
        let read = tokio::task::spawn_blocking(move || Target::read(&config));
        let target = read
            .await
            .map_err(|_| Unavailable::new("configuration", "a file was not read to its end"))?
            .map_err(|(key, why)| Unavailable::new("configuration", format!("{key}: {why}")))?;
        let target = Arc::new(target);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Held {
            target: Arc::clone(&target),
            read_at: Instant::now(),
        };
        Ok(target)
    }

    /// Posts one event, and waits for the answer no longer than the timeout. Dropping the call closes the exchange;
    /// the endpoint may have the event by then.
    ///
    /// # Errors
    /// The endpoint is not there.
    pub(super) async fn post(&self, delivery: &Delivery) -> Result<Outcome, Unavailable> {
        let target = self.target().await?;
        let address = &target.address;
        let now = self.clock.now();
        let mut headers =
            headers::put_together(delivery, address.credentials(), &self.config.headers);
        if let Some(signer) = &target.signer {
            signer.sign(&delivery.stored, now, &mut headers);
        }
        let mut request = Request::new(Method::POST, address.url());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(delivery.stored.event.body.clone().into());
        let deadline = Instant::now() + self.config.timeout;
        let answer = match timeout_at(deadline, self.http.execute(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_timeout() => {
                return Err(outbound::late(
                    &address.place(),
                    self.config.connect_timeout,
                ));
            }
            Ok(Err(error)) => return Err(gone(address, &error)),
            Err(_) => return Err(outbound::late(&address.place(), self.config.timeout)),
        };
        let after = error::retry_after(answer.headers(), self.clock.now());
        let outcome = error::outcome(answer.status(), after);
        // The status has decided. The rest is for the connection only.
        let _ = timeout_at(deadline, drain(answer)).await;
        outcome
    }

    /// Opens a connection, with TLS if the URL has it, and closes it. Nothing is asked.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(super) async fn connect(&self) -> Result<Arc<Target>, Unavailable> {
        let target = self.target().await?;
        let address = &target.address;
        let place = address.place();
        let open = async {
            let stream = self.open(address).await?;
            if address.is_https() {
                let name = ServerName::try_from(address.host().to_owned())
                    .map_err(std::io::Error::other)?;
                TlsConnector::from(Arc::clone(&self.tls))
                    .connect(name, stream)
                    .await?;
            }
            Ok::<_, std::io::Error>(())
        };
        tokio::time::timeout(self.config.connect_timeout, open)
            .await
            .map_err(|_| outbound::late(&place, self.config.connect_timeout))?
            .map_err(|error| gone(address, &error))?;
        Ok(target)
    }

    /// A connection by the same look-up that requests go by.
    async fn open(&self, address: &Address) -> std::io::Result<TcpStream> {
        let Some(resolver) = &self.resolver else {
            return TcpStream::connect((address.host(), address.port())).await;
        };
        let found = resolver.addresses(address.host()).await?;
        let found: Vec<SocketAddr> = found
            .into_iter()
            .map(|found| SocketAddr::new(found, address.port()))
            .collect();
        TcpStream::connect(&*found).await
    }
}

/// Why there was no answer.
fn gone(address: &Address, error: &(dyn std::error::Error + 'static)) -> Unavailable {
    guard::refusal(error).unwrap_or_else(|| outbound::gone(&address.place(), "url", error))
}

/// Reads a short body to its end, so that its connection can be used again, and leaves a long one.
async fn drain(mut answer: Response) {
    let mut left = DRAIN_BYTES;
    while let Ok(Some(piece)) = answer.chunk().await {
        match left.checked_sub(piece.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use domain::SystemClock;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use testbed::endpoint::{Answer, Endpoint};

    use super::*;
    use crate::http::Options;

    pub(in crate::http) fn delivery() -> Delivery {
        use domain::{Event, EventId, Headers, Seq, SourceName, StoredEvent, Timestamp};
        let event = Event {
            source: SourceName::new("genesys").unwrap(),
            received_at: Timestamp::UNIX_EPOCH,
            method: "POST".into(),
            path: "/".into(),
            headers: [("x-odd", b"\xff\xe4"), ("te", b"x ")]
                .into_iter()
                .collect::<Headers>(),
            body: bytes::Bytes::from_static(b"{}"),
            event_type: None,
            remote: None,
            dedup: None,
            only: None,
        };
        Delivery {
            stored: StoredEvent {
                seq: Seq(1),
                id: EventId::from_bytes([7; 16]),
                event: Arc::new(event),
            },
            attempt: 1,
            letter: None,
        }
    }

    fn trusting(ca: Option<PathBuf>, url: &str) -> Client {
        let options: Options = serde_json::from_value(serde_json::json!({ "url": url })).unwrap();
        let config = Arc::new(options.validate().unwrap());
        let mut roots = RootCertStore::empty();
        if let Some(path) = ca {
            roots
                .add(CertificateDer::from_pem_file(path).unwrap())
                .unwrap();
        }
        let target = Target::read(&config).unwrap();
        let clock = Arc::new(SystemClock);
        Client::trusting(roots, target, config, clock, guard::by_system()).unwrap()
    }

    #[tokio::test]
    async fn a_trusted_server_is_spoken_to_by_http_2_and_its_statuses_mean_the_same() {
        let endpoint = Endpoint::start_tls().await.unwrap();
        let ca = endpoint.ca().map(Path::to_owned);
        let client = trusting(ca, &endpoint.url());
        client.connect().await.unwrap();
        let outcome = client.post(&delivery()).await.unwrap();
        assert_eq!(outcome, Outcome::Delivered);
        let received = &endpoint.received()[0];
        assert_eq!(received.version, reqwest::Version::HTTP_2);
        assert_eq!(received.headers["x-odd"].as_bytes(), b"\xff\xe4");
        assert!(!received.headers.contains_key("te"));
        endpoint.answer_with(|_| Answer::status(503));
        assert!(client.post(&delivery()).await.is_err());
        endpoint.answer_with(|_| Answer::close());
        assert!(client.post(&delivery()).await.is_err());
    }
}
