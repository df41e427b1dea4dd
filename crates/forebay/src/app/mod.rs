//! The composition root: opens the stores, builds every part from the configuration, runs them, and
//! stops them in order.
//!
//! The only place that knows which journal, state and destination stand behind the ports. Everything it
//! starts it also ends; whichever part fails for good ends the process, and a restart sorts it out.

mod banner;
mod findings;
mod front;
pub mod lifecycle;
pub mod notifications;
mod readiness;
pub mod retire;
mod running;
mod signals;
pub mod stores;
mod subscriptions;
pub mod telemetry;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use domain::policy::DeadLetterPolicy;
use domain::ports::{Destination, State, SubscriptionRecords};
use domain::{Clock, RouteName, SystemClock};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;

use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};
use front::Front;
use readiness::Gate;
use running::Running;
use stores::{OpenFlags, Stores};

/// The version that `--version`, `/metrics` and `status` show.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the server until it is told to stop or fails.
///
/// # Errors
/// What kept it from starting, or made it end.
pub async fn serve(config: Config, flags: OpenFlags) -> Outcome {
    let mut signals = signals::Signals::install().context("cannot listen for signals")?;
    // Starting may take long: the data directory is locked, or the journal has much to recover.
    let running = tokio::select! {
        started = start(&config, flags) => started?,
        () = signals.told_to_stop() => {
            tracing::info!("told to stop before it was started; nothing was accepted");
            return Ok(());
        }
    };
    banner::print(&config, &running, running.subscribed().await);
    running.until_stopped(signals, &config).await
}

