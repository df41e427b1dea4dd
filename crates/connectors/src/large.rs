//! Dead letters that are too large for their target: the whole letter goes into a store, and the target gets one that says
//! where it is.

use std::sync::Arc;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding, Inlet};
use domain::{BatchOutcome, Event, Outcome, StoredEvent, Unavailable};

/// The code of a cause that says that a carrier does not take so much.
pub(crate) const TOO_LARGE: &str = "too-large";

/// A target whose large letters go into `store`.
#[must_use]
pub fn with_store(
    target: Arc<dyn Destination>,
    store: Arc<dyn Destination>,
) -> Arc<dyn Destination> {
    Arc::new(WithStore { target, store })
}

struct WithStore {
    target: Arc<dyn Destination>,
    store: Arc<dyn Destination>,
}

impl WithStore {
    /// Stores the letter and delivers one that points at it. `None`: it is no letter, or the store cannot say where it
    /// would be.
    async fn deliver_pointer(&self, delivery: &Delivery) -> Option<BatchOutcome> {
        let letter = delivery.letter.as_ref()?;
        let place = self.store.place_of(delivery)?;
        let alone = std::slice::from_ref(delivery);
        let stored = self.store.deliver(alone).await;
        if stored.outcomes != [Outcome::Delivered] {
            return Some(stored);
        }
        let letter = letter.pointing_at(place);
        let event = Event {
            body: letter.body.clone(),
            ..(*delivery.stored.event).clone()
        };
        let pointer = Delivery {
            stored: StoredEvent {
                event: Arc::new(event),
                ..delivery.stored.clone()
            },
            letter: Some(Arc::new(letter)),
            attempt: delivery.attempt,
        };
        Some(self.target.deliver(&[pointer]).await)
    }
}

fn is_too_large(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Reject { cause } if cause.code == TOO_LARGE)
}

#[async_trait]
impl Destination for WithStore {
    /// Delivers the batch to the target, and what that finds too large by way of the store, one after the other.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let mut told = self.target.deliver(batch).await;
        for (delivery, outcome) in batch.iter().zip(&mut told.outcomes) {
            if !is_too_large(outcome) {
                continue;
            }
            if told.unavailable.is_some() {
                *outcome = Outcome::NotDone;
                continue;
            }
            let Some(pointed) = self.deliver_pointer(delivery).await else {
                continue;
            };
            told.unavailable = pointed.unavailable;
            *outcome = pointed
                .outcomes
                .into_iter()
                .next()
                .unwrap_or(Outcome::NotDone);
        }
        told
    }

    async fn probe(&self) -> Result<(), Unavailable> {
        self.target.probe().await
    }

    async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
        self.target.inspect().await
    }

    fn limits(&self) -> DestinationLimits {
        let (target, store) = (self.target.limits(), self.store.limits());
        DestinationLimits {
            // One of them may have to go into the store.
            timeout: target.timeout * 2 + store.timeout,
            ..target
        }
    }

    fn recognises_repeats(&self) -> bool {
        self.target.recognises_repeats()
    }

    fn inlet(&self) -> Option<&dyn Inlet> {
        self.target.inlet()
    }

    fn kind(&self) -> &'static str {
        self.target.kind()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use domain::Cause;

    use super::*;
    use crate::samples::{dead, live};

    /// Takes bodies of so many bytes, and remembers them.
    struct Fake {
        limit: usize,
        is_store: bool,
        away: bool,
        got: Mutex<Vec<Delivery>>,
    }

    impl Fake {
        fn new(limit: usize, is_store: bool) -> Arc<Self> {
            Arc::new(Self {
                limit,
                is_store,
                away: false,
                got: Mutex::default(),
            })
        }

        fn bodies(&self) -> Vec<String> {
            let got = self.got.lock().unwrap();
            let text = |one: &Delivery| String::from_utf8_lossy(&one.stored.event.body).into();
            got.iter().map(text).collect()
        }
    }

    #[async_trait]
    impl Destination for Fake {
        async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
            if self.away {
                return BatchOutcome {
                    outcomes: vec![Outcome::NotDone; batch.len()],
                    unavailable: Some(Unavailable::new("refused", "nothing listens there")),
                };
            }
            let outcomes = batch.iter().map(|one| {
                if one.stored.event.body.len() > self.limit {
                    let cause = Cause::new(TOO_LARGE, "it takes less");
                    return Outcome::Reject { cause };
                }
                self.got.lock().unwrap().push(one.clone());
                Outcome::Delivered
            });
            BatchOutcome {
                outcomes: outcomes.collect(),
                unavailable: None,
            }
        }

        async fn probe(&self) -> Result<(), Unavailable> {
            Ok(())
        }

        async fn inspect(&self) -> Result<Vec<Finding>, Unavailable> {
            Ok(Vec::new())
        }

        fn limits(&self) -> DestinationLimits {
            DestinationLimits {
                batch_events: 10,
                batch_bytes: 1000,
                concurrency: 1,
                timeout: Duration::from_secs(1),
            }
        }

        fn recognises_repeats(&self) -> bool {
            false
        }

        fn place_of(&self, _: &Delivery) -> Option<String> {
            self.is_store.then(|| "s3://bucket/key".to_owned())
        }

        fn kind(&self) -> &'static str {
            "fake"
        }
    }

    const LARGE: &[u8] =
        b"a body that is a good deal too large for the carrier, and for any like it";

    #[tokio::test]
    async fn a_letter_too_large_is_in_the_store_and_the_target_is_told_where() {
        let (target, store) = (Fake::new(50, false), Fake::new(9000, true));
        let both = with_store(target.clone(), store.clone());
        let batch = [dead(b"1", 0), dead(LARGE, 0), dead(b"2", 0)];
        let told = both.deliver(&batch).await;
        assert_eq!(told, BatchOutcome::all_delivered(3));
        let pointer = r#"{"forebay-body-at":"s3://bucket/key"}"#;
        assert_eq!(target.bodies(), ["1", "2", pointer]);
        assert_eq!(store.bodies(), [String::from_utf8_lossy(LARGE)]);
        let got = target.got.lock().unwrap();
        let attributes = crate::carried::attributes(&got[2]);
        let at = ("forebay-body-at", "s3://bucket/key".to_owned());
        assert!(attributes.contains(&at), "{attributes:?}");
        assert_eq!(got[2].stored.id, batch[1].stored.id);
    }

    #[tokio::test]
    async fn what_is_no_letter_or_has_no_store_that_can_say_where_is_refused_as_before() {
        let target = Fake::new(50, false);
        for (store, delivery) in [
            (Fake::new(9000, true), live(LARGE)),
            (Fake::new(9000, false), dead(LARGE, 0)),
        ] {
            let told = with_store(target.clone(), store).deliver(&[delivery]).await;
            assert!(is_too_large(&told.outcomes[0]), "{told:?}");
        }
    }

    #[tokio::test]
    async fn a_store_that_is_away_keeps_the_letter_and_what_the_target_took_is_done() {
        let target = Fake::new(50, false);
        let store = Arc::new(Fake {
            limit: 0,
            is_store: true,
            away: true,
            got: Mutex::default(),
        });
        let batch = [dead(LARGE, 0), dead(b"1", 0), dead(LARGE, 0)];
        let told = with_store(target, store).deliver(&batch).await;
        let expected = [Outcome::NotDone, Outcome::Delivered, Outcome::NotDone];
        assert_eq!(told.outcomes, expected);
        assert!(told.unavailable.is_some());
    }
}
