//! MariaDB in trouble, by the `mysql` destination: hung, cut off, restarted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use domain::Outcome;
use mysql_async::prelude::Queryable as _;
use serde_json::json;
use testbed::DEADLINE;
use testbed::mariadb::Options;
use testbed::proxy::{Mode, Proxy, Trigger};

use crate::contract::{Database as _, Subject as _};
use crate::events::{bodies, deliver_all, deliver_soon, deliver_to_nobody, event, events, made};
use crate::mysql::Mysql;

/// Whether a transaction is open, by the server's OK; `None` for any other answer.
fn transaction_is_open(piece: &[u8]) -> Option<bool> {
    // A packet's length and number, then zero, the affected rows and the insert id, each by its length, and two bytes
    // of flags. More packets in one piece are the answer to a prepare, which begins with zero as well.
    let length = usize::from(*piece.first()?);
    let only = piece.len() == 4 + length;
    let mut rest = piece
        .get(4..)
        .filter(|packet| only && packet.first() == Some(&0))?;
    rest = rest.get(1..)?;
    for _ in 0..2 {
        let length = match rest.first()? {
            0xfc => 3,
            0xfd => 4,
            0xfe => 9,
            _ => 1,
        };
        rest = rest.get(length..)?;
    }
    Some(rest.first()? & 1 == 1)
}

/// Cuts before the answer that ends the `nth` transaction: to a COMMIT, or a ROLLBACK.
fn end_of_transaction(nth: usize) -> Trigger {
    let (open, ended) = (AtomicBool::new(false), AtomicUsize::new(0));
    Trigger::bytes(move |piece| {
        let Some(now) = transaction_is_open(piece) else {
            return false;
        };
        let was = open.swap(now, Ordering::Relaxed);
        was && !now && ended.fetch_add(1, Ordering::Relaxed) + 1 == nth
    })
}

/// Cuts before the answer that says that a transaction is open, once `after` have ended.
fn start_of_transaction(after: usize) -> Trigger {
    let (open, ended) = (AtomicBool::new(false), AtomicUsize::new(0));
    Trigger::bytes(move |piece| {
        let Some(now) = transaction_is_open(piece) else {
            return false;
        };
        let was = open.swap(now, Ordering::Relaxed);
        if was && !now {
            ended.fetch_add(1, Ordering::Relaxed);
        }
        now && ended.load(Ordering::Relaxed) == after
    })
}

#[tokio::test]
async fn a_hung_server_is_unavailable_after_the_timeout_and_works_when_resumed() {
    let mut subject = Mysql::start().await;
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
    let subject = Mysql::start().await;
    let proxy = Proxy::start(subject.server.addr()).await.unwrap();
    let url = subject.server.url_through(proxy.addr());
    let to = made(&json!({"type": "mysql", "url": url}));
    to.inspect().await.unwrap();
    let batch = events(700);
    // Three statements in one transaction: cut at the answer to its COMMIT.
    proxy.cut_when(end_of_transaction(1)).unwrap();
    deliver_to_nobody(&*to, &batch[..300]).await;
    assert_eq!(proxy.counts().cuts, 1);
    assert_eq!(subject.count().await, 300);
    // Most of it is there, and the rest is committed in the second transaction, behind the first one's ROLLBACK.
    proxy.cut_when(end_of_transaction(2)).unwrap();
    deliver_to_nobody(&*to, &batch).await;
    assert_eq!(proxy.counts().cuts, 2);
    assert_eq!(subject.count().await, 700);
    deliver_all(&*to, &batch).await;
    assert_eq!(subject.count().await, 700);
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
}

#[tokio::test]
async fn what_was_committed_before_the_server_went_is_delivered() {
    let subject = Mysql::start().await;
    let proxy = Proxy::start(subject.server.addr()).await.unwrap();
    let url = subject.server.url_through(proxy.addr());
    let to = made(&json!({"type": "mysql", "url": url}));
    to.inspect().await.unwrap();
    subject.refuse_bad_paths().await;
    // The bad row sends the batch into halves, until its eighth goes row by row: cut where that begins. Four
    // transactions were rolled back till then, and three committed.
    let mut batch = events(400);
    batch[399] = event(9_999, "/bad", b"{}");
    proxy.cut_when(start_of_transaction(7)).unwrap();
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
    let subject = Mysql::start().await;
    let proxy = Proxy::start(subject.server.addr()).await.unwrap();
    let url = subject.server.url_through(proxy.addr());
    let patient = made(&json!({"type": "mysql", "url": url}));
    deliver_all(&*patient, &events(1)).await;
    for mode in [Mode::Refuse, Mode::Reset] {
        proxy.set(mode).await.unwrap();
        assert_eq!(deliver_to_nobody(&*patient, &events(3)).await, "connection");
        assert_eq!(patient.probe().await.unwrap_err().cause.code, "connection");
        proxy.set(Mode::Pass).await.unwrap();
        deliver_all(&*patient, &events(3)).await;
    }
    let hasty = made(&json!({"type": "mysql", "url": url, "connect_timeout": "200ms"}));
    proxy.set(Mode::Hang).await.unwrap();
    assert_eq!(deliver_to_nobody(&*hasty, &events(3)).await, "timeout");
    proxy.set(Mode::Pass).await.unwrap();
    deliver_soon(&*patient, &events(3)).await;
}

