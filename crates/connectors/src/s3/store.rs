//! The stores behind one interface, each with its keys from where its own tools have them.

use std::fmt;

use aws_credential_types::Credentials;
use domain::Unavailable;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, CredentialProvider, ObjectStore, RetryConfig};
use std::sync::Arc;

use super::options::Config;
use crate::aws::access::Access;
use crate::aws::endpoint::Endpoint;

/// When nothing says otherwise: a server that is not AWS takes any.
const REGION: &str = "us-east-1";

/// Where objects go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bucket {
    S3(String),
    Google(String),
    Azure { account: String, container: String },
}

impl Bucket {
    /// The URL of an object.
    pub(super) fn url(&self, key: &str) -> String {
        match self {
            Self::S3(name) => format!("s3://{name}/{key}"),
            other => format!("{other}/{key}"),
        }
    }

    /// # Errors
    /// What would be right.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let name = |text: &str| {
            let fits =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            let good = (3..=222).contains(&text.len()) && text.bytes().all(fits);
            good.then(|| text.to_owned())
        };
        let bucket = match text.split_once("://") {
            None => name(text).map(Self::S3),
            Some(("s3", rest)) => name(rest).map(Self::S3),
            Some(("gs", rest)) => name(rest).map(Self::Google),
            Some(("az", rest)) => rest.split_once('/').and_then(|(account, container)| {
                Some(Self::Azure {
                    account: name(account)?,
                    container: name(container)?,
                })
            }),
            Some(_) => None,
        };
        bucket.ok_or_else(|| {
            "must be a bucket's name alone, gs://NAME or az://ACCOUNT/CONTAINER; a folder goes into `prefix`".into()
        })
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3(name) => f.write_str(name),
            Self::Google(name) => write!(f, "gs://{name}"),
            Self::Azure { account, container } => write!(f, "az://{account}/{container}"),
        }
    }
}

/// Keys for the store.
#[derive(Debug)]
struct Signing(Access);

#[async_trait::async_trait]
impl CredentialProvider for Signing {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let found = self.0.credentials().await;
        let found = found.map_err(|why| object_store::Error::Generic {
            store: "S3",
            source: Box::new(why),
        })?;
        Ok(Arc::new(as_store(&found)))
    }
}

fn as_store(credentials: &Credentials) -> AwsCredential {
    AwsCredential {
        key_id: credentials.access_key_id().to_owned(),
        secret_key: credentials.secret_access_key().to_owned(),
        token: credentials.session_token().map(str::to_owned),
    }
}

/// Requests over the HTTP client that everything else uses.
#[derive(Debug, Clone)]
struct Requests(reqwest::Client);

impl HttpConnector for Requests {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

/// Makes the store. Looks up a region if none is given; asks the store nothing.
///
/// # Errors
/// What is missing.
pub(super) async fn open(
    config: &Config,
    http: &reqwest::Client,
    access: &Access,
) -> Result<Arc<dyn ObjectStore>, Unavailable> {
    let endpoint = config.endpoint.as_ref().map(Endpoint::text);
    let requests = Requests(http.clone());
    match &config.bucket {
        Bucket::S3(name) => {
            let region = match (&config.region, &endpoint) {
                (Some(region), _) => region.clone(),
                (None, Some(_)) => REGION.to_owned(),
                (None, None) => access.region().await.ok_or_else(|| {
                    Unavailable::new(
                        "region",
                        "nothing says in which region the bucket is: set `region`, or AWS_REGION",
                    )
                })?,
            };
            let mut builder = AmazonS3Builder::new()
                .with_bucket_name(name)
                .with_region(region)
                .with_credentials(Arc::new(Signing(access.clone())))
                .with_client_options(plain())
                .with_http_connector(requests)
                .with_retry(once());
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            made(builder.build())
        }
        Bucket::Google(name) => {
            let builder = GoogleCloudStorageBuilder::from_env();
            made(google(builder, name, endpoint, requests).build())
        }
        Bucket::Azure { account, container } => {
            let builder = MicrosoftAzureBuilder::from_env();
            made(azure(builder, account, container, endpoint, requests).build())
        }
    }
}

/// Dispatch tries again, and knows what else waits.
fn once() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

/// What is plain http is found and named, not forbidden.
fn plain() -> ClientOptions {
    ClientOptions::new().with_allow_http(true)
}

fn google(
    builder: GoogleCloudStorageBuilder,
    bucket: &str,
    endpoint: Option<String>,
    requests: Requests,
) -> GoogleCloudStorageBuilder {
    let builder = builder
        .with_bucket_name(bucket)
        .with_client_options(plain())
        .with_http_connector(requests)
        .with_retry(once());
    match endpoint {
        Some(endpoint) => builder.with_base_url(&endpoint),
        None => builder,
    }
}

fn azure(
    builder: MicrosoftAzureBuilder,
    account: &str,
    container: &str,
    endpoint: Option<String>,
    requests: Requests,
) -> MicrosoftAzureBuilder {
    let builder = builder
        .with_account(account)
        .with_container_name(container)
        .with_client_options(plain())
        .with_http_connector(requests)
        .with_retry(once());
    match endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    }
}

