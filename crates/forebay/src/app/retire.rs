//! Ending a route: what is pending on it is read from the journal once more and settled, as dead letters
//! or as discarded, a step at a time; then the route is closed.

use dispatch::Wanted;
use domain::ports::{
    BatchLimit, Bury, Journal, ReadBatch, RetireFate, RouteRecord, Settlement, State, StateError,
    SubscriptionRecords,
};
use domain::{Cause, Clock, Reason, RouteName, Seq, SourceSet, StoredEvent};

use super::stores::Stores;
use crate::exit::{Exit, Failure, Outcome};

/// What is settled in one transaction.
const STEP: BatchLimit = BatchLimit {
    events: 1000,
    bytes: 16 << 20,
};

/// What a route holds that has not been settled for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// Events in the journal that it has not delivered.
    pub pending: u64,
    /// Events that wait for their next attempt.
    pub parked: u64,
    /// Dead letters.
    pub dead: u64,
}

/// What the route holds, so that it can be said before anything is done.
///
/// # Errors
/// Exit code 2 if there is no such route.
pub async fn holds(stores: &Stores, name: &RouteName) -> Outcome<Holds> {
    let record = record(&*stores.state, name).await?;
    let sources = sources(stores, name).await?;
    let stretches = record.unsettled(last_of(stores, name).await?);
    Ok(Holds {
        pending: stores.journal.count_in(&sources, stretches).await?,
        parked: record.parked,
        dead: record.dead,
    })
}

/// The route as state knows it.
///
/// # Errors
/// Exit code 2 with the routes there are, if it is none of them.
pub async fn record(state: &dyn State, name: &RouteName) -> Outcome<RouteRecord> {
    let routes = state.routes().await?;
    if let Some(record) = routes.iter().find(|route| route.name == *name) {
        return Ok(record.clone());
    }
    let known: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
    let known = match known.is_empty() {
        true => "none".to_owned(),
        false => known.join(", "),
    };
    let error = format!("state knows no route {name}; it knows {known}");
    Err(Failure::say(Exit::Usage, error))
}

async fn sources(stores: &Stores, name: &RouteName) -> Result<SourceSet, StateError> {
    let sources = stores.state.route_sources(name).await?;
    Ok(sources.into_iter().collect())
}

/// The last number that may be the route's: a subscription that was deleted takes none after its end.
async fn last_of(stores: &Stores, name: &RouteName) -> Result<Seq, StateError> {
    let subscriptions = stores.state.subscriptions().await?;
    let subscription = subscriptions.iter().find(|one| one.route == *name);
    let until = subscription.and_then(|one| one.until);
    let end = stores.journal.end();
    Ok(until.map_or(end, |until| until.min(end)))
}

/// Settles everything pending, then retires the route. Returns how many events were pending. A crash in
/// between leaves the route with fewer pending events; running it again goes on.
///
/// # Errors
/// Exit code 2 if there is no such route.
pub async fn retire(
    stores: &Stores,
    name: &RouteName,
    fate: RetireFate,
    clock: &dyn Clock,
) -> Outcome<u64> {
    let record = record(&*stores.state, name).await?;
    let end = last_of(stores, name).await?;
    let moved = settle_pending(stores, record, end, fate, clock).await?;
    stores.state.retire_route(name, fate, clock.now()).await?;
    Ok(moved)
}

/// Settles what is pending on the route through `end`. Nobody else may settle for it meanwhile. Returns how many events
/// that were.
///
/// # Errors
/// When either store cannot be read or written; what was settled until then is.
pub async fn settle_pending(
    stores: &Stores,
    mut record: RouteRecord,
    end: Seq,
    fate: RetireFate,
    clock: &dyn Clock,
) -> anyhow::Result<u64> {
    let mut moved = 0;
    if record.cursor < end {
        let name = record.name.clone();
        let sources = sources(stores, &name).await?;
        let mut reader = stores.journal.reader(&name, record.cursor, sources).await?;
        let wanted = Wanted::of(&record);
        while record.cursor < end {
            let batch = reader.read(STEP).await?.through(end);
            let (step, pending) = settle(&mut record, batch, &wanted, fate, clock);
            moved += pending;
            stores.state.settle(vec![step]).await?;
        }
    }
    Ok(moved)
}

