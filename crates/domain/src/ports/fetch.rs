//! Fetching what a sender publishes: the certificate that its signatures name, the address that confirms a
//! subscription.

use async_trait::async_trait;
use bytes::Bytes;

/// Why something was not fetched. For our own log: it may name the address, and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// Fetches from the public internet, over TLS.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The body of a 2xx to a GET. It follows no redirect, takes a few seconds at most, and gives no more than
    /// 64 KiB. Who calls it has seen to it that the host is the sender's. Dropping the future ends it.
    ///
    /// # Errors
    /// [`FetchError`]: not https, not reached, not a 2xx, too large.
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError>;
}

/// Fetches nothing: for those who need no certificate.
#[derive(Debug, Clone, Copy, Default)]
pub struct FetchNothing;

#[async_trait]
impl Fetch for FetchNothing {
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        Err(FetchError(format!(
            "nothing is fetched here, and {url} is not"
        )))
    }
}
