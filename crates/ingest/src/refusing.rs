//! What a refusal is besides its answer: counted, shown, told in the log, and followed until it is over.

use std::sync::Weak;
use std::time::Duration;

use http::request::Parts;

use crate::answer::{self, Answer};
use crate::listener::Peer;
use crate::metrics::{RefusedLabel, UNKNOWN_SOURCE};
use crate::refusal::Refused;
use crate::service::Ingest;
use crate::source::Source;

/// How often it is looked at what time alone brings.
const WATCH: Duration = Duration::from_secs(1);

impl Ingest {
    /// Tells, until the ingest is gone, what comes true of sources by time alone.
    pub async fn watch(ingest: Weak<Self>) {
        loop {
            tokio::time::sleep(WATCH).await;
            let Some(ingest) = ingest.upgrade() else {
                return;
            };
            ingest.tend();
        }
    }

    /// Tells what has come true by now.
    pub(crate) fn tend(&self) {
        let now = self.ports.clock.now();
        for source in self.sources.values() {
            let takes = source.refuses()
                && self.ports.journal.can_append().is_ok()
                && self.ports.backlogs.admits(&source.name).is_ok()
                && self.admission.taken(source).is_ok();
            source.tend(takes, now);
        }
    }

    /// Answers that it was refused, once that is counted and told.
    pub(crate) fn refuse(
        &self,
        source: Option<&Source>,
        refused: &Refused,
        head: &Parts,
        peer: &Peer,
    ) -> Answer {
        self.note_refused(source, refused);
        if tracing::enabled!(tracing::Level::DEBUG) {
            tell(source, refused, head, peer);
        }
        answer::refused(source, refused)
    }

    /// Counts it.
    pub(crate) fn note_refused(&self, source: Option<&Source>, refused: &Refused) {
        if let Some(source) = source {
            source.note_refused(refused, self.ports.clock.now());
        }
        let name = source.map_or(UNKNOWN_SOURCE, |source| source.name.as_str());
        let label = RefusedLabel {
            source: name.to_owned(),
            code: refused.code(),
        };
        self.metrics.refused.get_or_create(&label).inc();
    }
}

/// A line of the log for those who look for one request: where it came from, and on which path.
fn tell(source: Option<&Source>, refused: &Refused, head: &Parts, peer: &Peer) {
    let name = source.map_or(UNKNOWN_SOURCE, |source| source.name.as_str());
    // A request that was verified has given its headers to its events, and a proxy's word with them.
    let client = (!head.headers.is_empty()).then(|| peer.origin_text(&head.headers));
    // The configuration's words. A path of no source is the sender's, and so is a query.
    let path = source.map(|_| head.uri.path());
    let reason = refused.reason().unwrap_or_else(|| refused.in_words());
    tracing::debug!(source = %name, code = refused.code(), reason, client, path, "refused");
}
