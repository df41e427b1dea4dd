//! Outages that are harder to tell: a hung server, a commit nobody heard of, a read-only failover.

use std::sync::Arc;

use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::process::Forebay;
use testbed::proxy::{Mode, Proxy, Trigger};
use testbed::{DEADLINE, Result, until};

use crate::rig::{self, ROUTE_NAME, TABLE, count, route};

/// For a destination whose server stops answering.
const SHORT_TIMEOUTS: &str = "timeout = \"1s\"\nconnect_timeout = \"1s\"";

/// Sends so many events, all of which must be answered 200.
async fn all_accepted(forebay: &Forebay, judge: &Arc<Judge>, events: u64) -> Result<()> {
    let report = rig::genesys(forebay, events).run(Arc::clone(judge)).await?;
    assert_eq!((report.sent, report.acked), (events, events), "{report}");
    Ok(())
}

/// The route has delivered so many.
async fn delivered(forebay: &Forebay, events: u64) -> Result<()> {
    forebay
        .status_until("events are delivered", DEADLINE, |status| {
            count(status, ROUTE_NAME, "delivered") >= events
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_database_is_waited_out() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    let config = rig::genesys_to(&server.url(), SHORT_TIMEOUTS);
    let forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    all_accepted(&forebay, &judge, 200).await?;
    delivered(&forebay, 200).await?;

    server.pause().await?;
    all_accepted(&forebay, &judge, 2_000).await?;
    let status = rig::breaker(&forebay, ROUTE_NAME, "tripped").await?;
    let error = &route(&status, ROUTE_NAME)["last_error"];
    assert_eq!(error["code"], "timeout", "{status}");
    // A probe hangs as well, for the whole of its timeout: long enough to be seen.
    rig::breaker(&forebay, ROUTE_NAME, "probing").await?;
    rig::assert_balanced(&forebay).await?;

    server.resume()?;
    rig::breaker(&forebay, ROUTE_NAME, "passing").await?;
    all_accepted(&forebay, &judge, 200).await?;
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    assert_eq!((verdict.acked, verdict.found), (2_400, 2_400));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_heard_of_is_not_repeated() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let proxy = Proxy::postgres(server.addr()).await?;
    let config = rig::genesys_to(&server.url_through(proxy.addr()), "batch_max = 100");
    let forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    all_accepted(&forebay, &judge, 200).await?;
    delivered(&forebay, 200).await?;

    proxy.cut_when(Trigger::complete("COMMIT").times(4))?;
    all_accepted(&forebay, &judge, 2_000).await?;
    rig::drained(&forebay, ROUTE_NAME).await?;
    assert_eq!(proxy.counts().cuts, 4, "the commits were not cut");
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    assert_eq!((verdict.acked, verdict.found), (2_200, 2_200));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_failover_holds_everything_and_spends_nothing() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let forebay = rig::forebay(rig::genesys_to(&server.url(), ""))
        .start()
        .await?;
    let judge = Arc::new(Judge::new());
    all_accepted(&forebay, &judge, 200).await?;
    delivered(&forebay, 200).await?;

    server.set_read_only(true).await?;
    all_accepted(&forebay, &judge, 2_000).await?;
    let status = rig::breaker(&forebay, ROUTE_NAME, "tripped").await?;
    let error = &route(&status, ROUTE_NAME)["last_error"];
    assert_eq!(error["code"], "sqlstate 25006", "{status}");
    // A probe later still nothing is spent: not one event is parked or dead.
    let first = route(&status, ROUTE_NAME)["next_probe_at"].clone();
    forebay
        .status_until("it has probed again", DEADLINE, |status| {
            let next = &route(status, ROUTE_NAME)["next_probe_at"];
            next.is_string() && *next != first
        })
        .await?;
    let status = forebay.status().await?;
    assert_eq!(count(&status, ROUTE_NAME, "pending"), 2_000, "{status}");
    assert_eq!(server.count(TABLE).await?, 200);

    server.set_read_only(false).await?;
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    assert_eq!((verdict.acked, verdict.found), (2_200, 2_200));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_comes_and_goes_costs_nothing() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let proxy = Proxy::postgres(server.addr()).await?;
    let config = rig::genesys_to(&server.url_through(proxy.addr()), SHORT_TIMEOUTS);
    let forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    let sending = rig::genesys(&forebay, 1_000_000)
        .rate(500.0)
        .start(Arc::clone(&judge))?;
    for mode in [Mode::Refuse, Mode::Reset, Mode::Hang] {
        let before = server.count(TABLE).await?;
        until("events flow", DEADLINE, async || {
            match server.count(TABLE).await {
                Ok(rows) if rows > before => Ok(()),
                other => Err(format!("{other:?} after {before}")),
            }
        })
        .await?;
        proxy.set(mode).await?;
        rig::breaker(&forebay, ROUTE_NAME, "tripped").await?;
        proxy.set(Mode::Pass).await?;
    }
    let report = sending.stop().await?;
    assert_eq!(report.acked, report.sent, "{report}");
    rig::assert_delivered(&forebay, &server, &judge).await?;
    Ok(())
}
