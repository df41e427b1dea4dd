//! The calls for conversation-details jobs, and what they answer.

use bytes::Bytes;
use domain::Timestamp;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::channel::frame;
use crate::client::{Call, Client};
use crate::error::{Error, Problem, shown};

const JOBS: &str = "/api/v2/analytics/conversations/details/jobs";

/// Conversations of a page.
const PAGE: &str = "100";

/// Which conversations are asked for, besides when.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Query {
    /// Only those of these divisions; all if there is none.
    pub(crate) divisions: Vec<String>,
    /// `conversationFilters`, `segmentFilters` and others, as the API takes them.
    pub(crate) filters: Map<String, Value>,
}

impl Query {
    fn body(&self, from: Timestamp, to: Timestamp) -> Value {
        let mut body = self.filters.clone();
        body.insert("interval".into(), json!(format!("{from:.3}/{to:.3}")));
        body.insert("order".into(), json!("asc"));
        body.insert("orderBy".into(), json!("conversationStart"));
        if !self.divisions.is_empty() {
            let of_one = |id: &String| json!({"type": "dimension", "dimension": "divisionId", "operator": "matches", "value": id});
            let predicates: Vec<Value> = self.divisions.iter().map(of_one).collect();
            let filter = json!({"type": "or", "predicates": predicates});
            let given = body
                .entry("conversationFilters")
                .or_insert_with(|| json!([]));
            if let Value::Array(given) = given {
                given.push(filter);
            }
        }
        Value::Object(body)
    }
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum JobState {
    Queued,
    Pending,
    Failed,
    Cancelled,
    Fulfilled,
    Expired,
}

/// What is said of a job.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(crate) state: JobState,
    error_message: Option<String>,
}

impl Job {
    /// Why it failed, in words.
    pub(crate) fn why(&self) -> String {
        shown(
            self.error_message
                .as_deref()
                .unwrap_or("no reason was given"),
        )
    }
}

/// A page of results.
pub(crate) struct Results {
    pub(crate) conversations: Vec<Conversation>,
    /// Where the next page begins, as it came; `None`: there is none.
    pub(crate) cursor: Option<String>,
}

/// One record.
pub(crate) struct Conversation {
    /// Byte for byte.
    pub(crate) record: Bytes,
    /// What makes a repeat of it.
    pub(crate) id: String,
}

/// Until when the analytics have everything.
pub(crate) async fn available_until(client: &Client) -> Result<Timestamp, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Availability {
        data_availability_date: String,
    }
    let call = Call::new(Method::GET, format!("{JOBS}/availability"));
    let answer: Availability = client.call(&call).await?;
    let parsed = answer.data_availability_date.parse();
    parsed.map_err(|_| unreadable("GET", "availability", "dataAvailabilityDate is no time"))
}

/// Begins a job, and gives its id.
pub(crate) async fn begin(
    client: &Client,
    query: &Query,
    from: Timestamp,
    to: Timestamp,
) -> Result<String, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Begun {
        job_id: String,
    }
    let call = Call::new(Method::POST, JOBS).json(&query.body(from, to));
    let begun: Begun = client.call(&call).await?;
    Ok(begun.job_id)
}

/// Where a job is.
pub(crate) async fn state(client: &Client, job: &str) -> Result<Job, Error> {
    client
        .call(&Call::new(Method::GET, format!("{JOBS}/{job}")))
        .await
}

/// A page of a job's results.
pub(crate) async fn results(
    client: &Client,
    job: &str,
    cursor: Option<&str>,
) -> Result<Results, Error> {
    #[derive(Deserialize)]
    struct Page<'t> {
        #[serde(borrow, default)]
        conversations: Vec<&'t RawValue>,
        cursor: Option<String>,
    }
    let mut call = Call::new(Method::GET, format!("{JOBS}/{job}/results")).with("pageSize", PAGE);
    if let Some(cursor) = cursor {
        call = call.with("cursor", cursor);
    }
    let body = client.bytes(&call).await?;
    let wrong = |what| unreadable("GET", "results", what);
    let page: Page<'_> =
        serde_json::from_slice(&body).map_err(|_| wrong("it is no page of conversations"))?;
    let conversation = |record: &&RawValue| {
        // No conversation is without an id and a start; what else it may be is an event all the same.
        let id = frame::conversation(record.get());
        let by_bytes = || frame::hex(&frame::hash(&[record.get().as_bytes()]));
        Conversation {
            record: body.slice_ref(record.get().as_bytes()),
            id: id.unwrap_or_else(by_bytes),
        }
    };
    Ok(Results {
        conversations: page.conversations.iter().map(conversation).collect(),
        cursor: page.cursor.filter(|cursor| !cursor.is_empty()),
    })
}

fn unreadable(method: &str, what: &str, words: &str) -> Error {
    Error {
        what: format!("{method} {JOBS}/…/{what}"),
        problem: Problem::Unreadable(words.to_owned()),
        correlation_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisions_are_added_to_the_filters_that_are_given() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let given = json!({"conversationFilters": [{"type": "and"}], "segmentFilters": [1]});
        let Value::Object(filters) = given else {
            unreachable!()
        };
        let query = Query {
            divisions: vec!["d1".into(), "d2".into()],
            filters,
        };
        let body = query.body(at(0), at(60));
        assert_eq!(
            body["interval"],
            "2027-01-15T08:00:00.000Z/2027-01-15T08:01:00.000Z"
        );
        assert_eq!(body["segmentFilters"], json!([1]));
        let filters = body["conversationFilters"].as_array().unwrap();
        assert_eq!(filters.len(), 2);
        assert_eq!(filters[1]["predicates"][1]["value"], "d2");
        let plain = Query::default().body(at(0), at(1));
        assert_eq!(plain.get("conversationFilters"), None);
    }
}
