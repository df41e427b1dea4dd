//! Sources that are queues: read while the process runs, each by a task of its own.
//!
//! A message is let go only after what was made of it is durable here. While the journal takes nothing it is kept, and
//! nothing more is read: the backlog waits in the queue, where there is room for it. What can never be taken stays in
//! the queue and comes again; its own policy for such messages deals with it.

mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::Inlet;
use domain::{SourceName, Unwrap};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Ingest;
use crate::returning::ReturnPorts;
use reader::Reader;

/// A source that is a queue, as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSource {
    /// Its type in the configuration.
    pub kind: &'static str,
    /// What is read, in words for people; without a secret.
    pub reads: String,
    /// The largest body that is taken, in bytes.
    pub max_body: u64,
    /// Whose envelope its events are taken out of.
    pub unwrap: Option<Unwrap>,
}

/// The tasks that read queues. Dropping it ends them at once; what they had taken comes again.
pub struct QueueReaders {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    inlets: Vec<Arc<dyn Inlet>>,
}

impl QueueReaders {
    /// Begins to read. `queues` are sources that `ingest` was built with. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(
        ingest: &Arc<Ingest>,
        ports: &ReturnPorts,
        queues: BTreeMap<SourceName, Arc<dyn Inlet>>,
    ) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let inlets = queues.values().cloned().collect();
        for (name, inlet) in queues {
            let Some(source) = ingest.source(&name) else {
                continue;
            };
            for _ in 0..inlet.readers().max(1) {
                let reader = Reader {
                    source: Arc::clone(&source),
                    inlet: Arc::clone(&inlet),
                    ingest: Arc::clone(ingest),
                    ports: ports.clone(),
                    stop: stop.clone(),
                };
                tasks.spawn(reader.run());
            }
        }
        Self {
            tasks,
            stop,
            inlets,
        }
    }

    /// Reads nothing more, and deals with what was taken; within `deadline`, else that comes again.
    pub async fn stop(mut self, deadline: Duration) {
        self.stop.cancel();
        let ended = async {
            while self.tasks.join_next().await.is_some() {}
            join_all(self.inlets.iter().map(|inlet| inlet.close())).await;
        };
        if tokio::time::timeout(deadline, ended).await.is_err() {
            tracing::warn!("what was taken from a queue and not stored in time comes again");
        }
    }
}
