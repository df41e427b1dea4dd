//! Holds the source tree to the rules that neither the compiler nor clippy can.
//!
//! Each module is one kind of rule: a check that lists the faults of a tree, a test that the project's
//! own tree has none, and a test that a bad example is caught, so that no check can pass by looking at
//! nothing. Reads files only; never builds or runs anything.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy exempts only #[test] functions, not what they call"
)]

mod documents;
mod files;
mod floors;
mod outline;
mod reach;
mod text;
mod tree;
