//! `/api/v1/dlq`: dead letters, newest first, their causes, and discarding them.

mod edit;
mod filter;
mod purge;
mod query;
mod selector;
mod view;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use domain::ports::{DeadGroup, DeadLetter, DeadPage, DeadQuery, ExportConfirmed};
use domain::{DestinationName, EventId, RouteName, Timestamp};
use http::StatusCode;
use serde::Serialize;

use crate::context::{Context, Ports};
use crate::cursor::List;
use crate::events::{self, Pairs};
use crate::problem::Problem;
use query::LettersQuery;
use view::{LetterView, ShownLetter};

pub(crate) use edit::{history, redrive};
pub(crate) use filter::known_route;
pub(crate) use purge::purge;
pub(crate) use query::{cursor, limit, once_each};
pub(crate) use selector::Selector;

/// Questions to state for one page of a list: each gives a few megabytes of letters at most, or looks at some
/// ten thousand of them.
const MAX_BITES: usize = 32;

/// A page of letters.
#[derive(Debug, Serialize)]
struct Letters {
    letters: Vec<LetterView>,
    /// `None`: there is no more.
    next_cursor: Option<String>,
}

/// The causes.
#[derive(Debug, Serialize)]
pub(crate) struct Groups {
    groups: Vec<DeadGroup>,
}

pub(crate) async fn list(
    State(context): State<Context>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = LettersQuery::of_list(&pairs?.0)?;
    known_route(&context.ports, query.filter.route.as_ref()).await?;
    let turn = context.look_back().await?;
    turn.answer(gather(&context.ports, &query).await?)
}

pub(crate) async fn groups(
    State(context): State<Context>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Json<Groups>, Problem> {
    let query = LettersQuery::of_groups(&pairs?.0)?;
    known_route(&context.ports, query.filter.route.as_ref()).await?;
    let letters = &context.ports.dead_letters;
    let groups = letters.dead_groups(&query.filter, query.limit).await?;
    Ok(Json(Groups { groups }))
}

pub(crate) async fn show(
    State(context): State<Context>,
    id: Result<Path<String>, PathRejection>,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Problem> {
    let id = events::id(&id?.0)?;
    let wanted = query::route_alone(&pairs?.0)?;
    let turn = context.look_back().await?;
    let mut letters = context.ports.dead_letters.dead_letters(id).await?;
    let fits = |letter: &DeadLetter| wanted.as_ref().is_none_or(|name| letter.route == *name);
    let Some(at) = letters.iter().position(fits) else {
        return Err(none(id, wanted.as_ref(), &letters));
    };
    let letter = letters.remove(at);
    let exported = context.ports.dead_letters.exported_to(letter.letter);
    let exported = exported.await?;
    let kept_until = kept_until(&context.ports, &letter, &exported).await;
    turn.answer(ShownLetter::of(&letter, &letters, exported, kept_until))
}

/// When a letter goes by itself: once every target of its route has it, and it was kept for so long.
async fn kept_until(
    ports: &Ports,
    letter: &DeadLetter,
    exported: &[ExportConfirmed],
) -> Option<Timestamp> {
    let routes = ports.routes.statuses().await;
    let route = routes.iter().find(|route| route.name == letter.route)?;
    let has = |name: &DestinationName| exported.iter().any(|one| one.target == *name);
    let mut targets = route.exports.iter();
    if !targets.all(|export| has(&export.target)) {
        return None;
    }
    let last = exported.iter().map(|one| one.at).max()?;
    last.checked_add((ports.dead_letters_kept)(&letter.route))
        .ok()
}

/// The page that the query asks for.
async fn gather(ports: &Ports, query: &LettersQuery) -> Result<Letters, Problem> {
    let mut letters: Vec<LetterView> = Vec::new();
    let mut below = query.below;
    for _ in 0..MAX_BITES {
        let asked = DeadQuery {
            filter: query.filter.clone(),
            below,
            limit: query.limit - letters.len(),
        };
        let DeadPage {
            letters: bite,
            next,
        } = ports.dead_letters.dead_page(&asked).await?;
        below = next;
        letters.extend(bite.iter().map(|letter| match query.whole {
            true => LetterView::whole(letter),
            false => LetterView::of(letter),
        }));
        // One bite of bodies is as much as an answer should hold.
        let enough = letters.len() >= query.limit || (query.whole && !letters.is_empty());
        if enough || below.is_none() {
            break;
        }
    }
    Ok(Letters {
        letters,
        next_cursor: below.map(|below| List::DeadLetters.cursor(below.0)),
    })
}

fn none(id: EventId, wanted: Option<&RouteName>, others: &[DeadLetter]) -> Problem {
    let routes: Vec<_> = others.iter().map(|letter| letter.route.as_str()).collect();
    let detail = match wanted {
        Some(name) if !routes.is_empty() => format!(
            "event {id} is no dead letter of route {name}, but of {}",
            routes.join(", ")
        ),
        _ => format!(
            "event {id} is no dead letter: it never was, or it was redriven or purged; GET /api/v1/events/{id} says what became of it"
        ),
    };
    Problem::new(StatusCode::NOT_FOUND, "no-such-dead-letter", detail)
}
