//! The destination port on a RabbitMQ broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding, Inlet};
use domain::{BatchOutcome, Outcome, Unavailable};
use tokio::time::Instant;

use super::client::{Client, longest_set_up};
use super::error::{Fault, too_large};
use super::options::{Config, KIND};
use super::publish::{Patience, publish};
use super::reader::Reader;

/// The most bytes of events in one batch. The client library copies what is published and not yet sent.
const BATCH_BYTES: usize = 8 << 20;

/// How many silences of the full timeout one batch may have before it is given up.
const SLOW_CONFIRMS: u32 = 3;

#[derive(Debug)]
pub(super) struct RabbitMq {
    config: Arc<Config>,
    client: Client,
    /// The largest message that the broker takes, as far as it is known. Asked anew by every `inspect`, since it may have
    /// been raised.
    largest: AtomicUsize,
    /// `None`: it is not known which queue has what is published.
    reader: Option<Arc<Reader>>,
}

impl RabbitMq {
    pub(super) fn new(config: Config) -> Self {
        let config = Arc::new(config);
        Self {
            client: Client::new(Arc::clone(&config)),
            reader: config
                .queue
                .clone()
                .map(|queue| Reader::new(Arc::clone(&config), queue)),
            config,
            largest: AtomicUsize::new(usize::MAX),
        }
    }

    fn budget(&self) -> Duration {
        self.config.timeout.saturating_mul(SLOW_CONFIRMS)
    }

    /// Leaves out what is known to be too large, as rejected, and gives the places of the rest that are not done.
    fn fitting(&self, batch: &[Delivery], outcomes: &mut [Outcome]) -> Vec<usize> {
        let largest = self.largest.load(Ordering::Relaxed);
        let mut places = Vec::with_capacity(batch.len());
        for (place, delivery) in batch.iter().enumerate() {
            if outcomes[place] != Outcome::NotDone {
                continue;
            }
            if delivery.stored.event.body.len() > largest {
                let cause = too_large(largest);
                outcomes[place] = Outcome::Reject { cause };
            } else {
                places.push(place);
            }
        }
        places
    }

    /// Publishes what is not done. A message that is too large closes the channel, whoever else was on it: what is left
    /// goes once more, over another.
    async fn publish(
        &self,
        batch: &[Delivery],
        outcomes: &mut [Outcome],
    ) -> Result<(), Unavailable> {
        let until = Instant::now() + self.budget() + longest_set_up(&self.config);
        loop {
            let places = self.fitting(batch, outcomes);
            if places.is_empty() {
                return Ok(());
            }
            let lease = self.client.take().await?;
            let patience = Patience {
                quiet: self.config.timeout,
                until,
            };
            let published = publish(&lease, batch, &places, patience).await;
            for place in published.delivered {
                outcomes[place] = Outcome::Delivered;
            }
            let session = Arc::clone(&lease.session);
            if published.settled {
                lease.give_back();
            }
            match published.fault {
                None => return Ok(()),
                Some(Fault::TooLarge(limit)) if largest(batch, &places) > limit => {
                    self.largest.store(limit, Ordering::Relaxed);
                }
                Some(fault) => {
                    if matches!(fault, Fault::Gone(_)) {
                        self.client.forget(&session);
                    }
                    return Err(fault.unavailable());
                }
            }
        }
    }
}

/// The largest body of those that were published.
fn largest(batch: &[Delivery], places: &[usize]) -> usize {
    let sizes = places
        .iter()
        .map(|place| batch[*place].stored.event.body.len());
    sizes.max().unwrap_or(0)
}

#[async_trait]
impl Destination for RabbitMq {
    /// Publishes a batch and waits for its confirms. Dropping the call closes its channel: the broker may have those
    /// events, and gets them again.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let mut outcomes = vec![Outcome::NotDone; batch.len()];
        let done = self.publish(batch, &mut outcomes).await;
        BatchOutcome {
            outcomes,
            unavailable: done.err(),
        }
    }

    /// Asks for the queue or the exchange by name. Whether a queue is bound to the exchange shows only when a message is
    /// published.
    async fn probe(&self) -> Result<(), Unavailable> {
        self.client.look().await.map(|_| ())
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        self.largest.store(usize::MAX, Ordering::Relaxed);
        let session = self.client.look().await?;
        let texts = session.url.unencrypted("amqps");
        Ok(texts.into_iter().map(|text| Finding { text }).collect())
    }

    fn unseen(&self) -> Option<String> {
        let to = &self.config.to;
        (!to.is_queue()).then(|| {
            format!(
                "whether a queue is bound to exchange {} that takes routing key {:?} cannot be asked for: if none is, the first event says so, and the route waits",
                to.exchange,
                to.routing_key.as_str()
            )
        })
    }

    fn limits(&self) -> DestinationLimits {
        DestinationLimits {
            batch_events: self.config.batch_max,
            batch_bytes: BATCH_BYTES,
            concurrency: self.config.concurrency,
            timeout: longest_set_up(&self.config) * 2 + self.budget() + Duration::from_secs(5),
        }
    }

    fn recognises_repeats(&self) -> bool {
        false
    }

    fn inlet(&self) -> Option<&dyn Inlet> {
        self.reader.as_deref().map(|reader| reader as &dyn Inlet)
    }

    fn kind(&self) -> &'static str {
        KIND
    }
}
