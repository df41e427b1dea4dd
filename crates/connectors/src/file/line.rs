//! An event as one line of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::StoredEvent;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::body::{Holds, fits};
use crate::headers;

/// The fields, in order. One of the three bodies is there.
#[derive(Serialize)]
struct Line<'e> {
    id: String,
    source: &'e str,
    received_at: String,
    method: &'e str,
    path: &'e str,
    headers: Box<RawValue>,
    content_type: Option<&'e str>,
    /// JSON, byte for byte; one that has line breaks in it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'e RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_text: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Appends the event and a line break to `out`.
///
/// # Errors
/// What could not be written as JSON; a defect.
pub(super) fn write(stored: &StoredEvent, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let event = &stored.event;
    let mut headers = Vec::new();
    headers::write(&event.headers, &mut headers);
    let text = std::str::from_utf8(&event.body).ok();
    let is_one_line = !event.body.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
    let body = text
        .filter(|_| is_one_line && fits(&event.body, Holds::Json))
        .and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let body_text = text.filter(|_| body.is_none());
    let line = Line {
        id: stored.id.to_string(),
        source: event.source.as_str(),
        received_at: event.received_at.to_string(),
        method: &event.method,
        path: &event.path,
        headers: serde_json::from_slice(&headers)?,
        content_type: event.content_type(),
        body,
        body_text,
        body_base64: text.is_none().then(|| STANDARD.encode(&event.body)),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.push(b'\n');
    Ok(())
}
