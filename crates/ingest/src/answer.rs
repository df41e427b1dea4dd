//! The answers: accepted, a repeat, a refusal as problem+json (RFC 9457).

use bytes::Bytes;
use domain::EventId;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::refusal::Refused;
use crate::source::Source;
use crate::verify::Reply;

/// What every handler of the listener gives back.
pub type Answer = Response<Full<Bytes>>;

/// Goes with an answer that nobody may wait for any more: the client ended its request in the middle of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BrokenOff;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What became of an event that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    Accepted(EventId),
    Duplicate(EventId),
}

fn answer(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

impl Admitted {
    /// The id of the event that is durable.
    pub(crate) const fn id(self) -> EventId {
        match self {
            Self::Accepted(id) | Self::Duplicate(id) => id,
        }
    }

    /// As the sender reads it.
    fn push_json(self, json: &mut String) {
        let word = match self {
            Self::Accepted(_) => "accepted",
            Self::Duplicate(_) => "duplicate",
        };
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = self.id().as_uuid().hyphenated().encode_lower(&mut text);
        for piece in ["{\"id\":\"", id, "\",\"status\":\"", word, "\"}"] {
            json.push_str(piece);
        }
    }
}

/// The 2xx, or what the source answers instead of Forebay's own. A request that was taken apart is answered with what
/// became of each item, in their order.
pub(crate) fn admitted(source: &Source, admitted: &[Admitted]) -> Answer {
    if let Some(respond) = &source.respond {
        return answer(
            respond.status,
            respond.content_type.clone(),
            respond.body.clone(),
        );
    }
    let mut json = String::with_capacity(64 + 72 * admitted.len());
    if source.split.is_some() {
        json.push_str("{\"status\":\"accepted\",\"events\":[");
        for (at, one) in admitted.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            one.push_json(&mut json);
        }
        json.push_str("]}");
    } else if let [one] = admitted {
        one.push_json(&mut json);
    }
    answer(StatusCode::OK, JSON, json)
}

/// The 200 of a request that is in quarantine.
pub(crate) fn quarantined(id: EventId) -> Answer {
    answer(
        StatusCode::OK,
        JSON,
        format!("{{\"id\":\"{id}\",\"status\":\"quarantined\"}}"),
    )
}

/// The answer to a challenge.
pub(crate) fn reply(reply: Reply) -> Answer {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

/// A refusal. `source` is the one that was asked for, if there is one.
pub(crate) fn refused(source: Option<&Source>, refused: &Refused) -> Answer {
    let mut response = problem(refused.status(), refused.code(), &refused.to_string());
    let headers = response.headers_mut();
    if let Some(seconds) = refused.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    match (refused, source.map(|source| source.scheme.name())) {
        (Refused::BodyUnreadable, _) => {
            response.extensions_mut().insert(BrokenOff);
        }
        (Refused::MethodNotAllowed, _) => {
            let greets = source.into_iter().flat_map(Source::greetings);
            let greets = greets.map(|method| format!(", {method}"));
            let allowed = std::iter::once("POST".to_owned()).chain(greets);
            let allowed = HeaderValue::try_from(allowed.collect::<String>());
            headers.insert(ALLOW, allowed.unwrap_or(HeaderValue::from_static("POST")));
        }
        (Refused::NotVerified(_), Some("basic")) => {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"forebay\""),
            );
        }
        (Refused::NotVerified(_), Some("bearer")) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

/// A problem of RFC 9457.
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Answer {
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    answer(status, PROBLEM, problem.to_string())
}

/// Plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(status, TEXT, text)
}

/// `/healthz` and `/readyz`.
pub(crate) fn health(ready: Result<(), String>) -> Answer {
    match ready {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    }
}
