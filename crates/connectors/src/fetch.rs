//! Fetches what senders publish: certificates, and addresses that confirm a subscription.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use domain::ports::{Fetch, FetchError};

use crate::outbound;

/// The whole of it, connecting included: the sender waits for its answer meanwhile.
const TIMEOUT: Duration = Duration::from_secs(2);

/// No certificate is larger.
const MOST: usize = 64 << 10;

/// Fetches over TLS from who has a certificate that the system trusts. Uses no proxy.
#[derive(Debug)]
pub struct Fetcher(Result<reqwest::Client, String>);

impl Fetcher {
    /// Reads the system's certificates and connects to nothing. Where there are none, each fetch says so.
    #[must_use]
    pub fn new() -> Self {
        Self(outbound::client(true, TIMEOUT, 1))
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let client = self.0.as_ref().map_err(Clone::clone)?;
        if !url.starts_with("https://") {
            return Err("it is not https".into());
        }
        let failed = |error: reqwest::Error| -> String {
            let known = outbound::known("the server", "its name", &error as &(dyn Error + 'static));
            known.map_or_else(|| "no answer".into(), |why| why.to_string())
        };
        let mut answer = client.get(url).send().await.map_err(failed)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > MOST {
                return Err(format!("it is larger than {MOST} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }
}

impl Default for Fetcher {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Fetch for Fetcher {
    async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        let fetched = tokio::time::timeout(TIMEOUT, self.get(url)).await;
        let fetched =
            fetched.unwrap_or_else(|_| Err(format!("no answer within {}s", TIMEOUT.as_secs())));
        // A query may hold a token.
        let place = url.split('?').next().unwrap_or_default();
        fetched.map_err(|reason| FetchError(format!("cannot fetch {place}: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_be_fetched_is_named_without_its_query() {
        for url in [
            "http://127.0.0.1:9/a?Token=secret",
            "https://127.0.0.1:9/a?Token=secret",
        ] {
            let error = Fetcher::new().fetch(url).await.unwrap_err().to_string();
            assert!(
                error.contains(":9/a: ") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
