//! A dead letter as JSON: a line of a list, and whole.

use domain::ports::{DeadLetter, ExportConfirmed, ExportRefusal, Letter};
use domain::{EventId, Reason, RouteName, SourceName, Timestamp};
use serde::Serialize;

use crate::events::{Encoding, HeaderView, lossless};

/// A letter.
#[derive(Debug, Serialize)]
pub(super) struct LetterView {
    id: EventId,
    route: RouteName,
    /// There only when it was.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retired: bool,
    source: SourceName,
    reason: Reason,
    /// What the destination said last: the code and what it means.
    error: String,
    code: String,
    fingerprint: String,
    attempts: u32,
    received_at: Timestamp,
    first_failure_at: Timestamp,
    last_failure_at: Timestamp,
    redrives: u32,
    content_type: Option<String>,
    /// Of the body.
    bytes: usize,
    letter: Letter,
    /// There only when a target would not take it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_exported: Vec<ExportRefusal>,
    #[serde(flatten)]
    whole: Option<Whole>,
}

/// What the event came with.
#[derive(Debug, Serialize)]
struct Whole {
    method: String,
    path: String,
    event_type: Option<String>,
    remote: Option<String>,
    headers: Vec<HeaderView>,
    body: String,
    body_encoding: Encoding,
}

impl LetterView {
    pub(super) fn of(letter: &DeadLetter) -> Self {
        let event = &letter.stored.event;
        Self {
            id: letter.stored.id,
            route: letter.route.clone(),
            retired: letter.retired,
            source: event.source.clone(),
            reason: letter.reason,
            error: letter.cause.to_string(),
            code: letter.cause.code.clone(),
            fingerprint: letter.cause.fingerprint.clone(),
            attempts: letter.attempts,
            received_at: event.received_at,
            first_failure_at: letter.first_failure_at,
            last_failure_at: letter.last_failure_at,
            redrives: letter.redrives,
            content_type: event.content_type().map(str::to_owned),
            bytes: event.body.len(),
            letter: letter.letter,
            not_exported: letter.not_exported.clone(),
            whole: None,
        }
    }

    pub(super) fn whole(letter: &DeadLetter) -> Self {
        let event = &letter.stored.event;
        let (body, body_encoding) = lossless(&event.body);
        let whole = Whole {
            method: event.method.clone(),
            path: event.path.clone(),
            event_type: event.event_type.clone(),
            remote: event.remote.clone(),
            headers: event.headers.iter().map(HeaderView::of).collect(),
            body,
            body_encoding,
        };
        Self {
            whole: Some(whole),
            ..Self::of(letter)
        }
    }
}

/// One letter of an event, and where else the event is dead.
#[derive(Debug, Serialize)]
pub(super) struct ShownLetter {
    #[serde(flatten)]
    letter: LetterView,
    also_on: Vec<RouteName>,
    /// The targets that have it.
    exported: Vec<ExportConfirmed>,
    /// When it goes by itself, if every target of its route has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_until: Option<Timestamp>,
}

impl ShownLetter {
    pub(super) fn of(
        letter: &DeadLetter,
        others: &[DeadLetter],
        exported: Vec<ExportConfirmed>,
        kept_until: Option<Timestamp>,
    ) -> Self {
        Self {
            letter: LetterView::whole(letter),
            exported,
            kept_until,
            also_on: others.iter().map(|other| other.route.clone()).collect(),
        }
    }
}
