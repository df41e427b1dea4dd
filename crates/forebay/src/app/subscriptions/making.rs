//! Making a subscription and changing it: what is asked is judged, stored, and put to work.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use connectors::http::{Guard, guarded};
use dispatch::{BacklogMax, BacklogPolicy, RoutePolicies, RouteSpec, TargetSpec};
use domain::policy::{Backoff, DeadLetterPolicy, OnFull, OnOutage, RetryPolicy};
use domain::ports::{
    Destination, Journal, RetireFate, RouteRecord, State, StateError, SubscriptionError,
    SubscriptionRecord, SubscriptionRecords, SubscriptionRequest,
};
use domain::{
    Clock, DestinationName, HumanDuration, RouteName, Seq, SourceName, SubscriptionId, Timestamp,
};

use super::Keeper;
use crate::app::lifecycle;
use crate::app::stores::Stores;
use crate::config::{Config, SubscriptionOptions};

/// Subscriptions that the metrics show one by one.
const SHOWN: usize = 100;

/// The part of the journal that one of them may keep: a tenth.
const SHARE: u64 = 10;

/// Makes routes of subscriptions.
#[derive(Clone)]
pub struct Maker {
    options: SubscriptionOptions,
    journal_bytes: u64,
    clock: Arc<dyn Clock>,
}

impl Maker {
    /// By the configuration.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Self {
        Self {
            options: config.subscriptions.clone(),
            journal_bytes: config.journal.max_bytes,
            clock,
        }
    }

    /// The routes that all subscriptions are, as dispatch runs them. Looks at state's routes once: there may be many.
    ///
    /// # Errors
    /// When state cannot be read, or the destination of one not made.
    pub async fn specs(
        &self,
        records: &[SubscriptionRecord],
        stores: &Stores,
    ) -> anyhow::Result<Vec<RouteSpec>> {
        let mut routes = by_name(stores).await?;
        let mut specs = Vec::with_capacity(records.len());
        for (place, record) in records.iter().enumerate() {
            let route = routes.remove(&record.route);
            specs.push(self.spec_of(record, route, place, stores).await?);
        }
        Ok(specs)
    }

    /// The route that the subscription is, as dispatch runs it.
    pub(super) async fn spec(
        &self,
        record: &SubscriptionRecord,
        stores: &Stores,
    ) -> anyhow::Result<RouteSpec> {
        let route = by_name(stores).await?.remove(&record.route);
        let others = stores.state.subscriptions().await?;
        let place = others.iter().position(|other| other.id == record.id);
        self.spec_of(record, route, place.unwrap_or_default(), stores)
            .await
    }

    /// The subscription is the one at `place`.
    async fn spec_of(
        &self,
        record: &SubscriptionRecord,
        route: Option<RouteRecord>,
        place: usize,
        stores: &Stores,
    ) -> anyhow::Result<RouteSpec> {
        let name = &record.route;
        let route = route.with_context(|| format!("state has no route {name}"))?;
        let sources = stores.state.route_sources(name).await?;
        let targets = match &record.request.dead_letter_url {
            Some(url) => vec![TargetSpec {
                name: target(name)?,
                destination: self.destination(url).await?,
            }],
            None => Vec::new(),
        };
        Ok(RouteSpec {
            policies: self.policies(record)?,
            sources: sources.iter().cloned().collect(),
            source_names: sources,
            filter: None,
            destination: self.destination(&record.request.url).await?,
            destination_name: DestinationName::new(name.as_str())?,
            targets,
            record: route,
            until: record.until,
            has_own_metrics: place < SHOWN,
            name: name.clone(),
        })
    }

    async fn destination(&self, url: &str) -> anyhow::Result<Arc<dyn Destination>> {
        let guard = guard(&self.options);
        let (url, timeout) = (url.to_owned(), self.options.timeout.0);
        let clock = Arc::clone(&self.clock);
        // It reads the system's certificates.
        let made = tokio::task::spawn_blocking(move || guarded(&url, guard, timeout, clock));
        made.await?.map_err(anyhow::Error::msg)
    }

    fn policies(&self, record: &SubscriptionRecord) -> anyhow::Result<RoutePolicies> {
        let request = &record.request;
        let interval = HumanDuration(request.retry_interval);
        let to = match request.dead_letter_url {
            Some(_) => vec![target(&record.route)?],
            None => Vec::new(),
        };
        Ok(RoutePolicies {
            retry: RetryPolicy {
                max_retries: request.max_retries,
                retry_interval: interval,
                backoff: Backoff::Fixed,
                max_interval: interval,
                jitter: 0.0,
            },
            on_outage: OnOutage::Retry,
            backlog: Some(BacklogPolicy {
                max: BacklogMax::JournalBytes(self.journal_bytes / SHARE),
                on_full: OnFull::DeadLetter,
            }),
            dead_letters: DeadLetterPolicy {
                to,
                ..DeadLetterPolicy::default()
            },
            ..RoutePolicies::default()
        })
    }
}

