//! Conversations, and the queries that find them: jobs whose results are paged by cursor, and the synchronous one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, Refusal, Said};
use super::clock;
use super::filter::{Filters, Interval, time};
use super::query::{Call, Caller};
use super::state::{Cloud, Ids};
use crate::Error;

const VIEW: &str = "analytics:conversationDetail:view";
/// Conversations of a page of a job's results, unless the call says so, and at most.
const PAGE: usize = 1000;
const LARGEST_PAGE: usize = 10_000;
/// The largest page of a synchronous query, and the last conversation that it reaches.
const SYNC_PAGE: usize = 100;
const SYNC_REACH: usize = 100_000;

/// What becomes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// `FULFILLED` when its time has come.
    Fulfilled,
    /// `FAILED` when its time has come.
    Failed,
    /// `CANCELLED` when its time has come.
    Cancelled,
    /// `EXPIRED` when its time has come.
    Expired,
    /// `PENDING` for ever.
    Pending,
}

/// A job as a test sees it.
#[derive(Debug, Clone)]
pub struct JobInfo {
    /// Its id.
    pub id: String,
    /// The query.
    pub query: Value,
    /// `QUEUED`, `PENDING`, `FULFILLED`, `FAILED`, `CANCELLED` or `EXPIRED`.
    pub state: &'static str,
    /// How many conversations it found.
    pub conversations: usize,
    /// How many pages of results were given out.
    pub pages: usize,
}

/// All conversations and jobs.
#[derive(Debug)]
pub(super) struct Analytics {
    conversations: Vec<Conversation>,
    jobs: Vec<Job>,
    pub(super) available: Option<Timestamp>,
    pub(super) queued: Duration,
    pub(super) pending: Duration,
    pub(super) fates: std::collections::VecDeque<Fate>,
    /// How many of the next pages repeat the cursor that they were asked for by.
    pub(super) repeats: usize,
    /// How many pages are given out before all jobs expire, and with which status they are then refused.
    pub(super) expiry: Option<(usize, u16)>,
}

#[derive(Debug, Clone)]
struct Conversation {
    start: Timestamp,
    end: Option<Timestamp>,
    json: Arc<Value>,
}

#[derive(Debug)]
struct Job {
    id: String,
    client: String,
    query: Value,
    submitted: Instant,
    pending_at: Instant,
    done_at: Instant,
    fate: Fate,
    found: Vec<Arc<Value>>,
    available: Timestamp,
    /// Where each cursor that was given out goes on.
    cursors: HashMap<String, usize>,
    pages: usize,
}

impl Job {
    fn state(&self, now: Instant) -> &'static str {
        if now < self.pending_at && self.fate != Fate::Expired {
            "QUEUED"
        } else if now < self.done_at || self.fate == Fate::Pending {
            "PENDING"
        } else {
            match self.fate {
                Fate::Failed => "FAILED",
                Fate::Cancelled => "CANCELLED",
                Fate::Expired => "EXPIRED",
                Fate::Fulfilled | Fate::Pending => "FULFILLED",
            }
        }
    }
}

impl Analytics {
    pub(super) fn new() -> Self {
        Self {
            conversations: Vec::new(),
            jobs: Vec::new(),
            available: None,
            queued: Duration::from_secs(1),
            pending: Duration::from_secs(5),
            fates: std::collections::VecDeque::new(),
            repeats: 0,
            expiry: None,
        }
    }

    pub(super) fn add(&mut self, json: Value) -> Result<(), Error> {
        let field = |name: &str| json.get(name).and_then(Value::as_str);
        let bad = |what: &str| Error::Misuse(format!("a conversation has {what}: {json}"));
        if field("conversationId").is_none() {
            return Err(bad("no conversationId"));
        }
        let start = field("conversationStart").and_then(time);
        let start = start.ok_or_else(|| bad("no conversationStart in ISO 8601"))?;
        let end = match field("conversationEnd") {
            None => None,
            Some(text) => Some(time(text).ok_or_else(|| bad("a bad conversationEnd"))?),
        };
        let json = Arc::new(json);
        self.conversations.push(Conversation { start, end, json });
        Ok(())
    }

