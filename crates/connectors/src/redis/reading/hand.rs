//! What was given out, and is neither let go nor given up.

use std::collections::HashMap;

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

#[derive(Debug)]
struct Held {
    /// An element of a list is found again by its value only; an entry of a stream needs none.
    value: Bytes,
    since: Instant,
}

impl Hand {
    /// Takes what has a handle of its own.
    pub(super) fn take(&mut self, handle: String, now: Instant) {
        let held = Held {
            value: Bytes::new(),
            since: now,
        };
        self.held.insert(handle, held);
    }

    /// Takes a value, and gives it a handle.
    pub(super) fn take_value(&mut self, value: Bytes, now: Instant) -> String {
        let handle = self.next.to_string();
        self.next += 1;
        let held = Held { value, since: now };
        self.held.insert(handle.clone(), held);
        handle
    }

    pub(super) fn has(&self, handle: &str) -> bool {
        self.held.contains_key(handle)
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// How often each value is held.
    pub(super) fn values(&self) -> HashMap<Bytes, usize> {
        let mut values = HashMap::new();
        for held in self.held.values() {
            *values.entry(held.value.clone()).or_insert(0) += 1;
        }
        values
    }

    /// These are still wanted.
    pub(super) fn touch(&mut self, handles: &[String], now: Instant) {
        for handle in handles {
            if let Some(held) = self.held.get_mut(handle) {
                held.since = now;
            }
        }
    }

    /// Forgets these, and gives their values.
    pub(super) fn release(&mut self, handles: &[String]) -> Vec<Bytes> {
        let released = handles.iter().filter_map(|handle| self.held.remove(handle));
        released.map(|held| held.value).collect()
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
        assert_eq!(hand.values()[&b"v"[..]], 1);
        assert_eq!(hand.release(&[value, "x".into()]), [&b"v"[..]]);
        assert_eq!(hand.len(), 0);
    }
}
