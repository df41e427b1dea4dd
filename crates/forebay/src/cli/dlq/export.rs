//! `forebay dlq export`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::Selection;
use domain::{DestinationName, Envelope, EventId, Reason, RouteName, SourceName, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::select::{FilterArgs, GroupArgs, must_be_a_group, request};
use super::{PAGE, letters, page, progress};
use crate::cli::client::{AdminArgs, Client};
use crate::cli::output;
use crate::exit::{Exit, Failure, Outcome};

/// Write dead letters with their bodies as one JSON object a line, the newest first
///
/// What is buried meanwhile is left out. They stay where they are: `forebay dlq purge` discards them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    group: GroupArgs,
    /// All there are, which it is without a filter as well
    #[arg(long, conflicts_with_all = ["route", "reason", "after", "before", "group"])]
    all: bool,
    /// Where to; - is standard output. A new file is readable by its owner alone
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Write over the file if it is there
    #[arg(long)]
    force: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let to_stdout = args.output == Path::new("-");
    let exported = crate::cli::runtime()?.block_on(async {
        let (matched, selection) = count(&client, args).await?;
        if matched == 0 {
            must_be_a_group(&client, &selection).await?;
        }
        let mut target = match to_stdout {
            true => Target::Stdout,
            false => Target::open(&args.output, args.force)?,
        };
        let exported = export(&client, args, matched, &mut target).await?;
        target.finish()?;
        Outcome::Ok(exported)
    })?;
    if !to_stdout {
        eprintln!(
            "{} exported to {}",
            letters(exported),
            args.output.display()
        );
    }
    Ok(())
}

/// How many there are, for the progress. Asked first, so that a filter that cannot be is refused before a file
/// is made.
async fn count(client: &Client, args: &Args) -> Outcome<(u64, Selection)> {
    let selection = Selection::Filter(args.filter.filter(args.group.group.as_ref()));
    let counting = request(&selection, [("dry_run", json!(true))])?;
    let counted = client.post_json("/api/v1/dlq/purge", &counting).await?;
    let matched = counted["matched"].as_u64().unwrap_or_default();
    Ok((matched, selection))
}

async fn export(client: &Client, args: &Args, matched: u64, target: &mut Target) -> Outcome<u64> {
    let destinations = destinations(client).await?;
    let mut query = args.filter.query(args.group.group.as_ref());
    query.push(("include", "body".into()));
    let bar = progress::bar(matched);
    let (mut exported, mut cursor) = (0, None);
    loop {
        // A page ends above the next: what is buried meanwhile is above them all.
        for letter in page(client, &query, PAGE, &mut cursor).await? {
            let letter: Letter = serde_json::from_value(letter)
                .context("the server's dead letter cannot be read")?;
            let destination = destinations.get(&letter.route).cloned();
            target.line(&serde_json::to_string(&letter.envelope(destination)?)?)?;
            exported += 1;
        }
        bar.set_position(exported);
        if cursor.is_none() || target.has_gone() {
            bar.finish_and_clear();
            return Ok(exported);
        }
    }
}

/// Where each running route delivers to.
async fn destinations(client: &Client) -> Outcome<BTreeMap<RouteName, DestinationName>> {
    #[derive(Deserialize)]
    struct Routes {
        routes: Vec<Route>,
    }
    #[derive(Deserialize)]
    struct Route {
        name: RouteName,
        destination: DestinationName,
    }
    let answer = client.get("/api/v1/routes", &[]).await?;
    let answer: Routes =
        serde_json::from_value(answer).context("the server's routes cannot be read")?;
    let routes = answer.routes.into_iter();
    Ok(routes
        .map(|route| (route.name, route.destination))
        .collect())
}

/// A dead letter as the API shows it with its body.
#[derive(Deserialize)]
struct Letter {
    id: EventId,
    source: SourceName,
    route: RouteName,
    received_at: Timestamp,
    attempts: u32,
    first_failure_at: Timestamp,
    last_failure_at: Timestamp,
    reason: Reason,
    error: String,
    redrives: u32,
    content_type: Option<String>,
    body: String,
    body_encoding: String,
}

impl Letter {
    fn envelope(self, destination: Option<DestinationName>) -> Outcome<Envelope> {
        let body = match &*self.body_encoding {
            "base64" => STANDARD
                .decode(&self.body)
                .context("the server's dead letter has a body that is no base64")?,
            _ => self.body.into_bytes(),
        };
        Ok(Envelope {
            body_at: None,
            id: self.id,
            source: self.source,
            route: self.route,
            destination,
            received_at: self.received_at,
            attempts: self.attempts,
            first_failure_at: self.first_failure_at,
            last_failure_at: self.last_failure_at,
            reason: self.reason,
            error: self.error,
            redrives: self.redrives,
            content_type: self.content_type,
            body: body.into(),
        })
    }
}

/// Where lines go.
enum Target {
    Stdout,
    File(PathBuf, BufWriter<File>),
}

impl Target {
    /// A file that is there may be the only copy of letters that were purged since: it is not written over
    /// unasked. What is no file (a pipe, `/dev/null`) keeps nothing.
    fn open(path: &Path, force: bool) -> Outcome<Self> {
        let is_there = std::fs::metadata(path).is_ok_and(|found| found.is_file());
        if is_there && !force {
            let error = format!(
                "{} is there already: name another file, or write over it with --force; nothing was exported",
                path.display()
            );
            return Err(Failure::say(Exit::Usage, error));
        }
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::File(path.to_owned(), BufWriter::new(file)))
    }

    fn line(&mut self, line: &str) -> Outcome {
        match self {
            Self::Stdout => output::line(line)?,
            Self::File(path, file) => writeln!(file, "{line}")
                .with_context(|| format!("cannot write {}", path.display()))?,
        }
        Ok(())
    }

    /// Nobody reads it any more.
    fn has_gone(&self) -> bool {
        matches!(self, Self::Stdout) && output::reader_has_gone()
    }

    /// What was written is on the disk: the next command may be a purge.
    fn finish(self) -> Outcome {
        let Self::File(path, mut file) = self else {
            return Ok(());
        };
        let written = file.flush().and_then(|()| file.get_ref().sync_all());
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}
