//! Writing a batch: plain multi-row INSERTs in one transaction, and finer ways for what they refuse.
//!
//! Nothing in the INSERT lets a conflict pass, because MySQL's ways to do so (IGNORE, ON DUPLICATE KEY UPDATE) do it
//! for every unique index and run UPDATE triggers. On a conflict the ids that are there are looked up, left out, and
//! the rest is written again: so only a conflict on the id counts as already there. What is refused even then is
//! split, down to single rows. Rows are delivered when their COMMIT has been confirmed, and not before.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use domain::{Cause, Outcome, Unavailable};
use mysql_async::{Statement, Value as Bound};
use tokio::time::Instant;

use super::error::{Fault, Refusal};
use super::link::Link;
use super::plan::{Plan, StatementPlan, TablePlan};
use super::value;
use crate::row::{Placement, Row};
use crate::split::{Failure, Writer};

/// How often a transaction that met a deadlock is tried before its events are told to come later.
const TRIES: usize = 3;

/// The most bytes of one INSERT, whatever the server would take: above, the library sends each value on its own.
const STATEMENT_BYTES: usize = 12 << 20;

/// What a packet holds besides the values.
const PACKET_HEAD: usize = 1024;

/// How far the server's redo log is, and how far it is on the disk: MariaDB's names, and MySQL's since 8.0.30.
const REDO: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_lsn_current', 'Innodb_lsn_flushed', \
    'Innodb_redo_log_current_lsn', 'Innodb_redo_log_flushed_to_disk_lsn')";

/// Between two looks at the redo log.
const PAUSE: Duration = Duration::from_millis(5);

/// An event and what is bound for it.
pub(super) struct Line<'a> {
    row: Row<'a>,
    /// Empty once they were sent: they are made again in the rare case that they are sent again.
    values: Vec<Bound>,
    weight: usize,
}

impl<'a> Line<'a> {
    /// # Errors
    /// When it cannot be sent: a value is asked out of a body that has none, or it is larger than `packet`.
    pub(super) fn make(plan: &Plan, row: Row<'a>, packet: usize) -> Result<Self, Cause> {
        let values = values(plan, &row)?;
        let weight = value::weight(&values);
        if weight + PACKET_HEAD > packet {
            return Err(Cause::new(
                crate::large::TOO_LARGE,
                format!(
                    "the event takes {weight} bytes, and the server's max_allowed_packet is {packet}: raise it there"
                ),
            ));
        }
        Ok(Self {
            row,
            values,
            weight,
        })
    }

    fn take(&mut self, plan: &Plan) -> Result<Vec<Bound>, Fault> {
        if self.values.is_empty() {
            let unsent = |cause| Fault::Refused(Refusal::unsent(cause));
            return values(plan, &self.row).map_err(unsent);
        }
        Ok(std::mem::take(&mut self.values))
    }

    /// The same with its body as bytes, if that is another try.
    fn as_bytes(&self, plan: &Plan) -> Option<Self> {
        let row = Row {
            placement: Placement::Raw,
            ..self.row
        };
        let other = self.row.placement == Placement::Body && plan.body().raw;
        other.then_some(Self {
            row,
            values: Vec::new(),
            weight: self.weight,
        })
    }
}

fn values(plan: &Plan, row: &Row<'_>) -> Result<Vec<Bound>, Cause> {
    match plan {
        Plan::Table(plan) => {
            let columns = plan.columns.iter();
            columns
                .map(|column| value::column(row, &column.value, column.kind))
                .collect()
        }
        Plan::Statement(plan) => {
            let fields = plan.fields.iter();
            Ok(fields.map(|field| value::parameter(row, *field)).collect())
        }
    }
}

/// Writes rows of one batch over one session.
pub(super) struct BatchWriter<'a> {
    pub(super) link: Link<'a>,
    pub(super) lines: Vec<Line<'a>>,
}

