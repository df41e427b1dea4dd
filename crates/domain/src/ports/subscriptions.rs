//! Subscriptions: routes to an HTTP endpoint that are made, changed and ended by the API while Forebay runs.
//!
//! A subscription is a route of its own, with a journal cursor, retries and dead letters like any other. It is
//! durable: what the API said of it holds after a restart. What may be subscribed at all (plain http, private
//! addresses, how many) is the configuration's to say, `[subscriptions]`.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use super::StateError;
use crate::{Ledger, RouteName, Seq, SourceName, SubscriptionId};

/// The longest address of a subscription, in bytes.
pub const MAX_SUBSCRIPTION_URL_BYTES: usize = 2048;

/// What somebody subscribes to, and where it goes. Its form was checked; its addresses and its source were not.
#[derive(Clone, PartialEq, Eq)]
pub struct SubscriptionRequest {
    /// What people call it; no two have the same.
    pub name: String,
    /// Where events are posted to. May hold a token in its path or query: never to be logged.
    pub url: String,
    /// The source whose events it takes; `None`: those of every source.
    pub source: Option<SourceName>,
    /// Where dead letters are posted to; `None`: they stay in Forebay.
    pub dead_letter_url: Option<String>,
    /// Attempts after the first.
    pub max_retries: u32,
    /// The time between two attempts.
    pub retry_interval: Duration,
}

impl std::fmt::Debug for SubscriptionRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubscriptionRequest")
            .field("name", &self.name)
            .field("url", &"***")
            .field("source", &self.source)
            .field(
                "dead_letter_url",
                &self.dead_letter_url.as_ref().map(|_| "***"),
            )
            .field("max_retries", &self.max_retries)
            .field("retry_interval", &self.retry_interval)
            .finish()
    }
}

/// Where a subscription is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionStatus {
    /// It takes new events.
    Active,
    /// It was deleted, takes no new events, and delivers those that were waiting.
    Draining,
}

/// A subscription, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id; it stays the same for life.
    pub id: SubscriptionId,
    /// As it was last created or replaced.
    pub request: SubscriptionRequest,
    /// The route that it is.
    pub route: RouteName,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was created, or last replaced.
    pub updated_at: Timestamp,
    /// Where it is in its life.
    pub status: SubscriptionStatus,
    /// Where its events are; `None` while its route has not been counted yet.
    pub ledger: Option<Ledger>,
}

/// What becomes of the events that wait when a subscription is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftover {
    /// They are delivered first, as they would have been.
    Deliver,
    /// They become dead letters.
    DeadLetter,
}

/// What a deletion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is no more.
    Gone,
    /// It takes no new events, and goes when what waits has gone.
    Draining {
        /// Events that are to be delivered, or die.
        events: u64,
        /// Dead letters on their way to its target.
        letters: u64,
    },
}

/// Why it was not done. But for [`SubscriptionError::State`] and [`SubscriptionError::Failed`] nothing was changed; of
/// those, a deletion may have begun: then the subscription drains.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubscriptionError {
    /// `[subscriptions]` does not allow any.
    #[error(
        "there are no subscriptions here: set subscriptions.enabled = true in the configuration and start Forebay again"
    )]
    Disabled,
    /// There is none with this id.
    #[error(
        "there is no subscription {0}; GET /api/v2/notifications/webhooks lists those there are"
    )]
    NotFound(SubscriptionId),
    /// There is no such source.
    #[error(
        "there is no source {0}; GET /api/v1/sources lists those there are, and without \"source\" it takes the events of all"
    )]
    UnknownSource(SourceName),
    /// An address that events may not be posted to.
    #[error("\"{field}\" {reason}")]
    BadUrl {
        /// The field as the API has it: `url` or `deadLetterQueue.url`.
        field: &'static str,
        /// What is wrong with it and what would be right, without quoting more of it than the host.
        reason: String,
    },
    /// Another one has the name.
    #[error(
        "there is a subscription {0:?} already: take another name, or replace that one by PUT with its id"
    )]
    NameTaken(String),
    /// It was to be deleted, and nobody said what becomes of the events that wait.
    #[error(
        "{0} events are still waiting to be delivered: say ?pending=deliver to have them delivered first, or ?pending=dead-letter to make them dead letters"
    )]
    EventsPending(u64),
    /// There are as many as `[subscriptions]` allows.
    #[error(
        "there are {0} subscriptions, as many as subscriptions.max allows: delete one, or raise that"
    )]
    TooMany(usize),
    /// It was deleted before, and only delivers what was waiting.
    #[error(
        "the subscription was deleted and only delivers what was waiting; to have it end now, delete it with ?pending=dead-letter"
    )]
    Draining,
    /// It was to take the events of another source, and some of the old one wait.
    #[error(
        "{waiting} events of source {of} are still waiting to be delivered: change \"source\" once they are, or subscribe anew and delete this one"
    )]
    SourceHeld {
        /// Whose events wait.
        of: SourceName,
        /// How many.
        waiting: u64,
    },
    /// State could not do it.
    #[error(transparent)]
    State(#[from] StateError),
    /// It could not be put to work, or not be ended.
    #[error("the subscription could not be put to work or ended: {0}")]
    Failed(String),
}