/// State's routes.
async fn by_name(stores: &Stores) -> Result<BTreeMap<RouteName, RouteRecord>, StateError> {
    let routes = stores.state.routes().await?.into_iter();
    Ok(routes.map(|route| (route.name.clone(), route)).collect())
}

fn guard(options: &SubscriptionOptions) -> Guard {
    Guard {
        allow_http: options.allow_http,
        allow_private: options.allow_private,
    }
}

/// The name of a subscription's dead-letter target.
pub(super) fn target(route: &RouteName) -> Result<DestinationName, domain::InvalidName> {
    DestinationName::new(&format!("{route}-dlq"))
}

impl Keeper {
    pub(super) async fn create(
        &self,
        request: SubscriptionRequest,
    ) -> Result<SubscriptionRecord, SubscriptionError> {
        self.judge(&request).await?;
        let others = self.stores.state.subscriptions().await?;
        if others.len() >= self.options.max {
            return Err(SubscriptionError::TooMany(self.options.max));
        }
        is_free(&request.name, None, &others)?;
        let now = self.now();
        let id = SubscriptionId::new(now, &mut rand::rng());
        let route = RouteName::new(&format!("sub-{id}"));
        let record = SubscriptionRecord {
            id,
            route: route.map_err(super::failed)?,
            request,
            until: None,
            created_at: now,
            updated_at: now,
        };
        let (state, journal) = (&self.stores.state, &self.stores.journal);
        // From here on nothing is reclaimed that it may begin with.
        journal.release(&record.route, Seq::ZERO);
        let start = journal.end();
        let sources = self.sources_of(&record.request);
        let added = state.add_subscription(record.clone(), start, sources).await;
        if let Err(error) = added {
            journal.release(&record.route, Seq(u64::MAX));
            return Err(error.into());
        }
        journal.release(&record.route, start);
        if let Err(error) = self.run_route(&record).await {
            // Whoever asked is told that there is none.
            let retired = state.retire_route(&record.route, RetireFate::Discard, now);
            retired.await?;
            journal.release(&record.route, Seq(u64::MAX));
            return Err(error);
        }
        tracing::info!(subscription = %id, route = %record.route, after = start.0, "a new subscription");
        Ok(record)
    }

    pub(super) async fn replace(
        &self,
        id: SubscriptionId,
        request: SubscriptionRequest,
    ) -> Result<SubscriptionRecord, SubscriptionError> {
        let before = self.find(id).await?;
        if before.until.is_some() {
            return Err(SubscriptionError::Draining);
        }
        self.judge(&request).await?;
        is_free(
            &request.name,
            Some(id),
            &self.stores.state.subscriptions().await?,
        )?;
        let record = SubscriptionRecord {
            request,
            updated_at: self.now(),
            ..before.clone()
        };
        if before.request.source != record.request.source {
            self.close(&record.route).await?;
        }
        self.stop_route(&record.route).await?;
        let changed = self.change(&before, &record).await;
        // With or without the change it goes on, as state has it; if that cannot be read, soon.
        if let Ok(current) = self.find(id).await {
            self.run_route(&current).await?;
        }
        changed?;
        tracing::info!(subscription = %id, route = %record.route, "a subscription was replaced");
        Ok(record)
    }

