//! The headers of a request: the event's own that concern the endpoint, then the configured ones, then Forebay's.

use domain::Envelope;
use domain::ports::Delivery;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub(super) const EVENT_ID: HeaderName = HeaderName::from_static("forebay-event-id");
pub(super) const ATTEMPT: HeaderName = HeaderName::from_static("forebay-attempt");
pub(super) const SOURCE: HeaderName = HeaderName::from_static("forebay-source");

/// Of one connection only (RFC 9110, section 7.6.1), of the way here, or said anew for the way there.
const LEFT_OUT: [&str; 15] = [
    "accept-encoding",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
];

const LEFT_OUT_FAMILIES: [&str; 2] = ["proxy-", "x-forwarded-"];

fn is_left_out(name: &str) -> bool {
    LEFT_OUT.contains(&name)
        || LEFT_OUT_FAMILIES
            .iter()
            .any(|family| name.starts_with(family))
}

/// Why a header of this name cannot be configured.
pub(super) fn unfit(name: &HeaderName) -> Option<&'static str> {
    let name = name.as_str();
    // A cookie is the way of the sender's; one that is configured is the endpoint's own.
    if name != "cookie" && is_left_out(name) {
        Some("belongs to the connection or the way here, and is not for you to set")
    } else if is_ours(name) {
        Some("is Forebay's own")
    } else {
        None
    }
}

/// Whether it is a name that only Forebay speaks in: what a sender says so is not passed off as ours.
fn is_ours(name: &str) -> bool {
    name.starts_with("forebay-")
}

/// Puts a request's headers together. Values keep their bytes, and a name that came more than once goes more than
/// once. What HTTP cannot carry, such as a NUL byte, is left out.
pub(super) fn put_together(
    delivery: &Delivery,
    credentials: Option<&HeaderValue>,
    configured: &[(HeaderName, HeaderValue)],
) -> HeaderMap {
    let event = &delivery.stored.event;
    let nominated: Vec<String> = event
        .headers
        .iter()
        .filter(|one| one.name == "connection")
        .flat_map(|one| one.value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .collect();
    let mut headers = HeaderMap::new();
    for one in event.headers.iter() {
        if is_left_out(one.name)
            || is_ours(one.name)
            || nominated.iter().any(|name| name == one.name)
        {
            continue;
        }
        let name = HeaderName::from_bytes(one.name.as_bytes());
        let value = HeaderValue::from_bytes(one.value);
        if let (Ok(name), Ok(value)) = (name, value) {
            // Fails at 32,768 headers, which no request that came in had.
            let _ = headers.try_append(name, value);
        }
    }
    if let Some(credentials) = credentials {
        headers.insert(header::AUTHORIZATION, credentials.clone());
    }
    for (name, value) in configured {
        headers.insert(name, value.clone());
    }
    headers.insert(ATTEMPT, HeaderValue::from(delivery.attempt));
    for (name, text) in [
        (EVENT_ID, delivery.stored.id.to_string()),
        (SOURCE, event.source.as_str().to_owned()),
    ] {
        // An id and a source's name always are a header's value.
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
    if let Some(letter) = &delivery.letter {
        put_letter(letter, &mut headers);
    }
    headers
}

/// Says what became of a dead letter. Its content type is a header already.
fn put_letter(letter: &Envelope, headers: &mut HeaderMap) {
    for (name, text) in letter.attributes() {
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if name != "content-type"
            && let Ok(value) = HeaderValue::from_bytes(text.as_bytes())
        {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}
