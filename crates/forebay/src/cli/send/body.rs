//! What is posted: a file's bytes, or a made-up event in the shape of the source's sender.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::verify::{Sample, Scheme};

use crate::cli::input;
use crate::exit::Outcome;

/// Gives one body after the other.
#[derive(Debug)]
pub(super) struct Bodies {
    file: Option<Vec<u8>>,
    count: AtomicU64,
    least_bytes: usize,
}

impl Bodies {
    pub(super) fn new(file: Option<&Path>, least_bytes: usize) -> Outcome<Self> {
        Ok(Self {
            file: file.map(input::bytes).transpose()?,
            count: AtomicU64::new(0),
            least_bytes,
        })
    }

    /// The next body, and the id of the message.
    pub(super) fn next(&self, scheme: &dyn Scheme) -> (String, Sample) {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let text = format!("message {number}, sent by forebay send");
        let mut sample = scheme.sample(&id, &text);
        if let Some(bytes) = &self.file {
            sample.body.clone_from(bytes);
            return (id, sample);
        }
        let missing = self.least_bytes.saturating_sub(sample.body.len());
        if missing > 0 {
            sample = scheme.sample(&id, &(text + &" ".repeat(missing)));
        }
        (id, sample)
    }
}
