//! Room: one dead route beside a healthy one, and a state that is full.

use testbed::endpoint::{Answer, Endpoint};
use testbed::process::Forebay;
use testbed::{DEADLINE, Result};

use super::{cli, dead_letters, post, route, until};
use crate::rig::{self, count};

/// Two sources, each with a route to an endpoint of its own; the first route has further keys.
fn two_routes(away: &str, there: &str, keys: &str) -> String {
    let destinations = format!(
        "[destinations.db]\ntype = \"http\"\nurl = \"{away}\"\n\n[destinations.there]\ntype = \"http\"\nurl = \"{there}\"\n"
    );
    let other = "[sources.other]\ntype = \"http\"\nverify = { scheme = \"none\" }\n\n[routes.healthy]\nfrom = [\"other\"]\nto = \"there\"\n";
    [&destinations, &route(keys), other].concat()
}

async fn status_of(forebay: &Forebay, source: &str) -> Result<(u16, String)> {
    let url = forebay.ingest(&format!("/in/{source}"));
    let answer = testbed::http::post(&url, &[], "{}".into()).await?;
    Ok((answer.status.as_u16(), answer.text()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_at_its_backlog_refuses_its_own_source_and_the_healthy_one_goes_on() -> Result<()> {
    let (mut away, there) = (Endpoint::start().await?, Endpoint::start().await?);
    away.stop().await;
    let config = two_routes(&away.url(), &there.url(), "max_backlog = 50\n");
    let forebay = rig::forebay(config).start().await?;
    let mut taken = 0;
    let refusal = loop {
        let (status, text) = status_of(&forebay, "in").await?;
        match status {
            200 => taken += 1,
            _ => break (status, text),
        }
        assert!(taken < 500, "it never refused");
    };
    assert_eq!(refusal.0, 503, "{}", refusal.1);
    assert!(refusal.1.contains("route-full"), "{}", refusal.1);
    assert_eq!(taken, 50);
    for _ in 0..200 {
        assert_eq!(status_of(&forebay, "other").await?.0, 200);
    }
    forebay
        .status_until("the healthy route delivers", DEADLINE, |status| {
            count(status, "healthy", "delivered") == 200
        })
        .await?;
    away.start_again().await?;
    until(&forebay, "delivered", 50).await?;
    // It accepts again by itself.
    testbed::until(
        "the source is taken again",
        DEADLINE,
        async || match status_of(&forebay, "in").await {
            Ok((200, _)) => Ok(()),
            Ok(refused) => Err(format!("{refused:?}")),
            Err(error) => Err(error.to_string()),
        },
    )
    .await?;
    rig::assert_balanced(&forebay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_state_keeps_what_fails_in_the_journal_until_letters_are_purged() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    endpoint.answer_with(|request| {
        let is_bad = request.body.starts_with(b"bad");
        Answer::status(if is_bad { 422 } else { 200 })
    });
    let destination = format!(
        "[destinations.db]\ntype = \"http\"\nurl = \"{}\"\n",
        endpoint.url()
    );
    let state = "[state]\nmax_bytes = \"16MiB\"\nmin_free = \"0B\"\n";
    let config = [state, &destination, &route("")].concat();
    let forebay = rig::forebay(config).start().await?;
    // Each a megabyte: sixteen are too many for the letters.
    for n in 1..=30 {
        post(&forebay, format!("bad{}", "x".repeat(1 << 20))).await?;
        // What is under way when state becomes full still goes in: on a slow disk that would be all of them.
        forebay
            .status_until("it is buried, or there is no room", DEADLINE, |status| {
                let full = status["routes"][0]["last_error"]["code"] == "state full";
                full || count(status, "r", "dead") == n
            })
            .await?;
    }
    for _ in 0..100 {
        post(&forebay, "good".into()).await?;
    }
    until(&forebay, "delivered", 100).await?;
    let status = forebay.status().await?;
    let (dead, pending) = (count(&status, "r", "dead"), count(&status, "r", "pending"));
    assert!((10..30).contains(&dead), "{status}");
    assert_eq!(dead + pending, 30, "{status}");
    rig::assert_balanced(&forebay).await?;

    cli(&forebay, &["dlq", "purge", "--all", "--yes"]).await?;
    forebay
        .status_until("the rest is buried", DEADLINE, |status| {
            count(status, "r", "pending") == 0
        })
        .await?;
    assert_eq!(dead_letters(&forebay).await?.len() as u64, pending);
    let status = forebay.status().await?;
    assert_eq!(count(&status, "r", "discarded"), dead);
    rig::assert_balanced(&forebay).await
}
