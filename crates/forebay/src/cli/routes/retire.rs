//! `forebay routes retire`

use std::sync::Arc;

use domain::ports::RetireFate;
use domain::{Clock, RouteName, SystemClock};
use prometheus_client::registry::Registry;

use crate::app::retire::{self, Holds};
use crate::app::stores::{self, OpenFlags, Stores};
use crate::cli::ask;
use crate::cli::serve::ConfigArgs;
use crate::exit::{Exit, Failure, Outcome};

/// End a route that the configuration no longer has (the server must be stopped)
///
/// With --pending dead-letter state keeps its dead letters, and those that this makes. With --pending discard
/// they go as well: that is asked about on a terminal, and needs --yes elsewhere.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The route
    name: RouteName,
    /// What becomes of its pending and parked events
    #[arg(long, value_enum, value_name = "FATE")]
    pending: Pending,
    /// Do not ask before dead letters are discarded
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Pending {
    /// They become dead letters with the reason `retired`; dead letters stay
    DeadLetter,
    /// They are discarded, and counted so; dead letters are discarded, too
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
        let retired = retire(args, &stores, fate, &*clock).await;
        stores.close().await?;
        let held = retired?;
        eprintln!("{}", told(&args.name, fate, held));
        Ok(())
    })
}

/// Asks if that is due, and ends the route. What it held.
async fn retire(
    args: &Args,
    stores: &Stores,
    fate: RetireFate,
    clock: &dyn Clock,
) -> Outcome<Holds> {
    let held = retire::holds(stores, &args.name).await?;
    if fate == RetireFate::Discard && held.dead > 0 && !args.yes {
        let Holds {
            pending,
            parked,
            dead,
        } = held;
        let name = &args.name;
        if !ask::can_ask() {
            let error = format!(
                "route {name} has {pending} pending and {parked} parked events and {dead} dead letters, and --pending discard discards them all; there is no terminal to ask on: add --yes, or keep them with --pending dead-letter; nothing was done"
            );
            return Err(Failure::say(Exit::Usage, error));
        }
        let question = format!(
            "Discard {pending} pending and {parked} parked events and {dead} dead letters of route {name} for good?"
        );
        if !ask::agreed(&question)? {
            return Err(Failure::say(Exit::Failed, "nothing was discarded"));
        }
    }
    let pending = retire::retire(stores, &args.name, fate, clock).await?;
    Ok(Holds { pending, ..held })
}

/// What became of what the route held.
fn told(name: &RouteName, fate: RetireFate, held: Holds) -> String {
    let Holds {
        pending,
        parked,
        dead,
    } = held;
    match fate {
        RetireFate::DeadLetter => format!(
            "route {name} is retired; {pending} pending events and {parked} parked ones became dead letters, and its {dead} dead letters stay"
        ),
        RetireFate::Discard => format!(
            "route {name} is retired; {pending} pending events, {parked} parked ones and {dead} dead letters were discarded"
        ),
    }
}
