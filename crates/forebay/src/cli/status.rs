//! `forebay status`

use serde_json::Value;

use super::client::AdminArgs;
use super::output;
use crate::exit::Outcome;

/// Show where every accepted event is, per route
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object, as GET /api/v1/status gives it
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let status = super::runtime()?.block_on(client.get("/api/v1/status", &[]))?;
    if args.json {
        output::json_lines([&status])?;
    } else {
        show(&status)?;
    }
    Ok(())
}

fn show(status: &Value) -> std::io::Result<()> {
    let ready = match status["not_ready"].as_str() {
        None => "ready".to_owned(),
        Some(reason) => format!("NOT ready: {reason}"),
    };
    output::line(&format!(
        "Forebay {}, {ready}; accepted {} events, durable on {}; journal {}, state {}",
        output::text(status, "version"),
        output::text(status, "accepted"),
        output::text(status, "durability"),
        bytes(&status["journal"]["bytes"]),
        bytes(&status["state"]["bytes"]),
    ))?;
    let damaged = status["journal"]["damaged_events"]
        .as_u64()
        .unwrap_or_default();
    if damaged > 0 {
        output::line(&format!(
            "DAMAGED: {damaged} acknowledged events are lost to damage of the journal's files; see `forebay journal verify`"
        ))?;
    }
    let none = Vec::new();
    let routes = status["routes"].as_array().unwrap_or(&none);
    output::line("")?;
    output::table(
        &[
            "route",
            "breaker",
            "accepted",
            "delivered",
            "pending",
            "parked",
            "dead",
            "discarded",
            "damaged",
            "oldest waiting",
        ],
        routes.iter().map(row),
    )?;
    for route in routes {
        notes(route)?;
    }
    Ok(())
}

fn row(route: &Value) -> Vec<String> {
    let mut row = vec![output::text(route, "name"), output::breaker(route)];
    row.extend(
        [
            "accepted",
            "delivered",
            "pending",
            "parked",
            "dead",
            "discarded",
            "damaged",
        ]
        .map(|field| output::text(route, field)),
    );
    row.push(output::seconds(
        route["oldest_pending_seconds"].as_f64().unwrap_or_default(),
    ));
    row
}

/// What a route's row has no room for.
fn notes(route: &Value) -> std::io::Result<()> {
    let name = output::text(route, "name");
    if let Some(error) = route["last_error"].as_object() {
        let error = Value::Object(error.clone());
        output::line(&format!(
            "{name}: last error {} at {}: {}",
            output::text(&error, "code"),
            output::time(&error, "at"),
            output::text(&error, "detail"),
        ))?;
    }
    let held = route["held"].as_u64().unwrap_or_default();
    if held > 0 {
        output::line(&format!(
            "{name}: {held} of the pending events are held: they wait behind a parked one of the same key"
        ))?;
    }
    if route["next_probe_at"].is_string() {
        output::line(&format!(
            "{name}: {} since {}, next probe {}",
            output::text(route, "breaker"),
            output::time(route, "breaker_since"),
            output::time(route, "next_probe_at"),
        ))?;
    }
    for export in route["exports"].as_array().into_iter().flatten() {
        self::export(&name, export)?;
    }
    if route["imbalance"].as_i64().unwrap_or_default() != 0 {
        output::line(&format!(
            "{name}: the ledger does not balance by {}: this is a defect, please report it",
            route["imbalance"]
        ))?;
    }
    for finding in route["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        output::line(&format!("{name}: {finding}"))?;
    }
    Ok(())
}

/// A dead-letter target, if there is something to say of it.
fn export(route: &str, export: &Value) -> std::io::Result<()> {
    let target = output::text(export, "target");
    let count = |key: &str| export[key].as_u64().unwrap_or_default();
    let away = export["breaker"].as_str() != Some("passing");
    if count("pending") > 0 || away {
        let state = match away {
            true => format!(", which is {}", output::text(export, "breaker")),
            false => String::new(),
        };
        output::line(&format!(
            "{route}: {} dead letters wait for {target}{state}",
            count("pending")
        ))?;
    }
    if count("refused") > 0 {
        output::line(&format!(
            "{route}: {} dead letters stay here because {target} would not take them: `forebay dlq show ID` says why",
            count("refused")
        ))?;
    }
    let error = &export["last_error"];
    if error.is_object() && (away || count("refused") > 0) {
        output::line(&format!(
            "{route}: {target}'s last error {} at {}: {}",
            output::text(error, "code"),
            output::time(error, "at"),
            output::text(error, "detail"),
        ))?;
    }
    Ok(())
}

fn bytes(value: &Value) -> String {
    value
        .as_u64()
        .map_or("-".into(), |bytes| domain::ByteSize(bytes).to_string())
}
