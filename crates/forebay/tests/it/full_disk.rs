//! No room: new events are refused with 503, old ones are kept, and once there is room everything goes on
//! by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use testbed::disk::SmallDisk;
use testbed::http::{self, Response};
use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::process::Forebay;
use testbed::proxy::{Mode, Proxy};
use testbed::sender::{Report, genesys_signature};
use testbed::{DEADLINE, Result, until};

use crate::rig::{self, ROUTE_NAME, SECRET, count};

const MIB: u64 = 1 << 20;

/// A journal for a small disk.
const SMALL: &str = "[journal]\nsegment_bytes = \"4MiB\"\nmin_free = \"8MiB\"\n";

/// One signed event.
async fn post(forebay: &Forebay) -> Result<Response> {
    let body = Bytes::from_static(b"{\"one\":\"more\"}");
    let signature = genesys_signature(SECRET.as_bytes(), &body);
    let headers = [("x-hub-signature-256", signature.as_str())];
    http::post(&forebay.ingest("/webhook/gc"), &headers, body).await
}

/// Sends more than there is room for. Some of it must be taken, and the rest refused with 503.
async fn send_too_much(forebay: &Forebay, judge: &Arc<Judge>) -> Result<Report> {
    let sender = rig::genesys(forebay, 8_000).body_size(8_000);
    let report = sender.run(Arc::clone(judge)).await?;
    println!("{report}");
    assert!(report.acked > 0, "{report}");
    let refused: Vec<u16> = report.refused.keys().copied().collect();
    assert_eq!((refused, report.unanswered), (vec![503], 0), "{report}");
    Ok(report)
}

/// It says that it has no room, wherever one asks, and is alive.
async fn assert_no_room(forebay: &Forebay) -> Result<()> {
    let answer = post(forebay).await?;
    let problem = answer.json()?;
    assert_eq!(answer.status, 503, "{problem}");
    assert_eq!(problem["code"], "no-room", "{problem}");
    assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
    for url in [forebay.ingest("/readyz"), forebay.admin("/readyz")] {
        let answer = http::get(&url).await?;
        assert_eq!(answer.status, 503, "{url}: {}", answer.text());
    }
    assert_eq!(http::get(&forebay.ingest("/healthz")).await?.status, 200);
    let status = forebay.status().await?;
    let reason = status["not_ready"].as_str().unwrap_or_default();
    assert!(reason.contains("no room"), "{status}");
    let said = forebay.stderr();
    let words = "the journal has no room: new events are refused with 503 no-room until there is";
    assert!(said.contains(words), "{said}");
    rig::assert_balanced(forebay).await
}

async fn ready_by_itself(forebay: &Forebay) -> Result<Value> {
    forebay
        .status_until("it is ready by itself", DEADLINE, |status| {
            status["ready"] == true
        })
        .await
}

/// The backlog drains and new events are taken, with nothing done but the destination's return.
async fn drains_and_goes_on(
    forebay: &Forebay,
    server: &Server,
    proxy: &Proxy,
    judge: &Arc<Judge>,
) -> Result<()> {
    proxy.set(Mode::Pass).await?;
    rig::drained(forebay, ROUTE_NAME).await?;
    ready_by_itself(forebay).await?;
    // The room that was just given back is found within a moment: a sender tries again until then.
    let again = rig::genesys(forebay, 500).retries(1_000, Duration::from_millis(20));
    let report = again.run(Arc::clone(judge)).await?;
    assert_eq!(report.acked, 500, "{report}");
    rig::assert_delivered(forebay, server, judge).await?;
    Ok(())
}

/// A database that is down, and a proxy that brings it back.
async fn database_that_is_down() -> Result<(Server, Proxy)> {
    let server = Server::start_new(Options::default()).await?;
    let proxy = Proxy::postgres(server.addr()).await?;
    proxy.set(Mode::Refuse).await?;
    Ok((server, proxy))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_with_503_survives_a_kill_and_drains_by_itself() -> Result<()> {
    let (server, proxy) = database_that_is_down().await?;
    let disk = SmallDisk::tmpfs(48 * MIB)?;
    let config = [
        SMALL,
        &rig::genesys_to(&server.url_through(proxy.addr()), ""),
    ]
    .concat();
    let launch = rig::forebay(config).data_dir(disk.path().join("data"));
    let mut forebay = launch.start().await?;
    let judge = Arc::new(Judge::new());
    let report = send_too_much(&forebay, &judge).await?;
    assert_no_room(&forebay).await?;
    // What is kept back for state is still there.
    assert!(disk.free()? >= 7 * MIB, "{} bytes are free", disk.free()?);

    forebay.kill9().await?;
    forebay.spawn()?;
    let url = forebay.ingest("/healthz");
    until(
        "it is alive on the full disk",
        DEADLINE,
        async || match http::get(&url).await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}\n{}", forebay.tail())),
        },
    )
    .await?;
    let status = forebay.status().await?;
    assert_eq!(
        count(&status, ROUTE_NAME, "pending"),
        report.acked,
        "{status}"
    );

    drains_and_goes_on(&forebay, &server, &proxy, &judge).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_others_filled_is_waited_out() -> Result<()> {
    let (server, proxy) = database_that_is_down().await?;
    let disk = SmallDisk::tmpfs(256 * MIB)?;
    let config = [
        SMALL,
        &rig::genesys_to(&server.url_through(proxy.addr()), ""),
    ]
    .concat();
    let launch = rig::forebay(config).data_dir(disk.path().join("data"));
    let forebay = launch.start().await?;
    let judge = Arc::new(Judge::new());
    disk.fill(6 * MIB)?;
    send_too_much(&forebay, &judge).await?;
    assert_no_room(&forebay).await?;

    disk.empty()?;
    ready_by_itself(&forebay).await?;
    assert_eq!(post_counted(&forebay, &judge).await?, 100);
    drains_and_goes_on(&forebay, &server, &proxy, &judge).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_refuses_and_never_evicts_what_is_unsettled() -> Result<()> {
    let (server, proxy) = database_that_is_down().await?;
    let small = "[journal]\nsegment_bytes = \"1MiB\"\nmax_bytes = \"6MiB\"\nmin_free = \"0B\"\n";
    let config = [
        small,
        &rig::genesys_to(&server.url_through(proxy.addr()), ""),
    ]
    .concat();
    let forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    send_too_much(&forebay, &judge).await?;
    assert_no_room(&forebay).await?;
    let bytes = forebay.metrics().await?.sum("forebay_journal_bytes");
    assert!(bytes <= 6.0 * 1024.0 * 1024.0, "{bytes}");
    drains_and_goes_on(&forebay, &server, &proxy, &judge).await
}

/// A hundred further events; how many of them were acknowledged.
async fn post_counted(forebay: &Forebay, judge: &Arc<Judge>) -> Result<u64> {
    Ok(rig::genesys(forebay, 100)
        .run(Arc::clone(judge))
        .await?
        .acked)
}
