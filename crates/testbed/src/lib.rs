//! Real servers, real faults and a judge, for the tests of every other crate.
//!
//! Owns what a test needs around the code under test: a PostgreSQL, MariaDB, Redis, RabbitMQ or NATS of its own, moto's
//! SQS and S3, providers' own libraries that sign, a faulty TCP proxy, a webhook receiver that answers as it is told, the real `forebay` binary, a sender that signs and keeps
//! a record of what was acknowledged, hostile clients, and a disk that fills up. Each lives on free ports and in a
//! directory of its own, can be stopped, killed and started again by the test, and is gone when it is
//! dropped.
//! Never mocks, but for Genesys Cloud ([`genesys`]), which nobody can run at home. What is missing on the machine
//! fails the test in words that say how to install it.
//! A dev-dependency only; it imports nothing of Forebay, so that it can judge all of it.

mod account;
pub mod certificate;
mod command;
pub mod disk;
pub mod endpoint;
mod error;
pub mod flask;
pub mod genesys;
pub mod hostile;
pub mod http;
mod installed;
pub mod judge;
pub mod mariadb;
pub mod moto;
pub mod nats;
pub mod pebble;
pub mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod rabbitmq;
pub mod redis;
mod scratch;
pub mod sdk;
pub mod sender;
mod signal;
pub mod tls;
mod wait;

pub use error::{Error, Result};
pub use genesys::GenesysCloud;
pub use wait::{DEADLINE, until};
