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
        "Forebay {}, {ready}; accepted {}, durable on {}; journal {}, state {}",
        output::text(status, "version"),
        events(status["accepted"].as_u64().unwrap_or_default()),
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
    for line in beside_the_routes(status) {
        output::line(&line)?;
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
        let name = output::text(route, "name");
        for note in notes(route) {
            output::line(&format!("{name}: {note}"))?;
        }
    }
    Ok(())
}

/// The certificate, the queues that are not read, the sources that refuse, what is in quarantine, and the imports that run.
fn beside_the_routes(status: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(certificate(&status["certificate"]));
    for queue in status["queues"].as_array().into_iter().flatten() {
        if let Some(error) = queue["last_error"].as_str() {
            lines.push(format!(
                "source {} is not being read: {error}",
                output::text(queue, "source")
            ));
        }
    }
    for source in status["refusing"].as_array().into_iter().flatten() {
        lines.push(refusing(source));
    }
    let turned_away = status["turned_away"].as_array().into_iter().flatten();
    lines.extend(turned_away.map(self::turned_away));
    for held in status["quarantine"].as_array().into_iter().flatten() {
        let source = output::text(held, "source");
        let requests = match held["requests"].as_u64().unwrap_or_default() {
            1 => "1 request that was".to_owned(),
            more => format!("{more} requests that were"),
        };
        lines.push(format!(
            "source {source} has {requests} not verified in quarantine; `forebay quarantine list --source {source}` shows them"
        ));
    }
    for import in status["imports"].as_array().into_iter().flatten() {
        let counts = ["redriven", "known", "fresh"].map(|name| import[name].as_u64().unwrap_or(0));
        let taken: u64 = counts.iter().sum();
        let waits = match import["error"].as_str() {
            Some(error) => format!(", and waits: {error}"),
            None => String::new(),
        };
        let id = output::text(import, "id");
        lines.push(format!(
            "import {id} from {} runs and has taken {taken} so far{waits}; `forebay dlq import --cancel {id}` ends it",
            output::text(import, "from"),
        ));
    }
    lines
}

/// The certificate of the ingest listener, if it speaks TLS.
fn certificate(certificate: &Value) -> Option<String> {
    certificate.as_object()?;
    Some(match certificate["warning"].as_str() {
        Some(warning) => format!("CERTIFICATE: it {warning}"),
        None if certificate["expires_at"].is_null() => {
            "CERTIFICATE: there is none yet, and no handshake succeeds; the log says why".into()
        }
        None => format!(
            "certificate: expires at {}",
            output::time(certificate, "expires_at")
        ),
    })
}

/// A source that refuses, and what its sender makes of it.
fn refusing(source: &Value) -> String {
    let (name, code) = (output::text(source, "source"), output::text(source, "code"));
    let [since, until, lost_from] =
        ["since", "until", "lost_from"].map(|field| output::time(source, field));
    let left = source["left_seconds"].as_f64();
    if source["takes_since"].is_string() {
        let takes_since = output::time(source, "takes_since");
        let lost = match left {
            Some(left) if left > 0.0 => format!(
                "its sender gives up on the first of them in {}, at {lost_from}",
                output::seconds(left)
            ),
            Some(_) => format!("its sender gave up on the first of them at {lost_from}"),
            None => UNKNOWN_WINDOW.to_owned(),
        };
        return format!(
            "source {name} refused events from {since} to {until} ({code}); they can be accepted again since {takes_since}, and none has come yet: {lost}"
        );
    }
    let begun = format!("source {name} has refused events since {since} ({code})");
    match left {
        Some(left) if left > 0.0 => format!(
            "{begun}: its sender gives up on the first of them in {}, at {lost_from}",
            output::seconds(left)
        ),
        Some(_) => format!(
            "{begun}: events are lost for good since {lost_from}, when its sender gave up on the first"
        ),
        None => format!("{begun}: {UNKNOWN_WINDOW}"),
    }
}

const UNKNOWN_WINDOW: &str = "how long its sender tries is not known: set its `retry_window`";

