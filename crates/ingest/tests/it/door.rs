//! A listener on a free port over a journal, and a raw client that sends exactly the bytes it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Archive, Backlogs, EventQuery, Journal, Readiness, Unlimited};
use domain::{Clock, SourceName, StoredEvent, SystemClock};
use ingest::{
    Front, Ingest, Limits, Listener, ListenerOptions, Metrics, Ports, QueueSource, Settings,
    SourceOptions, Window,
};
use journal::{DirectoryLock, EmbeddedJournal, Known};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct AlwaysReady;

impl Readiness for AlwaysReady {
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The sources of these tests, as a configuration would have them.
pub(crate) fn sources(text: &str) -> BTreeMap<SourceName, SourceOptions> {
    serde_json::from_str(text).unwrap()
}

pub(crate) struct Door {
    pub address: SocketAddr,
    pub ingest: Arc<Ingest>,
    pub registry: prometheus_client::registry::Registry,
    listener: Listener,
}

impl Door {
    pub(crate) async fn open(
        sources: &BTreeMap<SourceName, SourceOptions>,
        journal: Arc<dyn Journal>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::open_before(sources, journal, Arc::new(Unlimited), change).await
    }

    /// With routes behind it that may refuse.
    pub(crate) async fn open_before(
        sources: &BTreeMap<SourceName, SourceOptions>,
        journal: Arc<dyn Journal>,
        backlogs: Arc<dyn Backlogs>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::open_beside(sources, &BTreeMap::new(), journal, backlogs, change).await
    }

    /// With queues beside it.
    pub(crate) async fn open_beside(
        sources: &BTreeMap<SourceName, SourceOptions>,
        queues: &BTreeMap<SourceName, QueueSource>,
        journal: Arc<dyn Journal>,
        backlogs: Arc<dyn Backlogs>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let ports = Ports {
            journal,
            backlogs,
            readiness: Arc::new(AlwaysReady),
            clock: Arc::new(SystemClock),
            fetch: Arc::new(domain::ports::FetchNothing),
            quarantine: Arc::new(domain::ports::NoQuarantine),
        };
        Self::open_with(sources, queues, ports, Front::default(), change).await
    }

    /// With somebody who fetches.
    pub(crate) async fn open_fetching(
        sources: &BTreeMap<SourceName, SourceOptions>,
        journal: Arc<dyn Journal>,
        fetch: Arc<dyn domain::ports::Fetch>,
    ) -> Self {
        let ports = Ports {
            journal,
            backlogs: Arc::new(Unlimited),
            readiness: Arc::new(AlwaysReady),
            clock: Arc::new(SystemClock),
            fetch,
            quarantine: Arc::new(domain::ports::NoQuarantine),
        };
        Self::open_with(sources, &BTreeMap::new(), ports, Front::default(), |_| {}).await
    }

    /// With TLS or proxies in front.
    pub(crate) async fn open_behind(
        front: Front,
        sources: &BTreeMap<SourceName, SourceOptions>,
        journal: Arc<dyn Journal>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let ports = Ports {
            journal,
            backlogs: Arc::new(Unlimited),
            readiness: Arc::new(AlwaysReady),
            clock: Arc::new(SystemClock),
            fetch: Arc::new(domain::ports::FetchNothing),
            quarantine: Arc::new(domain::ports::NoQuarantine),
        };
        Self::open_with(sources, &BTreeMap::new(), ports, front, change).await
    }

    /// With a quarantine, which may hold something already.
    pub(crate) async fn open_keeping(
        sources: &BTreeMap<SourceName, SourceOptions>,
        journal: Arc<dyn Journal>,
        backlogs: Arc<dyn Backlogs>,
        quarantine: Arc<dyn domain::ports::Quarantine>,
    ) -> Self {
        let ports = Ports {
            journal,
            backlogs,
            readiness: Arc::new(AlwaysReady),
            clock: Arc::new(SystemClock),
            fetch: Arc::new(domain::ports::FetchNothing),
            quarantine,
        };
        let front = Front::default();
        let door = Self::open_with(sources, &BTreeMap::new(), ports, front, |_| {}).await;
        door.ingest.count_quarantined().await.unwrap();
        door
    }

