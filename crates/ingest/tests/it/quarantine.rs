//! Requests that are not verified, at a source that keeps them apart: no event before they were verified after all.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use domain::ports::{
    Backlogs, Quarantine, QuarantineCount, QuarantineEntry, QuarantineQuery, QuarantineSelection,
    Quarantined, ReleaseError, Released, ReleasedAs, Releases, RouteFull, StateError, Unlimited,
};
use domain::{ByteSize, Event, EventId, SourceName, Timestamp};
use ingest::verify::{Signed, Unsigned, VerifyOptions};
use journal::EmbeddedJournal;
use state::SqliteState;

use crate::door::{Answered, Door, journal, sources, stored};

const RIGHT: &str = "the-secret-of-the-sender";
const WRONG: &str = "some-secret-of-last-year";

pub(crate) fn now() -> Timestamp {
    domain::Clock::now(&domain::SystemClock)
}

/// The headers of a request that its sender signs with the right secret.
fn signed(scheme: &str, body: &str, at: Timestamp) -> Vec<(String, String)> {
    let options = serde_json::json!({ "scheme": scheme, "secrets": [RIGHT] });
    let options: VerifyOptions = serde_json::from_value(options).unwrap();
    let unsigned = Unsigned {
        path: "/in/s?a=%20b",
        url: None,
        body: body.as_bytes(),
        id: "1",
        now: at,
    };
    let Signed { headers, .. } = options.build().unwrap().sign(&unsigned).unwrap();
    headers
}

fn state(directory: &Path, max_bytes: u64) -> Arc<SqliteState> {
    let metrics = state::Metrics::register(&mut prometheus_client::registry::Registry::default());
    let options = state::Options {
        max_bytes: ByteSize(max_bytes),
        min_free: ByteSize(0),
    };
    let state = SqliteState::open(&directory.join("state.db"), options, metrics);
    Arc::new(state.unwrap())
}

/// A source `s` that keeps apart what it cannot verify, with its secret in a file, and what is behind it.
pub(crate) struct Rig {
    directory: tempfile::TempDir,
    pub(crate) journal: Arc<EmbeddedJournal>,
    pub(crate) state: Arc<SqliteState>,
    pub(crate) door: Door,
    scheme: String,
}

impl Rig {
    /// `more` are further options of the source.
    pub(crate) async fn new(scheme: &str, more: &str) -> Self {
        Self::with(scheme, more, 64 << 20, Arc::new(Unlimited), |state| state).await
    }

    pub(crate) async fn with(
        scheme: &str,
        more: &str,
        max_bytes: u64,
        backlogs: Arc<dyn Backlogs>,
        between: impl FnOnce(Arc<SqliteState>) -> Arc<dyn Quarantine>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let journal = journal(directory.path());
        let state = state(directory.path(), max_bytes);
        std::fs::write(directory.path().join("secret"), WRONG).unwrap();
        let configured = configured(directory.path(), scheme, more);
        let kept = between(Arc::clone(&state));
        let door = Door::open_keeping(&configured, journal.clone(), backlogs, kept).await;
        Self {
            directory,
            journal,
            state,
            door,
            scheme: scheme.into(),
        }
    }

    pub(crate) async fn post(&self, more: &[(&str, &str)], body: &str) -> Answered {
        let headers = signed(&self.scheme, body, now());
        let headers = headers.iter().map(|(name, value)| (&**name, &**value));
        let headers: Vec<_> = headers.chain(more.iter().copied()).collect();
        let path = "/in/s?a=%20b";
        self.door.post(path, &headers, body.as_bytes()).await
    }

    pub(crate) async fn quarantined(&self, body: &str) -> EventId {
        let answered = self.post(&[], body).await;
        let said = answered.json();
        assert_eq!(
            (answered.status, &said["status"]),
            (200, &"quarantined".into())
        );
        said["id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn mend(&self) {
        std::fs::write(self.directory.path().join("secret"), RIGHT).unwrap();
        self.door.ingest.reload_secrets().unwrap();
    }

    pub(crate) async fn release(&self) -> Result<Released, ReleaseError> {
        let released = self.door.ingest.release(of("s"), None, false).await;
        released.map(sums)
    }

    pub(crate) async fn left(&self) -> usize {
        let query = QuarantineQuery {
            limit: 1000,
            ..QuarantineQuery::default()
        };
        self.state.page(&query).await.unwrap().len()
    }

    pub(crate) fn held(&self) -> u64 {
        domain::ports::Sources::statuses(&*self.door.ingest)[0].quarantined
    }
}

fn configured(
    directory: &Path,
    scheme: &str,
    more: &str,
) -> std::collections::BTreeMap<SourceName, ingest::SourceOptions> {
    let secret = directory.join("secret");
    let text = format!(
        r#"{{"s": {{"type": "http", "on_invalid": "quarantine"{more},
            "verify": {{"scheme": "{scheme}", "secret_files": ["{}"]}}}}}}"#,
        secret.display()
    );
    sources(&text)
}

