//! `forebay routes list`

use serde_json::Value;

use crate::cli::client::AdminArgs;
use crate::cli::output;
use crate::exit::Outcome;

/// List the routes with their sources, destinations, breakers and pending events
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let client = args.admin.client()?;
    let answer = crate::cli::runtime()?.block_on(client.get("/api/v1/routes", &[]))?;
    let none = Vec::new();
    let routes = answer["routes"].as_array().unwrap_or(&none);
    if args.json {
        output::json_lines(routes)?;
        return Ok(());
    }
    let rows = routes.iter().map(|route| {
        let from: Vec<&str> = route["sources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        vec![
            output::text(route, "name"),
            from.join(", "),
            output::text(route, "destination"),
            output::text(route, "destination_type"),
            output::breaker(route),
            output::text(route, "pending"),
        ]
    });
    output::table(&["route", "from", "to", "type", "breaker", "pending"], rows)?;
    Ok(())
}