/// The subscriptions. What a call changes is durable when it returns; one that was begun goes on to its end also
/// if the caller stops waiting.
#[async_trait]
pub trait Subscriptions: Send + Sync {
    /// Subscribes. The new route takes the events that are accepted after the call returned.
    ///
    /// # Errors
    /// [`SubscriptionError`], but for those about one that is there.
    async fn create(&self, request: SubscriptionRequest)
    -> Result<Subscription, SubscriptionError>;

    /// All of them, by id, and so oldest first.
    ///
    /// # Errors
    /// [`SubscriptionError::Disabled`], or state's.
    async fn list(&self) -> Result<Vec<Subscription>, SubscriptionError>;

    /// One of them.
    ///
    /// # Errors
    /// [`SubscriptionError::NotFound`], [`SubscriptionError::Disabled`], or state's.
    async fn get(&self, id: SubscriptionId) -> Result<Subscription, SubscriptionError>;

    /// Gives one another request. Events that wait go by the new one.
    ///
    /// # Errors
    /// [`SubscriptionError`]; [`SubscriptionError::Draining`] if it was deleted.
    async fn replace(
        &self,
        id: SubscriptionId,
        request: SubscriptionRequest,
    ) -> Result<Subscription, SubscriptionError>;

    /// Ends one. With events waiting it needs to be told what becomes of them. One that is draining may be
    /// deleted again, to have what still waits become dead letters.
    ///
    /// # Errors
    /// [`SubscriptionError::EventsPending`], [`SubscriptionError::NotFound`], [`SubscriptionError::Disabled`], or
    /// state's.
    async fn delete(
        &self,
        id: SubscriptionId,
        leftover: Option<Leftover>,
    ) -> Result<Deleted, SubscriptionError>;
}

/// A subscription as state has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRecord {
    /// Its id.
    pub id: SubscriptionId,
    /// As it was last created or replaced.
    pub request: SubscriptionRequest,
    /// The route that it is.
    pub route: RouteName,
    /// It was deleted, and takes no event after this one.
    pub until: Option<Seq>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was created, or last replaced.
    pub updated_at: Timestamp,
}

/// Subscriptions in state. One goes when its route is retired ([`super::State::retire_route`]).
#[async_trait]
pub trait SubscriptionRecords: Send + Sync {
    /// All of them, by id.
    async fn subscriptions(&self) -> Result<Vec<SubscriptionRecord>, StateError>;

    /// Stores one that is new and registers its route, which takes the events of `sources` after `start`.
    ///
    /// # Errors
    /// [`StateError::Conflict`] if there is a route of that name, or a subscription.
    async fn add_subscription(
        &self,
        record: SubscriptionRecord,
        start: Seq,
        sources: Vec<SourceName>,
    ) -> Result<(), StateError>;

    /// Stores what has changed of one: its request, until when it takes events.
    ///
    /// # Errors
    /// [`StateError::UnknownRoute`] if there is none, [`StateError::Conflict`] if its new name is another's.
    async fn change_subscription(&self, record: SubscriptionRecord) -> Result<(), StateError>;

    /// Makes parked events of the route dead letters, with the reason `retired`: the first `limit` of them in one step,
    /// so that other routes' commits need not wait for all. Returns how many; 0 when none is left. To be called while
    /// it does not run.
    ///
    /// # Errors
    /// [`StateError::UnknownRoute`].
    async fn bury_parked(&self, route: &RouteName, limit: u32) -> Result<u64, StateError>;
}

/// No subscriptions: every call says that they are disabled.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSubscriptions;

#[async_trait]
impl Subscriptions for NoSubscriptions {
    async fn create(&self, _: SubscriptionRequest) -> Result<Subscription, SubscriptionError> {
        Err(SubscriptionError::Disabled)
    }

    async fn list(&self) -> Result<Vec<Subscription>, SubscriptionError> {
        Err(SubscriptionError::Disabled)
    }

    async fn get(&self, _: SubscriptionId) -> Result<Subscription, SubscriptionError> {
        Err(SubscriptionError::Disabled)
    }

    async fn replace(
        &self,
        _: SubscriptionId,
        _: SubscriptionRequest,
    ) -> Result<Subscription, SubscriptionError> {
        Err(SubscriptionError::Disabled)
    }

    async fn delete(
        &self,
        _: SubscriptionId,
        _: Option<Leftover>,
    ) -> Result<Deleted, SubscriptionError> {
        Err(SubscriptionError::Disabled)
    }
}
