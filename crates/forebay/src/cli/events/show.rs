//! `forebay events show`

use domain::{Clock, SystemClock, Timestamp};
use serde_json::Value;

use crate::cli::client::AdminArgs;
use crate::cli::output;
use crate::exit::Outcome;

/// Show one event: headers, body, and what became of it on every route
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// The event's id
    id: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let path = format!("/api/v1/events/{}", args.id);
    let runtime = crate::cli::runtime()?;
    let event = runtime.block_on(client.get(&path, &[]))?;
    if args.json {
        output::json_lines([&event])?;
        return Ok(());
    }
    // When a parked event is tried again depends on its route as well.
    let mut fates = event["routes"].as_array().into_iter().flatten();
    let routes = match fates.any(|fate| fate["due_at"].is_string()) {
        true => runtime.block_on(client.get("/api/v1/routes", &[]))?,
        false => Value::Null,
    };
    show(&event, &routes["routes"])?;
    Ok(())
}

/// The request as it came: its line, its headers, its body.
pub(in crate::cli) fn show_request(event: &Value) -> std::io::Result<()> {
    output::line(&format!(
        "{} {}",
        output::text(event, "method"),
        output::text(event, "path")
    ))?;
    for header in event["headers"].as_array().into_iter().flatten() {
        output::line(&format!(
            "{}: {}{}",
            output::text(header, "name"),
            output::text(header, "value"),
            note(header, event),
        ))?;
    }
    output::line("")?;
    output::line(&output::text(event, "body"))?;
    output::line("")?;
    if event["body_encoding"] != "utf-8" {
        output::line(&format!(
            "(the body is shown in {})",
            output::text(event, "body_encoding")
        ))?;
    }
    Ok(())
}

/// A length that is the sender's and not that of the body below, which was edited.
fn note(header: &Value, event: &Value) -> String {
    let is_length = header["name"]
        .as_str()
        .is_some_and(|name| name.eq_ignore_ascii_case("content-length"));
    let said: Option<u64> = header["value"].as_str().and_then(|text| text.parse().ok());
    let length = event["bytes"].as_u64().or(event["size"].as_u64());
    match length {
        Some(length) if is_length && said != Some(length) => {
            format!("  (as it came; the body is of {length} bytes now)")
        }
        _ => String::new(),
    }
}

fn show(event: &Value, routes: &Value) -> std::io::Result<()> {
    show_request(event)?;
    for (label, value) in [
        ("id", output::text(event, "id")),
        ("source", output::text(event, "source")),
        ("type", output::text(event, "event_type")),
        ("received", output::text(event, "received_at")),
        ("from", output::text(event, "remote")),
    ] {
        output::line(&format!("{label:10} {value}"))?;
    }
    let now = SystemClock.now();
    for route in event["routes"].as_array().into_iter().flatten() {
        let running = routes.as_array().into_iter().flatten();
        let running = running
            .into_iter()
            .find(|found| found["name"] == route["route"]);
        let when = match output::text(route, "at") {
            none if none == "-" => String::new(),
            at => format!(" at {at}"),
        };
        output::line(&format!(
            "route {}: {}{when}{}",
            output::text(route, "route"),
            output::text(route, "state"),
            why(route, running, now)
        ))?;
    }
    if let Some(note) = edited(event) {
        output::line(&note)?;
    }
    Ok(())
}

/// That what is delivered is not the body which is shown.
fn edited(event: &Value) -> Option<String> {
    let routes = event["edited_on"].as_array().into_iter().flatten();
    let routes: Vec<&str> = routes.filter_map(Value::as_str).collect();
    (!routes.is_empty()).then(|| {
        format!(
            "the body above is the one that came; on route {} it was edited, and the new one is what is delivered: `forebay dlq history {}`",
            routes.join(", "),
            output::text(event, "id")
        )
    })
}

/// What a parked event or a dead letter has to say for itself.
fn why(fate: &Value, route: Option<&Value>, now: Timestamp) -> String {
    if fate["state"] == "discarded" {
        // What is settled leaves no row, so that no more is known of it by itself.
        return DISCARDED.into();
    }
    let mut why = match fate["attempts"].as_u64() {
        None => return String::new(),
        Some(0) => " with no attempt spent".to_owned(),
        Some(1) => " after 1 attempt".to_owned(),
        Some(more) => format!(" after {more} attempts"),
    };
    if fate["reason"].is_string() {
        why += &format!(" ({})", output::text(fate, "reason"));
    }
    if fate["due_at"].is_string() {
        why += &format!(", {}", next(fate, route, now));
    }
    let cause = &fate["cause"];
    if cause.is_object() {
        why += &format!(
            ": {}: {}",
            output::text(cause, "code"),
            output::text(cause, "detail")
        );
    }
    why
}

const DISCARDED: &str = ": the route's `when` did not want it or could not be asked of it (`forebay status` shows the last error of `when`), or it was purged or has expired";

/// When a parked event is tried again.
fn next(fate: &Value, route: Option<&Value>, now: Timestamp) -> String {
    let is = |name: &str, value: Value| route.is_some_and(|route| route[name] == value);
    if is("paused", true.into()) {
        return "next once the route is resumed".into();
    }
    if is("breaker", "tripped".into()) || is("breaker", "probing".into()) {
        return "next once the destination is back".into();
    }
    let due: Option<Timestamp> = fate["due_at"].as_str().and_then(|due| due.parse().ok());
    match due.is_some_and(|due| due <= now) {
        true => "next as soon as it is its turn".into(),
        false => format!("next at {}", output::time(fate, "due_at")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_edited_is_said_and_so_is_a_length_that_no_longer_fits() {
        assert_eq!(edited(&json!({ "edited_on": [] })), None);
        let told = edited(&json!({ "id": "1", "edited_on": ["r", "s"] })).unwrap();
        assert!(told.contains("on route r, s it was edited"), "{told}");
        let length = json!({ "name": "Content-Length", "value": "7" });
        assert_eq!(note(&length, &json!({ "size": 7 })), "");
        assert!(note(&length, &json!({ "bytes": 9 })).contains("9 bytes now"));
        let other = json!({ "name": "x", "value": "7" });
        assert_eq!(note(&other, &json!({ "bytes": 9 })), "");
    }

    #[test]
    fn a_parked_event_says_what_its_next_attempt_waits_for() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let parked = |attempts: u64, due: &str| json!({ "attempts": attempts, "due_at": due });
        let (past, future) = ("2026-01-31T11:00:00Z", "2026-01-31T13:00:00Z");
        let tripped = json!({ "breaker": "tripped", "paused": false });
        let paused = json!({ "breaker": "tripped", "paused": true });
        let passing = json!({ "breaker": "passing", "paused": false });
        for (attempts, due, route, wanted) in [
            (
                0,
                past,
                &tripped,
                " with no attempt spent, next once the destination is back",
            ),
            (
                1,
                past,
                &paused,
                " after 1 attempt, next once the route is resumed",
            ),
            (
                2,
                past,
                &passing,
                " after 2 attempts, next as soon as it is its turn",
            ),
            (
                2,
                future,
                &passing,
                " after 2 attempts, next at 2026-01-31T13:00:00Z",
            ),
        ] {
            assert_eq!(why(&parked(attempts, due), Some(route), now), wanted);
        }
        let dead = json!({ "attempts": 1, "reason": "rejected", "cause": { "code": "http 422", "detail": "no" } });
        assert_eq!(
            why(&dead, None, now),
            " after 1 attempt (rejected): http 422: no"
        );
        assert_eq!(why(&json!({ "state": "pending" }), None, now), "");
    }
}
