//! Which letters a call is to change: by ids or by a filter, and never by saying nothing.

use super::query::MAX_LIMIT;
use crate::body::bad;
use crate::problem::Problem;
use domain::EventId;
use domain::ports::{DeadFilter, Selection};

/// What a body selects by.
#[derive(Debug, Default)]
pub(crate) struct Selector {
    pub(crate) ids: Option<Vec<EventId>>,
    pub(crate) filter: Option<DeadFilter>,
}

impl Selector {
    /// What is selected.
    ///
    /// # Errors
    /// A problem when nothing, or both, or too much is given.
    pub(crate) fn selection(self) -> Result<Selection, Problem> {
        match (self.ids, self.filter) {
            (Some(_), Some(_)) => Err(bad("select by `ids` or by `filter`, not by both")),
            (None, None) => Err(bad(
                "say which dead letters: `ids` is a list of event ids, `filter` takes route, reason, fingerprint, after and before; {\"filter\":{}} is all of them",
            )),
            (Some(ids), None) if ids.is_empty() || ids.len() > MAX_LIMIT => Err(bad(format!(
                "`ids` must be 1 to {MAX_LIMIT} event ids; select more by `filter`"
            ))),
            (Some(ids), None) => Ok(Selection::Ids(ids)),
            (None, Some(filter)) => Ok(Selection::Filter(filter)),
        }
    }
}
