//! The body of a request: read within its limit, and as the JSON that the call takes.

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The whole body, of at most `limit` bytes.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("the body is larger than {limit} bytes");
            Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                detail,
            ))
        }
        Err(_) => {
            let detail = "the body broke off or is malformed";
            Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "body-unreadable",
                detail,
            ))
        }
    }
}

/// The body as JSON. Nothing at all reads as `{}`, which says as much.
pub(crate) async fn read_json<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Problem> {
    let body = read(body, limit).await?;
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(text).map_err(|error| bad(format!("the body cannot be read: {error}")))
}

/// There is nothing to say beside the path: the body is empty or `{}`. Anything else was meant to do
/// something, and would not.
pub(crate) async fn without_options(body: Body, limit: usize) -> Result<(), Problem> {
    let body = read(body, limit).await?;
    let none = body.is_empty()
        || serde_json::from_slice(&body)
            .is_ok_and(|body: serde_json::Map<String, serde_json::Value>| body.is_empty());
    if none {
        return Ok(());
    }
    Err(bad("this call has no options: send no body, or {}"))
}

/// A body that says what cannot be done.
pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad-body", detail)
}
