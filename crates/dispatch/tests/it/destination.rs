//! A destination that does what the test says and remembers every attempt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Outcome, Seq, Unavailable};
use tokio::time::Instant;

/// What the destination does with one event.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Says this of it.
    Say(Outcome),
    /// Goes away when it comes to it: this event and those after it are not done.
    GoAway,
    /// Panics.
    Panic,
    /// Never answers.
    Hang,
}

/// One attempt of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
    pub(crate) batch: usize,
    pub(crate) at: Duration,
}

type Script = Box<dyn Fn(u64, u32) -> Act + Send>;

/// The recording fake.
pub(crate) struct Fake {
    pub(crate) limits: DestinationLimits,
    script: Mutex<Script>,
    up: Mutex<bool>,
    seen: Mutex<Vec<Seen>>,
    delivered: Mutex<BTreeMap<u64, u32>>,
    batches: Mutex<usize>,
    probes: Mutex<Vec<Duration>>,
    slow: Mutex<Duration>,
    start: Instant,
}

pub(crate) const LIMITS: DestinationLimits = DestinationLimits {
    batch_events: 10,
    batch_bytes: 1 << 20,
    concurrency: 3,
    timeout: Duration::from_secs(30),
};

impl Fake {
    /// Takes everything.
    pub(crate) fn new(limits: DestinationLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            script: Mutex::new(Box::new(|_, _| Act::Say(Outcome::Delivered))),
            up: Mutex::new(true),
            seen: Mutex::default(),
            delivered: Mutex::default(),
            batches: Mutex::default(),
            probes: Mutex::default(),
            slow: Mutex::default(),
            start: Instant::now(),
        })
    }

    /// From now on does with (number, attempt) what the script says.
    pub(crate) fn script(&self, script: impl Fn(u64, u32) -> Act + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// Goes away, or comes back.
    pub(crate) fn set_up(&self, up: bool) {
        *self.up.lock().unwrap() = up;
    }

    /// Takes so long for a batch.
    pub(crate) fn set_slow(&self, slow: Duration) {
        *self.slow.lock().unwrap() = slow;
    }

    /// Every attempt, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The attempts of one event.
    pub(crate) fn attempts_of(&self, seq: u64) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.seq == seq);
        seen
    }

    /// How often each event was delivered.
    pub(crate) fn delivered(&self) -> BTreeMap<u64, u32> {
        self.delivered.lock().unwrap().clone()
    }

    /// When the destination itself was probed.
    pub(crate) fn probes(&self) -> Vec<Duration> {
        self.probes.lock().unwrap().clone()
    }

    fn away() -> Unavailable {
        Unavailable::new("refused", "connection refused")
    }

    fn act(&self, delivery: &Delivery) -> Act {
        let Seq(seq) = delivery.stored.seq;
        (self.script.lock().unwrap())(seq, delivery.attempt)
    }
}

#[async_trait]
impl Destination for Fake {
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let number = {
            let mut batches = self.batches.lock().unwrap();
            *batches += 1;
            *batches
        };
        for delivery in batch {
            self.seen.lock().unwrap().push(Seen {
                seq: delivery.stored.seq.0,
                attempt: delivery.attempt,
                batch: number,
                at: self.start.elapsed(),
            });
        }
        let slow = *self.slow.lock().unwrap();
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        if !*self.up.lock().unwrap() {
            return BatchOutcome::unavailable(batch.len(), Self::away());
        }
        let mut outcomes = Vec::new();
        for delivery in batch {
            match self.act(delivery) {
                Act::Say(outcome) => {
                    if outcome == Outcome::Delivered {
                        let mut delivered = self.delivered.lock().unwrap();
                        *delivered.entry(delivery.stored.seq.0).or_default() += 1;
                    }
                    outcomes.push(outcome);
                }
                Act::GoAway => {
                    outcomes.resize(batch.len(), Outcome::NotDone);
                    let unavailable = Some(Self::away());
                    return BatchOutcome {
                        outcomes,
                        unavailable,
                    };
                }
                Act::Panic => panic!("as the test asked"),
                Act::Hang => std::future::pending().await,
            }
        }
        BatchOutcome {
            outcomes,
            unavailable: None,
        }
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        self.probes.lock().unwrap().push(self.start.elapsed());
        if *self.up.lock().unwrap() {
            Ok(())
        } else {
            Err(Self::away())
        }
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        Ok(Vec::new())
    }

    fn limits(&self) -> DestinationLimits {
        self.limits
    }

    fn kind(&self) -> &'static str {
        "fake"
    }
}
