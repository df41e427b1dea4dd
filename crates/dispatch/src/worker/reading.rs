//! A worker's reader: at most one read under way, kept across rounds so that none is begun twice.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::{BatchLimit, JournalError, ReadBatch, Reader};
use domain::{Seq, SourceSet};
use futures_util::future::BoxFuture;

use crate::route::{Ports, Route};

/// The wait before a failed read is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);

struct Came {
    reader: Option<Box<dyn Reader>>,
    read: Result<ReadBatch, JournalError>,
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
            let read = reader.read(limit).await;
            let reader = Some(reader);
            Came { reader, read }
        }));
    }

    /// What the read under way gives; waits for ever if there is none. Cancellation safe: the read
    /// goes on with the next call.
    pub(super) async fn came(&mut self) -> Result<ReadBatch, JournalError> {
        let Some(reading) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let came = reading.await;
        self.under_way = None;
        self.idle = came.reader;
        let read = came.read.map(|batch| batch.through(self.until));
        match &read {
            Ok(batch) => self.through = self.through.max(batch.through),
            Err(_) => self.failed = true,
        }
        read
    }
}
