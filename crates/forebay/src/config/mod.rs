//! The configuration: found, read, checked as a whole, before anything binds.
//!
//! [`load`] goes from a file (or none) to a [`Config`] that the composition root can build from without
//! a further question. Every mistake is one line: file, line, key, and what would be right; a value that
//! may be secret is never quoted. Flags override the environment, which overrides the file.

mod asking;
mod check;
mod circles;
mod defaults;
mod document;
mod error;
mod front;
mod interpolate;
mod keys;
mod notification_keys;
mod notifications;
mod options;
#[cfg(test)]
mod reference;
mod variables;
mod warnings;
mod words;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connectors::{DestinationConfig, DestinationOptions, QueueConfig, QueueOptions};
use domain::ports::{Destination, Inlet};
use domain::{DestinationName, RouteName, SourceName};
use ingest::verify::VerifyOptions;
use ingest::{Limits, Proxies, SourceOptions, TlsOptions};

pub use asking::find_admin;
pub use check::token_in;
pub use error::ConfigError;
pub use options::{LogFormat, LogOptions, Start, SubscriptionOptions, is_a_part};
pub use words::closest;

use document::{Document, Origin};

/// Where a configuration is looked for when no file is named.
const LOOKED_FOR: [&str; 2] = ["./forebay.toml", "/etc/forebay/forebay.toml"];

/// What the command line says. It overrides everything else.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The command reaches no destination: what they take from files is left unread, and they are not
    /// built.
    pub no_destinations: bool,
    /// `--listen`
    pub listen: Option<String>,
    /// `--admin`
    pub admin: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<String>,
}

/// A configuration that holds together.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from; `None`: built in.
    pub file: Option<PathBuf>,
    /// What stood in it, as a number that another text does not have.
    fingerprint: u64,
    /// Whether sources, destinations and routes are the built-in ones.
    pub built_in_route: bool,
    /// The `[server]` section.
    pub server: Server,
    /// The `[log]` section.
    pub log: LogOptions,
    /// The `[journal]` section.
    pub journal: journal::Config,
    /// The `[state]` section.
    pub state: state::Options,
    /// The `[dispatch]` section.
    pub dispatch: dispatch::Options,
    /// The `[sources.*]` sections of type `http`.
    pub sources: BTreeMap<SourceName, SourceOptions>,
    /// The others: queues.
    pub queues: BTreeMap<SourceName, BuiltQueue>,
    /// And notification channels.
    pub notifications: BTreeMap<SourceName, genesys::SourceConfig>,
    /// The `[destinations.*]` sections.
    pub destinations: BTreeMap<DestinationName, BuiltDestination>,
    /// The `[routes.*]` sections.
    pub routes: BTreeMap<RouteName, Route>,
    /// The `[subscriptions]` section.
    pub subscriptions: SubscriptionOptions,
    /// What of the above is told whose it is, once that is known.
    pub instance: connectors::Instance,
    /// What holds together but is weaker than it should be.
    pub warnings: Vec<ConfigError>,
}

impl Config {
    /// Every source, by name.
    pub fn source_names(&self) -> Vec<SourceName> {
        let mut names: Vec<_> = self
            .sources
            .keys()
            .chain(self.queues.keys())
            .chain(self.notifications.keys())
            .cloned()
            .collect();
        names.sort();
        names
    }

    /// Whether the file says something else by now. One that cannot be read has not changed.
    pub fn has_changed(&self) -> bool {
        let text = self.file.as_ref().map(std::fs::read_to_string);
        matches!(text, Some(Ok(text)) if fingerprint(&text) != self.fingerprint)
    }

    /// Where it came from, for people.
    pub fn place(&self) -> String {
        match &self.file {
            Some(path) => path.display().to_string(),
            None => "built in".into(),
        }
    }
}

/// The `[server]` section, checked.
#[derive(Debug, Clone)]
pub struct Server {
    /// The ingest listener.
    pub listen: SocketAddr,
    /// Whether a flag or a variable said so: who reads the file alone looks elsewhere.
    pub listen_from_outside: bool,
    /// The admin listener.
    pub admin: SocketAddr,
    /// Who may ask there.
    pub access: admin::Access,
    /// Where its token came from, if from a file; read again on SIGHUP.
    pub admin_token_file: Option<PathBuf>,
    /// Where journal and state live.
    pub data_dir: PathBuf,
    /// How long a request may wait to be durable.
    pub ack_timeout: Duration,
    /// Not ready but accepting, after SIGTERM.
    pub shutdown_delay: Duration,
    /// All of stopping after that.
    pub shutdown_timeout: Duration,
    /// The ingest listener's limits.
    pub limits: Limits,
    /// The ingest listener's TLS, if it speaks it.
    pub tls: Option<TlsOptions>,
    /// The proxies in front of it that are believed.
    pub proxies: Proxies,
}

