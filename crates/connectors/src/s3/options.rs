//! The options of an `s3` destination.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{HumanDuration, Secret};
use object_store::path::Path;
use serde::Deserialize;

use super::destination::S3;
use super::store::Bucket;
use crate::aws::endpoint::{Endpoint, check_region};
use crate::aws::keys::{self, Keys};
use crate::options::{Backend, BuildError, Context, OptionsError};
use crate::reference::OptionDoc;

/// The word for it in the configuration.
pub const KIND: &str = "s3";

/// A key has 1024 bytes at most, and what comes behind the prefix needs some.
const PREFIX_BYTES: usize = 512;

pub(crate) const REFERENCE: &[OptionDoc] = &[
    OptionDoc {
        key: "bucket",
        value: "string",
        default: "",
        limit: "a name, or s3://NAME; gs://NAME for Google Cloud Storage, az://ACCOUNT/CONTAINER for Azure Blob Storage",
        effect: "The bucket. It must exist.",
    },
    OptionDoc {
        key: "prefix",
        value: "string",
        default: "",
        limit: "at most 512 bytes; no empty part, no . and no ..",
        effect: "What every key begins with, as a folder.",
    },
    OptionDoc {
        key: "region",
        value: "string",
        default: "",
        limit: "as us-east-1; only for S3",
        effect: "The bucket's region. Default: what environment, profile or machine say; with `endpoint_url`, us-east-1.",
    },
    OptionDoc {
        key: "endpoint_url",
        value: "string",
        default: "",
        limit: "https:// or http://",
        effect: "Another server that speaks the protocol. The bucket's name is put behind it as a path.",
    },
    keys::ACCESS_KEY_ID,
    keys::SECRET_ACCESS_KEY,
    keys::SECRET_ACCESS_KEY_FILE,
    keys::PROFILE,
    OptionDoc {
        key: "gzip",
        value: "boolean",
        default: "false",
        limit: "",
        effect: "Compresses what is written, and puts .gz behind its key.",
    },
    OptionDoc {
        key: "batch_max",
        value: "integer",
        default: "1",
        limit: "1 to 10000",
        effect: "The most events in one object. With more than 1 an object is NDJSON, a line an event, and a repeat may come in another object.",
    },
    OptionDoc {
        key: "concurrency",
        value: "integer",
        default: "8",
        limit: "1 to 256",
        effect: "Objects under way at once.",
    },
    OptionDoc {
        key: "connect_timeout",
        value: "duration",
        default: "\"5s\"",
        limit: "100ms to 30s",
        effect: "The longest that a connection may take to open, TLS included. It is part of `timeout`.",
    },
    OptionDoc {
        key: "timeout",
        value: "duration",
        default: "\"10s\"",
        limit: "100ms to 30s",
        effect: "The longest that one object may take to its answer, looking up keys included. After it the destination is unavailable.",
    },
];

/// An `s3` destination as it was written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The bucket, perhaps as `gs://…` or `az://…/…`.
    pub bucket: Option<String>,
    /// What every key begins with.
    pub prefix: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Another server that speaks the protocol.
    pub endpoint_url: Option<String>,
    /// The access key. Without it, keys come the AWS way.
    pub access_key_id: Option<Secret>,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// A file with its secret.
    pub secret_access_key_file: Option<PathBuf>,
    /// The profile that keys come from.
    pub profile: Option<String>,
    /// Whether to compress. Default false.
    pub gzip: Option<bool>,
    /// The most events in one object. Default 1, 1 to 10,000.
    pub batch_max: Option<u32>,
    /// Objects under way at once. Default 8, 1 to 256.
    pub concurrency: Option<u32>,
    /// The longest that a connection may take to open. Default `"5s"`.
    pub connect_timeout: Option<HumanDuration>,
    /// The longest that one object may take. Default `"10s"`, at most `"30s"`.
    pub timeout: Option<HumanDuration>,
}

