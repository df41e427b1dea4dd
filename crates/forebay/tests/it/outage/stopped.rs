//! The outage story: PostgreSQL stopped in the middle, 20,000 events while it is down, and back.

use std::sync::Arc;

use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::{DEADLINE, Result};

use crate::rig::{self, ROUTE_NAME, count, route};

const WHILE_DOWN: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_events_during_an_outage_are_delivered_once_each() -> Result<()> {
    let mut server = Server::start_new(Options::default()).await?;
    let forebay = rig::forebay(rig::genesys_to(&server.url(), ""))
        .start()
        .await?;
    let judge = Arc::new(Judge::new());
    // Steady, and far more than is needed: it is stopped when enough has been seen.
    let sender = rig::genesys(&forebay, 1_000_000)
        .connections(16)
        .rate(2_500.0);
    let sending = sender.start(Arc::clone(&judge))?;
    forebay
        .status_until("events flow", DEADLINE, |status| {
            count(status, ROUTE_NAME, "delivered") >= 1_000
        })
        .await?;
    let status = forebay.status().await?;
    assert_eq!(route(&status, ROUTE_NAME)["breaker"], "passing", "{status}");

    server.stop_immediate().await?;
    let at_the_stop = judge.acked_count();
    let status = rig::breaker(&forebay, ROUTE_NAME, "tripped").await?;
    assert!(
        route(&status, ROUTE_NAME)["last_error"]["code"].is_string(),
        "{status}"
    );
    let metrics = forebay.metrics().await?;
    let state = metrics.get("forebay_breaker_state", &[("route", ROUTE_NAME)]);
    assert!(state.is_some_and(|state| state > 0.0), "{state:?}");
    rig::acknowledged(&judge, at_the_stop + WHILE_DOWN).await?;
    let status = forebay.status().await?;
    assert_eq!(status["ready"], true, "{status}");
    assert!(
        count(&status, ROUTE_NAME, "pending") >= WHILE_DOWN as u64,
        "{status}"
    );
    assert!(
        route(&status, ROUTE_NAME)["oldest_pending_seconds"]
            .as_f64()
            .is_some_and(|age| age > 0.0)
    );
    rig::assert_balanced(&forebay).await?;

    server.start().await?;
    rig::breaker(&forebay, ROUTE_NAME, "passing").await?;
    let report = sending.stop().await?;
    assert_eq!(
        (report.refused.len(), report.unanswered),
        (0, 0),
        "{report}"
    );
    assert_eq!(report.acked, report.sent, "{report}");
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    // All were answered, so nothing may be there that was not acknowledged.
    assert_eq!(verdict.found, verdict.acked);
    assert_eq!(server.count(rig::TABLE).await?, report.acked);
    println!("{report}; {verdict}");
    Ok(())
}