    async fn open_with(
        sources: &BTreeMap<SourceName, SourceOptions>,
        queues: &BTreeMap<SourceName, QueueSource>,
        ports: Ports,
        front: Front,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings {
            limits: ListenerOptions::default().validate().unwrap(),
            ack_timeout: Duration::from_secs(30),
        };
        change(&mut settings);
        let limits: Limits = settings.limits.clone();
        let known = [domain::ports::KnownSource {
            name: SourceName::new("gone").unwrap(),
            paths: vec!["/in/gone".into()],
        }];
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Metrics::register(&mut registry);
        let window = Window::new(1000);
        let ingest = Ingest::new(
            sources,
            queues,
            &known,
            settings,
            window,
            ports,
            metrics.clone(),
        );
        let ingest = ingest.unwrap();
        let ingest = Arc::new(ingest);
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let listener =
            Listener::start(socket, &limits, front, &metrics, Arc::clone(&ingest)).unwrap();
        Self {
            address,
            ingest,
            registry,
            listener,
        }
    }

    /// Sends the bytes on a connection of their own and reads one answer to its end.
    pub(crate) async fn say(&self, bytes: &[u8]) -> Answered {
        let mut client = self.connect().await;
        client.write_all(bytes).await.unwrap();
        Answered::read(&mut client).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answered {
        self.say(&posting(path, headers, body)).await
    }

    /// Everything that is measured, as Prometheus reads it.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until enough refusals with this code were counted, of no source; more than that is a failure. The
    /// client may hear of one a moment before.
    pub(crate) async fn refused(&self, code: &str, expected: RangeInclusive<u64>) {
        let counted = async {
            loop {
                let counted = self.counted(code);
                if counted >= *expected.start() {
                    break counted;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(60), counted).await;
        let counted =
            counted.unwrap_or_else(|_| panic!("no {expected:?} of {code}: {}", self.metrics()));
        assert!(expected.contains(&counted), "{counted} of {code}");
    }

    fn counted(&self, code: &str) -> u64 {
        let label = format!("forebay_events_refused_total{{source=\"unknown\",code=\"{code}\"}} ");
        let metrics = self.metrics();
        let count = metrics.lines().find_map(|line| line.strip_prefix(&label));
        count.map_or(0, |count| count.parse().unwrap())
    }

    pub(crate) async fn close(self) -> bool {
        self.listener.stop(Duration::from_secs(60)).await
    }
}

/// The bytes of a POST.
pub(crate) fn posting(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    [request.as_bytes(), body].concat()
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answered {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answered {
    pub(crate) async fn read(client: &mut (impl AsyncRead + Unpin)) -> Self {
        let read = async {
            let mut bytes = Vec::new();
            let head_end = loop {
                if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                    break at + 4;
                }
                assert_ne!(
                    client.read_buf(&mut bytes).await.unwrap(),
                    0,
                    "closed without an answer"
                );
            };
            let head = String::from_utf8(bytes[..head_end].to_vec())
                .unwrap()
                .to_lowercase();
            let length: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            while bytes.len() < head_end + length {
                assert_ne!(client.read_buf(&mut bytes).await.unwrap(), 0, "cut short");
            }
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            Self {
                status,
                head,
                body: bytes[head_end..head_end + length].to_vec(),
            }
        };
        tokio::time::timeout(Duration::from_secs(60), read)
            .await
            .expect("an answer within a minute")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// The real journal, in a directory of its own.
pub(crate) fn journal(directory: &std::path::Path) -> Arc<EmbeddedJournal> {
    let options = journal::Options {
        segment_bytes: domain::ByteSize::mib(16),
        min_free: domain::ByteSize(0),
        ..journal::Options::default()
    };
    let metrics = journal::Metrics::register(&mut prometheus_client::registry::Registry::default());
    let lock = DirectoryLock::acquire(directory, true).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = options.validate().unwrap();
    Arc::new(
        EmbeddedJournal::open(directory, lock, config, &Known::default(), clock, metrics).unwrap(),
    )
}

/// Everything that is stored, oldest first.
pub(crate) async fn stored(journal: &EmbeddedJournal) -> Vec<StoredEvent> {
    let query = EventQuery {
        limit: 1000,
        ..EventQuery::default()
    };
    let mut events = journal.page(&query).await.unwrap().events;
    events.reverse();
    events
}
