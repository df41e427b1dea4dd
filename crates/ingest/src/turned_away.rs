//! What a source turns away for its own reasons, a wrong secret before all: told in the log as runs, and not one by one.
//!
//! Most senders never repeat what is told 4xx, and whoever reads no metrics would not hear of it. Anybody can have
//! requests refused, though, and must not fill the log: of each source and code the first of a run is told, then sums
//! at growing intervals, then the end. A run ends by quiet alone; what is accepted between does not end it. Nothing of a
//! request is in it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::ports::TurnedAway;
use domain::{SignedDuration, SourceName, Timestamp};

/// The code of what was put into quarantine and not refused.
pub(crate) const QUARANTINED: &str = "quarantined";

/// A run is over when nothing was added to it for so long.
const QUIET: SignedDuration = SignedDuration::from_hours(1);

/// How long after the first of a run its sum is told, and then after each time; the last one goes on.
const AGAIN: [SignedDuration; 5] = [
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(10),
    SignedDuration::from_hours(1),
    SignedDuration::from_hours(6),
    SignedDuration::from_hours(24),
];

/// The runs of one source: one a code at most, and of codes there are few.
#[derive(Debug, Default)]
pub(crate) struct Runs(Mutex<Vec<Run>>);

#[derive(Debug)]
struct Run {
    code: &'static str,
    /// What was wrong with the last one, where that is known.
    reason: Option<String>,
    since: Timestamp,
    last_at: Timestamp,
    requests: u64,
    /// Events of the source that were accepted when it began.
    accepted_before: u64,
    /// How many of them the log has told.
    told: u64,
    /// When it may tell again, and how often it has.
    next_at: Timestamp,
    times: usize,
}

impl Run {
    fn wait(&mut self, now: Timestamp) {
        let wait = AGAIN[self.times.min(AGAIN.len() - 1)];
        self.next_at = now.checked_add(wait).unwrap_or(Timestamp::MAX);
    }

    /// A wall clock that was set back must not silence it.
    fn keep_to(&mut self, now: Timestamp) {
        if now < self.last_at {
            self.last_at = now;
            self.wait(now);
        }
    }

    fn shown(&self, accepted: u64) -> TurnedAway {
        TurnedAway {
            code: self.code.to_owned(),
            reason: self.reason.clone(),
            since: self.since,
            last_at: self.last_at,
            requests: self.requests,
            accepted_meanwhile: accepted.saturating_sub(self.accepted_before),
        }
    }
}

impl Runs {
    /// One more was turned away. `accepted` is what the source has accepted by now.
    pub(crate) fn note(
        &self,
        source: &SourceName,
        code: &'static str,
        reason: Option<String>,
        accepted: u64,
        now: Timestamp,
    ) {
        let mut runs = self.runs();
        if let Some(run) = runs.iter_mut().find(|run| run.code == code) {
            run.keep_to(now);
            run.requests += 1;
            (run.reason, run.last_at) = (reason, now);
            return;
        }
        let mut run = Run {
            code,
            reason,
            since: now,
            last_at: now,
            requests: 1,
            accepted_before: accepted,
            told: 1,
            next_at: now,
            times: 0,
        };
        run.wait(now);
        let shown = run.shown(accepted);
        runs.push(run);
        drop(runs);
        warn(source, &shown, advice(code));
    }

    /// Tells what is due. To be called every now and then.
    pub(crate) fn tend(&self, source: &SourceName, accepted: u64, now: Timestamp) {
        let (mut goes_on, mut over) = (Vec::new(), Vec::new());
        self.runs().retain_mut(|run| {
            run.keep_to(now);
            if now.duration_since(run.last_at) >= QUIET {
                over.push(run.shown(accepted));
                return false;
            }
            if now >= run.next_at && run.requests > run.told {
                (run.told, run.times) = (run.requests, run.times + 1);
                run.wait(now);
                goes_on.push((run.code, run.shown(accepted)));
            }
            true
        });
        for (code, run) in goes_on {
            warn(source, &run, advice(code));
        }
        for run in over {
            let (code, reason) = (&*run.code, run.reason.as_deref());
            tracing::info!(%source, code, reason, requests = run.requests, accepted = run.accepted_meanwhile, since = %run.since, until = %run.last_at,
                "no request of this source has been turned away for this for an hour");
        }
    }

