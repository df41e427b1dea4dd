//! What events are ordered by.

/// A hash of the value that a route's order key points to. Two events with the same key are never in
/// attempts at the same time. Stable over restarts: parked events keep theirs in state. Two values that share
/// a hash wait for each other, and nothing worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(pub [u8; 16]);
