//! Starting dispatch over any ports, and waiting for what should come to be.

use std::sync::Arc;
use std::time::Duration;

use dispatch::{Dispatch, Metrics, Options, Ports, RoutePolicies, RouteSpec, TargetSpec};
use domain::DestinationName;
use domain::ports::{
    Archive, DeadLetters, Destination, Exports, Journal, RouteRecord, RouteStatus, State,
};
use domain::{Clock, SourceName, SystemClock};
use prometheus_client::registry::Registry;

use crate::destination::Fake;
use crate::memory::Memory;
use crate::world::{World, name};

/// A route of a test.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) sources: &'a [&'a str],
    pub(crate) destination: &'a Arc<Fake>,
    pub(crate) policies: RoutePolicies,
    pub(crate) targets: Vec<TargetSpec>,
    pub(crate) filter: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(name: &'a str, sources: &'a [&'a str], destination: &'a Arc<Fake>) -> Self {
        Self {
            name,
            sources,
            destination,
            policies: RoutePolicies::default(),
            targets: Vec::new(),
            filter: None,
        }
    }

    /// What dispatch is given of it, standing where state says.
    pub(crate) fn spec(&self, records: &[RouteRecord]) -> RouteSpec {
        let names = self.sources.iter();
        let names: Vec<_> = names
            .map(|source| SourceName::new(source).unwrap())
            .collect();
        let record = records
            .iter()
            .find(|record| record.name.as_str() == self.name);
        RouteSpec {
            name: name(self.name),
            policies: self.policies.clone(),
            targets: self.targets.clone(),
            sources: names.iter().cloned().collect(),
            source_names: names,
            filter: self
                .filter
                .map(|text| Arc::new(dispatch::Filter::parse(text).unwrap())),
            destination: Arc::clone(self.destination) as Arc<dyn Destination>,
            destination_name: DestinationName::new(&format!("to-{}", self.name)).unwrap(),
            record: record.expect("the route is registered").clone(),
            until: None,
            has_own_metrics: true,
        }
    }
}

/// A route `r` from `a` to the destination, over a journal and a state in memory.
pub(crate) async fn start(memory: &Memory, fake: &Arc<Fake>, policies: RoutePolicies) -> Rig {
    let wanted = Wanted {
        policies,
        ..Wanted::new("r", &["a"], fake)
    };
    memory.start(&[wanted]).await
}

pub(crate) struct Rig {
    pub(crate) dispatch: Dispatch,
    pub(crate) registry: Registry,
}

impl Rig {
    pub(crate) async fn start(ports: Ports, options: Options, wanted: &[Wanted<'_>]) -> Self {
        let records = ports.state.routes().await.unwrap();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let routes = wanted.iter().map(|wanted| wanted.spec(&records));
        Self {
            dispatch: Dispatch::start(options, routes.collect(), ports, metrics),
            registry,
        }
    }

    pub(crate) async fn over(world: &World, wanted: &[Wanted<'_>]) -> Self {
        for wanted in wanted {
            let sources = wanted.sources.iter();
            let sources = sources.map(|source| SourceName::new(source).unwrap());
            let (route, sources) = (name(wanted.name), sources.collect());
            dispatch::change_sources(&*world.state, &*world.journal, &route, sources)
                .await
                .unwrap();
        }
        let ports = Ports {
            journal: Arc::clone(&world.journal) as Arc<dyn Journal>,
            archive: Arc::clone(&world.journal) as Arc<dyn Archive>,
            state: Arc::clone(&world.state) as Arc<dyn State>,
            dead_letters: Arc::clone(&world.state) as Arc<dyn DeadLetters>,
            exports: Arc::clone(&world.state) as Arc<dyn Exports>,
            redrive_begun: Arc::default(),
            clock: Arc::new(SystemClock) as Arc<dyn Clock>,
        };
        Self::start(ports, Options::default(), wanted).await
    }

    /// Every status, each of which must balance.
    pub(crate) async fn statuses(&self) -> Vec<RouteStatus> {
        let statuses = self.dispatch.routes().statuses().await;
        for status in &statuses {
            assert_eq!(
                (status.imbalance, status.ledger.imbalance()),
                (0, 0),
                "{status:?}"
            );
        }
        statuses
    }

    pub(crate) async fn status(&self, route: &str) -> RouteStatus {
        let statuses = self.statuses().await;
        let found = statuses
            .into_iter()
            .find(|status| status.name.as_str() == route);
        found.expect("the route has a status")
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(
        &self,
        route: &str,
        wanted: impl Fn(&RouteStatus) -> bool,
    ) -> RouteStatus {
        let mut last = None;
        for _ in 0..6000 {
            if let Some(status) = self
                .statuses()
                .await
                .into_iter()
                .find(|status| status.name.as_str() == route)
            {
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the route did not come to it within a minute: {last:?}");
    }

    pub(crate) async fn stop(self) {
        self.dispatch.stop(Duration::from_secs(20)).await;
    }
}
