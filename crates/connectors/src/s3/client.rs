//! The exchange of one object for the store's confirmation, within its time.

use std::sync::{Arc, Mutex, PoisonError};

use domain::{Outcome, Unavailable};
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, PutMode, PutOptions, PutPayload};
use tokio::time::timeout;

use super::options::Config;
use super::{error, object, store};
use crate::aws::access::Access;
use crate::outbound;

#[derive(Debug)]
pub(super) struct Client {
    config: Arc<Config>,
    http: reqwest::Client,
    access: Access,
    store: Mutex<Option<Arc<dyn ObjectStore>>>,
}

impl Client {
    pub(super) fn new(config: Arc<Config>, http: reqwest::Client, access: Access) -> Self {
        Self {
            config,
            http,
            access,
            store: Mutex::default(),
        }
    }

    /// Writes an object if there is none of its name. `Delivered` when the store has confirmed it, or has it already.
    /// Dropping the call gives up the exchange; the object may be written by then.
    ///
    /// # Errors
    /// The store is not there.
    pub(super) async fn put(
        &self,
        key: &str,
        content: Vec<u8>,
        content_type: &'static str,
    ) -> Result<Outcome, Unavailable> {
        let put = async {
            let store = self.store().await?;
            let path = Path::parse(key).map_err(|_| {
                Unavailable::new(
                    "configuration",
                    "`prefix` makes a key that the store cannot have",
                )
            })?;
            let options = PutOptions {
                mode: PutMode::Create,
                attributes: Attributes::from_iter([(Attribute::ContentType, content_type)]),
                ..PutOptions::default()
            };
            match store
                .put_opts(&path, PutPayload::from(content), options)
                .await
            {
                Ok(_) => Ok(Outcome::Delivered),
                Err(error) => error::outcome(&error, &self.config),
            }
        };
        let done = timeout(self.config.timeout, put).await;
        let outcome = done.unwrap_or_else(|_| Err(self.late()));
        if matches!(&outcome, Err(why) if why.cause.code == "credentials") {
            self.access.forget();
            // Google's and Azure's keys are part of their store.
            *self.store.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        outcome
    }

    /// Shows that the bucket takes an object, by one that is written once and stays.
    ///
    /// # Errors
    /// It does not.
    pub(super) async fn mark(&self) -> Result<(), Unavailable> {
        let prefix = &self.config.prefix;
        let slash = if prefix.is_empty() { "" } else { "/" };
        let key = format!("{prefix}{slash}{}", object::MARK);
        let text = b"Forebay writes here.\n".to_vec();
        match self.put(&key, text, "text/plain").await? {
            Outcome::Delivered => Ok(()),
            Outcome::Reject { cause } | Outcome::Retry { cause, .. } => Err(Unavailable { cause }),
            Outcome::Throttled { .. } | Outcome::NotDone => Err(Unavailable::new(
                "service",
                format!("{} asks to wait", self.config.place()),
            )),
        }
    }

    async fn store(&self) -> Result<Arc<dyn ObjectStore>, Unavailable> {
        if let Some(store) = &*self.store.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(store));
        }
        let store = store::open(&self.config, &self.http, &self.access).await?;
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&store));
        Ok(store)
    }

    fn late(&self) -> Unavailable {
        let place = match &self.config.endpoint {
            Some(endpoint) => endpoint.place(),
            None => self.config.place(),
        };
        outbound::late(&place, self.config.timeout)
    }
}
