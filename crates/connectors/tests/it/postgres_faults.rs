//! PostgreSQL in trouble: hung, cut off, restarted, failing over.

use std::time::Duration;

use domain::Outcome;
use serde_json::json;
use testbed::DEADLINE;
use testbed::postgres::Options;
use testbed::proxy::{Mode, Proxy, Trigger};

use crate::contract::{Database as _, Subject as _};
use crate::events::{bodies, deliver_all, deliver_soon, deliver_to_nobody, event, events, made};
use crate::postgres::Postgres;

#[tokio::test]
async fn a_hung_server_is_unavailable_after_the_timeout_and_works_when_resumed() {
    let mut subject = Postgres::start().await;
    let to = subject.made(json!({"timeout": "500ms", "connect_timeout": "500ms"}));
    // The first connection sets up under the short timeout as well: try until a slow machine manages.
    testbed::until("the first batch is delivered", DEADLINE, async || match to
        .deliver(&events(10))
        .await
        .unavailable
    {
        None => Ok(()),
        Some(why) => Err(why.to_string()),
    })
    .await
    .unwrap();
    subject.server.pause().await.unwrap();
    let code = deliver_to_nobody(&*to, &events(50)).await;
    assert_eq!(code, "timeout");
    let code = deliver_to_nobody(&*to, &events(50)).await;
    assert_eq!(code, "timeout", "a new connection to a hung server");
    assert_eq!(to.probe().await.unwrap_err().cause.code, "timeout");
    subject.server.resume().unwrap();
    deliver_soon(&*to, &events(50)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(50)));
}

#[tokio::test]
async fn a_commit_that_was_cut_off_is_delivered_once() {
    let subject = Postgres::start().await;
    let proxy = Proxy::postgres(subject.server.addr()).await.unwrap();
    let url = subject.server.url_through(proxy.addr());
    let to = made(&json!({"type": "postgres", "url": url}));
    to.inspect().await.unwrap();
    let batch = events(300);
    proxy.cut_when(Trigger::complete("COMMIT")).unwrap();
    deliver_to_nobody(&*to, &batch[..200]).await;
    assert_eq!(proxy.counts().cuts, 1);
    assert_eq!(subject.server.count("webhook_events").await.unwrap(), 200);
    // The same again, now in the insert that leaves repeats out: cut once it is committed.
    proxy.cut_when(Trigger::committed("INSERT")).unwrap();
    deliver_to_nobody(&*to, &batch).await;
    assert_eq!(proxy.counts().cuts, 2);
    deliver_all(&*to, &batch).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
}

#[tokio::test]
async fn what_was_committed_before_the_server_went_is_delivered() {
    let subject = Postgres::start().await;
    let proxy = Proxy::postgres(subject.server.addr()).await.unwrap();
    let url = subject.server.url_through(proxy.addr());
    let to = made(&json!({"type": "postgres", "url": url}));
    to.inspect().await.unwrap();
    subject.refuse_bad_paths().await;
    // The bad row sends the batch into halves, until its eighth goes row by row: cut at the first of them.
    let mut batch = events(400);
    batch[399] = event(9_999, "/bad", b"{}");
    proxy.cut_when(Trigger::complete("SAVEPOINT")).unwrap();
    let outcome = to.deliver(&batch).await;
    assert!(outcome.unavailable.is_some());
    assert_eq!(outcome.outcomes[..350], vec![Outcome::Delivered; 350]);
    assert_eq!(outcome.outcomes[350..], vec![Outcome::NotDone; 50]);
    assert_eq!(
        subject.bodies("webhook_events").await,
        bodies(&batch[..350])
    );
    let again = to.deliver(&batch).await;
    assert!(matches!(again.outcomes[399], Outcome::Reject { .. }));
    assert_eq!(
        subject.bodies("webhook_events").await,
        bodies(&batch[..399])
    );
}

