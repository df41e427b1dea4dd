//! The ports that senders and certificate authorities come to: bound first, served last, stopped together.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::Clock;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};

/// Bound, and not served yet.
pub(super) struct Front {
    tls: Option<Arc<ingest::Tls>>,
    ingest: TcpListener,
    /// Where an authority asks by plain HTTP, if it does.
    challenges: Option<TcpListener>,
}

impl Front {
    /// Reads the files of TLS and binds the ports.
    pub(super) async fn bind(config: &Config, clock: &Arc<dyn Clock>) -> Outcome<Self> {
        let tls = tls(config, clock)?;
        let options = config.server.tls.as_ref();
        let challenges = options.and_then(|options| options.acme.http_address());
        Ok(Self {
            tls,
            ingest: bind(config.server.listen, "--listen or server.listen").await?,
            challenges: match challenges {
                Some(address) => Some(bind(address, "server.tls.acme.http_listen").await?),
                None => None,
            },
        })
    }

    /// Registers what is measured of the certificate.
    pub(super) fn register(&self, registry: &mut Registry) {
        if let Some(tls) = &self.tls {
            tls.register(registry);
        }
    }

    /// Serves.
    pub(super) fn serve(
        self,
        config: &Config,
        metrics: &ingest::Metrics,
        ingest: Arc<ingest::Ingest>,
    ) -> io::Result<Served> {
        let proxies = Arc::new(config.server.proxies.clone());
        // Ahead of what begins to fetch a certificate.
        let challenges = match (&self.tls, self.challenges) {
            (Some(tls), Some(socket)) => {
                Some(tls.answer_challenges(socket, Arc::clone(&proxies), metrics)?)
            }
            _ => None,
        };
        let front = ingest::Front {
            tls: self.tls.clone(),
            proxies,
        };
        let limits = &config.server.limits;
        Ok(Served {
            ingest: ingest::Listener::start(self.ingest, limits, front, metrics, ingest)?,
            challenges,
            tls: self.tls,
        })
    }
}

/// What is served.
pub(super) struct Served {
    ingest: ingest::Listener,
    challenges: Option<ingest::Listener>,
    tls: Option<Arc<ingest::Tls>>,
}

impl Served {
    /// Where ingest listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.ingest.address()
    }

    /// Where an authority is answered by plain HTTP, if it is.
    pub(super) fn challenges_address(&self) -> Option<SocketAddr> {
        self.challenges.as_ref().map(ingest::Listener::address)
    }

    /// What `status` shows of the certificate.
    pub(super) fn certificate(&self) -> admin::LookAtCertificate {
        let tls = self.tls.clone();
        Arc::new(move || {
            tls.as_ref().map(|tls| admin::Certificate {
                expires_at: tls.expires_at(),
                warning: tls.warning(),
            })
        })
    }

    /// Reads the files of TLS again, and says what came of it.
    pub(super) fn reload(&self) {
        match self.tls.as_ref().map(|tls| tls.reload()) {
            None => {}
            Some(Ok(())) => tracing::info!("the files of server.tls were read again"),
            Some(Err(error)) => tracing::error!("server.tls.{error}; the old certificate stays"),
        }
    }

    /// Accepts no more and lets what is in flight be answered; whether that came to an end before the deadline.
    pub(super) async fn stop(self, deadline: Duration) -> bool {
        let challenges = async {
            if let Some(challenges) = self.challenges {
                // Nothing is lost with one that is cut: the authority asks again.
                challenges.stop(deadline).await;
            }
        };
        tokio::join!(self.ingest.stop(deadline), challenges).0
    }
}

/// Binds an address that is set by what `setting` names.
pub(super) async fn bind(address: SocketAddr, setting: &str) -> Outcome<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "another process has that port: stop it, or choose another",
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose another",
            _ => "choose an address of this machine",
        };
        Failure::say(
            Exit::Failed,
            format!("cannot listen on {address}: {error}; {remedy} with {setting}"),
        )
    })
}

fn tls(config: &Config, clock: &Arc<dyn Clock>) -> Outcome<Option<Arc<ingest::Tls>>> {
    let data_dir = &config.server.data_dir;
    let tls = config.server.tls.as_ref();
    let tls = tls.map(|options| ingest::Tls::load(options, data_dir, Arc::clone(clock)));
    tls.transpose()
        .map_err(|(key, reason)| Failure::say(Exit::Usage, format!("server.tls.{key}: {reason}")))
}
