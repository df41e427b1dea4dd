//! `forebay events show`

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
    let event = crate::cli::runtime()?.block_on(client.get(&path, &[]))?;
    if args.json {
        output::json_lines([&event])?;
    } else {
        show(&event)?;
    }
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
            "{}: {}",
            output::text(header, "name"),
            output::text(header, "value")
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

fn show(event: &Value) -> std::io::Result<()> {
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
    for route in event["routes"].as_array().into_iter().flatten() {
        let when = match output::text(route, "at") {
            none if none == "-" => String::new(),
            at => format!(" at {at}"),
        };
        output::line(&format!(
            "route {}: {}{when}{}",
            output::text(route, "route"),
            output::text(route, "state"),
            why(route)
        ))?;
    }
    Ok(())
}

/// What a parked event or a dead letter has to say for itself.
fn why(route: &Value) -> String {
    let Some(attempts) = route["attempts"].as_u64() else {
        return String::new();
    };
    let mut why = format!(" after {attempts} attempts");
    if route["reason"].is_string() {
        why += &format!(" ({})", output::text(route, "reason"));
    }
    if route["due_at"].is_string() {
        why += &format!(", next at {}", output::time(route, "due_at"));
    }
    let cause = &route["cause"];
    if cause.is_object() {
        why += &format!(
            ": {} {}",
            output::text(cause, "code"),
            output::text(cause, "detail")
        );
    }
    why
}
