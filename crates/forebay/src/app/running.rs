//! The running server: waits for the end, and stops the parts in the order that loses nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{Journal, SubscriptionRecords as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::front::Served;
use super::readiness::Gate;
use super::signals::{Asked, Signals};
use super::stores::Stores;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure, Outcome};

/// How long a server that failed goes on answering what is in flight.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Everything that runs.
pub struct Running {
    stores: Stores,
    gate: Arc<Gate>,
    ingest: Arc<ingest::Ingest>,
    front: Served,
    queues: ingest::QueueReaders,
    dispatch: dispatch::Dispatch,
    access: admin::Access,
    admin: JoinHandle<Result<(), admin::ServeError>>,
    stop_admin: CancellationToken,
    admin_address: Option<SocketAddr>,
}

impl Running {
    /// Takes over the parts and starts the admin listener.
    #[expect(clippy::too_many_arguments, reason = "every part by its name, once")]
    pub(super) fn new(
        stores: Stores,
        gate: Arc<Gate>,
        ingest: Arc<ingest::Ingest>,
        front: Served,
        queues: ingest::QueueReaders,
        dispatch: dispatch::Dispatch,
        access: admin::Access,
        ports: admin::Ports,
        socket: TcpListener,
    ) -> Self {
        let stop_admin = CancellationToken::new();
        let admin_address = socket.local_addr().ok();
        let admin = tokio::spawn(admin::AdminServer::serve(
            socket,
            access.clone(),
            ports,
            stop_admin.clone(),
        ));
        Self {
            stores,
            gate,
            ingest,
            front,
            queues,
            dispatch,
            access,
            admin,
            stop_admin,
            admin_address,
        }
    }

    /// Where ingest listens.
    pub(super) fn ingest_address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Where an authority is answered by plain HTTP, if it is.
    pub(super) fn challenges_address(&self) -> Option<SocketAddr> {
        self.front.challenges_address()
    }

    /// Where admin listens.
    pub(super) fn admin_address(&self) -> SocketAddr {
        self.admin_address.unwrap_or_else(|| self.front.address())
    }

    /// The journal.
    pub(super) fn journal(&self) -> &dyn Journal {
        &*self.stores.journal
    }

    /// How many subscriptions there are.
    pub(super) async fn subscribed(&self) -> usize {
        let records = self.stores.state.subscriptions().await;
        records.map_or(0, |records| records.len())
    }

    /// Runs until a signal or a failure ends it, then stops.
    pub(super) async fn until_stopped(self, mut signals: Signals, config: &Config) -> Outcome {
        let mut failures = Failures {
            journal: self.stores.journal.failure(),
            state: self.stores.state.failure(),
            dispatch: self.dispatch.failure(),
        };
        let failed = loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::Stop => break None,
                    Asked::Reload => self.reload(config),
                },
                failed = failures.any() => break Some(failed),
            }
        };
        if let Some(reason) = failed {
            // Nothing more can be promised. What is on disk is read by the next start.
            tracing::error!("{reason}; ending so that a restart reads what is on disk");
            self.gate.close();
            // Those who wait for the batch that failed are told 503, not cut off.
            self.front.stop(LAST_ANSWERS).await;
            return Err(Failure::say(Exit::Failed, reason));
        }
        tokio::select! {
            stopped = self.stop(config) => stopped,
            () = signals.told_to_stop() => {
                Err(Failure::say(Exit::Failed, "told to stop a second time: ended at once; nothing acknowledged is lost"))
            }
        }
    }

    fn reload(&self, config: &Config) {
        if config.has_changed() {
            tracing::warn!(
                file = config.place(),
                "the configuration's file is not what it was at the start: only secret files, certificates and the admin token's file are read again; the rest needs a restart"
            );
        }
        let has_files = |source: &ingest::SourceOptions| {
            let mut verify = source.verify.iter();
            verify.any(ingest::verify::VerifyOptions::reads_files)
        };
        match self.ingest.reload_secrets() {
            Ok(()) if config.sources.values().any(has_files) => {
                tracing::info!("secret files read again");
            }
            Ok(()) => tracing::info!("there are no secret files to read again"),
            Err(failed) => failed.iter().for_each(|line| tracing::error!("{line}")),
        }
        self.front.reload();
        let Some(path) = &config.server.admin_token_file else {
            return;
        };
        let replaced = config::token_in(path).and_then(|token| {
            let replaced = self.access.replace_token(&token);
            replaced.map_err(|error| error.to_string())
        });
        if let Err(error) = replaced {
            tracing::error!(file = %path.display(), error, "the admin token was not read again; the old one stays");
        }
    }

    /// Not ready but accepting for `shutdown_delay`; then everything within `shutdown_timeout`: what is in
    /// flight is answered, batches finish or are abandoned, progress is committed, the journal is synced
    /// and closed.
    async fn stop(self, config: &Config) -> Outcome {
        self.gate.close();
        let delay = config.server.shutdown_delay;
        if !delay.is_zero() {
            tracing::info!(?delay, "stopping: no longer ready, still accepting");
            tokio::time::sleep(delay).await;
        }
        let deadline = Instant::now() + config.server.shutdown_timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        tracing::info!("stopping: answering what is in flight");
        // Queues lose nothing by it, and stop within a moment.
        self.queues.stop(left() / 10).await;
        // A third for the senders: they have their own timeouts, and repeat what they got no answer to.
        if !self.front.stop(left() / 3).await {
            tracing::warn!("connections were still open at their deadline and are cut");
        }
        self.dispatch.stop(left().mul_f64(0.7)).await;
        let closed = self.stores.journal.close(left()).await;
        self.stop_admin.cancel();
        if tokio::time::timeout(left().min(Duration::from_secs(1)), self.admin)
            .await
            .is_err()
        {
            tracing::debug!("admin connections were cut");
        }
        if let Err(error) = self.stores.state.checkpoint(left()).await {
            tracing::warn!(%error, "state could not be folded together; the next start does it");
        }
        closed.map_err(|error| {
            Failure::say(
                Exit::Failed,
                format!("the journal could not be closed: {error}"),
            )
        })?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The parts whose failure ends the process.
struct Failures {
    journal: watch::Receiver<Option<String>>,
    state: watch::Receiver<Option<String>>,
    dispatch: watch::Receiver<Option<String>>,
}

impl Failures {
    async fn any(&mut self) -> String {
        tokio::select! {
            reason = failed(&mut self.journal) => format!("the journal failed: {reason}"),
            reason = failed(&mut self.state) => format!("state failed: {reason}"),
            reason = failed(&mut self.dispatch) => format!("dispatch failed: {reason}"),
        }
    }
}

async fn failed(watch: &mut watch::Receiver<Option<String>>) -> String {
    match watch.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        // Whoever would have said it is gone: it is being stopped.
        Err(_) => std::future::pending().await,
    }
}
