//! The testbed against the real thing: if these fail, no other test's verdict means anything.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy exempts only #[test] functions, not what they call"
)]

mod brokers;
mod disk;
mod endpoint;
mod mariadb;
mod moto;
mod postgres;
mod process;
mod proxy;
mod redis;
