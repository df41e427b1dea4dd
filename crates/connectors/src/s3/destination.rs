//! The destination port on a bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Clock, Outcome, Unavailable};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::client::Client;
use super::object::{self, Object};
use super::options::{Config, KIND};
use crate::aws::access::Access;
use crate::aws::endpoint::Endpoint;
use crate::outbound;

/// The most bytes of events in one object of lines. It is put together in memory.
const BATCH_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct S3 {
    config: Arc<Config>,
    client: Client,
}

impl S3 {
    /// # Errors
    /// The key, and what cannot be read or set up.
    pub(super) fn new(
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, (&'static str, String)> {
        let endpoint = config.endpoint.as_ref();
        let is_https = endpoint.is_none_or(Endpoint::is_https);
        let http = outbound::client(is_https, config.connect_timeout, config.concurrency)
            .map_err(|why| ("bucket", why))?;
        let region = config.region.clone();
        let access = Access::new(config.keys.clone(), region, http.clone(), clock)?;
        let config = Arc::new(config);
        Ok(Self {
            client: Client::new(Arc::clone(&config), http, access),
            config,
        })
    }

    fn is_lines(&self) -> bool {
        self.config.batch_max > 1
    }

    /// Writes one object in its turn, unless the store is gone by then.
    async fn put(
        &self,
        object: &Object,
        batch: &[Delivery],
        gone: &AtomicBool,
    ) -> Result<Outcome, Unavailable> {
        if gone.load(Ordering::Relaxed) {
            return Ok(Outcome::NotDone);
        }
        let (is_lines, gzip) = (self.is_lines(), self.config.gzip);
        let events: Vec<Delivery> = object
            .places
            .iter()
            .map(|place| batch[*place].clone())
            .collect();
        let write = move || object::content(&events, is_lines, gzip);
        let content = if gzip {
            let written = tokio::task::spawn_blocking(write).await;
            written.unwrap_or_else(|error| Err(std::io::Error::other(error)))
        } else {
            write()
        };
        let content = content.map_err(|error| {
            Unavailable::new("compress", format!("an object was not compressed: {error}"))
        })?;
        let content_type = match (gzip, is_lines) {
            (true, _) => "application/gzip",
            (false, true) => "application/x-ndjson",
            (false, false) => "application/json",
        };
        self.client.put(&object.key, content, content_type).await
    }
}

#[async_trait]
impl Destination for S3 {
    /// Writes the objects of a batch side by side. The first that finds the store away keeps further ones from
    /// starting; those under way come to their end. Dropping the call gives up what is under way: those objects may be
    /// there, and are found there the next time.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let (prefix, gzip) = (&self.config.prefix, self.config.gzip);
        let objects = if self.is_lines() {
            let parts = batch.chunks(self.config.batch_max);
            parts
                .enumerate()
                .flat_map(|(at, part)| {
                    let mut objects = object::together(prefix, part, gzip);
                    let before = at * self.config.batch_max;
                    for place in objects.iter_mut().flat_map(|object| &mut object.places) {
                        *place += before;
                    }
                    objects
                })
                .collect()
        } else {
            object::singly(prefix, batch, gzip)
        };
        let mut outcomes = vec![Outcome::NotDone; batch.len()];
        let mut unavailable = None;
        let gone = AtomicBool::new(false);
        let gone = &gone;
        let mut waiting = objects.iter();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < self.config.concurrency && unavailable.is_none() {
                let Some(object) = waiting.next() else {
                    break;
                };
                under_way.push(async move { (object, self.put(object, batch, gone).await) });
            }
            match under_way.next().await {
                None => break,
                Some((object, Ok(outcome))) => {
                    for place in &object.places {
                        outcomes[*place] = outcome.clone();
                    }
                }
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

    /// Writes a mark once, and finds it there from then on: reading would need a permission that delivering does not.
    async fn probe(&self) -> Result<(), Unavailable> {
        self.client.mark().await
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        self.client.mark().await?;
        let endpoint = self.config.endpoint.as_ref();
        let weaker = endpoint.and_then(|endpoint| endpoint.finding("endpoint_url"));
        Ok(weaker.map(|text| Finding { text }).into_iter().collect())
    }

    fn limits(&self) -> DestinationLimits {
        DestinationLimits {
            // Without lines one event a batch, so that a slow one keeps nobody waiting.
            batch_events: self.config.batch_max,
            batch_bytes: BATCH_BYTES,
            concurrency: self.config.concurrency,
            timeout: self.config.timeout * 2 + Duration::from_secs(5),
        }
    }

    /// An object an event is there once. Of lines, the same events in other batches are other objects.
    fn recognises_repeats(&self) -> bool {
        !self.is_lines()
    }

    fn place_of(&self, delivery: &Delivery) -> Option<String> {
        let (prefix, gzip) = (&self.config.prefix, self.config.gzip);
        let alone = std::slice::from_ref(delivery);
        let mut objects = if self.is_lines() {
            object::together(prefix, alone, gzip)
        } else {
            object::singly(prefix, alone, gzip)
        };
        Some(self.config.bucket.url(&objects.pop()?.key))
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}
