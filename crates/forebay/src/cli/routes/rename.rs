//! `forebay routes rename`

use domain::RouteName;
use domain::ports::{State, StateError};

use crate::app::stores;
use crate::cli::serve::ConfigArgs;
use crate::exit::{Exit, Failure, Outcome};

/// Give a route, with all it holds, the name it has in the configuration now (the server must be stopped)
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The name that state knows
    from: RouteName,
    /// The new name
    to: RouteName,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let config = args.config.load()?;
    let (_lock, state) = stores::open_state_alone(&config.server.data_dir)?;
    let renamed = super::super::runtime()?.block_on(state.rename_route(&args.from, &args.to));
    renamed.map_err(|error| match error {
        StateError::UnknownRoute(_) | StateError::Conflict(_) => Failure::new(Exit::Usage, error),
        error => Failure::new(Exit::Failed, error),
    })?;
    eprintln!("route {} is now {}", args.from, args.to);
    Ok(())
}
