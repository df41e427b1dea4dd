//! `forebay routes pause` and `forebay routes resume`

use crate::cli::client::AdminArgs;
use crate::exit::Outcome;

/// Stop or go on delivering a route's events
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// The route
    name: domain::RouteName,
}

/// Runs it.
pub fn run(args: &Args, verb: &str) -> Outcome {
    let client = args.admin.client()?;
    let path = format!("/api/v1/routes/{}/{verb}", args.name);
    crate::cli::runtime()?.block_on(client.post(&path))?;
    eprintln!("route {}: {verb}d", args.name);
    Ok(())
}
