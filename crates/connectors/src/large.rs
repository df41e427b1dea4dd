//! Dead letters that are too large for their target: the whole letter goes into a store, and the target gets one that says
//! where it is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{Delivery, Destination, DestinationLimits, Finding, Inlet};
use domain::{BatchOutcome, Cause, Event, Headers, Outcome, StoredEvent, Unavailable};
use tokio::time::Instant;

/// The code of a cause that says that a carrier does not take so much.
pub(crate) const TOO_LARGE: &str = "too-large";

/// The code by which an endpoint says the same.
const HTTP_TOO_LARGE: &str = "http 413";

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
    async fn deliver_pointer(&self, delivery: &Delivery) -> Option<Pointed> {
        let letter = delivery.letter.as_ref()?;
        let place = self.store.place_of(delivery)?;
        let alone = std::slice::from_ref(delivery);
        let stored = self.store.deliver(alone).await;
        match not_stored(stored) {
            None => {}
            Some(Outcome::Retry { cause, after }) => return Some(Pointed::NotStored(cause, after)),
            Some(refused) => return Some(Pointed::Told(refused, None)),
        }
        let letter = letter.pointing_at(place);
        let event = &*delivery.stored.event;
        let event = Event {
            body: letter.body.clone(),
            headers: of_a_pointer(&event.headers),
            ..event.clone()
        };
        let pointer = Delivery {
            stored: StoredEvent {
                event: Arc::new(event),
                ..delivery.stored.clone()
            },
            letter: Some(Arc::new(letter)),
            attempt: delivery.attempt,
        };
        let told = self.target.deliver(&[pointer]).await;
        let outcome = told.outcomes.into_iter().next();
        Some(Pointed::Told(
            outcome.unwrap_or(Outcome::NotDone),
            told.unavailable,
        ))
    }
}

/// What became of a letter that was too large.
enum Pointed {
    /// As the target says of the pointer, or the store of a letter that it refuses.
    Told(Outcome, Option<Unavailable>),
    /// The store has not taken it, and may later.
    NotStored(Cause, Option<Duration>),
}

/// Why the letter is not in the store, if it is not. That the store is away says nothing of the target: letters that need
/// no store go on, and those that do wait.
fn not_stored(told: BatchOutcome) -> Option<Outcome> {
    let waits = |cause: Cause, after| Outcome::Retry {
        cause: cause.aside(),
        after,
    };
    if let Some(why) = told.unavailable {
        return Some(waits(why.cause, None));
    }
    match told.outcomes.into_iter().next() {
        Some(Outcome::Delivered) => None,
        Some(Outcome::Retry { cause, after }) => Some(waits(cause, after)),
        Some(Outcome::Throttled { after }) => {
            let cause = Cause::new("throttled", "the store for large letters asks to wait");
            Some(waits(cause, after))
        }
        Some(refused @ Outcome::Reject { .. }) => Some(refused),
        Some(Outcome::NotDone) | None => {
            let cause = Cause::new("answer", "the store for large letters did not say");
            Some(waits(cause, None))
        }
    }
}

/// The headers of the event without what they say of a body that lies elsewhere.
fn of_a_pointer(headers: &Headers) -> Headers {
    let kept = headers.iter().filter(|one| one.name != "content-encoding");
    let kept = kept.map(|one| match one.name {
        "content-type" => (one.name, &b"application/json"[..]),
        _ => (one.name, one.value),
    });
    kept.collect()
}

fn is_too_large(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Reject { cause } if [TOO_LARGE, HTTP_TOO_LARGE].contains(&&*cause.code))
}

