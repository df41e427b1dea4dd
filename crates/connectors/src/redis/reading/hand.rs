//! What was given out, and is neither let go nor given up.

use std::collections::HashMap;

use aws_lc_rs::digest;
use bytes::Bytes;
use tokio::time::Instant;

use super::HOLD;

/// Handles, with what is known of each.
#[derive(Debug, Default)]
pub(super) struct Hand {
    held: HashMap<String, Held>,
    /// The number of the next handle that is ours to give.
    next: u64,
}

/// Larger values are not kept for long.
const LARGE: usize = 4 << 10;

/// What an element of a list is found again by: its value, or what stands for it if that is large.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Mark {
    Value(Bytes),
    Digest([u8; 32]),
}

impl Mark {
    pub(super) fn of(value: &Bytes) -> Self {
        if value.len() <= LARGE {
            return Self::Value(value.clone());
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, value).as_ref());
        Self::Digest(hash)
    }
}

#[derive(Debug)]
struct Held {
    /// An entry of a stream needs none, and has an empty one.
    mark: Mark,
    /// The value, if it is large and was given out only now.
    value: Option<Bytes>,
    since: Instant,
}

impl Hand {
    /// Takes what has a handle of its own.
    pub(super) fn take(&mut self, handle: String, now: Instant) {
        let held = Held {
            mark: Mark::Value(Bytes::new()),
            value: None,
            since: now,
        };
        self.held.insert(handle, held);
    }

    /// Takes a value, and gives it a handle.
    pub(super) fn take_value(&mut self, value: Bytes, now: Instant) -> String {
        let handle = self.next.to_string();
        self.next += 1;
        let mark = Mark::of(&value);
        let value = matches!(mark, Mark::Digest(_)).then_some(value);
        let held = Held {
            mark,
            value,
            since: now,
        };
        self.held.insert(handle.clone(), held);
        handle
    }

    pub(super) fn has(&self, handle: &str) -> bool {
        self.held.contains_key(handle)
    }

    /// How often each value is held.
    pub(super) fn marks(&self) -> HashMap<Mark, usize> {
        let mut marks = HashMap::new();
        for held in self.held.values() {
            *marks.entry(held.mark.clone()).or_insert(0) += 1;
        }
        marks
    }

    /// Forgets the large values: what has not been let go by now may never be, and there may be many.
    pub(super) fn slim(&mut self) {
        for held in self.held.values_mut() {
            held.value = None;
        }
    }

    /// These are still wanted.
    pub(super) fn touch(&mut self, handles: &[String], now: Instant) {
        for handle in handles {
            if let Some(held) = self.held.get_mut(handle) {
                held.since = now;
            }
        }
    }

    /// Forgets these, and gives their values, or what stands for them.
    pub(super) fn release(&mut self, handles: &[String]) -> Vec<Mark> {
        let released = handles.iter().filter_map(|handle| self.held.remove(handle));
        let mark = |held: Held| held.value.map_or(held.mark, Mark::Value);
        released.map(mark).collect()
    }

    /// Forgets what nobody kept in time. Returns whether there was any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.held.len();
        self.held
            .retain(|_, held| now.saturating_duration_since(held.since) < HOLD);
        self.held.len() < before
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_stays_and_what_is_not_is_given_up_in_time() {
        let (mut hand, begun) = (Hand::default(), Instant::now());
        hand.take("1-0".into(), begun);
        let value = hand.take_value(Bytes::from_static(b"v"), begun);
        let later = begun + HOLD - Duration::from_secs(1);
        assert!(!hand.expire(later));
        hand.touch(std::slice::from_ref(&value), later);
        assert!(hand.expire(begun + HOLD));
        assert!(!hand.has("1-0") && hand.has(&value));
        let mark = Mark::Value(Bytes::from_static(b"v"));
        assert_eq!(hand.marks()[&mark], 1);
        assert_eq!(hand.release(&[value, "x".into()]), [mark]);
        assert!(hand.held.is_empty());
    }

    #[test]
    fn large_values_are_in_memory_only_until_the_next_are_taken() {
        let (mut hand, now) = (Hand::default(), Instant::now());
        let large = Bytes::from(vec![b'x'; LARGE + 1]);
        let handle = hand.take_value(large.clone(), now);
        let (again, same) = (hand.take_value(large.clone(), now), Mark::of(&large));
        assert_eq!(hand.marks()[&same], 2);
        assert_eq!(hand.release(&[again]), [Mark::Value(large.clone())]);
        hand.slim();
        assert_eq!(hand.marks()[&same], 1);
        assert_eq!(hand.release(&[handle]), [same]);
        assert!(large.is_unique(), "nobody else has it");
    }
}
