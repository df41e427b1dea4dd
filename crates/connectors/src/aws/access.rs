//! The keys that requests are signed with, held while they are good.
//!
//! They come from the configuration or the AWS way, and are looked up again before they run out, after a while, and
//! when a service did not accept them: what somebody mended is used without a restart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use domain::{Clock, Secret, Unavailable};
use tokio::time::Instant;

use super::http::Requests;
use super::keys::Keys;

/// How old what a file said may be.
const FRESH: Duration = Duration::from_secs(5);

/// How long keys are held that do not say when they run out.
const HELD: Duration = Duration::from_secs(15 * 60);

/// Keys are looked up again so long before they run out.
const AHEAD: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Default)]
struct Held {
    chain: Option<Arc<DefaultCredentialsChain>>,
    credentials: Option<(Credentials, Instant)>,
}

/// Gives keys. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    keys: Keys,
    /// Where roles are asked for.
    region: Option<String>,
    requests: Requests,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
}

impl Access {
    /// Reads a file with a secret once, to see that it is there.
    ///
    /// # Errors
    /// The key, and what cannot be read.
    pub(crate) fn new(
        keys: Keys,
        region: Option<String>,
        http: reqwest::Client,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, (&'static str, String)> {
        if let Keys::File(_, path) = &keys {
            Keys::read(path).map_err(|why| ("secret_access_key_file", why))?;
        }
        Ok(Self(Arc::new(Inner {
            keys,
            region,
            requests: Requests(http),
            clock,
            held: Mutex::default(),
        })))
    }

    /// The HTTP client as the SDK takes it.
    pub(crate) fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.0.requests.clone())
    }

    /// The keys now.
    ///
    /// # Errors
    /// There are none to be had.
    pub(crate) async fn credentials(&self) -> Result<Credentials, Unavailable> {
        let held = self.held(|held| held.credentials.clone());
        if let Some((credentials, until)) = held
            && Instant::now() < until
        {
            return Ok(credentials);
        }
        let (credentials, good_for) = match &self.0.keys {
            Keys::Here(id, secret) => (written(id, secret), HELD),
            Keys::File(id, path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || Keys::read(&path)).await;
                let secret = read
                    .map_err(|_| "a file was not read to its end".to_owned())
                    .and_then(|read| read)
                    .map_err(|why| {
                        Unavailable::new("configuration", format!("secret_access_key_file: {why}"))
                    })?;
                (written(id, &secret), FRESH)
            }
            Keys::Chain(profile) => {
                let chain = self.chain(profile.as_deref()).await;
                let found = chain.provide_credentials().await;
                let found = found.map_err(|error| absent(&error))?;
                let good_for = self.good_for(&found);
                (found, good_for)
            }
        };
        let until = Instant::now() + good_for;
        self.held(|held| held.credentials = Some((credentials.clone(), until)));
        Ok(credentials)
    }

    /// Looks the keys up anew next time: they were not accepted.
    pub(crate) fn forget(&self) {
        self.held(|held| *held = Held::default());
    }

    /// The region that environment, profile or machine name.
    pub(crate) async fn region(&self) -> Option<String> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.0.requests.clone())
            .no_credentials();
        if let Keys::Chain(Some(profile)) = &self.0.keys {
            loader = loader.profile_name(profile);
        }
        let found = loader.load().await;
        found.region().map(ToString::to_string)
    }

    fn provider(&self) -> ProviderConfig {
        ProviderConfig::without_region().with_http_client(self.http_client())
    }

    async fn chain(&self, profile: Option<&str>) -> Arc<DefaultCredentialsChain> {
        if let Some(chain) = self.held(|held| held.chain.clone()) {
            return chain;
        }
        let mut builder = DefaultCredentialsChain::builder().configure(self.provider());
        builder.set_region(self.0.region.clone().map(Region::new));
        if let Some(profile) = profile {
            builder = builder.profile_name(profile);
        }
        let chain = Arc::new(builder.build().await);
        self.held(|held| held.chain = Some(Arc::clone(&chain)));
        chain
    }

    fn good_for(&self, credentials: &Credentials) -> Duration {
        let Some(expiry) = credentials.expiry() else {
            return HELD;
        };
        let now = u64::try_from(self.0.clock.now().as_millisecond()).unwrap_or(0);
        let left = expiry
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_sub(Duration::from_millis(now));
        // Those that end soon are asked for again at once, and no more often than this.
        left.saturating_sub(AHEAD).clamp(FRESH, HELD)
    }

    fn held<T>(&self, what: impl FnOnce(&mut Held) -> T) -> T {
        what(&mut self.0.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ProvideCredentials for Access {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.credentials()
                .await
                .map_err(|why| CredentialsError::not_loaded(why.cause.detail))
        })
    }
}

fn written(id: &Secret, secret: &Secret) -> Credentials {
    Credentials::new(id.expose(), secret.expose(), None, None, "configuration")
}

/// The error's own text may hold what a program or a file said, and is not used.
fn absent(error: &CredentialsError) -> Unavailable {
    let what = match error {
        CredentialsError::CredentialsNotLoaded(_) => {
            "there are no AWS keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role, or `access_key_id` and `secret_access_key`"
        }
        CredentialsError::InvalidConfiguration(_) => {
            "AWS's own configuration is not right: look at ~/.aws/config, ~/.aws/credentials and the AWS_… variables"
        }
        CredentialsError::ProviderTimedOut(_) => {
            "whoever gives the AWS keys did not answer in time: look at the role of the machine or the container"
        }
        _ => {
            "whoever gives the AWS keys refused: look at the profile, the role, and what `credential_process` says"
        }
    };
    Unavailable::new("credentials", what)
}
