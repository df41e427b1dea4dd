//! Order by key: a lane a key, in which events go one after the other.
//!
//! Of a lane one event at most is in the window's reach: waiting there, in an attempt, or with its row under
//! way. What comes behind it waits in the lane, with its body; behind a parked one it is held: only its place
//! in the journal is kept, and it is read again when its turn comes. Strict order is one lane for all events,
//! of which none is held: the window is full instead. Nothing in here survives a restart, and nothing needs
//! to: what is held is unsettled and is read again, and the parked ones bring their keys along.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use aws_lc_rs::digest::{SHA256, digest};
use domain::policy::Order;
use domain::ports::BatchLimit;
use domain::{Event, OrderKey, Pointer, Seq, StoredEvent};

use crate::window::Waiting;

/// What is fetched of a lane at once: so many bytes of events, and one at least.
const FETCH_BYTES: usize = 1 << 20;
const FETCH_EVENTS: usize = 64;

/// An event's place in the journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Where its stretch begins.
    pub(super) from: Seq,
    pub(super) seq: Seq,
    weight: usize,
}

/// What is to be read again of one lane.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: OrderKey,
    pub(super) seqs: Vec<Seq>,
}

/// What was read again of a lane.
#[derive(Debug, Default)]
pub(super) struct Returned {
    /// Events and bytes that the window has to count in again.
    pub(super) charged: (usize, usize),
    /// Places whose events damage took.
    pub(super) lost: Vec<Held>,
    /// The one whose turn it is.
    pub(super) ready: Option<Waiting>,
}

/// Where a newly read event goes.
#[derive(Debug)]
pub(super) enum Placed {
    /// It is its turn.
    Ready(Waiting),
    /// It waits in its lane, with its body.
    Queued,
    /// Its place is kept; so many bytes of the window are free again.
    Held(usize),
}

/// What happens in a lane once nothing of it is under way.
#[derive(Debug)]
pub(super) enum Turn {
    /// A live event's.
    Live(Waiting),
    /// A parked event's that was found due before its turn: it is to be looked for again.
    Parked,
    /// Nobody's, for now.
    Nobody,
}

/// A parked event whose turn it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotYet;

#[derive(Debug, Default)]
struct Lane {
    /// A live event of it is in the window's reach.
    active: bool,
    /// Its parked events, as far as they are known here.
    parked: BTreeSet<Seq>,
    /// The one of them that is in hand: fetched, in an attempt, or with its row under way.
    in_hand: Option<Seq>,
    /// Those of them that were found due before their turn.
    set_back: BTreeSet<Seq>,
    queue: VecDeque<Waiting>,
    /// All of them behind those in the queue.
    held: VecDeque<Held>,
}

impl Lane {
    fn is_free(&self) -> bool {
        !self.active && self.parked.is_empty()
    }

    fn is_over(&self) -> bool {
        self.is_free() && self.queue.is_empty() && self.held.is_empty()
    }
}

/// The lanes of one route.
#[derive(Debug)]
pub(super) struct Lanes {
    order: Order,
    lanes: HashMap<OrderKey, Lane>,
    held: usize,
    /// What is set back in any of them.
    set_back: BTreeSet<Seq>,
    /// The lane whose events could not be read last: the others come first.
    unreadable: Option<OrderKey>,
    /// Lanes whose turn it is, and whose next event has to be read again.
    wanted: BTreeSet<OrderKey>,
    fetching: bool,
}

