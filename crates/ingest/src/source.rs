//! A source, built from its options: its scheme, its rules and its counts.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::ports::SourceStatus;
use domain::{SourceName, Timestamp, Unwrap};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use prometheus_client::metrics::counter::Counter;

use crate::allow::AllowFrom;
use crate::budget::Holder;
use crate::certificates::Certificates;
use crate::holding::Holding;
use crate::json::Pointer;
use crate::metrics::{Metrics, QuarantineMetrics};
use crate::options::{DedupOptions, OnInvalid, PublicUrl, SourceOptions, default_quarantine_keep};
use crate::queue::QueueSource;
use crate::rate::{Over, RateLimit};
use crate::refusal::Refused;
use crate::sender_patience::SenderPatience;
use crate::turned_away::{self, Runs};
use crate::verify::{self, HandshakeShape, Refusal, Scheme, Split, VerifyOptions};

/// Where the deduplication key comes from.
#[derive(Debug)]
pub(crate) enum Dedup {
    Off,
    Scheme,
    Header(HeaderName),
    Pointer(Pointer),
}

/// A ready answer in place of Forebay's own.
#[derive(Debug)]
pub(crate) struct Respond {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub body: Bytes,
}

/// A source that takes events.
#[derive(Debug)]
pub(crate) struct Source {
    pub name: SourceName,
    kind: &'static str,
    /// What is read, of a queue.
    reads: Option<String>,
    /// Why it is not read just now.
    trouble: Mutex<Option<String>>,
    pub paths: Vec<String>,
    pub scheme: Box<dyn Scheme>,
    public_url: Option<PublicUrl>,
    pub certificates: Certificates,
    pub max_body: u64,
    pub require_json: bool,
    pub dedup: Dedup,
    pub handshake: Option<HandshakeShape>,
    /// How long its sender goes on trying.
    patience: SenderPatience,
    /// How bodies are taken apart; `None`: one event each.
    pub split: Option<Split>,
    /// Whose envelope an event is taken out of.
    pub unwrap: Option<Unwrap>,
    pub respond: Option<Respond>,
    /// What its requests hold of the memory.
    pub memory: Holder,
    allow_from: Option<AllowFrom>,
    rate_limit: Option<RateLimit>,
    /// What is not verified is kept in quarantine.
    pub keeps: bool,
    /// For so long.
    pub quarantine_keep: Duration,
    pub holding: Holding,
    accepted: Counter,
    discarded: Counter,
    duplicate: Counter,
    refused: AtomicU64,
    last_refusal: Mutex<Option<(&'static str, Timestamp)>>,
    turned_away: Runs,
    /// Microseconds since the Unix epoch; 0 before the first.
    last_accepted_at: AtomicI64,
}

impl Source {
    /// Builds it, reading its secret files.
    ///
    /// # Errors
    /// The key and what would be right.
    pub(crate) fn build(
        name: &SourceName,
        options: &SourceOptions,
        metrics: &Metrics,
    ) -> Result<Self, (&'static str, String)> {
        options.validate()?;
        let none = VerifyOptions::none();
        let verify = options.verify.as_ref().unwrap_or(&none);
        let dedup = match &options.dedup {
            DedupOptions::Off => Dedup::Off,
            DedupOptions::Scheme => Dedup::Scheme,
            DedupOptions::Header(name) => {
                let parsed = name.parse();
                Dedup::Header(parsed.map_err(|_| ("dedup", format!("{name:?} is no header name")))?)
            }
            DedupOptions::Pointer(pointer) => Dedup::Pointer(Pointer::new(pointer)),
        };
        let respond = options.respond.as_ref().map(|respond| {
            Some(Respond {
                status: StatusCode::from_u16(respond.status).ok()?,
                content_type: respond.content_type.parse().ok()?,
                body: Bytes::from(respond.body.clone()),
            })
        });
        let mut paths = vec![format!("/in/{name}")];
        for path in &options.paths {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        let [accepted, discarded, duplicate] = metrics.of(name);
        let scheme = verify.build().map_err(|reason| ("verify", reason))?;
        let split = options.split.as_ref();
        let split = split.map(|split| split.with(&*scheme)).transpose();
        Ok(Self {
            name: name.clone(),
            kind: "http",
            reads: None,
            trouble: Mutex::default(),
            paths,
            scheme,
            split: split.map_err(|reason| ("split", reason))?,
            unwrap: options.unwrap,
            public_url: options.public_url.clone(),
            certificates: Certificates::default(),
            max_body: options.max_body.0,
            // Whoever asks is told the HMAC of what is no JSON.
            require_json: options.require_json || options.handshake == Some(HandshakeShape::X),
            dedup,
            handshake: options.handshake,
            patience: SenderPatience::new(match options.retry_window {
                Some(window) => Some(window.0),
                None => verify.about().sender.window,
            }),
            respond: respond.flatten(),
            memory: Holder::default(),
            allow_from: options.allow_from.clone(),
            rate_limit: options
                .rate_limit
                .map(|limit| RateLimit::new(limit, Instant::now())),
            keeps: options.on_invalid == OnInvalid::Quarantine,
            quarantine_keep: options.quarantine_keep.0,
            holding: Holding::new(
                options.quarantine_max.into(),
                options.quarantine_max_bytes.0,
                metrics.of_quarantine(name),
            ),
            accepted,
            discarded,
            duplicate,
            refused: AtomicU64::new(0),
            last_refusal: Mutex::new(None),
            turned_away: Runs::default(),
            last_accepted_at: AtomicI64::new(0),
        })
    }

    /// A queue: nobody posts to it, and who may put something there is the queue's to say.
    pub(crate) fn of_queue(name: &SourceName, queue: &QueueSource, metrics: &Metrics) -> Self {
        let [accepted, discarded, duplicate] = metrics.of(name);
        Self {
            name: name.clone(),
            kind: queue.kind,
            reads: Some(queue.reads.clone()),
            trouble: Mutex::default(),
            paths: Vec::new(),
            scheme: verify::by_the_queue(),
            public_url: None,
            certificates: Certificates::default(),
            max_body: queue.max_body,
            require_json: false,
            dedup: Dedup::Off,
            handshake: None,
            // What is refused stays in the queue.
            patience: SenderPatience::new(None),
            split: None,
            unwrap: queue.unwrap,
            respond: None,
            memory: Holder::default(),
            allow_from: None,
            rate_limit: None,
            keeps: false,
            quarantine_keep: default_quarantine_keep().0,
            holding: Holding::new(0, 0, QuarantineMetrics::default()),
            accepted,
            discarded,
            duplicate,
            refused: AtomicU64::new(0),
            last_refusal: Mutex::new(None),
            turned_away: Runs::default(),
            last_accepted_at: AtomicI64::new(0),
        }
    }

    /// Whether a request from there may be read at all.
    ///
    /// # Errors
    /// [`Refused::NotAllowed`], [`Refused::RateLimited`].
    pub(crate) fn admits(&self, client: IpAddr, now: Instant) -> Result<(), Refused> {
        if self
            .allow_from
            .as_ref()
            .is_some_and(|allow| !allow.has(client))
        {
            return Err(Refused::NotAllowed);
        }
        match &self.rate_limit {
            Some(limit) => Ok(limit.look(now)?),
            None => Ok(()),
        }
    }

    /// Counts a request that was verified, or is to be kept in quarantine, against its rate. No clock is read for a source without one.
    ///
    /// # Errors
    /// [`Over`]: others came before it while it was read.
    pub(crate) fn count(&self, now: impl FnOnce() -> Instant) -> Result<(), Over> {
        match &self.rate_limit {
            Some(limit) => limit.take(now()),
            None => Ok(()),
        }
    }

    /// The URL of a request with this path and query as its sender has it, where that is known.
    pub(crate) fn url(&self, path: &str) -> Option<String> {
        self.public_url.as_ref().map(|url| url.of(path))
    }

    /// Shows why it is not read just now, or that it is. Returns whether there was trouble before.
    pub(crate) fn show_trouble(&self, trouble: Option<String>) -> bool {
        let mut shown = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *shown, trouble).is_some()
    }

