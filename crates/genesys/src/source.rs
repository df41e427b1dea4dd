//! The `[sources.*]` section of type `genesys-notifications`.

use std::path::PathBuf;
use std::time::Duration;

use domain::{ByteSize, HumanDuration, Secret};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::backfill::Query;
use crate::channel::socket::LARGEST_FRAME;
use crate::channel::topics::{self, CHANNELS_OF_A_SOURCE, TOPICS_A_CHANNEL};
use crate::options::{Account, AccountOptions, OptionsError};

/// Its type in the configuration.
pub const KIND: &str = domain::ports::NOTIFICATIONS;

/// The section as it is written. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum SourceOptions {
    /// The one type there is.
    GenesysNotifications(NotificationOptions),
}

/// Its keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationOptions {
    region: Option<String>,
    endpoint: Option<String>,
    #[serde(default)]
    client_id: String,
    client_secret: Option<Secret>,
    client_secret_file: Option<PathBuf>,
    proxy: Option<Secret>,
    #[serde(default)]
    topics: Vec<String>,
    max_body: Option<ByteSize>,
    dedup_window: Option<HumanDuration>,
    buffer: Option<ByteSize>,
    backfill: Option<bool>,
    #[serde(default)]
    divisions: Vec<String>,
    backfill_filters: Option<Map<String, Value>>,
}

/// A checked section.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    pub(crate) account: Account,
    pub(crate) topics: Vec<String>,
    pub(crate) max_body: u64,
    pub(crate) dedup_window: Duration,
    /// The most that is heard and not handed out, in bytes.
    pub(crate) buffer: u32,
    /// Whether a gap is filled once it is over.
    pub(crate) fills_gaps: bool,
    pub(crate) query: Query,
}

impl SourceConfig {
    /// Who it is.
    #[must_use]
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// What is listened to.
    #[must_use]
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// Whether a gap is filled once it is over.
    #[must_use]
    pub const fn fills_gaps(&self) -> bool {
        self.fills_gaps
    }

    /// The largest event, in bytes.
    #[must_use]
    pub const fn max_body(&self) -> u64 {
        self.max_body
    }

    /// What is read, for people.
    #[must_use]
    pub fn reads(&self) -> String {
        let plural = if self.topics.len() == 1 { "" } else { "s" };
        format!(
            "{} topic{plural} of {}",
            self.topics.len(),
            self.account.region()
        )
    }
}

impl SourceOptions {
    /// Reads the options of this type, the section without `type`: so whoever reads them knows where a mistake is.
    /// `None`: it is another type.
    pub fn read<'de, D: serde::Deserializer<'de>>(
        kind: &str,
        options: D,
    ) -> Option<Result<Self, D::Error>> {
        (kind == KIND).then(|| Deserialize::deserialize(options).map(Self::GenesysNotifications))
    }

    /// Who it is, whatever else the section says.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn account(&self) -> Result<Account, OptionsError> {
        let Self::GenesysNotifications(options) = self;
        AccountOptions {
            region: options.region.clone(),
            endpoint: options.endpoint.clone(),
            client_id: options.client_id.clone(),
            client_secret: options.client_secret.clone(),
            client_secret_file: options.client_secret_file.clone(),
            proxy: options.proxy.clone(),
        }
        .validate()
    }

    /// Checks every value. Reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn validate(&self) -> Result<SourceConfig, OptionsError> {
        let account = self.account()?;
        let Self::GenesysNotifications(options) = self;
        if options.topics.is_empty() {
            let reason = "is missing: what to listen to, such as [\"v2.users.ID.presence\"]; `forebay genesys topics` lists what there is";
            return Err(OptionsError::new("topics", reason));
        }
        for topic in &options.topics {
            topics::check(topic).map_err(|reason| OptionsError::new("topics", reason))?;
        }
        let channels = topics::spread(topics::combine(&options.topics)).len();
        if channels > CHANNELS_OF_A_SOURCE {
            let most = CHANNELS_OF_A_SOURCE * TOPICS_A_CHANNEL;
            let reason = format!(
                "are more than {most}, which is what {CHANNELS_OF_A_SOURCE} channels take: spread them over sources, each with an OAuth client of its own"
            );
            return Err(OptionsError::new("topics", reason));
        }
        let max_body = options.max_body.unwrap_or(ByteSize::mib(1)).0;
        if !(1..=LARGEST_FRAME as u64).contains(&max_body) {
            return Err(OptionsError::new(
                "max_body",
                "must be from 1 byte to 64MiB",
            ));
        }
        let window = options
            .dedup_window
            .unwrap_or(HumanDuration::from_secs(120))
            .0;
        if window > Duration::from_secs(3600) {
            return Err(OptionsError::new("dedup_window", "must be at most 1h"));
        }
        let buffer = options.buffer.unwrap_or(ByteSize::mib(16)).0;
        let buffer = u32::try_from(buffer)
            .ok()
            .filter(|bytes| (1 << 16..=1 << 30).contains(bytes));
        let buffer =
            buffer.ok_or_else(|| OptionsError::new("buffer", "must be from 64KiB to 1GiB"))?;
        let tells_of_conversations = || {
            options
                .topics
                .iter()
                .any(|topic| topic.contains("conversation"))
        };
        Ok(SourceConfig {
            account,
            topics: options.topics.clone(),
            max_body,
            dedup_window: window,
            buffer,
            fills_gaps: options.backfill.unwrap_or_else(tells_of_conversations),
            query: Query {
                divisions: options.divisions.clone(),
                filters: filters(options.backfill_filters.as_ref())?,
            },
        })
    }
}

/// Keys of a query that Forebay gives.
const OURS: [&str; 4] = ["interval", "order", "orderBy", "paging"];

fn filters(given: Option<&Map<String, Value>>) -> Result<Map<String, Value>, OptionsError> {
    let wrong = |reason| Err(OptionsError::new("backfill_filters", reason));
    let filters = given.cloned().unwrap_or_default();
    for (key, value) in &filters {
        if OURS.contains(&key.as_str()) {
            return wrong(format!("{key:?} is given by Forebay: take it out"));
        }
        if key.ends_with("Filters") && !value.is_array() {
            return wrong(format!(
                "{key:?} must be a list of filters, as the API takes them"
            ));
        }
    }
    Ok(filters)
}
