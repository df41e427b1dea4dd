//! `forebay sources forget`

use domain::SourceName;
use domain::ports::{Quarantine, State};

use crate::app::stores;
use crate::cli::serve::ConfigArgs;
use crate::exit::{Exit, Failure, Outcome};

/// Forget a source that the configuration no longer has (the server must be stopped)
///
/// Until then its paths answer 503, so that a sender keeps what it has if the source is to come back.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The source
    name: SourceName,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let (config, name) = (args.config.load()?, &args.name);
    if config.sources.contains_key(name) {
        let error = format!(
            "source {name} is in the configuration ({}): take [sources.{name}] out first, or name the right file with --config",
            config.place()
        );
        return Err(Failure::say(Exit::Usage, error));
    }
    let (_lock, state) = stores::open_state_alone(&config.server.data_dir)?;
    super::super::runtime()?.block_on(async {
        if state.forget_source(name).await? {
            eprintln!("source {name} is forgotten; its paths answer 404");
            let kept = state.counts().await?;
            let kept = kept.iter().find(|count| count.source == *name);
            match kept.map_or(0, |count| count.requests) {
                0 => {}
                kept => eprintln!(
                    "{kept} of its requests are in quarantine still: they can be released only once the source is back; `forebay quarantine purge --source {name}` discards them"
                ),
            }
            return Ok(());
        }
        let known = state.sources().await?;
        let known: Vec<&str> = known.iter().map(|source| source.name.as_str()).collect();
        let error = format!(
            "state knows no source {name}; it knows {}",
            known.join(", ")
        );
        Err(Failure::say(Exit::Usage, error))
    })
}
