//! The judge's book: every event that was emitted, and every socket, with what was written to it.

use jiff::Timestamp;

use crate::judge::BodyHash;

/// What became of an event when it was emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Its number, from 0.
    pub number: u64,
    /// The sockets whose buffers accepted it. None: nobody who was connected had a subscription for it.
    pub sockets: Vec<u64>,
}

/// An event in the book.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number, from 0.
    pub number: u64,
    /// Its topic, never a combined one.
    pub topic: String,
    /// Its `eventBody`, as it was sent.
    pub body: String,
    /// When it was emitted.
    pub at: Timestamp,
    /// The sockets whose buffers accepted it.
    pub accepted: Vec<u64>,
    /// Those of them to which it was written out whole before they closed. What the client read of that is the
    /// client's to say. Of the last frames before a connection breaks, the client may have more than is here.
    pub written: Vec<u64>,
}

/// A socket in the book.
#[derive(Debug, Clone)]
pub struct SocketRecord {
    /// Its number, from 0, in the order of handshakes.
    pub number: u64,
    /// Its channel.
    pub channel: String,
    /// When the handshake was answered.
    pub opened: Timestamp,
    /// When it ended, and how; `None` while it is open.
    pub closed: Option<(Timestamp, &'static str)>,
    /// How many events were written to it.
    pub events: u64,
}

/// Counts of the whole book.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many events were emitted.
    pub emitted: u64,
    /// How many of them no socket's buffer accepted.
    pub unheard: u64,
    /// How many were written to at least one socket.
    pub written: u64,
    /// The sum, without carry, of the [`fingerprint`]s of the events that were written to at least one socket.
    pub written_sum: u128,
}

/// The record of a run; [`super::GenesysCloud::book`] gives a copy.
#[derive(Debug, Clone, Default)]
pub struct Book {
    counts_only: bool,
    records: Vec<Record>,
    prints: Vec<u128>,
    written: Vec<u64>,
    sockets: Vec<SocketRecord>,
    tally: Tally,
}

/// The first 128 bits of the SHA-256 of a topic, a line feed and an `eventBody` as it was sent.
#[must_use]
pub fn fingerprint(topic: &str, body: &str) -> u128 {
    BodyHash::of(format!("{topic}\n{body}").as_bytes()).bits()
}

impl Book {
    /// All events in order; empty when only counts are kept.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// All sockets in order.
    #[must_use]
    pub fn sockets(&self) -> &[SocketRecord] {
        &self.sockets
    }

    /// The counts.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Whether this event was written out to at least one socket.
    #[must_use]
    pub fn was_written(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.written.get(word).is_some_and(|it| it & bit != 0)
    }

    pub(super) fn keep_counts_only(&mut self) {
        self.counts_only = true;
    }

    pub(super) fn next_number(&self) -> u64 {
        self.tally.emitted
    }

    pub(super) fn emitted(&mut self, topic: &str, body: &str, at: Timestamp, accepted: Vec<u64>) {
        let number = self.tally.emitted;
        self.tally.emitted += 1;
        self.tally.unheard += u64::from(accepted.is_empty());
        self.prints.push(fingerprint(topic, body));
        if !self.counts_only {
            self.records.push(Record {
                number,
                topic: topic.to_owned(),
                body: body.to_owned(),
                at,
                accepted,
                written: Vec::new(),
            });
        }
    }

    pub(super) fn written(&mut self, socket: u64, numbers: &[u64]) {
        for &number in numbers {
            if !self.was_written(number) {
                let (word, bit) = place(number);
                if self.written.len() <= word {
                    self.written.resize(word + 1, 0);
                }
                if let Some(bits) = self.written.get_mut(word) {
                    *bits |= bit;
                }
                let print = index(number).and_then(|at| self.prints.get(at));
                self.tally.written += 1;
                self.tally.written_sum = self
                    .tally
                    .written_sum
                    .wrapping_add(print.copied().unwrap_or(0));
            }
            if let Some(record) = index(number).and_then(|at| self.records.get_mut(at)) {
                record.written.push(socket);
            }
        }
        if let Some(record) = index(socket).and_then(|at| self.sockets.get_mut(at)) {
            record.events += u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        }
    }

    pub(super) fn opened(&mut self, number: u64, channel: &str, opened: Timestamp) {
        self.sockets.push(SocketRecord {
            number,
            channel: channel.to_owned(),
            opened,
            closed: None,
            events: 0,
        });
    }

    /// The first word on a socket's end counts.
    pub(super) fn closed(&mut self, socket: u64, at: Timestamp, how: &'static str) {
        if let Some(record) = index(socket).and_then(|it| self.sockets.get_mut(it)) {
            record.closed.get_or_insert((at, how));
        }
    }
}

fn index(number: u64) -> Option<usize> {
    usize::try_from(number).ok()
}

fn place(number: u64) -> (usize, u64) {
    let word = usize::try_from(number / 64).unwrap_or(usize::MAX);
    (word, 1 << (number % 64))
}
