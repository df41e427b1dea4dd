//! The sections as they are written: names, types, defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use connectors::{DestinationOptions, QueueOptions};
use domain::policy::{BreakerPolicy, DeadLetterPolicy, OnFull, OnOutage, Order, RetryPolicy};
use domain::{DestinationName, HumanDuration, RouteName, Secret, SourceName, Timestamp};
use ingest::{ForwardedHeader, ListenerOptions, Network, SourceOptions, TlsOptions};
use serde::{Deserialize, Deserializer, Serialize};
use tracing_subscriber::filter::Targets;

use super::words::closest;

/// Keys of `[server]` that `FOREBAY_SERVER_…` may set.
pub(super) const SERVER_KEYS: &[&str] = &[
    "listen",
    "admin",
    "admin_token",
    "admin_token_file",
    "data_dir",
    "ack_timeout",
    "shutdown_delay",
    "shutdown_timeout",
];

/// Keys of `[journal]` that `FOREBAY_JOURNAL_…` may set.
pub(super) const JOURNAL_KEYS: &[&str] = &[
    "type",
    "segment_bytes",
    "max_bytes",
    "min_free",
    "retain",
    "memory",
];

/// What a source's `type` may be.
pub(super) fn source_types() -> Vec<&'static str> {
    let queues = connectors::QUEUE_REFERENCES.iter().map(|(kind, _)| *kind);
    std::iter::once(HTTP)
        .chain(queues)
        .chain([genesys::KIND])
        .collect()
}

/// The type of source that is posted to; all others are queues.
pub(super) const HTTP: &str = "http";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub server: ServerOptions,
    #[serde(default)]
    pub log: LogOptions,
    #[serde(default)]
    pub journal: journal::Options,
    #[serde(default)]
    pub state: state::Options,
    #[serde(default)]
    pub dispatch: dispatch::Options,
    #[serde(default)]
    pub sources: BTreeMap<SourceName, SourceOptions>,
    /// The sources that are queues; read on their own ([`Queues`]).
    #[serde(skip)]
    pub queues: BTreeMap<SourceName, QueueOptions>,
    /// The sources that are notification channels; read on their own ([`Notifications`]).
    #[serde(skip)]
    pub notifications: BTreeMap<SourceName, genesys::SourceOptions>,
    #[serde(default)]
    pub destinations: BTreeMap<DestinationName, DestinationOptions>,
    #[serde(default)]
    pub routes: BTreeMap<RouteName, RouteOptions>,
    #[serde(default)]
    pub subscriptions: SubscriptionOptions,
}

/// What is read of the file once more: sources that are queues.
#[derive(Debug, Deserialize)]
pub(super) struct Queues {
    #[serde(default)]
    pub sources: BTreeMap<SourceName, QueueOptions>,
}

impl File {
    /// Every source of whatever type.
    pub(super) fn source_names(&self) -> impl Iterator<Item = &SourceName> {
        let queues = self.queues.keys().chain(self.notifications.keys());
        self.sources.keys().chain(queues)
    }
}

/// What is read of the file once more: sources that are notification channels.
#[derive(Debug, Deserialize)]
pub(super) struct Notifications {
    #[serde(default)]
    pub sources: BTreeMap<SourceName, genesys::SourceOptions>,
}

/// The `[server]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerOptions {
    pub listen: String,
    pub admin: String,
    #[serde(skip_serializing)]
    pub admin_token: Option<Secret>,
    pub admin_token_file: Option<PathBuf>,
    pub data_dir: PathBuf,
    pub ack_timeout: HumanDuration,
    pub shutdown_delay: HumanDuration,
    pub shutdown_timeout: HumanDuration,
    pub limits: ListenerOptions,
    pub tls: Option<TlsOptions>,
    pub trusted_proxies: Vec<Network>,
    pub proxy_protocol: bool,
    pub forwarded_header: ForwardedHeader,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            admin: "127.0.0.1:8081".into(),
            admin_token: None,
            admin_token_file: None,
            data_dir: "./forebay-data".into(),
            ack_timeout: HumanDuration::from_millis(2500),
            shutdown_delay: HumanDuration::from_secs(0),
            shutdown_timeout: HumanDuration::from_secs(20),
            limits: ListenerOptions::default(),
            tls: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            forwarded_header: ForwardedHeader::default(),
        }
    }
}

/// The `[log]` section: what goes to standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogOptions {
    /// `"error"`, `"warn"`, `"info"` (default), `"debug"`, `"trace"`, or directives as
    /// `"info,ingest=debug"`.
    pub level: String,
    /// `"text"` (default) or `"json"`, a line an entry.
    pub format: LogFormat,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Text,
        }
    }
}

/// The crates of this workspace: what `level` may name, and all that is logged.
const PARTS: [&str; 9] = [
    "admin",
    "connectors",
    "dispatch",
    "domain",
    "forebay",
    "genesys",
    "ingest",
    "journal",
    "state",
];

/// Whether what is said under this name (`ingest::listener`) is said by Forebay itself.
pub fn is_a_part(target: &str) -> bool {
    PARTS.contains(&target.split("::").next().unwrap_or_default())
}

