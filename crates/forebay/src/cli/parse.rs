//! What people write on the command line, read with a word of what would be right.

use domain::{Clock, EventId, HumanDuration, SystemClock, Timestamp};

/// A moment: a time, a date (its beginning, in UTC), or how long ago (`1h`, `2d`).
///
/// # Errors
/// What would be right.
pub fn time(text: &str) -> Result<Timestamp, String> {
    moment(text, SystemClock.now()).ok_or_else(|| {
        "it must be a time as in 2026-01-31T12:00:00Z, a date as in 2026-01-31 (UTC), or how long ago as in 90m, 1h or 2d".into()
    })
}

fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let is_date = text.len() == 10 && text.chars().filter(|c| *c == '-').count() == 2;
    if is_date && let Ok(midnight) = format!("{text}T00:00:00Z").parse() {
        return Some(midnight);
    }
    let ago: HumanDuration = text.parse().ok()?;
    now.checked_sub(ago.0).ok()
}

/// An event's id.
///
/// # Errors
/// What would be right.
pub fn event_id(text: &str) -> Result<EventId, String> {
    let wrong = |_| "an event's id is a UUID, as in 0192f0c1-2b3a-7c4d-8e5f-60718293a4b5".into();
    text.parse().map_err(wrong)
}

/// The id of a request in quarantine.
///
/// # Errors
/// What would be right.
pub fn request_id(text: &str) -> Result<EventId, String> {
    let wrong = |_| {
        "the id of a request in quarantine is a UUID, as its sender was told and `forebay quarantine list` shows".into()
    };
    text.parse().map_err(wrong)
}

/// A whole number of at least 1.
///
/// # Errors
/// What would be right.
pub fn at_least_one(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number >= 1);
    number.ok_or_else(|| "it must be a whole number of at least 1".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_a_date_or_how_long_ago() {
        let now: Timestamp = "2026-02-01T12:00:00Z".parse().unwrap();
        for (text, wanted) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("1h", "2026-02-01T11:00:00Z"),
            ("2d", "2026-01-30T12:00:00Z"),
            ("1h 30m", "2026-02-01T10:30:00Z"),
        ] {
            let wanted = wanted.parse().unwrap();
            assert_eq!(moment(text, now), Some(wanted), "{text}");
        }
        for text in ["noon", "2026-13-31", "31.1.2026", "5", ""] {
            assert_eq!(moment(text, now), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_or_id_is_answered_in_words() {
        assert_eq!(at_least_one("7"), Ok(7));
        for text in ["0", "1.5", "-1", "many", ""] {
            assert!(at_least_one(text).unwrap_err().contains("whole number"));
        }
        assert!(event_id("123").unwrap_err().contains("is a UUID"));
    }
}
