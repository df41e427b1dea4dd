//! What a test asks a server: single commands over a connection of their own.

use std::net::SocketAddr;

use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use tokio::net::TcpStream;

use super::server::Server;
use crate::Result;
use crate::error::Doing;

/// A connection that ends with whoever holds it.
struct Connection {
    commands: MultiplexedConnection,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn connect(addr: SocketAddr, password: Option<&str>) -> Result<Connection> {
    let stream = TcpStream::connect(addr).await;
    let stream = stream.doing(|| format!("connect to redis at {addr}"))?;
    let mut info = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(password) = password {
        info = info.set_password(password);
    }
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let (commands, driver) = MultiplexedConnection::new_with_config(&info, stream, patient).await?;
    let driver = tokio::spawn(driver);
    Ok(Connection { commands, driver })
}

/// Asks the server at `addr`, and gives its answer as `T`.
pub(super) async fn ask<T: FromRedisValue>(
    addr: SocketAddr,
    password: Option<&str>,
    words: &[&str],
) -> Result<T> {
    let mut connection = connect(addr, password).await?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    Ok(command.query_async(&mut connection.commands).await?)
}

impl Server {
    /// Runs one command as the default user, and gives its answer as `T`: `server.ask::<usize>(&["LLEN", "queue"])`.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, refuses the command, or answers something else than a `T`.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        ask(self.addr(), self.password(), words).await
    }

    /// Runs one command as the default user, whatever it answers.
    ///
    /// # Errors
    ///
    /// When it cannot be reached or refuses the command.
    pub async fn execute(&self, words: &[&str]) -> Result<()> {
        self.ask::<redis::Value>(words).await.map(|_| ())
    }

    /// The list at `key`, from its head.
    ///
    /// # Errors
    ///
    /// As [`Server::ask`].
    pub async fn list(&self, key: &str) -> Result<Vec<Vec<u8>>> {
        self.ask(&["LRANGE", key, "0", "-1"]).await
    }

    /// The entries of the stream at `key`, each with its fields in order.
    ///
    /// # Errors
    ///
    /// As [`Server::ask`].
    pub async fn stream(&self, key: &str) -> Result<Vec<Vec<(String, Vec<u8>)>>> {
        type Entry = (String, Vec<Vec<u8>>);
        let entries: Vec<Entry> = self.ask(&["XRANGE", key, "-", "+"]).await?;
        let fields = |(_, flat): Entry| {
            let pair = |pair: &[Vec<u8>]| match pair {
                [name, value] => Some((String::from_utf8_lossy(name).into_owned(), value.clone())),
                _ => None,
            };
            flat.chunks(2).filter_map(pair).collect()
        };
        Ok(entries.into_iter().map(fields).collect())
    }
}