#[tokio::test]
async fn a_killed_server_recovers_with_all_that_was_delivered() {
    let mut subject = Mysql::start().await;
    let to = subject.made(json!({}));
    for round in 1..4 {
        deliver_all(&*to, &events(round * 100)).await;
        subject.server.stop_immediate().await.unwrap();
        deliver_to_nobody(&*to, &events(10)).await;
        subject.server.start().await.unwrap();
        assert_eq!(
            subject.bodies("webhook_events").await,
            bodies(&events(round * 100))
        );
    }
}

#[tokio::test]
async fn a_session_that_the_server_ended_while_it_was_idle_is_not_noticed() {
    let subject = Mysql::with(Options::default().with_setting("wait-timeout", "1")).await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &events(10)).await;
    let connected = "SELECT count(*) || '' FROM information_schema.processlist WHERE user = 'app'";
    testbed::until("the session has ended", DEADLINE, async || {
        match subject.texts(connected).await[0].as_str() {
            "0" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await
    .unwrap();
    deliver_all(&*to, &events(20)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(20)));
}

/// InnoDB shows a commit to others before it is synced: a repeat that finds the row there must not be quicker than the
/// row's own sync, or a crash now would lose what was told to be delivered.
#[tokio::test]
async fn a_repeat_is_not_delivered_before_the_first_is_on_the_disk() {
    let options = Options::default().with_slow_syncs(Duration::from_millis(300));
    let subject = Mysql::with(options).await;
    let to = subject.made(json!({}));
    to.inspect().await.unwrap();
    let mut first = subject.server.client().await.unwrap();
    let insert = "INSERT INTO webhook_events (id, source, received_at, method, path, headers, body) VALUES \
         ('01901234-5678-7000-8000-000000000000', '', now(), '', '', '{}', '{}')";
    let first = tokio::spawn(async move { first.query_drop(insert).await });
    testbed::until(
        "the first is to be seen",
        DEADLINE,
        async || match subject.count().await {
            0 => Err("nothing".to_owned()),
            _ => Ok(()),
        },
    )
    .await
    .unwrap();
    let redo = async |what: &str| -> u64 {
        let sql = format!(
            "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'Innodb_lsn_{what}'"
        );
        subject.texts(&sql).await[0].parse().unwrap()
    };
    let written = redo("current").await;
    deliver_all(&*to, &events(1)).await;
    let synced = redo("flushed").await;
    assert!(synced >= written, "synced to {synced} of {written}");
    first.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_at_once_on_a_new_database_all_arrive() {
    let subject = Mysql::start().await;
    let to = subject.made(json!({"concurrency": 4}));
    let batch = events(2000);
    // Each part twice, so that sessions meet at the same ids.
    let parts: Vec<_> = batch
        .chunks(250)
        .chain(batch.chunks(250))
        .map(|part| {
            let (to, part) = (std::sync::Arc::clone(&to), part.to_vec());
            tokio::spawn(async move { deliver_all(&*to, &part).await })
        })
        .collect();
    for part in parts {
        part.await.unwrap();
    }
    assert_eq!(subject.count().await, 2000);
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
    let connected = "SELECT count(*) || '' FROM information_schema.processlist WHERE user = 'app'";
    let connected: u32 = subject.texts(connected).await[0].parse().unwrap();
    assert!((1..=4).contains(&connected), "{connected} connections");
}

#[tokio::test]
async fn an_abandoned_delivery_leaves_no_half_used_connection() {
    let subject = Mysql::start().await;
    let to = subject.made(json!({"concurrency": 1}));
    deliver_all(&*to, &events(1)).await;
    let mut lock = subject.server.client().await.unwrap();
    lock.query_drop("LOCK TABLES webhook_events WRITE")
        .await
        .unwrap();
    let abandoned = tokio::time::timeout(Duration::from_millis(200), to.deliver(&events(5))).await;
    assert!(abandoned.is_err(), "a locked table took a batch");
    lock.query_drop("UNLOCK TABLES").await.unwrap();
    deliver_all(&*to, &events(8)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(8)));
}

#[tokio::test]
async fn a_dropped_table_comes_back_with_the_next_connection() {
    let subject = Mysql::start().await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &events(4)).await;
    subject.execute("DROP TABLE webhook_events").await;
    let code = deliver_to_nobody(&*to, &events(4)).await;
    assert_eq!(code, "mysql 1146 (42S02)");
    deliver_all(&*to, &events(4)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(4)));
}
