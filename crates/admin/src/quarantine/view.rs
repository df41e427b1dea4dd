//! A request in quarantine as JSON. It was not verified, so that nobody has taken its credential off: what may be one
//! is not shown. A body is shown as it came.

use domain::ports::Quarantined;
use domain::{EventId, Header, SourceName, Timestamp};
use serde::Serialize;

use crate::events::{Encoding, HeaderView, lossless};

/// What stands for a credential.
const MASK: &str = "***";

/// Headers that are credentials whatever the source's scheme is.
const CREDENTIALS: [&str; 4] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
];

/// Words in the name of a header, or of a parameter of the query, that make it one.
const WORDS: [&str; 6] = [
    "token", "secret", "password", "apikey", "api-key", "api_key",
];

/// A request, whole.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    id: EventId,
    source: SourceName,
    received_at: Timestamp,
    /// What was wrong with its proof.
    reason: String,
    method: String,
    path: String,
    remote: Option<String>,
    headers: Vec<HeaderView>,
    body: String,
    body_encoding: Encoding,
}

impl Shown {
    /// `credentials` are the headers of the source's scheme.
    pub(super) fn of(request: &Quarantined, credentials: &[String]) -> Self {
        let event = &request.event;
        let (body, body_encoding) = lossless(&event.body);
        let header = |header: Header<'_>| {
            let hides = CREDENTIALS.contains(&header.name)
                || credentials.iter().any(|name| name == header.name)
                || names_a_credential(header.name);
            let value = match hides {
                true => MASK.as_bytes(),
                false => header.value,
            };
            HeaderView::of(Header { value, ..header })
        };
        Self {
            id: request.id,
            source: event.source.clone(),
            received_at: event.received_at,
            reason: request.reason.clone(),
            method: event.method.clone(),
            path: path(&event.path),
            remote: event.remote.clone(),
            headers: event.headers.iter().map(header).collect(),
            body,
            body_encoding,
        }
    }
}

fn names_a_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// The path without what its query says of a credential. A name with an escape in it may be anything.
fn path(path: &str) -> String {
    let Some((before, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if names_a_credential(name) || name.contains('%') => {
            format!("{name}={MASK}")
        }
        _ => pair.to_owned(),
    };
    let pairs: Vec<String> = query.split('&').map(pair).collect();
    format!("{before}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_credential_is_not_shown_and_everything_else_is() {
        for (from, to) in [
            ("/in/x", "/in/x"),
            ("/in/x?a=1&access_token=t&b", "/in/x?a=1&access_token=***&b"),
            ("/in/x?%61ccess_token=t", "/in/x?%61ccess_token=***"),
            ("/in/x?API_KEY=t&token", "/in/x?API_KEY=***&token"),
        ] {
            assert_eq!(path(from), to);
        }
        for (name, hidden) in [
            ("x-api-key", true),
            ("x-gitlab-token", true),
            ("x-hub-signature-256", false),
            ("content-type", false),
        ] {
            assert_eq!(names_a_credential(name), hidden, "{name}");
        }
    }
}