    /// Stores the change, while the route does not run.
    async fn change(
        &self,
        before: &SubscriptionRecord,
        record: &SubscriptionRecord,
    ) -> Result<(), SubscriptionError> {
        let (state, journal) = (&*self.stores.state, &*self.stores.journal);
        let sources = self.sources_of(&record.request);
        if before.request.source != record.request.source {
            let route = self.route(record).await?;
            let left = lifecycle::left_waiting(&self.stores, &route, &sources).await;
            let left = left.map_err(super::failed)?;
            if let Some((of, waiting)) = left.into_iter().next() {
                return Err(SubscriptionError::SourceHeld { of, waiting });
            }
        }
        state.change_subscription(record.clone()).await?;
        let changed = dispatch::change_sources(state, journal, &record.route, sources).await;
        let Err(error) = changed else { return Ok(()) };
        // Else the next start would find what whoever asked was told is not so.
        state.change_subscription(before.clone()).await?;
        Err(match error {
            dispatch::sources::ChangeError::State(error) => error.into(),
            dispatch::sources::ChangeError::Journal(error) => super::failed(error),
        })
    }

    /// Whether it may be at all, and could be put to work: found out before anything is stored or stopped.
    async fn judge(&self, request: &SubscriptionRequest) -> Result<(), SubscriptionError> {
        let guard = guard(&self.options);
        let dead = request.dead_letter_url.as_deref();
        let urls = [
            ("url", Some(request.url.as_str())),
            ("deadLetterQueue.url", dead),
        ];
        for (field, url) in urls {
            let judged = url.map_or(Ok(()), |url| guard.check(url));
            judged.map_err(|reason| SubscriptionError::BadUrl { field, reason })?;
            if let Some(url) = url {
                let made = self.maker.destination(url).await;
                made.map_err(|error| super::failed(format!("{error:#}")))?;
            }
        }
        match &request.source {
            Some(source) if !self.sources.contains(source) => {
                Err(SubscriptionError::UnknownSource(source.clone()))
            }
            _ => Ok(()),
        }
    }

    /// As exactly as state has it.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn sources_of(&self, request: &SubscriptionRequest) -> Vec<SourceName> {
        match &request.source {
            Some(source) => vec![source.clone()],
            None => self.sources.clone(),
        }
    }
}

fn is_free(
    name: &str,
    own: Option<SubscriptionId>,
    others: &[SubscriptionRecord],
) -> Result<(), SubscriptionError> {
    let mut others = others.iter().filter(|other| Some(other.id) != own);
    match others.any(|other| other.request.name == name) {
        true => Err(SubscriptionError::NameTaken(name.to_owned())),
        false => Ok(()),
    }
}

/// Brings the subscriptions' routes in line with the configuration's sources, before any of them runs. A source that
/// is no longer in it stays with those that have events of it waiting.
///
/// # Errors
/// When either store cannot be read or written.
pub async fn admit(
    config: &Config,
    stores: &Stores,
    records: &[SubscriptionRecord],
) -> anyhow::Result<()> {
    let routes = by_name(stores).await?;
    for record in records {
        let mut sources: Vec<SourceName> = match &record.request.source {
            Some(source) => vec![source.clone()],
            None => config.source_names(),
        };
        let route = routes.get(&record.route);
        let route = route.with_context(|| format!("state has no route {}", record.route))?;
        let left = lifecycle::left_waiting(stores, route, &sources).await?;
        sources.extend(left.into_iter().map(|(source, _)| source));
        let (state, journal) = (&*stores.state, &*stores.journal);
        dispatch::change_sources(state, journal, &record.route, sources).await?;
    }
    Ok(())
}
