//! `forebay routes rename`

use domain::RouteName;
use domain::ports::{State, StateError};

use crate::app::{retire, stores};
use crate::cli::serve::ConfigArgs;
use crate::exit::{Exit, Failure, Outcome};

/// Give a route, with all it holds, the name it has in the configuration now (the server must be stopped)
///
/// Where there is no configuration to read, any name will do.
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
    if config.file.is_some() && !config.routes.contains_key(&args.to) {
        let known: Vec<&str> = config.routes.keys().map(RouteName::as_str).collect();
        let error = format!(
            "there is no route {} in the configuration ({}), so the next start would refuse it; there is {}",
            args.to,
            config.place(),
            known.join(", ")
        );
        return Err(Failure::say(Exit::Usage, error));
    }
    let renamed = super::super::runtime()?.block_on(async {
        retire::record(&state, &args.from).await?;
        Outcome::Ok(state.rename_route(&args.from, &args.to).await)
    })?;
    renamed.map_err(|error| match error {
        StateError::UnknownRoute(_) | StateError::Conflict(_) => Failure::new(Exit::Usage, error),
        error => Failure::new(Exit::Failed, error),
    })?;
    eprintln!("route {} is now {}", args.from, args.to);
    Ok(())
}
