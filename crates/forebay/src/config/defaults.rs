//! What is built in: one source, one SQLite file, one route between them.

use connectors::DestinationOptions;
use dispatch::RoutePolicies;
use domain::policy::{BreakerPolicy, DeadLetterPolicy, OnOutage, Order, RetryPolicy};
use domain::{DestinationName, RouteName, SourceName};
use ingest::SourceOptions;

use super::options::{File, RouteOptions};

/// Fills in the built-in route if the file names no source, destination or route at all. `true`: it did.
pub(super) fn fill(file: &mut File) -> bool {
    if !(file.sources.is_empty()
        && file.queues.is_empty()
        && file.notifications.is_empty()
        && file.destinations.is_empty()
        && file.routes.is_empty())
    {
        return false;
    }
    let (Ok(source), Ok(destination), Ok(route)) = (
        SourceName::new("default"),
        DestinationName::new("events"),
        RouteName::new("default"),
    ) else {
        return false;
    };
    let Ok(sqlite) =
        serde_json::from_value::<DestinationOptions>(serde_json::json!({ "type": "sqlite" }))
    else {
        return false;
    };
    let options = SourceOptions {
        paths: vec!["/webhook".into()],
        ..SourceOptions::default()
    };
    file.sources.insert(source.clone(), options);
    file.destinations.insert(destination.clone(), sqlite);
    file.routes.insert(
        route,
        RouteOptions {
            from: vec![source],
            to: destination,
            when: None,
            order: Order::default(),
            start: None,
            retry: RetryPolicy::default(),
            on_outage: OnOutage::default(),
            breaker: BreakerPolicy::default(),
            dead_letter: DeadLetterPolicy::default(),
            parked_max: RoutePolicies::default().parked_max,
            max_backlog: None,
            on_full: None,
        },
    );
    true
}
