//! One connection at work: each exchange ends within the timeout, and all of a batch before its deadline.

use std::time::Duration;

use domain::Unavailable;
use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Statement, Value};
use tokio::time::Instant;

use super::error::Fault;
use super::session::Session;

const SERVER: &str = "the server";

/// A session, and how long it may take.
pub(super) struct Link<'s> {
    pub(super) session: &'s mut Session,
    /// For each exchange.
    pub(super) timeout: Duration,
    /// For all of them: a server that answers everything slowly must not hold a batch for ever.
    pub(super) deadline: Instant,
}

impl Link<'_> {
    /// Runs SQL of our own that gives nothing.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Fault> {
        let limit = self.limit();
        within(limit, SERVER, self.session.conn.query_drop(sql))
            .await
            .map_err(Fault::Gone)?
            .map_err(|error| self.fault(&error))
    }

    /// The rows of SQL of our own.
    pub(super) async fn rows<T: FromRow + Send + 'static>(
        &mut self,
        sql: &str,
    ) -> Result<Vec<T>, Fault> {
        let limit = self.limit();
        within(limit, SERVER, self.session.conn.query(sql))
            .await
            .map_err(Fault::Gone)?
            .map_err(|error| self.fault(&error))
    }

    pub(super) async fn prepare(&mut self, sql: &str) -> Result<Statement, Fault> {
        let limit = self.limit();
        within(limit, SERVER, self.session.conn.prep(sql))
            .await
            .map_err(Fault::Gone)?
            .map_err(|error| self.fault(&error))
    }

    /// Runs a prepared statement to the end of all its results. Gives how many rows it wrote.
    pub(super) async fn execute(
        &mut self,
        statement: &Statement,
        values: Vec<Value>,
    ) -> Result<u64, Fault> {
        let limit = self.limit();
        let conn = &mut self.session.conn;
        within(limit, SERVER, conn.exec_drop(statement, values))
            .await
            .map_err(Fault::Gone)?
            .map_err(|error| self.fault(&error))?;
        Ok(self.session.conn.affected_rows())
    }

    /// Ends a transaction that a refusal left open, and passes the refusal on.
    pub(super) async fn roll_back<T>(&mut self, fault: Fault) -> Result<T, Fault> {
        if matches!(fault, Fault::Refused(_)) {
            self.run("ROLLBACK").await?;
        }
        Err(fault)
    }

    fn fault(&self, error: &mysql_async::Error) -> Fault {
        let mut fault = Fault::of(error);
        if let Fault::Refused(refusal) = &mut fault {
            let ends = self.session.variables.is_on("innodb_rollback_on_timeout");
            refusal.undone |= refusal.locked && ends;
        }
        fault
    }

    fn limit(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.timeout.min(left)
    }
}

/// Waits for an answer no longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    from: &str,
    answer: impl Future<Output = T>,
) -> Result<T, Unavailable> {
    let waited = tokio::time::timeout(limit, answer).await;
    waited.map_err(|_| {
        Unavailable::new(
            "timeout",
            format!("no answer from {from} within {}s", limit.as_secs_f32()),
        )
    })
}
