//! Which dead letters a command is about: filters for all of them, and ids for those that change something.

use clap::builder::PossibleValuesParser;
use domain::ports::{DeadFilter, Selection};
use domain::{EventId, Reason, RouteName, Timestamp};

use crate::exit::{Exit, Failure, Outcome};

/// The most ids of one request.
const MAX_IDS: usize = 1000;

/// The filters that every command has.
#[derive(Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// Only of this route; a retired one's are there, too
    #[arg(long, value_name = "NAME")]
    route: Option<RouteName>,
    /// Only given up for this reason
    #[arg(long, value_name = "REASON", value_parser = reasons())]
    reason: Option<String>,
    /// Only last failed at or after this time, as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    after: Option<Timestamp>,
    /// Only last failed before this time, as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<Timestamp>,
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
}

fn time(text: &str) -> Result<Timestamp, String> {
    let wrong = |_| "it must be a time as in 2026-01-31T12:00:00Z".into();
    text.parse().map_err(wrong)
}

impl FilterArgs {
    /// The filter, with the fingerprint, which not every command calls the same.
    pub(super) fn filter(&self, fingerprint: Option<&String>) -> DeadFilter {
        DeadFilter {
            route: self.route.clone(),
            reason: self.reason.as_deref().and_then(Reason::parse),
            fingerprint: fingerprint.cloned(),
            after: self.after,
            before: self.before,
        }
    }

    /// The filter as a query.
    pub(super) fn query(&self, fingerprint: Option<&String>) -> Vec<(&'static str, String)> {
        let filter = self.filter(fingerprint);
        let pairs = [
            ("route", filter.route.map(|route| route.to_string())),
            (
                "reason",
                filter.reason.map(|reason| reason.as_str().to_owned()),
            ),
            ("fingerprint", filter.fingerprint),
            ("after", filter.after.map(|after| after.to_string())),
            ("before", filter.before.map(|before| before.to_string())),
        ];
        pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

/// What a command is to change. Saying nothing is not all of them.
#[derive(Debug, clap::Args)]
pub(super) struct SelectArgs {
    /// Of these events, on every route that they are dead on
    #[arg(value_name = "ID", conflicts_with_all = ["route", "reason", "after", "before", "fingerprint", "all"])]
    ids: Vec<EventId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Only with this fingerprint of the cause, as `dlq list --group` shows it
    #[arg(long, value_name = "TEXT", visible_alias = "group")]
    fingerprint: Option<String>,
    /// All there are
    #[arg(long, conflicts_with_all = ["route", "reason", "after", "before", "fingerprint"])]
    all: bool,
}

impl SelectArgs {
    /// The ids and the route as they were given, for what is done to one letter.
    pub(super) fn one(&self) -> (&[EventId], Option<&RouteName>) {
        (&self.ids, self.filter.route.as_ref())
    }

    /// What is selected.
    ///
    /// # Errors
    /// Exit code 2 when nothing is, or more ids than one request takes.
    pub(super) fn selection(&self, verb: &str) -> Outcome<Selection> {
        if self.ids.len() > MAX_IDS {
            let error = format!("at most {MAX_IDS} ids at once; filters select any number");
            return Err(Failure::say(Exit::Usage, error));
        }
        if !self.ids.is_empty() {
            return Ok(Selection::Ids(self.ids.clone()));
        }
        let filter = self.filter.filter(self.fingerprint.as_ref());
        if filter == DeadFilter::default() && !self.all {
            let error = format!(
                "say which dead letters to {verb}: ids, or --route, --reason, --group, --after or --before, or --all; nothing was done"
            );
            return Err(Failure::say(Exit::Usage, error));
        }
        Ok(Selection::Filter(filter))
    }
}

/// A request about what is selected, with more to say.
pub(super) fn request(
    selection: &Selection,
    more: impl IntoIterator<Item = (&'static str, serde_json::Value)>,
) -> Outcome<serde_json::Value> {
    let mut request = serde_json::to_value(selection)?;
    for (name, value) in more {
        request[name] = value;
    }
    Ok(request)
}