impl Writer for BatchWriter<'_> {
    async fn together(&mut self, rows: Range<usize>) -> Result<(), Failure> {
        let plan = std::sync::Arc::clone(&self.link.session.plan);
        let mut tries = 0;
        loop {
            let Some(lines) = self.lines.get_mut(rows.clone()) else {
                return Err(Failure::Refused);
            };
            let mut lines: Vec<&mut Line<'_>> = lines.iter_mut().collect();
            let done = match &*plan {
                Plan::Table(table) => write_table(&mut self.link, &plan, table, &mut lines).await,
                Plan::Statement(own) => {
                    run_statements(&mut self.link, &plan, own, &mut lines).await
                }
            };
            tries += 1;
            match done {
                Ok(()) => return Ok(()),
                Err(Fault::Gone(why)) => return Err(Failure::Gone(why)),
                Err(Fault::Refused(refusal)) if refusal.undone && tries < TRIES => {}
                Err(Fault::Refused(_)) => return Err(Failure::Refused),
            }
        }
    }

    async fn one_by_one(&mut self, rows: Range<usize>) -> Result<Vec<Outcome>, Unavailable> {
        let plan = std::sync::Arc::clone(&self.link.session.plan);
        let lines = self.lines.get_mut(rows).unwrap_or_default();
        let mut tries = 0;
        loop {
            let done = each(&mut self.link, &plan, lines).await;
            tries += 1;
            match done {
                Ok(outcomes) => return Ok(outcomes),
                Err(Fault::Gone(why)) => return Err(why),
                Err(Fault::Refused(refusal)) if refusal.undone && tries < TRIES => {}
                // The transaction as a whole was refused: nothing was written, and any of them may be the cause.
                Err(Fault::Refused(refusal)) => return Ok(vec![refusal.outcome; lines.len()]),
            }
        }
    }
}

