//! Whether an account can do what it is meant for, step by step, with what is wrong in words.

use crate::channel::api;
use crate::client::Client;
use crate::error::Error;
use crate::notifications::is_of;
use crate::{AvailableTopic, backfill, open_messaging};

/// One step, and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was looked at.
    pub what: &'static str,
    /// What is right, or what is wrong and how to mend it.
    pub found: Result<String, String>,
}

impl Step {
    fn of(what: &'static str, found: Result<String, Error>) -> Self {
        Self {
            what,
            found: found.map_err(|error| error.to_string()),
        }
    }
}

/// What is to be looked at besides the token.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Topics that are listened to; none: no look at topics.
    pub topics: Vec<String>,
    /// Whether gaps are filled.
    pub backfill: bool,
    /// Whether Open Messaging integrations are kept.
    pub open_messaging: bool,
}

/// Looks at everything that is wanted. Changes nothing over there.
pub async fn checkup(client: &Client, wanted: &Wanted) -> Vec<Step> {
    let token = client.authorise().await.map(|lifetime| {
        let hours = lifetime.as_secs() / 3600;
        format!("{} gives tokens for {hours} h", client.region().name())
    });
    let has_token = token.is_ok();
    let mut steps = vec![Step::of("token", token)];
    if !has_token {
        return steps;
    }
    if !wanted.topics.is_empty() {
        steps.push(topics(client, &wanted.topics).await);
    }
    if wanted.backfill {
        let until = backfill::available_until(client).await;
        let told = until.map(|until| format!("the analytics reach to {until:.0}"));
        steps.push(Step::of("backfill", told));
    }
    if wanted.open_messaging {
        let found = open_messaging::list(client).await;
        let told = found.map(|found| match found.len() {
            1 => "1 integration is there".to_owned(),
            count => format!("{count} integrations are there"),
        });
        steps.push(Step::of("open messaging", told));
    }
    let clock = match client.clock_is_off() {
        None => Ok("as over there".to_owned()),
        Some(seconds) => Err(format!(
            "{} s {} Genesys Cloud's: set it (chrony, systemd-timesyncd)",
            seconds.unsigned_abs(),
            if seconds > 0 { "behind" } else { "ahead of" }
        )),
    };
    steps.push(Step {
        what: "clock",
        found: clock,
    });
    steps
}

async fn topics(client: &Client, wanted: &[String]) -> Step {
    let what = "topics";
    let available = match api::available(client).await {
        Ok(available) => available,
        Err(error) => return Step::of(what, Err(error)),
    };
    let template = |topic: &String| available.iter().find(|one| is_of(&one.id, topic));
    let unknown: Vec<&str> = wanted
        .iter()
        .filter(|topic| template(topic).is_none())
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Step {
            what,
            found: Err(format!(
                "there are none such: {}; `forebay genesys topics` lists those there are",
                unknown.join(", ")
            )),
        };
    }
    let mut needed: Vec<&str> = wanted
        .iter()
        .filter_map(template)
        .flat_map(|topic| &topic.requires_permissions)
        .map(String::as_str)
        .collect();
    needed.sort_unstable();
    needed.dedup();
    let found = match &*needed {
        [] => format!("all {} are known", wanted.len()),
        needed => format!(
            "all {} are known; they need {}",
            wanted.len(),
            needed.join(", ")
        ),
    };
    Step {
        what,
        found: Ok(found),
    }
}

/// The topics that there are, by their names.
///
/// # Errors
/// [`Error`].
pub async fn available_topics(client: &Client) -> Result<Vec<AvailableTopic>, Error> {
    let mut topics = api::available(client).await?;
    topics.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(topics)
}
