//! What an address that somebody gave by the API may be: https, and of the public internet, unless the configuration
//! allows more.
//!
//! A number in the URL is judged as it stands. A name is resolved here for every connection that is opened, and the
//! connection goes to the addresses that were judged: a name that leads elsewhere a moment later leads nowhere.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use domain::Unavailable;
use domain::ports::MAX_SUBSCRIPTION_URL_BYTES;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::Address;
use super::reserved;

/// What the configuration allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guard {
    /// Plain http.
    pub allow_http: bool,
    /// Addresses that are not of the public internet.
    pub allow_private: bool,
}

impl Guard {
    /// Judges a URL by what it says: reads nothing and resolves no name, so that a name passes which will be refused when
    /// it is connected to.
    ///
    /// # Errors
    /// What is wrong and what would be right, to be put behind the name of the field. Of the URL at most the host is
    /// quoted.
    pub fn check(self, url: &str) -> Result<(), String> {
        self.address(url).map(|_| ())
    }

    pub(super) fn address(self, url: &str) -> Result<Address, String> {
        if url.len() > MAX_SUBSCRIPTION_URL_BYTES {
            return Err(format!(
                "is a URL of more than {MAX_SUBSCRIPTION_URL_BYTES} bytes: write a shorter one"
            ));
        }
        let address = Address::parse(url)?;
        if address.credentials().is_some() {
            return Err(
                "must not have a user and a password in it: it is shown to everybody who may list subscriptions"
                    .into(),
            );
        }
        match self.refuses(&address) {
            None => Ok(address),
            Some(Refused::Plain) => Err(
                "must start with https://: plain http is refused unless subscriptions.allow_http is true".into(),
            ),
            Some(Refused::Private(private)) => Err(format!("is refused: {private}")),
        }
    }

    /// What can be said against the address without resolving its name.
    fn refuses(self, address: &Address) -> Option<Refused> {
        if !self.allow_http && !address.is_https() {
            return Some(Refused::Plain);
        }
        if self.allow_private {
            return None;
        }
        let host = address.host();
        let kind = match host.parse() {
            Ok(number) => reserved::kind(number),
            Err(_) if address.is_loopback() => Some("loopback"),
            Err(_) => None,
        };
        kind.map(|kind| {
            Refused::Private(Private {
                host: host.to_owned(),
                kind,
            })
        })
    }

    /// As [`Guard::check`] at the moment of connecting: the configuration may have changed since it was given.
    ///
    /// # Errors
    /// Why nothing is sent there.
    pub(super) fn admits(self, address: &Address) -> Result<(), Unavailable> {
        match self.refuses(address) {
            None => Ok(()),
            Some(Refused::Plain) => Err(Unavailable::new(
                "plain-http",
                format!(
                    "{}: plain http is refused: give it an address with https://, or set subscriptions.allow_http",
                    address.place()
                ),
            )),
            Some(Refused::Private(private)) => Err(private.unavailable()),
        }
    }
}

enum Refused {
    Plain,
    Private(Private),
}

/// A host that is, or whose name leads to, an address that is not public, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Private {
    host: String,
    kind: &'static str,
}

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is a {} address, and only public ones are posted to unless subscriptions.allow_private is true",
            self.host, self.kind
        )
    }
}

impl Error for Private {}

impl Private {
    fn unavailable(&self) -> Unavailable {
        Unavailable::new("private-address", self.to_string())
    }
}

/// Whether that is why a connection was not opened.
pub(super) fn refusal(error: &(dyn Error + 'static)) -> Option<Unavailable> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(private) = error.downcast_ref::<Private>() {
            return Some(private.unavailable());
        }
        // What an I/O error is made of is not its source.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref());
        if let Some(private) = inner.and_then(|inner| inner.downcast_ref::<Private>()) {
            return Some(private.unavailable());
        }
        next = error.source();
    }
    None
}

type Found = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// Asks for the addresses of a name.
pub(super) type LookUp = dyn Fn(String) -> Found + Send + Sync;

/// The system's resolver.
pub(super) fn by_system() -> Arc<LookUp> {
    Arc::new(|name| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// Resolves names to the addresses that the guard lets through.
#[derive(Clone)]
pub(super) struct Resolver {
    guard: Guard,
    look_up: Arc<LookUp>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt(f)
    }
}

impl Resolver {
    pub(super) fn new(guard: Guard, look_up: Arc<LookUp>) -> Self {
        Self { guard, look_up }
    }

    /// The addresses of a host that may be connected to; a host that is a number is one itself.
    ///
    /// # Errors
    /// The name cannot be resolved, or leads to private addresses only ([`refusal`]).
    pub(super) async fn addresses(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        let mut found = match host.parse() {
            Ok(number) => vec![number],
            Err(_) => (self.look_up)(host.to_owned()).await?,
        };
        if self.guard.allow_private {
            return Ok(found);
        }
        let kind = found.iter().find_map(|address| reserved::kind(*address));
        found.retain(|address| reserved::kind(*address).is_none());
        match kind {
            Some(kind) if found.is_empty() => Err(std::io::Error::other(Private {
                host: host.to_owned(),
                kind,
            })),
            _ => Ok(found),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await?;
            // Port 0 stands for the URL's.
            let found = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(found) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
