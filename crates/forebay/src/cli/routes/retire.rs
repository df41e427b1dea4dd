//! `forebay routes retire`

use std::sync::Arc;

use domain::ports::RetireFate;
use domain::{RouteName, SystemClock};
use prometheus_client::registry::Registry;

use crate::app::retire;
use crate::app::stores::{self, OpenFlags, Stores};
use crate::cli::serve::ConfigArgs;
use crate::exit::{Exit, Failure, Outcome};

/// End a route that the configuration no longer has (the server must be stopped)
///
/// State keeps its dead letters, with those that this makes, unless --pending is discard.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The route
    name: RouteName,
    /// What becomes of its pending and parked events
    #[arg(long, value_enum, value_name = "FATE")]
    pending: Pending,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Pending {
    /// They become dead letters with the reason `retired`
    DeadLetter,
    /// They are discarded, and counted so; dead letters go too
    Discard,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let config = args.config.load()?;
    if config.routes.contains_key(&args.name) {
        // The next start would make it anew, without what it had.
        let error = format!(
            "route {0} is in the configuration ({1}): take [routes.{0}] out first, or name the right file with --config",
            args.name,
            config.place()
        );
        return Err(Failure::say(Exit::Usage, error));
    }
    stores::must_exist(&config.server.data_dir)?;
    let fate = match args.pending {
        Pending::DeadLetter => RetireFate::DeadLetter,
        Pending::Discard => RetireFate::Discard,
    };
    crate::cli::runtime()?.block_on(async {
        let clock = Arc::new(SystemClock);
        let stores = Stores::open(
            &config,
            OpenFlags::default(),
            clock.clone(),
            &mut Registry::default(),
        )
        .await?;
        let retired = retire::retire(&stores, &args.name, fate, &*clock).await;
        stores.close().await?;
        let moved = retired?;
        eprintln!(
            "route {} is retired; {moved} pending events {}",
            args.name,
            match fate {
                RetireFate::DeadLetter => "became dead letters",
                RetireFate::Discard => "were discarded",
            }
        );
        Ok(())
    })
}
