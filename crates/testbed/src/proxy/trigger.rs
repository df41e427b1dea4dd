//! When to cut a connection.
//!
//! A trigger is armed for the whole proxy and each connection watches for it on its own; the first to
//! see it takes it. What was seen is not passed on: that is the point.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::wire::{COMMAND_COMPLETE, ERROR, Message, READY};

/// What, in the bytes from the server, makes the proxy cut a connection. Once, unless
/// [`Trigger::times`] says otherwise.
#[derive(Clone)]
pub struct Trigger {
    sight: Sight,
    times: u64,
}

type LookAtBytes = dyn Fn(&[u8]) -> bool + Send + Sync;

#[derive(Clone)]
enum Sight {
    Bytes(Arc<LookAtBytes>),
    Complete(&'static str),
    Committed(&'static str),
}

impl Trigger {
    /// Cuts before passing on bytes for which `is_it` holds. It is asked for each piece as it was read,
    /// at most 64 KiB, which need not be where the protocol's messages begin or end.
    #[must_use]
    pub fn bytes(is_it: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self {
            sight: Sight::Bytes(Arc::new(is_it)),
            times: 1,
        }
    }

    /// PostgreSQL: cuts before passing on a `CommandComplete` whose tag starts with `tag`.
    ///
    /// After an explicit `COMMIT` that is the ambiguous commit. After an `INSERT` of an implicit
    /// transaction nothing is known to be committed yet: see [`Trigger::committed`].
    #[must_use]
    pub fn complete(tag: &'static str) -> Self {
        Self {
            sight: Sight::Complete(tag),
            times: 1,
        }
    }

    /// PostgreSQL: the same, but withholds that message and what follows until the server says that no
    /// transaction is open and no error came between. What `tag` did is then committed for certain,
    /// and the client has heard nothing of it.
    ///
    /// A client that waits for the answer to a statement before it ends its pipeline (`Flush` without
    /// `Sync`) waits for ever.
    #[must_use]
    pub fn committed(tag: &'static str) -> Self {
        Self {
            sight: Sight::Committed(tag),
            times: 1,
        }
    }

    /// Cuts this many times before it is spent.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    pub(super) fn needs_messages(&self) -> bool {
        !matches!(self.sight, Sight::Bytes(_))
    }
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sight {
            Sight::Bytes(_) => f.write_str("Trigger::bytes"),
            Sight::Complete(tag) => write!(f, "Trigger::complete({tag:?})"),
            Sight::Committed(tag) => write!(f, "Trigger::committed({tag:?})"),
        }
    }
}

/// The trigger that is set, and how often one has cut.
#[derive(Debug, Default)]
pub(super) struct Armed {
    now: Mutex<(Option<Trigger>, u64)>,
}

impl Armed {
    pub(super) fn set(&self, trigger: Trigger) {
        self.lock().0 = Some(trigger);
    }

    pub(super) fn cuts(&self) -> u64 {
        self.lock().1
    }

    /// The trigger, if it is not spent.
    fn sight(&self) -> Option<Sight> {
        self.lock()
            .0
            .as_ref()
            .filter(|trigger| trigger.times > 0)
            .map(|one| one.sight.clone())
    }

    /// Uses the trigger up by one cut; false when another connection was quicker.
    fn take(&self) -> bool {
        let mut now = self.lock();
        let (Some(trigger), cuts) = &mut *now else {
            return false;
        };
        let left = trigger.times > 0;
        if left {
            trigger.times -= 1;
            *cuts += 1;
        }
        left
    }

    fn lock(&self) -> MutexGuard<'_, (Option<Trigger>, u64)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to cut before these bytes.
    pub(super) fn cuts_before(&self, bytes: &[u8]) -> bool {
        matches!(self.sight(), Some(Sight::Bytes(is_it)) if is_it(bytes)) && self.take()
    }
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Pass on what was withheld, then this.
    Pass,
    /// Withhold it.
    Withhold,
    /// Cut both sides; this and what was withheld is never passed on.
    Cut,
}

/// One connection's look-out for the trigger.
#[derive(Debug, Default)]
pub(super) struct Watch {
    withholding: bool,
}

impl Watch {
    pub(super) fn see(&mut self, message: &Message, armed: &Armed) -> Verdict {
        let sight = armed.sight();
        let completes = |tag: &str| {
            message.kind() == COMMAND_COMPLETE && message.body().starts_with(tag.as_bytes())
        };
        let cut = match sight {
            Some(Sight::Complete(tag)) => completes(tag),
            Some(Sight::Committed(tag)) => {
                self.withholding |= completes(tag);
                self.withholding && message.kind() == READY && message.body() == b"I"
            }
            Some(Sight::Bytes(_)) | None => {
                self.withholding = false;
                false
            }
        };
        if cut && armed.take() {
            return Verdict::Cut;
        }
        self.withholding &= !matches!(message.kind(), ERROR | READY);
        if self.withholding {
            Verdict::Withhold
        } else {
            Verdict::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Message {
        let mut bytes = vec![kind, 0, 0, 0, 0];
        bytes.extend(body);
        Message(bytes.into())
    }

    fn verdicts(trigger: Trigger, messages: &[(u8, &[u8])]) -> Vec<Verdict> {
        let armed = Armed::default();
        armed.set(trigger);
        let mut watch = Watch::default();
        messages
            .iter()
            .map(|(kind, body)| watch.see(&message(*kind, body), &armed))
            .collect()
    }

    #[test]
    fn complete_cuts_at_the_tag_and_only_once() {
        let stream: [(u8, &[u8]); 3] = [
            (b'C', b"INSERT 0 1\0"),
            (b'C', b"COMMIT\0"),
            (b'C', b"COMMIT\0"),
        ];
        let seen = verdicts(Trigger::complete("COMMIT"), &stream);
        assert_eq!(seen, [Verdict::Pass, Verdict::Cut, Verdict::Pass]);
        let seen = verdicts(Trigger::complete("COMMIT").times(2), &stream);
        assert_eq!(seen, [Verdict::Pass, Verdict::Cut, Verdict::Cut]);
    }

    #[test]
    fn committed_withholds_until_no_transaction_is_open() {
        let seen = verdicts(
            Trigger::committed("INSERT"),
            &[
                (b'2', b""),
                (b'C', b"INSERT 0 1\0"),
                (b'C', b"SELECT 1\0"),
                (b'Z', b"I"),
            ],
        );
        assert_eq!(
            seen,
            [
                Verdict::Pass,
                Verdict::Withhold,
                Verdict::Withhold,
                Verdict::Cut
            ]
        );
    }

    #[test]
    fn committed_passes_what_is_rolled_back_or_still_open() {
        let rolled_back = verdicts(
            Trigger::committed("INSERT"),
            &[(b'C', b"INSERT 0 1\0"), (b'E', b"..."), (b'Z', b"I")],
        );
        assert_eq!(
            rolled_back,
            [Verdict::Withhold, Verdict::Pass, Verdict::Pass]
        );
        let open = verdicts(
            Trigger::committed("INSERT"),
            &[(b'C', b"INSERT 0 1\0"), (b'Z', b"T"), (b'Z', b"I")],
        );
        assert_eq!(open, [Verdict::Withhold, Verdict::Pass, Verdict::Pass]);
    }
}
