//! Genesys Cloud: its API as a client, its notification channels as a source, its analytics to fill gaps with.
//!
//! Owns what is particular to that platform: regions, OAuth, request budgets, channels and their limits, jobs. Knows
//! nothing of journals or routes: what it reads it hands out through the port [`domain::ports::Inlet`], and what it has to
//! remember it keeps through ports as well. Every connection that it makes goes through [`Dial`].

mod attendance;
mod backfill;
mod budget;
mod buffer;
mod channel;
mod checkup;
mod client;
mod dial;
mod error;
mod network;
mod notifications;
pub mod open_messaging;
mod options;
mod region;
mod repeats;
mod rest;
mod source;
mod token;
mod troubles;

pub use budget::Budget;
pub use channel::api::AvailableTopic;
pub use checkup::{Step, Wanted, available_topics, checkup};
pub use client::{Call, Client, Clients};
pub use dial::{Dial, Place, Stream};
pub use error::{Error, Problem};
pub use network::Network;
pub use notifications::{CONVERSATION, GAP, Notifications, inspect};
pub use options::{Account, AccountOptions, OptionsError};
pub use region::{REGIONS, Region};
pub use source::{KIND, NotificationOptions, SourceConfig, SourceOptions};
