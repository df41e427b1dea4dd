//! The judge of every fault: what was acknowledged must be at the destination, once and unchanged.
//!
//! Owns the record of what a sender has sent and of what was acknowledged to it. A payload is written
//! down as acknowledged only after its 2xx, and as sent before its first byte leaves; so whatever the
//! destination has beyond these two was made up. Compact enough for millions of events: 32 bytes for an
//! acknowledgement and 16 for a payload.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use uuid::Uuid;

use crate::{Error, Result};

/// The first 128 bits of a body's SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyHash(u128);

impl BodyHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, body);
        let bytes = digest.as_ref().iter().take(16);
        Self(bytes.fold(0, |hash, byte| hash << 8 | u128::from(*byte)))
    }

    pub(crate) fn bits(self) -> u128 {
        self.0
    }
}

/// Keeps the record, and judges by it. Shared by all connections of a sender.
#[derive(Debug, Default)]
pub struct Judge {
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    sent: HashSet<BodyHash>,
    acked: Vec<(Uuid, BodyHash)>,
}

impl Judge {
    /// A judge with an empty record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes down that a payload is about to be sent. To be called before its first byte leaves.
    pub fn sending(&self, payload: BodyHash) {
        self.lock().sent.insert(payload);
    }

    /// Writes down that a payload was answered with a 2xx and this id. To be called after the answer.
    pub fn acked(&self, id: Uuid, payload: BodyHash) {
        self.lock().acked.push((id, payload));
    }

    /// How many acknowledgements there are, those of repeats included.
    #[must_use]
    pub fn acked_count(&self) -> usize {
        self.lock().acked.len()
    }

