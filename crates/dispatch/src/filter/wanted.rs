//! What a route wants of its sources' events, and asking that of large ones where nobody waits for it.

use std::sync::Arc;

use domain::ports::RouteRecord;
use domain::{Event, RouteId, Seq, StoredEvent};
use tokio::sync::Semaphore;

use super::{Filter, FilterError};

/// Large bodies that are asked about at once, of all routes: each is a tree in memory meanwhile.
static LARGE: Semaphore = Semaphore::const_new(2);

/// Which of its sources' events a route wants.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Its number in state: an event may be for one route only.
    pub route: Option<RouteId>,
    /// Its `when`.
    pub filter: Option<Arc<Filter>>,
}

impl Wanted {
    /// What a route in state wanted when it last ran. An expression that cannot be read any more wants everything:
    /// nothing is to be lost for it.
    #[must_use]
    pub fn of(record: &RouteRecord) -> Self {
        let filter = record.filter.as_deref().map(Filter::parse);
        Self {
            route: Some(record.id),
            filter: filter.and_then(Result::ok).map(Arc::new),
        }
    }

    /// Whether it wants everything that is for all routes.
    pub(crate) const fn is_all(&self) -> bool {
        self.filter.is_none()
    }

    /// Whether it is soon known what it wants of events with so many bytes of bodies.
    pub(crate) fn is_quick(&self, bytes: usize) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.is_quick(bytes))
    }

    /// Whether the event is for this route, and is wanted.
    ///
    /// # Errors
    /// [`FilterError`]; then it is not wanted.
    pub fn wants(&self, event: &Event) -> Result<bool, FilterError> {
        match (event.only, &self.filter) {
            // It came back to this route by hand, or is another's.
            (Some(only), _) => Ok(self.route == Some(only)),
            (None, Some(filter)) => filter.wants(event),
            (None, None) => Ok(true),
        }
    }

    /// Asks about events that may take long, on a thread that nobody waits for. Dropping the call leaves that to itself.
    pub(crate) async fn ask_ahead(self: &Arc<Self>, events: &[StoredEvent]) -> Answers {
        let bytes = events.iter().map(|stored| stored.event.body.len()).sum();
        if self.is_quick(bytes) {
            return Answers::default();
        }
        // It is never closed.
        let turn = LARGE.acquire().await.ok();
        let (wanted, events) = (Arc::clone(self), events.to_vec());
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let asked = events.iter();
            let asked = asked.map(|stored| (stored.seq, wanted.wants(&stored.event)));
            asked.collect()
        });
        Answers(asked.await.unwrap_or_default())
    }
}

/// What is known ahead of some events, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Answers(Vec<(Seq, Result<bool, FilterError>)>);

impl Answers {
    /// Whether the event is wanted; what was not asked ahead is asked now.
    ///
    /// # Errors
    /// [`FilterError`]; then it is not wanted.
    pub(crate) fn wants(&self, wanted: &Wanted, stored: &StoredEvent) -> Result<bool, FilterError> {
        let found = self.0.binary_search_by_key(&stored.seq, |(seq, _)| *seq);
        match found {
            Ok(at) => self.0[at].1.clone(),
            Err(_) => wanted.wants(&stored.event),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use domain::EventId;
    use futures_util::poll;

    use super::super::empty;
    use super::*;

    fn stored(seq: u64, body: String) -> StoredEvent {
        let nowhere = domain::SourceName::new("s").unwrap();
        let event = Event {
            body: body.into(),
            ..empty(nowhere)
        };
        StoredEvent {
            seq: Seq(seq),
            id: EventId::from_bytes([0; 16]),
            event: Arc::new(event),
        }
    }

    /// Where it is asked cannot be seen, but that it waits for its turn there.
    #[tokio::test]
    async fn large_bodies_are_asked_about_on_another_thread_and_few_at_once() {
        let filter = Filter::parse("body.n > 1").unwrap();
        let wanted = Arc::new(Wanted {
            route: None,
            filter: Some(Arc::new(filter)),
        });
        let small = [stored(1, "{\"n\":2}".into()), stored(2, "{\"n\":1}".into())];
        let large = |n: u64| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(1 << 20));
        let large = [
            stored(3, large(2)),
            stored(5, large(1)),
            stored(7, "{}".into()),
        ];
        let turns = LARGE.acquire_many(2).await.unwrap();
        {
            let mut quick = std::pin::pin!(wanted.ask_ahead(&small));
            let Poll::Ready(answers) = poll!(&mut quick) else {
                panic!("nobody need wait for small ones");
            };
            assert_eq!(answers.wants(&wanted, &small[0]), Ok(true));
            assert_eq!(answers.wants(&wanted, &small[1]), Ok(false));
        }
        let mut long = std::pin::pin!(wanted.ask_ahead(&large));
        assert!(poll!(&mut long).is_pending());
        drop(turns);
        let answers = long.await;
        assert_eq!(answers.0.len(), 3);
        assert_eq!(answers.wants(&wanted, &large[0]), Ok(true));
        assert_eq!(answers.wants(&wanted, &large[1]), Ok(false));
        assert!(answers.wants(&wanted, &large[2]).is_err());
    }

    #[test]
    fn what_is_quick_goes_by_the_loops_and_by_whether_the_body_is_looked_at_at_all() {
        for (text, bytes, quick) in [
            ("type == 'a'", 10 << 20, true),
            ("body.a == 1", 64 << 10, true),
            ("body.a == 1", 65 << 10, false),
            ("body.a.exists(x, x == 1)", 64 << 10, true),
            ("body.a.exists(x, x.b.exists(y, y == 1))", 64 << 10, true),
            (
                "body.a.exists(x, body.b.exists(y, y == x))",
                64 << 10,
                false,
            ),
            ("body.a.matches('^a')", 64 << 10, false),
        ] {
            let filter = Some(Arc::new(Filter::parse(text).unwrap()));
            let wanted = Wanted {
                route: None,
                filter,
            };
            assert_eq!(wanted.is_quick(bytes), quick, "{text} {bytes}");
        }
    }
}
