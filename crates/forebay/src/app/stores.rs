//! Opening journal and state: the lock, the order, and what is refused because the two do not belong
//! together.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use domain::ports::{RouteRecord, State};
use domain::{Clock, Seq};
use journal::storage::disk::DiskStorage;
use journal::{DirectoryLock, EmbeddedJournal, Known};
use prometheus_client::registry::Registry;
use state::SqliteState;

use crate::config::Config;
use crate::exit::{Exit, Failure, Outcome};

/// What an operator says at the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenFlags {
    /// Wait for another process to let go of the data directory.
    pub wait_for_lock: bool,
    /// Go on without what is missing, and count it.
    pub accept_loss: bool,
}

/// The open stores of this process.
#[derive(Debug, Clone)]
pub struct Stores {
    /// State.
    pub state: Arc<SqliteState>,
    /// The journal.
    pub journal: Arc<EmbeddedJournal>,
    /// State was made new beside a journal that is not.
    pub state_is_new: bool,
    metrics: journal::Metrics,
}

impl Stores {
    /// Takes the lock, opens state, then the journal with what state knows of it, and binds the two.
    ///
    /// # Errors
    /// Exit code 1 for what may pass (locked, disk), 2 for what needs an operator's decision.
    pub async fn open(
        config: &Config,
        flags: OpenFlags,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Outcome<Self> {
        let data_dir = config.server.data_dir.clone();
        let state_metrics = state::Metrics::register(registry);
        let metrics = journal::Metrics::register(registry);
        let (lock, state, state_is_new) =
            tokio::task::spawn_blocking(move || open_state(&data_dir, flags, state_metrics))
                .await??;
        let known = known(&state, flags).await?;
        let directory = config.server.data_dir.join("journal");
        let journal_config = config.journal.clone();
        let journal_metrics = metrics.clone();
        let opened = tokio::task::spawn_blocking(move || {
            EmbeddedJournal::open(
                &directory,
                lock,
                journal_config,
                &known,
                clock,
                journal_metrics,
            )
        });
        let journal = opened.await?.map_err(journal_failure)?;
        report(&journal);
        state.bind_installation(journal.installation()).await?;
        Ok(Self {
            state: Arc::new(state),
            journal: Arc::new(journal),
            state_is_new,
            metrics,
        })
    }

    /// Closes both in order, for commands that opened them without a server.
    ///
    /// # Errors
    /// When the journal's last sync failed.
    pub async fn close(&self) -> Outcome {
        use domain::ports::Journal;
        self.journal
            .close(std::time::Duration::from_secs(20))
            .await?;
        self.state.checkpoint().await?;
        Ok(())
    }

    /// What the journal takes of the disk, from the gauges it keeps.
    pub fn usage(&self) -> Arc<dyn Fn() -> admin::JournalUsage + Send + Sync> {
        let (journal, metrics) = (Arc::clone(&self.journal), self.metrics.clone());
        Arc::new(move || admin::JournalUsage {
            bytes: journal.bytes(),
            damaged_events: u64::try_from(metrics.damaged_events.get()).unwrap_or_default(),
            disk_free_bytes: u64::try_from(metrics.disk_free.get())
                .ok()
                .filter(|free| *free > 0),
        })
    }
}

/// `data_dir/state.db`.
pub fn state_path(data_dir: &Path) -> PathBuf {
    data_dir.join("state.db")
}

/// State alone, with the data directory's lock, for commands that need no journal.
///
/// # Errors
/// Exit code 1 if a server runs on it, 2 if there is no state.
pub fn open_state_alone(data_dir: &Path) -> Outcome<(DirectoryLock, SqliteState)> {
    let path = state_path(data_dir);
    if !path.exists() {
        let error = format!(
            "there is no {}: name the data directory with --data-dir",
            path.display()
        );
        return Err(Failure::say(Exit::Usage, error));
    }
    let lock = DirectoryLock::acquire(data_dir, false).map_err(journal_failure)?;
    let metrics = state::Metrics::register(&mut Registry::default());
    Ok((
        lock,
        SqliteState::open(&path, metrics).map_err(state_failure)?,
    ))
}

fn open_state(
    data_dir: &Path,
    flags: OpenFlags,
    metrics: state::Metrics,
) -> Outcome<(DirectoryLock, SqliteState, bool)> {
    let journal_dir = data_dir.join("journal");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&journal_dir)
        .with_context(|| format!("cannot make the data directory {}", journal_dir.display()))?;
    if flags.wait_for_lock && DirectoryLock::is_held(data_dir) {
        tracing::info!(data_dir = %data_dir.display(), "waiting for another process to let go of the data directory");
    }
    let lock = DirectoryLock::acquire(data_dir, flags.wait_for_lock).map_err(journal_failure)?;
    let storage = DiskStorage::open(&journal_dir).context("cannot open the journal's directory")?;
    let installation = journal::installation::read(&storage).map_err(journal_failure)?;
    let path = state_path(data_dir);
    let is_new = !path.exists();
    if is_new && installation.is_some() && !flags.accept_loss {
        return Err(Failure::say(
            Exit::Usage,
            format!(
                "{} is missing beside a journal that is not new: restore it from a backup, or start once with --accept-loss, which delivers again every event the journal still holds (destinations that know ids take each once) and gives up parked events and dead letters",
                path.display()
            ),
        ));
    }
    let state = SqliteState::open(&path, metrics).map_err(state_failure)?;
    Ok((lock, state, is_new && installation.is_some()))
}

async fn known(state: &SqliteState, flags: OpenFlags) -> Outcome<Known> {
    let routes = state.routes().await?;
    let holds: BTreeMap<_, _> = routes
        .iter()
        .map(|route| (route.name.clone(), route.cursor))
        .collect();
    Ok(Known {
        installation: state.installation().await?,
        holds,
        highest: routes.iter().map(highest).max().unwrap_or(Seq::ZERO),
        accept_loss: flags.accept_loss,
    })
}

/// The highest number that state has seen on a route.
fn highest(route: &RouteRecord) -> Seq {
    route
        .ranges
        .iter()
        .map(|settled| settled.range.last)
        .fold(route.cursor, Seq::max)
}

fn report(journal: &EmbeddedJournal) {
    let recovered = journal.recovered();
    if recovered.torn_bytes > 0 {
        tracing::info!(
            bytes = recovered.torn_bytes,
            "cut a torn tail off the journal: the last write before the crash, which nobody was told of"
        );
    }
    for lost in &recovered.damaged {
        tracing::error!(
            first = lost.first.0,
            last = lost.last.0,
            "the journal is damaged: these events are lost and counted as damaged; the file is kept as .damaged, run `forebay journal verify`"
        );
    }
    if let Some(above) = recovered.numbered_above {
        tracing::warn!(
            end = above.0,
            "state knows events past the journal's end: numbering goes on above them"
        );
    }
}

fn journal_failure(error: journal::OpenError) -> Failure {
    use journal::OpenError as E;
    let exit = match error {
        E::Io { .. } | E::Locked | E::Unreadable { .. } => Exit::Failed,
        E::Format { .. }
        | E::Scan { .. }
        | E::MissingSegment { .. }
        | E::Stranger { .. }
        | E::NoInstallation
        | E::JournalGone { .. } => Exit::Usage,
    };
    Failure::new(exit, error)
}

fn state_failure(error: state::OpenError) -> Failure {
    let exit = match error {
        state::OpenError::Sqlite { .. } => Exit::Failed,
        _ => Exit::Usage,
    };
    Failure::new(exit, error)
}
