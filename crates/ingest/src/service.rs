//! [`Ingest`]: takes each request the way receive → verify → admit → answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ports::{
    AppendError, Backlogs, Fetch, Journal, KnownSource, Quarantine, Readiness, SourceStatus,
    Sources,
};
use domain::{Clock, Event, SourceName};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::admit::Admission;
use crate::answer::{self, Admitted, Answer};
use crate::body;
use crate::budget::{Budget, RequestShare};
use crate::dedup::Window;
use crate::event::Unverified;
use crate::limits::Limits;
use crate::listener::{Connection, Handler, Peer};
use crate::metrics::Metrics;
use crate::options::{SourceOptions, without_slash};
use crate::pace::Pace;
use crate::quarantine::Keeper;
use crate::queue::QueueSource;
use crate::refusal::Refused;
use crate::source::Source;

/// What ingest asks of the other parts.
#[derive(Clone)]
pub struct Ports {
    /// Where events become durable.
    pub journal: Arc<dyn Journal>,
    /// How much may wait for the routes.
    pub backlogs: Arc<dyn Backlogs>,
    /// What `/readyz` says.
    pub readiness: Arc<dyn Readiness>,
    /// Stamps events.
    pub clock: Arc<dyn Clock>,
    /// Fetches what senders publish.
    pub fetch: Arc<dyn Fetch>,
    /// Keeps apart what was not verified.
    pub quarantine: Arc<dyn Quarantine>,
}

/// How ingest works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listener's limits.
    pub limits: Limits,
    /// How long a request may wait to be durable before it is told 503.
    pub ack_timeout: Duration,
}

/// Why ingest cannot be built.
#[derive(Debug, Clone, thiserror::Error)]
#[error("sources.{source_name}.{key}: {reason}")]
pub struct BuildError {
    /// The source.
    pub source_name: SourceName,
    /// The key of its section.
    pub key: &'static str,
    /// What would be right.
    pub reason: String,
}

/// Why an event that did not come by HTTP was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is no such source.
    #[error("there is no source {0}")]
    UnknownSource(SourceName),
    /// It was refused, as a request would be.
    #[error("{words}")]
    Refused {
        /// The code that a request would be answered with.
        code: &'static str,
        /// The reason.
        words: String,
        /// It never will be taken: it is larger than anything that may be.
        for_good: bool,
    },
}

impl From<Refused> for NotTaken {
    fn from(refused: Refused) -> Self {
        let too_large = matches!(
            refused,
            Refused::BodyTooLarge { .. } | Refused::Append(AppendError::TooLarge { .. })
        );
        Self::Refused {
            code: refused.code(),
            words: refused.in_words(),
            for_good: too_large,
        }
    }
}

/// What a request takes of the memory besides its text: its task, its place in the connection.
const REQUEST: usize = 2 << 10;

/// What a header takes besides its text: its place in the map.
const FIELD: usize = 100;

/// What answers on a path.
#[derive(Debug, Clone)]
enum Target {
    Source(Arc<Source>),
    /// State knows it, the configuration no longer does.
    Removed,
    Alive,
    Ready,
}

/// The handler of the ingest listener.
pub struct Ingest {
    pub(crate) sources: BTreeMap<SourceName, Arc<Source>>,
    targets: HashMap<String, Target>,
    limits: Limits,
    budget: Budget,
    pub(crate) admission: Admission,
    pub(crate) ports: Ports,
    pub(crate) metrics: Metrics,
    pub(crate) keeper: Keeper,
    /// One release, purge or expiry at a time: what one of them takes out, the others do not speak of.
    pub(crate) releasing: tokio::sync::Mutex<()>,
}