/// The step that settles one batch, and how many of its events were pending. What was settled before counts
/// as it was counted then: its events are not told from others' any more where damage took them.
fn settle(
    record: &mut RouteRecord,
    batch: ReadBatch,
    wanted: &Wanted,
    fate: RetireFate,
    clock: &dyn Clock,
) -> (Settlement, u64) {
    let mut step = Settlement::at(record.name.clone(), record.cursor.max(batch.through));
    let unsettled = record.unsettled(batch.through);
    for lost in &batch.damaged {
        let fresh = unsettled.iter().filter_map(|here| here.overlap(*lost));
        step.counters.damaged += fresh.map(|fresh| fresh.count()).sum::<u64>();
    }
    let mut pending = 0;
    for stored in batch.events {
        if !unsettled.iter().any(|here| here.contains(stored.seq)) {
            continue;
        }
        pending += 1;
        // What could not be asked about is kept rather than not.
        let fate = match wanted.wants(&stored.event) {
            Ok(false) => RetireFate::Discard,
            Ok(true) | Err(_) => fate,
        };
        match fate {
            RetireFate::DeadLetter => step.buries.push(bury(stored, clock)),
            RetireFate::Discard => step.counters.discarded += 1,
        }
    }
    step.accepted = pending + step.counters.damaged;
    // A range that the batch came to is settled to its end.
    let above = record
        .ranges
        .iter()
        .position(|settled| settled.range.first > step.cursor);
    for settled in record.ranges.drain(..above.unwrap_or(record.ranges.len())) {
        step.accepted += settled.events;
        step.cursor = step.cursor.max(settled.range.last);
    }
    record.cursor = step.cursor;
    step.ranges.clone_from(&record.ranges);
    (step, pending)
}

fn bury(stored: StoredEvent, clock: &dyn Clock) -> Bury {
    let now = clock.now();
    Bury {
        stored,
        attempts: 0,
        reason: Reason::Retired,
        cause: Cause::new(
            "retired",
            "the route was retired before this event was delivered",
        ),
        first_failure_at: now,
        last_failure_at: now,
        key: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::clock::ManualClock;
    use domain::ports::{Counters, SettledRange};
    use domain::{Event, EventId, Seq, SeqRange, SourceName, Timestamp};

    use super::*;

    fn range(first: u64, last: u64) -> SeqRange {
        SeqRange {
            first: Seq(first),
            last: Seq(last),
        }
    }

    fn stored(seq: u64) -> StoredEvent {
        let event = Event {
            source: SourceName::new("s").unwrap(),
            received_at: Timestamp::UNIX_EPOCH,
            method: "POST".into(),
            path: "/".into(),
            headers: domain::Headers::default(),
            body: "x".into(),
            event_type: None,
            remote: None,
            dedup: None,
            only: None,
        };
        StoredEvent {
            seq: Seq(seq),
            id: EventId::from_bytes([0; 16]),
            event: Arc::new(event),
        }
    }

    fn read(seqs: &[u64], damaged: &[SeqRange], through: u64) -> ReadBatch {
        ReadBatch {
            events: seqs.iter().map(|seq| stored(*seq)).collect(),
            damaged: damaged.to_vec(),
            recounted: Vec::new(),
            through: Seq(through),
        }
    }

    /// Through 10 everything is settled; of 13 to 18 and 21 to 22, four and one are the route's own.
    fn record() -> RouteRecord {
        let settled = |first, last, events| SettledRange {
            range: range(first, last),
            events,
        };
        RouteRecord {
            id: domain::RouteId(1),
            filter: None,
            name: RouteName::new("r").unwrap(),
            cursor: Seq(10),
            ranges: vec![settled(13, 18, 4), settled(21, 22, 1)],
            accepted: 10,
            counters: Counters {
                delivered: 15,
                ..Counters::default()
            },
            parked: 0,
            dead: 0,
            paused: false,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_was_settled_counts_once_however_it_is_read_and_whatever_became_of_it() {
        let stories = [
            vec![read(&[11, 13, 15, 16, 18, 19, 22, 23], &[], 23)],
            vec![
                read(&[11, 13, 15], &[], 15),
                read(&[16, 18, 19], &[], 21),
                read(&[22, 23], &[], 23),
            ],
            // Of what was settled, others' numbers and the route's own were lost.
            vec![
                read(&[11, 15], &[range(13, 14)], 15),
                read(&[16, 19, 23], &[range(17, 18), range(21, 22)], 23),
            ],
            // And of what was not.
            vec![read(&[], &[range(11, 23)], 23)],
        ];
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        for story in stories {
            let (mut record, mut moved) = (record(), 0);
            for batch in story {
                let through = batch.through;
                let what = format!("{batch:?}");
                let (step, pending) = settle(
                    &mut record,
                    batch,
                    &Wanted::default(),
                    RetireFate::Discard,
                    &clock,
                );
                moved += pending;
                assert!(step.cursor >= through && step.cursor == record.cursor);
                assert_eq!(step.ranges, record.ranges);
                record.accepted += step.accepted;
                record.counters.discarded += step.counters.discarded;
                record.counters.damaged += step.counters.damaged;
                assert_eq!(record.ledger(0).imbalance(), 0, "{what}: {record:?}");
            }
            assert_eq!(record.ranges, []);
            assert_eq!(moved, record.counters.discarded);
            let given_up = record.counters.discarded + record.counters.damaged;
            assert!(given_up == 3 || given_up == 5, "{record:?}");
        }
    }
}