/// What a source turned away for one reason, and whether it may be its sender's.
fn turned_away(run: &Value) -> String {
    let count = |field: &str| run[field].as_u64().unwrap_or_default();
    let (name, code) = (output::text(run, "source"), output::text(run, "code"));
    let reason = match run["reason"].as_str() {
        Some(reason) => format!("{code}: {reason}"),
        None => code.clone(),
    };
    let requests = match count("requests") {
        1 => "1 request".to_owned(),
        more => format!("{more} requests"),
    };
    let [since, last_at] = ["since", "last_at"].map(|field| output::time(run, field));
    let when = match since == last_at {
        true => format!("at {since}"),
        false => format!("since {since}, the last at {last_at}"),
    };
    let done = match &*code {
        "quarantined" => "has put into quarantine",
        _ => "has refused",
    };
    let beside = match count("accepted_meanwhile") {
        0 => "nothing of it was accepted meanwhile".to_owned(),
        1 => "1 event of it was accepted meanwhile".to_owned(),
        more => format!("{more} events of it were accepted meanwhile"),
    };
    format!("source {name} {done} {requests} {when} ({reason}); {beside}")
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
fn notes(route: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(name) = route["subscription"].as_str() {
        notes.push(format!("the subscription {name:?}"));
    }
    let error = &route["last_error"];
    if error.is_object() {
        notes.push(format!("last error {}", what_when(error)));
    }
    if route["full"] == true {
        notes.push(
            "full: as many events wait as max_backlog allows, and new ones of its sources are told 503 (route-full)".into(),
        );
    }
    if route["at_parked_max"] == true {
        notes.push(
            "at parked_max: so many events are parked and held that it reads no further".into(),
        );
    }
    let held = route["held"].as_u64().unwrap_or_default();
    if held > 0 {
        notes.push(format!(
            "{held} of the pending events are held: they wait behind a parked one"
        ));
    }
    if route["next_probe_at"].is_string() {
        let next = match route["paused"] == true {
            true => "no probe while it is paused".to_owned(),
            false => format!("next probe {}", output::time(route, "next_probe_at")),
        };
        notes.push(format!(
            "{} since {}, {next}",
            output::text(route, "breaker"),
            output::time(route, "breaker_since"),
        ));
    }
    for export in route["exports"].as_array().into_iter().flatten() {
        notes.extend(self::export(export));
    }
    if route["imbalance"].as_i64().unwrap_or_default() != 0 {
        notes.push(format!(
            "the ledger does not balance by {}: this is a defect, please report it",
            route["imbalance"]
        ));
    }
    let findings = route["findings"].as_array().into_iter().flatten();
    notes.extend(findings.filter_map(Value::as_str).map(str::to_owned));
    notes
}

/// `1 event`, `2 events`.
fn events(count: u64) -> String {
    match count {
        1 => "1 event".into(),
        more => format!("{more} events"),
    }
}

/// A dead-letter target, if there is something to say of it.
fn export(export: &Value) -> Vec<String> {
    let target = output::text(export, "target");
    let count = |key: &str| export[key].as_u64().unwrap_or_default();
    let away = export["breaker"].as_str() != Some("passing");
    let mut notes = Vec::new();
    if count("pending") > 0 || away {
        let state = match away {
            true => format!(", which is {}", output::text(export, "breaker")),
            false => String::new(),
        };
        let letters = match count("pending") {
            1 => "1 dead letter waits".to_owned(),
            count => format!("{count} dead letters wait"),
        };
        notes.push(format!("{letters} for {target}{state}"));
    }
    if count("refused") > 0 {
        let letters = match count("refused") {
            1 => format!("1 dead letter stays here because {target} would not take it"),
            more => format!("{more} dead letters stay here because {target} would not take them"),
        };
        notes.push(format!("{letters}: `forebay dlq show ID` says why"));
    }
    let error = &export["last_error"];
    if error.is_object() && (away || count("refused") > 0) {
        notes.push(format!("{target}'s last error {}", what_when(error)));
    }
    notes
}

/// An error's code, time and words.
fn what_when(error: &Value) -> String {
    format!(
        "{} at {}: {}",
        output::text(error, "code"),
        output::time(error, "at"),
        output::text(error, "detail"),
    )
}

fn bytes(value: &Value) -> String {
    value
        .as_u64()
        .map_or("-".into(), |bytes| domain::ByteSize(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_holds_a_route_up_is_said_while_it_lasts() {
        assert_eq!(notes(&json!({ "held": 0, "full": false })), [""; 0]);
        let notes = notes(&json!({ "full": true, "at_parked_max": true, "held": 3 }));
        for (note, words) in notes
            .iter()
            .zip(["route-full", "parked_max", "3 of the pending"])
        {
            assert!(note.contains(words), "{note}");
        }
        assert_eq!(notes.len(), 3);
    }

    #[test]
    fn a_queue_that_is_not_read_an_import_and_a_subscription_are_named() {
        let status = json!({
            "queues": [
                { "source": "good", "last_error": null },
                { "source": "orders", "last_error": "amqp 404: there is no queue ordrs" },
            ],
            "refusing": [
                { "source": "gc", "since": "2026-11-24T03:41:12Z", "code": "no-room", "left_seconds": 25.0, "lost_from": "2026-11-24T03:42:37Z" },
                { "source": "gh", "since": "2026-11-24T03:41:12Z", "code": "no-room", "left_seconds": 0.0, "lost_from": "2026-11-24T03:41:12Z" },
            ],
            "quarantine": [
                { "source": "shop", "requests": 1, "bytes": 200 },
                { "source": "gone", "requests": 12, "bytes": 2000 },
            ],
            "imports": [{ "id": 3, "from": "ops", "redriven": 1, "known": 2, "fresh": 0, "error": null }],
        });
        assert_eq!(
            beside_the_routes(&status),
            [
                "source orders is not being read: amqp 404: there is no queue ordrs",
                "source gc has refused events since 2026-11-24T03:41:12Z (no-room): its sender gives up on the first of them in 25s, at 2026-11-24T03:42:37Z",
                "source gh has refused events since 2026-11-24T03:41:12Z (no-room): events are lost for good since 2026-11-24T03:41:12Z, when its sender gave up on the first",
                "source shop has 1 request that was not verified in quarantine; `forebay quarantine list --source shop` shows them",
                "source gone has 12 requests that were not verified in quarantine; `forebay quarantine list --source gone` shows them",
                "import 3 from ops runs and has taken 3 so far; `forebay dlq import --cancel 3` ends it",
            ]
        );
        let route = json!({ "subscription": "crm" });
        assert_eq!(notes(&route), ["the subscription \"crm\""]);
    }

    #[test]
    fn the_certificate_is_told_of_where_there_is_tls() {
        let told = |of: Value| beside_the_routes(&json!({ "certificate": of }));
        assert_eq!(told(json!(null)), [""; 0]);
        let at = "2026-11-24T03:41:12Z";
        let good = told(json!({ "expires_at": at, "warning": null }));
        assert_eq!(good, [format!("certificate: expires at {at}")]);
        let bad = told(json!({ "expires_at": at, "warning": format!("expired at {at}") }));
        assert_eq!(bad, [format!("CERTIFICATE: it expired at {at}")]);
        let none = told(json!({ "expires_at": null, "warning": null }));
        assert!(none[0].contains("none yet"), "{none:?}");
    }

    #[test]
    fn a_loss_that_is_over_is_not_announced_as_if_it_went_on() {
        let mut source = json!({
            "source": "gh", "code": "no-room", "since": "2026-11-24T03:41:12Z", "until": "2026-11-24T03:42:00Z",
            "takes_since": "2026-11-24T03:42:08Z", "left_seconds": 0.0, "lost_from": "2026-11-24T03:41:22Z",
        });
        assert_eq!(
            refusing(&source),
            "source gh refused events from 2026-11-24T03:41:12Z to 2026-11-24T03:42:00Z (no-room); they can be accepted again since 2026-11-24T03:42:08Z, and none has come yet: its sender gave up on the first of them at 2026-11-24T03:41:22Z"
        );
        source["left_seconds"] = json!(5.0);
        assert!(refusing(&source).contains("gives up on the first of them in 5s"));
    }

    #[test]
    fn what_a_wrong_secret_turns_away_is_said() {
        let at = "2026-11-24T03:41:12Z";
        let mut run = json!({
            "source": "gh", "code": "not-verified", "reason": "signature wrong", "since": at,
            "last_at": "2026-11-24T03:42:00Z", "requests": 50, "accepted_meanwhile": 0,
        });
        assert_eq!(
            turned_away(&run),
            "source gh has refused 50 requests since 2026-11-24T03:41:12Z, the last at 2026-11-24T03:42:00Z (not-verified: signature wrong); nothing of it was accepted meanwhile"
        );
        run["code"] = json!("quarantined");
        run["last_at"] = json!(at);
        run["requests"] = json!(1);
        run["accepted_meanwhile"] = json!(1);
        assert_eq!(
            turned_away(&run),
            "source gh has put into quarantine 1 request at 2026-11-24T03:41:12Z (quarantined: signature wrong); 1 event of it was accepted meanwhile"
        );
    }

    #[test]
    fn a_paused_route_has_no_next_probe() {
        let at = "2026-11-24T03:41:12Z";
        let mut route = json!({ "breaker": "tripped", "breaker_since": at, "next_probe_at": at });
        assert_eq!(
            notes(&route),
            [format!("tripped since {at}, next probe {at}")]
        );
        route["paused"] = true.into();
        let paused = format!("tripped since {at}, no probe while it is paused");
        assert_eq!(notes(&route), [paused]);
    }
}