impl Ingest {
    /// Builds every source, reading the secret files; of `queues` the names are none of `sources`. `known` are the sources that state remembers;
    /// those of them that are not configured answer 503. `window` may be filled later.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn new(
        sources: &BTreeMap<SourceName, SourceOptions>,
        queues: &BTreeMap<SourceName, QueueSource>,
        known: &[KnownSource],
        settings: Settings,
        window: Arc<Window>,
        ports: Ports,
        metrics: Metrics,
    ) -> Result<Self, BuildError> {
        let mut built = BTreeMap::new();
        for (name, options) in sources {
            let source =
                Source::build(name, options, &metrics).map_err(|(key, reason)| BuildError {
                    source_name: name.clone(),
                    key,
                    reason,
                })?;
            built.insert(name.clone(), Arc::new(source));
        }
        for (name, queue) in queues {
            let source = Source::of_queue(name, queue, &metrics);
            built.insert(name.clone(), Arc::new(source));
        }
        let mut targets = HashMap::new();
        let removed = known
            .iter()
            .filter(|known| !built.contains_key(&known.name));
        for path in removed.flat_map(|known| &known.paths) {
            targets.insert(without_slash(path).to_owned(), Target::Removed);
        }
        for source in built.values() {
            for path in &source.paths {
                let path = without_slash(path).to_owned();
                targets.insert(path, Target::Source(Arc::clone(source)));
            }
        }
        targets.insert("/healthz".into(), Target::Alive);
        targets.insert("/readyz".into(), Target::Ready);
        let memory = settings.limits.for_requests();
        Ok(Self {
            budget: if built.len() > 1 {
                Budget::divided(memory)
            } else {
                Budget::whole(memory)
            },
            sources: built,
            targets,
            limits: settings.limits,
            admission: Admission {
                journal: Arc::clone(&ports.journal),
                backlogs: Arc::clone(&ports.backlogs),
                window,
                ack_timeout: settings.ack_timeout,
            },
            ports,
            metrics,
            keeper: Keeper::default(),
            releasing: tokio::sync::Mutex::default(),
        })
    }

    /// The sources with their paths, for state to remember.
    #[must_use]
    pub fn known(&self) -> Vec<KnownSource> {
        let known = self.sources.values().map(|source| KnownSource {
            name: source.name.clone(),
            paths: source.paths.clone(),
        });
        known.collect()
    }

    /// Reads all secret files again. A source whose files cannot be read keeps its secrets.
    ///
    /// # Errors
    /// What could not be read, a line a source; never a secret.
    pub fn reload_secrets(&self) -> Result<(), Vec<String>> {
        let reloaded = self.sources.iter().map(|(name, source)| {
            let reloaded = source.scheme.reload();
            reloaded.map_err(|reason| {
                format!("sources.{name}.verify: {reason}; its secrets stay as they were")
            })
        });
        let failed: Vec<String> = reloaded.filter_map(Result::err).collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed)
        }
    }

    /// Whether there is such a source.
    #[must_use]
    pub fn has_source(&self, name: &SourceName) -> bool {
        self.sources.contains_key(name)
    }

    /// Takes an event that did not come by HTTP, from somebody who could be asked who they are before: a queue that we
    /// have the keys of. `true` once it is durable; `false` if an event with its key was durable already.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing was stored.
    pub async fn take_in(&self, source: &SourceName, event: Event) -> Result<bool, NotTaken> {
        let Some(source) = self.sources.get(source) else {
            return Err(NotTaken::UnknownSource(source.clone()));
        };
        let refused = |refused: Refused| {
            self.note_refused(Some(source), &refused);
            NotTaken::from(refused)
        };
        let size = event.body.len() as u64;
        if size > source.max_body {
            return Err(refused(Refused::BodyTooLarge {
                limit: source.max_body,
            }));
        }
        let mut share = self.budget.share(&source.memory);
        let weight = event.weight() as u64;
        if weight > self.budget.limit() {
            self.note_refused(
                Some(source),
                &Refused::BodyTooLarge {
                    limit: self.budget.limit(),
                },
            );
            return Err(NotTaken::Refused {
                code: "body-too-large",
                words: format!(
                    "with its attributes it takes {weight} bytes, which never fit into the memory for requests, three quarters of server.limits.max_in_flight_bytes: raise that"
                ),
                for_good: true,
            });
        }
        let grown = share.grow(weight);
        grown.map_err(|full| refused(full.into()))?;
        if let Err(full) = self.ports.backlogs.admits(&source.name) {
            self.note_refused(Some(source), &Refused::RouteFull);
            return Err(NotTaken::Refused {
                code: Refused::RouteFull.code(),
                words: full.to_string(),
                for_good: false,
            });
        }
        match self.admission.admit_known(source, event).await {
            Ok(admitted) => Ok(matches!(admitted, Admitted::Accepted(_))),
            Err(error) => Err(refused(error)),
        }
    }

    /// The source's status, with its gauge brought up to date.
    fn shown(&self, source: &Source) -> SourceStatus {
        let status = source.status(self.ports.clock.now());
        let refusing = status.refusing.as_ref();
        let refusing = refusing.filter(|refusing| refusing.takes_since.is_none());
        let left = refusing.and_then(|refusing| refusing.left_seconds);
        self.metrics.show_window_left(&source.name, left);
        status
    }

    /// How long a sender waits.
    pub(crate) const fn ack_timeout(&self) -> Duration {
        self.admission.ack_timeout
    }

    /// A source of a queue, for who reads it.
    pub(crate) fn source(&self, name: &SourceName) -> Option<Arc<Source>> {
        self.sources.get(name).cloned()
    }

    /// Receive: everything that can be said before and while the body is read.
    async fn accept(
        &self,
        source: &Arc<Source>,
        head: &mut Parts,
        body: Incoming,
        peer: &Peer,
    ) -> Result<Answer, Refused> {
        let begun = Instant::now();
        source.admits(peer.origin(&head.headers), begun)?;
        if head.method != Method::POST {
            return self.greeted(source, head, peer).await;
        }
        let head_bytes = self.head_bytes(head)?;
        // What could not be stored anyway is not read.
        self.ports.journal.can_append()?;
        if let Err(full) = self.ports.backlogs.admits(&source.name) {
            tracing::debug!(source = %source.name, %full, "refused");
            return Err(Refused::RouteFull);
        }
        self.admission.taken(source)?;
        let received_at = self.ports.clock.now();
        let remote = peer.origin_text(&head.headers);
        // The head is in memory until the event is durable, and its body may take its time.
        let mut share = self.budget.share(&source.memory);
        share.grow(head_bytes)?;
        let body = body::read(body, source.max_body, Pace::new(&self.limits), &mut share).await?;
        let apart = source.keeps.then(|| body.clone());
        let unverified = Unverified {
            source,
            head,
            body,
            received_at,
            remote: Some(remote),
            client: peer.client.as_ref(),
        };
        let provided = source
            .certificates
            .provide(&self.ports.fetch, &unverified)
            .await;
        if let Some(handshake) = unverified.handshake() {
            provided?;
            return self.shake(source, handshake).await;
        }
        let room = |bytes| self.room_for_items(&mut share, bytes);
        let verified = match provided.and_then(|()| unverified.verify(room)) {
            Ok(verified) => verified,
            Err(refused) => {
                let (Refused::NotVerified(refusal), Some(body)) = (&refused, apart) else {
                    return Err(refused);
                };
                // It is rare, and the others' requests should not keep room for it.
                let quarantined = self.quarantine(source, head, body, received_at, peer, *refusal);
                return Box::pin(quarantined).await;
            }
        };
        source.count(Instant::now)?;
        // It is asked again whether anybody takes it: the last subscription may have ended while the body came.
        let admitted = self.admission.admit(verified, &peer.patience).await?;
        drop(share);
        self.metrics
            .ack_seconds
            .observe(begun.elapsed().as_secs_f64());
        Ok(answer::admitted(source, &admitted))
    }

    /// What a body's items take of the memory besides it: each has the request's headers. What never fits is not to be
    /// tried again.
    fn room_for_items(&self, share: &mut RequestShare<'_>, bytes: u64) -> Result<(), Refused> {
        let limit = self.budget.limit();
        if bytes > limit {
            return Err(Refused::BodyTooLarge { limit });
        }
        Ok(share.grow(bytes)?)
    }

    /// What the request takes of the memory before its body.
    fn head_bytes(&self, head: &Parts) -> Result<u64, Refused> {
        let headers = &head.headers;
        let sizes = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4);
        let text: usize = sizes.sum();
        let limit = self.limits.header_bytes;
        if text > limit {
            return Err(Refused::HeadersTooLarge { limit });
        }
        let path = head.uri.path_and_query();
        let path = path.map_or(0, |path| path.as_str().len());
        Ok((REQUEST + path + text + FIELD * headers.len()) as u64)
    }

    async fn answer(&self, head: &mut Parts, body: Incoming, peer: &Peer) -> Answer {
        match self.targets.get(without_slash(head.uri.path())) {
            Some(Target::Source(source)) => {
                let accepted = self.accept(source, head, body, peer).await;
                accepted.unwrap_or_else(|refused| self.refuse(Some(source), &refused, head, peer))
            }
            Some(Target::Removed) => self.refuse(None, &Refused::SourceRemoved, head, peer),
            Some(Target::Alive) => answer::health(Ok(())),
            Some(Target::Ready) => answer::health(self.ports.readiness.ready()),
            None => self.refuse(None, &Refused::NoSuchSource, head, peer),
        }
    }
}

impl Handler for Ingest {
    fn handle(
        connection: Arc<Connection<Self>>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Answer> + Send + 'static {
        // Taken apart ahead of the future and lent to what it calls: each level that takes a request as it
        // is keeps room for one of its own, and the whole is moved when the request begins.
        let (mut head, body) = request.into_parts();
        async move {
            let Connection { handler, peer } = &*connection;
            handler.answer(&mut head, body, peer).await
        }
    }
}

impl Sources for Ingest {
    fn statuses(&self) -> Vec<SourceStatus> {
        self.sources
            .values()
            .map(|source| self.shown(source))
            .collect()
    }
}

/// The smallest handler there is: reads the body and answers 200. `forebay bench ack` compares with it.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOp;

impl Handler for NoOp {
    async fn handle(_: Arc<Connection<Self>>, request: Request<Incoming>) -> Answer {
        use http_body_util::BodyExt;
        let mut answer = Answer::default();
        if request.into_body().collect().await.is_err() {
            *answer.status_mut() = StatusCode::BAD_REQUEST;
        }
        answer
    }
}
