//! Releasing and purging: which requests, and what it came to.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use domain::ports::{
    NotReleased, QuarantineSelection, ReleaseError, ReleaseSpan, Released, ReleasedAs,
};
use domain::{EventId, SourceName};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::is_known;
use crate::body::{self, bad};
use crate::context::{Context, Ports};
use crate::cursor::List;
use crate::problem::Problem;

/// The most ids of one call.
const MAX_IDS: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseRequest {
    source: Option<SourceName>,
    ids: Option<Vec<EventId>>,
    /// Only look.
    #[serde(default)]
    dry_run: bool,
    /// Where a call before ended.
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeRequest {
    source: Option<SourceName>,
    ids: Option<Vec<EventId>>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// What a release came to.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ReleaseAnswer {
    /// Nothing yet.
    Would {
        verified: u64,
        still_invalid: u64,
        /// Those that stay for another reason.
        not_taken: Vec<NotReleased>,
        /// Ids that are not in quarantine.
        unknown: u64,
        next_cursor: Option<String>,
    },
    Did {
        released: u64,
        /// Of those, the ones whose events were known already.
        repeats: u64,
        still_invalid: u64,
        not_taken: Vec<NotReleased>,
        unknown: u64,
        /// The requests that are events now, each with the id of its first one.
        events: Vec<ReleasedAs>,
        next_cursor: Option<String>,
    },
}

/// What a purge came to.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum PurgeAnswer {
    Would { matched: u64 },
    Did { purged: u64 },
}

pub(crate) async fn release(
    State(context): State<Context>,
    body: Body,
) -> Result<Json<ReleaseAnswer>, Problem> {
    let request: ReleaseRequest = body::read_json(body, context.limits.body_bytes).await?;
    let dry_run = request.dry_run;
    let span = request.cursor.as_deref().map(span).transpose()?;
    let selection = selection(&context.ports, request.source, request.ids).await?;
    if span.is_some() && matches!(selection, QuarantineSelection::Ids(_)) {
        return Err(bad("`cursor` goes with `source` alone"));
    }
    let releases = &context.ports.releases;
    let released = releases.release(selection, span, dry_run).await?;
    let Released {
        verified,
        repeats,
        still_invalid,
        not_taken,
        unknown,
        events,
        next,
    } = released;
    let next_cursor = next.map(cursor);
    Ok(Json(match dry_run {
        true => ReleaseAnswer::Would {
            verified,
            still_invalid,
            not_taken,
            unknown,
            next_cursor,
        },
        false => ReleaseAnswer::Did {
            released: verified,
            repeats,
            still_invalid,
            not_taken,
            unknown,
            events,
            next_cursor,
        },
    }))
}

pub(crate) async fn purge(
    State(context): State<Context>,
    body: Body,
) -> Result<Json<PurgeAnswer>, Problem> {
    let request: PurgeRequest = body::read_json(body, context.limits.body_bytes).await?;
    let selection = selection(&context.ports, request.source, request.ids).await?;
    let releases = &context.ports.releases;
    let count = releases.purge(selection, request.dry_run).await?;
    Ok(Json(match request.dry_run {
        true => PurgeAnswer::Would { matched: count },
        false => PurgeAnswer::Did { purged: count },
    }))
}

async fn selection(
    ports: &Ports,
    source: Option<SourceName>,
    ids: Option<Vec<EventId>>,
) -> Result<QuarantineSelection, Problem> {
    match (source, ids) {
        (Some(_), Some(_)) => Err(bad("select by `source` or by `ids`, not by both")),
        (None, None) => Err(bad(
            "say which requests: `source` is all of one source, `ids` is a list of their ids",
        )),
        (Some(source), None) if is_known(ports, &source).await? => {
            Ok(QuarantineSelection::Source(source))
        }
        (Some(source), None) => {
            let detail = format!(
                "there is no source {source}, and nothing is in quarantine of it; GET /api/v1/sources lists those there are"
            );
            Err(Problem::new(
                StatusCode::NOT_FOUND,
                "unknown-source",
                detail,
            ))
        }
        (None, Some(ids)) if ids.is_empty() || ids.len() > MAX_IDS => Err(bad(format!(
            "`ids` must be 1 to {MAX_IDS} ids; select more by `source`"
        ))),
        (None, Some(ids)) => {
            let once: BTreeSet<EventId> = ids.into_iter().collect();
            Ok(QuarantineSelection::Ids(once.into_iter().collect()))
        }
    }
}

fn cursor(span: ReleaseSpan) -> String {
    let packed = (u128::from(span.after) << 64) | u128::from(span.through);
    List::Quarantine.wide_cursor(packed)
}

fn span(text: &str) -> Result<ReleaseSpan, Problem> {
    let packed = List::Quarantine.read_wide(text);
    let packed =
        packed.ok_or_else(|| bad("`cursor` must be the `next_cursor` of the call before"))?;
    let [after, through] = [packed >> 64, packed & u128::from(u64::MAX)];
    Ok(ReleaseSpan {
        after: u64::try_from(after).unwrap_or(u64::MAX),
        through: u64::try_from(through).unwrap_or(u64::MAX),
    })
}

impl From<ReleaseError> for Problem {
    fn from(error: ReleaseError) -> Self {
        let detail = error.to_string();
        match error {
            ReleaseError::State(error) => error.into(),
            ReleaseError::UnknownSource(_) => {
                Self::new(StatusCode::CONFLICT, "source-removed", detail)
            }
            ReleaseError::Refused { code, .. } => Self::busy(code, &detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_goes_on_where_the_call_before_ended() {
        let at = ReleaseSpan {
            after: 7,
            through: u64::MAX,
        };
        assert_eq!(span(&cursor(at)).unwrap(), at);
        assert!(span(&List::Quarantine.cursor(7)).is_err(), "of the list");
    }
}
