//! Writing a batch: the fastest way that is idempotent, and finer ones for what it refuses.
//!
//! A batch goes by binary COPY straight into the table. When the server refuses that, the same rows go by
//! `INSERT … ON CONFLICT DO NOTHING`, which leaves out those that are there already. What is refused even
//! then is split, down to single rows under savepoints. Rows are delivered when their COMMIT has been
//! confirmed, and not before.

use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use domain::{Cause, Outcome, Unavailable};
use futures_util::SinkExt as _;
use futures_util::future::{join, join_all};
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

use super::array::{Array, Parameter};
use super::client::{Session, within};
use super::copy;
use super::error::Fault;
use super::plan::{Plan, StatementPlan, TablePlan};
use crate::row::{Placement, Row, Value};
use crate::split::{Failure, Writer};

const SERVER: &str = "the server";

/// Writes rows of one batch over one session.
pub(super) struct BatchWriter<'a> {
    pub(super) session: &'a Session,
    pub(super) rows: Vec<Row<'a>>,
    /// For each exchange.
    pub(super) timeout: Duration,
    /// For all of them: a server that answers everything slowly must not hold a batch for ever.
    pub(super) deadline: Instant,
}

impl Writer for BatchWriter<'_> {
    async fn together(&mut self, rows: Range<usize>) -> Result<(), Failure> {
        let Some(rows) = self.rows.get(rows) else {
            return Err(Failure::Refused);
        };
        let done = match &self.session.plan {
            Plan::Table(plan) => self.table(plan, rows).await,
            Plan::Statement(plan) => self.statements(plan, rows).await,
        };
        done.map_err(|fault| match fault {
            Fault::Gone(why) => Failure::Gone(why),
            Fault::Refused { .. } => Failure::Refused,
        })
    }

    async fn one_by_one(&mut self, rows: Range<usize>) -> Result<Vec<Outcome>, Unavailable> {
        let rows = self.rows.get(rows).unwrap_or_default();
        match self.under_savepoints(rows).await {
            Ok(outcomes) => Ok(outcomes),
            Err(Fault::Gone(why)) => Err(why),
            // The commit itself was refused: nothing was written, and any of them may be the cause.
            Err(Fault::Refused { outcome, .. }) => Ok(vec![outcome; rows.len()]),
        }
    }
}

