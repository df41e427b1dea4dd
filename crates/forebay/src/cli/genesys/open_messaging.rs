//! `forebay genesys open-messaging`

use std::path::PathBuf;

use ::genesys::open_messaging::{self, Integration, Wanted};
use domain::Secret;

use super::account::AccountArgs;
use crate::cli::output;
use crate::exit::{Exit, Failure, Outcome};

/// Make, list and change Open Messaging integrations: where Genesys Cloud posts messages to, and what they are signed with
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the integrations
    List {
        #[command(flatten)]
        account: AccountArgs,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Make an integration
    Create {
        #[command(flatten)]
        account: AccountArgs,
        /// Its name
        #[arg(long, value_name = "NAME")]
        name: String,
        /// Where it posts to: https, on port 443
        #[arg(long, value_name = "URL")]
        url: String,
        /// A file with the secret that it signs with, which the source has as well
        #[arg(long, value_name = "FILE")]
        secret_file: PathBuf,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Change an integration
    ///
    /// To change the secret without losing a message: put the new one beside the old one in the source's `secret_files` and
    /// send the server SIGHUP, so that it takes both; run this with the new one; take the old one out a few minutes later,
    /// when nothing is on its way any more.
    Update {
        #[command(flatten)]
        account: AccountArgs,
        /// The integration's id, as `list` shows it
        #[arg(value_name = "ID")]
        id: String,
        /// Its new name
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Where it is to post to
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// A file with the secret that it is to sign with
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub fn run(args: &Args) -> Outcome {
    let runtime = crate::cli::runtime()?;
    match &args.verb {
        Verb::List { account, json } => {
            let found = account.client()?;
            let all = runtime.block_on(open_messaging::list(&found.client))?;
            list(&all, *json)
        }
        Verb::Create {
            account,
            name,
            url,
            secret_file,
            json,
        } => {
            let wanted = Wanted {
                name: Some(name.clone()),
                url: Some(url.clone()),
                secret: Some(secret(secret_file)?),
            };
            checked(&wanted)?;
            let found = account.client()?;
            let made = runtime.block_on(open_messaging::create(&found.client, &wanted))?;
            tell(&made, "made", *json)
        }
        Verb::Update {
            account,
            id,
            name,
            url,
            secret_file,
            json,
        } => {
            let wanted = Wanted {
                name: name.clone(),
                url: url.clone(),
                secret: secret_file.as_ref().map(secret).transpose()?,
            };
            checked(&wanted)?;
            if (name, url, secret_file) == (&None, &None, &None) {
                let error = "nothing to change: give --name, --url or --secret-file";
                return Err(Failure::say(Exit::Usage, error));
            }
            let found = account.client()?;
            let changed = runtime.block_on(open_messaging::update(&found.client, id, &wanted))?;
            tell(&changed, "changed", *json)
        }
    }
}

fn checked(wanted: &Wanted) -> Outcome {
    wanted
        .check()
        .map_err(|error| Failure::say(Exit::Usage, error))
}

fn secret(path: &PathBuf) -> Outcome<Secret> {
    let read = std::fs::read_to_string(path);
    let read = read.map_err(|error| {
        Failure::say(
            Exit::Usage,
            format!("cannot read {}: {error}", path.display()),
        )
    })?;
    Ok(Secret::new(read.trim().to_owned()))
}

fn list(all: &[Integration], json: bool) -> Outcome {
    if json {
        for one in all {
            output::json_lines([&serde_json::to_value(one)?])?;
        }
        return Ok(());
    }
    let rows = all.iter().map(|one| {
        vec![
            one.id.clone(),
            one.name.clone(),
            one.outbound_notification_webhook_url.clone(),
        ]
    });
    output::table(&["id", "name", "posts to"], rows)?;
    Ok(())
}

fn tell(integration: &Integration, what: &str, json: bool) -> Outcome {
    let line = format!(
        "integration {} ({}) is {what}; it posts to {}",
        integration.id, integration.name, integration.outbound_notification_webhook_url
    );
    output::told(&serde_json::to_value(integration)?, &line, json)
}