    pub(super) fn list(&self, now: Instant) -> Vec<JobInfo> {
        let info = |job: &Job| JobInfo {
            id: job.id.clone(),
            query: job.query.clone(),
            state: job.state(now),
            conversations: job.found.len(),
            pages: job.pages,
        };
        self.jobs.iter().map(info).collect()
    }

    /// All jobs there are expire now.
    pub(super) fn expire_all(&mut self, now: Instant) {
        for job in &mut self.jobs {
            job.fate = Fate::Expired;
            job.done_at = job.done_at.min(now);
        }
    }

    /// The conversations that a query finds, in its order.
    fn find(&self, body: &Value) -> Result<Vec<Arc<Value>>, Refusal> {
        let interval = Interval::of(body)?;
        let filters = Filters::of(body)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let descending = match text("order") {
            None | Some("asc" | "unordered") => false,
            Some("desc") => true,
            Some(other) => {
                return Err(Refusal::bad_request(format!("Unknown order [{other}].")));
            }
        };
        let by_end = match text("orderBy") {
            None | Some("conversationStart" | "segmentStart") => false,
            Some("conversationEnd" | "segmentEnd") => true,
            Some(other) => {
                return Err(Refusal::bad_request(format!("Unknown orderBy [{other}].")));
            }
        };
        let mut found: Vec<&Conversation> = self
            .conversations
            .iter()
            .filter(|it| self.available.is_none_or(|until| it.start <= until))
            .filter(|it| interval.touches(it.start, it.end) && filters.keep(&it.json))
            .collect();
        found.sort_by_key(|it| {
            if by_end {
                it.end.unwrap_or(it.start)
            } else {
                it.start
            }
        });
        if descending {
            found.reverse();
        }
        Ok(found.into_iter().map(|it| Arc::clone(&it.json)).collect())
    }

    fn submit(&mut self, call: &Call, caller: &Caller, id: &str, now: Timestamp) -> Said {
        let query = call.json()?;
        let found = self.find(&query)?;
        self.jobs.push(Job {
            id: id.to_owned(),
            client: caller.client.clone(),
            query,
            submitted: call.now,
            pending_at: call.now + self.queued,
            done_at: call.now + self.queued + self.pending,
            fate: self.fates.pop_front().unwrap_or(Fate::Fulfilled),
            found,
            available: self.available.unwrap_or(now),
            cursors: HashMap::new(),
            pages: 0,
        });
        Ok(Answer::with(202, Some(json!({ "jobId": id }))))
    }

    fn job(&mut self, caller: &Caller, id: &str) -> Result<&mut Job, Refusal> {
        let mut jobs = self.jobs.iter_mut();
        let job = jobs.find(|it| it.id == id && it.client == caller.client);
        job.ok_or_else(Refusal::not_found)
    }