pub(crate) fn of(source: &str) -> QuarantineSelection {
    QuarantineSelection::Source(SourceName::new(source).unwrap())
}

pub(crate) const fn came_to(verified: u64, repeats: u64, still_invalid: u64) -> Released {
    Released {
        verified,
        repeats,
        still_invalid,
        not_taken: Vec::new(),
        unknown: 0,
        events: Vec::new(),
        next: None,
    }
}

/// The sums alone.
pub(crate) fn sums(released: Released) -> Released {
    Released {
        events: Vec::new(),
        ..released
    }
}

#[tokio::test]
async fn what_is_not_verified_is_no_event_until_it_was_released_and_then_it_is_one_once() {
    let rig = Rig::new("github", "").await;
    let delivery = [("x-github-delivery", "d1"), ("x-github-event", "push")];
    let answered = rig.post(&delivery, r#"{"n":1}"#).await;
    let said = answered.json();
    assert_eq!(
        (answered.status, &said["status"]),
        (200, &"quarantined".into())
    );
    let id: EventId = said["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.as_uuid().get_version_num(), 7);
    let kept = rig.state.get(id).await.unwrap().unwrap();
    assert_eq!(kept.reason, "signature wrong");
    assert!(kept.event.header("x-hub-signature-256").is_some());
    let counted = r#"forebay_events_quarantined_total{source="s"} 1"#;
    assert!(rig.door.metrics().contains(counted));

    // As long as the secret is wrong it stays, whoever asks.
    assert_eq!(rig.release().await.unwrap(), came_to(0, 0, 1));
    let by_id = QuarantineSelection::Ids(vec![id]);
    let released = rig.door.ingest.release(by_id.clone(), None, false).await;
    assert_eq!(released.unwrap(), came_to(0, 0, 1));
    assert!(stored(&rig.journal).await.is_empty());
    assert_eq!((rig.left().await, rig.held()), (1, 1));

    rig.mend();
    let looked = rig.door.ingest.release(by_id, None, true).await.unwrap();
    assert_eq!(looked, came_to(1, 0, 0));
    assert!(stored(&rig.journal).await.is_empty(), "it was only a look");
    let released = rig.door.ingest.release(of("s"), None, false).await.unwrap();
    let events = stored(&rig.journal).await;
    let [one] = &*events else {
        panic!("{events:?}")
    };
    let (event, events) = (one.id, 1);
    assert_eq!(released.events, [ReleasedAs { id, event, events }]);
    assert_eq!(sums(released), came_to(1, 0, 0));
    let event = &one.event;
    assert_eq!(
        (&event.body[..], &*event.path),
        (&br#"{"n":1}"#[..], "/in/s?a=%20b")
    );
    assert_eq!(event.event_type.as_deref(), Some("push"));
    assert_eq!(event.received_at, kept.event.received_at);
    // Each id leads to the other.
    let link = event.header("forebay-quarantine-id");
    assert_eq!(link, Some(id.to_string().as_bytes()));
    let all = event.headers.iter();
    let came: domain::Headers = all
        .filter(|header| header.name != "forebay-quarantine-id")
        .map(|header| (header.name, header.value))
        .collect();
    assert_eq!(came, kept.event.headers);
    assert_eq!((rig.left().await, rig.held()), (0, 0));
    assert_eq!(rig.release().await.unwrap(), came_to(0, 0, 0));
    // Its sender's repeat is known, and what it signs is taken at once.
    let repeated = rig.post(&delivery, r#"{"n":1}"#).await;
    assert_eq!(repeated.json()["status"], "duplicate");
    assert_eq!(repeated.json()["id"], one.id.to_string());
    assert!(rig.door.close().await);
}

#[tokio::test]
async fn a_credential_is_kept_in_quarantine_and_taken_off_when_it_is_released() {
    let rig = Rig::new("bearer", r#", "split": "/items""#).await;
    let id = rig.quarantined(r#"{"items":[1,2]}"#).await;
    let kept = rig.state.get(id).await.unwrap().unwrap();
    let credential = format!("Bearer {RIGHT}");
    assert_eq!(
        kept.event.header("authorization"),
        Some(credential.as_bytes())
    );
    rig.mend();
    assert_eq!(rig.release().await.unwrap(), came_to(1, 0, 0));
    let events = stored(&rig.journal).await;
    let bodies: Vec<_> = events.iter().map(|stored| &stored.event.body[..]).collect();
    assert_eq!(bodies, [b"1", b"2"]);
    assert!(
        events
            .iter()
            .all(|stored| stored.event.header("authorization").is_none())
    );
}

#[tokio::test]
async fn what_is_verified_and_cannot_be_taken_is_not_said_to_be_unverified() {
    let rig = Rig::new("github", r#", "split": "/items""#).await;
    let bad = rig.quarantined(r#"{"items":[1,null]}"#).await;
    let none = rig.quarantined("{}").await;
    let good = rig.quarantined(r#"{"items":[1,2]}"#).await;
    rig.mend();
    let stranger = EventId::from_bytes([9; 16]);
    let ids = QuarantineSelection::Ids(vec![bad, none, good, stranger]);
    for dry_run in [true, false] {
        let released = rig.door.ingest.release(ids.clone(), None, dry_run).await;
        let released = released.unwrap();
        let stay = released.not_taken.iter();
        let stay: Vec<_> = stay.map(|one| (one.id, &*one.code)).collect();
        assert_eq!(stay, [(bad, "bad-item"), (none, "not-a-batch")]);
        assert_eq!((released.verified, released.still_invalid), (1, 0));
        assert_eq!(released.unknown, 1);
    }
    let reason = async |id| rig.state.get(id).await.unwrap().unwrap().reason;
    assert!(reason(bad).await.starts_with("verified, but bad-item: "));
    let none = reason(none).await;
    assert!(none.starts_with("verified, but not-a-batch: "), "{none}");
    assert_eq!(rig.left().await, 2);
}

#[tokio::test]
async fn a_full_quarantine_refuses_as_if_there_were_none_until_there_is_room() {
    let rig = Rig::new("github", r#", "quarantine_max": 2"#).await;
    let first = rig.quarantined("1").await;
    rig.quarantined("2").await;
    for _ in 0..2 {
        let refused = rig.post(&[], "3").await;
        assert_eq!((refused.status, &*refused.code()), (401, "not-verified"));
    }
    let counted = r#"forebay_quarantine_full_total{source="s"} 2"#;
    assert!(
        rig.door.metrics().contains(counted),
        "{}",
        rig.door.metrics()
    );
    assert_eq!(rig.left().await, 2);
    let ids = QuarantineSelection::Ids(vec![first]);
    assert_eq!(rig.door.ingest.purge(ids.clone(), true).await.unwrap(), 1);
    assert_eq!(rig.door.ingest.purge(ids.clone(), false).await.unwrap(), 1);
    assert_eq!(rig.door.ingest.purge(ids, false).await.unwrap(), 0);
    rig.quarantined("4").await;
    // What was there before a restart counts.
    let configured = configured(rig.directory.path(), "github", r#", "quarantine_max": 2"#);
    let kept = Arc::clone(&rig.state) as _;
    let again =
        Door::open_keeping(&configured, rig.journal.clone(), Arc::new(Unlimited), kept).await;
    assert_eq!(again.post("/in/s", &[], b"5").await.status, 401);
    assert_eq!(again.ingest.purge(of("s"), true).await.unwrap(), 2);
    assert_eq!(again.ingest.purge(of("s"), false).await.unwrap(), 2);
    assert_eq!(again.post("/in/s", &[], b"5").await.status, 200);
    assert!(stored(&rig.journal).await.is_empty());
}

#[tokio::test]
async fn a_quarantine_is_bounded_in_bytes_as_well() {
    let rig = Rig::new("github", r#", "quarantine_max_bytes": "1MiB""#).await;
    rig.quarantined(&"x".repeat(600 << 10)).await;
    let refused = rig.post(&[], &"x".repeat(600 << 10)).await;
    assert_eq!(refused.status, 401);
    rig.quarantined("small").await;
}

#[tokio::test]
async fn while_state_is_full_a_request_is_told_503_and_takes_no_place() {
    let more = r#", "quarantine_max": 1"#;
    let rig = Rig::with("github", more, 0, Arc::new(Unlimited), |state| state).await;
    for _ in 0..3 {
        let refused = rig.post(&[], "1").await;
        assert_eq!((refused.status, &*refused.code()), (503, "no-room"));
        assert!(refused.head.contains("retry-after: 5\r\n"));
    }
    assert_eq!((rig.left().await, rig.held()), (0, 0));
}

/// A state that dies before it takes out what was released, once.
#[derive(Debug)]
struct DiesOnce(Arc<SqliteState>, AtomicBool);

#[async_trait]
impl Quarantine for DiesOnce {
    async fn put(&self, request: Quarantined) -> Result<(), StateError> {
        self.0.put(request).await
    }

    async fn page(&self, query: &QuarantineQuery) -> Result<Vec<QuarantineEntry>, StateError> {
        self.0.page(query).await
    }

    async fn get(&self, id: EventId) -> Result<Option<Quarantined>, StateError> {
        self.0.get(id).await
    }

    async fn remove(&self, ids: &[EventId]) -> Result<Vec<QuarantineCount>, StateError> {
        match self.1.swap(true, Ordering::SeqCst) {
            true => self.0.remove(ids).await,
            false => Err(StateError::Failed("as the test asked".into())),
        }
    }

    async fn set_reasons(&self, reasons: Vec<(EventId, String)>) -> Result<(), StateError> {
        self.0.set_reasons(reasons).await
    }

    async fn counts(&self) -> Result<Vec<QuarantineCount>, StateError> {
        self.0.counts().await
    }
}

#[tokio::test]
async fn a_release_that_died_between_the_journal_and_state_makes_no_second_event() {
    // Nothing of such a request would make a repeat of it a repeat.
    let between = |state| Arc::new(DiesOnce(state, AtomicBool::new(false))) as _;
    let limit = 64 << 20;
    let rig = Rig::with("bearer", "", limit, Arc::new(Unlimited), between).await;
    rig.quarantined("same").await;
    rig.quarantined("same").await;
    rig.mend();
    let died = rig.release().await.unwrap_err();
    assert!(matches!(died, ReleaseError::State(_)), "{died}");
    assert_eq!(stored(&rig.journal).await.len(), 2, "they are two requests");
    assert_eq!(rig.left().await, 2);
    assert_eq!(rig.release().await.unwrap(), came_to(2, 2, 0));
    assert_eq!(stored(&rig.journal).await.len(), 2);
    assert_eq!(rig.left().await, 0);
}

#[tokio::test]
async fn a_signatures_time_is_held_against_when_the_request_came() {
    let rig = Rig::new("slack", "").await;
    let hours_ago = |hours: i64| Timestamp::from_second(now().as_second() - 3600 * hours).unwrap();
    let (came, much_before) = (hours_ago(1), hours_ago(2));
    for (number, signed_at) in [(1, came), (2, much_before)] {
        let headers = signed("slack", "{}", signed_at);
        let event = Event {
            source: SourceName::new("s").unwrap(),
            received_at: came,
            method: "POST".into(),
            path: "/in/s".into(),
            headers: headers.iter().map(|(name, value)| (name, value)).collect(),
            body: bytes::Bytes::from_static(b"{}"),
            event_type: None,
            remote: None,
            dedup: None,
            only: None,
        };
        let request = Quarantined {
            id: EventId::from_bytes([number; 16]),
            reason: "signature wrong".into(),
            event,
        };
        rig.state.put(request).await.unwrap();
    }
    rig.mend();
    assert_eq!(rig.release().await.unwrap(), came_to(1, 0, 1));
    assert_eq!(stored(&rig.journal).await.len(), 1);
}

#[tokio::test]
async fn a_challenge_that_is_refused_is_not_quarantined() {
    let rig = Rig::new("slack", "").await;
    let forged = rig
        .post(&[], r#"{"type":"url_verification","challenge":"c"}"#)
        .await;
    assert_eq!((forged.status, &*forged.code()), (401, "not-verified"));
    assert_eq!(rig.left().await, 0);
}

struct Full(AtomicBool);

impl Backlogs for Full {
    fn admits(&self, _: &SourceName) -> Result<(), RouteFull> {
        match self.0.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(RouteFull(domain::RouteName::new("r").unwrap())),
        }
    }

    fn taken(&self, _: &SourceName) -> bool {
        true
    }

    fn accepted(&self, _: &SourceName) {}
}

#[tokio::test]
async fn what_cannot_be_taken_just_now_stays_in_quarantine() {
    let full = Arc::new(Full(AtomicBool::new(false)));
    let backlogs = Arc::clone(&full) as _;
    let rig = Rig::with("github", "", 64 << 20, backlogs, |state| state).await;
    rig.quarantined("1").await;
    rig.mend();
    full.0.store(true, Ordering::SeqCst);
    let refused = rig.release().await.unwrap_err();
    let is_route_full = matches!(
        &refused,
        ReleaseError::Refused {
            code: "route-full",
            ..
        }
    );
    assert!(is_route_full, "{refused}");
    assert_eq!((rig.left().await, stored(&rig.journal).await.len()), (1, 0));
    full.0.store(false, Ordering::SeqCst);
    assert_eq!(rig.release().await.unwrap(), came_to(1, 0, 0));
    let unknown = rig.door.ingest.release(of("t"), None, false).await;
    assert!(matches!(unknown, Err(ReleaseError::UnknownSource(_))));
}

#[test]
fn a_source_that_can_verify_nothing_later_cannot_quarantine() {
    let mtls = r#", "verify": {"scheme": "mtls", "subjects": ["sender"]}"#;
    for verify in ["", r#", "verify": {"scheme": "none"}"#, mtls] {
        let text = format!(r#"{{"s": {{"type": "http", "on_invalid": "quarantine"{verify}}}}}"#);
        let (_, options) = sources(&text).into_iter().next().unwrap();
        assert_eq!(options.validate().unwrap_err().0, "on_invalid");
    }
}
