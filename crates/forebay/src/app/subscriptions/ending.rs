//! Ending a subscription: what waits is delivered first, or becomes dead letters, and then its route is retired.
//!
//! Its last event is noted in state before anything else, so that after a crash it takes no more than it did.

use domain::ports::{
    Deleted, Exports, Journal, Leftover, RetireFate, RouteRecord, State, StateError,
    SubscriptionError, SubscriptionRecord, SubscriptionRecords,
};
use domain::{Seq, SourceSet, SubscriptionId};

use super::{Keeper, failed, making};
use crate::app::{lifecycle, retire};

/// Parked events that become dead letters in one transaction.
const STEP: u32 = 1000;

/// What a route holds that is to go somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holds {
    /// Events that are to be delivered, parked ones included.
    events: u64,
    /// Dead letters on their way to its target.
    letters: u64,
}

impl Holds {
    const fn is_nothing(self) -> bool {
        self.events + self.letters == 0
    }
}

impl Keeper {
    pub(super) async fn delete(
        &self,
        id: SubscriptionId,
        leftover: Option<Leftover>,
    ) -> Result<Deleted, SubscriptionError> {
        let record = self.find(id).await?;
        let holds = self.holds(&record).await?;
        match leftover {
            None if holds.events > 0 => Err(SubscriptionError::EventsPending(holds.events)),
            None | Some(Leftover::Deliver) => self.drain(record).await,
            Some(Leftover::DeadLetter) => self.bury(record).await,
        }
    }

    /// Delivers what waits, and takes nothing new.
    async fn drain(&self, record: SubscriptionRecord) -> Result<Deleted, SubscriptionError> {
        self.close(&record.route).await?;
        self.stop_route(&record.route).await?;
        let record = self.ends_here(record).await?;
        let ended = self.go_on_or_retire(&record).await;
        self.or_go_on(&record, ended).await
    }

    /// Makes dead letters of what waits. If they have somewhere to go they go there first, unless it was draining and
    /// there was nothing else to do: then whoever asks a second time does not want to wait for that.
    async fn bury(&self, record: SubscriptionRecord) -> Result<Deleted, SubscriptionError> {
        let was_draining = record.until.is_some();
        self.close(&record.route).await?;
        self.stop_route(&record.route).await?;
        let record = self.ends_here(record).await?;
        let ended = match self.bury_all(&record).await {
            Ok(0) if was_draining => self.retire(&record).await,
            Ok(_) => self.go_on_or_retire(&record).await,
            Err(error) => Err(error),
        };
        self.or_go_on(&record, ended).await
    }

    /// One that could not be ended goes on, however far it came.
    async fn or_go_on(
        &self,
        record: &SubscriptionRecord,
        ended: Result<Deleted, SubscriptionError>,
    ) -> Result<Deleted, SubscriptionError> {
        if let Err(error) = &ended {
            tracing::error!(subscription = %record.id, %error, "a subscription could not be ended, and goes on");
            // If it runs already there is nothing to do, and if it cannot run now it will soon.
            self.run_route(record).await.ok();
        }
        ended
    }

    /// Notes that nothing accepted from now on is the subscription's.
    async fn ends_here(
        &self,
        mut record: SubscriptionRecord,
    ) -> Result<SubscriptionRecord, SubscriptionError> {
        if record.until.is_none() {
            record.until = Some(self.stores.journal.end());
            let noted = self.stores.state.change_subscription(record.clone());
            if let Err(error) = noted.await {
                record.until = None;
                self.run_route(&record).await?;
                return Err(error.into());
            }
        }
        Ok(record)
    }

    async fn bury_all(&self, record: &SubscriptionRecord) -> Result<u64, SubscriptionError> {
        let (stores, clock) = (&self.stores, &*self.clock);
        let route = self.route(record).await?;
        let parked = route.parked;
        let fate = RetireFate::DeadLetter;
        let moved = retire::settle_pending(stores, route, last(record), fate, clock).await;
        let moved = moved.map_err(|error| failed(format!("{error:#}")))?;
        while stores.state.bury_parked(&record.route, STEP).await? > 0 {}
        Ok(moved + parked)
    }

    async fn go_on_or_retire(
        &self,
        record: &SubscriptionRecord,
    ) -> Result<Deleted, SubscriptionError> {
        let holds = self.holds(record).await?;
        if holds.is_nothing() {
            return self.retire(record).await;
        }
        self.run_route(record).await?;
        let (events, letters) = (holds.events, holds.letters);
        tracing::info!(subscription = %record.id, events, letters, "a subscription was deleted, and drains");
        Ok(Deleted::Draining { events, letters })
    }

    /// Ends the route; its dead letters stay.
    async fn retire(&self, record: &SubscriptionRecord) -> Result<Deleted, SubscriptionError> {
        let name = &record.route;
        let (state, now) = (&self.stores.state, self.clock.now());
        state
            .retire_route(name, RetireFate::DeadLetter, now)
            .await?;
        self.stores.journal.release(name, Seq(u64::MAX));
        tracing::info!(subscription = %record.id, route = %name, "a subscription has ended");
        Ok(Deleted::Gone)
    }

    /// Retires those that have delivered what was waiting, and puts to work what does not run: a change that failed
    /// halfway, because state could not be read, must not leave one standing still.
    pub(super) async fn look_after_all(&self) {
        let records = match self.stores.state.subscriptions().await {
            Ok(records) => records,
            Err(error) => {
                tracing::debug!(%error, "subscriptions cannot be looked at");
                return;
            }
        };
        for record in &records {
            if self.control.lacks(&record.route) {
                if let Err(error) = self.run_route(record).await {
                    tracing::warn!(subscription = %record.id, %error, "a subscription does not run; trying again");
                }
            } else if record.until.is_some()
                && let Err(error) = self.end_if_drained(record).await
            {
                tracing::warn!(subscription = %record.id, %error, "a subscription that was deleted cannot be ended; trying again");
            }
        }
    }

    async fn end_if_drained(&self, record: &SubscriptionRecord) -> Result<(), SubscriptionError> {
        if !self.holds(record).await?.is_nothing() {
            return Ok(());
        }
        self.stop_route(&record.route).await?;
        // A redrive may have put something back before that.
        let ended = self.go_on_or_retire(record).await;
        self.or_go_on(record, ended).await.map(drop)
    }

    pub(super) async fn route(
        &self,
        record: &SubscriptionRecord,
    ) -> Result<RouteRecord, StateError> {
        let routes = self.stores.state.routes().await?;
        let found = routes.into_iter().find(|route| route.name == record.route);
        found.ok_or_else(|| StateError::UnknownRoute(record.route.clone()))
    }

    async fn holds(&self, record: &SubscriptionRecord) -> Result<Holds, SubscriptionError> {
        let (state, journal) = (&self.stores.state, &self.stores.journal);
        let route = self.route(record).await?;
        let sources = state.route_sources(&record.route).await?;
        let sources: SourceSet = sources.into_iter().collect();
        let end = journal.end().min(last(record));
        let pending = lifecycle::waiting(&self.stores, &route, &sources, end).await;
        let letters = match record.request.dead_letter_url {
            Some(_) => {
                let target = making::target(&record.route).map_err(failed)?;
                state.export_counts(&record.route, &target).await?.pending
            }
            None => 0,
        };
        Ok(Holds {
            events: pending.map_err(failed)? + route.parked,
            letters,
        })
    }
}

/// The last number that may be the subscription's.
fn last(record: &SubscriptionRecord) -> Seq {
    record.until.unwrap_or(Seq(u64::MAX))
}
