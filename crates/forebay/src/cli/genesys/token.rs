//! `forebay genesys token`

use super::account::AccountArgs;
use crate::cli::output;
use crate::exit::Outcome;

/// Ask for a token and say whether the region, the client's id and its secret are right
///
/// The token itself is not shown.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    account: AccountArgs,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let found = args.account.client()?;
    let lifetime = crate::cli::runtime()?.block_on(found.client.authorise())?;
    let lifetime = domain::HumanDuration(lifetime);
    let region = found.client.region().name();
    output::line(&format!(
        "{region} gave a token for {lifetime}: region, client and secret are right"
    ))?;
    Ok(())
}
