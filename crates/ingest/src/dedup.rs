//! The deduplication window: the newest keys with the ids of their events, and the keys under way.
//!
//! A key counts only once its event is durable. A repeat that comes while the first is under way waits
//! for the first one's fate: it becomes a duplicate, or the first itself if that failed. The window is
//! bounded by the number of keys; the oldest goes first. At start it is filled from the journal.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{DedupKey, EventId};
use hashbrown::HashTable;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// What claiming a key comes to.
pub(crate) enum Claim {
    /// Nobody has it: go ahead, and commit or drop the claim.
    First(Leader),
    /// A durable event has it.
    Repeat(EventId),
    /// Somebody else is under way with it: claim again after this.
    Wait(OwnedNotified),
}

#[derive(Debug)]
struct Inner {
    /// A ring of the newest keys; `next` is where the next one goes.
    ring: Vec<(DedupKey, EventId)>,
    next: usize,
    /// Places in the ring, by the key there.
    places: HashTable<u32>,
    /// Keys under way; a value once somebody waits.
    under_way: HashMap<DedupKey, Option<Arc<Notify>>>,
}

/// The window. Shared by all sources: their names are part of the keys.
#[derive(Debug)]
pub struct Window {
    capacity: usize,
    hasher: RandomState,
    inner: Mutex<Inner>,
}

impl Window {
    /// An empty window of at most `capacity` keys (from 1 to 2^32 − 1), which take 40 bytes each once
    /// they are there.
    #[must_use]
    pub fn new(capacity: u32) -> Arc<Self> {
        Arc::new(Self {
            capacity: capacity.max(1) as usize,
            hasher: RandomState::new(),
            inner: Mutex::new(Inner {
                ring: Vec::new(),
                next: 0,
                places: HashTable::new(),
                under_way: HashMap::new(),
            }),
        })
    }

    /// Adds keys of durable events, oldest first: what the journal still knows at start.
    pub fn fill(&self, keys: impl IntoIterator<Item = (DedupKey, EventId)>) {
        let mut inner = self.inner();
        for (key, id) in keys {
            self.insert(&mut inner, key, id);
        }
    }

    /// How many keys it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner().ring.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a key for an event.
    pub(crate) fn claim(self: &Arc<Self>, key: DedupKey) -> Claim {
        let hash = self.hasher.hash_one(key);
        let mut guard = self.inner();
        let inner = &mut *guard;
        if let Some(place) = inner
            .places
            .find(hash, |place| inner.ring[*place as usize].0 == key)
        {
            return Claim::Repeat(inner.ring[*place as usize].1);
        }
        match inner.under_way.entry(key) {
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let notify = entry.get_mut().get_or_insert_with(Default::default);
                // Made under the lock: it hears of everything that happens after.
                Claim::Wait(Arc::clone(notify).notified_owned())
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(None);
                Claim::First(Leader {
                    window: Arc::clone(self),
                    key,
                    durable: None,
                })
            }
        }
    }

    fn insert(&self, inner: &mut Inner, key: DedupKey, id: EventId) {
        let hash = self.hasher.hash_one(key);
        let (ring, places) = (&mut inner.ring, &mut inner.places);
        if places
            .find(hash, |place| ring[*place as usize].0 == key)
            .is_some()
        {
            // The first event of a key stands.
            return;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the capacity is a u32")]
        let place = inner.next as u32;
        inner.next = (inner.next + 1) % self.capacity;
        if ring.len() < self.capacity {
            ring.push((key, id));
        } else {
            let old = std::mem::replace(&mut ring[place as usize], (key, id));
            let old_hash = self.hasher.hash_one(old.0);
            if let Ok(entry) = places.find_entry(old_hash, |other| *other == place) {
                entry.remove();
            }
        }
        places.insert_unique(hash, place, |place| {
            self.hasher.hash_one(ring[*place as usize].0)
        });
    }

    fn leave(&self, key: DedupKey, durable: Option<EventId>) {
        let mut inner = self.inner();
        if let Some(id) = durable {
            self.insert(&mut inner, key, id);
        }
        let waiting = inner.under_way.remove(&key).flatten();
        drop(inner);
        if let Some(waiting) = waiting {
            waiting.notify_waiters();
        }
    }
}

/// The claim of the first event with a key. Dropping it gives the key back: the next one is the first.
#[derive(Debug)]
pub(crate) struct Leader {
    window: Arc<Window>,
    key: DedupKey,
    durable: Option<EventId>,
}

impl Leader {
    /// The event is durable.
    pub(crate) fn commit(mut self, id: EventId) {
        self.durable = Some(id);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.window.leave(self.key, self.durable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> DedupKey {
        DedupKey([number; 16])
    }

    fn id(number: u128) -> EventId {
        EventId::from_bytes(number.to_be_bytes())
    }

    fn first(window: &Arc<Window>, number: u8) -> Leader {
        match window.claim(key(number)) {
            Claim::First(leader) => leader,
            _ => panic!("key {number} is not free"),
        }
    }

    #[test]
    fn a_key_counts_once_its_event_is_durable_and_not_before() {
        let window = Window::new(10);
        drop(first(&window, 1));
        first(&window, 1).commit(id(7));
        assert!(matches!(window.claim(key(1)), Claim::Repeat(found) if found == id(7)));
    }

    #[test]
    fn the_oldest_key_goes_when_the_window_is_full() {
        let window = Window::new(3);
        window.fill((0..5).map(|number| (key(number), id(number.into()))));
        assert_eq!(window.len(), 3);
        drop(first(&window, 0));
        drop(first(&window, 1));
        for number in 2..5 {
            assert!(
                matches!(window.claim(key(number)), Claim::Repeat(found) if found == id(number.into()))
            );
        }
    }

    #[tokio::test]
    async fn a_concurrent_repeat_waits_for_the_fate_of_the_first() {
        let window = Window::new(3);
        for durable in [true, false] {
            let number = u8::from(durable);
            let leader = first(&window, number);
            let Claim::Wait(wait) = window.claim(key(number)) else {
                panic!("not waiting");
            };
            if durable {
                leader.commit(id(9));
            } else {
                drop(leader);
            }
            wait.await;
            assert_eq!(
                matches!(window.claim(key(number)), Claim::Repeat(_)),
                durable
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn the_window_holds_exactly_the_newest_keys(
            capacity in 1u32..20,
            numbers in proptest::collection::vec(0u8..40, 0..200),
        ) {
            let window = Window::new(capacity);
            let mut model: Vec<u8> = Vec::new();
            for number in numbers {
                window.fill([(key(number), id(number.into()))]);
                if !model.contains(&number) {
                    model.push(number);
                    if model.len() > capacity as usize {
                        model.remove(0);
                    }
                }
            }
            for number in 0..40 {
                let there = matches!(window.claim(key(number)), Claim::Repeat(_));
                proptest::prop_assert_eq!(there, model.contains(&number));
            }
        }
    }
}
