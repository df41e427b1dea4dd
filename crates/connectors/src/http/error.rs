//! What the endpoint's answers, and their absence, mean in the words of the outcome table.
//!
//! Nothing of an answer's body is kept: an endpoint that says what it did not like says it with the payload.

use std::time::Duration;

use domain::{Cause, Outcome, Timestamp, Unavailable};
use http::{HeaderMap, StatusCode, header};

/// A wait longer than this is as good as this one; whoever waits has a limit far below.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What a status says of the event, or of the endpoint as a whole.
pub(super) fn outcome(status: StatusCode, after: Option<Duration>) -> Result<Outcome, Unavailable> {
    let cause = || {
        let cause = Cause::new(format!("http {}", status.as_u16()), meaning(status));
        match status.as_u16() {
            // A redirect for one event is one for all.
            300..=399 | 401 | 403 | 404 | 500..=599 => cause.blanket(),
            _ => cause,
        }
    };
    match status.as_u16() {
        200..=299 => Ok(Outcome::Delivered),
        429 => Ok(Outcome::Throttled { after }),
        400 | 401 | 403 | 404 | 410 | 413 | 422 => Ok(Outcome::Reject { cause: cause() }),
        502..=504 => Err(Unavailable {
            cause: Cause {
                blanket: false,
                ..cause()
            },
        }),
        _ => Ok(Outcome::Retry {
            cause: cause(),
            after,
        }),
    }
}

/// A status in words, with what to look at where there is one thing.
fn meaning(status: StatusCode) -> String {
    let words = match status.as_u16() {
        300..=399 => "redirects are not followed: write the address that it leads to into `url`",
        400 => "the endpoint cannot read the request",
        401 => "the endpoint wants credentials, or others: look at `headers` and `sign`",
        403 => "the endpoint does not allow it: look at `headers` and at its own rules",
        404 => "the endpoint knows no such path: look at `url`",
        408 => "the endpoint did not get the request in time",
        409 => "the endpoint says that it conflicts with something that it has",
        410 => "the endpoint says that it is gone for good",
        413 => "the body is larger than the endpoint takes",
        422 => "the endpoint refuses what the event says",
        425 => "the endpoint says that it is too early",
        502 => "a proxy has no answer from the endpoint",
        503 => "the endpoint is not in service",
        504 => "a proxy has had no answer from the endpoint in time",
        500..=599 => "the endpoint failed",
        _ => "the endpoint gave an answer that is no yes",
    };
    match status.canonical_reason() {
        Some(reason) => format!("{words} ({reason})"),
        None => words.to_owned(),
    }
}

/// How long the endpoint asks to wait: seconds, or a date, which is none of the past. At most a day; what is neither
/// counts as not said.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are longer than any limit.
        text.parse().map_or(LONGEST_WAIT, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        let until = until.duration_since(std::time::UNIX_EPOCH).ok()?;
        let now = u64::try_from(now.as_millisecond()).ok()?;
        until.saturating_sub(Duration::from_millis(now))
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn every_status_has_its_outcome() {
        let word = |code: u16| {
            let after = Some(Duration::from_secs(7));
            match outcome(StatusCode::from_u16(code).unwrap(), after) {
                Ok(Outcome::Delivered) => "delivered",
                Ok(Outcome::Throttled { after: got }) if got == after => "throttled",
                Ok(Outcome::Reject { cause }) if cause.blanket => "reject, blanket",
                Ok(Outcome::Reject { .. }) => "reject",
                Ok(Outcome::Retry { cause, after: got }) if got == after => {
                    if cause.blanket {
                        "retry, blanket"
                    } else {
                        "retry"
                    }
                }
                Err(why) if !why.cause.blanket => "unavailable",
                other => panic!("{code}: {other:?}"),
            }
        };
        for (codes, expected) in [
            (&[200, 201, 202, 204, 226, 299][..], "delivered"),
            (&[300, 301, 302, 303, 304, 307, 308, 399], "retry, blanket"),
            (&[400, 410, 413, 422], "reject"),
            (&[401, 403, 404], "reject, blanket"),
            (&[408, 409, 425], "retry"),
            (&[429], "throttled"),
            (&[402, 405, 406, 407, 411, 415, 418, 451, 499], "retry"),
            (&[500, 501, 505, 507, 508, 511, 520, 599], "retry, blanket"),
            (&[502, 503, 504], "unavailable"),
            (&[101, 103, 600, 999], "retry"),
        ] {
            for code in codes {
                assert_eq!(word(*code), expected, "{code}");
            }
        }
    }

    #[test]
    fn causes_of_different_statuses_do_not_group_together() {
        let fingerprint = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            match outcome(status, None) {
                Ok(Outcome::Reject { cause } | Outcome::Retry { cause, .. }) => cause.fingerprint,
                Err(why) => why.cause.fingerprint,
                other => panic!("{other:?}"),
            }
        };
        let codes = [
            301, 302, 400, 401, 403, 404, 409, 410, 413, 422, 500, 503, 504,
        ];
        let mut all: Vec<String> = codes.map(fingerprint).to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), codes.len(), "{all:?}");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "1994-11-15T08:12:31Z".parse().unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, expected) in [
            ("120", seconds(120)),
            (" 5 ", seconds(5)),
            ("0", seconds(0)),
            ("Tue, 15 Nov 1994 08:12:41 GMT", seconds(10)),
            ("Tuesday, 15-Nov-94 08:13:31 GMT", seconds(60)),
            ("Tue Nov 15 08:12:33 1994", seconds(2)),
            ("Mon, 15 Nov 1993 08:12:31 GMT", seconds(0)),
            ("Sat, 15 Nov 2031 08:12:31 GMT", seconds(86_400)),
            ("99999999999999999999999999", seconds(86_400)),
            ("18446744073709551615", seconds(86_400)),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("ä", None),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
            headers.insert(header::RETRY_AFTER, value);
            assert_eq!(retry_after(&headers, now), expected, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
