//! What a test asks a server: short questions over a connection of their own.
//!
//! None of these goes through a proxy, so that a test's own questions never meet its faults.

use futures_util::TryStreamExt as _;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, SimpleQueryMessage};
use uuid::Uuid;

use super::Server;
use crate::judge::BodyHash;
use crate::{Error, Result};

impl Server {
    /// A new connection as the superuser. It ends when the client is dropped.
    ///
    /// # Errors
    ///
    /// When the server does not take it.
    pub async fn client(&self) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        // Its error is told to the client's next call as well, so it is not lost here.
        tokio::spawn(async move { connection.await.is_ok() });
        Ok(client)
    }

    /// Runs one or more statements that return nothing of interest.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        Ok(self.client().await?.batch_execute(sql).await?)
    }

    /// The rows of one statement.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub async fn rows(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        Ok(self.client().await?.query(sql, params).await?)
    }

    /// The first column of the first row as PostgreSQL prints it.
    ///
    /// # Errors
    ///
    /// What the server said, or that there is no row or the value is null.
    pub async fn text(&self, sql: &str) -> Result<String> {
        let messages = self.client().await?.simple_query(sql).await?;
        messages
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.try_get(0).ok()?.map(str::to_owned),
                _ => None,
            })
            .ok_or_else(|| Error::Misuse(format!("no value: {sql}")))
    }

    /// The number of rows of `table`, which is put into the statement as it is; 0 when there is no such
    /// table yet.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub async fn count(&self, table: &str) -> Result<u64> {
        let client = self.client().await?;
        let known = client
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table])
            .await?;
        if !known.get::<_, bool>(0) {
            return Ok(0);
        }
        let row = client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .await?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }

    /// What the judge wants to see of an events table as Forebay makes it: every row's id and the hash
    /// of its body. Nothing when there is no such table yet. Rows are read one by one, bodies are not
    /// kept.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub async fn events(&self, table: &str) -> Result<Vec<(Uuid, BodyHash)>> {
        if self.count(table).await? == 0 {
            return Ok(Vec::new());
        }
        let client = self.client().await?;
        let sql =
            format!("SELECT id, coalesce(convert_to(body::text, 'UTF8'), body_raw) FROM {table}");
        let rows = client
            .query_raw(&sql, std::iter::empty::<&(dyn ToSql + Sync)>())
            .await?;
        let events = rows.map_ok(|row| {
            let body: Option<&[u8]> = row.get(1);
            (row.get(0), BodyHash::of(body.unwrap_or_default()))
        });
        Ok(events.try_collect().await?)
    }
}
