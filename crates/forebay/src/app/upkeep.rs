//! What is done now and then while the server runs: what state remembers of deliveries expires with the
//! journal's `retain`, dead letters with their route's `expire_after`, those that every target has with `keep`, and what is
//! in quarantine with its source's `quarantine_keep`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{DeadFilter, DeadLetters, Exports, Selection, State, StateError};
use domain::{Clock, DestinationName, RouteName, SourceName, Timestamp};
use ingest::Ingest;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::stores::Stores;
use super::subscriptions;

/// How often.
const ROUND: Duration = Duration::from_secs(60);

/// Dead letters discarded in one transaction.
const BATCH: usize = 1000;

/// What expires, and when.
pub struct Expiry {
    /// How long deliveries are remembered.
    pub retain: Duration,
    /// How long the dead letters of each route that says so wait for somebody.
    pub dead_letters: BTreeMap<RouteName, Duration>,
    /// How long those of each route that has targets stay after all of them have them.
    pub exported: Exported,
    /// How long each source keeps what is in quarantine.
    pub quarantine: BTreeMap<SourceName, Duration>,
}

/// The targets of routes, and how long a dead letter is kept that all of them have.
pub type Exported = BTreeMap<RouteName, (Vec<DestinationName>, Duration)>;

/// Runs until the runtime ends.
pub async fn run(stores: Stores, ingest: Arc<Ingest>, clock: Arc<dyn Clock>, expiry: Expiry) {
    let state = &*stores.state;
    let time = Steady::new(&*clock);
    let round = ROUND.min(shortest(&expiry));
    loop {
        tokio::time::sleep(round).await;
        let now = time.now(&*clock);
        if let Err(error) = state.expire_delivered(before(now, expiry.retain)).await {
            tracing::warn!(%error, "cannot forget old deliveries; trying again");
        }
        let subscribed = subscriptions::exported(state).await;
        for (route, (targets, keep)) in expiry.exported.iter().chain(&subscribed) {
            match discard_exported(state, route, targets, before(now, *keep)).await {
                Ok(0) => {}
                Ok(count) => {
                    tracing::info!(%route, count, "dead letters that every target has were discarded: they were kept as long as dead_letter.keep says");
                }
                Err(error) => {
                    tracing::warn!(%route, %error, "cannot discard exported dead letters; trying again");
                }
            }
        }
        if let Err(error) = ingest.expire_quarantined(now).await {
            tracing::warn!(%error, "cannot discard what has been in quarantine long enough; trying again");
        }
        let records = state.routes().await.unwrap_or_default();
        for (route, after) in &expiry.dead_letters {
            let Some(record) = records.iter().find(|record| record.name == *route) else {
                continue;
            };
            let span = (record.created_at, before(now, *after));
            match expire(state, route, span).await {
                Ok(0) => {}
                Ok(count) => {
                    tracing::info!(%route, count, "dead letters that nobody dealt with were discarded: their expire_after has passed");
                }
                Err(error) => {
                    tracing::warn!(%route, %error, "cannot discard expired dead letters; trying again");
                }
            }
        }
    }
}

/// A short `expire_after` or `keep` is looked at as often as it says.
fn shortest(expiry: &Expiry) -> Duration {
    let kept = expiry.exported.values().map(|(_, keep)| keep);
    let all = expiry.dead_letters.values().chain(kept);
    let shortest = all.chain(expiry.quarantine.values()).min().copied();
    shortest.unwrap_or(ROUND).max(Duration::from_secs(1))
}

/// Discards what last failed in that time. Returns how many. What failed before its route was made did so by a clock
/// that was wrong: nobody knows how old it is, and it stays.
async fn expire(
    letters: &dyn DeadLetters,
    route: &RouteName,
    (after, before): (Timestamp, Timestamp),
) -> Result<u64, StateError> {
    let old = Selection::Filter(DeadFilter {
        route: Some(route.clone()),
        after: Some(after),
        before: Some(before),
        ..DeadFilter::default()
    });
    let through = letters.last_letter().await?;
    let mut count = 0;
    loop {
        match letters.purge(&old, through, BATCH).await? {
            0 => return Ok(count),
            purged => count += purged,
        }
    }
}

/// Discards what every target had before then. Returns how many.
async fn discard_exported(
    exports: &dyn Exports,
    route: &RouteName,
    targets: &[DestinationName],
    before: Timestamp,
) -> Result<u64, StateError> {
    let mut count = 0;
    loop {
        match exports
            .discard_exported(route, targets, before, BATCH)
            .await?
        {
            0 => return Ok(count),
            discarded => count += discarded,
        }
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    now.saturating_sub(age).unwrap_or(Timestamp::MIN)
}

/// The wall clock, but never further ahead than the time that has passed since the start: a clock that jumps
/// forward expires nothing early. One that was behind at the start expires late, until the next start.
struct Steady {
    wall: Timestamp,
    begun: Instant,
}

impl Steady {
    fn new(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.now(),
            begun: Instant::now(),
        }
    }

    fn now(&self, clock: &dyn Clock) -> Timestamp {
        self.at(clock.now(), self.begun.elapsed())
    }

    /// With what the wall clock says so long after the start.
    fn at(&self, wall: Timestamp, passed: Duration) -> Timestamp {
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let steady = self.wall.saturating_add(passed).unwrap_or(Timestamp::MAX);
        wall.min(steady)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::clock::ManualClock;

    #[test]
    fn a_clock_that_jumps_ahead_expires_nothing_early() {
        let start = Timestamp::from_second(1_790_000_000).unwrap();
        let steady = Steady::new(&ManualClock::new(start));
        let after = |seconds| start + SignedDuration::from_secs(seconds);
        let minute = Duration::from_secs(60);
        assert_eq!(steady.at(after(86_400), minute), after(60));
        assert_eq!(steady.at(after(-60), minute), after(-60));
        assert_eq!(steady.at(after(59), minute), after(59));
    }
}