impl Server {
    /// What is spoken at the ingest listener, as a URL says it.
    pub const fn ingest_scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }
}

/// A `[destinations.*]` section, checked and built: every file that it needs was there. Connected to nothing.
#[derive(Clone)]
pub struct BuiltDestination {
    options: DestinationConfig,
    /// The destination itself.
    pub port: Arc<dyn Destination>,
}

impl std::fmt::Debug for BuiltDestination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.options.fmt(f)
    }
}

/// A `[sources.*]` section of a queue, checked and built: every file that it needs was there. Connected to nothing.
#[derive(Clone)]
pub struct BuiltQueue {
    /// Its options.
    pub options: QueueConfig,
    /// The queue itself; `None` for commands that reach none.
    pub inlet: Option<Arc<dyn Inlet>>,
}

impl std::fmt::Debug for BuiltQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.options.fmt(f)
    }
}

/// A `[routes.*]` section, checked.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its sources, each of them configured.
    pub from: Vec<SourceName>,
    /// Its destination, configured.
    pub to: DestinationName,
    /// Which events of its sources it wants; `None`: all.
    pub filter: Option<Arc<dispatch::Filter>>,
    /// Where it begins when it is new.
    pub start: Option<Start>,
    /// What it does when something fails.
    pub policies: dispatch::RoutePolicies,
}

/// Finds, reads and checks the configuration.
///
/// # Errors
/// [`ConfigError`], the first mistake found.
pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Config, ConfigError> {
    let names: Vec<String> = std::env::vars_os()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    variables::check(&names)?;
    let found = file.map(Path::to_owned).or_else(find);
    let text = match &found {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?
        }
        None => String::new(),
    };
    let config = parse(found.as_deref(), &text, flags, &|name| {
        std::env::var(name).ok()
    })?;
    Ok(Config {
        fingerprint: fingerprint(&text),
        ..config
    })
}

fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The file at the first of the usual places where there is one.
fn find() -> Option<PathBuf> {
    let mut places = LOOKED_FOR.iter().map(PathBuf::from);
    places.find(|path| is_there(path))
}

/// Whether anything has that name. What cannot be looked at, or points nowhere, is there and cannot be read.
fn is_there(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Reads and checks a configuration's text.
///
/// # Errors
/// [`ConfigError`].
pub fn parse(
    file: Option<&Path>,
    text: &str,
    flags: &Flags,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let mut document = Document::parse(file, text)?;
    let unused = flags.no_destinations.then_some("destinations");
    document.interpolate(environment, unused)?;
    variables::put(&mut document, environment);
    for (key, flag, value) in [
        ("listen", "--listen", &flags.listen),
        ("admin", "--admin", &flags.admin),
        ("data_dir", "--data-dir", &flags.data_dir),
    ] {
        if let Some(value) = value {
            document.set("server", key, value.clone(), Origin::Flag(flag));
        }
    }
    document.check_types("sources", &options::source_types())?;
    let destinations = connectors::reference();
    let destinations: Vec<&str> = destinations.iter().map(|(kind, _)| *kind).collect();
    document.check_types("destinations", &destinations)?;
    document.read_tagged(&["destinations", "*"], "type", |kind, section| {
        Some(DestinationOptions::read(kind, section)?.map(drop))
    })?;
    document.read_tagged(&["sources", "*"], "type", |kind, section| {
        Some(QueueOptions::read(kind, section)?.map(drop))
    })?;
    document.read_tagged(&["sources", "*"], "type", |kind, section| {
        Some(genesys::SourceOptions::read(kind, section)?.map(drop))
    })?;
    document.read_tagged(&["sources", "*", "verify"], "scheme", |scheme, table| {
        Some(VerifyOptions::read(scheme, table)?.map(drop))
    })?;
    let mut options: options::File = document.read("sources", |kind| kind == options::HTTP)?;
    let others = [options::HTTP, genesys::KIND];
    let queues: options::Queues = document.read("sources", |kind| !others.contains(&kind))?;
    options.queues = queues.sources;
    let notifications: options::Notifications =
        document.read("sources", |kind| kind == genesys::KIND)?;
    options.notifications = notifications.sources;
    let built_in_route = defaults::fill(&mut options);
    let config = check::check(&document, options, built_in_route, !flags.no_destinations)?;
    Ok(Config {
        file: file.map(Path::to_owned),
        ..config
    })
}

#[cfg(test)]
mod tests;
