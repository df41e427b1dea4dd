//! Subscriptions at work: the API asks, one task changes them one after the other, and dispatch runs their routes.
//!
//! What was asked is carried to its end whether or not whoever asked still waits. Each change is in state before it is
//! put to work, so that the next start finds what was answered.

mod ending;
mod making;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::policy::DeadLetterPolicy;
use domain::ports::{
    Deleted, Leftover, NoSubscriptions, RouteStatus, Routes, Subscription, SubscriptionError,
    SubscriptionRecord, SubscriptionRecords, SubscriptionRequest, SubscriptionStatus,
    Subscriptions,
};
use domain::{Clock, RouteName, SourceName, SubscriptionId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::stores::Stores;
use super::upkeep::Exported;
use crate::config::{Config, SubscriptionOptions};
use crate::exit::{Exit, Failure, Outcome};

pub use making::{Maker, admit};

/// Changes that may wait their turn.
const WAITING: usize = 64;

/// How often it is looked whether one that was deleted has delivered what was waiting, and whether all run.
const LOOK: Duration = Duration::from_secs(1);

/// The longest that events on their way into the journal are waited for.
const CLOSING: Duration = Duration::from_secs(30);

/// What a change gives.
type Reply<T> = oneshot::Sender<Result<T, SubscriptionError>>;

/// A change, and who waits for it.
enum Ask {
    Create(SubscriptionRequest, Reply<SubscriptionRecord>),
    Replace(
        SubscriptionId,
        SubscriptionRequest,
        Reply<SubscriptionRecord>,
    ),
    Delete(SubscriptionId, Option<Leftover>, Reply<Deleted>),
}

/// Whether the configuration lets those be that there are.
///
/// # Errors
/// Exit code 2 if there are any and it does not.
pub fn may_be(config: &Config, records: &[SubscriptionRecord]) -> Outcome {
    if config.subscriptions.enabled || records.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = records.iter().map(|record| record.route.as_str()).collect();
    Err(Failure::say(
        Exit::Usage,
        format!(
            "subscriptions.enabled is false, but there are {} subscriptions: set it to true, or end each with `forebay routes retire NAME --pending dead-letter`: {}",
            names.len(),
            names.join(", ")
        ),
    ))
}

/// The subscriptions that have a dead-letter target, as upkeep has them. None if state cannot be read.
pub async fn exported(records: &dyn SubscriptionRecords) -> Exported {
    let records = records.subscriptions().await.unwrap_or_default();
    let with_target = records
        .into_iter()
        .filter(|record| record.request.dead_letter_url.is_some());
    let exported = with_target.filter_map(|record| {
        let target = making::target(&record.route).ok()?;
        Some((
            record.route,
            (vec![target], DeadLetterPolicy::default().keep.0),
        ))
    });
    exported.collect()
}

/// Begins to serve subscriptions, if the configuration has them. Must be called within a tokio runtime.
pub fn start(
    config: &Config,
    stores: &Stores,
    dispatch: &dispatch::Dispatch,
    maker: Maker,
    clock: &Arc<dyn Clock>,
) -> Arc<dyn Subscriptions> {
    if !config.subscriptions.enabled {
        return Arc::new(NoSubscriptions);
    }
    let (ask, asked) = mpsc::channel(WAITING);
    let keeper = Keeper {
        options: config.subscriptions.clone(),
        sources: config.source_names(),
        stores: stores.clone(),
        control: dispatch.control(),
        maker,
        clock: Arc::clone(clock),
    };
    let control = dispatch.control();
    tokio::spawn(async move {
        let keeping = keeper.run(asked);
        control.watch(keeping, "the keeper of subscriptions").await;
    });
    Arc::new(Asking {
        ask,
        records: stores.state.clone(),
        routes: dispatch.routes(),
    })
}

/// The one that changes them.
struct Keeper {
    options: SubscriptionOptions,
    /// Of the configuration.
    sources: Vec<SourceName>,
    stores: Stores,
    control: dispatch::Control,
    maker: Maker,
    clock: Arc<dyn Clock>,
}

impl Keeper {
    async fn run(self, mut asked: mpsc::Receiver<Ask>) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ask = asked.recv() => match ask {
                    // Whoever asked may have gone.
                    Some(Ask::Create(request, reply)) => drop(reply.send(self.create(request).await)),
                    Some(Ask::Replace(id, request, reply)) => drop(reply.send(self.replace(id, request).await)),
                    Some(Ask::Delete(id, leftover, reply)) => drop(reply.send(self.delete(id, leftover).await)),
                    None => return,
                },
                _ = tick.tick() => self.look_after_all().await,
            }
        }
    }

    async fn find(&self, id: SubscriptionId) -> Result<SubscriptionRecord, SubscriptionError> {
        let records = self.stores.state.subscriptions().await?;
        let found = records.into_iter().find(|record| record.id == id);
        found.ok_or(SubscriptionError::NotFound(id))
    }

    /// Puts the subscription's route to work, standing where state says.
    async fn run_route(&self, record: &SubscriptionRecord) -> Result<(), SubscriptionError> {
        let spec = self.maker.spec(record, &self.stores).await;
        let spec = spec.map_err(|error| SubscriptionError::Failed(format!("{error:#}")))?;
        self.control.add(spec).await.map_err(failed)
    }

    /// Takes nothing new for the subscription. What nobody else takes either is refused from now on; what was on its way
    /// into the journal then may be acknowledged, and is its own still: it is there when this returns.
    async fn close(&self, route: &RouteName) -> Result<(), SubscriptionError> {
        match self.control.close(route, CLOSING).await {
            true => Ok(()),
            false => Err(failed(
                "the journal has not confirmed events that were taken for it; nothing was changed, try again",
            )),
        }
    }

    /// Ends the work of the subscription's route; what is under way may take as long as one request.
    async fn stop_route(&self, route: &RouteName) -> Result<(), SubscriptionError> {
        let patience = self.options.timeout.0 + Duration::from_secs(1);
        self.control.remove(route, patience).await.map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> SubscriptionError {
    SubscriptionError::Failed(error.to_string())
}

/// What the API has of them.
struct Asking {
    ask: mpsc::Sender<Ask>,
    records: Arc<dyn SubscriptionRecords>,
    routes: Arc<dyn Routes>,
}

impl Asking {
    async fn change<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, SubscriptionError> {
        let (reply, answer) = oneshot::channel();
        let stopping = || SubscriptionError::Failed("the server is being stopped".into());
        if self.ask.send(ask(reply)).await.is_err() {
            return Err(stopping());
        }
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    async fn with_ledgers(&self, records: Vec<SubscriptionRecord>) -> Vec<Subscription> {
        let statuses = self.routes.statuses().await;
        let shown = |record| shown(record, &statuses);
        records.into_iter().map(shown).collect()
    }

    async fn one(&self, record: SubscriptionRecord) -> Subscription {
        let statuses = self.routes.statuses().await;
        shown(record, &statuses)
    }
}

fn shown(record: SubscriptionRecord, statuses: &[RouteStatus]) -> Subscription {
    let status = statuses.iter().find(|status| status.name == record.route);
    Subscription {
        id: record.id,
        request: record.request,
        route: record.route,
        created_at: record.created_at,
        updated_at: record.updated_at,
        status: match record.until {
            None => SubscriptionStatus::Active,
            Some(_) => SubscriptionStatus::Draining,
        },
        ledger: status.map(|status| status.ledger),
    }
}

#[async_trait]
impl Subscriptions for Asking {
    async fn create(
        &self,
        request: SubscriptionRequest,
    ) -> Result<Subscription, SubscriptionError> {
        let record = self.change(|reply| Ask::Create(request, reply)).await?;
        Ok(self.one(record).await)
    }

    async fn list(&self) -> Result<Vec<Subscription>, SubscriptionError> {
        let records = self.records.subscriptions().await?;
        Ok(self.with_ledgers(records).await)
    }

    async fn get(&self, id: SubscriptionId) -> Result<Subscription, SubscriptionError> {
        let records = self.records.subscriptions().await?;
        let found = records.into_iter().find(|record| record.id == id);
        let record = found.ok_or(SubscriptionError::NotFound(id))?;
        Ok(self.one(record).await)
    }

    async fn replace(
        &self,
        id: SubscriptionId,
        request: SubscriptionRequest,
    ) -> Result<Subscription, SubscriptionError> {
        let ask = |reply| Ask::Replace(id, request, reply);
        let record = self.change(ask).await?;
        Ok(self.one(record).await)
    }

    async fn delete(
        &self,
        id: SubscriptionId,
        leftover: Option<Leftover>,
    ) -> Result<Deleted, SubscriptionError> {
        self.change(|reply| Ask::Delete(id, leftover, reply)).await
    }
}
