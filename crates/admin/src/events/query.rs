//! What a list of events was asked for, read strictly: a misspelt filter must not show everything.

use domain::ports::Fate;
use domain::{RouteName, Seq, SourceName, Timestamp};

use crate::cursor::List;
use crate::problem::Problem;

/// Events on a page unless the query says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// The most events on a page.
const MAX_LIMIT: usize = 1000;

/// The query of `GET /api/v1/events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventsQuery {
    pub(super) source: Option<SourceName>,
    pub(super) route: Option<RouteName>,
    pub(super) state: Option<FateWord>,
    /// Received at or after.
    pub(super) after: Option<Timestamp>,
    /// Received before.
    pub(super) before: Option<Timestamp>,
    pub(super) limit: usize,
    pub(super) below: Option<Seq>,
}

/// The state of an event on a route, as a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FateWord {
    Pending,
    Delivered,
    Parked,
    Dead,
    Discarded,
}

impl FateWord {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "pending" => Self::Pending,
            "delivered" => Self::Delivered,
            "parked" => Self::Parked,
            "dead" => Self::Dead,
            "discarded" => Self::Discarded,
            _ => return None,
        })
    }

    /// Whether the fate is of this kind.
    pub(super) fn fits(self, fate: &Fate) -> bool {
        let word = match fate {
            Fate::Before => return false,
            Fate::Pending => Self::Pending,
            Fate::Delivered { .. } => Self::Delivered,
            Fate::Parked { .. } => Self::Parked,
            Fate::Dead { .. } => Self::Dead,
            Fate::Discarded => Self::Discarded,
        };
        self == word
    }
}

impl EventsQuery {
    /// Reads the pairs of a query.
    ///
    /// # Errors
    /// A problem that names the parameter and what would be right.
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut query = Self {
            source: None,
            route: None,
            state: None,
            after: None,
            before: None,
            limit: DEFAULT_LIMIT,
            below: None,
        };
        for (at, (name, value)) in pairs.iter().enumerate() {
            if pairs[..at].iter().any(|(before, _)| before == name) {
                return Err(Problem::parameter(name, "given once"));
            }
            query.set(name, value)?;
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let wrong = |right: &str| Problem::parameter(name, right);
        match name {
            "source" => {
                let source = SourceName::new(value).map_err(|_| wrong("the name of a source"))?;
                self.source = Some(source);
            }
            "route" => {
                let route = RouteName::new(value).map_err(|_| wrong("the name of a route"))?;
                self.route = Some(route);
            }
            "state" => {
                let words = "pending, delivered, parked, dead or discarded";
                self.state = Some(FateWord::parse(value).ok_or_else(|| wrong(words))?);
            }
            "after" => self.after = Some(time(name, value)?),
            "before" => self.before = Some(time(name, value)?),
            "limit" => {
                let limit = value.parse().ok();
                let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit));
                self.limit = limit.ok_or_else(|| wrong("a number from 1 to 1000"))?;
            }
            "cursor" => {
                let below = List::Events.read(value).map(Seq);
                let right = "the `next_cursor` of the page before, unchanged";
                self.below = Some(below.ok_or_else(|| wrong(right))?);
            }
            _ => {
                let known = "one of source, route, state, after, before, limit and cursor";
                return Err(wrong(known));
            }
        }
        Ok(())
    }
}

fn time(name: &str, value: &str) -> Result<Timestamp, Problem> {
    let right = "a time as in 2026-01-31T12:00:00Z (write + as %2B)";
    value.parse().map_err(|_| Problem::parameter(name, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EventsQuery, String> {
        let pairs: Vec<_> = text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        EventsQuery::parse(&pairs).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn a_query_is_read_whole() {
        let cursor = List::Events.cursor(9);
        let text = format!(
            "source=a&route=r&state=dead&after=2026-01-31T12:00:00Z&before=2026-02-01T12:00:00+01:00&limit=1000&cursor={cursor}"
        );
        let query = parse(&text).unwrap();
        assert_eq!(query.source, Some(SourceName::new("a").unwrap()));
        assert_eq!(query.route, Some(RouteName::new("r").unwrap()));
        assert_eq!(query.state, Some(FateWord::Dead));
        assert_eq!(
            query.before.unwrap().to_string(),
            "2026-02-01T11:00:00Z",
            "any offset"
        );
        assert_eq!((query.limit, query.below), (1000, Some(Seq(9))));
        assert_eq!(parse("").unwrap().limit, 100);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_would_be_right() {
        let cases = [
            ("limit=0", "`limit` must be a number from 1 to 1000"),
            ("limit=1001", "`limit` must be a number from 1 to 1000"),
            ("limit=-1", "`limit`"),
            ("limit=ten", "`limit`"),
            (
                "state=lost",
                "`state` must be pending, delivered, parked, dead or discarded",
            ),
            ("after=yesterday", "`after` must be a time as in"),
            ("before=5", "`before` must be a time as in"),
            ("cursor=xyz", "`cursor` must be the `next_cursor`"),
            ("source=A", "`source` must be the name of a source"),
            ("route=a/b", "`route` must be the name of a route"),
            ("sorce=a", "`sorce` must be one of source, route"),
            ("limit=1&limit=2", "`limit` must be given once"),
        ];
        for (text, words) in cases {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }
}
