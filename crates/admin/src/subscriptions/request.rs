//! The JSON of a subscription, read field by field, so that what is wrong is told by its path and with what would be
//! right. No value is quoted: an address may hold a token.

use std::time::Duration;

use domain::SourceName;
use domain::policy::RetryPolicy;
use domain::ports::{MAX_SUBSCRIPTION_URL_BYTES, SubscriptionRequest};
use http::StatusCode;
use serde_json::{Map, Value};

use super::foreign;
use crate::body;
use crate::problem::Problem;

const MAX_NAME_CHARACTERS: usize = 100;
const MAX_RETRIES: u32 = 100;
const MAX_INTERVAL_SECONDS: f64 = 86_400.0;

/// The most of an unknown field's name that is quoted, in characters.
const MAX_QUOTED: usize = 64;

/// # Errors
/// What is wrong with the first field that is.
pub(super) fn read(body: &Value) -> Result<SubscriptionRequest, Problem> {
    let Value::Object(members) = body else {
        return Err(body::bad(
            "the body must be an object, as in {\"name\":\"my-webhook\",\"url\":\"https://app.example.com/webhook\"}",
        ));
    };
    let top = Fields {
        of: "",
        members,
        known: &["name", "url", "source", "deadLetterQueue", "retryPolicy"],
    };
    top.none_else()?;
    let (name, url, source) = (top.name()?, top.url()?, top.source()?);
    let queue = top.table("deadLetterQueue", &["url"], "{\"url\":\"https://…\"}")?;
    let retry = top.table(
        "retryPolicy",
        &["maxRetries", "retryIntervalSeconds"],
        "{\"maxRetries\":3,\"retryIntervalSeconds\":10}",
    )?;
    let max_retries = retry.as_ref().map(Fields::max_retries).transpose()?;
    let interval = retry.as_ref().map(Fields::interval).transpose()?;
    let default = RetryPolicy::default();
    Ok(SubscriptionRequest {
        name,
        url,
        source,
        dead_letter_url: queue.as_ref().map(Fields::url).transpose()?,
        max_retries: max_retries.flatten().unwrap_or(default.max_retries),
        retry_interval: interval.flatten().unwrap_or(default.retry_interval.0),
    })
}

/// The members of an object, and the names that they may have.
struct Fields<'b> {
    /// The field that it is the value of; empty for the body itself.
    of: &'static str,
    members: &'b Map<String, Value>,
    known: &'static [&'static str],
}

impl<'b> Fields<'b> {
    fn path(&self, name: &str) -> String {
        match self.of {
            "" => name.to_owned(),
            of => format!("{of}.{name}"),
        }
    }

    /// The field must be …
    fn wrong(&self, name: &str, right: &str) -> Problem {
        refused(format!("\"{}\" must be {right}", self.path(name)))
    }

    /// The field's value; `null` says nothing.
    fn get(&self, name: &str) -> Option<&'b Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Refuses a field that has no meaning here.
    fn none_else(&self) -> Result<(), Problem> {
        let mut names = self.members.keys();
        let Some(name) = names.find(|name| !self.known.contains(&name.as_str())) else {
            return Ok(());
        };
        let quoted: String = name.chars().take(MAX_QUOTED).collect();
        let path = self.path(&quoted.escape_debug().to_string());
        if let Some(meant) = foreign::misspelt(name, self.known) {
            let meant = self.path(meant);
            return Err(refused(format!(
                "there is no field \"{path}\": write \"{meant}\""
            )));
        }
        if let Some(instead) = foreign::instead(self.of, name) {
            return Err(refused(format!("there is no field \"{path}\": {instead}")));
        }
        let known: Vec<String> = self
            .known
            .iter()
            .map(|name| format!("\"{}\"", self.path(name)))
            .collect();
        Err(refused(format!(
            "there is no field \"{path}\"; the fields here are {}",
            known.join(", ")
        )))
    }

    fn table(
        &self,
        name: &'static str,
        known: &'static [&'static str],
        example: &str,
    ) -> Result<Option<Self>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(members)) => {
                let table = Self {
                    of: name,
                    members,
                    known,
                };
                table.none_else()?;
                Ok(Some(table))
            }
            Some(_) => Err(self.wrong(name, &format!("an object as {example}"))),
        }
    }

    fn name(&self) -> Result<String, Problem> {
        let right = "a text of 1 to 100 characters without line breaks, and no blank at either end";
        let name = self.get("name").and_then(Value::as_str);
        let name = name.filter(|name| {
            (1..=MAX_NAME_CHARACTERS).contains(&name.chars().count())
                && name.trim() == *name
                && !name.chars().any(char::is_control)
        });
        name.map(str::to_owned)
            .ok_or_else(|| self.wrong("name", right))
    }

    /// What kind of address may be subscribed is the port's to say.
    fn url(&self) -> Result<String, Problem> {
        let url = self.get("url").and_then(Value::as_str);
        let url = url.filter(|url| (1..=MAX_SUBSCRIPTION_URL_BYTES).contains(&url.len()));
        let right = format!(
            "a URL of at most {MAX_SUBSCRIPTION_URL_BYTES} bytes, as https://app.example.com/webhook"
        );
        url.map(str::to_owned)
            .ok_or_else(|| self.wrong("url", &right))
    }

    fn source(&self) -> Result<Option<SourceName>, Problem> {
        let Some(value) = self.get("source") else {
            return Ok(None);
        };
        let name = value.as_str().and_then(|text| SourceName::new(text).ok());
        let right = "the name of a source; leave it out for the events of all";
        name.map(Some).ok_or_else(|| self.wrong("source", right))
    }

    fn max_retries(&self) -> Result<Option<u32>, Problem> {
        let Some(value) = self.get("maxRetries") else {
            return Ok(None);
        };
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        let count = count.filter(|count| *count <= MAX_RETRIES);
        let right = "a whole number from 0 to 100: so many attempts after the first";
        count
            .map(Some)
            .ok_or_else(|| self.wrong("maxRetries", right))
    }

    /// To the millisecond.
    fn interval(&self) -> Result<Option<Duration>, Problem> {
        let Some(value) = self.get("retryIntervalSeconds") else {
            return Ok(None);
        };
        let seconds = value.as_f64();
        let seconds = seconds.filter(|seconds| (1.0..=MAX_INTERVAL_SECONDS).contains(seconds));
        let interval = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let right = "a number of seconds from 1 to 86400";
        let interval = interval.ok_or_else(|| self.wrong("retryIntervalSeconds", right))?;
        let millis = (interval + Duration::from_micros(500)).as_millis();
        Ok(u64::try_from(millis).ok().map(Duration::from_millis))
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-field", detail)
}
