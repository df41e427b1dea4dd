//! `on_outage = "retry"` against a real endpoint: exactly four attempts, a second apart.

use std::time::Duration;

use testbed::Result;
use testbed::endpoint::{Answer, Endpoint};

use super::{dead_letters, post, route, until};
use crate::rig;

#[tokio::test(flavor = "multi_thread")]
async fn three_retries_are_exactly_four_attempts_and_then_a_dead_letter() -> Result<()> {
    for answer in [Answer::status(500), Answer::status(503), Answer::close()] {
        let endpoint = Endpoint::start().await?;
        let times = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let told = std::sync::Arc::clone(&times);
        endpoint.answer_with(move |request| {
            let attempt = request.header("forebay-attempt").unwrap().to_owned();
            told.lock()
                .unwrap()
                .push((attempt, std::time::Instant::now()));
            answer.clone()
        });
        let destination = format!(
            "[destinations.db]\ntype = \"http\"\nurl = \"{}\"\n",
            endpoint.url()
        );
        let keys = "on_outage = \"retry\"\nretry = { max_retries = 3, retry_interval = \"1s\", backoff = \"fixed\", jitter = 0 }";
        let config = [destination, route(keys)].concat();
        let forebay = rig::forebay(config).start().await?;
        post(&forebay, "{}".into()).await?;
        until(&forebay, "dead", 1).await?;
        // And no fifth: long enough for one.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let times = times.lock().unwrap().clone();
        let attempts: Vec<&str> = times.iter().map(|(attempt, _)| &**attempt).collect();
        assert_eq!(attempts, ["1", "2", "3", "4"]);
        for pair in times.windows(2) {
            let between = pair[1].1 - pair[0].1;
            assert!(between >= Duration::from_millis(995), "{between:?}");
        }
        let letters = dead_letters(&forebay).await?;
        assert_eq!(letters[0]["reason"], "retries-exhausted");
        assert_eq!(letters[0]["attempts"], 4);
        rig::assert_balanced(&forebay).await?;
    }
    Ok(())
}
