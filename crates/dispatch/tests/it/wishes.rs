//! What the route of a generated life wanted, from when until when, and what follows from that for each event.

use std::collections::BTreeSet;

use domain::RouteId;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::model::KEYS;

/// What an event is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// Its `/n`.
    pub(crate) n: u64,
    /// Its `/k` is "key " and this.
    pub(crate) key: u64,
    /// It is for this route only.
    pub(crate) only: Option<RouteId>,
}

/// An expression, and the same in Rust.
pub(crate) struct Wish {
    pub(crate) text: Option<&'static str>,
    wants: fn(Asked) -> bool,
}

static WISHES: [Wish; 6] = [
    Wish {
        text: None,
        wants: |_| true,
    },
    Wish {
        text: Some("body.k != 'key 1'"),
        wants: |event| event.key != 1,
    },
    Wish {
        text: Some("body.n < 7"),
        wants: |event| event.n < 7,
    },
    Wish {
        text: Some("body.n % 3 != 0 && body.k != 'key 0'"),
        wants: |event| !event.n.is_multiple_of(3) && event.key != 0,
    },
    Wish {
        text: Some("has(body.n) && body.k in ['key 2', 'key 3']"),
        wants: |event| matches!(event.key, 2 | 3),
    },
    // It cannot be asked of any.
    Wish {
        text: Some("body.missing == 1"),
        wants: |_| false,
    },
];

/// The number that the route has in state.
const OWN: RouteId = RouteId(1);

/// Every wish that was in force, and every event that came.
pub(crate) struct Wishes {
    /// Each with the number of the last event that had come when it ended.
    past: Vec<(&'static Wish, u64)>,
    now: &'static Wish,
    events: Vec<Asked>,
}

impl Wishes {
    /// Half of all routes want everything.
    pub(crate) fn new(dice: &mut StdRng) -> Self {
        let now = match dice.random_bool(0.5) {
            true => 0,
            false => dice.random_range(0..WISHES.len()),
        };
        Self {
            past: Vec::new(),
            now: &WISHES[now],
            events: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> &'static Wish {
        self.now
    }

    pub(crate) fn events(&self) -> u64 {
        self.events.len() as u64
    }

    /// `count` more events have come, all for the same route or for any.
    pub(crate) fn come(&mut self, count: u64, only: Option<RouteId>) {
        for n in 0..count {
            let key = (self.events() + 1) % KEYS;
            self.events.push(Asked { n, key, only });
        }
    }

    /// The next process may want something else.
    pub(crate) fn may_change(&mut self, dice: &mut StdRng) {
        // Where everything was wanted it mostly stays so: that is what most lives are about.
        let odds = if self.now.text.is_none() { 0.1 } else { 0.5 };
        if dice.random_bool(odds) {
            self.past.push((self.now, self.events()));
            self.now = &WISHES[dice.random_range(0..WISHES.len())];
        }
    }

    /// What each wish said of it that was in force at some time since it came.
    fn said(&self, seq: u64) -> impl Iterator<Item = bool> {
        let index = usize::try_from(seq - 1).unwrap();
        let event = self.events[index];
        let past = self.past.iter();
        let past = past.filter(move |(_, until)| seq <= *until);
        let all = past.map(|(wish, _)| *wish).chain([self.now]);
        all.map(move |wish| match event.only {
            Some(only) => only == OWN,
            None => (wish.wants)(event),
        })
    }

    pub(crate) fn always_wanted(&self, seq: u64) -> bool {
        self.said(seq).all(|wanted| wanted)
    }

    pub(crate) fn never_wanted(&self, seq: u64) -> bool {
        self.said(seq).all(|wanted| !wanted)
    }

    /// What was delivered was wanted at some time.
    pub(crate) fn judge(&self, delivered: &BTreeSet<u64>) -> Result<(), String> {
        match delivered.iter().find(|seq| self.never_wanted(**seq)) {
            Some(seq) => Err(format!("event {seq} was delivered, and was never wanted")),
            None => Ok(()),
        }
    }

    /// So many were discarded for not being wanted.
    pub(crate) fn judge_skipped(&self, skipped: u64) -> Result<(), String> {
        let count = |wanted: fn(&Self, u64) -> bool| {
            let all = 1..=self.events();
            all.filter(|seq| wanted(self, *seq)).count() as u64
        };
        let never = count(Self::never_wanted);
        let not_always = self.events() - count(Self::always_wanted);
        if (never..=not_always).contains(&skipped) {
            return Ok(());
        }
        Err(format!(
            "{skipped} were skipped; {never} were never wanted, and {not_always} not always"
        ))
    }
}

/// Whom a batch of events is for: any route, mostly.
pub(crate) fn only(dice: &mut impl Rng) -> Option<RouteId> {
    match dice.random_range(0..20_u32) {
        0 => Some(OWN),
        1 => Some(RouteId(2)),
        _ => None,
    }
}
