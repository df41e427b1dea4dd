//! The judge: what was submitted, what was promised, and whether what is read agrees.
//!
//! An event is *promised* once its commit returned, or once it was read after an opening (a route may
//! have delivered it by then, and state may have settled it). From then on it must be readable,
//! unchanged, under its number and id, until every route has settled it.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use domain::{DedupKey, Event, EventId, Seq, SourceName, Timestamp};
use journal::format::record::{self, Record, Records};
use journal::room::Room;
use journal::scan::Scanned;

use crate::sim::Dice;

/// Stands in an event's deduplication key: which submission it was.
type Number = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Promise {
    id: EventId,
    number: Number,
}

/// What a reader finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub seq: Seq,
    id: EventId,
    number: Number,
}

/// What is known from outside the journal.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// The encoded events, by number.
    submitted: Vec<Bytes>,
    promised: BTreeMap<Seq, Promise>,
    by_number: BTreeMap<Number, Seq>,
}

impl Truth {
    /// Lays out a new event with a body of `size` bytes.
    pub(crate) fn submit(&mut self, dice: &mut Dice, size: usize) -> BytesMut {
        let number = self.submitted.len() as Number;
        let mut body = vec![0; size];
        for chunk in body.chunks_mut(8) {
            chunk.copy_from_slice(&dice.next().to_le_bytes()[..chunk.len()]);
        }
        let event = Event {
            source: SourceName::new(["a", "bb", "ccc"][dice.index(3)]).unwrap(),
            received_at: Timestamp::UNIX_EPOCH,
            method: String::new(),
            path: String::new(),
            headers: domain::Headers::default(),
            body: body.into(),
            event_type: None,
            remote: None,
            dedup: Some(DedupKey((u128::from(number) + 1).to_be_bytes())),
            only: None,
        };
        let laid_out = record::encode(&event);
        self.submitted.push(laid_out.clone().freeze());
        laid_out
    }

    fn number(record: &Record) -> Option<Number> {
        let key = u128::from_be_bytes(record.key?.0);
        Number::try_from(key.checked_sub(1)?).ok()
    }

    /// How many events were promised so far.
    pub(crate) fn promises(&self) -> usize {
        self.promised.len()
    }

    /// Notes that the records of a payload are safe under the numbers from `first`.
    pub(crate) fn acknowledge(&mut self, first: Seq, payload: Bytes) -> Result<(), String> {
        for (at, record) in Records::new(payload).enumerate() {
            let seq = Seq(first.0 + at as u64);
            if let Some(before) = self.promised.get(&seq) {
                return Err(format!(
                    "{seq:?} was given to {before:?} and is given again"
                ));
            }
            let found = self.identify(seq, &record)?;
            self.promise(found)?;
        }
        Ok(())
    }

    /// Which submission a record is; it must be exactly one that was made.
    fn identify(&self, seq: Seq, record: &Record) -> Result<Found, String> {
        let number = Self::number(record).ok_or_else(|| format!("{seq:?} has a strange key"))?;
        let at = usize::try_from(number).unwrap();
        let Some(submitted) = self.submitted.get(at) else {
            return Err(format!("{seq:?} holds an event that nobody submitted"));
        };
        let rest = &submitted[record::RECORD_HEADER_BYTES..];
        if !(rest.starts_with(record.source().as_bytes()) && rest.ends_with(&record.event()))
            || record.size() != submitted.len()
        {
            return Err(format!(
                "{seq:?} (submission {number}) has other bytes than submitted"
            ));
        }
        Ok(Found {
            seq,
            id: record.id,
            number,
        })
    }

    fn promise(&mut self, found: Found) -> Result<(), String> {
        let Found { seq, id, number } = found;
        if let Some(before) = self.promised.get(&seq) {
            return if *before == (Promise { id, number }) {
                Ok(())
            } else {
                Err(format!("{seq:?} was {before:?} and is now {found:?}"))
            };
        }
        if let Some(other) = self.by_number.insert(number, seq) {
            return Err(format!(
                "submission {number} stands at {other:?} and at {seq:?}"
            ));
        }
        let below = self.promised.range(..seq).next_back();
        let above = self.promised.range(seq..).next();
        if below.is_some_and(|(_, promise)| promise.id >= id)
            || above.is_some_and(|(_, promise)| promise.id <= id)
        {
            return Err(format!("the id of {seq:?} is not between its neighbours'"));
        }
        self.promised.insert(seq, Promise { id, number });
        Ok(())
    }

    /// Judges what was read of an opened journal whose routes have all settled through `low`.
    pub(crate) fn judge(&mut self, found: &[Found], low: Seq) -> Result<(), String> {
        let mut at = found.iter().peekable();
        for (seq, promise) in self.promised.range(low.next()..) {
            while at.peek().is_some_and(|found| found.seq < *seq) {
                at.next();
            }
            match at.peek() {
                Some(found) if found.seq == *seq => {}
                _ => return Err(format!("{seq:?} ({promise:?}) was promised and is lost")),
            }
        }
        for found in found {
            self.promise(*found)?;
        }
        Ok(())
    }

    /// Reads a journal as a reader does, segment by segment. A hole is allowed only at or below `low`,
    /// where a power cut may have brought back one removed file and not the next.
    pub(crate) fn read(&self, room: &Room, end: Seq, low: Seq) -> Result<Vec<Found>, String> {
        let mut found: Vec<Found> = Vec::new();
        let mut expected = None;
        for segment in room.segments() {
            if expected.is_some_and(|expected| segment.first() != expected)
                && segment.first() > low.next()
            {
                return Err(format!(
                    "{:?} does not go on at {expected:?}",
                    segment.first()
                ));
            }
            let mut scanner = segment.scanner();
            while scanner.offset() < segment.data_end() {
                match scanner.step().map_err(|error| error.to_string())? {
                    Scanned::Frame(frame) => {
                        for (at, record) in Records::new(frame.payload).enumerate() {
                            let seq = Seq(frame.header.first.0 + at as u64);
                            found.push(self.identify(seq, &record)?);
                        }
                    }
                    other => return Err(format!("{:?} holds {other:?}", segment.first())),
                }
            }
            if scanner.expected() != segment.last().next() {
                return Err(format!(
                    "{:?} ends at {:?}",
                    segment.first(),
                    scanner.expected()
                ));
            }
            expected = Some(scanner.expected());
        }
        if expected.is_some_and(|expected| expected != end.next()) {
            return Err(format!(
                "the journal ends at {end:?}, its files before {expected:?}"
            ));
        }
        if let Some(pair) = found.windows(2).find(|pair| pair[0].id >= pair[1].id) {
            return Err(format!("ids do not grow from {:?}", pair[0].seq));
        }
        Ok(found)
    }
}
