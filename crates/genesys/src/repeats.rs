//! Events that are heard twice: by the socket that goes and by the one that takes over.
//!
//! They have no id of their own. The same topic with the same body within a short time is the same event; later it is
//! another one, that happens to look the same.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use domain::Timestamp;
use tokio::time::Instant;

use crate::channel::frame::{Event, conversation, hash, hex};

/// The most that are remembered; the oldest goes.
const REMEMBERED: usize = 100_000;

/// The events heard within the window.
#[derive(Debug)]
pub(crate) struct Repeats {
    window: Duration,
    first: HashMap<[u8; 16], (Instant, Timestamp)>,
    order: VecDeque<([u8; 16], Instant)>,
}

impl Repeats {
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            window,
            first: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// What an event that is heard now is known by: two that have the same are one.
    pub(crate) fn id(&mut self, event: &Event<'_>, at: Timestamp) -> String {
        if let Some(id) = conversation(event.body) {
            return id;
        }
        let hash = hash(&[event.topic.as_bytes(), event.body.as_bytes()]);
        let now = Instant::now();
        self.forget(now);
        let (_, first) = *self.first.entry(hash).or_insert_with(|| {
            self.order.push_back((hash, now));
            (now, at)
        });
        format!("{}@{}", hex(&hash), first.as_microsecond())
    }

    fn forget(&mut self, now: Instant) {
        while let Some((hash, when)) = self.order.front() {
            if self.order.len() <= REMEMBERED && now.duration_since(*when) < self.window {
                return;
            }
            self.first.remove(hash);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_within_the_window_is_a_repeat_and_later_another_event() {
        let mut repeats = Repeats::new(Duration::from_secs(60));
        let event = |topic: &'static str, body| Event {
            topic: topic.into(),
            body,
        };
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let first = repeats.id(&event("v2.a", "{}"), at(0));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(repeats.id(&event("v2.a", "{}"), at(59)), first);
        assert_ne!(repeats.id(&event("v2.b", "{}"), at(59)), first);
        assert_ne!(repeats.id(&event("v2.a", "{ }"), at(59)), first);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_ne!(repeats.id(&event("v2.a", "{}"), at(60)), first);
        assert_eq!(repeats.first.len(), 3);
        tokio::time::advance(Duration::from_secs(60)).await;
        repeats.id(&event("v2.c", "{}"), at(120));
        assert_eq!(repeats.first.len(), 1, "what is too old is forgotten");
    }
}
