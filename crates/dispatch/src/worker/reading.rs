//! A worker's reader: at most one read under way, kept across rounds so that none is begun twice. What is known ahead of
//! large events, whether the route wants them, comes with what was read.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{BatchLimit, JournalError, ReadBatch, Reader};
use domain::{Seq, SourceSet};
use futures_util::future::BoxFuture;

use crate::filter::Answers;
use crate::route::{Ports, Route};

/// The wait before a failed read is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// What was read, and what is known of it.
pub(super) struct Read {
    pub(super) batch: ReadBatch,
    pub(super) answers: Answers,
}

struct Came {
    reader: Option<Box<dyn Reader>>,
    read: Result<Read, JournalError>,
}

/// Reads the route's part of the journal in order.
pub(super) struct Reading {
    sources: SourceSet,
    /// Everything through here was read.
    through: Seq,
    /// Nothing after this is the route's.
    until: Seq,
    idle: Option<Box<dyn Reader>>,
    under_way: Option<BoxFuture<'static, Came>>,
    failed: bool,
}

impl Reading {
    /// Begins after the route's cursor.
    pub(super) fn new(route: &Route) -> Self {
        Self {
            sources: route.sources.clone(),
            through: route.record.cursor,
            until: route.until,
            idle: None,
            under_way: None,
            failed: false,
        }
    }

    /// Everything through here was read.
    pub(super) fn through(&self) -> Seq {
        self.through
    }

    /// Whether a read is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins a read unless one is under way. After a failure it rests first.
    pub(super) fn begin(&mut self, route: &Route, ports: &Ports, limit: BatchLimit) {
        if self.under_way.is_some() || self.through >= self.until {
            return;
        }
        let journal = Arc::clone(&ports.journal);
        let (name, sources) = (route.name.clone(), self.sources.clone());
        let wanted = Arc::clone(&route.wanted);
        let (after, idle) = (self.through, self.idle.take());
        let rest = std::mem::take(&mut self.failed);
        self.under_way = Some(Box::pin(async move {
            if rest {
                tokio::time::sleep(READ_AGAIN).await;
            }
            let mut reader = match idle {
                Some(reader) => reader,
                None => match journal.reader(&name, after, sources).await {
                    Ok(reader) => reader,
                    Err(error) => {
                        let read = Err(error);
                        return Came { reader: None, read };
                    }
                },
            };
            let read = match reader.read(limit).await {
                Ok(batch) => {
                    let answers = wanted.ask_ahead(&batch.events).await;
                    Ok(Read { batch, answers })
                }
                Err(error) => Err(error),
            };
            let reader = Some(reader);
            Came { reader, read }
        }));
    }

    /// What the read under way gives; waits for ever if there is none. Cancellation safe: the read
    /// goes on with the next call.
    pub(super) async fn came(&mut self) -> Result<Read, JournalError> {
        let Some(reading) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let came = reading.await;
        self.under_way = None;
        self.idle = came.reader;
        let read = came.read.map(|read| Read {
            batch: read.batch.through(self.until),
            ..read
        });
        match &read {
            Ok(read) => self.through = self.through.max(read.batch.through),
            Err(_) => self.failed = true,
        }
        read
    }
}