impl Options {
    /// Checks the values; reads nothing.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn validate(&self) -> Result<Config, OptionsError> {
        let Some(bucket) = &self.bucket else {
            return Err(OptionsError::new("bucket", "is missing: name the bucket"));
        };
        let bucket = Bucket::parse(bucket).map_err(|reason| OptionsError::new("bucket", reason))?;
        if !matches!(bucket, Bucket::S3(_)) {
            self.refuse_aws()?;
        }
        if let Some(region) = &self.region {
            check_region(region).map_err(|reason| OptionsError::new("region", reason))?;
        }
        let endpoint = self.endpoint_url.as_deref().map(Endpoint::parse);
        let endpoint = endpoint
            .transpose()
            .map_err(|reason| OptionsError::new("endpoint_url", reason))?;
        let batch_max = self.batch_max.unwrap_or(1);
        Ok(Config {
            bucket,
            prefix: prefix(self.prefix.as_deref().unwrap_or_default())?,
            region: self.region.clone(),
            endpoint,
            keys: Keys::new(
                self.access_key_id.as_ref(),
                self.secret_access_key.as_ref(),
                self.secret_access_key_file.as_deref(),
                self.profile.as_deref(),
            )?,
            gzip: self.gzip.unwrap_or(false),
            batch_max: crate::options::batch_max(Some(batch_max))?,
            concurrency: concurrency(self.concurrency)?,
            connect_timeout: wait("connect_timeout", self.connect_timeout, 5)?,
            timeout: wait("timeout", self.timeout, 10)?,
        })
    }

    /// What is for S3 only.
    fn refuse_aws(&self) -> Result<(), OptionsError> {
        let given = [
            ("region", self.region.is_some()),
            ("access_key_id", self.access_key_id.is_some()),
            ("secret_access_key", self.secret_access_key.is_some()),
            (
                "secret_access_key_file",
                self.secret_access_key_file.is_some(),
            ),
            ("profile", self.profile.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((key, _)) => Err(OptionsError::new(
                key,
                "is for S3 only: Google's and Azure's keys come from their own environment variables and machines",
            )),
        }
    }
}

/// Without slashes at its ends.
fn prefix(text: &str) -> Result<String, OptionsError> {
    let wrong = |reason: &str| OptionsError::new("prefix", reason);
    let text = text.trim_matches('/');
    if text.len() > PREFIX_BYTES {
        return Err(wrong("has more than 512 bytes"));
    }
    let parsed = Path::parse(text)
        .map_err(|_| wrong("has an empty part, a . or a .., or a character that no key takes"))?;
    if text.chars().any(char::is_control) {
        return Err(wrong("has a character that no key takes"));
    }
    Ok(parsed.to_string())
}

fn concurrency(given: Option<u32>) -> Result<usize, OptionsError> {
    let count = given.unwrap_or(8);
    if (1..=256).contains(&count) {
        Ok(count as usize)
    } else {
        Err(OptionsError::new("concurrency", "must be from 1 to 256"))
    }
}

fn wait(
    key: &'static str,
    given: Option<HumanDuration>,
    default_seconds: u64,
) -> Result<Duration, OptionsError> {
    let wait = given.map_or(Duration::from_secs(default_seconds), |given| given.0);
    if (Duration::from_millis(100)..=Duration::from_secs(30)).contains(&wait) {
        Ok(wait)
    } else {
        Err(OptionsError::new(key, "must be from 100ms to 30s"))
    }
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(super) bucket: Bucket,
    /// Without slashes at its ends.
    pub(super) prefix: String,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) keys: Keys,
    pub(super) gzip: bool,
    pub(super) batch_max: usize,
    pub(super) concurrency: usize,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
}

impl Config {
    /// The bucket and where it is, for errors.
    pub(super) fn place(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("bucket {} at {}", self.bucket, endpoint.place()),
            None => format!("bucket {}", self.bucket),
        }
    }
}

impl Backend for Config {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError> {
        let s3 = S3::new(self.clone(), Arc::clone(&context.clock));
        let s3 = s3.map_err(|(key, reason)| BuildError {
            name: context.name.clone(),
            key,
            reason,
        })?;
        Ok(Arc::new(s3))
    }
}
