//! A destination that does what the test says and remembers every attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding};
use domain::{BatchOutcome, Envelope, Outcome, Seq, Unavailable};
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
    in_order: Mutex<Vec<u64>>,
    /// What was delivered and answered for.
    confirmed: Mutex<BTreeSet<u64>>,
    /// Numbers in attempts now, and every set of them there was.
    under_way: Mutex<Vec<u64>>,
    together: Mutex<Vec<Vec<u64>>>,
    batches: Mutex<usize>,
    probes: Mutex<Vec<Duration>>,
    /// The dead letters that were delivered.
    letters: Mutex<Vec<Envelope>>,
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
            in_order: Mutex::default(),
            confirmed: Mutex::default(),
            under_way: Mutex::default(),
            together: Mutex::default(),
            batches: Mutex::default(),
            probes: Mutex::default(),
            letters: Mutex::default(),
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

    /// The numbers of what was delivered in batches that were answered.
    pub(crate) fn confirmed(&self) -> BTreeSet<u64> {
        self.confirmed.lock().unwrap().clone()
    }

    fn confirm(&self, batch: &[Delivery], outcomes: &[Outcome]) {
        let told = batch.iter().zip(outcomes);
        let delivered = told.filter(|(_, outcome)| **outcome == Outcome::Delivered);
        let seqs = delivered.map(|(delivery, _)| delivery.stored.seq.0);
        self.confirmed.lock().unwrap().extend(seqs);
    }

    /// The numbers of what was delivered, in order.
    pub(crate) fn delivered_in_order(&self) -> Vec<u64> {
        self.in_order.lock().unwrap().clone()
    }

    /// The most events of one key (number modulo `keys`) that were in attempts at once.
    pub(crate) fn most_of_a_key_at_once(&self, keys: u64) -> usize {
        let together = self.together.lock().unwrap();
        let most = |seqs: &Vec<u64>| {
            let count = |key| seqs.iter().filter(|seq| **seq % keys == key).count();
            (0..keys).map(count).max().unwrap_or(0)
        };
        together.iter().map(most).max().unwrap_or(0)
    }

    /// The dead letters that were delivered, in order.
    pub(crate) fn letters(&self) -> Vec<Envelope> {
        self.letters.lock().unwrap().clone()
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

/// Takes a batch out of what is under way, also when its attempt is dropped.
struct Leaves<'a>(&'a Fake, &'a [Delivery]);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way.lock().unwrap();
        under_way.retain(|seq| self.1.iter().all(|delivery| delivery.stored.seq.0 != *seq));
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
        {
            let mut under_way = self.under_way.lock().unwrap();
            under_way.extend(batch.iter().map(|delivery| delivery.stored.seq.0));
            self.together.lock().unwrap().push(under_way.clone());
        }
        let _leaves = Leaves(self, batch);
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
                        self.in_order.lock().unwrap().push(delivery.stored.seq.0);
                        let letter = delivery.letter.iter().map(|letter| (**letter).clone());
                        self.letters.lock().unwrap().extend(letter);
                    }
                    outcomes.push(outcome);
                }
                Act::GoAway => {
                    outcomes.resize(batch.len(), Outcome::NotDone);
                    self.confirm(batch, &outcomes);
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
        self.confirm(batch, &outcomes);
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

    fn recognises_repeats(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "fake"
    }
}
