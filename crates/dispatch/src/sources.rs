//! A change of the sources that a route takes, between two starts.
//!
//! The settled ranges above a cursor say what is settled of the sources that the route took then, by
//! numbers that other sources' events lie among. Before the route takes others, the ranges are made to
//! say the same of the new sources: an event of a source that joined is cut out of them, so that it is
//! read and delivered; one of a source that left moves from the range's count to the events below the
//! cursor. Whatever is settled afterwards counts by the new sources alone. A source that left and came
//! back is one that joined: what of it lies in the ranges is delivered a second time.

use std::collections::VecDeque;

use domain::ports::{
    BatchLimit, Journal, JournalError, ReadBatch, RouteRecord, SettledRange, Settlement, State,
    StateError,
};
use domain::{RouteName, Seq, SeqRange, SourceName, SourceSet};

/// What is read at once.
const READ: BatchLimit = BatchLimit {
    events: 1024,
    bytes: 4 << 20,
};

/// Why a route's sources could not be changed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// State could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// What lies between the route's cursor and its last settled range could not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Notes which sources a registered route takes from now on. To be called before it runs, with nobody
/// else settling for it; its record must be read again afterwards. Reads the journal only if the
/// sources are others than before and something above the route's cursor is settled.
///
/// # Errors
/// [`StateError::UnknownRoute`], or when either store cannot be read or written.
pub async fn change_sources(
    state: &dyn State,
    journal: &dyn Journal,
    route: &RouteName,
    sources: Vec<SourceName>,
) -> Result<(), ChangeError> {
    let before: SourceSet = state.route_sources(route).await?.into_iter().collect();
    let after: SourceSet = sources.iter().cloned().collect();
    if before == after {
        return Ok(());
    }
    let records = state.routes().await?;
    let record = records.into_iter().find(|record| record.name == *route);
    let record = record.ok_or_else(|| StateError::UnknownRoute(route.clone()))?;
    if record.ranges.is_empty() {
        return Ok(state.set_route_sources(route, sources).await?);
    }
    let recount = read(journal, &record, before, after).await?;
    tracing::info!(%route, ranges = record.ranges.len(), now = recount.done.len(),
        "the route takes other sources; what is settled above its cursor was counted anew");
    let step = Settlement {
        accepted: recount.moved,
        ranges: recount.done,
        sources: Some(sources),
        ..Settlement::at(route.clone(), record.cursor)
    };
    Ok(state.settle(vec![step]).await?)
}

/// Reads what lies in the ranges and counts it.
async fn read(
    journal: &dyn Journal,
    record: &RouteRecord,
    before: SourceSet,
    after: SourceSet,
) -> Result<Recount, JournalError> {
    let last = record.ranges.iter().map(|settled| settled.range.last).max();
    let last = last.unwrap_or_default().min(journal.end());
    let either = before.iter().chain(after.iter()).cloned().collect();
    let mut recount = Recount::new(&record.ranges, before, after);
    // From the cursor and not from the first range: a reader says what its route still needs.
    let mut reader = journal.reader(&record.name, record.cursor, either).await?;
    let mut through = record.cursor;
    while through < last {
        let batch = reader.read(READ).await?;
        through = through.max(batch.through);
        recount.take_in(batch);
    }
    recount.finish();
    Ok(recount)
}

/// The ranges by the sources of before, turned into ranges by those of after.
///
/// The events in `done` and `moved` together are always those that the ranges had.
#[derive(Debug)]
struct Recount {
    before: SourceSet,
    after: SourceSet,
    /// The range being read, and those above it.
    ranges: VecDeque<SettledRange>,
    /// Of the range being read: where its next piece begins, what was counted in that, and what of the
    /// range's count is still to be found.
    first: Seq,
    counted: u64,
    left: u64,
    /// Pieces that hold events. Those that hold none are found again by reading.
    done: Vec<SettledRange>,
    /// Events of sources that left.
    moved: u64,
}

impl Recount {
    fn new(ranges: &[SettledRange], before: SourceSet, after: SourceSet) -> Self {
        let mut recount = Self {
            before,
            after,
            ranges: ranges.iter().copied().collect(),
            first: Seq::ZERO,
            counted: 0,
            left: 0,
            done: Vec::new(),
            moved: 0,
        };
        recount.begin_range();
        recount
    }

    fn take_in(&mut self, read: ReadBatch) {
        let mut damaged = read.damaged.into_iter().peekable();
        for stored in read.events {
            while let Some(range) = damaged.next_if(|range| range.first < stored.seq) {
                self.damage(range);
            }
            self.event(stored.seq, stored.event.source.as_str());
        }
        for range in damaged {
            self.damage(range);
        }
    }

    /// Ends what no event came for any more.
    fn finish(&mut self) {
        self.go_to(Seq(u64::MAX));
    }

    fn event(&mut self, seq: Seq, source: &str) {
        self.go_to(seq);
        let inside = self
            .ranges
            .front()
            .is_some_and(|settled| settled.range.contains(seq));
        if !inside {
            return;
        }
        if !self.before.contains(source) {
            self.end_piece(seq.previous());
            self.first = seq.next();
        } else if self.after.contains(source) {
            self.count(1);
        }
    }

    /// Damage is every route's: it was counted, and still is.
    fn damage(&mut self, lost: SeqRange) {
        let mut at = lost.first;
        while at <= lost.last {
            self.go_to(at);
            let Some(SettledRange { range, .. }) = self.ranges.front() else {
                return;
            };
            let (first, last) = (at.max(range.first), lost.last.min(range.last));
            let Some(inside) = SeqRange::new(first, last) else {
                return;
            };
            self.count(inside.count());
            at = last.next();
        }
    }

    fn count(&mut self, events: u64) {
        let events = events.min(self.left);
        self.left -= events;
        self.counted += events;
    }

    /// Ends the ranges that lie below `seq`.
    fn go_to(&mut self, seq: Seq) {
        while let Some(SettledRange { range, .. }) = self.ranges.front().copied()
            && range.last < seq
        {
            self.end_piece(range.last);
            self.moved += self.left;
            self.ranges.pop_front();
            self.begin_range();
        }
    }

    fn begin_range(&mut self) {
        if let Some(settled) = self.ranges.front() {
            (self.first, self.left) = (settled.range.first, settled.events);
        }
    }

    fn end_piece(&mut self, last: Seq) {
        let events = std::mem::take(&mut self.counted);
        if let Some(range) = SeqRange::new(self.first, last)
            && events > 0
        {
            self.done.push(SettledRange { range, events });
        }
    }
}

#[cfg(test)]
mod tests;
