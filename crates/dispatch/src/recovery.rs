//! What an outage buried comes back by itself: when, and how fast.
//!
//! A route that says so (`redrive_on_recovery`) gets a redrive of its outage's dead letters once its destination takes
//! events again. It begins at ten letters a second and doubles each second, as long as the destination keeps up and
//! what is live waits no longer than two; when live events wait, it makes way for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::RouteName;
use domain::ports::{BreakerState, DeadLetters, RouteStatus, StateError};
use tokio::time::Instant;

use crate::attempt;
use crate::route::{Ports, Route};

/// Letters a second at the beginning, and at the most.
const SLOWEST: u32 = 10;
const FASTEST: u32 = 5_000;

/// How often the pace is thought over.
const WINDOW: Duration = Duration::from_secs(1);

/// How long live events may wait while letters come back, in seconds.
const LAG: f64 = 2.0;

/// The wait before state is asked again whether an outage left letters.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The pace of one redrive that grows.
#[derive(Debug)]
pub(crate) struct Ramp {
    rate: u32,
    window: Instant,
    /// Parked events of the route when the window began.
    parked: u64,
}

impl Ramp {
    pub(crate) fn new(now: Instant, parked: u64) -> Self {
        Self {
            rate: SLOWEST,
            window: now,
            parked,
        }
    }

    /// Letters a second now; `None`: make way, and ask again after a window.
    pub(crate) fn rate(&mut self, now: Instant, parked: u64, status: &RouteStatus) -> Option<u32> {
        let passing = status.breaker == BreakerState::Passing && !status.paused;
        if !passing || status.oldest_pending_seconds >= LAG {
            *self = Self::new(now, parked);
            return None;
        }
        if now >= self.window + WINDOW {
            let kept_up = parked <= self.parked + u64::from(self.rate / 2);
            self.rate = if kept_up {
                (self.rate * 2).min(FASTEST)
            } else {
                (self.rate / 2).max(SLOWEST)
            };
            (self.window, self.parked) = (now, parked);
        }
        Some(self.rate)
    }
}

/// Who begins the redrives of all routes that want them.
pub(crate) struct Recoveries {
    routes: Vec<Arc<Route>>,
    ask: HashMap<RouteName, Instant>,
}

impl Recoveries {
    pub(crate) fn new(routes: &[Arc<Route>]) -> Self {
        let wanted = routes
            .iter()
            .filter(|route| route.policies.on_outage.redrives_on_recovery());
        Self {
            routes: wanted.cloned().collect(),
            ask: HashMap::new(),
        }
    }

    /// Whether there are routes to look after.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Begins what is due. Returns whether something began.
    pub(crate) async fn begin(
        &mut self,
        ports: &Ports,
        statuses: &[RouteStatus],
    ) -> Result<bool, StateError> {
        let mut begun = false;
        for route in &self.routes {
            let status = statuses.iter().find(|status| status.name == route.name);
            let there = status.is_some_and(|status| {
                status.ledger.dead > 0 && status.breaker == BreakerState::Passing && !status.paused
            });
            let now = Instant::now();
            if !there || self.ask.get(&route.name).is_some_and(|at| now < *at) {
                continue;
            }
            // Since a start or an outage nothing may have come that would show it.
            if !route.proved.load(Ordering::Relaxed)
                && attempt::probe(Arc::clone(&route.destination))
                    .await
                    .is_err()
            {
                continue;
            }
            let letters: &dyn DeadLetters = &*ports.dead_letters;
            match letters
                .begin_recovery(&route.name, ports.clock.now())
                .await?
            {
                Some(job) => {
                    begun = true;
                    tracing::info!(route = %route.name, job = job.id.0, letters = job.matched,
                        "the outage is over, and what it buried comes back by itself");
                }
                None => {
                    self.ask.insert(route.name.clone(), now + ASK_AGAIN);
                }
            }
        }
        Ok(begun)
    }
}
