//! [`SqliteState`]: the state port on one SQLite file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{
    BatchLimit, DueOrder, Fate, KnownSource, Parked, RetireFate, RouteRecord, Settlement, State,
    StateError,
};
use domain::{
    EventId, InstallationId, OrderKey, RouteName, Seq, SourceName, StoredEvent, Timestamp,
};
use rusqlite::{OptionalExtension, params};
use tokio::sync::watch;

use crate::connection::{ConnectionThread, LOCK_PATIENCE, open_reader, open_writer};
use crate::error::OpenError;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::room::Room;
use crate::{events, routes, schema, settle, sources};

/// State in a SQLite file beside the journal.
///
/// One connection writes, another reads, a third looks into dead letters, each on its own thread: no page and
/// no count among millions delays a settlement, nor what is due. After a failed write everything is refused ([`SqliteState::failure`]).
#[derive(Debug)]
pub struct SqliteState {
    path: PathBuf,
    pub(crate) writer: ConnectionThread,
    reader: ConnectionThread,
    /// Reads dead letters, which may take a while.
    pub(crate) looker: ConnectionThread,
    failure: watch::Sender<Option<String>>,
    metrics: Metrics,
    pub(crate) room: Arc<Room>,
}

impl SqliteState {
    /// Opens the file, making or migrating it. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, options: Options, metrics: Metrics) -> Result<Self, OpenError> {
        let mut writer = open_writer(path)?;
        schema::migrate(&mut writer, path)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let room = Arc::new(Room::new(options, directory.to_owned()));
        room.look(&writer);
        let (reader, looker) = (open_reader(path)?, open_reader(path)?);
        let failure = watch::Sender::new(None);
        let start = |name, connection, writes| {
            ConnectionThread::start(name, connection, failure.clone(), writes)
                .map_err(|error| OpenError::io(path, error))
        };
        let (writer, reader, looker) = (
            start("state-writer", writer, true)?,
            start("state-reader", reader, false)?,
            start("state-looker", looker, false)?,
        );
        Ok(Self {
            path: path.to_owned(),
            writer,
            reader,
            looker,
            failure,
            metrics,
            room,
        })
    }

    /// Shows why state accepts nothing more, once a write has failed. The process must then end.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }

    /// Folds the write-ahead log back into the file, within `deadline`. Not needed for safety; it makes
    /// the next start and a plain copy of the file simpler.
    ///
    /// # Errors
    /// [`StateError::Busy`] when another program, or a call before this one, kept it from that until the
    /// deadline; else what SQLite reports.
    pub async fn checkpoint(&self, deadline: Duration) -> Result<(), StateError> {
        let late = || StateError::Busy("its log could not be folded back in time".into());
        let folding = self.writer.call(move |connection| {
            connection.busy_timeout(deadline.min(LOCK_PATIENCE))?;
            let folded = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                row.get::<_, bool>(0)
            });
            connection.busy_timeout(LOCK_PATIENCE)?;
            Ok(folded?)
        });
        let held = tokio::time::timeout(deadline, folding).await;
        match held.map_err(|_| late())?? {
            true => Err(late()),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl State for SqliteState {
    async fn installation(&self) -> Result<Option<InstallationId>, StateError> {
        let text: Option<String> = self
            .reader
            .call(|connection| {
                let mut statement = connection
                    .prepare_cached("SELECT value FROM meta WHERE key = 'installation'")?;
                Ok(statement.query_row([], |row| row.get(0)).optional()?)
            })
            .await?;
        let unreadable =
            |_| StateError::Failed("the installation id in state is unreadable".into());
        text.map(|text| text.parse().map_err(unreadable))
            .transpose()
    }

    async fn bind_installation(&self, id: InstallationId) -> Result<(), StateError> {
        self.writer
            .call(move |connection| {
                connection.execute(
                    "INSERT INTO meta (key, value) VALUES ('installation', ?1) ON CONFLICT (key) DO NOTHING",
                    params![id.to_string()],
                )?;
                Ok(())
            })
            .await?;
        match self.installation().await? {
            Some(bound) if bound == id => Ok(()),
            Some(bound) => Err(StateError::Conflict(format!(
                "state belongs to installation {bound}, not to {id}"
            ))),
            None => Err(StateError::Failed(
                "the installation id was not kept".into(),
            )),
        }
    }

    async fn sources(&self) -> Result<Vec<KnownSource>, StateError> {
        self.reader
            .call(|connection| sources::list(connection))
            .await
    }

    async fn remember_sources(&self, known: Vec<KnownSource>) -> Result<(), StateError> {
        self.writer
            .call(move |connection| sources::remember(connection, &known))
            .await
    }

    async fn forget_source(&self, name: &SourceName) -> Result<bool, StateError> {
        let name = name.clone();
        self.writer
            .call(move |connection| sources::forget(connection, &name))
            .await
    }

    async fn routes(&self) -> Result<Vec<RouteRecord>, StateError> {
        self.reader
            .call(|connection| {
                // One snapshot, so that counts and ranges belong together.
                let snapshot = connection.transaction()?;
                routes::list(&snapshot)
            })
            .await
    }

    async fn register_route(
        &self,
        name: &RouteName,
        start: Seq,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let name = name.clone();
        self.writer
            .call(move |connection| routes::register(connection, &name, start, now))
            .await
    }

    async fn set_route_filter(
        &self,
        name: &RouteName,
        filter: Option<String>,
    ) -> Result<(), StateError> {
        let name = name.clone();
        self.writer
            .call(move |connection| routes::set_filter(connection, &name, filter.as_deref()))
            .await
    }

    async fn set_route_sources(
        &self,
        name: &RouteName,
        sources: Vec<SourceName>,
    ) -> Result<(), StateError> {
        let name = name.clone();
        self.writer
            .call(move |connection| routes::set_sources(connection, &name, &sources))
            .await
    }

    async fn route_sources(&self, name: &RouteName) -> Result<Vec<SourceName>, StateError> {
        let name = name.clone();
        self.reader
            .call(move |connection| routes::sources(connection, &name))
            .await
    }

    async fn rename_route(&self, from: &RouteName, to: &RouteName) -> Result<(), StateError> {
        let (from, to) = (from.clone(), to.clone());
        self.writer
            .call(move |connection| routes::rename(connection, &from, &to))
            .await
    }

    async fn retire_route(
        &self,
        name: &RouteName,
        fate: RetireFate,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let name = name.clone();
        self.writer
            .call(move |connection| routes::retire(connection, &name, fate, now))
            .await
    }

    async fn set_paused(&self, name: &RouteName, paused: bool) -> Result<(), StateError> {
        let name = name.clone();
        self.writer
            .call(move |connection| routes::set_paused(connection, &name, paused))
            .await
    }

    async fn settle(&self, steps: Vec<Settlement>) -> Result<(), StateError> {
        let room = Arc::clone(&self.room);
        self.writer
            .call(move |connection| {
                settle::settle(connection, &steps)?;
                room.look(connection);
                Ok(())
            })
            .await
    }

    async fn due(
        &self,
        route: &RouteName,
        now: Timestamp,
        busy: &[Seq],
        limit: BatchLimit,
        order: DueOrder,
    ) -> Result<Vec<Parked>, StateError> {
        let (route, busy) = (route.clone(), busy.to_vec());
        self.reader
            .call(move |connection| events::due(connection, &route, now, &busy, limit, order))
            .await
    }

    async fn next_due(
        &self,
        route: &RouteName,
        now: Timestamp,
        busy: &[Seq],
    ) -> Result<Option<Timestamp>, StateError> {
        let (route, busy) = (route.clone(), busy.to_vec());
        self.reader
            .call(move |connection| events::next_due(connection, &route, now, &busy))
            .await
    }

    async fn parked_keys(&self, route: &RouteName) -> Result<Vec<(OrderKey, Seq)>, StateError> {
        let route = route.clone();
        self.reader
            .call(move |connection| events::parked_keys(connection, &route))
            .await
    }

    async fn parked_page(
        &self,
        route: &RouteName,
        after: Seq,
        limit: BatchLimit,
    ) -> Result<Vec<(StoredEvent, Option<OrderKey>)>, StateError> {
        let route = route.clone();
        self.reader
            .call(move |connection| events::parked_page(connection, &route, after, limit))
            .await
    }

    async fn set_order_keys(
        &self,
        route: &RouteName,
        keys: Vec<(Seq, Option<OrderKey>)>,
    ) -> Result<(), StateError> {
        let route = route.clone();
        self.writer
            .call(move |connection| events::set_order_keys(connection, &route, &keys))
            .await
    }

    async fn fate(&self, route: &RouteName, seq: Seq) -> Result<Fate, StateError> {
        let route = route.clone();
        self.reader
            .call(move |connection| {
                // One snapshot: the event may be on its way from one table to another.
                let snapshot = connection.transaction()?;
                events::fate(&snapshot, &route, seq)
            })
            .await
    }

    async fn find(&self, id: EventId) -> Result<Option<StoredEvent>, StateError> {
        self.reader
            .call(move |connection| {
                let snapshot = connection.transaction()?;
                events::find(&snapshot, id)
            })
            .await
    }

    async fn expire_delivered(&self, before: Timestamp) -> Result<(), StateError> {
        self.writer
            .call(move |connection| {
                connection.execute(
                    "DELETE FROM delivered_ranges WHERE last_at < ?1",
                    [before.as_microsecond()],
                )?;
                Ok(())
            })
            .await
    }

    async fn imbalance(&self, route: &RouteName) -> Result<i64, StateError> {
        let route = route.clone();
        self.looker
            .call(move |connection| routes::imbalance(connection, &route))
            .await
    }

    async fn bytes(&self) -> Result<u64, StateError> {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let bytes = size(&self.path) + size(Path::new(&wal));
        self.metrics
            .bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(bytes)
    }

    fn room(&self) -> Result<(), String> {
        self.room.check()
    }
}