impl LogOptions {
    /// Checks the level.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn validate(&self) -> Result<(), String> {
        let level = &self.level;
        let parsed: Targets = level.parse().map_err(|_| {
            format!("{level:?} must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or directives as \"info,ingest=debug\"")
        })?;
        match parsed.iter().find(|(target, _)| !is_a_part(target)) {
            None => Ok(()),
            // A directive without a level is a part's, so that a misspelt level looks like one.
            Some((target, _)) if level.split(',').any(|word| word.trim() == target) => {
                let levels = ["error", "warn", "info", "debug", "trace"];
                let meant = match closest(target, levels) {
                    Some(meant) => format!("; did you mean {meant:?}? Write"),
                    None => ": write".into(),
                };
                Err(format!(
                    "{target:?} is no level{meant} \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a part with its own, as \"info,ingest=debug\""
                ))
            }
            Some((target, _)) => Err(format!(
                "{target:?} is no part of Forebay, and only its parts are logged: {}",
                PARTS.join(", ")
            )),
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// A `[routes.NAME]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteOptions {
    pub from: Vec<SourceName>,
    pub to: DestinationName,
    pub when: Option<String>,
    #[serde(default)]
    pub order: Order,
    pub start: Option<Start>,
    #[serde(default)]
    pub retry: RetryPolicy,
    #[serde(default)]
    pub on_outage: OnOutage,
    #[serde(default)]
    pub breaker: BreakerPolicy,
    #[serde(default)]
    pub dead_letter: DeadLetterPolicy,
    #[serde(default = "parked_max")]
    pub parked_max: u64,
    pub max_backlog: Option<u64>,
    pub on_full: Option<OnFull>,
}

fn parked_max() -> u64 {
    dispatch::RoutePolicies::default().parked_max
}

/// The `[subscriptions]` section: what may be subscribed by the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SubscriptionOptions {
    /// Whether there are any.
    pub enabled: bool,
    /// Whether they may go to plain http.
    pub allow_http: bool,
    /// Whether they may go to addresses that are not of the public internet.
    pub allow_private: bool,
    /// The most there may be.
    pub max: usize,
    /// The longest that one request may take, connecting included.
    pub timeout: HumanDuration,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self {
            enabled: false,
            allow_http: false,
            allow_private: false,
            max: 100,
            timeout: HumanDuration::from_secs(10),
        }
    }
}

/// The most that `max` may be: each is a route of its own, with a worker and a place in the journal.
const MOST_SUBSCRIPTIONS: usize = 10_000;

impl SubscriptionOptions {
    /// Checks the values.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        if !(1..=MOST_SUBSCRIPTIONS).contains(&self.max) {
            let reason =
                format!("must be from 1 to {MOST_SUBSCRIPTIONS}; to have none, enabled = false");
            return Err(("max", reason));
        }
        let timeout = self.timeout.0;
        if !(Duration::from_millis(100)..=Duration::from_secs(30)).contains(&timeout) {
            return Err(("timeout", "must be from 100ms to 30s".into()));
        }
        Ok(())
    }
}

/// Where a new route begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the next event.
    Now,
    /// With the oldest event that the journal holds.
    Oldest,
    /// With the first event received at or after this time.
    At(Timestamp),
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "now" => Ok(Self::Now),
            "oldest" => Ok(Self::Oldest),
            time => time.parse().map(Self::At).map_err(|_| {
                serde::de::Error::custom(
                    "must be \"now\", \"oldest\" or a time, as in \"2026-01-31T12:00:00Z\"",
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_source_are_those_that_are_read() {
        let nothing: Result<ingest::options::SourceType, _> =
            serde_json::from_value("nothing".into());
        let told = nothing.unwrap_err().to_string();
        assert_eq!(
            told,
            format!("unknown variant `nothing`, expected `{HTTP}`")
        );
        assert_eq!(
            source_types(),
            [HTTP, "sqs", "redis", "rabbitmq", genesys::KIND]
        );
        let least = serde_json::json!({ "type": genesys::KIND });
        serde_json::from_value::<genesys::SourceOptions>(least).unwrap();
        for kind in &source_types()[1..4] {
            let least = serde_json::json!({ "type": kind });
            serde_json::from_value::<QueueOptions>(least).unwrap();
        }
    }

    #[test]
    fn the_parts_are_the_crates_of_the_workspace() {
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut names: Vec<String> = std::fs::read_dir(crates)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "testbed")
            .collect();
        names.sort();
        assert_eq!(names, PARTS);
        assert!(is_a_part("ingest") && is_a_part("ingest::listener"));
        assert!(!is_a_part("ingestion") && !is_a_part("h2::codec") && !is_a_part(""));
    }

    #[test]
    fn a_level_may_name_parts_only() {
        let validate = |level: &str| {
            LogOptions {
                level: level.into(),
                ..LogOptions::default()
            }
            .validate()
        };
        for level in [
            "info",
            "trace",
            "warn,ingest=debug",
            "ingest::listener=trace",
        ] {
            validate(level).unwrap();
        }
        assert!(validate("loud=very").unwrap_err().contains("\"error\""));
        let error = validate("verbose").unwrap_err();
        assert!(
            error.starts_with("\"verbose\" is no level: write \"error\", \"warn\""),
            "{error}"
        );
        let error = validate("inof").unwrap_err();
        assert!(
            error.starts_with("\"inof\" is no level; did you mean \"info\"?"),
            "{error}"
        );
        let error = validate("info,h2=trace").unwrap_err();
        assert!(error.starts_with("\"h2\" is no part of Forebay"), "{error}");
    }
}
