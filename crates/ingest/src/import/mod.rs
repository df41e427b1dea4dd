//! Imports: what lies in a queue outside comes back.
//!
//! A message that was a dead letter of ours goes the way that [`crate::returning`] says. Any other message, and a letter
//! that is not known here any more, is taken as a fresh event of a source. A message is let go of outside only after what
//! was made of it is durable here, so that a crash repeats and never loses; a repeat is recognised by the event's id.

mod job;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::DestinationName;
use domain::ports::{Destination, Import, ImportError, ImportRequest, ImportStatus, Imports};
use tokio_util::sync::CancellationToken;

use crate::Ingest;
use crate::returning::ReturnPorts;

/// Imports that are remembered, and those that run besides, which are no more than there are queues.
const KEPT: usize = 100;

/// Of the types that can be read the one that writes to what is no queue.
const WITH_EXCHANGES: &str = "rabbitmq";

/// The destinations of the configuration; some of them can be read.
pub type Queues = BTreeMap<DestinationName, Arc<dyn Destination>>;

/// Begins imports and remembers them.
pub struct Importer {
    ingest: Arc<Ingest>,
    ports: ReturnPorts,
    queues: Queues,
    jobs: Arc<Mutex<Vec<Job>>>,
}

/// An import and how to end it.
struct Job {
    import: Import,
    stop: CancellationToken,
}

impl Importer {
    /// Over the destinations of the configuration.
    #[must_use]
    pub fn new(ingest: Arc<Ingest>, ports: ReturnPorts, queues: Queues) -> Self {
        Self {
            ingest,
            ports,
            queues,
            jobs: Arc::default(),
        }
    }
}

fn lock(jobs: &Mutex<Vec<Job>>) -> MutexGuard<'_, Vec<Job>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Imports for Importer {
    async fn begin(&self, request: ImportRequest) -> Result<Import, ImportError> {
        let Some(queue) = self.queues.get(&request.from) else {
            return Err(ImportError::Unknown(request.from));
        };
        if queue.inlet().is_none() {
            return Err(match queue.kind() {
                WITH_EXCHANGES => ImportError::NoQueue(request.from),
                kind => ImportError::NotReadable {
                    name: request.from,
                    kind,
                },
            });
        }
        if let Some(source) = &request.source
            && !self.ingest.has_source(source)
        {
            return Err(ImportError::UnknownSource(source.clone()));
        }
        let stop = CancellationToken::new();
        let import = {
            let mut jobs = lock(&self.jobs);
            let busy = |job: &&Job| {
                job.import.from == request.from && job.import.status == ImportStatus::Running
            };
            if let Some(job) = jobs.iter().find(busy) {
                return Err(ImportError::Running(job.import.id));
            }
            let import = Import {
                id: jobs.last().map_or(1, |job| job.import.id + 1),
                from: request.from.clone(),
                status: ImportStatus::Running,
                redriven: 0,
                known: 0,
                fresh: 0,
                error: None,
                created_at: self.ports.clock.now(),
                finished_at: None,
            };
            // One that runs can be ended, and keeps others from its queue, only as long as it is known.
            let ended = |job: &Job| job.import.status != ImportStatus::Running;
            if jobs.len() >= KEPT
                && let Some(oldest) = jobs.iter().position(ended)
            {
                jobs.remove(oldest);
            }
            jobs.push(Job {
                import: import.clone(),
                stop: stop.clone(),
            });
            import
        };
        let worker = job::Worker {
            id: import.id,
            began: import.created_at,
            request,
            queue: Arc::clone(queue),
            ingest: Arc::clone(&self.ingest),
            ports: self.ports.clone(),
            jobs: Arc::clone(&self.jobs),
            stop,
        };
        tokio::spawn(worker.run());
        Ok(import)
    }

    fn list(&self) -> Vec<Import> {
        let jobs = lock(&self.jobs);
        jobs.iter().rev().map(|job| job.import.clone()).collect()
    }

    fn cancel(&self, id: u64) -> Option<Import> {
        let jobs = lock(&self.jobs);
        let job = jobs.iter().find(|job| job.import.id == id)?;
        job.stop.cancel();
        Some(job.import.clone())
    }
}