#[tokio::test]
async fn resets_refusals_and_silence_on_the_way_are_unavailable() {
    let subject = Postgres::start().await;
    let proxy = Proxy::start(subject.server.addr()).await.unwrap();
    let url = subject.server.url_through(proxy.addr());
    let patient = made(&json!({"type": "postgres", "url": url}));
    deliver_all(&*patient, &events(1)).await;
    for mode in [Mode::Refuse, Mode::Reset] {
        proxy.set(mode).await.unwrap();
        assert_eq!(deliver_to_nobody(&*patient, &events(3)).await, "connection");
        assert_eq!(patient.probe().await.unwrap_err().cause.code, "connection");
        proxy.set(Mode::Pass).await.unwrap();
        deliver_all(&*patient, &events(3)).await;
    }
    let hasty = made(&json!({"type": "postgres", "url": url, "connect_timeout": "200ms"}));
    proxy.set(Mode::Hang).await.unwrap();
    assert_eq!(deliver_to_nobody(&*hasty, &events(3)).await, "timeout");
    proxy.set(Mode::Pass).await.unwrap();
    deliver_soon(&*patient, &events(3)).await;
}

#[tokio::test]
async fn a_restart_between_batches_is_not_noticed() {
    let mut subject = Postgres::start().await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &events(10)).await;
    subject.server.stop_fast().await.unwrap();
    subject.server.start().await.unwrap();
    // The old connection's end has long arrived; whoever finds it closed opens another.
    deliver_soon(&*to, &events(20)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(20)));
}

#[tokio::test]
async fn of_several_hosts_the_one_that_takes_writes_is_used() {
    let standby =
        Postgres::with(Options::default().with_setting("default_transaction_read_only", "on"))
            .await;
    let primary = Postgres::start().await;
    let url = format!(
        "postgres://postgres@127.0.0.1:1,127.0.0.1:{},127.0.0.1:{}/postgres",
        standby.server.port(),
        primary.server.port()
    );
    let to = made(&json!({"type": "postgres", "url": url}));
    deliver_all(&*to, &events(5)).await;
    assert_eq!(primary.bodies("webhook_events").await, bodies(&events(5)));
    primary.set_read_only(true).await;
    deliver_to_nobody(&*to, &events(9)).await;
    standby.set_read_only(false).await;
    deliver_all(&*to, &events(9)).await;
    assert_eq!(standby.bodies("webhook_events").await, bodies(&events(9)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_at_once_on_a_new_database_all_arrive() {
    let subject = Postgres::start().await;
    let to = subject.made(json!({"concurrency": 4}));
    let batch = events(2000);
    let parts: Vec<_> = batch
        .chunks(250)
        .map(|part| {
            let (to, part) = (std::sync::Arc::clone(&to), part.to_vec());
            tokio::spawn(async move { deliver_all(&*to, &part).await })
        })
        .collect();
    for part in parts {
        part.await.unwrap();
    }
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
    let connected =
        "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'forebay'";
    let connected: u32 = subject.texts(connected).await[0].parse().unwrap();
    assert!((1..=4).contains(&connected), "{connected} connections");
}

#[tokio::test]
async fn an_abandoned_delivery_leaves_no_half_used_connection() {
    let subject = Postgres::start().await;
    let to = subject.made(json!({"concurrency": 1}));
    deliver_all(&*to, &events(1)).await;
    let lock = subject.server.client().await.unwrap();
    lock.batch_execute("BEGIN; LOCK TABLE webhook_events")
        .await
        .unwrap();
    let abandoned = tokio::time::timeout(Duration::from_millis(200), to.deliver(&events(5))).await;
    assert!(abandoned.is_err(), "a locked table took a batch");
    lock.batch_execute("COMMIT").await.unwrap();
    deliver_all(&*to, &events(8)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(8)));
}

#[tokio::test]
async fn a_dropped_table_comes_back_with_the_next_connection() {
    let subject = Postgres::start().await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &events(4)).await;
    subject.execute("DROP TABLE webhook_events").await;
    let code = deliver_to_nobody(&*to, &events(4)).await;
    assert_eq!(code, "sqlstate 42P01");
    deliver_all(&*to, &events(4)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(4)));
}
