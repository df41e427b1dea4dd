//! One page of events: read from the archive in small bites, filtered by fate, with bounded work.
//!
//! A page may be short of its limit and still have a cursor: a filter that fits few events would
//! otherwise make one request look at all of the journal.

use std::collections::BTreeSet;

use domain::SourceName;
use domain::ports::{EventPage, EventQuery, RouteStatus};
use domain::{Seq, StoredEvent};
use serde::Serialize;

use super::fates::{self, RouteFate};
use super::query::EventsQuery;
use super::view::Summary;
use crate::context::Ports;
use crate::cursor::List;
use crate::problem::Problem;

/// Events looked at for one page.
const MAX_EVENTS: usize = 10_000;

/// Questions to state for one page.
const MAX_FATES: usize = 10_000;

/// Memory that one bite of events should take, in bytes. A list shows no bodies, but the archive
/// reads them.
const BITE_BYTES: usize = 8 << 20;

/// Events in the first bite, before their size is known; and the most in any.
const FIRST_BITE: usize = 8;
const LARGEST_BITE: usize = 512;

/// The answer.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    events: Vec<Summary>,
    /// `None`: there is no more.
    next_cursor: Option<String>,
}

/// What the filters mean, once the routes are known.
struct Wanted<'a> {
    query: &'a EventsQuery,
    /// The routes whose fates are shown and filtered by.
    routes: Vec<RouteStatus>,
    /// The one source that the archive can filter by itself.
    source: Option<SourceName>,
    nothing: bool,
}

impl<'a> Wanted<'a> {
    fn new(query: &'a EventsQuery, mut routes: Vec<RouteStatus>) -> Result<Self, Problem> {
        let mut source = query.source.clone();
        let mut nothing = false;
        if let Some(name) = &query.route {
            let known: Vec<String> = routes.iter().map(|route| route.name.to_string()).collect();
            routes.retain(|route| route.name == *name);
            let route = routes.first().ok_or_else(|| {
                let right = format!("a running route; there is {}", known.join(", "));
                Problem::parameter("route", &right)
            })?;
            nothing = match (&source, &*route.sources) {
                (Some(source), taken) => !taken.contains(source),
                (None, []) => true,
                (None, [only]) => {
                    source = Some(only.clone());
                    false
                }
                (None, _) => false,
            };
        }
        Ok(Self {
            query,
            routes,
            source,
            nothing,
        })
    }

    /// Whether the route filter leaves the event in. Asked before state is.
    fn takes(&self, stored: &StoredEvent) -> bool {
        self.query.route.is_none()
            || self
                .routes
                .iter()
                .any(|route| route.sources.contains(&stored.event.source))
    }

    fn fits(&self, fates: &[RouteFate]) -> bool {
        let word = self.query.state;
        word.is_none_or(|word| fates.iter().any(|of| word.fits(&of.fate)))
    }

    fn bite(&self, below: Option<Seq>, limit: usize) -> EventQuery {
        EventQuery {
            source: self.source.clone(),
            after: self.query.after,
            before: self.query.before,
            below,
            limit,
        }
    }
}

/// A source that never was has no events either, and an empty page would hide the slip. One that has left the
/// configuration may still have some.
async fn check_source(ports: &Ports, name: &SourceName) -> Result<(), Problem> {
    let configured = ports.sources.statuses();
    let mut known: BTreeSet<SourceName> =
        configured.into_iter().map(|source| source.name).collect();
    if known.contains(name) {
        return Ok(());
    }
    let remembered = ports.state.sources().await?;
    known.extend(remembered.into_iter().map(|source| source.name));
    if known.contains(name) {
        return Ok(());
    }
    let known: Vec<&str> = known.iter().map(SourceName::as_str).collect();
    let right = format!("a source; there is {}", known.join(", "));
    Err(Problem::parameter("source", &right))
}

/// The page that the query asks for.
pub(super) async fn gather(ports: &Ports, query: &EventsQuery) -> Result<Page, Problem> {
    if let Some(name) = &query.source {
        check_source(ports, name).await?;
    }
    let wanted = Wanted::new(query, ports.routes.statuses().await)?;
    let mut events = Vec::new();
    let mut below = query.below;
    let (mut looked_at, mut asked, mut bite) = (0, 0, FIRST_BITE);
    if wanted.nothing {
        return Ok(finished(events, None));
    }
    loop {
        let limit = bite.min(query.limit.max(FIRST_BITE));
        let archived = ports.archive.page(&wanted.bite(below, limit)).await?;
        bite = next_bite(&archived);
        for stored in &archived.events {
            if events.len() == query.limit || looked_at >= MAX_EVENTS || asked >= MAX_FATES {
                return Ok(finished(events, below));
            }
            below = Some(stored.seq);
            looked_at += 1;
            if !wanted.takes(stored) {
                continue;
            }
            let fates = fates::of(&*ports.state, &*ports.routes, &wanted.routes, stored).await?;
            asked += fates.len();
            if wanted.fits(&fates) {
                events.push(Summary::of(stored, fates));
            }
        }
        if archived.next.is_none() {
            return Ok(finished(events, None));
        }
        below = archived.next;
        // The archive itself stopped early: it has done its share of work for one request.
        if events.len() == query.limit || archived.events.is_empty() {
            return Ok(finished(events, below));
        }
    }
}

fn finished(events: Vec<Summary>, next: Option<Seq>) -> Page {
    Page {
        events,
        next_cursor: next.map(|next| List::Events.cursor(next.0)),
    }
}

/// How many events to read next, by the size of those just read.
fn next_bite(archived: &EventPage) -> usize {
    let bytes: usize = archived
        .events
        .iter()
        .map(|stored| stored.event.weight())
        .sum();
    let each = bytes / archived.events.len().max(1);
    (BITE_BYTES / each.max(1)).clamp(1, LARGEST_BITE)
}