    pub(crate) fn note_accepted(&self, at: Timestamp) {
        self.patience.accepted(&self.name, at);
        self.accepted.inc();
        // What is released from quarantine was received long before.
        self.last_accepted_at
            .fetch_max(at.as_microsecond(), Ordering::Relaxed);
    }

    /// A request was received then of which all was durable before: its sender has its 2xx as for one that was accepted.
    pub(crate) fn note_repeated(&self, at: Timestamp) {
        self.patience.accepted(&self.name, at);
    }

    /// So many of those that were accepted are wanted by no route.
    pub(crate) fn note_discarded(&self, events: u64) {
        self.discarded.inc_by(events);
    }

    pub(crate) fn note_duplicate(&self) {
        self.duplicate.inc();
    }

    /// Methods besides POST that its sender greets with.
    pub(crate) fn greets(&self, method: &Method) -> bool {
        self.greetings().any(|known| known == method)
    }

    /// The same, for saying them.
    pub(crate) fn greetings(&self) -> impl Iterator<Item = &'static Method> {
        let shape = self.handshake.map_or(&[][..], HandshakeShape::greets);
        self.scheme.greets().iter().chain(shape)
    }

    pub(crate) fn note_refused(&self, refused: &Refused, now: Timestamp) {
        // What cannot be quarantined is anybody's, and says nothing of the sender's events.
        let anybodys = matches!(refused, Refused::NoRoom(_) | Refused::NotKept(_));
        let ours = refused.status() == StatusCode::SERVICE_UNAVAILABLE && !anybodys;
        if ours && self.reads.is_none() {
            self.patience.refused(&self.name, refused.code(), now);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        *self
            .last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((refused.code(), now));
        if refused.status().is_client_error() && self.reads.is_none() {
            let (reason, accepted) = (refused.reason(), self.accepted.get());
            self.turned_away
                .note(&self.name, refused.code(), reason, accepted, now);
        }
    }

    /// A request was put into quarantine for this.
    pub(crate) fn note_quarantined(&self, why: Refusal, now: Timestamp) {
        let accepted = self.accepted.get();
        let code = turned_away::QUARANTINED;
        self.turned_away
            .note(&self.name, code, Some(why.to_string()), accepted, now);
    }

    /// Whether it has refused, for trouble of our own, what came last.
    pub(crate) fn refuses(&self) -> bool {
        self.patience.refuses()
    }

    /// Tells what has come true with time. `takes`: an event of it would be taken now.
    pub(crate) fn tend(&self, takes: bool, now: Timestamp) {
        self.patience.tend(&self.name, takes, now);
        self.turned_away.tend(&self.name, self.accepted.get(), now);
    }

    pub(crate) fn status(&self, now: Timestamp) -> SourceStatus {
        let last_refusal = *self
            .last_refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last_accepted = self.last_accepted_at.load(Ordering::Relaxed);
        SourceStatus {
            name: self.name.clone(),
            kind: self.kind.into(),
            reads: self.reads.clone(),
            last_error: self
                .trouble
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            paths: self.paths.clone(),
            scheme: self.scheme.name().into(),
            accepted: self.accepted.get(),
            discarded: self.discarded.get(),
            duplicates: self.duplicate.get(),
            refused: self.refused.load(Ordering::Relaxed),
            quarantined: self.holding.requests(),
            last_refusal: last_refusal.map(|(code, _)| code.into()),
            last_refusal_at: last_refusal.map(|(_, at)| at),
            turned_away: self.turned_away.status(self.accepted.get()),
            retry_window_seconds: self.patience.window().map(|window| window.as_secs_f64()),
            refusing: self.patience.status(now),
            last_accepted_at: (last_accepted != 0)
                .then(|| Timestamp::from_microsecond(last_accepted).ok())
                .flatten(),
        }
    }
}