async fn start(config: &Config, flags: OpenFlags) -> Outcome<Running> {
    if flags.wait_for_lock {
        // Whoever has the data directory has the ports, too, as often as not.
        stores::wait_until_free(&config.server.data_dir).await;
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // Before anything is opened: who is in the way is told first.
    let front = Front::bind(config, &clock).await?;
    let admin_socket = front::bind(config.server.admin, "--admin or server.admin").await?;
    let mut registry = Registry::default();
    registry.register(
        "forebay_build",
        "The running version",
        Info::new([("version", VERSION)]),
    );
    front.register(&mut registry);
    let stores = Stores::open(config, flags, Arc::clone(&clock), &mut registry).await?;
    config.instance.is(stores.journal.installation());
    let subscribed = stores.state.subscriptions().await?;
    subscriptions::may_be(config, &subscribed)?;
    lifecycle::admit_routes(config, &stores, &subscribed, &*clock).await?;
    subscriptions::admit(config, &stores, &subscribed).await?;
    stores.bind().await?;

    let gaps: Arc<dyn domain::ports::Gaps> = stores.state.clone();
    let mut notifications = notifications::inlets(config, &gaps, &clock)?;
    let gate = Arc::new(Gate::new(stores.journal.clone()));
    let metrics = ingest::Metrics::register(&mut registry);
    let redrive_begun = Arc::new(Notify::new());
    let maker = subscriptions::Maker::new(config, Arc::clone(&clock));
    let mut specs = specs(config, &stores).await?;
    specs.extend(maker.specs(&subscribed, &stores).await?);
    let dispatch = start_dispatch(
        config,
        &stores,
        specs,
        &clock,
        &redrive_begun,
        &mut registry,
    );
    let ports = ingest::Ports {
        journal: stores.journal.clone(),
        backlogs: dispatch.backlogs(),
        readiness: gate.clone(),
        clock: Arc::clone(&clock),
        fetch: Arc::new(connectors::Fetcher::new()),
        quarantine: stores.state.clone(),
    };
    let ingest = build_ingest(config, &stores, ports, metrics.clone()).await?;
    findings::look(config, &dispatch);

    tokio::spawn(ingest::Ingest::watch(Arc::downgrade(&ingest)));
    tokio::spawn(upkeep::run(
        stores.clone(),
        Arc::clone(&ingest),
        Arc::clone(&clock),
        expiry(config),
    ));
    let subscriptions = subscriptions::start(config, &stores, &dispatch, maker, &clock);
    let returns = returns(&stores, &dispatch, &clock);
    let imports = importer(config, &ingest, returns.clone());
    let front = front.serve(config, &metrics, Arc::clone(&ingest))?;
    let ports = admin::Ports {
        routes: dispatch.routes(),
        sources: Arc::clone(&ingest) as Arc<dyn domain::ports::Sources>,
        archive: stores.journal.clone(),
        journal: stores.journal.clone(),
        state: stores.state.clone(),
        dead_letters: stores.state.clone(),
        dead_letters_kept: kept(config),
        imports,
        subscriptions,
        gaps: Arc::clone(&gaps),
        quarantine: stores.state.clone(),
        releases: Arc::clone(&ingest) as Arc<dyn domain::ports::Releases>,
        redrive_begun,
        readiness: gate.clone(),
        journal_usage: stores.usage(),
        certificate: front.certificate(),
        clock,
        registry: Arc::new(registry),
        version: VERSION,
    };
    gate.open();
    let queues = config.queues.iter();
    let queues =
        queues.filter_map(|(name, queue)| Some((name.clone(), Arc::clone(queue.inlet.as_ref()?))));
    let mut queues: BTreeMap<_, _> = queues.collect();
    queues.append(&mut notifications);
    let queues = ingest::QueueReaders::start(&ingest, &returns, queues);
    Ok(Running::new(
        stores,
        gate,
        ingest,
        front,
        queues,
        dispatch,
        config.server.access.clone(),
        ports,
        admin_socket,
    ))
}

fn returns(
    stores: &Stores,
    dispatch: &dispatch::Dispatch,
    clock: &Arc<dyn Clock>,
) -> ingest::ReturnPorts {
    ingest::ReturnPorts {
        dead_letters: stores.state.clone(),
        state: stores.state.clone(),
        archive: stores.journal.clone(),
        routes: dispatch.routes(),
        clock: Arc::clone(clock),
    }
}

fn importer(
    config: &Config,
    ingest: &Arc<ingest::Ingest>,
    returns: ingest::ReturnPorts,
) -> Arc<ingest::Importer> {
    let queues = config.destinations.iter();
    let queues = queues.map(|(name, built)| (name.clone(), Arc::clone(&built.port)));
    let ingest = Arc::clone(ingest);
    Arc::new(ingest::Importer::new(ingest, returns, queues.collect()))
}

/// How long each route keeps what its targets have. What is not of the configuration is a subscription.
fn kept(config: &Config) -> Arc<dyn Fn(&RouteName) -> Duration + Send + Sync> {
    let routes = config.routes.iter();
    let kept: BTreeMap<_, _> = routes
        .map(|(name, route)| (name.clone(), route.policies.dead_letters.keep.0))
        .collect();
    let usual = DeadLetterPolicy::default().keep.0;
    Arc::new(move |route| kept.get(route).copied().unwrap_or(usual))
}

fn expiry(config: &Config) -> upkeep::Expiry {
    let dead_letters = config.routes.iter().filter_map(|(name, route)| {
        let after = route.policies.dead_letters.expire_after?;
        Some((name.clone(), after.0))
    });
    let exported = config.routes.iter().filter_map(|(name, route)| {
        let policy = &route.policies.dead_letters;
        let targets = (!policy.to.is_empty()).then(|| policy.to.clone())?;
        Some((name.clone(), (targets, policy.keep.0)))
    });
    let sources = config.sources.iter();
    let quarantine = sources.map(|(name, source)| (name.clone(), source.quarantine_keep.0));
    upkeep::Expiry {
        quarantine: quarantine.collect(),
        exported: exported.collect(),
        retain: config.journal.retain,
        dead_letters: dead_letters.collect(),
    }
}

async fn build_ingest(
    config: &Config,
    stores: &Stores,
    ports: ingest::Ports,
    metrics: ingest::Metrics,
) -> Outcome<Arc<ingest::Ingest>> {
    use domain::ports::Archive;
    let window = ingest::Window::new(config.server.limits.dedup_keys);
    let keys = stores
        .journal
        .recent_keys(config.server.limits.dedup_keys as usize)
        .await;
    window.fill(keys.context("cannot read the journal's deduplication keys")?);
    let known = stores.state.sources().await?;
    let settings = ingest::Settings {
        limits: config.server.limits.clone(),
        ack_timeout: config.server.ack_timeout,
    };
    let queues = config.queues.iter().map(|(name, queue)| {
        let source = ingest::QueueSource {
            kind: queue.options.kind(),
            reads: queue.options.reads().to_owned(),
            max_body: queue.options.max_body(),
            unwrap: queue.options.envelope(),
        };
        (name.clone(), source)
    });
    let queues = queues.chain(notifications::sources(config));
    let (sources, queues) = (&config.sources, queues.collect());
    let ingest = ingest::Ingest::new(sources, &queues, &known, settings, window, ports, metrics);
    let ingest = Arc::new(ingest.map_err(|error| Failure::new(Exit::Usage, error))?);
    ingest.count_quarantined().await?;
    stores.state.remember_sources(ingest.known()).await?;
    Ok(ingest)
}

/// The routes of the configuration, as dispatch runs them.
async fn specs(config: &Config, stores: &Stores) -> Outcome<Vec<dispatch::RouteSpec>> {
    let mut specs = Vec::new();
    for record in stores.state.routes().await? {
        let Some(route) = config.routes.get(&record.name) else {
            continue;
        };
        let Some(destination) = config.destinations.get(&route.to) else {
            continue;
        };
        let targets = route.policies.dead_letters.to.iter();
        let targets = targets.filter_map(|name| {
            let destination = &config.destinations.get(name)?.port;
            Some(dispatch::TargetSpec {
                name: name.clone(),
                destination: with_store(config, route, destination),
            })
        });
        specs.push(dispatch::RouteSpec {
            targets: targets.collect(),
            name: record.name.clone(),
            policies: route.policies.clone(),
            sources: route.from.iter().cloned().collect(),
            source_names: route.from.clone(),
            filter: route.filter.clone(),
            destination: Arc::clone(&destination.port),
            destination_name: route.to.clone(),
            record,
            until: None,
            has_own_metrics: true,
        });
    }
    Ok(specs)
}

/// The target, with a store for what is too large for it if the configuration has one: one of the route's own targets,
/// else the only one there is.
fn with_store(
    config: &Config,
    route: &crate::config::Route,
    target: &Arc<dyn Destination>,
) -> Arc<dyn Destination> {
    let is_store = |port: &Arc<dyn Destination>| port.kind() == connectors::s3::KIND;
    let own = &route.policies.dead_letters.to;
    let own = own.iter().filter_map(|name| config.destinations.get(name));
    let own = own.map(|built| &built.port).find(|port| is_store(port));
    let all = config.destinations.values().map(|built| &built.port);
    let mut all = all.filter(|port| is_store(port));
    let only = match (all.next(), all.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    };
    match own.or(only) {
        Some(store) if !is_store(target) => {
            connectors::with_store(Arc::clone(target), Arc::clone(store))
        }
        _ => Arc::clone(target),
    }
}

fn start_dispatch(
    config: &Config,
    stores: &Stores,
    specs: Vec<dispatch::RouteSpec>,
    clock: &Arc<dyn Clock>,
    redrive_begun: &Arc<Notify>,
    registry: &mut Registry,
) -> dispatch::Dispatch {
    let ports = dispatch::Ports {
        journal: stores.journal.clone(),
        archive: stores.journal.clone(),
        state: stores.state.clone(),
        dead_letters: stores.state.clone(),
        exports: stores.state.clone(),
        redrive_begun: Arc::clone(redrive_begun),
        clock: Arc::clone(clock),
    };
    let metrics = dispatch::Metrics::register(registry);
    dispatch::Dispatch::start(config.dispatch, specs, ports, metrics)
}