    fn results(&mut self, call: &Call, caller: &Caller, id: &str, ids: &mut Ids) -> Said {
        let size = call.number("pageSize", PAGE, 1..=LARGEST_PAGE)?;
        let expired = self.expiry.map_or(404, |(_, status)| status);
        if let Some((left, _)) = &mut self.expiry {
            if *left == 0 {
                self.expire_all(call.now);
            } else {
                *left -= 1;
            }
        }
        let asked = call.parameter("cursor").filter(|it| !it.is_empty());
        let repeat = self.repeats > 0 && asked.is_some();
        let job = self.job(caller, id)?;
        match job.state(call.now) {
            "FULFILLED" => {}
            "EXPIRED" if expired == 410 => {
                return Err(Refusal::new(410, "gone", "The job's results have expired."));
            }
            "EXPIRED" => return Err(Refusal::not_found()),
            state => {
                return Err(Refusal::bad_request(format!(
                    "The results of the job are not available: its state is {state}."
                )));
            }
        }
        let from = match asked {
            None => 0,
            Some(cursor) => *job.cursors.get(cursor).ok_or_else(|| {
                Refusal::new(400, "invalid.value", "The cursor is not one of this job's.")
            })?,
        };
        let page: Vec<&Value> = job
            .found
            .iter()
            .skip(from)
            .take(size)
            .map(|it| &**it)
            .collect();
        let next = from + page.len();
        let mut answer = json!({
            "conversations": page,
            "dataAvailabilityDate": clock::text(job.available),
        });
        job.pages += 1;
        if next < job.found.len() {
            let cursor = match asked {
                Some(cursor) if repeat => cursor.to_owned(),
                // With characters that a client must encode.
                _ => format!("{}+/{next}==", ids.uuid().simple()),
            };
            job.cursors.entry(cursor.clone()).or_insert(next);
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("cursor".to_owned(), cursor.into());
            }
            self.repeats -= usize::from(repeat);
        }
        Ok(Answer::json(answer))
    }

    /// `POST …/conversations/details/query`.
    fn query(&self, call: &Call) -> Said {
        let body = call.json()?;
        let found = self.find(&body)?;
        let number = |name: &str, default: u64| match body.pointer(&format!("/paging/{name}")) {
            None => Ok(default),
            Some(value) => value.as_u64().filter(|it| *it > 0).ok_or_else(|| {
                Refusal::bad_request(format!("paging.{name} must be a number from 1 on."))
            }),
        };
        let size = usize::try_from(number("pageSize", 25)?).unwrap_or(usize::MAX);
        let page = usize::try_from(number("pageNumber", 1)?).unwrap_or(usize::MAX);
        if size > SYNC_PAGE {
            let what = format!("paging.pageSize must be at most {SYNC_PAGE}.");
            return Err(Refusal::bad_request(what));
        }
        if page.saturating_mul(size) > SYNC_REACH {
            let what = format!("paging must not reach beyond {SYNC_REACH} conversations.");
            return Err(Refusal::bad_request(what));
        }
        let on_page = found.iter().skip((page - 1) * size).take(size);
        let on_page: Vec<&Value> = on_page.map(|it| &**it).collect();
        let mut answer = json!({ "totalHits": found.len() });
        if let Some(fields) = answer.as_object_mut().filter(|_| !on_page.is_empty()) {
            fields.insert("conversations".to_owned(), json!(on_page));
        }
        Ok(Answer::json(answer))
    }
}

/// `parts` are those of the path behind `analytics/conversations/details`.
pub(super) fn handle(cloud: &Cloud, call: &Call, caller: &Caller, parts: &[&str]) -> Said {
    let mut state = cloud.state();
    let state = &mut *state;
    state.clients.demand(caller, VIEW)?;
    let analytics = &mut state.analytics;
    match (call.method.as_str(), parts) {
        ("POST", ["query"]) => analytics.query(call),
        ("POST", ["jobs"]) => {
            let id = state.ids.uuid().to_string();
            analytics.submit(call, caller, &id, cloud.clock.now())
        }
        ("GET", ["jobs", "availability"]) => {
            let until = analytics.available.unwrap_or_else(|| cloud.clock.now());
            Ok(Answer::json(
                json!({ "dataAvailabilityDate": clock::text(until) }),
            ))
        }
        ("GET", ["jobs", id]) => {
            let job = analytics.job(caller, id)?;
            let at = |instant| clock::text(cloud.clock.at(instant));
            let mut answer = json!({
                "state": job.state(call.now),
                "submissionDate": at(job.submitted),
            });
            if let Some(fields) = answer.as_object_mut().filter(|_| call.now >= job.done_at) {
                match job.fate {
                    Fate::Failed => {
                        fields.insert("errorMessage".to_owned(), "The query failed.".into());
                    }
                    Fate::Pending => {}
                    _ => {
                        fields.insert("completionDate".to_owned(), at(job.done_at).into());
                    }
                }
            }
            Ok(Answer::json(answer))
        }
        ("DELETE", ["jobs", id]) => {
            let job = analytics.job(caller, id)?;
            job.fate = Fate::Cancelled;
            job.done_at = job.done_at.min(call.now);
            job.pending_at = job.pending_at.min(call.now);
            Ok(Answer::empty(204))
        }
        ("GET", ["jobs", id, "results"]) => analytics.results(call, caller, id, &mut state.ids),
        _ => Err(Refusal::not_found()),
    }
}
