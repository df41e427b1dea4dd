//! The contract on MariaDB, by the `mysql` destination, in the SQL that it and MySQL share.

use std::net::SocketAddr;

use domain::ports::Destination;
use domain::{Cause, Outcome};
use serde_json::{Value, json};
use testbed::mariadb::{Options, Server};

use crate::contract::{Database, Served, Subject, contract, section};
use crate::events::{Bodies, made};

pub(crate) struct Mysql {
    pub(crate) server: Server,
}

impl Mysql {
    pub(crate) async fn with(options: Options) -> Self {
        let server = Server::start_new(options).await.unwrap();
        Self { server }
    }

    #[expect(clippy::needless_pass_by_value, reason = "it reads better at the call")]
    pub(crate) fn made(&self, more: Value) -> std::sync::Arc<dyn Destination> {
        made(&section(self, &more))
    }
}

impl Subject for Mysql {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    fn section(&self) -> Value {
        json!({"type": "mysql", "url": self.server.url()})
    }

    async fn arrived(&self) -> Bodies {
        self.bodies("webhook_events").await
    }

    async fn count(&self) -> usize {
        self.texts("SELECT id FROM webhook_events").await.len()
    }

    async fn stop(&mut self) {
        self.server.stop_immediate().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.server.start().await.unwrap();
    }
}

impl Database for Mysql {
    async fn execute(&self, sql: &str) {
        self.server.execute(sql).await.unwrap();
    }

    async fn texts(&self, sql: &str) -> Vec<String> {
        self.server.rows(sql).await.unwrap()
    }

    async fn bodies(&self, table: &str) -> Bodies {
        type Body = Option<Vec<u8>>;
        let sql = format!("SELECT id, body, body_raw FROM {table}");
        let rows: Vec<(String, Body, Body)> = self.server.rows(&sql).await.unwrap();
        let one = |(id, body, raw): (String, Body, Body)| {
            assert!(body.is_some() != raw.is_some(), "both or neither");
            (id, body.or(raw).unwrap())
        };
        rows.into_iter().map(one).collect()
    }

    async fn refuse_bad_paths(&self) {
        let sql = "ALTER TABLE webhook_events ADD CONSTRAINT good CHECK (path <> '/bad')";
        self.execute(sql).await;
    }

    async fn set_read_only(&self, read_only: bool) {
        self.server.set_read_only(read_only).await.unwrap();
    }

    fn together(parts: &[&str]) -> String {
        format!("CONCAT({})", parts.join(", "))
    }

    fn once(insert: &str) -> String {
        format!("{insert} ON DUPLICATE KEY UPDATE id = id")
    }

    fn json_text(column: &str, names: &[&str]) -> String {
        let path: String = names.iter().map(|name| format!(".\"{name}\"")).collect();
        format!("JSON_UNQUOTE(JSON_EXTRACT({column}, '${path}'))")
    }
}

impl Served for Mysql {
    fn address(&self) -> SocketAddr {
        self.server.addr()
    }

    fn section_at(&self, address: SocketAddr) -> Value {
        json!({"type": "mysql", "url": self.server.url_through(address)})
    }

    fn secret_section(address: SocketAddr) -> Value {
        json!({"type": "mysql", "url": format!("mysql://hunter2:hunter2@{address}/hunter2")})
    }
}

/// Why an event was rejected.
pub(crate) fn rejected(outcome: &Outcome) -> &Cause {
    let Outcome::Reject { cause } = outcome else {
        panic!("{outcome:?}");
    };
    cause
}

contract!(Mysql, served sql);
