//! Ending a route: what is pending on it is read from the journal once more and settled, as dead letters
//! or as discarded, a step at a time; then the route is closed.

use domain::ports::{
    BatchLimit, Bury, Journal, ReadBatch, RetireFate, RouteRecord, SettledRange, Settlement, State,
};
use domain::{Cause, Clock, Reason, RouteName, Seq, SeqRange, SourceSet, StoredEvent};

use super::stores::Stores;
use crate::exit::{Exit, Failure, Outcome};

/// What is settled in one transaction.
const STEP: BatchLimit = BatchLimit {
    events: 1000,
    bytes: 16 << 20,
};

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
    let routes = stores.state.routes().await?;
    let Some(mut record) = routes.iter().find(|route| route.name == *name).cloned() else {
        let known: Vec<String> = routes.iter().map(|route| route.name.to_string()).collect();
        let error = format!("state knows no route {name}; it knows {}", known.join(", "));
        return Err(Failure::say(Exit::Usage, error));
    };
    let sources: SourceSet = stores
        .state
        .route_sources(name)
        .await?
        .into_iter()
        .collect();
    let mut moved = 0;
    let end = stores.journal.end();
    if record.cursor < end {
        let mut reader = stores.journal.reader(name, record.cursor, sources).await?;
        while record.cursor < end {
            let batch = reader.read(STEP).await?;
            let (step, pending) = settle(&mut record, batch, fate, clock);
            moved += pending;
            stores.state.settle(vec![step]).await?;
        }
    }
    stores.state.retire_route(name, fate, clock.now()).await?;
    Ok(moved)
}

/// The step that settles one batch, and how many of its events were pending.
fn settle(
    record: &mut RouteRecord,
    batch: ReadBatch,
    fate: RetireFate,
    clock: &dyn Clock,
) -> (Settlement, u64) {
    let mut step = Settlement::at(record.name.clone(), batch.through);
    for lost in &batch.damaged {
        step.accepted += lost.count();
        step.counters.damaged += lost.count() - settled_already(record, *lost);
    }
    step.accepted += batch.events.len() as u64;
    let mut pending = 0;
    for stored in batch.events {
        if let Some(settled) = record
            .ranges
            .iter_mut()
            .find(|settled| settled.range.contains(stored.seq))
        {
            // It moves from the range to what lies below the cursor.
            settled.events = settled.events.saturating_sub(1);
            continue;
        }
        pending += 1;
        match fate {
            RetireFate::DeadLetter => step.buries.push(bury(stored, clock)),
            RetireFate::Discard => step.counters.discarded += 1,
        }
    }
    record.cursor = batch.through;
    record.ranges = std::mem::take(&mut record.ranges)
        .into_iter()
        .filter_map(|settled| above(settled, batch.through))
        .collect();
    step.ranges.clone_from(&record.ranges);
    (step, pending)
}

/// How many of the lost numbers lie in settled ranges, where they are counted already; they move to what
/// lies below the cursor.
fn settled_already(record: &mut RouteRecord, lost: SeqRange) -> u64 {
    let mut already = 0;
    for settled in &mut record.ranges {
        if let Some(both) = settled.range.overlap(lost) {
            already += both.count();
            settled.events = settled.events.saturating_sub(both.count());
        }
    }
    already
}

/// What of a range lies above the cursor.
fn above(settled: SettledRange, cursor: Seq) -> Option<SettledRange> {
    let first = settled.range.first.max(cursor.next());
    let range = SeqRange::new(first, settled.range.last)?;
    Some(SettledRange {
        range,
        events: settled.events,
    })
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
    }
}
