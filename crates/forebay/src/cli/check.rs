//! `forebay check`

use std::time::Duration;

use domain::ports::Finding;

use super::output;
use super::serve::{ConfigArgs, ListenerArgs};
use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};

/// The longest that one destination may take to answer.
const LOOK: Duration = Duration::from_secs(30);

/// Validate the configuration, and with --connect reach every destination
///
/// Names one mistake at a time (exit code 2), and warns of secrets that are too short. Nothing is bound, opened or
/// delivered. With --connect a destination's table is made if it is not there.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    listeners: ListenerArgs,
    /// Also reach every destination, waiting up to 30s for each, and name what is set up weaker there than Forebay promises
    #[arg(long)]
    connect: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let config = args.config.load_with(&args.listeners)?;
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    let routes = config.routes.iter().map(|(name, route)| {
        let from: Vec<&str> = route.from.iter().map(domain::SourceName::as_str).collect();
        vec![name.to_string(), output::names(&from), route.to.to_string()]
    });
    output::table(&["route", "from", "to"], routes)?;
    if args.connect {
        super::runtime()?.block_on(connect(&config))?;
    }
    output::line(&format!("configuration {}: valid", config.place()))?;
    Ok(())
}

/// What the line of a place says of it, if the findings follow.
fn weaker(findings: &[Finding]) -> &'static str {
    match findings.is_empty() {
        true => "",
        false => ", and weaker than promised",
    }
}

fn list(findings: &[Finding]) -> std::io::Result<()> {
    let mut findings = findings.iter();
    findings.try_for_each(|finding| output::line(&format!("  {}", finding.text)))
}

async fn connect(config: &Config) -> Outcome {
    let mut unreachable = 0;
    for (name, destination) in &config.destinations {
        let destination = &destination.port;
        let kind = destination.kind();
        match tokio::time::timeout(LOOK, destination.inspect()).await {
            Ok(Ok(findings)) => {
                let weaker = weaker(&findings);
                output::line(&format!("destination {name} ({kind}): reached{weaker}"))?;
                list(&findings)?;
                if !destination.recognises_repeats() {
                    output::line(
                        "  note: it takes an event at least once: a repeat has the same forebay-event-id, for its reader to tell",
                    )?;
                }
                if let Some(unseen) = destination.unseen() {
                    output::line(&format!("  note: {unseen}"))?;
                }
            }
            Ok(Err(error)) => {
                unreachable += 1;
                output::line(&format!(
                    "destination {name} ({kind}): not reached: {}: {}",
                    error.cause.code, error.cause.detail
                ))?;
            }
            Err(_) => {
                unreachable += 1;
                output::line(&format!(
                    "destination {name} ({kind}): not reached: no answer within {LOOK:?}"
                ))?;
            }
        }
    }
    for (name, queue) in &config.queues {
        let Some(inlet) = &queue.inlet else { continue };
        let kind = queue.options.kind();
        let mut found = Vec::new();
        let looked = tokio::time::timeout(LOOK, inlet.inspect()).await;
        let told = match looked {
            Ok(Ok(findings)) => {
                found = findings;
                format!("reached{}", weaker(&found))
            }
            Ok(Err(error)) => {
                unreachable += 1;
                format!("not reached: {}: {}", error.cause.code, error.cause.detail)
            }
            Err(_) => {
                unreachable += 1;
                format!("not reached: no answer within {LOOK:?}")
            }
        };
        output::line(&format!("source {name} ({kind}): {told}"))?;
        list(&found)?;
    }
    if unreachable > 0 {
        let all = config.destinations.len() + config.queues.len();
        let of = match config.queues.is_empty() {
            true => "destinations",
            false => "destinations and queues",
        };
        return Err(Failure::say(
            Exit::Failed,
            format!("{unreachable} of {all} {of} could not be reached"),
        ));
    }
    Ok(())
}
