//! Subscriptions in memory, as the running routes would have them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use domain::ports::{
    Deleted, Leftover, StateError, Subscription, SubscriptionError, SubscriptionRequest,
    SubscriptionStatus, Subscriptions,
};
use domain::{Ledger, RouteName, SubscriptionId};

use super::at;

/// Takes at most three, from the source `a`, and not to `http://`.
#[derive(Default)]
pub(crate) struct FakeSubscriptions {
    all: Mutex<BTreeMap<SubscriptionId, Subscription>>,
    /// Events that wait on every one.
    pub(crate) waiting: Mutex<u64>,
    /// What every call answers, if anything.
    pub(crate) fails: Mutex<Option<SubscriptionError>>,
}

/// Number `n` as an id.
pub(crate) fn subscription_id(n: u128) -> SubscriptionId {
    let bits = 0x01a2_0b95_b7f1_7000_8000_0000_0000_0000 | n;
    let hex = format!("{bits:032x}");
    hex.parse().unwrap()
}

impl FakeSubscriptions {
    fn check(&self) -> Result<(), SubscriptionError> {
        self.fails.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    /// The requests as they came in, oldest first.
    pub(crate) fn requests(&self) -> Vec<SubscriptionRequest> {
        let all = self.all.lock().unwrap();
        all.values().map(|one| one.request.clone()).collect()
    }

    fn admit(
        &self,
        id: Option<SubscriptionId>,
        request: &SubscriptionRequest,
    ) -> Result<(), SubscriptionError> {
        self.check()?;
        if let Some(source) = request.source.as_ref().filter(|name| name.as_str() != "a") {
            return Err(SubscriptionError::UnknownSource(source.clone()));
        }
        let urls = [
            ("url", Some(&request.url)),
            ("deadLetterQueue.url", request.dead_letter_url.as_ref()),
        ];
        for (field, url) in urls {
            if url.is_some_and(|url| url.starts_with("http://")) {
                let reason = "must start with https://".into();
                return Err(SubscriptionError::BadUrl { field, reason });
            }
        }
        let all = self.all.lock().unwrap();
        let mut others = all.values().filter(|one| Some(one.id) != id);
        if others.any(|one| one.request.name == request.name) {
            return Err(SubscriptionError::NameTaken(request.name.clone()));
        }
        Ok(())
    }
}

#[async_trait]
impl Subscriptions for FakeSubscriptions {
    async fn create(
        &self,
        request: SubscriptionRequest,
    ) -> Result<Subscription, SubscriptionError> {
        self.admit(None, &request)?;
        let mut all = self.all.lock().unwrap();
        if all.len() == 3 {
            return Err(SubscriptionError::TooMany(3));
        }
        let id = subscription_id(all.len() as u128 + 1);
        let subscription = Subscription {
            id,
            request,
            route: RouteName::new(&format!("sub-{id}")).unwrap(),
            created_at: at(1),
            updated_at: at(1),
            status: SubscriptionStatus::Active,
            ledger: None,
        };
        all.insert(id, subscription.clone());
        Ok(subscription)
    }

    async fn list(&self) -> Result<Vec<Subscription>, SubscriptionError> {
        self.check()?;
        Ok(self.all.lock().unwrap().values().cloned().collect())
    }

    async fn get(&self, id: SubscriptionId) -> Result<Subscription, SubscriptionError> {
        self.check()?;
        let found = self.all.lock().unwrap().get(&id).cloned();
        let mut found = found.ok_or(SubscriptionError::NotFound(id))?;
        let pending = *self.waiting.lock().unwrap();
        found.ledger = Some(Ledger {
            accepted: pending,
            pending,
            ..Ledger::default()
        });
        Ok(found)
    }

    async fn replace(
        &self,
        id: SubscriptionId,
        request: SubscriptionRequest,
    ) -> Result<Subscription, SubscriptionError> {
        let mut found = self.get(id).await?;
        self.admit(Some(id), &request)?;
        if found.status == SubscriptionStatus::Draining {
            return Err(SubscriptionError::Draining);
        }
        found.request = request;
        found.updated_at = at(2);
        self.all.lock().unwrap().insert(id, found.clone());
        Ok(found)
    }

    async fn delete(
        &self,
        id: SubscriptionId,
        leftover: Option<Leftover>,
    ) -> Result<Deleted, SubscriptionError> {
        self.check()?;
        let mut all = self.all.lock().unwrap();
        let found = all.get_mut(&id).ok_or(SubscriptionError::NotFound(id))?;
        match (*self.waiting.lock().unwrap(), leftover) {
            (0, _) | (_, Some(Leftover::DeadLetter)) => {
                all.remove(&id);
                Ok(Deleted::Gone)
            }
            (waiting, None) => Err(SubscriptionError::EventsPending(waiting)),
            (waiting, Some(Leftover::Deliver)) => {
                found.status = SubscriptionStatus::Draining;
                Ok(Deleted::Draining {
                    events: waiting,
                    letters: 0,
                })
            }
        }
    }
}

/// One of each error that a test of its own does not bring about.
pub(crate) fn troubles() -> Vec<(SubscriptionError, u16, &'static str)> {
    vec![
        (SubscriptionError::Disabled, 403, "subscriptions-disabled"),
        (
            SubscriptionError::State(StateError::Full("at max_bytes".into())),
            503,
            "no-room",
        ),
        (
            SubscriptionError::State(StateError::Failed("EIO".into())),
            500,
            "state-failed",
        ),
        (
            SubscriptionError::Failed("no certificates".into()),
            500,
            "subscription-failed",
        ),
    ]
}
