//! What has to hold over all sections, and the step from what was written to what is built from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use admin::AccessError;
use domain::policy::{OnFull, OnOutage, Order};
use domain::{ByteSize, DestinationName, Secret, SourceName, SystemClock};
use ingest::{OnInvalid, SourceOptions};

use super::document::Document;
use super::error::ConfigError;
use super::front;
use super::options::{File, RouteOptions, ServerOptions};
use super::{BuiltDestination, BuiltQueue, Config, Route, Server};

/// What an event's own fields and a frame add to its line, headers and body in the journal, with room to
/// spare.
const RECORD_OVERHEAD: u64 = 16 << 10;

/// Checks everything and gives what building takes.
pub(super) fn check(
    document: &Document<'_>,
    file: File,
    built_in_route: bool,
    build_destinations: bool,
) -> Result<Config, ConfigError> {
    let server = server(document, &file.server)?;
    let of_the_front = front::check(document, &file, build_destinations)?;
    let at = |section: &'static str| {
        move |(key, reason): (&'static str, String)| document.error(&[section, key], reason)
    };
    let journal = file.journal.validate().map_err(at("journal"))?;
    file.state.validate().map_err(at("state"))?;
    file.dispatch.validate().map_err(at("dispatch"))?;
    file.subscriptions.validate().map_err(at("subscriptions"))?;
    let level = file.log.validate();
    level.map_err(|reason| document.error(&["log", "level"], reason))?;
    let routes = routes(document, &file)?;
    sources(document, &file, &server, journal.max_frame())?;
    quarantines(document, &file)?;
    let instance = connectors::Instance::default();
    let queues = queues(
        document,
        &file,
        &server,
        journal.max_frame(),
        build_destinations.then_some(&instance),
    )?;
    let notifications = super::notifications::check(
        document,
        &file,
        |body| {
            let room = journal.max_frame().saturating_sub(RECORD_OVERHEAD);
            never_taken(body, false, &server, room)
        },
        build_destinations,
    )?;
    let destinations = destinations(
        document,
        &file,
        &server,
        build_destinations.then_some(&instance),
    )?;
    let mut warnings = super::warnings::warnings(document, &file);
    warnings.extend(of_the_front);
    warnings.extend(super::circles::circles(document, &file));
    Ok(Config {
        file: None,
        fingerprint: 0,
        built_in_route,
        server,
        log: file.log.clone(),
        journal,
        state: file.state,
        dispatch: file.dispatch,
        routes,
        subscriptions: file.subscriptions,
        sources: file.sources,
        queues,
        notifications,
        destinations,
        instance,
        warnings,
    })
}

fn server(document: &Document<'_>, options: &ServerOptions) -> Result<Server, ConfigError> {
    let wrong = |key: &str, reason: String| document.error(&["server", key], reason);
    let address = |key: &str, text: &str| {
        let parsed: Result<SocketAddr, _> = text.parse();
        parsed.map_err(|_| wrong(key, format!("{text:?} must be an address and a port, as in \"127.0.0.1:8080\" or \"[::]:8080\"")))
    };
    let limits = options.limits.validate();
    let admin = address("admin", &options.admin)?;
    let server = Server {
        listen: address("listen", &options.listen)?,
        listen_from_outside: document.is_from_outside("server", "listen"),
        admin,
        access: access(admin, options).map_err(|(key, reason)| wrong(key, reason))?,
        admin_token_file: options.admin_token_file.clone(),
        data_dir: options.data_dir.clone(),
        ack_timeout: options.ack_timeout.0,
        shutdown_delay: options.shutdown_delay.0,
        shutdown_timeout: options.shutdown_timeout.0,
        limits: limits
            .map_err(|(key, reason)| document.error(&["server", "limits", key], reason))?,
        tls: options.tls.clone(),
        proxies: front::proxies(options),
    };
    if server.admin == server.listen && server.admin.port() != 0 {
        let reason = format!(
            "{admin} is server.listen's: the admin listener needs a port of its own, as in \"127.0.0.1:8081\""
        );
        return Err(wrong("admin", reason));
    }
    if server.ack_timeout.is_zero() {
        return Err(wrong("ack_timeout", "must be longer than 0s".into()));
    }
    if server.shutdown_timeout.is_zero() {
        return Err(wrong("shutdown_timeout", "must be longer than 0s".into()));
    }
    Ok(server)
}