impl Lanes {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            lanes: HashMap::new(),
            held: 0,
            set_back: BTreeSet::new(),
            unreadable: None,
            wanted: BTreeSet::new(),
            fetching: false,
        }
    }

    /// Whether the route has an order at all.
    pub(super) fn is_on(&self) -> bool {
        self.order != Order::None
    }

    /// How many events are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// What the event is ordered by; `None`: it goes as it comes.
    pub(super) fn key(&self, event: &Event) -> Option<OrderKey> {
        match &self.order {
            Order::None => None,
            Order::Strict => Some(OrderKey([0; 16])),
            Order::Key(pointer) => key_at(pointer, &event.body),
        }
    }

    /// Gives a newly read event its place.
    pub(super) fn place(&mut self, mut waiting: Waiting) -> Placed {
        waiting.key = self.key(&waiting.stored.event);
        let Some(key) = waiting.key else {
            return Placed::Ready(waiting);
        };
        let strict = self.order == Order::Strict;
        let lane = self.lanes.entry(key).or_default();
        if lane.is_over() {
            lane.active = true;
            return Placed::Ready(waiting);
        }
        if !strict && (!lane.parked.is_empty() || !lane.held.is_empty()) {
            lane.held.push_back(Held {
                from: waiting.from,
                seq: waiting.stored.seq,
                weight: waiting.weight,
            });
            self.held += 1;
            return Placed::Held(waiting.weight);
        }
        lane.queue.push_back(waiting);
        Placed::Queued
    }

    /// Takes back a live event whose attempt did not come to it: it is its turn again, unless one before it
    /// is parked meanwhile. Then it waits at the head of its lane.
    pub(super) fn take_back(&mut self, waiting: Waiting) -> Turn {
        let lane = waiting.key.map(|key| (key, self.lanes.get_mut(&key)));
        match lane {
            Some((key, Some(lane))) if !lane.parked.is_empty() => {
                lane.active = false;
                lane.queue.push_front(waiting);
                self.turn(key)
            }
            _ => Turn::Live(waiting),
        }
    }

    /// An event is parked, or will be with its row's commit. What is behind it in the lane is held. Gives the
    /// events and bytes that the window need not count any more, and whose turn it is.
    pub(super) fn park(
        &mut self,
        key: OrderKey,
        seq: Seq,
        was_live: bool,
    ) -> ((usize, usize), Turn) {
        let freed = self.hold_behind(key, seq, was_live);
        (freed, self.turn(key))
    }

    fn hold_behind(&mut self, key: OrderKey, seq: Seq, was_live: bool) -> (usize, usize) {
        let strict = self.order == Order::Strict;
        let lane = self.lanes.entry(key).or_default();
        lane.parked.insert(seq);
        if was_live {
            lane.active = false;
        }
        if strict || lane.active {
            return (0, 0);
        }
        let mut freed = (0, 0);
        while let Some(waiting) = lane.queue.pop_back() {
            freed.0 += 1;
            freed.1 += waiting.weight;
            lane.held.push_front(Held {
                from: waiting.from,
                seq: waiting.stored.seq,
                weight: waiting.weight,
            });
        }
        self.held += freed.0;
        freed
    }

    /// The key of a parked event that was found due, if it may be tried now. A dead letter that was brought back
    /// may have died under another order, so the key is taken from the event.
    ///
    /// # Errors
    /// [`NotYet`]: its turn is said later, by [`Turn::Parked`].
    pub(super) fn may_try(&mut self, stored: &StoredEvent) -> Result<Option<OrderKey>, NotYet> {
        let seq = stored.seq;
        let Some(key) = self.key(&stored.event) else {
            return Ok(None);
        };
        let lane = self.lanes.entry(key).or_default();
        lane.parked.insert(seq);
        if lane.active || lane.in_hand.is_some() || lane.parked.first() != Some(&seq) {
            lane.set_back.insert(seq);
            self.set_back.insert(seq);
            return Err(NotYet);
        }
        lane.in_hand = Some(seq);
        Ok(Some(key))
    }

    /// A parked event is in hand no more, and still parked: what is behind it in the lane is held. Gives the
    /// events and bytes that the window need not count any more, and whose turn it is.
    pub(super) fn let_go(&mut self, key: OrderKey, seq: Seq) -> ((usize, usize), Turn) {
        self.out_of_hand(key, seq);
        (self.hold_behind(key, seq, false), self.turn(key))
    }

    fn out_of_hand(&mut self, key: OrderKey, seq: Seq) {
        if let Some(lane) = self.lanes.get_mut(&key)
            && lane.in_hand == Some(seq)
        {
            lane.in_hand = None;
        }
    }

    /// Rows that were found due too early, and are not to be looked for until it is their turn.
    pub(super) fn set_back(&self) -> impl Iterator<Item = Seq> + '_ {
        self.set_back.iter().copied()
    }

    /// A live event of the lane was delivered, or its dead letter is committed.
    pub(super) fn live_is_over(&mut self, key: OrderKey) -> Turn {
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.active = false;
        }
        self.turn(key)
    }

    /// A parked event of the lane is parked no more, and that is committed.
    pub(super) fn parked_is_over(&mut self, key: OrderKey, seq: Seq) -> Turn {
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.parked.remove(&seq);
            lane.set_back.remove(&seq);
            self.set_back.remove(&seq);
        }
        self.out_of_hand(key, seq);
        self.turn(key)
    }

    /// Whose turn it is in a lane.
    fn turn(&mut self, key: OrderKey) -> Turn {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return Turn::Nobody;
        };
        if lane.active || lane.in_hand.is_some() {
            return Turn::Nobody;
        }
        if let Some(first) = lane.parked.first() {
            // Any other is found when it is due.
            return if lane.set_back.remove(first) {
                self.set_back.remove(first);
                Turn::Parked
            } else {
                Turn::Nobody
            };
        }
        if let Some(next) = lane.queue.pop_front() {
            lane.active = true;
            return Turn::Live(next);
        }
        if lane.held.is_empty() {
            self.lanes.remove(&key);
        } else {
            self.wanted.insert(key);
        }
        Turn::Nobody
    }

    /// The next places to read again, within `limit`, unless a read is under way. [`Lanes::returned`] ends it.
    pub(super) fn begin_fetch(&mut self, limit: BatchLimit) -> Option<Wanted> {
        if self.fetching {
            return None;
        }
        let behind = self.unreadable.map(|key| (Excluded(key), Unbounded));
        let next = behind.and_then(|behind| self.wanted.range(behind).next());
        let key = *next.or_else(|| self.wanted.first())?;
        let lane = self.lanes.get(&key)?;
        let mut bytes = 0;
        let fits = |held: &&Held| {
            bytes += held.weight;
            bytes <= limit.bytes.min(FETCH_BYTES)
        };
        let most = limit.events.min(FETCH_EVENTS);
        let count = lane.held.iter().take(most).take_while(fits).count();
        let seqs = lane.held.iter().take(count.max(1));
        let seqs = seqs.map(|held| held.seq).collect();
        self.fetching = true;
        Some(Wanted { key, seqs })
    }

    /// Ends a fetch: `found` are the events at the places that were wanted, in order; `None` if it failed and
    /// is to be tried again.
    pub(super) fn returned(
        &mut self,
        key: OrderKey,
        found: Option<Vec<Option<StoredEvent>>>,
    ) -> Returned {
        self.fetching = false;
        let mut returned = Returned::default();
        let Some(found) = found else {
            self.unreadable = Some(key);
            return returned;
        };
        self.unreadable = None;
        self.wanted.remove(&key);
        let Some(lane) = self.lanes.get_mut(&key) else {
            return returned;
        };
        for stored in found {
            let Some(held) = lane.held.pop_front() else {
                break;
            };
            self.held -= 1;
            let Some(stored) = stored else {
                returned.lost.push(held);
                continue;
            };
            returned.charged.0 += 1;
            returned.charged.1 += held.weight;
            lane.queue.push_back(Waiting {
                from: held.from,
                weight: held.weight,
                stored,
                key: Some(key),
            });
        }
        if let Turn::Live(next) = self.turn(key) {
            returned.ready = Some(next);
        }
        returned
    }
}

/// The key of what a pointer finds: a hash, so that it has one size. `None` where it finds nothing.
fn key_at(pointer: &Pointer, body: &[u8]) -> Option<OrderKey> {
    let value = pointer.find(body).ok()??;
    let hash = digest(&SHA256, value.as_bytes());
    hash.as_ref().first_chunk().copied().map(OrderKey)
}