#[async_trait]
impl Destination for WithStore {
    /// Delivers the batch to the target, and what that finds too large by way of the store, one after the other: as many
    /// as there is time for.
    async fn deliver(&self, batch: &[Delivery]) -> BatchOutcome {
        let last_start = Instant::now() + self.target.limits().timeout;
        let mut told = self.target.deliver(batch).await;
        let (mut away, mut begun) = (None, false);
        for (delivery, outcome) in batch.iter().zip(&mut told.outcomes) {
            if !is_too_large(outcome) {
                continue;
            }
            if told.unavailable.is_some() || (begun && Instant::now() > last_start) {
                *outcome = Outcome::NotDone;
                continue;
            }
            // A store that is away is not asked again for each.
            let pointed = match away.clone() {
                Some((cause, after)) => Some(Pointed::NotStored(cause, after)),
                None => self.deliver_pointer(delivery).await,
            };
            begun = true;
            match pointed {
                None => {}
                Some(Pointed::Told(of_pointer, unavailable)) => {
                    told.unavailable = unavailable;
                    *outcome = of_pointer;
                }
                Some(Pointed::NotStored(cause, after)) => {
                    away = Some((cause.clone(), after));
                    *outcome = Outcome::Retry { cause, after };
                }
            }
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
            // The last that goes into the store may begin when the target's own time is over.
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

    use domain::Cause;

    use super::*;
    use crate::samples::{dead, live};

    /// Takes bodies of so many bytes, and remembers them.
    struct Fake {
        limit: usize,
        is_store: bool,
        away: bool,
        /// How long it takes for each.
        slow: Duration,
        code: &'static str,
        got: Mutex<Vec<Delivery>>,
    }

    impl Fake {
        fn new(limit: usize, is_store: bool) -> Arc<Self> {
            Arc::new(Self {
                limit,
                is_store,
                away: false,
                slow: Duration::ZERO,
                code: TOO_LARGE,
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
            tokio::time::sleep(self.slow).await;
            let outcomes = batch.iter().map(|one| {
                if one.stored.event.body.len() > self.limit {
                    let cause = Cause::new(self.code, "it takes less");
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
    async fn a_store_that_is_away_keeps_the_letters_that_need_it_and_no_others() {
        let target = Fake::new(50, false);
        let mut store = Fake::new(0, true);
        Arc::get_mut(&mut store).unwrap().away = true;
        let batch = [dead(LARGE, 0), dead(b"1", 0), dead(LARGE, 0)];
        let told = with_store(target, store).deliver(&batch).await;
        assert_eq!(told.unavailable, None, "the target is well");
        let [first, Outcome::Delivered, last] = &told.outcomes[..] else {
            panic!("{told:?}");
        };
        for outcome in [first, last] {
            let waits = matches!(outcome, Outcome::Retry { cause, .. } if cause.aside);
            assert!(waits, "{outcome:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_large_letters_for_a_slow_store_stay_within_the_time_of_a_batch() {
        let slow = |limit, is_store| {
            let mut fake = Fake::new(limit, is_store);
            Arc::get_mut(&mut fake).unwrap().slow = Duration::from_millis(900);
            fake
        };
        let both = with_store(slow(50, false), slow(9000, true));
        let batch = vec![dead(LARGE, 0); 10];
        let told = both.deliver(&batch);
        let told = tokio::time::timeout(both.limits().timeout, told).await;
        let told = told.expect("an attempt that is abandoned repeats all that it had done");
        assert_eq!(told.unavailable, None);
        assert_eq!(told.outcomes[0], Outcome::Delivered);
        assert_eq!(told.outcomes[9], Outcome::NotDone);
    }

    #[tokio::test]
    async fn what_an_endpoint_refuses_for_its_size_goes_into_the_store_too_and_the_headers_fit_the_pointer()
     {
        let mut target = Fake::new(50, false);
        Arc::get_mut(&mut target).unwrap().code = "http 413";
        let store = Fake::new(9000, true);
        let mut large = dead(LARGE, 0);
        let event = Arc::make_mut(&mut large.stored.event);
        event.headers = [
            ("content-encoding", &b"gzip"[..]),
            ("content-type", b"text/csv"),
            ("x-signature", b"s"),
        ]
        .into_iter()
        .collect();
        let told = with_store(target.clone(), store.clone())
            .deliver(&[large])
            .await;
        assert_eq!(told, BatchOutcome::all_delivered(1));
        assert_eq!(store.bodies().len(), 1);
        let got = target.got.lock().unwrap();
        let headers = got[0].stored.event.headers.iter();
        let headers: Vec<_> = headers.map(|one| (one.name, one.value)).collect();
        let expected = [
            ("content-type", &b"application/json"[..]),
            ("x-signature", b"s"),
        ];
        assert_eq!(headers, expected);
    }
}
