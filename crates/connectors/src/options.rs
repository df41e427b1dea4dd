//! The `[destinations.*]` sections of the configuration, and the one factory behind them.
//!
//! Options are what was written; [`DestinationOptions::validate`] is pure and gives what [`build`]
//! consumes. Building opens no connection: a destination that is down must not stop a start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Destination;
use domain::{Clock, DestinationName, HumanDuration};
use serde::Deserialize;

use crate::instance::Instance;
use crate::reference::OptionDoc;

/// Names every backend once: its variant, and the module with its `Options`.
macro_rules! backends {
    ($($(#[$doc:meta])* $variant:ident => $module:ident),+ $(,)?) => {
        /// What a destination's section says, by its `type`. Unknown keys and types are refused.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(tag = "type", rename_all = "lowercase")]
        pub enum DestinationOptions {
            $($(#[$doc])* $variant(crate::$module::Options),)+
        }

        impl DestinationOptions {
            /// Reads the options of this type, the section without `type`: so whoever reads them knows where a mistake
            /// is. `None`: there is no such type.
            pub fn read<'de, D: serde::Deserializer<'de>>(
                kind: &str,
                options: D,
            ) -> Option<Result<Self, D::Error>> {
                match kind {
                    $(crate::$module::KIND => {
                        Some(crate::$module::Options::deserialize(options).map(Self::$variant))
                    })+
                    _ => None,
                }
            }

            /// The word for its type: `postgres`, `sqlite`.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => crate::$module::KIND,)+ }
            }

            /// Checks every value and how they go together. Reads nothing but what is given.
            ///
            /// # Errors
            /// The key and what would be right.
            pub fn validate(&self) -> Result<DestinationConfig, OptionsError> {
                match self {
                    $(Self::$variant(options) => {
                        Ok(DestinationConfig(Arc::new(options.validate()?)))
                    })+
                }
            }
        }

        /// Every backend's word and options, for [`crate::reference()`].
        pub(crate) const REFERENCES: &[(&str, &[OptionDoc])] =
            &[$((crate::$module::KIND, crate::$module::REFERENCE),)+];
    };
}

backends! {
    /// A SQLite file.
    Sqlite => sqlite,
    /// A PostgreSQL server.
    Postgres => postgres,
    /// A MySQL or MariaDB server.
    Mysql => mysql,
    /// An HTTP endpoint.
    Http => http,
    /// A file of lines.
    File => file,
    /// An SQS queue.
    Sqs => sqs,
    /// A bucket of S3, Google Cloud Storage or Azure Blob Storage.
    S3 => s3,
    /// A list or a stream of a Redis server.
    Redis => redis,
    /// A RabbitMQ exchange or queue.
    Rabbitmq => rabbitmq,
    /// A NATS JetStream stream.
    Nats => nats,
}

/// Checked options of any backend; what [`build`] takes.
#[derive(Debug, Clone)]
pub struct DestinationConfig(Arc<dyn Backend>);

impl DestinationConfig {
    /// The word for its type: `postgres`, `sqlite`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.kind()
    }
}

/// A backend's checked options: they can make the destination.
pub(crate) trait Backend: std::fmt::Debug + Send + Sync {
    fn kind(&self) -> &'static str;
    fn build(&self, context: &Context) -> Result<Arc<dyn Destination>, BuildError>;
}

/// What a destination is given besides its own options.
#[derive(Debug, Clone)]
pub struct Context {
    /// The time, for those that stamp what they write.
    pub clock: Arc<dyn Clock>,
    /// The data directory; SQLite's default file is in it.
    pub data_dir: PathBuf,
    /// The destination's name in the configuration, for errors.
    pub name: DestinationName,
    /// Whose it is.
    pub instance: Instance,
}

/// A value that cannot be, or values that cannot be together. Never quotes a value that may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct OptionsError {
    /// The key within the destination's section.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl OptionsError {
    pub(crate) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self {
            key,
            reason: reason.into(),
        }
    }
}

