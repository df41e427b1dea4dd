//! What a test asks a server: short questions over a connection of their own.
//!
//! None of these goes through a proxy, so that a test's own questions never meet its faults.

use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, OptsBuilder};

use super::Server;
use super::server::DATABASE;
use crate::Result;

impl Server {
    /// A new connection as `root`, over the server's socket. It ends when it is dropped.
    ///
    /// # Errors
    ///
    /// When the server does not take it.
    pub async fn client(&self) -> Result<Conn> {
        let socket = self.socket().to_string_lossy().into_owned();
        let options = OptsBuilder::default()
            .socket(Some(socket))
            .user(Some("root"))
            .db_name(Some(DATABASE));
        Ok(Conn::new(options).await?)
    }

    /// Runs one or more statements that return nothing of interest, in standard SQL: names in double quotes, `||` puts
    /// texts together.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let mut client = self.standard().await?;
        client.query_drop(sql).await?;
        Ok(client.disconnect().await?)
    }

    /// The rows of one statement, in standard SQL as well.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub async fn rows<T: FromRow + Send + 'static>(&self, sql: &str) -> Result<Vec<T>> {
        let mut client = self.standard().await?;
        let rows = client.query(sql).await?;
        client.disconnect().await?;
        Ok(rows)
    }

    async fn standard(&self) -> Result<Conn> {
        let mut client = self.client().await?;
        let mode = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES,PIPES_AS_CONCAT')";
        client.query_drop(mode).await?;
        Ok(client)
    }
}