impl BatchWriter<'_> {
    fn client(&self) -> &Client {
        &self.session.client
    }

    /// One exchange with the server, within the timeout and the batch's deadline.
    async fn exchange<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Fault> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = self.timeout.min(left);
        let answered = within(limit, SERVER, answer).await.map_err(Fault::Gone)?;
        answered.map_err(|error| Fault::of(&error))
    }

    async fn table(&self, plan: &TablePlan, rows: &[Row<'_>]) -> Result<(), Fault> {
        if plan.copy.is_some() {
            match self.copy(plan, rows).await {
                // Most often a repeat, which COPY cannot leave out.
                Err(Fault::Refused { .. }) => {}
                done => return done,
            }
        }
        self.insert(plan, rows).await
    }

    /// Two round trips: BEGIN goes ahead of COPY, and COMMIT right behind its last byte.
    async fn copy(&self, plan: &TablePlan, rows: &[Row<'_>]) -> Result<(), Fault> {
        let Some((statement, columns)) = &plan.copy else {
            return Ok(());
        };
        let data = copy::encode(rows, columns);
        let client = self.client();
        let begin = client.batch_execute("BEGIN");
        let opened = self
            .exchange(async {
                let (begun, sink) = join(begin, client.copy_in(statement)).await;
                begun.and(sink)
            })
            .await;
        let sink = match opened {
            Ok(sink) => sink,
            Err(fault) => return self.roll_back(fault).await,
        };
        self.exchange(async {
            let mut sink = pin!(sink);
            // What stops the sending is told by the end.
            let _sent = sink.send(data).await;
            let (copied, committed) = join(sink.finish(), client.batch_execute("COMMIT")).await;
            // A COMMIT behind a refused COPY rolls back and says nothing of it: the COPY counts.
            copied.and(committed)
        })
        .await
    }

    /// One statement is a transaction of its own: it has ended when the server is ready for the next.
    async fn insert(&self, plan: &TablePlan, rows: &[Row<'_>]) -> Result<(), Fault> {
        let arrays = arrays(plan, rows).map_err(rejected)?;
        let parameters: Vec<&(dyn ToSql + Sync)> = arrays
            .iter()
            .map(|array| array as &(dyn ToSql + Sync))
            .collect();
        self.exchange(self.client().execute(&plan.insert, &parameters))
            .await
            .map(|_| ())
    }

    /// The user's statement for each row, all of them under way at once, in one transaction.
    async fn statements(&self, plan: &StatementPlan, rows: &[Row<'_>]) -> Result<(), Fault> {
        let parameters: Vec<Vec<Parameter<'_>>> =
            rows.iter().map(|row| parameters(plan, row)).collect();
        let client = self.client();
        let begin = client.batch_execute("BEGIN");
        let each = join_all(
            parameters
                .iter()
                .map(|values| client.execute_raw(&plan.statement, values)),
        );
        // Sent in the order they are first polled, which is the order they stand in.
        let commit = client.batch_execute("COMMIT");
        self.exchange(async {
            let (begun, (each, committed)) = join(begin, join(each, commit)).await;
            begun?;
            // The first refusal is the cause of all that follow, the silent rollback included.
            for done in each {
                done?;
            }
            committed
        })
        .await
    }

    /// Each row on its own, in one transaction. Deferred constraints are checked at once, so that they
    /// refuse the row that they are about and not the commit.
    async fn under_savepoints(&self, rows: &[Row<'_>]) -> Result<Vec<Outcome>, Fault> {
        let client = self.client();
        self.exchange(client.batch_execute("BEGIN; SET CONSTRAINTS ALL IMMEDIATE"))
            .await?;
        let mut outcomes = Vec::with_capacity(rows.len());
        for row in rows {
            let mut done = self.alone(row).await;
            if let Err(Fault::Refused { text: true, .. }) = done
                && let Some(raw) = self.as_bytes(row)
            {
                done = self.alone(&raw).await;
            }
            outcomes.push(match done {
                Ok(()) => Outcome::Delivered,
                Err(Fault::Refused { outcome, .. }) => outcome,
                Err(gone) => return Err(gone),
            });
        }
        self.exchange(client.batch_execute("COMMIT")).await?;
        Ok(outcomes)
    }

    /// One row under a savepoint, which is gone afterwards.
    async fn alone(&self, row: &Row<'_>) -> Result<(), Fault> {
        let client = self.client();
        let savepoint = client.batch_execute("SAVEPOINT forebay_row");
        let row = std::slice::from_ref(row);
        let written = match &self.session.plan {
            Plan::Table(plan) => {
                let insert = self.insert(plan, row);
                let (saved, written) = join(self.exchange(savepoint), insert).await;
                saved.and(written)
            }
            Plan::Statement(plan) => {
                let values: Vec<Parameter<'_>> =
                    row.iter().flat_map(|row| parameters(plan, row)).collect();
                let run = client.execute_raw(&plan.statement, &values);
                let (saved, written) = join(self.exchange(savepoint), self.exchange(run)).await;
                saved.and(written.map(|_| ()))
            }
        };
        let end = match &written {
            Ok(()) => "RELEASE SAVEPOINT forebay_row",
            Err(Fault::Refused { .. }) => {
                "ROLLBACK TO SAVEPOINT forebay_row; RELEASE SAVEPOINT forebay_row"
            }
            Err(Fault::Gone(_)) => return written,
        };
        self.exchange(client.batch_execute(end)).await?;
        written
    }

    /// The row with its body as bytes, if that is another try.
    fn as_bytes<'r>(&self, row: &Row<'r>) -> Option<Row<'r>> {
        (row.placement == Placement::Body && self.session.plan.body().raw).then_some(Row {
            placement: Placement::Raw,
            ..*row
        })
    }

    /// Ends a transaction that a refusal left open, and passes the refusal on.
    async fn roll_back(&self, fault: Fault) -> Result<(), Fault> {
        if matches!(fault, Fault::Refused { .. }) {
            self.exchange(self.client().batch_execute("ROLLBACK"))
                .await?;
        }
        Err(fault)
    }
}

/// A row that cannot be sent: what asks for a value finds none in it.
fn rejected(cause: Cause) -> Fault {
    Fault::Refused {
        outcome: Outcome::Reject { cause },
        text: false,
    }
}

/// The rows turned on their side: an array a column.
fn arrays<'r>(plan: &TablePlan, rows: &[Row<'r>]) -> Result<Vec<Array<'r>>, Cause> {
    plan.columns
        .iter()
        .map(|column| {
            let values = rows.iter().map(|row| {
                let value = row.column(&column.value)?;
                Ok(match value {
                    // Text columns are sent as text: bytes as `bytea` is written.
                    Value::Bytes(bytes) if !column.is_bytes => hex(bytes),
                    value => value,
                })
            });
            values.collect::<Result<_, _>>().map(Array)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> Value<'static> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Value::Text(text.into_bytes().into())
}

fn parameters<'r>(plan: &StatementPlan, row: &Row<'r>) -> Vec<Parameter<'r>> {
    plan.fields
        .iter()
        .map(|field| Parameter(row.field(*field)))
        .collect()
}