/// A destination that cannot be made: a file that it needs is not readable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("destination {name}: {key}: {reason}")]
pub struct BuildError {
    /// Which.
    pub name: DestinationName,
    /// The key within its section that names the file.
    pub key: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

/// Makes a destination. Connects to nothing; reads certificates and secret files once to see that they
/// are there.
///
/// # Errors
/// A file that it needs cannot be read.
pub fn build(
    config: &DestinationConfig,
    context: &Context,
) -> Result<Arc<dyn Destination>, BuildError> {
    config.0.build(context)
}

/// The most events a batch may hold, checked: every backend has the same limit.
pub(crate) fn batch_max(given: Option<u32>) -> Result<usize, OptionsError> {
    let count = given.unwrap_or(1000);
    if (1..=10_000).contains(&count) {
        Ok(count as usize)
    } else {
        Err(OptionsError::new("batch_max", "must be from 1 to 10000"))
    }
}

/// The longest that something may take, checked.
pub(crate) fn wait(
    key: &'static str,
    given: Option<HumanDuration>,
    default_seconds: u64,
) -> Result<Duration, OptionsError> {
    let wait = given.map_or(Duration::from_secs(default_seconds), |given| given.0);
    if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&wait) {
        Ok(wait)
    } else {
        Err(OptionsError::new(key, "must be from 100ms to 1h"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<DestinationOptions, serde_json::Error> {
        serde_json::from_str(json)
    }

    fn refused(json: &str) -> OptionsError {
        read(json).unwrap().validate().unwrap_err()
    }

    #[test]
    fn a_type_and_little_else_is_enough() {
        let sqlite = read(r#"{"type": "sqlite"}"#).unwrap();
        assert_eq!(
            (sqlite.kind(), sqlite.validate().unwrap().kind()),
            ("sqlite", "sqlite")
        );
        let postgres = read(r#"{"type": "postgres", "url": "postgres://db/app"}"#).unwrap();
        assert_eq!(postgres.validate().unwrap().kind(), "postgres");
    }

    #[test]
    fn unknown_keys_and_types_are_refused() {
        assert!(read(r#"{"type": "sqlite", "tabel": "x"}"#).is_err());
        assert!(read(r#"{"type": "postgres", "path": "x"}"#).is_err());
        assert!(read(r#"{"type": "oracle"}"#).is_err());
        assert!(read(r#"{"path": "x"}"#).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_named_by_its_key() {
        let cases = [
            (r#"{"type":"sqlite","batch_max":0}"#, "batch_max"),
            (r#"{"type":"sqlite","batch_max":10001}"#, "batch_max"),
            (r#"{"type":"sqlite","body_type":"jsonb"}"#, "body_type"),
            (r#"{"type":"sqlite","table":""}"#, "table"),
            (r#"{"type":"sqlite","id_column":"id"}"#, "id_column"),
            (r#"{"type":"sqlite","columns":{"a":"/a"}}"#, "id_column"),
            (
                r#"{"type":"sqlite","columns":{"a":"a"},"id_column":"id"}"#,
                "columns",
            ),
            (
                r#"{"type":"sqlite","columns":{"a":"$nothing"},"id_column":"id"}"#,
                "columns",
            ),
            (
                r#"{"type":"sqlite","columns":{"id":"/a"},"id_column":"id"}"#,
                "columns",
            ),
            (
                r#"{"type":"sqlite","columns":{},"id_column":"id"}"#,
                "columns",
            ),
            (
                r#"{"type":"sqlite","columns":{"a":"/a"},"id_column":"id","body_type":"json"}"#,
                "body_type",
            ),
            (
                r#"{"type":"sqlite","statement":"SELECT $id","table":"t"}"#,
                "table",
            ),
            (
                r#"{"type":"sqlite","statement":"SELECT $id","columns":{"a":"/a"}}"#,
                "columns",
            ),
            (r#"{"type":"sqlite","statement":"SELECT 1"}"#, "statement"),
            (
                r#"{"type":"sqlite","statement":"SELECT $ids"}"#,
                "statement",
            ),
            (r#"{"type":"postgres"}"#, "url"),
            (
                r#"{"type":"postgres","url":"postgres://h/d","url_file":"f"}"#,
                "url_file",
            ),
            (
                r#"{"type":"postgres","url":"postgres://h/d","concurrency":0}"#,
                "concurrency",
            ),
            (
                r#"{"type":"postgres","url":"postgres://h/d","timeout":"0s"}"#,
                "timeout",
            ),
            (
                r#"{"type":"postgres","url":"postgres://h/d","connect_timeout":"2h"}"#,
                "connect_timeout",
            ),
            (
                r#"{"type":"postgres","url":"postgres://h/d","table":"a.b.c"}"#,
                "table",
            ),
            (r#"{"type":"sqs"}"#, "queue_url"),
            (r#"{"type":"sqs","queue_url":"h/1/q"}"#, "queue_url"),
            (r#"{"type":"sqs","queue_url":"https://h/"}"#, "queue_url"),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q.r"}"#,
                "queue_url",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://a:b@h/1/q"}"#,
                "queue_url",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","endpoint_url":"h"}"#,
                "endpoint_url",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","region":"us east"}"#,
                "region",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://sqs.us-east-1.amazonaws.com/1/q","region":"us-west-2"}"#,
                "region",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","batch_max":11}"#,
                "batch_max",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","concurrency":0}"#,
                "concurrency",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","timeout":"31s"}"#,
                "timeout",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","connect_timeout":"0s"}"#,
                "connect_timeout",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","message_group":"source"}"#,
                "message_group",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q.fifo","message_group":"id"}"#,
                "message_group",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","secret_access_key":"s"}"#,
                "access_key_id",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","access_key_id":"i"}"#,
                "secret_access_key",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","access_key_id":"i","secret_access_key":"s","secret_access_key_file":"f"}"#,
                "secret_access_key_file",
            ),
            (
                r#"{"type":"sqs","queue_url":"https://h/1/q","access_key_id":"i","secret_access_key":"s","profile":"p"}"#,
                "profile",
            ),
            (r#"{"type":"s3"}"#, "bucket"),
            (r#"{"type":"s3","bucket":"a/b"}"#, "bucket"),
            (r#"{"type":"s3","bucket":"abc","prefix":"a//b"}"#, "prefix"),
            (
                r#"{"type":"s3","bucket":"abc","prefix":"a/../b"}"#,
                "prefix",
            ),
            (
                r#"{"type":"s3","bucket":"abc","endpoint_url":"h"}"#,
                "endpoint_url",
            ),
            (r#"{"type":"s3","bucket":"abc","region":""}"#, "region"),
            (
                r#"{"type":"s3","bucket":"gs://abc","region":"us-east-1"}"#,
                "region",
            ),
            (
                r#"{"type":"s3","bucket":"az://abc/def","access_key_id":"i"}"#,
                "access_key_id",
            ),
            (
                r#"{"type":"s3","bucket":"abc","access_key_id":"i i"}"#,
                "access_key_id",
            ),
            (r#"{"type":"s3","bucket":"abc","batch_max":0}"#, "batch_max"),
            (
                r#"{"type":"s3","bucket":"abc","concurrency":257}"#,
                "concurrency",
            ),
            (r#"{"type":"s3","bucket":"abc","timeout":"1ms"}"#, "timeout"),
            (r#"{"type":"mysql"}"#, "url"),
            (
                r#"{"type":"mysql","url":"mysql://h/d","url_file":"f"}"#,
                "url_file",
            ),
            (r#"{"type":"mysql","url":"postgres://h/d"}"#, "url"),
            (r#"{"type":"mysql","url":"mysql://h"}"#, "url"),
            (r#"{"type":"mysql","url":"mysql://h/d?ssl-mode=on"}"#, "url"),
            (
                r#"{"type":"mysql","url":"mysql://h/d","body_type":"jsonb"}"#,
                "body_type",
            ),
            (
                r#"{"type":"mysql","url":"mysql://h/d","concurrency":65}"#,
                "concurrency",
            ),
            (
                r#"{"type":"mysql","url":"mysql://h/d","batch_max":0}"#,
                "batch_max",
            ),
            (
                r#"{"type":"mysql","url":"mysql://h/d","timeout":"0s"}"#,
                "timeout",
            ),
            (
                r#"{"type":"mysql","url":"mysql://h/d","connect_timeout":"2h"}"#,
                "connect_timeout",
            ),
            (
                r#"{"type":"mysql","url":"mysql://h/d","statement":"CALL f(`$id`)"}"#,
                "statement",
            ),
            (r#"{"type":"file","path":""}"#, "path"),
            (r#"{"type":"file","batch_max":0}"#, "batch_max"),
            (r#"{"type":"rabbitmq","routing_key":"q"}"#, "url"),
            (
                r#"{"type":"rabbitmq","url":"http://h","routing_key":"q"}"#,
                "url",
            ),
            (
                r#"{"type":"rabbitmq","url":"amqp://h?heartbeat=5","routing_key":"q"}"#,
                "url",
            ),
            (
                r#"{"type":"rabbitmq","url":"amqp://h","url_file":"f","routing_key":"q"}"#,
                "url_file",
            ),
            (r#"{"type":"rabbitmq","url":"amqp://h"}"#, "routing_key"),
            (
                r#"{"type":"rabbitmq","url":"amqp://h","exchange":"e","queue":""}"#,
                "queue",
            ),
            (
                r#"{"type":"rabbitmq","url":"amqp://h","exchange":"e","ca_file":"f"}"#,
                "ca_file",
            ),
            (
                r#"{"type":"rabbitmq","url":"amqps://h","exchange":"e","cert_file":"f"}"#,
                "key_file",
            ),
            (
                r#"{"type":"rabbitmq","url":"amqp://h","exchange":"e","concurrency":65}"#,
                "concurrency",
            ),
            (
                r#"{"type":"rabbitmq","url":"amqp://h","exchange":"e","batch_max":0}"#,
                "batch_max",
            ),
            (
                r#"{"type":"rabbitmq","url":"amqp://h","exchange":"e","timeout":"1ms"}"#,
                "timeout",
            ),
            (
                r#"{"type":"rabbitmq","url":"amqp://h","exchange":"e","connect_timeout":"2h"}"#,
                "connect_timeout",
            ),
            (r#"{"type":"nats","subject":"s"}"#, "url"),
            (r#"{"type":"nats","url":"amqp://h","subject":"s"}"#, "url"),
            (r#"{"type":"nats","url":"nats://h/x","subject":"s"}"#, "url"),
            (r#"{"type":"nats","url":"nats://h,","subject":"s"}"#, "url"),
            (
                r#"{"type":"nats","url":"nats://h","url_file":"f","subject":"s"}"#,
                "url_file",
            ),
            (r#"{"type":"nats","url":"nats://h"}"#, "subject"),
            (
                r#"{"type":"nats","url":"nats://h","subject":"a.*"}"#,
                "subject",
            ),
            (
                r#"{"type":"nats","url":"nats://h","subject":"a..b"}"#,
                "subject",
            ),
            (
                r#"{"type":"nats","url":"nats://h","subject":"a b"}"#,
                "subject",
            ),
            (
                r#"{"type":"nats","url":"nats://h","subject":"s","stream":"A.B"}"#,
                "stream",
            ),
            (
                r#"{"type":"nats","url":"tls://h","subject":"s","key_file":"f"}"#,
                "cert_file",
            ),
            (
                r#"{"type":"nats","url":"nats://h","subject":"s","concurrency":0}"#,
                "concurrency",
            ),
            (
                r#"{"type":"nats","url":"nats://h","subject":"s","timeout":"0s"}"#,
                "timeout",
            ),
            (r#"{"type":"http"}"#, "url"),
            (r#"{"type":"http","url":"h/x"}"#, "url"),
            (r#"{"type":"http","url":"ftp://h/x"}"#, "url"),
            (
                r#"{"type":"http","url":"http://h","url_file":"f"}"#,
                "url_file",
            ),
            (
                r#"{"type":"http","url":"http://h","concurrency":257}"#,
                "concurrency",
            ),
            (
                r#"{"type":"http","url":"http://h","max_rate":0}"#,
                "max_rate",
            ),
            (
                r#"{"type":"http","url":"http://h","timeout":"31s"}"#,
                "timeout",
            ),
            (
                r#"{"type":"http","url":"http://h","connect_timeout":"1ms"}"#,
                "connect_timeout",
            ),
            (r#"{"type":"http","url":"http://h","sign":{}}"#, "sign"),
            (
                r#"{"type":"http","url":"http://h","sign":{"secret":"whsec_YQ==","secret_file":"f"}}"#,
                "sign",
            ),
            (
                r#"{"type":"http","url":"http://h","sign":{"secret":"whsec_?"}}"#,
                "sign",
            ),
            (
                r#"{"type":"http","url":"http://h","headers":{"host":"x"}}"#,
                "headers",
            ),
            (
                r#"{"type":"http","url":"http://h","headers":{"a b":"x"}}"#,
                "headers",
            ),
            (
                r#"{"type":"http","url":"http://h","headers":{"a":"x\ny"}}"#,
                "headers",
            ),
            (
                r#"{"type":"http","url":"http://h","headers":{"a":"x","A":"y"}}"#,
                "headers",
            ),
            (
                r#"{"type":"http","url":"http://h","headers":{"Forebay-Source":"x"}}"#,
                "headers",
            ),
            (
                r#"{"type":"http","url":"http://h","headers":{"webhook-id":"x"},"sign":{"secret":"whsec_YQ=="}}"#,
                "headers",
            ),
            (r#"{"type":"redis","list":"q"}"#, "url"),
            (r#"{"type":"redis","url":"http://h","list":"q"}"#, "url"),
            (
                r#"{"type":"redis","url":"redis://h","url_file":"f","list":"q"}"#,
                "url_file",
            ),
            (r#"{"type":"redis","url":"redis://h"}"#, "list"),
            (r#"{"type":"redis","url":"redis://h","list":""}"#, "list"),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","stream":"q"}"#,
                "stream",
            ),
            (
                r#"{"type":"redis","url":"redis://h","stream":"a\nb"}"#,
                "stream",
            ),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","sentinel":{}}"#,
                "sentinel",
            ),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","sentinel":{"master":"m","user":"u"}}"#,
                "sentinel",
            ),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","sentinel":{"master":"m","password":"p","password_file":"f"}}"#,
                "sentinel",
            ),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","wait_replicas":17}"#,
                "wait_replicas",
            ),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","ca_file":"f"}"#,
                "ca_file",
            ),
            (
                r#"{"type":"redis","url":"rediss://h","list":"q","cert_file":"f"}"#,
                "key_file",
            ),
            (
                r#"{"type":"redis","url":"rediss://h","list":"q","key_file":"f"}"#,
                "cert_file",
            ),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","batch_max":0}"#,
                "batch_max",
            ),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","concurrency":65}"#,
                "concurrency",
            ),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","timeout":"1ms"}"#,
                "timeout",
            ),
            (
                r#"{"type":"redis","url":"redis://h","list":"q","connect_timeout":"2h"}"#,
                "connect_timeout",
            ),
        ];
        for (json, key) in cases {
            assert_eq!(refused(json).key, key, "{json}");
        }
        let long = "x".repeat(256);
        for key in ["exchange", "routing_key", "queue"] {
            let mut json =
                serde_json::json!({"type": "rabbitmq", "url": "amqp://h", "routing_key": "q"});
            json[key] = long.clone().into();
            assert_eq!(refused(&json.to_string()).key, key);
        }
    }

    #[test]
    fn nothing_secret_of_an_http_section_is_printed() {
        let section = |header: &str| {
            serde_json::json!({
                "type": "http", "url": "https://app:hunter2@h/hunter2?hunter2",
                "headers": {"authorization": header}, "sign": {"secret": "whsec_aHVudGVyMg=="},
            })
            .to_string()
        };
        let good = read(&section("hunter2")).unwrap();
        let printed = format!("{good:?} {:?}", good.validate().unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(!printed.contains("aHVudGVyMg"), "{printed}");
        let error = refused(&section("hunter2\n"));
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn an_access_key_and_its_secret_are_never_printed() {
        for place in [
            r#""type": "sqs", "queue_url": "https://h/1/q""#,
            r#""type": "s3", "bucket": "letters""#,
        ] {
            let section = |secret: &str| {
                format!(
                    "{{{place}, \"access_key_id\": \"hunter2\", \"secret_access_key\": \"{secret}\"}}"
                )
            };
            let good = read(&section("hunter2")).unwrap();
            let printed = format!("{good:?} {:?}", good.validate().unwrap());
            assert!(!printed.contains("hunter2"), "{printed}");
            let error = refused(&section("hunter2 hunter2"));
            assert_eq!(error.key, "secret_access_key");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn nothing_secret_of_a_redis_section_is_printed() {
        let section = |url: &str| {
            serde_json::json!({
                "type": "redis", "url": url, "list": "q",
                "sentinel": {"master": "m", "user": "u", "password": "hunter2"},
            })
            .to_string()
        };
        let good = read(&section("redis://app:hunter2@h/0")).unwrap();
        let printed = format!("{good:?} {:?}", good.validate().unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
        for url in ["redis://app:hunter2@h:x", "hunter2", "redis://hunter2@h"] {
            let error = refused(&section(url));
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_error_about_a_url_never_quotes_it() {
        for (kind, url) in [
            ("rabbitmq", "amqp://app:hunter2@host:notaport/v"),
            ("rabbitmq", "amqp://app:p#hunter2@host/v"),
            ("nats", "nats://app:hunter2@host/x"),
            ("nats", "nats://hunter2@host,hunter2"),
        ] {
            let json = serde_json::json!({"type": kind, "url": url}).to_string();
            let error = refused(&json);
            assert_eq!(error.key, "url");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!format!("{:?}", read(&json).unwrap()).contains("hunter2"));
        }
        let good = r#"{"type":"nats","url":"nats://hunter2@h","subject":"s"}"#;
        let good = read(good).unwrap().validate().unwrap();
        assert!(!format!("{good:?}").contains("hunter2"));
        let good = r#"{"type":"rabbitmq","url":"amqp://hunter2:hunter2@h","exchange":"e"}"#;
        let good = read(good).unwrap().validate().unwrap();
        assert!(!format!("{good:?}").contains("hunter2"));
        for url in [
            "mysql://app:hunter2@host:notaport/db",
            "mysql://app:x@host/db?hunter2=1",
            "mysql://app:x@host/db?ssl-mode=hunter2",
            "hunter2",
        ] {
            let json = serde_json::json!({"type": "mysql", "url": url}).to_string();
            let error = refused(&json);
            assert_eq!(error.key, "url");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!format!("{:?}", read(&json).unwrap()).contains("hunter2"));
        }
        for url in [
            "postgres://app:hunter2@host:notaport/db",
            "hunter2",
            "postgres://app:hunter2@host/db?sslmode=hunter2",
            "postgres://app:x@host/db?hunter2=1",
            "host=h password='hunter2",
        ] {
            let json = serde_json::json!({"type": "postgres", "url": url}).to_string();
            let error = refused(&json);
            assert_eq!(error.key, "url");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!format!("{:?}", read(&json).unwrap()).contains("hunter2"));
        }
    }
}
