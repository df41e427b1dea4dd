//! What every handler has at hand: the ports, and the limits that hold over all requests.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::ports::{
    Archive, DeadLetters, Gaps, Imports, Journal, Quarantine, Readiness, Releases, Routes, Sources,
    State, Subscriptions,
};
use domain::{Clock, RouteName, Timestamp};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;
use crate::server::Limits;

/// Everything that the admin listener asks. Given once, by the composition root.
#[derive(Clone)]
pub struct Ports {
    /// The running routes.
    pub routes: Arc<dyn Routes>,
    /// The configured sources.
    pub sources: Arc<dyn Sources>,
    /// Looking back into the journal.
    pub archive: Arc<dyn Archive>,
    /// The journal itself, for its end and its durability.
    pub journal: Arc<dyn Journal>,
    /// What became of an event.
    pub state: Arc<dyn State>,
    /// Dead letters and redrives.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// How long a route's dead letters are kept after every target has confirmed them.
    pub dead_letters_kept: Arc<dyn Fn(&RouteName) -> Duration + Send + Sync>,
    /// What brings back what lies in queues outside.
    pub imports: Arc<dyn Imports>,
    /// What sources may have missed, and how it is filled.
    pub gaps: Arc<dyn Gaps>,
    /// What was not verified and is kept apart.
    pub quarantine: Arc<dyn Quarantine>,
    /// What can be done to it.
    pub releases: Arc<dyn Releases>,
    /// The routes that the API makes.
    pub subscriptions: Arc<dyn Subscriptions>,
    /// Told of every redrive that was begun, so that whoever steps them need not look all the time.
    pub redrive_begun: Arc<Notify>,
    /// The answer of `/readyz`.
    pub readiness: Arc<dyn Readiness>,
    /// What the journal takes of the disk. Must be quick: it is asked for every `status`.
    pub journal_usage: Arc<dyn Fn() -> JournalUsage + Send + Sync>,
    /// The certificate of the ingest listener. Must be quick: it is asked for every `status`.
    pub certificate: LookAtCertificate,
    /// The time shown in `status`.
    pub clock: Arc<dyn Clock>,
    /// Every metric of the process, for `/metrics`.
    pub registry: Arc<Registry>,
    /// The version of Forebay.
    pub version: &'static str,
}

/// What the journal takes of the disk, and leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct JournalUsage {
    /// Bytes of all its files.
    pub bytes: u64,
    /// Acknowledged events that damage took. Anything but 0 wants an operator.
    pub damaged_events: u64,
    /// Free bytes of its file system; `None` while that is not known.
    pub disk_free_bytes: Option<u64>,
}

/// Looks at the certificate of the ingest listener; `None`: it does not speak TLS.
pub type LookAtCertificate = Arc<dyn Fn() -> Option<Certificate> + Send + Sync>;

/// The certificate that the ingest listener shows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Certificate {
    /// When it expires, or the first of those sent with it; `None`: there is none yet.
    pub expires_at: Option<Timestamp>,
    /// What is to be said of it, if it has expired or soon will.
    pub warning: Option<String>,
}

/// What the router hands to every handler.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) ports: Arc<Ports>,
    pub(crate) limits: Limits,
    look_back: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(ports: Ports, limits: Limits) -> Self {
        Self {
            ports: Arc::new(ports),
            limits,
            look_back: Arc::new(Semaphore::new(limits.looking_back)),
        }
    }

    /// Waits for a turn to read events. Only so many requests hold events in memory at once; the
    /// request's own timeout bounds the wait.
    pub(crate) async fn look_back(&self) -> Result<Turn, Problem> {
        let turn = Arc::clone(&self.look_back).acquire_owned().await;
        let turn =
            turn.map_err(|_| Problem::internal("shutting-down", "the server is shutting down"));
        turn.map(|place| Turn { _place: place })
    }
}

/// A turn to read events.
#[derive(Debug)]
pub(crate) struct Turn {
    _place: OwnedSemaphorePermit,
}

impl Turn {
    /// Answers with what was read. The answer may be as large as an event, so that the turn is over only when
    /// the last byte of it was handed to the system, or the connection is gone.
    pub(crate) fn answer(self, read: impl Serialize) -> Result<Response, Problem> {
        let json = serde_json::to_vec(&read);
        drop(read);
        let json = json.map_err(|error| Problem::internal("answer-failed", error.to_string()))?;
        let bytes = Bytes::from_owner(Held { json, _turn: self });
        let json = HeaderValue::from_static("application/json");
        Ok(([(CONTENT_TYPE, json)], bytes).into_response())
    }
}

/// Bytes that are somebody's turn.
struct Held {
    json: Vec<u8>,
    _turn: Turn,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}
