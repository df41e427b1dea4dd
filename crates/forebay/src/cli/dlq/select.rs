//! Which dead letters a command is about: filters for all of them, and ids for those that change something.

use clap::builder::PossibleValuesParser;
use domain::ports::{DeadFilter, Selection};
use domain::{EventId, Reason, RouteName, Timestamp};
use serde_json::json;

use crate::cli::client::Client;
use crate::cli::parse::{event_id, time};
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
    /// Only last failed at or after this time: 2026-01-31T12:00:00Z, a date, or how long ago, as 1h or 2d
    #[arg(long, value_name = "TIME", value_parser = time)]
    after: Option<Timestamp>,
    /// Only last failed before this time: 2026-01-31T12:00:00Z, a date, or how long ago, as 1h or 2d
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<Timestamp>,
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
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
    #[arg(value_name = "ID", value_parser = event_id)]
    ids: Vec<EventId>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    group: GroupArgs,
    /// All there are
    #[arg(long, conflicts_with_all = ["route", "reason", "after", "before", "group"])]
    all: bool,
}

/// The group of causes, as those commands call it that change or export something.
#[derive(Debug, clap::Args)]
pub(super) struct GroupArgs {
    /// Only of this group: the fingerprint of the cause, as `dlq list --group` shows it
    #[arg(long, value_name = "FINGERPRINT", visible_alias = "fingerprint")]
    pub(super) group: Option<String>,
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
        let filter = self.filter.filter(self.group.group.as_ref());
        let filters = filter != DeadFilter::default() || self.all;
        if !self.ids.is_empty() && filters {
            let error = format!(
                "ids cannot be used with --all or a filter (--route, --reason, --group, --after, --before): they {verb} an event on every route that it is dead on; leave out the one or the other; nothing was done"
            );
            return Err(Failure::say(Exit::Usage, error));
        }
        if !self.ids.is_empty() {
            return Ok(Selection::Ids(self.ids.clone()));
        }
        if !filters {
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

/// Nothing matched: whether that is because there is no such group at all, be it misspelt or eaten by the shell.
///
/// # Errors
/// Exit code 2 if so.
pub(super) async fn must_be_a_group(client: &Client, selection: &Selection) -> Outcome {
    let Selection::Filter(DeadFilter {
        fingerprint: Some(group),
        ..
    }) = selection
    else {
        return Ok(());
    };
    let alone = Selection::Filter(DeadFilter {
        fingerprint: Some(group.clone()),
        ..DeadFilter::default()
    });
    let counting = request(&alone, [("dry_run", json!(true))])?;
    let counted = client.post_json("/api/v1/dlq/purge", &counting).await?;
    if counted["matched"].as_u64().unwrap_or_default() > 0 {
        return Ok(());
    }
    let error = format!(
        "no dead letter is of the group {group:?}: `forebay dlq list --group` shows those there are; write one in single quotes, whole; nothing was done"
    );
    Err(Failure::say(Exit::Usage, error))
}