    /// The runs that are not over.
    pub(crate) fn status(&self, accepted: u64) -> Vec<TurnedAway> {
        self.runs().iter().map(|run| run.shown(accepted)).collect()
    }

    fn runs(&self) -> MutexGuard<'_, Vec<Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn(source: &SourceName, run: &TurnedAway, advice: &str) {
    let (code, reason) = (&*run.code, run.reason.as_deref());
    tracing::warn!(%source, code, reason, requests = run.requests, accepted = run.accepted_meanwhile, since = %run.since,
        "{advice}");
}

/// What it means, and what to look at.
fn advice(code: &str) -> &'static str {
    match code {
        "not-verified" => {
            "this source refuses requests that do not prove where they come from; if they are its sender's, compare the secret: most senders never repeat them"
        }
        QUARANTINED => {
            "requests that do not prove where they come from are put in quarantine and not delivered; if they are this source's sender's, mend the secret, then `forebay quarantine release`"
        }
        "not-a-batch" | "bad-item" | "too-many-items" => {
            "this source refuses requests that its `split` cannot take apart; most senders never repeat them"
        }
        "not-json" => {
            "this source refuses bodies that are not JSON, as `require_json` says; most senders never repeat them"
        }
        "body-too-large" => {
            "this source refuses bodies that are larger than its `max_body`; most senders never repeat them"
        }
        "not-allowed" => {
            "this source refuses requests from addresses that are not in its `allow_from`; behind a proxy, see `trusted_proxies`"
        }
        "rate-limited" => "this source refuses requests over its `rate_limit`",
        _ => "this source refuses requests; docs/http-api.md says what the code means",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn source() -> SourceName {
        SourceName::new("s").unwrap()
    }

    /// How often it has told since the first.
    fn told(runs: &Runs) -> Option<(usize, u64)> {
        runs.runs().first().map(|run| (run.times, run.told))
    }

    #[test]
    fn however_many_are_refused_a_few_lines_a_day_tell_of_it() {
        let (runs, source) = (Runs::default(), source());
        for second in 0..86_400 {
            for _ in 0..3 {
                runs.note(
                    &source,
                    "not-verified",
                    Some("signature wrong".into()),
                    0,
                    at(second),
                );
            }
            // What is accepted between ends nothing.
            runs.tend(&source, second.unsigned_abs(), at(second));
        }
        let (times, _) = told(&runs).unwrap();
        // After a minute, 10 minutes, 1 hour, 6 hours.
        assert_eq!(times, 4);
        let [shown] = &runs.status(100)[..] else {
            panic!("one code, one run")
        };
        assert_eq!(
            (shown.requests, shown.accepted_meanwhile),
            (3 * 86_400, 100)
        );
        assert_eq!(shown.reason.as_deref(), Some("signature wrong"));
    }

    #[test]
    fn a_run_ends_an_hour_after_its_last_and_nothing_is_told_twice() {
        let (runs, source) = (Runs::default(), source());
        runs.note(&source, "bad-item", None, 0, at(0));
        runs.note(&source, "not-allowed", None, 0, at(0));
        runs.tend(&source, 0, at(100));
        assert_eq!(told(&runs), Some((0, 1)), "nothing new");
        runs.note(&source, "bad-item", None, 0, at(101));
        runs.tend(&source, 0, at(102));
        assert_eq!(told(&runs), Some((1, 2)));
        runs.tend(&source, 0, at(3600));
        assert_eq!(runs.status(0).len(), 1);
        runs.tend(&source, 0, at(3701));
        assert!(runs.status(0).is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_silence_a_run() {
        let (runs, source) = (Runs::default(), source());
        runs.note(&source, "bad-item", None, 0, at(1_000_000));
        runs.note(&source, "bad-item", None, 0, at(0));
        runs.tend(&source, 0, at(60));
        assert_eq!(told(&runs), Some((1, 2)));
        runs.tend(&source, 0, at(3600));
        assert!(runs.status(0).is_empty());
    }
}