/// The error's own text may hold what an environment variable said, and is not used.
fn made(
    built: object_store::Result<impl ObjectStore>,
) -> Result<Arc<dyn ObjectStore>, Unavailable> {
    match built {
        Ok(store) => Ok(Arc::new(store)),
        Err(_) => Err(Unavailable::new(
            "configuration",
            "the store cannot be set up: look at `bucket` and `endpoint_url`, and at the environment variables that its keys come from",
        )),
    }
}

#[cfg(test)]
mod tests {
    use domain::Outcome;
    use object_store::path::Path;
    use object_store::{PutMode, PutOptions};
    use testbed::endpoint::Answer;

    use super::super::error;
    use super::*;

    /// One object put, as the destination does it.
    async fn put(store: impl ObjectStore, config: &Config) -> Result<Outcome, Unavailable> {
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let path = Path::parse("shop/2026/x.json").unwrap();
        match store.put_opts(&path, "{}".into(), options).await {
            Ok(_) => Ok(Outcome::Delivered),
            Err(error) => error::outcome(&error, config),
        }
    }

    fn config(bucket: &str, endpoint: &testbed::endpoint::Endpoint) -> Config {
        let url = endpoint.url();
        let options = serde_json::json!({"bucket": bucket, "endpoint_url": url});
        let options: crate::s3::Options = serde_json::from_value(options).unwrap();
        options.validate().unwrap()
    }

    fn refused(status: u16, code: &str) -> Answer {
        Answer::status(status).body(format!("<Error><Code>{code}</Code></Error>"))
    }

    /// No server of Google's or Azure's is to be had for a test: this shows what they are asked, and how their
    /// documented answers are read.
    #[tokio::test]
    async fn googles_and_azures_stores_are_asked_to_put_only_what_is_not_there() {
        let endpoint = testbed::endpoint::Endpoint::start().await.unwrap();
        let text = endpoint.url().trim_end_matches('/').to_owned();
        let requests = Requests(reqwest::Client::new());
        let google_store = || {
            let builder = GoogleCloudStorageBuilder::new().with_bearer_token("token");
            let built = google(builder, "letters", Some(text.clone()), requests.clone());
            (built.build().unwrap(), config("gs://letters", &endpoint))
        };
        let azure_store = || {
            let builder = MicrosoftAzureBuilder::new().with_skip_signature(true);
            let built = azure(
                builder,
                "acc",
                "letters",
                Some(text.clone()),
                requests.clone(),
            );
            (
                built.build().unwrap(),
                config("az://acc/letters", &endpoint),
            )
        };
        let yes = Answer::status(201)
            .header("etag", "\"e\"")
            .header("last-modified", "Thu, 01 Jan 1970 00:00:30 GMT");
        for (answer, expected) in [
            (yes, Ok(())),
            (refused(412, "PreconditionFailed"), Ok(())),
            (refused(404, "NoSuchBucket"), Err("bucket")),
            (refused(403, "AccessDenied"), Err("permission")),
            (refused(503, "ServiceUnavailable"), Err("service")),
        ] {
            endpoint.answer_with(move |_| answer.clone());
            let (store, config) = google_store();
            let code = put(store, &config).await.map_err(|why| why.cause.code);
            assert_eq!(
                code,
                expected.map(|()| Outcome::Delivered).map_err(str::to_owned)
            );
        }
        let asked = &endpoint.received()[0];
        assert_eq!(asked.path, "/letters/shop%2F2026%2Fx%2Ejson");
        assert_eq!(asked.header("x-goog-if-generation-match"), Some("0"));
        let before = endpoint.received().len();
        let yes = Answer::status(201)
            .header("etag", "\"e\"")
            .header("last-modified", "Thu, 01 Jan 1970 00:00:30 GMT");
        for (answer, expected) in [
            (yes, Ok(())),
            (refused(409, "BlobAlreadyExists"), Ok(())),
            (refused(404, "ContainerNotFound"), Err("bucket")),
            (refused(403, "AuthenticationFailed"), Err("permission")),
            (refused(503, "ServerBusy"), Err("service")),
        ] {
            endpoint.answer_with(move |_| answer.clone());
            let (store, config) = azure_store();
            let code = put(store, &config).await.map_err(|why| why.cause.code);
            assert_eq!(
                code,
                expected.map(|()| Outcome::Delivered).map_err(str::to_owned)
            );
        }
        let asked = &endpoint.received()[before];
        assert_eq!(asked.path, "/letters/shop/2026/x.json");
        assert_eq!(asked.header("if-none-match"), Some("*"));
    }

    #[test]
    fn a_bucket_is_a_name_or_says_whose_it_is() {
        let parse = |text: &str| Bucket::parse(text).map(|bucket| bucket.to_string());
        for (text, shown) in [
            ("dead-letters", "dead-letters"),
            ("s3://dead-letters", "dead-letters"),
            ("gs://dead-letters", "gs://dead-letters"),
            ("az://account/container", "az://account/container"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(shown));
        }
        for none in [
            "",
            "a",
            "a b c",
            "bucket/folder",
            "s3://bucket/folder",
            "az://account",
            "az://account/container/folder",
            "https://bucket",
            "arn:aws:s3:::bucket",
        ] {
            assert!(parse(none).is_err(), "{none}");
        }
    }
}
