//! Order by key on the real binary, through kills.

use std::collections::BTreeMap;
use std::time::Duration;

use testbed::Result;
use testbed::endpoint::{Answer, Endpoint};

use super::{post, route};
use crate::rig::{self, count};

const KEYS: u64 = 5;
const EVENTS: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_key_stay_in_order_through_refusals_and_kills() -> Result<()> {
    let endpoint = Endpoint::start().await?;
    // Every seventeenth event is put off until its fourth attempt; not as a broken application would say it.
    endpoint.answer_with(|request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let attempt: u32 = request.header("forebay-attempt").unwrap().parse().unwrap();
        let is_put_off = body["n"].as_u64().unwrap() % 17 == 3 && attempt < 4;
        Answer::status(if is_put_off { 409 } else { 200 })
    });
    let destination = format!(
        "[destinations.db]\ntype = \"http\"\nurl = \"{}\"\n",
        endpoint.url()
    );
    let keys = "order = { key = \"/k\" }\nretry = { max_retries = 50, retry_interval = \"300ms\", backoff = \"fixed\" }";
    let mut forebay = rig::forebay([destination, route(keys)].concat())
        .start()
        .await?;
    for n in 0..EVENTS {
        post(&forebay, format!("{{\"n\":{n},\"k\":{}}}", n % KEYS)).await?;
        if n % 80 == 79 {
            // Not a wait for anything: a moment in which some are parked and others held.
            tokio::time::sleep(Duration::from_millis(350)).await;
            forebay.kill9().await?;
            forebay.start().await?;
        }
    }
    forebay
        .status_until("all of it is delivered", rig::LONG, |status| {
            count(status, "r", "delivered") == EVENTS
        })
        .await?;
    let mut last = BTreeMap::<u64, u64>::new();
    let mut seen = std::collections::BTreeSet::new();
    for request in endpoint.received() {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let n = body["n"].as_u64().unwrap();
        let attempt: u32 = request.header("forebay-attempt").unwrap().parse().unwrap();
        // The first time that it was taken; a kill may have it come again.
        let is_taken = n % 17 != 3 || attempt >= 4;
        if is_taken && seen.insert(n) {
            let before = last.insert(n % KEYS, n);
            assert!(
                before.is_none_or(|before| before < n),
                "{n} came after {before:?}"
            );
        }
    }
    assert_eq!(seen.len() as u64, EVENTS);
    rig::assert_balanced(&forebay).await
}
