//! `POST /api/v1/dlq/purge`: discards letters for good, or says how many that would be.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use domain::EventId;
use domain::ports::{DeadFilter, Letter};
use serde::{Deserialize, Serialize};

use super::{Selector, known};
use crate::body;
use crate::context::Context;
use crate::problem::Problem;

/// Letters in one transaction.
const BATCH: usize = 1000;

/// Transactions of one request, so that it ends before its time is up.
const MAX_BATCHES: usize = 200;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    ids: Option<Vec<EventId>>,
    filter: Option<DeadFilter>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
    /// Nothing above this number, as an answer before gave it.
    through: Option<Letter>,
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Purged {
    /// Nothing yet.
    Would { matched: u64, through: Letter },
    Did {
        purged: u64,
        through: Letter,
        /// There may be more of them: the same again, with this `through`, goes on.
        more: bool,
    },
}

pub(crate) async fn purge(
    State(context): State<Context>,
    body: Body,
) -> Result<Json<Purged>, Problem> {
    let request: Request = body::read_json(body, context.limits.body_bytes).await?;
    let selection = Selector {
        ids: request.ids,
        filter: request.filter,
    };
    let selection = selection.selection()?;
    known(&context.ports, &selection).await?;
    let letters = &context.ports.dead_letters;
    let last = letters.last_letter().await?;
    let through = request.through.map_or(last, |given| given.min(last));
    if request.dry_run {
        let matched = letters.count_dead(&selection).await?;
        return Ok(Json(Purged::Would { matched, through }));
    }
    let (mut purged, mut more) = (0, true);
    for _ in 0..MAX_BATCHES {
        let batch = letters.purge(&selection, through, BATCH).await?;
        purged += batch;
        if batch == 0 {
            more = false;
            break;
        }
    }
    tracing::info!(purged, "an operator discarded dead letters");
    Ok(Json(Purged::Did {
        purged,
        through,
        more,
    }))
}