    /// The ids that were acknowledged, sorted, each once.
    #[must_use]
    pub fn acked_ids(&self) -> Vec<Uuid> {
        let mut ids: Vec<Uuid> = self.lock().acked.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Compares the record with all that was found: at the destination, and also what is pending,
    /// parked or dead where a test allows that.
    ///
    /// To be asked when no sender runs: what is acknowledged meanwhile may count as missing.
    pub fn judge(&self, found: impl IntoIterator<Item = (Uuid, BodyHash)>) -> Verdict {
        let record = self.lock();
        let mut found: Vec<(Uuid, BodyHash)> = found.into_iter().collect();
        found.sort_unstable();
        let mut acked = record.acked.clone();
        acked.sort_unstable();
        acked.dedup();

        let mut verdict = Verdict {
            acked: acked.len(),
            found: found.len(),
            ..Verdict::default()
        };
        for (id, payload) in &acked {
            let from = found.partition_point(|(other, _)| other < id);
            let mut same_id = found
                .iter()
                .skip(from)
                .take_while(|(other, _)| other == id)
                .peekable();
            if same_id.peek().is_none() {
                verdict.missing.push(*id);
            } else if same_id.any(|(_, other)| other != payload) {
                verdict.changed.push(*id);
            }
        }
        let unknown = found
            .iter()
            .filter(|(_, payload)| !record.sent.contains(payload));
        verdict.never_sent = unknown.map(|(id, _)| *id).collect();
        verdict.doubled = repeats(found.iter().map(|(id, _)| *id));

        found.dedup_by_key(|(id, _)| *id);
        found.sort_unstable_by_key(|(id, payload)| (*payload, *id));
        let twice = found
            .windows(2)
            .filter(|pair| matches!(pair, [(_, a), (_, b)] if a == b));
        verdict.repeated = twice
            .filter_map(|pair| pair.last())
            .map(|(id, _)| *id)
            .collect();
        verdict
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that come more than once in a sorted sequence, each once.
fn repeats(sorted: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
    let mut last = None;
    let mut twice = Vec::new();
    for id in sorted {
        if last == Some(id) && twice.last() != Some(&id) {
            twice.push(id);
        }
        last = Some(id);
    }
    twice
}

/// What the judge found. Ids, sorted unless said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many different (id, payload) were acknowledged.
    pub acked: usize,
    /// How many were found.
    pub found: usize,
    /// Acknowledged and not found.
    pub missing: Vec<Uuid>,
    /// Acknowledged, and found with other bytes.
    pub changed: Vec<Uuid>,
    /// Found with a payload that nobody sent.
    pub never_sent: Vec<Uuid>,
    /// Found more than once under the same id.
    pub doubled: Vec<Uuid>,
    /// Found under a second id while another has the same payload; in no order. A sender's retry that
    /// deduplication should have caught: payloads of [`crate::sender`] are all different.
    pub repeated: Vec<Uuid>,
}

impl Verdict {
    /// Passes when nothing is missing, changed, doubled or repeated, and nothing was never sent.
    ///
    /// # Errors
    ///
    /// [`Error::Judged`] with the verdict.
    pub fn check(self) -> Result<Self> {
        if self.repeated.is_empty() {
            self.check_without_dedup()
        } else {
            Err(self.into())
        }
    }

    /// The same, but a payload may be there under several ids: for a sender that retries towards a
    /// source that does not deduplicate.
    ///
    /// # Errors
    ///
    /// [`Error::Judged`] with the verdict.
    pub fn check_without_dedup(self) -> Result<Self> {
        let faults = [
            &self.missing,
            &self.changed,
            &self.never_sent,
            &self.doubled,
        ];
        if faults.iter().all(|ids| ids.is_empty()) {
            Ok(self)
        } else {
            Err(self.into())
        }
    }
}

impl From<Verdict> for Error {
    fn from(verdict: Verdict) -> Self {
        Self::Judged(Box::new(verdict))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} acknowledged, {} found", self.acked, self.found)?;
        let faults = [
            ("missing", &self.missing),
            ("changed", &self.changed),
            ("never sent", &self.never_sent),
            ("doubled", &self.doubled),
            ("repeated", &self.repeated),
        ];
        for (name, ids) in faults.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            write!(f, "; {} {name}:", ids.len())?;
            for id in ids.iter().take(3) {
                write!(f, " {id}")?;
            }
            if ids.len() > 3 {
                f.write_str(" …")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn body(text: &str) -> BodyHash {
        BodyHash::of(text.as_bytes())
    }

    /// A judge that saw `a` to `c` acknowledged under 1 to 3, and `d` sent in vain.
    fn judge() -> Judge {
        let judge = Judge::new();
        for payload in ["a", "b", "c", "d"] {
            judge.sending(body(payload));
        }
        judge.acked(id(3), body("c"));
        judge.acked(id(1), body("a"));
        judge.acked(id(2), body("b"));
        judge
    }

    const ALL: [(u128, &str); 3] = [(2, "b"), (1, "a"), (3, "c")];

    fn verdict(found: &[(u128, &str)]) -> Verdict {
        judge().judge(
            found
                .iter()
                .map(|(number, payload)| (id(*number), body(payload))),
        )
    }

    #[test]
    fn all_once_and_unchanged_is_clean_in_any_order() {
        assert_eq!(
            verdict(&ALL),
            Verdict {
                acked: 3,
                found: 3,
                ..Verdict::default()
            }
        );
        assert!(verdict(&ALL).check().is_ok());
    }

    #[test]
    fn what_was_sent_but_not_acknowledged_may_be_there_or_not() {
        assert!(verdict(&[&ALL[..], &[(9, "d")]].concat()).check().is_ok());
    }

    #[test]
    fn a_lost_event_is_missing() {
        let verdict = verdict(&ALL[1..]);
        assert_eq!(verdict.missing, [id(2)]);
        let error = verdict.check().unwrap_err().to_string();
        assert!(
            error.contains("1 missing: 00000000-0000-0000-0000-000000000002"),
            "{error}"
        );
    }

    #[test]
    fn another_body_under_an_acknowledged_id_is_a_change() {
        let verdict = verdict(&[(1, "a"), (2, "b"), (3, "d")]);
        assert_eq!(verdict.changed, [id(3)]);
        assert!(verdict.check().is_err());
    }

    #[test]
    fn a_body_nobody_sent_is_seen() {
        let verdict = verdict(&[&ALL[..], &[(9, "made up")]].concat());
        assert_eq!(verdict.never_sent, [id(9)]);
        assert!(verdict.check().is_err());
    }

    #[test]
    fn the_same_id_twice_is_doubled() {
        let verdict = verdict(&[&ALL[..], &[(1, "a"), (1, "a")]].concat());
        assert_eq!(
            (&verdict.doubled[..], &verdict.repeated[..]),
            (&[id(1)][..], &[][..])
        );
        assert!(verdict.check_without_dedup().is_err());
    }

    #[test]
    fn the_same_payload_under_two_ids_is_repeated() {
        let verdict = verdict(&[&ALL[..], &[(9, "a")]].concat());
        assert_eq!(verdict.repeated, [id(9)]);
        assert!(verdict.clone().check().is_err());
        assert!(verdict.check_without_dedup().is_ok());
    }

    #[test]
    fn one_id_acknowledged_for_two_payloads_is_a_change() {
        let judge = judge();
        judge.acked(id(1), body("d"));
        let found = ALL
            .iter()
            .map(|(number, payload)| (id(*number), body(payload)));
        assert_eq!(judge.judge(found).changed, [id(1)]);
    }
}
