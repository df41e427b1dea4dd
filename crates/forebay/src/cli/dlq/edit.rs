//! `forebay dlq redrive ID --body FILE`: one letter, with another body.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{EventId, RouteName};
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::input;
use crate::cli::output;
use crate::exit::{Exit, Failure, Outcome};

/// What an edit needs.
#[derive(Debug, clap::Args)]
pub(super) struct EditArgs {
    /// Put this one dead letter back with the bytes of a file ("-": standard input) as its body. The body it had is kept:
    /// `forebay dlq history` shows it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["reason", "after", "before", "group", "all", "rate", "dry_run", "no_wait", "status", "cancel"])]
    body: Option<PathBuf>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", requires = "body")]
    note: Option<String>,
    /// Who does it, for the history [default: who the system says you are]
    #[arg(long, value_name = "NAME", requires = "body")]
    by: Option<String>,
    /// An empty file is meant as it is
    #[arg(long, requires = "body")]
    allow_empty_body: bool,
}

impl EditArgs {
    pub(super) fn is_meant(&self) -> bool {
        self.body.is_some()
    }

    /// The edit of exactly one letter.
    pub(super) async fn run(
        &self,
        client: &Client,
        ids: &[EventId],
        route: Option<&RouteName>,
        json: bool,
    ) -> Outcome {
        let (Some(file), [id]) = (&self.body, ids) else {
            let error = "--body is for one dead letter: name its id, and no other";
            return Err(Failure::say(Exit::Usage, error));
        };
        let body = input::bytes(file)?;
        if body.is_empty() && !self.allow_empty_body {
            let error = format!(
                "{} is empty: if the event is to have no body at all, add --allow-empty-body; nothing was done",
                file.display()
            );
            return Err(Failure::say(Exit::Usage, error));
        }
        let (body, encoding) = match String::from_utf8(body) {
            Ok(text) => (text, "utf-8"),
            Err(error) => (STANDARD.encode(error.as_bytes()), "base64"),
        };
        let mut request = json!({"body": body, "body_encoding": encoding, "by": self.by.clone().unwrap_or_else(whoami)});
        if let Some(route) = route {
            request["route"] = json!(route);
        }
        if let Some(note) = &self.note {
            request["note"] = json!(note);
        }
        let path = format!("/api/v1/dlq/{id}/redrive");
        let done = client.post_json(&path, &request).await?;
        tell(&done, json)
    }
}

fn tell(done: &Value, json: bool) -> Outcome {
    if json {
        return Ok(output::json_lines([done])?);
    }
    let id = output::text(done, "id");
    output::line(&format!(
        "event {id} is back on route {} with its new body",
        output::text(done, "route")
    ))?;
    eprintln!(
        "`forebay events show {id}` says what becomes of it, `forebay dlq history {id}` what it was before"
    );
    Ok(())
}

/// Who does it, as the system says.
fn whoami() -> String {
    let name = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    let who = name("SUDO_USER").or_else(|| name("USER"));
    who.unwrap_or_else(|| "somebody on the command line".into())
}
