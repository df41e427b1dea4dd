//! Subscriptions: what the API said of them, each with the route that it is.

use std::time::Duration;

use async_trait::async_trait;
use domain::ports::{StateError, SubscriptionRecord, SubscriptionRecords, SubscriptionRequest};
use domain::{RouteName, Seq, SourceName, SubscriptionId};
use rusqlite::{Connection, Row, params};

use crate::connection::CallError;
use crate::routes;
use crate::row::{int, route_key, time, uint};
use crate::store::SqliteState;

#[async_trait]
impl SubscriptionRecords for SqliteState {
    async fn subscriptions(&self) -> Result<Vec<SubscriptionRecord>, StateError> {
        self.looks(list).await
    }

    async fn add_subscription(
        &self,
        record: SubscriptionRecord,
        start: Seq,
        sources: Vec<SourceName>,
    ) -> Result<(), StateError> {
        self.changes(move |connection| add(connection, &record, start, &sources))
            .await
    }

    async fn change_subscription(&self, record: SubscriptionRecord) -> Result<(), StateError> {
        self.changes(move |connection| change(connection, &record))
            .await
    }

    async fn bury_parked(&self, route: &RouteName, limit: u32) -> Result<u64, StateError> {
        let route = route.clone();
        self.changes(move |connection| {
            let transaction = connection.transaction()?;
            let key = route_key(&transaction, &route)?;
            let buried = routes::bury_parked(&transaction, key, Some(limit))?;
            transaction.commit()?;
            Ok(buried)
        })
        .await
    }
}

fn list(connection: &Connection) -> Result<Vec<SubscriptionRecord>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT s.id, s.name, routes.name, url, source, dead_letter_url, max_retries, retry_interval, until,
                s.created_at, updated_at
         FROM subscriptions AS s JOIN routes ON routes.id = s.route ORDER BY s.id",
    )?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(record(row)?);
    }
    Ok(records)
}

fn record(row: &Row<'_>) -> Result<SubscriptionRecord, CallError> {
    let id: [u8; 16] = row.get(0)?;
    let source: Option<String> = row.get(4)?;
    let source = source.map(|name| SourceName::new(&name)).transpose();
    let (Ok(route), Ok(source)) = (RouteName::new(&row.get::<_, String>(2)?), source) else {
        let what = "state holds a subscription with an impossible name of a route or a source";
        return Err(StateError::Failed(what.into()).into());
    };
    let until: Option<i64> = row.get(8)?;
    Ok(SubscriptionRecord {
        id: SubscriptionId::from_bytes(id),
        route,
        until: until
            .map(|_| Ok::<_, rusqlite::Error>(Seq(uint(row, 8)?)))
            .transpose()?,
        created_at: time(row, 9)?,
        updated_at: time(row, 10)?,
        request: SubscriptionRequest {
            name: row.get(1)?,
            url: row.get(3)?,
            source,
            dead_letter_url: row.get(5)?,
            max_retries: u32::try_from(uint(row, 6)?).unwrap_or(u32::MAX),
            retry_interval: Duration::from_micros(uint(row, 7)?),
        },
    })
}

fn add(
    connection: &mut Connection,
    record: &SubscriptionRecord,
    start: Seq,
    sources: &[SourceName],
) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    if route_key(&transaction, &record.route).is_ok() {
        let taken = format!("there is a route {} already", record.route);
        return Err(StateError::Conflict(taken).into());
    }
    is_free(&transaction, record)?;
    routes::register(&transaction, &record.route, start, record.created_at)?;
    routes::set_sources(&transaction, &record.route, sources)?;
    let key = route_key(&transaction, &record.route)?;
    transaction.execute(
        "INSERT INTO subscriptions (id, name, route, url, source, dead_letter_url, max_retries, retry_interval,
                                    until, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            record.id.as_bytes(),
            record.request.name,
            key,
            record.request.url,
            record.request.source.as_ref().map(SourceName::as_str),
            record.request.dead_letter_url,
            record.request.max_retries,
            micros(record.request.retry_interval),
            record.until.map(|until| int(until.0)),
            record.created_at.as_microsecond(),
            record.updated_at.as_microsecond(),
        ],
    )?;
    transaction.commit()?;
    Ok(())
}

fn change(connection: &mut Connection, record: &SubscriptionRecord) -> Result<(), CallError> {
    let transaction = connection.transaction()?;
    is_free(&transaction, record)?;
    let changed = transaction.execute(
        "UPDATE subscriptions SET name = ?2, url = ?3, source = ?4, dead_letter_url = ?5, max_retries = ?6,
                                  retry_interval = ?7, until = ?8, updated_at = ?9
         WHERE id = ?1",
        params![
            record.id.as_bytes(),
            record.request.name,
            record.request.url,
            record.request.source.as_ref().map(SourceName::as_str),
            record.request.dead_letter_url,
            record.request.max_retries,
            micros(record.request.retry_interval),
            record.until.map(|until| int(until.0)),
            record.updated_at.as_microsecond(),
        ],
    )?;
    if changed == 0 {
        return Err(StateError::UnknownRoute(record.route.clone()).into());
    }
    transaction.commit()?;
    Ok(())
}

/// Whether no other subscription has the name.
fn is_free(connection: &Connection, record: &SubscriptionRecord) -> Result<(), CallError> {
    let taken: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM subscriptions WHERE name = ?1 AND id <> ?2)",
        params![record.request.name, record.id.as_bytes()],
        |row| row.get(0),
    )?;
    match taken {
        false => Ok(()),
        true => {
            let taken = format!("there is a subscription {:?} already", record.request.name);
            Err(StateError::Conflict(taken).into())
        }
    }
}

fn micros(interval: Duration) -> i64 {
    i64::try_from(interval.as_micros()).unwrap_or(i64::MAX)
}
