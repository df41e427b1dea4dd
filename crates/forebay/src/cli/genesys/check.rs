//! `forebay genesys check`

use ::genesys::Wanted;

use super::account::AccountArgs;
use crate::cli::output;
use crate::exit::{Exit, Failure, Outcome};

/// Look at everything that Forebay needs of Genesys Cloud, and say what is wrong and how to mend it
///
/// It asks for a token, looks the source's topics up, asks how far the analytics reach (for backfills), lists the Open
/// Messaging integrations if --open-messaging is given, and compares the clocks. It changes nothing over there.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    account: AccountArgs,
    /// Look at Open Messaging as well
    #[arg(long)]
    open_messaging: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let found = args.account.client()?;
    let wanted = Wanted {
        topics: found
            .source
            .as_ref()
            .map(|source| source.topics().to_vec())
            .unwrap_or_default(),
        backfill: found
            .source
            .as_ref()
            .is_none_or(::genesys::SourceConfig::fills_gaps),
        open_messaging: args.open_messaging,
    };
    let steps = crate::cli::runtime()?.block_on(::genesys::checkup(&found.client, &wanted));
    let mut wrong = 0;
    for step in &steps {
        let told = match &step.found {
            Ok(told) => format!("{}: ok, {told}", step.what),
            Err(why) => {
                wrong += 1;
                format!("{}: WRONG, {why}", step.what)
            }
        };
        output::line(&told)?;
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::say(Exit::Failed, "1 thing is wrong")),
        more => Err(Failure::say(
            Exit::Failed,
            format!("{more} things are wrong"),
        )),
    }
}
