//! Hostile clients at the real port, and an honest sender beside them: it keeps its 2xx, memory stays bounded, and
//! nothing is stored but what it sent.
//!
//! The hostile come from 127.0.0.2, as strangers do, so that what holds off an address does not hold off the
//! honest.

mod connections;
mod http1;
mod http2;
mod smuggling;

use std::net::SocketAddr;
use std::sync::Arc;

use testbed::Result;
use testbed::certificate::Files;
use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::process::{Forebay, Memory};
use testbed::sender::Running;
use testbed::tls::Client;

use crate::wire::address;
use crate::{rig, tls};

const MIB: u64 = 1 << 20;

/// Besides the honest sender's source: one that anybody may post to, and of which nothing must be left.
const OTHER: &str = r#"
[sources.other]
type = "http"
verify = { scheme = "bearer", secrets = ["a-token-of-more-than-sixteen-letters"] }
[routes.other]
from = ["other"]
to = "db"
"#;

/// A Forebay with an honest sender at work.
struct Siege {
    forebay: Forebay,
    server: Server,
    judge: Arc<Judge>,
    honest: Running,
    before: Memory,
}

impl Siege {
    /// With these limits and destinations beside the usual ones; the honest are at work when it returns.
    async fn begin(limits: &str) -> Result<Self> {
        Self::begin_at(limits, "", None).await
    }

    /// The same at a listener that speaks TLS, with what the honest trust.
    async fn begin_within_tls(limits: &str, files: &Files) -> Result<Self> {
        let trusted = Client::trusting(&files.ca)?;
        Self::begin_at(limits, &tls::section(files), Some(trusted)).await
    }

    async fn begin_at(limits: &str, section: &str, trusted: Option<Client>) -> Result<Self> {
        let server = Server::start_new(Options::default()).await?;
        let usual = rig::genesys_to(&server.url(), "");
        let config = format!("[server.limits]\n{limits}\n{section}{usual}{OTHER}");
        let forebay = rig::forebay(config).spawn()?;
        tls::ready(&forebay).await?;
        let judge = Arc::new(Judge::new());
        let mut honest = rig::genesys(&forebay, u64::MAX).connections(2).rate(200.0);
        if let Some(trusted) = trusted {
            honest = honest.within(trusted);
        }
        let honest = honest.start(Arc::clone(&judge))?;
        rig::acknowledged(&judge, 100).await?;
        let before = forebay.memory()?;
        Ok(Self {
            forebay,
            server,
            judge,
            honest,
            before,
        })
    }

    fn ingest(&self) -> SocketAddr {
        address(&self.forebay.ingest(""))
    }

    /// While all this goes on, the honest are acknowledged so many more.
    async fn the_honest_go_on(&self, more: usize) -> Result<()> {
        rig::acknowledged(&self.judge, self.judge.acked_count() + more).await
    }

    /// So many refusals of no source were counted with this code.
    async fn counted(&self, code: &str) -> Result<f64> {
        let metrics = self.forebay.metrics().await?;
        let labels = [("source", "unknown"), ("code", code)];
        let counted = metrics.get("forebay_events_refused_total", &labels);
        Ok(counted.unwrap_or_default())
    }

    /// Every request of the honest got its 2xx, at the destination is what they sent and nothing else, and never
    /// was there more memory than `most` above what it was.
    async fn end(self, most: u64) -> Result<()> {
        let report = self.honest.stop().await?;
        let peak = self.forebay.memory()?.peak;
        let more = peak.saturating_sub(self.before.resident);
        println!("{report}; {} KiB more than before", more >> 10);
        assert_eq!(report.sent, report.acked, "{report}");
        assert_eq!(report.unanswered, 0, "{report}");
        assert!(report.refused.is_empty(), "{report}");
        assert!(more <= most, "{more} bytes, of {most} at most");
        rig::assert_delivered(&self.forebay, &self.server, &self.judge).await?;
        let status = self.forebay.status().await?;
        assert_eq!(rig::count(&status, "other", "delivered"), 0, "{status}");
        Ok(())
    }
}

/// Under `FOREBAY_DEEP=1` there are more of them.
fn many(usual: usize, deep: usize) -> usize {
    if std::env::var_os("FOREBAY_DEEP").is_some() {
        deep
    } else {
        usual
    }
}
