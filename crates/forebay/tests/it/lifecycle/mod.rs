//! The life of routes, sources and data directories across starts: nothing that holds events goes away
//! unsaid, and what is refused names the way out.

mod loss;
mod routes;

use std::sync::Arc;

use testbed::Result;
use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::process::{Forebay, Output};
use testbed::proxy::{Mode, Proxy};

use crate::rig;

/// A Forebay whose database is down until it is let through.
struct World {
    server: Server,
    proxy: Proxy,
    forebay: Forebay,
    judge: Arc<Judge>,
}

impl World {
    /// Starts it with the configuration made for the database's URL.
    async fn start(config: impl FnOnce(&str) -> String) -> Result<Self> {
        let server = Server::start_new(Options::default()).await?;
        let proxy = Proxy::postgres(server.addr()).await?;
        proxy.set(Mode::Refuse).await?;
        let config = config(&server.url_through(proxy.addr()));
        let forebay = rig::forebay(config).start().await?;
        let judge = Arc::new(Judge::new());
        Ok(Self {
            server,
            proxy,
            forebay,
            judge,
        })
    }

    fn url(&self) -> String {
        self.server.url_through(self.proxy.addr())
    }

    /// So many further events are acknowledged, and wait.
    async fn backlog(&self, events: u64, size: usize) -> Result<()> {
        let sender = rig::genesys(&self.forebay, events).body_size(size);
        let report = sender.run(Arc::clone(&self.judge)).await?;
        assert_eq!(report.acked, events, "{report}");
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        self.forebay.terminate()?;
        let exit = self.forebay.wait().await?;
        assert_eq!(exit.code, Some(0), "{}", self.forebay.tail());
        Ok(())
    }

    /// Starts with these further arguments, and must be refused with exit code 2 and one line that has
    /// all these words.
    async fn refused(&mut self, words: &[&str]) -> Result<()> {
        let before = self.forebay.stderr().len();
        self.forebay.spawn()?;
        let exit = self.forebay.wait().await?;
        let said = self.forebay.stderr().split_off(before);
        assert_eq!(exit.code, Some(2), "{said}");
        // The log may have lines of its own before it; the last one says why.
        let last = said.lines().last().unwrap_or_default();
        for word in words {
            assert!(last.contains(word), "no {word:?} in {said}");
        }
        Ok(())
    }

    /// Runs a command on the data directory of the stopped Forebay.
    async fn offline(&mut self, args: &[&str]) -> Result<Output> {
        let config = self.forebay.launch().dir().join("forebay.toml");
        let data = self.forebay.data_dir().to_owned();
        let place = [
            "--config",
            config.to_str().unwrap(),
            "--data-dir",
            data.to_str().unwrap(),
        ];
        self.forebay.cli(&[args, &place].concat()).await
    }

    /// Lets the database be reached; everything acknowledged arrives over this route, once.
    async fn delivers_over(&mut self, route: &str) -> Result<()> {
        self.proxy.set(Mode::Pass).await?;
        rig::drained(&self.forebay, route).await?;
        self.judge
            .judge(self.server.events(rig::TABLE).await?)
            .check()?;
        rig::assert_balanced(&self.forebay).await
    }
}