fn access(
    admin: SocketAddr,
    options: &ServerOptions,
) -> Result<admin::Access, (&'static str, String)> {
    let (key, token) = match (&options.admin_token, &options.admin_token_file) {
        (Some(_), Some(_)) => {
            return Err((
                "admin_token_file",
                "give admin_token or admin_token_file, not both".into(),
            ));
        }
        (Some(token), None) => ("admin_token", Some(token.clone())),
        (None, Some(path)) => {
            let token = token_in(path).map_err(|reason| ("admin_token_file", reason))?;
            ("admin_token_file", Some(token))
        }
        (None, None) => ("admin_token", None),
    };
    if token.as_ref().is_some_and(Secret::is_empty) {
        return Err((key, "is empty; leave it out if there is to be none".into()));
    }
    admin::Access::new(admin, token.as_ref()).map_err(|error| match error {
        AccessError::TokenNeeded(_) => (
            "admin",
            format!(
                "{admin} is not on loopback, so everybody who reaches it could read events: set admin_token (or admin_token_file), or listen on 127.0.0.1"
            ),
        ),
        AccessError::BadToken => (key, error.to_string()),
    })
}

/// The admin token in a file, less the line's end.
///
/// # Errors
/// Why the file cannot be read.
pub fn token_in(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn destinations(
    document: &Document<'_>,
    file: &File,
    server: &Server,
    build: Option<&connectors::Instance>,
) -> Result<BTreeMap<DestinationName, BuiltDestination>, ConfigError> {
    let mut destinations = BTreeMap::new();
    for (name, options) in &file.destinations {
        let wrong = |key: &str, reason: String| {
            document.error(&["destinations", name.as_str(), key], reason)
        };
        let Some(instance) = build else {
            continue;
        };
        let context = connectors::Context {
            clock: Arc::new(SystemClock),
            data_dir: server.data_dir.clone(),
            name: name.clone(),
            instance: instance.clone(),
        };
        let options = options.validate();
        let options = options.map_err(|error| wrong(error.key, error.reason))?;
        let port = connectors::build(&options, &context);
        let port = port.map_err(|error| wrong(error.key, error.reason))?;
        destinations.insert(name.clone(), BuiltDestination { options, port });
    }
    Ok(destinations)
}

fn sources(
    document: &Document<'_>,
    file: &File,
    server: &Server,
    max_frame: u64,
) -> Result<(), ConfigError> {
    let wrong = |name: &SourceName, key: &str, reason: String| {
        document.error(&["sources", name.as_str(), key], reason)
    };
    let is_usual = |name: &SourceName| !document.has(&["sources", name.as_str(), "max_body"]);
    ingest::check_paths(&file.sources).map_err(|(name, reason)| wrong(&name, "paths", reason))?;
    let taken: BTreeSet<&SourceName> = file.routes.values().flat_map(|route| &route.from).collect();
    for (name, source) in &file.sources {
        source
            .validate()
            .map_err(|(key, reason)| wrong(name, key, reason))?;
        if source.verify.is_none() && !server.listen.ip().is_loopback() {
            let reason = format!(
                "the listener is on {}, so anybody may post: say how requests prove where they come from, or verify = {{ scheme = \"none\" }} if that is meant",
                server.listen
            );
            return Err(wrong(name, "verify", reason));
        }
        // The listener lets a line of twice the headers' limit through; short headers double in a record.
        let heads = 4 * server.limits.header_bytes as u64;
        let room = max_frame.saturating_sub(heads + RECORD_OVERHEAD);
        if let Some(reason) = never_taken(source.max_body, is_usual(name), server, room) {
            return Err(wrong(name, "max_body", reason));
        }
    }
    // A subscription may take it any time; until then it refuses its events.
    let mut names = file.source_names();
    match names.find(|name| !(taken.contains(name) || file.subscriptions.enabled)) {
        None => Ok(()),
        Some(name) => {
            let reason = format!(
                "no route takes this source's events: add {name:?} to a route's `from`, set subscriptions.enabled if a subscription is to take them, or take the source out"
            );
            Err(document.error(&["sources", name.as_str()], reason))
        }
    }
}

/// Anybody can fill a quarantine, and must not take from routes the room for what they park and bury.
fn quarantines(document: &Document<'_>, file: &File) -> Result<(), ConfigError> {
    let most = file.state.max_bytes.0 / 2;
    let mut all = 0_u64;
    let keeps = |source: &&SourceOptions| source.on_invalid == OnInvalid::Quarantine;
    let sources = file.sources.iter();
    for (name, source) in sources.filter(|(_, source)| keeps(source)) {
        all = all.saturating_add(source.quarantine_max_bytes.0);
        if all > most {
            let reason = format!(
                "what all sources may have in quarantine is more than half of state.max_bytes ({}): routes need the rest for what they park and bury; lower it, or raise state.max_bytes",
                in_words(file.state.max_bytes.0)
            );
            let keys = ["sources", name.as_str(), "quarantine_max_bytes"];
            let keys = if document.has(&keys) {
                &keys[..]
            } else {
                &keys[..2]
            };
            return Err(document.error(keys, reason));
        }
    }
    Ok(())
}

/// Why a body of that size would be told for ever that there is no room for it, if so.
fn never_taken(body: ByteSize, is_usual: bool, server: &Server, room: u64) -> Option<String> {
    let whence = if is_usual {
        ", which it is unless it is written,"
    } else {
        ""
    };
    let memory = server.limits.largest_body();
    if body.0 > memory {
        return Some(format!(
            "{body}{whence} and a head never fit into the memory for requests, which is three quarters of server.limits.max_in_flight_bytes: at most {}, or raise that",
            in_words(memory)
        ));
    }
    (body.0 > room).then(|| {
        format!(
            "{body}{whence} does not fit into a segment of the journal: at most {}, or raise journal.segment_bytes",
            in_words(room)
        )
    })
}

/// A size as it can be written, to the byte, and as it is read.
fn in_words(bytes: u64) -> String {
    format!("{bytes}B ({})", ByteSize(bytes))
}

/// The sources that are queues.
fn queues(
    document: &Document<'_>,
    file: &File,
    server: &Server,
    max_frame: u64,
    build: Option<&connectors::Instance>,
) -> Result<BTreeMap<SourceName, BuiltQueue>, ConfigError> {
    let mut queues = BTreeMap::new();
    for (name, options) in &file.queues {
        let wrong =
            |key: &str, reason: String| document.error(&["sources", name.as_str(), key], reason);
        let options = options.validate();
        let options = options.map_err(|error| wrong(error.key, error.reason))?;
        let room = max_frame.saturating_sub(RECORD_OVERHEAD);
        let is_usual = !document.has(&["sources", name.as_str(), "max_body"]);
        if let Some(reason) = never_taken(ByteSize(options.max_body()), is_usual, server, room) {
            return Err(wrong("max_body", reason));
        }
        let own = DestinationName::new(name.as_str());
        let own = own.map_err(|error| wrong("type", error.to_string()))?;
        let inlet = build.map(|instance| {
            let context = connectors::Context {
                clock: Arc::new(SystemClock),
                data_dir: server.data_dir.clone(),
                name: own,
                instance: instance.clone(),
            };
            connectors::build_queue(&options, &context)
        });
        let inlet = inlet.transpose();
        let inlet = inlet.map_err(|error| wrong(error.key, error.reason))?;
        queues.insert(name.clone(), BuiltQueue { options, inlet });
    }
    Ok(queues)
}

fn routes(
    document: &Document<'_>,
    file: &File,
) -> Result<BTreeMap<domain::RouteName, Route>, ConfigError> {
    let mut routes = BTreeMap::new();
    for (name, options) in &file.routes {
        let wrong =
            |key: &str, reason: String| document.error(&["routes", name.as_str(), key], reason);
        if options.from.is_empty() {
            return Err(wrong("from", "must name at least one source".into()));
        }
        for source in &options.from {
            if !file.source_names().any(|name| name == source) {
                let known = file.source_names();
                return Err(wrong("from", unknown("source", source, known)));
            }
        }
        if !file.destinations.contains_key(&options.to) {
            return Err(wrong(
                "to",
                unknown("destination", &options.to, file.destinations.keys()),
            ));
        }
        for (at, target) in options.dead_letter.to.iter().enumerate() {
            let reason = if !file.destinations.contains_key(target) {
                unknown("destination", target, file.destinations.keys())
            } else if *target == options.to {
                format!(
                    "{target} is where the route delivers to: what it refused it would be sent again; name another destination"
                )
            } else if options.dead_letter.to[..at].contains(target) {
                format!("{target} is named twice")
            } else {
                continue;
            };
            return Err(wrong("dead_letter", reason));
        }
        options
            .retry
            .validate()
            .map_err(|reason| wrong("retry", reason))?;
        options
            .breaker
            .validate()
            .map_err(|reason| wrong("breaker", reason))?;
        together(options).map_err(|(key, reason)| wrong(key, reason))?;
        let route = route(options).map_err(|(key, reason)| wrong(key, reason))?;
        routes.insert(name.clone(), route);
    }
    Ok(routes)
}

/// What does not go together in a route.
fn together(options: &RouteOptions) -> Result<(), (&'static str, String)> {
    let ordered = options.order != Order::None;
    if ordered && matches!(options.on_outage, OnOutage::DeadLetterAfter(_)) {
        let reason = "dead_letter_after does not go with an order: what is buried would be overtaken by what comes later; use \"hold\", or order = \"none\"";
        return Err(("on_outage", reason.into()));
    }
    if ordered && options.on_full == Some(OnFull::DeadLetter) {
        let reason = "\"dead_letter\" does not go with an order: what is buried would be overtaken by what comes later; use \"refuse\", or order = \"none\"";
        return Err(("on_full", reason.into()));
    }
    if options.on_full.is_some() && options.max_backlog.is_none() {
        return Err((
            "on_full",
            "says what happens at max_backlog: set that as well".into(),
        ));
    }
    if options.max_backlog == Some(0) {
        return Err(("max_backlog", "must be at least 1".into()));
    }
    if options.parked_max == 0 {
        return Err(("parked_max", "must be at least 1".into()));
    }
    let expires = options.dead_letter.expire_after;
    if expires.is_some_and(|after| after.0.is_zero()) {
        return Err(("dead_letter", "expire_after must be longer than 0s".into()));
    }
    Ok(())
}

fn route(options: &RouteOptions) -> Result<Route, (&'static str, String)> {
    let filter = options.when.as_deref().map(dispatch::Filter::parse);
    let filter = filter.transpose().map_err(|reason| ("when", reason))?;
    Ok(Route {
        from: options.from.clone(),
        to: options.to.clone(),
        filter: filter.map(Arc::new),
        start: options.start,
        policies: dispatch::RoutePolicies {
            retry: options.retry,
            on_outage: options.on_outage,
            order: options.order.clone(),
            breaker: options.breaker,
            parked_max: options.parked_max,
            backlog: options.max_backlog.map(|max| dispatch::BacklogPolicy {
                max: dispatch::BacklogMax::Events(max),
                on_full: options.on_full.unwrap_or(OnFull::Refuse),
            }),
            dead_letters: options.dead_letter.clone(),
            ..dispatch::RoutePolicies::default()
        },
    })
}

fn unknown<N: Display>(what: &str, name: &dyn Display, known: impl Iterator<Item = N>) -> String {
    let known: Vec<String> = known.map(|name| name.to_string()).collect();
    match known.as_slice() {
        [] => format!("there is no {what} {name}, nor any other: add a [{what}s.{name}] section"),
        known => format!("there is no {what} {name}; there is {}", known.join(", ")),
    }
}
