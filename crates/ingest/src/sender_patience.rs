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
    last_at: Timestamp,
    code: &'static str,
    /// The log has said that events are lost.
    told: bool,
    /// It would take events again from then on, and none has come.
    takes_since: Option<Timestamp>,
    /// The log has said that.
    told_takes: bool,
}

/// So long after the last refusal it is believed that the source takes events again.
const CALM: SignedDuration = SignedDuration::from_secs(2);

/// Refusals whose cause is elsewhere, so that only an event that comes through shows it to be over.
const UNSEEN: [&str; 2] = ["no-certificate", "not-confirmed"];

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
            let lost_from = self.lost_from(now);
            match lost_from {
                Some(lost_from) if lost_from <= now => tracing::error!(%source, code,
                    "events of this source are refused and lost for good: its sender does not try again"),
                Some(lost_from) => tracing::warn!(%source, code, %lost_from,
                    "events of this source are refused; its sender goes on trying, and what it sent first is lost for good at lost_from"),
                None => tracing::warn!(%source, code,
                    "events of this source are refused; how long its sender goes on trying is not known: set its `retry_window`"),
            }
            Since {
                at: now,
                last_at: now,
                code,
                told: lost_from.is_some_and(|lost_from| lost_from <= now),
                takes_since: None,
                told_takes: false,
            }
        });
        (begun.code, begun.last_at) = (code, now);
        begun.takes_since = None;
    }

    /// Whether anything was refused since the last event was accepted.
    pub(crate) fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// Tells what has come true since: nobody else need come to say it. `takes`: an event would be taken now.
    pub(crate) fn tend(&self, source: &SourceName, takes: bool, now: Timestamp) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(begun) = since.as_mut() else {
            return;
        };
        let lost_since = self.lost_from(begun.at).filter(|lost| *lost <= now);
        if let Some(lost_since) = lost_since.filter(|_| !begun.told) {
            begun.told = true;
            tracing::error!(%source, code = begun.code, refused_since = %begun.at, %lost_since,
                "events of this source are lost for good: its sender has given up on what was refused first");
        }
        let calm = now.duration_since(begun.last_at).abs() >= CALM;
        if !takes || UNSEEN.contains(&begun.code) {
            begun.takes_since = None;
        } else if calm && begun.takes_since.is_none() {
            begun.takes_since = Some(now);
            if !begun.told_takes {
                begun.told_takes = true;
                tracing::info!(%source, refused_since = %begun.at, refused_until = %begun.last_at,
                    "events of this source can be accepted again; none has come yet");
            }
        }
    }

    /// An event was accepted that was received then. One from before anything was refused, as it comes out of quarantine,
    /// says nothing of what is accepted now.
    pub(crate) fn accepted(&self, source: &SourceName, now: Timestamp) {
        if !self.refuses() {
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
        let (refused_since, refused_until) = (begun.at, begun.last_at);
        match self.lost_from(begun.at) {
            Some(lost_since) if now >= lost_since => {
                tracing::warn!(%source, %refused_since, %refused_until, %lost_since,
                "events of this source are accepted again; some of those that were refused are lost, as its sender gave up on them");
            }
            Some(_) => tracing::info!(%source, %refused_since, %refused_until,
                "events of this source are accepted again, in time for its sender"),
            None => tracing::info!(%source, %refused_since, %refused_until,
                "events of this source are accepted again"),
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
            until: begun.last_at,
            takes_since: begun.takes_since,
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
    fn that_events_would_be_taken_again_is_said_though_none_comes() {
        let source = SourceName::new("github").unwrap();
        let patience = SenderPatience::new(Some(Duration::from_secs(60)));
        patience.refused(&source, "no-room", at(0));
        patience.refused(&source, "no-room", at(10));
        let takes_since = |second| patience.status(at(second)).unwrap().takes_since;
        patience.tend(&source, false, at(15));
        assert_eq!(takes_since(15), None);
        patience.tend(&source, true, at(20));
        patience.tend(&source, true, at(70));
        assert_eq!(takes_since(70), Some(at(20)));
        let status = patience.status(at(70)).unwrap();
        assert_eq!((status.since, status.until), (at(0), at(10)));
        assert!(
            patience.since.lock().unwrap().as_ref().unwrap().told,
            "without another request"
        );
        patience.refused(&source, "no-room", at(80));
        patience.tend(&source, true, at(81));
        assert_eq!(takes_since(81), None, "too soon to say");
        // Nobody but the sender's next request can tell.
        patience.refused(&source, "not-confirmed", at(82));
        patience.tend(&source, true, at(100));
        assert_eq!(takes_since(100), None);
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
