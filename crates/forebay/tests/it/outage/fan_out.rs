//! One source, two routes: an outage of one destination is not the other's.

use std::sync::Arc;

use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::proxy::{Mode, Proxy};
use testbed::{DEADLINE, Result};

use crate::rig::{self, GENESYS, count, route};

#[tokio::test(flavor = "multi_thread")]
async fn the_other_route_flows_while_one_destination_is_down() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let proxy = Proxy::postgres(server.addr()).await?;
    proxy.set(Mode::Refuse).await?;
    let config = format!(
        r#"{GENESYS}
[destinations.up]
type = "postgres"
url = "{}"
table = "up"
[destinations.down]
type = "postgres"
url = "{}"
table = "down"
[routes.to-up]
from = ["genesys"]
to = "up"
[routes.to-down]
from = ["genesys"]
to = "down"
"#,
        server.url(),
        server.url_through(proxy.addr())
    );
    let mut forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    let report = rig::genesys(&forebay, 2_000)
        .run(Arc::clone(&judge))
        .await?;
    assert_eq!(report.acked, 2_000, "{report}");

    let status = rig::drained(&forebay, "to-up").await?;
    judge.judge(server.events("up").await?).check()?;
    assert_eq!(route(&status, "to-up")["breaker"], "passing", "{status}");
    assert_eq!(count(&status, "to-down", "pending"), 2_000, "{status}");
    assert_ne!(route(&status, "to-down")["breaker"], "passing", "{status}");
    rig::assert_balanced(&forebay).await?;

    // The backlog of the one and the progress of the other outlive a restart.
    forebay.restart().await?;
    let status = forebay
        .status_until("both routes are shown", DEADLINE, |status| {
            count(status, "to-down", "pending") == 2_000
        })
        .await?;
    assert_eq!(count(&status, "to-up", "delivered"), 2_000, "{status}");

    proxy.set(Mode::Pass).await?;
    rig::drained(&forebay, "to-down").await?;
    let verdict = judge.judge(server.events("down").await?).check()?;
    assert_eq!((verdict.acked, verdict.found), (2_000, 2_000));
    assert_eq!(server.count("up").await?, 2_000, "written twice");
    rig::assert_balanced(&forebay).await
}
