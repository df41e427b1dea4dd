//! `GET /api/v1/status`: everything on one page.

use axum::Json;
use axum::extract::State;
use domain::ports::{
    Durability, Import, ImportStatus, QuarantineCount, Refusing, RouteStatus, Sources, TurnedAway,
};
use domain::{RouteName, SourceName, Timestamp};
use serde::Serialize;

use crate::context::{Certificate, Context, JournalUsage};
use crate::routes::{self, RouteView};

/// The answer. Scripts rely on the names.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    version: &'static str,
    time: Timestamp,
    /// Whether an event could be accepted durably now.
    ready: bool,
    /// Why not.
    not_ready: Option<String>,
    /// Events that the journal ever took.
    accepted: u64,
    durability: Durability,
    journal: JournalUsage,
    state: StateUsage,
    /// Of the ingest listener; `None`: it does not speak TLS.
    certificate: Option<Certificate>,
    /// What is set up weaker at a destination than Forebay promises.
    findings: Vec<RouteFinding>,
    /// The sources that are queues.
    queues: Vec<Queue>,
    /// The sources that refuse events for trouble of our own, and what that means for their senders.
    refusing: Vec<RefusingSource>,
    /// What sources turned away of late for reasons of their own.
    turned_away: Vec<OfSource>,
    /// What requests are in quarantine, also of sources that are no more.
    quarantine: Vec<QuarantineCount>,
    /// The imports that run.
    imports: Vec<Import>,
    routes: Vec<RouteView>,
}

#[derive(Debug, Serialize)]
struct Queue {
    source: SourceName,
    #[serde(rename = "type")]
    kind: String,
    reads: String,
    /// Why it is not read just now.
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct RefusingSource {
    source: SourceName,
    #[serde(flatten)]
    refusing: Refusing,
}

#[derive(Debug, Serialize)]
struct OfSource {
    source: SourceName,
    #[serde(flatten)]
    turned_away: TurnedAway,
}

#[derive(Debug, Serialize)]
struct StateUsage {
    /// `None`: it cannot be told.
    bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct RouteFinding {
    route: RouteName,
    finding: String,
}

pub(crate) async fn status(State(context): State<Context>) -> Json<Status> {
    let ports = &context.ports;
    let not_ready = ports.readiness.ready().err();
    let routes = ports.routes.statuses().await;
    let state = StateUsage {
        bytes: ports.state.bytes().await.ok(),
    };
    Json(Status {
        version: ports.version,
        time: ports.clock.now(),
        ready: not_ready.is_none(),
        not_ready,
        accepted: ports.journal.end().0,
        durability: ports.journal.durability(),
        journal: (ports.journal_usage)(),
        state,
        certificate: (ports.certificate)(),
        findings: findings(&routes),
        queues: queues(&*ports.sources),
        refusing: refusing(&*ports.sources),
        turned_away: turned_away(&*ports.sources),
        // What cannot be read is not there to be shown; the state says so elsewhere.
        quarantine: ports.quarantine.counts().await.unwrap_or_default(),
        imports: ports.imports.list().into_iter().filter(runs).collect(),
        routes: routes::views(ports, routes).await,
    })
}

fn queues(sources: &dyn Sources) -> Vec<Queue> {
    let sources = sources.statuses().into_iter();
    let queues = sources.filter_map(|source| {
        Some(Queue {
            source: source.name,
            kind: source.kind,
            reads: source.reads?,
            last_error: source.last_error,
        })
    });
    queues.collect()
}

fn refusing(sources: &dyn Sources) -> Vec<RefusingSource> {
    let sources = sources.statuses().into_iter();
    let refusing = sources.filter_map(|source| {
        Some(RefusingSource {
            source: source.name,
            refusing: source.refusing?,
        })
    });
    refusing.collect()
}

fn turned_away(sources: &dyn Sources) -> Vec<OfSource> {
    let sources = sources.statuses().into_iter();
    let runs = sources.flat_map(|status| {
        let source = status.name;
        let of = move |turned_away| OfSource {
            source: source.clone(),
            turned_away,
        };
        status.turned_away.into_iter().map(of)
    });
    runs.collect()
}

fn runs(import: &Import) -> bool {
    import.status == ImportStatus::Running
}

fn findings(routes: &[RouteStatus]) -> Vec<RouteFinding> {
    let all = routes.iter().flat_map(|route| {
        route.findings.iter().map(|finding| RouteFinding {
            route: route.name.clone(),
            finding: finding.clone(),
        })
    });
    all.collect()
}
