//! The real journal and the real state in a directory of the test's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Journal, State};
use domain::{ByteSize, Event, RouteName, Seq, SourceName, SystemClock, Timestamp};
use journal::{DirectoryLock, EmbeddedJournal, Known};
use prometheus_client::registry::Registry;
use state::SqliteState;

pub(crate) struct World {
    pub(crate) journal: Arc<EmbeddedJournal>,
    pub(crate) state: Arc<SqliteState>,
}

pub(crate) fn at() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

pub(crate) fn name(route: &str) -> RouteName {
    RouteName::new(route).unwrap()
}

pub(crate) fn event(source: &str, n: u64) -> Event {
    Event {
        source: SourceName::new(source).unwrap(),
        received_at: at(),
        method: "POST".into(),
        path: "/".into(),
        headers: domain::Headers::default(),
        body: format!("{n:0100}").into_bytes().into(),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    }
}

impl World {
    pub(crate) fn open(directory: &Path) -> Self {
        let options = journal::Options {
            segment_bytes: ByteSize::mib(1),
            max_bytes: ByteSize::mib(64),
            min_free: ByteSize(0),
            ..journal::Options::default()
        };
        let files = directory.join("journal");
        std::fs::create_dir_all(&files).unwrap();
        let mut registry = Registry::default();
        let journal = EmbeddedJournal::open(
            &files,
            DirectoryLock::acquire(&files, true).unwrap(),
            options.validate().unwrap(),
            &Known::default(),
            Arc::new(SystemClock),
            journal::Metrics::register(&mut registry),
        )
        .unwrap();
        let state = SqliteState::open(
            &directory.join("state.db"),
            state::Options::default(),
            state::Metrics::register(&mut registry),
        )
        .unwrap();
        Self {
            journal: Arc::new(journal),
            state: Arc::new(state),
        }
    }

    pub(crate) async fn register(&self, route: &str) {
        let route = name(route);
        let registered = self.state.register_route(&route, Seq::ZERO, at());
        registered.await.unwrap();
    }

    pub(crate) async fn append(&self, source: &str, count: u64) {
        let events = (0..count).map(|n| event(source, n)).collect();
        self.journal.append(events).await.unwrap();
    }

    pub(crate) async fn close(self) {
        self.journal.close(Duration::from_secs(60)).await.unwrap();
    }
}
