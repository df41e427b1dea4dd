//! Backfills: what happened in a stretch of time, from the analytics.
//!
//! A backfill is a job over there. Its results come in pages; a page's conversations are events, and only once all of them
//! are durable the cursor behind the page is, in state. So a crash repeats a page, whose events are known by then, and skips
//! none. A job that has expired is made anew, from the beginning, for the same reason.

mod api;
mod page;
mod runner;

pub(crate) use api::{Query, available_until};
pub(crate) use page::Page;
pub(crate) use runner::Runner;
