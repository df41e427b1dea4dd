//! Which OAuth client a command uses: a source's of the configuration, or one that is given.

use std::path::PathBuf;
use std::sync::Arc;

use ::genesys::{Account, AccountOptions, Client, SourceConfig};
use domain::{Secret, SystemClock};

use crate::app::notifications;
use crate::config::{self, Config, Flags};
use crate::exit::{Exit, Failure, Outcome};

/// What every command takes that speaks to Genesys Cloud itself. Without `--client-id` it is the OAuth client of a source of
/// the configuration.
#[derive(Debug, clap::Args)]
pub struct AccountArgs {
    /// Where the configuration is [default: ./forebay.toml, else /etc/forebay/forebay.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The source whose OAuth client is used [default: the only one of type genesys-notifications]
    #[arg(long, value_name = "NAME", conflicts_with = "client_id")]
    source: Option<String>,
    /// The domain that you log in at, such as mypurecloud.de, or Amazon's name for the region
    #[arg(
        long,
        value_name = "REGION",
        env = "FOREBAY_GENESYS_REGION",
        requires = "client_id"
    )]
    region: Option<String>,
    /// One address in place of all hosts of a region
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "region",
        requires = "client_id",
        hide = true
    )]
    endpoint: Option<String>,
    /// The id of an OAuth client for client credentials
    #[arg(long, value_name = "ID", env = "FOREBAY_GENESYS_CLIENT_ID")]
    client_id: Option<String>,
    /// A file with the client's secret; or set FOREBAY_GENESYS_CLIENT_SECRET
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,
    /// A proxy to go through, as http://user:password@host:port
    #[arg(
        long,
        value_name = "URL",
        env = "FOREBAY_GENESYS_PROXY",
        hide_env_values = true,
        requires = "client_id"
    )]
    proxy: Option<String>,
}

/// A client, and the source that it is of.
pub struct Found {
    pub client: Client,
    pub source: Option<SourceConfig>,
}

impl AccountArgs {
    /// Makes the client; connects to nothing.
    ///
    /// # Errors
    /// What is missing or wrong, exit code 2.
    pub fn client(&self) -> Outcome<Found> {
        let (account, source) = match &self.client_id {
            Some(id) => (self.given(id)?, None),
            None => {
                let source = self.of_configuration()?;
                (source.account().clone(), Some(source))
            }
        };
        let client = notifications::client(&account, Arc::new(SystemClock))?;
        Ok(Found { client, source })
    }

    fn given(&self, id: &str) -> Outcome<Account> {
        let secret = std::env::var("FOREBAY_GENESYS_CLIENT_SECRET").ok();
        let options = AccountOptions {
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            client_id: id.to_owned(),
            // What is named goes over what happens to be set.
            client_secret: secret
                .filter(|secret| !secret.is_empty() && self.client_secret_file.is_none())
                .map(Secret::new),
            client_secret_file: self.client_secret_file.clone(),
            proxy: self.proxy.clone().map(Secret::new),
        };
        options.validate().map_err(|error| {
            let flag = format!("--{}", error.key.replace('_', "-"));
            Failure::say(Exit::Usage, format!("{flag}: {}", error.reason))
        })
    }

    fn of_configuration(&self) -> Outcome<SourceConfig> {
        let flags = Flags {
            no_destinations: true,
            ..Flags::default()
        };
        let config = config::load(self.config.as_deref(), &flags);
        let config = config.map_err(|error| Failure::new(Exit::Usage, error))?;
        pick(&config, self.source.as_deref()).map_err(|error| Failure::say(Exit::Usage, error))
    }
}

/// The source of that name, or the only one.
fn pick(config: &Config, name: Option<&str>) -> Result<SourceConfig, String> {
    let sources = &config.notifications;
    let names: Vec<&str> = sources.keys().map(domain::SourceName::as_str).collect();
    let (place, known) = (config.place(), names.join(", "));
    match (name, &*names) {
        (Some(name), _) => {
            let found = sources.iter().find(|(known, _)| known.as_str() == name);
            found.map(|(_, source)| source.clone()).ok_or_else(|| match &*names {
                [] => format!("{name} is no source of type genesys-notifications in the configuration ({place}), nor is any other"),
                _ => format!("{name} is no source of type genesys-notifications in the configuration ({place}); there is {known}"),
            })
        }
        (None, [_]) => Ok(sources.values().next().cloned().ok_or("there is none")?),
        (None, []) => Err(format!(
            "no OAuth client is given, and the configuration ({place}) has no source of type genesys-notifications: give --region, --client-id and --client-secret-file"
        )),
        (None, _) => Err(format!(
            "there are several sources of type genesys-notifications: name one with --source: {known}"
        )),
    }
}
