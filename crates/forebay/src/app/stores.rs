//! Opening journal and state: the lock, the order, and what is refused because the two do not belong
//! together.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use domain::ports::{Journal, RouteRecord, State, SubscriptionRecords};
use domain::{Clock, Seq};
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

/// What state knew of the journal beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Neither holds anything yet.
    None,
    /// They are bound to each other.
    Known,
    /// The journal holds events that this state knows nothing of, and an operator accepted that.
    Lost,
}

/// The open stores of this process.
#[derive(Debug, Clone)]
pub struct Stores {
    /// State.
    pub state: Arc<SqliteState>,
    /// The journal.
    pub journal: Arc<EmbeddedJournal>,
    /// What state knew of this journal when it was opened.
    pub past: Past,
    metrics: journal::Metrics,
}

impl Stores {
    /// Takes the lock, opens state, then the journal with what state knows of it. They are not bound to
    /// each other yet: [`Stores::bind`] does that once every route is registered, so that a start that
    /// died in between is begun anew.
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
        let options = config.state;
        let state_metrics = state::Metrics::register(registry);
        let metrics = journal::Metrics::register(registry);
        let (lock, state) = tokio::task::spawn_blocking(move || {
            open_state(&data_dir, flags, options, state_metrics)
        })
        .await??;
        let bound = state.installation().await?.is_some();
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
        let past = match (bound, journal.end() > Seq::ZERO) {
            (true, _) => Past::Known,
            (false, false) => Past::None,
            (false, true) if flags.accept_loss => Past::Lost,
            (false, true) => return Err(state_missing(&state_path(&config.server.data_dir))),
        };
        Ok(Self {
            state: Arc::new(state),
            journal: Arc::new(journal),
            past,
            metrics,
        })
    }

    /// Binds state to the journal's installation.
    ///
    /// # Errors
    /// When state belongs to another, or cannot be written.
    pub async fn bind(&self) -> Outcome {
        let bound = self.state.bind_installation(self.journal.installation());
        Ok(bound.await?)
    }

    /// Closes both in order, for commands that opened them without a server.
    ///
    /// # Errors
    /// When the journal's last sync failed.
    pub async fn close(&self) -> Outcome {
        self.journal
            .close(std::time::Duration::from_secs(20))
            .await?;
        // Not needed for safety: the next start folds what is left.
        let folded = self.state.checkpoint(std::time::Duration::from_secs(5));
        if let Err(error) = folded.await {
            tracing::warn!(%error, "state could not be folded together; the next start does it");
        }
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

/// Waits until no process holds the data directory. Another may still be quicker to take it.
pub async fn wait_until_free(data_dir: &Path) {
    if DirectoryLock::is_held(data_dir) {
        tracing::info!(data_dir = %data_dir.display(), "waiting for another process to let go of the data directory");
    }
    while DirectoryLock::is_held(data_dir) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// `data_dir/state.db`.
pub fn state_path(data_dir: &Path) -> PathBuf {
    data_dir.join("state.db")
}

/// The path of a state that is there: what a command that makes none works on.
///
/// # Errors
/// Exit code 2 if it is not.
pub fn must_exist(data_dir: &Path) -> Outcome<PathBuf> {
    let path = state_path(data_dir);
    if path.exists() {
        return Ok(path);
    }
    let error = format!(
        "there is no {}: name the data directory with --data-dir",
        path.display()
    );
    Err(Failure::say(Exit::Usage, error))
}

/// State alone, with the data directory's lock, for commands that need no journal.
///
/// # Errors
/// Exit code 1 if a server runs on it, 2 if there is no state.
pub fn open_state_alone(data_dir: &Path) -> Outcome<(DirectoryLock, SqliteState)> {
    let path = must_exist(data_dir)?;
    let lock = DirectoryLock::acquire(data_dir, false).map_err(journal_failure)?;
    let metrics = state::Metrics::register(&mut Registry::default());
    Ok((
        lock,
        SqliteState::open(&path, state::Options::default(), metrics).map_err(state_failure)?,
    ))
}

fn open_state(
    data_dir: &Path,
    flags: OpenFlags,
    options: state::Options,
    metrics: state::Metrics,
) -> Outcome<(DirectoryLock, SqliteState)> {
    let journal_dir = data_dir.join("journal");
    make_durable(&journal_dir)
        .with_context(|| format!("cannot make the data directory {}", journal_dir.display()))?;
    let lock = DirectoryLock::acquire(data_dir, flags.wait_for_lock).map_err(journal_failure)?;
    let path = state_path(data_dir);
    if !path.exists() && !flags.accept_loss && has_segments(&journal_dir)? {
        // Said before a new file stands in the way of a restored one.
        return Err(state_missing(&path));
    }
    let state = SqliteState::open(&path, options, metrics).map_err(state_failure)?;
    // The name of a new file must be durable before the journal counts on it.
    std::fs::File::open(data_dir)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("cannot sync {}", data_dir.display()))?;
    Ok((lock, state))
}

fn state_missing(path: &Path) -> Failure {
    let error = format!(
        "{} is missing or empty beside a journal that holds events: restore it from a backup, or start once with --accept-loss, which delivers again every event the journal still holds (destinations that know ids take each once) and gives up parked events and dead letters",
        path.display()
    );
    Failure::say(Exit::Usage, error)
}

fn has_segments(journal_dir: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(journal_dir)? {
        if entry?.file_name().to_string_lossy().ends_with(".journal") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes a directory with all above it that are missing, for the owner alone, each one's name durable in
/// the one above it.
fn make_durable(directory: &Path) -> std::io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_durable(parent)?;
    std::fs::DirBuilder::new().mode(0o700).create(directory)?;
    std::fs::File::open(parent)?.sync_all()
}

async fn known(state: &SqliteState, flags: OpenFlags) -> Outcome<Known> {
    let routes = state.routes().await?;
    let subscriptions = state.subscriptions().await?;
    let ending = subscriptions.iter();
    let ending = ending.filter_map(|one| Some((&one.route, one.until?)));
    let ending: BTreeMap<_, _> = ending.collect();
    let until = |route: &RouteRecord| ending.get(&route.name).copied().unwrap_or(Seq(u64::MAX));
    // One that came to its last event was released to its end, and what follows may be gone.
    let holding = routes.iter().filter(|route| route.cursor < until(route));
    let holds: BTreeMap<_, _> = holding
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
            "the journal is damaged: these events are lost and counted as damaged; what is there of their file is kept as .damaged, run `forebay journal verify`"
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
        E::Io { .. } | E::Locked { .. } | E::Unreadable { .. } => Exit::Failed,
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
