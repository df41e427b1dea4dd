//! The life of routes across starts: new ones are registered, settled ones that vanished are retired,
//! and one that vanished with anything left stops the start.

use std::collections::HashSet;

use domain::ports::{
    Archive, EventQuery, Journal, JournalError, RetireFate, RouteRecord, State, SubscriptionRecord,
};
use domain::{Clock, RouteName, Seq, SourceName, SourceSet};

use super::stores::{Past, Stores};
use crate::config::{Config, Start};
use crate::exit::{Exit, Failure, Outcome};

/// Brings state's routes in line with the configuration's; those of subscriptions are none of its business.
///
/// # Errors
/// Exit code 2 when a route that the configuration no longer has holds anything.
pub async fn admit_routes(
    config: &Config,
    stores: &Stores,
    subscriptions: &[SubscriptionRecord],
    clock: &dyn Clock,
) -> Outcome {
    let registered = stores.state.routes().await?;
    let subscriptions: HashSet<&RouteName> = subscriptions.iter().map(|one| &one.route).collect();
    let is_subscription = |name: &RouteName| subscriptions.contains(name);
    for route in registered
        .iter()
        .filter(|route| !config.routes.contains_key(&route.name) && !is_subscription(&route.name))
    {
        retire_if_settled(config, stores, route, &registered, clock).await?;
    }
    for (name, route) in &config.routes {
        if let Some(record) = registered.iter().find(|known| known.name == *name) {
            leaves_nothing_behind(stores, record, &route.from).await?;
        } else {
            // From here on nothing is reclaimed that the route may begin with.
            stores.journal.release(name, Seq::ZERO);
            let sources = route.from.iter().cloned().collect();
            let start = starting_point(route.start, stores, &sources).await?;
            let registered = stores.state.register_route(name, start, clock.now());
            registered.await?;
            stores.journal.release(name, start);
            tracing::info!(route = %name, after = start.0, "a new route");
        }
        let (state, journal) = (&*stores.state, &*stores.journal);
        dispatch::change_sources(state, journal, name, route.from.clone()).await?;
        let filter = route.filter.as_ref().map(|filter| filter.text().to_owned());
        state.set_route_filter(name, filter).await?;
    }
    Ok(())
}

/// A source that a route no longer takes must have nothing waiting on it: nobody would deliver that any
/// more, and nobody would see it.
async fn leaves_nothing_behind(
    stores: &Stores,
    route: &RouteRecord,
    from: &[SourceName],
) -> Outcome {
    let left = left_waiting(stores, route, from).await?;
    let Some((source, waiting)) = left.into_iter().next() else {
        return Ok(());
    };
    let name = &route.name;
    Err(Failure::say(
        Exit::Usage,
        format!(
            "route {name} no longer takes source {source}, but {waiting} of its events wait on it: put {source} back into routes.{name}.from until `forebay status` shows them delivered, then take it out"
        ),
    ))
}

/// The sources that the route took and would take no more with these, of which events wait on it, and how many.
///
/// # Errors
/// When either store cannot be read, or state knows no such route.
pub async fn left_waiting(
    stores: &Stores,
    route: &RouteRecord,
    from: &[SourceName],
) -> anyhow::Result<Vec<(SourceName, u64)>> {
    let before = stores.state.route_sources(&route.name).await?;
    let mut left = Vec::new();
    for source in before {
        if from.contains(&source) {
            continue;
        }
        let only: SourceSet = [source.clone()].into_iter().collect();
        let waiting = waiting(stores, route, &only, stores.journal.end()).await?;
        if waiting > 0 {
            left.push((source, waiting));
        }
    }
    Ok(left)
}

/// How many events of these sources the journal holds through `end` where the route has settled nothing.
///
/// # Errors
/// When the journal cannot be read.
pub async fn waiting(
    stores: &Stores,
    route: &RouteRecord,
    sources: &SourceSet,
    end: Seq,
) -> Result<u64, JournalError> {
    let stretches = route.unsettled(end);
    stores.journal.count_in(sources, stretches).await
}

async fn retire_if_settled(
    config: &Config,
    stores: &Stores,
    route: &RouteRecord,
    registered: &[RouteRecord],
    clock: &dyn Clock,
) -> Outcome {
    let name = &route.name;
    let sources = stores.state.route_sources(name).await?;
    let sources: SourceSet = sources.into_iter().collect();
    let pending = waiting(stores, route, &sources, stores.journal.end()).await?;
    if pending + route.parked + route.dead == 0 {
        stores
            .state
            .retire_route(name, RetireFate::Discard, clock.now())
            .await?;
        stores.journal.release(name, Seq(u64::MAX));
        tracing::info!(route = %name, "a route that the configuration no longer has was settled and is retired");
        return Ok(());
    }
    // What it may have become: a route that state has not met.
    let is_new = |name: &&RouteName| registered.iter().all(|known| known.name != **name);
    let example = config.routes.keys().find(is_new);
    let example = example.map_or("NEW-NAME", RouteName::as_str);
    Err(Failure::say(
        Exit::Usage,
        format!(
            "route {name} is not in the configuration any more, but it has {pending} pending, {} parked and {} dead events. If it has a new name: `forebay routes rename {name} {example}`. If it is to end: `forebay routes retire {name} --pending dead-letter` keeps all of them as dead letters, `--pending discard` discards them all. Or put it back",
            route.parked, route.dead
        ),
    ))
}

/// The number after which a new route begins.
async fn starting_point(
    start: Option<Start>,
    stores: &Stores,
    sources: &SourceSet,
) -> Outcome<Seq> {
    let start = match stores.past {
        Past::None => start.unwrap_or(Start::Oldest),
        Past::Known => start.unwrap_or(Start::Now),
        // Not a new route, but one that state forgot: what it had not delivered is somewhere in there.
        Past::Lost => Start::Oldest,
    };
    match start {
        Start::Now => Ok(stores.journal.end()),
        Start::Oldest => Ok(stores.journal.before_oldest(sources).await?),
        Start::At(time) => {
            let query = EventQuery {
                before: Some(time),
                limit: 1,
                ..EventQuery::default()
            };
            let page = stores.journal.page(&query).await?;
            match page.events.first() {
                Some(last_before) => Ok(last_before.seq),
                None => Ok(stores.journal.before_oldest(sources).await?),
            }
        }
    }
}
