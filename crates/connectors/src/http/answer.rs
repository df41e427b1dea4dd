//! What an answer, or none, means.

use std::error::Error as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::{Cause, Outcome, Timestamp, Unavailable};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Error, StatusCode};

/// What became of one event, or that nobody is there.
pub(super) type Told = Result<Outcome, Unavailable>;

/// What an answer says of the event that was posted. `now` is for a `Retry-After` that is a date.
pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Told {
    if status.is_success() {
        return Ok(Outcome::Delivered);
    }
    let code = format!("http {}", status.as_u16());
    let cause = Cause::new(code.clone(), meaning(status));
    let after = || retry_after(headers, now);
    Ok(match status.as_u16() {
        502..=504 => return Err(Unavailable::new(code, meaning(status))),
        429 => Outcome::Throttled { after: after() },
        401 | 403 | 404 => Outcome::Reject {
            cause: cause.blanket(),
        },
        400 | 410 | 413 | 422 => Outcome::Reject { cause },
        // A redirect for one event is one for all.
        300..=399 | 500..=599 => Outcome::Retry {
            cause: cause.blanket(),
            after: after(),
        },
        _ => Outcome::Retry {
            cause,
            after: after(),
        },
    })
}

fn meaning(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("no standard status");
    match status.as_u16() {
        300..=399 => format!(
            "{}; redirects are not followed: set url to where this one leads",
            reason.to_lowercase()
        ),
        _ => reason.to_lowercase(),
    }
}

/// RFC 9110, section 10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date: SystemTime = httpdate::parse_http_date(text).ok()?;
    let date = date
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let now = u64::try_from(now.as_second()).unwrap_or_default();
    Some(Duration::from_secs(date.saturating_sub(now)))
}

/// What it means that there was no answer. Never the URL, which may be a secret.
pub(super) fn of_error(error: &Error) -> Told {
    let detail = innermost(error);
    if error.is_builder() || error.is_body() {
        let cause = Cause::new("http request", detail);
        return Ok(Outcome::Retry { cause, after: None });
    }
    let code = if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else {
        "connection"
    };
    Err(Unavailable::new(code, detail))
}

/// The last of the reasons, which names what happened and no URL.
fn innermost(error: &Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut source = error.source();
    let mut text = "the request failed".to_owned();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    fn told(status: u16) -> Told {
        let now = Timestamp::UNIX_EPOCH;
        let status = StatusCode::from_u16(status).unwrap();
        of_status(status, &HeaderMap::new(), now)
    }

    #[test]
    fn every_status_goes_where_the_table_says() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(told(status), Ok(Outcome::Delivered), "{status}");
        }
        for (status, blanket) in [
            (408, false),
            (409, false),
            (425, false),
            (500, true),
            (501, true),
            (505, true),
            (599, true),
            (301, true),
            (307, true),
            (405, false),
            (415, false),
            (418, false),
        ] {
            let Ok(Outcome::Retry { cause, after: None }) = told(status) else {
                panic!("{status}: {:?}", told(status));
            };
            assert_eq!(cause.code, format!("http {status}"));
            assert_eq!(cause.blanket, blanket, "{status}");
        }
        for (status, blanket) in [
            (400, false),
            (401, true),
            (403, true),
            (404, true),
            (410, false),
            (413, false),
            (422, false),
        ] {
            let Ok(Outcome::Reject { cause }) = told(status) else {
                panic!("{status}: {:?}", told(status));
            };
            assert_eq!(cause.blanket, blanket, "{status}");
        }
        assert_eq!(told(429), Ok(Outcome::Throttled { after: None }));
        for status in [502, 503, 504] {
            assert_eq!(
                told(status).unwrap_err().cause.code,
                format!("http {status}")
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_second(784_111_777).unwrap();
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(after(date), Some(Duration::from_secs(60)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for odd in ["soon", "-1", "1.5", ""] {
            assert_eq!(after(odd), None, "{odd}");
        }
    }
}
