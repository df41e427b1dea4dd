//! The destination port on an HTTP endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Clock, Outcome, Unavailable};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::address::Address;
use super::client::{Client, Wrong};
use super::options::{Config, KIND};
use super::pace::Pace;

/// No limit of its own: a batch is one event, and an event is as large as its source allows.
const BATCH_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Http {
    config: Arc<Config>,
    client: Client,
    pace: Option<Pace>,
}

impl Http {
    /// # Errors
    /// The key, and what cannot be read or does not fit.
    pub(super) fn new(config: Config, clock: Arc<dyn Clock>) -> Result<Self, Wrong> {
        let config = Arc::new(config);
        Ok(Self {
            client: Client::new(Arc::clone(&config), clock)?,
            pace: config.max_rate.map(Pace::per_second),
            config,
        })
    }

    /// Posts one event in its turn, unless the endpoint is gone by then.
    async fn post(&self, delivery: &Delivery, gone: &AtomicBool) -> Result<Outcome, Unavailable> {
        if let Some(pace) = &self.pace {
            pace.turn().await;
        }
        if gone.load(Ordering::Relaxed) {
            return Ok(Outcome::NotDone);
        }
        self.client.post(delivery).await
    }
}

#[async_trait]
impl Destination for Http {
    /// Posts the events of a batch side by side, each with an outcome of its own. The first that finds the endpoint
    /// away keeps further ones from starting; those under way come to their end. Dropping the call closes what is
    /// under way: the endpoint may have those events, and gets them again.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let mut outcomes = vec![Outcome::NotDone; batch.len()];
        let mut unavailable = None;
        let gone = AtomicBool::new(false);
        let gone = &gone;
        let mut waiting = batch.iter().enumerate();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < self.config.concurrency && unavailable.is_none() {
                let Some((place, delivery)) = waiting.next() else {
                    break;
                };
                under_way.push(async move { (place, self.post(delivery, gone).await) });
            }
            match under_way.next().await {
                None => break,
                Some((place, Ok(outcome))) => outcomes[place] = outcome,
                Some((_, Err(why))) => {
                    gone.store(true, Ordering::Relaxed);
                    unavailable.get_or_insert(why);
                }
            }
        }
        BatchOutcome {
            outcomes,
            unavailable,
        }
    }

    /// Opens a connection and closes it: anything more would be a request that the endpoint has to make sense of.
    async fn probe(&self) -> Result<(), Unavailable> {
        self.client.connect().await.map(|_| ())
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        let target = self.client.connect().await?;
        Ok(findings(&target.address))
    }

    fn limits(&self) -> DestinationLimits {
        let concurrency = self.config.concurrency;
        let pace = self.pace.as_ref();
        let turn = pace.map_or(Duration::ZERO, |pace| pace.longest_wait(concurrency));
        DestinationLimits {
            // One event a batch, so that a slow one keeps nobody waiting.
            batch_events: 1,
            batch_bytes: BATCH_BYTES,
            concurrency,
            timeout: self.config.connect_timeout
                + self.config.timeout
                + turn
                + Duration::from_secs(5),
        }
    }

    fn recognises_repeats(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}

/// What is weaker than promised about sending events there.
fn findings(address: &Address) -> Vec<Finding> {
    if address.is_https() || address.is_loopback() {
        return Vec::new();
    }
    vec![Finding {
        text: format!(
            "bodies and headers go to {} unencrypted, and whoever answers there is believed: write https:// in the URL",
            address.place()
        ),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_to_another_machine_is_named() {
        let found = |url: &str| findings(&Address::parse(url).unwrap());
        for fine in [
            "https://h/",
            "http://localhost:8080/",
            "http://127.0.0.1/",
            "http://[::1]/",
        ] {
            assert_eq!(found(fine), vec![], "{fine}");
        }
        let named = found("http://app:hunter2@h/hunter2");
        assert_eq!(named.len(), 1);
        let text = &named[0].text;
        assert!(text.contains("h:80 unencrypted"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
