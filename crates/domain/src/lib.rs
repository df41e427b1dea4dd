//! Floor 0: the words that every part of Forebay shares, and the ports they meet in.
//!
//! Owns the vocabulary (event, sequence number, outcome, policy, ledger), the encoding of a stored
//! event, and the traits behind which journal, state, destinations and clocks stand.
//! Never does I/O, never spawns a task, and knows no sibling: every other crate may import this one,
//! and this one imports none of them.

pub mod clock;
pub mod dead_letter;
pub mod event;
pub mod id;
pub mod ledger;
pub mod name;
pub mod order;
pub mod outcome;
pub mod pointer;
pub mod policy;
pub mod ports;
pub mod secret;
pub mod sequence;
pub mod units;
pub mod unwrap;

pub use clock::{Clock, SystemClock};
pub use dead_letter::Envelope;
pub use event::{DedupKey, Event, Header, Headers, HeadersBuilder, StoredEvent};
pub use id::{EventId, IdGenerator, InstallationId, RouteId, SubscriptionId};
pub use jiff::{SignedDuration, Timestamp};
pub use ledger::Ledger;
pub use name::{DestinationName, InvalidName, RouteName, SourceName, SourceSet};
pub use order::OrderKey;
pub use outcome::{BatchOutcome, Cause, Outcome, Reason, Unavailable};
pub use pointer::{NotJson, Pointer, PointerError};
pub use secret::Secret;
pub use sequence::{RangeSet, Seq, SeqRange};
pub use units::{ByteSize, HumanDuration};
pub use unwrap::Unwrap;
