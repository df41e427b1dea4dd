//! A request as the handlers see it: its path in parts, its query, and its body as JSON.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::Refusal;

/// A call of the API, read to its end.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// When it was read to its end.
    pub(super) now: Instant,
}

/// Whose call it is.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) client: String,
    pub(super) token: String,
}

impl Call {
    /// A query parameter's first value.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.iter();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A whole number in the query, within these bounds.
    pub(super) fn number(
        &self,
        name: &str,
        default: usize,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, Refusal> {
        let Some(text) = self.parameter(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|it| bounds.contains(it));
        number.ok_or_else(|| {
            let (least, most) = (bounds.start(), bounds.end());
            Refusal::new(
                400,
                "invalid.value",
                format!(
                    "Value [{text}] is not valid for field type [{name}]. Allowable values are: \
                     {least} - {most}"
                ),
            )
        })
    }

    /// The body as JSON, which its content type must say it is.
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        if !self.is_of_type("application/json") {
            return Err(Refusal::media_type());
        }
        serde_json::from_slice(&self.body).map_err(|_| {
            Refusal::bad_request(
                "The request could not be understood by the server due to malformed syntax.",
            )
        })
    }

    /// Whether the content type is this one, whatever its parameters.
    pub(super) fn is_of_type(&self, wanted: &str) -> bool {
        let of = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|it| it.to_str().ok());
        let essence = of.and_then(|text| text.split(';').next());
        essence.is_some_and(|it| it.trim().eq_ignore_ascii_case(wanted))
    }

    /// The credentials of an `Authorization` of this scheme.
    pub(super) fn authorization(&self, scheme: &str) -> Option<&str> {
        let text = self.headers.get("authorization")?.to_str().ok()?;
        let (given, rest) = text.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
    }
}
