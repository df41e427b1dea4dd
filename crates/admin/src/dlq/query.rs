//! What dead letters were asked for, read strictly: a misspelt filter must not show, or discard, everything.

use domain::ports::{DeadFilter, Letter};
use domain::{Reason, RouteName, Timestamp};

use crate::cursor::List;
use crate::events::Pairs;
use crate::problem::Problem;

/// Letters on a page unless the query says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// The most letters on a page.
pub(crate) const MAX_LIMIT: usize = 1000;

/// The query of `GET /api/v1/dlq` and `GET /api/v1/dlq/groups`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LettersQuery {
    pub(super) filter: DeadFilter,
    pub(super) limit: usize,
    pub(super) below: Option<Letter>,
    /// Headers and bodies, too.
    pub(super) whole: bool,
}

impl LettersQuery {
    /// Reads the pairs of a list's query.
    ///
    /// # Errors
    /// A problem that names the parameter and what would be right.
    pub(super) fn of_list(pairs: &Pairs) -> Result<Self, Problem> {
        Self::parse(pairs, Self::set_page)
    }

    /// Reads the pairs of the groups' query: groups have no pages and no bodies.
    ///
    /// # Errors
    /// As [`LettersQuery::of_list`].
    pub(super) fn of_groups(pairs: &Pairs) -> Result<Self, Problem> {
        Self::parse(pairs, |_, name, _| {
            let known = "one of route, reason, fingerprint, after, before and limit";
            Err(Problem::parameter(name, known))
        })
    }

    fn parse(
        pairs: &Pairs,
        other: impl Fn(&mut Self, &str, &str) -> Result<(), Problem>,
    ) -> Result<Self, Problem> {
        let mut query = Self {
            filter: DeadFilter::default(),
            limit: DEFAULT_LIMIT,
            below: None,
            whole: false,
        };
        once_each(pairs)?;
        for (name, value) in pairs {
            if !query.set(name, value)? {
                other(&mut query, name, value)?;
            }
        }
        Ok(query)
    }

    /// Sets what both have. `false`: it is none of it.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, Problem> {
        let wrong = |right: &str| Problem::parameter(name, right);
        let filter = &mut self.filter;
        match name {
            "route" => filter.route = Some(route(value)?),
            "reason" => {
                let reasons = Reason::ALL.map(Reason::as_str).join(", ");
                let reason = Reason::parse(value);
                let right = format!("one of {reasons}");
                filter.reason = Some(reason.ok_or_else(|| wrong(&right))?);
            }
            "fingerprint" => filter.fingerprint = Some(value.to_owned()),
            "after" => filter.after = Some(time(name, value)?),
            "before" => filter.before = Some(time(name, value)?),
            "limit" => self.limit = limit(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_page(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        match (name, value) {
            ("cursor", _) => self.below = Some(Letter(cursor(List::DeadLetters, value)?)),
            ("include", "body") => self.whole = true,
            ("include", _) => return Err(Problem::parameter(name, "`body`")),
            _ => {
                let known =
                    "one of route, reason, fingerprint, after, before, limit, cursor and include";
                return Err(Problem::parameter(name, known));
            }
        }
        Ok(())
    }
}

/// The query of one letter: `route`, or nothing.
pub(super) fn route_alone(pairs: &Pairs) -> Result<Option<RouteName>, Problem> {
    once_each(pairs)?;
    match pairs.first() {
        None => Ok(None),
        Some((name, value)) if name == "route" => route(value).map(Some),
        Some((name, _)) => Err(Problem::parameter(name, "`route`, the only one there is")),
    }
}

/// Refuses a parameter that is given twice.
pub(crate) fn once_each(pairs: &Pairs) -> Result<(), Problem> {
    for (at, (name, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(before, _)| before == name) {
            return Err(Problem::parameter(name, "given once"));
        }
    }
    Ok(())
}

/// How many a page may have.
pub(crate) fn limit(value: &str) -> Result<usize, Problem> {
    let limit = value.parse().ok();
    let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Problem::parameter("limit", "a number from 1 to 1000"))
}

/// Where the page before ended.
pub(crate) fn cursor(list: List, value: &str) -> Result<u64, Problem> {
    let right = "the `next_cursor` of the page before, unchanged";
    list.read(value)
        .ok_or_else(|| Problem::parameter("cursor", right))
}

fn route(value: &str) -> Result<RouteName, Problem> {
    RouteName::new(value).map_err(|_| Problem::parameter("route", "the name of a route"))
}

fn time(name: &str, value: &str) -> Result<Timestamp, Problem> {
    let right = "a time as in 2026-01-31T12:00:00Z (write + as %2B)";
    value.parse().map_err(|_| Problem::parameter(name, right))
}
