//! A connection that is set up: what it may rely on does not depend on the server's or the account's defaults.

use std::collections::HashMap;
use std::sync::Arc;

use domain::Unavailable;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, DriverError, Error, OptsBuilder, Statement};
use tokio::time::Instant;

use super::error::setup;
use super::plan::{self, Plan};
use crate::target::Target;

/// Strict, so that a value that does not fit is refused and not cut. Times in UTC. A COMMIT ends a transaction and
/// nothing more. Unique keys and foreign keys are looked at. Messages in English, for the names in them.
const SETTINGS: &str = "SET SESSION \
    sql_mode = CONCAT_WS(',', NULLIF(@@sql_mode, ''), 'STRICT_ALL_TABLES', 'NO_ENGINE_SUBSTITUTION'), \
    time_zone = '+00:00', autocommit = 1, completion_type = 0, unique_checks = 1, foreign_key_checks = 1, \
    lc_messages = 'en_US'";

/// What of the server's variables matters. A server has not all of them.
const VARIABLES: &str = "SHOW VARIABLES WHERE Variable_name IN ('max_allowed_packet', 'log_bin', \
    'binlog_format', 'sync_binlog', 'innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'innodb_flush_method', 'innodb_rollback_on_timeout')";

/// A connection that is ready to write.
pub(super) struct Session {
    pub(super) conn: Conn,
    pub(super) plan: Arc<Plan>,
    pub(super) variables: Variables,
    /// INSERTs by how many rows they take, prepared when they are first needed.
    pub(super) inserts: Vec<(usize, Statement)>,
    /// When it was last given back.
    pub(super) idle_since: Instant,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// The server's variables, as they were when the session was opened.
#[derive(Debug)]
pub(super) struct Variables(HashMap<String, String>);

impl Variables {
    /// Its value; empty when the server does not know it.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        matches!(self.get(name), "1") || self.get(name).eq_ignore_ascii_case("on")
    }

    /// The largest packet that the server takes, in bytes.
    pub(super) fn packet(&self) -> usize {
        // The least that MySQL has ever had by default.
        self.get("max_allowed_packet").parse().unwrap_or(1 << 20)
    }

    /// Whether a commit that was confirmed is on the server's disk.
    pub(super) fn syncs_commits(&self) -> bool {
        self.get("innodb_flush_log_at_trx_commit") == "1"
    }
}

/// Connects with the first of `options` that the server goes along with.
pub(super) async fn connect(options: Vec<OptsBuilder>, place: &str) -> Result<Conn, Unavailable> {
    let mut refused = None;
    for one in options {
        match Conn::new(one).await {
            Ok(conn) => return Ok(conn),
            Err(error @ Error::Driver(DriverError::NoClientSslFlagFromServer)) => {
                refused = Some(error);
            }
            Err(error) => return Err(setup(&format!("connect to {place}"), &error)),
        }
    }
    Err(refused.map_or_else(
        || Unavailable::new("connection", "there is no way to connect"),
        |error| setup(&format!("connect to {place}"), &error),
    ))
}

pub(super) async fn set_up(mut conn: Conn, target: &Target) -> Result<Session, Unavailable> {
    let failed = |error: Error| setup("set up the session", &error);
    conn.query_drop("SET NAMES utf8mb4").await.map_err(failed)?;
    conn.query_drop(SETTINGS).await.map_err(failed)?;
    let variables: Vec<(String, String)> = conn.query(VARIABLES).await.map_err(failed)?;
    let variables = Variables(variables.into_iter().collect());
    // Fewer locks, and each statement sees what is committed. A binary log of statements cannot take it.
    let by_statement = variables
        .get("binlog_format")
        .eq_ignore_ascii_case("statement");
    if !(variables.is_on("log_bin") && by_statement) {
        let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
        conn.query_drop(isolation).await.map_err(failed)?;
    }
    let plan = plan::make(&mut conn, target).await?;
    Ok(Session {
        conn,
        plan: Arc::new(plan),
        variables,
        inserts: Vec::new(),
        idle_since: Instant::now(),
    })
}