async fn write_table(
    link: &mut Link<'_>,
    plan: &Plan,
    table: &TablePlan,
    lines: &mut [&mut Line<'_>],
) -> Result<(), Fault> {
    match insert(link, plan, table, lines).await {
        Err(Fault::Refused(refusal)) if refusal.duplicate && table.unique => {}
        done => return done,
    }
    let there = look_up(link, table, lines.iter().map(|line| &line.row)).await?;
    // An id may also come twice in the batch.
    let mut seen = there;
    let new = lines
        .iter_mut()
        .filter(|line| seen.insert(key(table, &line.row)));
    let mut new: Vec<&mut Line<'_>> = new.map(|line| &mut **line).collect();
    if new.is_empty() {
        return synced(link).await;
    }
    insert(link, plan, table, &mut new).await
}

/// All of them or none. One statement is a transaction of its own.
async fn insert(
    link: &mut Link<'_>,
    plan: &Plan,
    table: &TablePlan,
    lines: &mut [&mut Line<'_>],
) -> Result<(), Fault> {
    let room = link.session.variables.packet().min(STATEMENT_BYTES) - PACKET_HEAD;
    let most = table.rows_max();
    let alone = next_count(lines, room, most) == lines.len();
    if !alone {
        link.run("START TRANSACTION").await?;
    }
    let mut rest = lines;
    while !rest.is_empty() {
        let count = next_count(rest, room, most);
        let (now, later) = rest.split_at_mut(count);
        rest = later;
        if let Err(fault) = insert_rows(link, plan, table, now).await {
            return if alone {
                Err(fault)
            } else {
                link.roll_back(fault).await
            };
        }
    }
    if alone {
        return Ok(());
    }
    match link.run("COMMIT").await {
        Err(fault) => link.roll_back(fault).await,
        done => done,
    }
}

/// How many of the first rows go in one statement: a power of two, so that few statements are prepared.
fn next_count(lines: &[&mut Line<'_>], room: usize, most: usize) -> usize {
    let mut bytes = 0;
    let mut fit = 0_usize;
    for line in lines.iter().take(most) {
        bytes += line.weight;
        if bytes > room {
            break;
        }
        fit += 1;
    }
    // One that is larger than a statement of ours goes alone.
    let fit = fit.max(1);
    1 << fit.ilog2()
}

async fn insert_rows(
    link: &mut Link<'_>,
    plan: &Plan,
    table: &TablePlan,
    lines: &mut [&mut Line<'_>],
) -> Result<u64, Fault> {
    let statement = insert_statement(link, table, lines.len()).await?;
    let mut values = Vec::with_capacity(lines.len() * table.columns.len());
    for line in lines {
        values.append(&mut line.take(plan)?);
    }
    link.execute(&statement, values).await
}

async fn insert_statement(
    link: &mut Link<'_>,
    table: &TablePlan,
    rows: usize,
) -> Result<Statement, Fault> {
    let prepared = &link.session.inserts;
    if let Some((_, statement)) = prepared.iter().find(|(count, _)| *count == rows) {
        return Ok(statement.clone());
    }
    let statement = link.prepare(&table.insert(rows)).await?;
    link.session.inserts.push((rows, statement.clone()));
    Ok(statement)
}

/// The user's statement for each row, in one transaction.
async fn run_statements(
    link: &mut Link<'_>,
    plan: &Plan,
    own: &StatementPlan,
    lines: &mut [&mut Line<'_>],
) -> Result<(), Fault> {
    link.run("START TRANSACTION").await?;
    let mut wrote = 0;
    for line in lines {
        let run = match line.take(plan) {
            Ok(values) => link.execute(&own.statement, values).await,
            Err(fault) => Err(fault),
        };
        match run {
            Ok(rows) => wrote += rows,
            Err(fault) => return link.roll_back(fault).await,
        }
    }
    match link.run("COMMIT").await {
        Err(fault) => link.roll_back(fault).await,
        Ok(()) if wrote == 0 => synced(link).await,
        Ok(()) => Ok(()),
    }
}

/// Each row on its own, in one transaction.
async fn each(
    link: &mut Link<'_>,
    plan: &Plan,
    lines: &mut [Line<'_>],
) -> Result<Vec<Outcome>, Fault> {
    let table = match plan {
        Plan::Table(table) if table.unique => Some(table),
        _ => None,
    };
    let mut outcomes = vec![None; lines.len()];
    if let Some(table) = table {
        let there = look_up(link, table, lines.iter().map(|line| &line.row)).await?;
        for (line, outcome) in lines.iter().zip(&mut outcomes) {
            if there.contains(&key(table, &line.row)) {
                *outcome = Some(Outcome::Delivered);
            }
        }
    }
    link.run("START TRANSACTION").await?;
    let (mut wrote, mut in_doubt) = (0, Vec::new());
    for (at, line) in lines.iter_mut().enumerate() {
        if outcomes[at].is_some() {
            continue;
        }
        let mut done = alone(link, plan, line).await;
        if let Err(Fault::Refused(refusal)) = &done
            && refusal.text
            && let Some(mut raw) = line.as_bytes(plan)
        {
            done = alone(link, plan, &mut raw).await;
        }
        outcomes[at] = Some(match done {
            Ok(rows) => {
                wrote += rows;
                Outcome::Delivered
            }
            Err(Fault::Refused(refusal)) if refusal.undone => {
                return link.roll_back(Fault::Refused(refusal)).await;
            }
            Err(Fault::Refused(refusal)) => {
                if refusal.duplicate {
                    in_doubt.push(at);
                }
                refusal.outcome
            }
            Err(gone) => return Err(gone),
        });
    }
    if let Err(fault) = link.run("COMMIT").await {
        return link.roll_back(fault).await;
    }
    // A conflict may have been one with an id that another session, or a row of this batch, was quicker with.
    let mut found_after = false;
    if let Some(table) = table.filter(|_| !in_doubt.is_empty()) {
        let rows = in_doubt.iter().filter_map(|at| lines.get(*at));
        let there = look_up(link, table, rows.map(|line| &line.row)).await?;
        for at in in_doubt {
            if there.contains(&key(table, &lines[at].row)) {
                outcomes[at] = Some(Outcome::Delivered);
                found_after = true;
            }
        }
    }
    if found_after || wrote == 0 {
        synced(link).await?;
    }
    Ok(outcomes
        .into_iter()
        .map(|one| one.unwrap_or(Outcome::NotDone))
        .collect())
}

/// One row. MySQL undoes a refused INSERT by itself; a statement of the user's may be many, and has a savepoint.
async fn alone(link: &mut Link<'_>, plan: &Plan, line: &mut Line<'_>) -> Result<u64, Fault> {
    match plan {
        Plan::Table(table) => insert_rows(link, plan, table, &mut [line]).await,
        Plan::Statement(own) => {
            link.run("SAVEPOINT forebay_row").await?;
            let values = line.take(plan)?;
            let done = link.execute(&own.statement, values).await;
            match &done {
                Ok(_) => link.run("RELEASE SAVEPOINT forebay_row").await?,
                Err(Fault::Refused(refusal)) if !refusal.undone => {
                    link.run("ROLLBACK TO SAVEPOINT forebay_row").await?;
                }
                Err(_) => {}
            }
            done
        }
    }
}

/// An id as the server gives it back.
fn key(table: &TablePlan, row: &Row<'_>) -> Vec<u8> {
    if table.id_is_bytes() {
        row.stored.id.as_bytes().to_vec()
    } else {
        row.stored.id.to_string().into_bytes()
    }
}

/// Which of these rows' ids are there.
async fn look_up<'r>(
    link: &mut Link<'_>,
    table: &TablePlan,
    rows: impl Iterator<Item = &'r Row<'r>>,
) -> Result<HashSet<Vec<u8>>, Fault> {
    // An id is sixteen bytes of our own, written in hex: nothing of the sender's.
    let ids: Vec<String> = rows
        .map(|row| {
            let id = row.stored.id.to_string();
            if table.id_is_bytes() {
                format!("x'{}'", id.replace('-', ""))
            } else {
                format!("'{id}'")
            }
        })
        .collect();
    let mut there: Vec<Vec<u8>> = link.rows(&table.look_up(&ids)).await?;
    if !table.id_is_bytes() {
        for id in &mut there {
            *id = id.trim_ascii_end().to_ascii_lowercase();
        }
    }
    Ok(there.into_iter().collect())
}

/// Waits until all that the server has shown us is on its disk. InnoDB lets others see a commit a moment before it is
/// synced, or for as long as a disk hangs, and a batch of nothing but repeats has no sync of its own.
async fn synced(link: &mut Link<'_>) -> Result<(), Fault> {
    if !link.session.variables.syncs_commits() {
        return Ok(());
    }
    let mut goal = None;
    loop {
        let status: Vec<(String, String)> = link.rows(REDO).await?;
        let lsn = |names: [&str; 2]| {
            let known = |(name, _): &&(String, String)| names.contains(&name.as_str());
            let (_, value) = status.iter().find(known)?;
            value.parse::<u64>().ok()
        };
        let current = lsn(["Innodb_lsn_current", "Innodb_redo_log_current_lsn"]);
        let flushed = lsn(["Innodb_lsn_flushed", "Innodb_redo_log_flushed_to_disk_lsn"]);
        let (Some(current), Some(flushed)) = (current, flushed) else {
            // An older server, which does not tell.
            return Ok(());
        };
        if flushed >= *goal.get_or_insert(current) {
            return Ok(());
        }
        if Instant::now() >= link.deadline {
            let detail = "the server has not synced what it committed: see whether its disk hangs";
            return Err(Fault::Gone(Unavailable::new("timeout", detail)));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
