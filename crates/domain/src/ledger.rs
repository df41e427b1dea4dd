//! The ledger: where every accepted event of a route is.

use serde::{Deserialize, Serialize};

/// The counts of one route since its start. `accepted` is what the route's reader saw and the journal
/// counts behind that, the others are what dispatch did with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Events of the route's sources that came since the route's start.
    pub accepted: u64,
    /// Delivered.
    pub delivered: u64,
    /// In the journal and not settled.
    pub pending: u64,
    /// Waiting in state for their next attempt.
    pub parked: u64,
    /// In the dead-letter queue.
    pub dead: u64,
    /// Settled without delivery on purpose.
    pub discarded: u64,
    /// Lost to damage of the journal's files, and said so.
    pub damaged: u64,
}

impl Ledger {
    /// Accepted minus everything that is accounted for. Always 0; anything else is a defect.
    #[must_use]
    pub fn imbalance(&self) -> i64 {
        let accounted = [
            self.delivered,
            self.pending,
            self.parked,
            self.dead,
            self.discarded,
            self.damaged,
        ]
        .iter()
        .fold(0_u64, |sum, count| sum.saturating_add(*count));
        let magnitude = i64::try_from(self.accepted.abs_diff(accounted)).unwrap_or(i64::MAX);
        if self.accepted >= accounted {
            magnitude
        } else {
            -magnitude
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imbalance_has_a_sign() {
        let ledger = Ledger {
            accepted: 10,
            delivered: 4,
            pending: 3,
            parked: 1,
            dead: 2,
            discarded: 0,
            damaged: 0,
        };
        assert_eq!(ledger.imbalance(), 0);
        assert_eq!(
            Ledger {
                accepted: 9,
                ..ledger
            }
            .imbalance(),
            -1
        );
        assert_eq!(
            Ledger {
                pending: 0,
                ..ledger
            }
            .imbalance(),
            3
        );
    }
}
