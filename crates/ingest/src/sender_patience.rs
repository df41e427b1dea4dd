//! How long a source has been refusing for trouble of our own, held against how long its sender goes on trying.
//!
//! What was refused first is lost first: when the sender's window, counted from there, is over. Nobody but we can say
//! so in time: the sender's log has only 503s.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::ports::Refusing;
use domain::{SignedDuration, SourceName, Timestamp};

/// One source's sender.
#[derive(Debug)]
pub(crate) struct SenderPatience {
    /// From its first try to its last; `None`: not known.
    window: Option<Duration>,
    /// Whether `since` is set: all that an accepted event asks.
    refuses: AtomicBool,
    since: Mutex<Option<Since>>,
}

#[derive(Debug)]
struct Since {
    at: Timestamp,
    code: &'static str,
    /// The log has said that events are lost.
    told: bool,
}

impl SenderPatience {
    pub(crate) fn new(window: Option<Duration>) -> Self {
        Self {
            window,
            refuses: AtomicBool::new(false),
            since: Mutex::new(None),
        }
    }

    fn lost_from(&self, since: Timestamp) -> Option<Timestamp> {
        let window = SignedDuration::try_from(self.window?).ok()?;
        since.checked_add(window).ok()
    }

    /// A request was refused for trouble of our own.
    pub(crate) fn refused(&self, source: &SourceName, code: &'static str, now: Timestamp) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = since.get_or_insert_with(|| {
            self.refuses.store(true, Ordering::Relaxed);
            match self.lost_from(now) {
                Some(lost_from) => tracing::warn!(%source, code, %lost_from,
                    "events of this source are refused; its sender tries again, and what it sends now is lost for good from then on"),
                None => tracing::warn!(%source, code,
                    "events of this source are refused; how long its sender tries again is not known: set the source's retry_window"),
            }
            Since {
                at: now,
                code,
                told: false,
            }
        });
        begun.code = code;
        let lost_from = self.lost_from(begun.at);
        if !begun.told && lost_from.is_some_and(|lost_from| now >= lost_from) {
            begun.told = true;
            tracing::error!(%source, code, since = %begun.at,
                "events of this source are being lost for good: its sender has given up on what was refused first");
        }
    }

    /// An event was accepted that was received then. One from before anything was refused, as it comes out of quarantine,
    /// says nothing of what is accepted now.
    pub(crate) fn accepted(&self, source: &SourceName, now: Timestamp) {
        if !self.refuses.load(Ordering::Relaxed) {
            return;
        }
        let begun = {
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            let begun = since.take_if(|begun| begun.at <= now);
            if since.is_none() {
                self.refuses.store(false, Ordering::Relaxed);
            }
            begun
        };
        let Some(begun) = begun else {
            return;
        };
        match self.lost_from(begun.at) {
            Some(lost_from) if now >= lost_from => {
                tracing::warn!(%source, since = %begun.at, through = %now,
                "events of this source are accepted again; some of those that were refused are lost, as its sender gave up on them");
            }
            Some(_) => tracing::info!(%source, since = %begun.at,
                "events of this source are accepted again, in time for its sender"),
            None => {
                tracing::info!(%source, since = %begun.at, "events of this source are accepted again");
            }
        }
    }

    /// From the sender's first try to its last.
    pub(crate) fn window(&self) -> Option<Duration> {
        self.window
    }

    /// What is to be said of it now; `None`: nothing is refused.
    pub(crate) fn status(&self, now: Timestamp) -> Option<Refusing> {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = since.as_ref()?;
        let lost_from = self.lost_from(begun.at);
        let left = lost_from.map(|lost_from| lost_from.duration_since(now).as_secs_f64().max(0.0));
        Some(Refusing {
            since: begun.at,
            code: begun.code.to_owned(),
            window_seconds: self.window.map(|window| window.as_secs_f64()),
            left_seconds: left,
            lost_from,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn left(patience: &SenderPatience, second: i64) -> Option<f64> {
        patience.status(at(second))?.left_seconds
    }

    #[test]
    fn the_window_is_counted_from_the_first_refusal_and_not_from_each() {
        let source = SourceName::new("genesys").unwrap();
        let patience = SenderPatience::new(Some(Duration::from_secs(85)));
        assert_eq!(patience.status(at(0)), None);
        patience.refused(&source, "no-room", at(0));
        patience.refused(&source, "busy", at(30));
        assert_eq!(left(&patience, 30), Some(55.0));
        let status = patience.status(at(30)).unwrap();
        assert_eq!(
            (status.code.as_str(), status.lost_from),
            ("busy", Some(at(85)))
        );
        assert_eq!(left(&patience, 100), Some(0.0));
        patience.accepted(&source, at(101));
        assert_eq!(patience.status(at(101)), None);
        patience.refused(&source, "busy", at(200));
        assert_eq!(left(&patience, 200), Some(85.0));
        // Out of quarantine, where it was since before.
        patience.accepted(&source, at(199));
        assert_eq!(left(&patience, 200), Some(85.0));
        patience.accepted(&source, at(201));
        assert_eq!(patience.status(at(201)), None);
    }

    #[test]
    fn a_sender_that_tries_once_loses_at_once_and_an_unknown_one_is_not_guessed_at() {
        let source = SourceName::new("s").unwrap();
        let once = SenderPatience::new(Some(Duration::ZERO));
        once.refused(&source, "busy", at(0));
        assert_eq!(left(&once, 0), Some(0.0));
        let unknown = SenderPatience::new(None);
        unknown.refused(&source, "busy", at(0));
        let status = unknown.status(at(9)).unwrap();
        assert_eq!((status.left_seconds, status.lost_from), (None, None));
    }
}
