//! The destinations against real backends: one contract for all of them, and what is each one's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod aws_keys;
mod contract;
mod events;
mod file;
mod http;
mod http_faults;
mod mysql;
mod mysql_faults;
mod mysql_refusals;
mod mysql_table;
mod nats;
mod nats_faults;
mod postgres;
mod postgres_faults;
mod rabbitmq;
mod rabbitmq_faults;
mod rabbitmq_inlet;
mod redis;
mod redis_faults;
mod redis_inlet;
mod redis_nodes;
mod s3;
mod s3_faults;
mod sqlite;
mod sqs;
mod sqs_faults;
