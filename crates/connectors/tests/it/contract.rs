//! What every destination promises, and what every SQL destination promises beyond that, tried on each. A new one is
//! one line: its [`Subject`].

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::Outcome;
use domain::ports::{Delivery, Destination};
use serde_json::{Value, json};
use testbed::proxy::{Proxy, Trigger};

use crate::events::{
    Bodies, as_dead, bodies, deliver_all, deliver_soon, deliver_to_nobody, event, events, made,
};

/// A backend that a test can take away.
pub(crate) trait Subject: Send + Sync + Sized {
    /// What `inspect` has to say of even the best set-up here: a word of each finding.
    const WEAKER: &[&str] = &[];
    /// Repeats that come soon arrive once, though it is no promise.
    const KNOWS_SOON_REPEATS: bool = false;
    /// An empty one, running.
    async fn start() -> Self;
    /// `type`, and where it is.
    fn section(&self) -> Value;
    /// What arrived.
    async fn arrived(&self) -> Bodies;
    /// How many arrived, repeats counted.
    async fn count(&self) -> usize;
    /// Takes it away.
    async fn stop(&mut self);
    /// Brings it back, with what had arrived.
    async fn start_again(&mut self);
    /// The largest body that it takes.
    fn largest_body() -> usize {
        usize::MAX
    }
}

/// A backend that is reached over a network.
pub(crate) trait Served: Subject {
    /// Where it listens.
    fn address(&self) -> SocketAddr;
    /// The section of the same backend, reached at another address: through a proxy, say.
    fn section_at(&self, address: SocketAddr) -> Value;
    /// The section of such a backend that nobody serves at `address`, with the word `hunter2` wherever a password, a
    /// key or a token may stand.
    fn secret_section(address: SocketAddr) -> Value;
}

/// A database that a test can do things to.
pub(crate) trait Database: Subject {
    /// Runs statements.
    async fn execute(&self, sql: &str);
    /// The first column of the rows, as text.
    async fn texts(&self, sql: &str) -> Vec<String>;
    /// What an events table holds.
    async fn bodies(&self, table: &str) -> Bodies;
    /// Makes the database refuse rows of the events table with the path `/bad`.
    async fn refuse_bad_paths(&self);
    /// Refuses writes, or allows them again.
    async fn set_read_only(&self, read_only: bool);

    /// An expression that puts the texts of these together, in the SQL of a `statement`.
    fn together(parts: &[&str]) -> String {
        parts.join(" || ")
    }

    /// The INSERT, in the SQL of a `statement`, so that a row whose `id` is there already is left out.
    fn once(insert: &str) -> String {
        format!("{insert} ON CONFLICT (id) DO NOTHING")
    }

    /// An expression for what is at these names, one in another, in the JSON that `column` holds, as text.
    fn json_text(column: &str, names: &[&str]) -> String {
        let (last, first) = names.split_last().unwrap();
        let first: String = first.iter().map(|name| format!(" -> '{name}'")).collect();
        format!("{column}{first} ->> '{last}'")
    }
}

/// The subject's section with more keys.
pub(crate) fn section(subject: &impl Subject, more: &Value) -> Value {
    let mut section = subject.section();
    let more = more.as_object().unwrap().clone();
    section.as_object_mut().unwrap().extend(more);
    section
}

#[expect(clippy::needless_pass_by_value, reason = "it reads better at the call")]
fn destination(subject: &impl Subject, more: Value) -> std::sync::Arc<dyn Destination> {
    made(&section(subject, &more))
}

pub(crate) async fn a_batch_arrives_whole<S: Subject>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    let batch = events(1000);
    deliver_all(&*to, &batch).await;
    deliver_all(&*to, &[]).await;
    assert_eq!(subject.arrived().await, bodies(&batch));
    to.probe().await.unwrap();
    let findings = to.inspect().await.unwrap();
    assert_eq!(findings.len(), S::WEAKER.len(), "{findings:?}");
    for (finding, word) in findings.iter().zip(S::WEAKER) {
        assert!(finding.text.contains(word), "{findings:?}");
    }
    let limits = to.limits();
    assert!(limits.batch_events > 0 && limits.batch_bytes > 0 && limits.concurrency > 0);
}

pub(crate) async fn delivers_batches_and_repeats_are_single<S: Database>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    let batch = events(1000);
    deliver_all(&*to, &batch[..600]).await;
    deliver_all(&*to, &batch[..600]).await;
    // Half of it is there already, half is new, and one comes twice in the same batch.
    let mut mixed = batch[300..].to_vec();
    mixed.push(batch[999].clone());
    deliver_all(&*to, &mixed).await;
    deliver_all(&*to, &[]).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&batch));
    to.probe().await.unwrap();
    assert_eq!(to.inspect().await.unwrap(), vec![]);
}

pub(crate) async fn a_bad_row_is_rejected_alone<S: Database>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    to.inspect().await.unwrap();
    subject.refuse_bad_paths().await;
    for place in [0, 250, 499] {
        let mut batch = events(500);
        batch[place] = event(10_000, "/bad", b"{}");
        let outcome = to.deliver(&batch).await;
        assert_eq!(outcome.unavailable, None);
        for (at, outcome) in outcome.outcomes.iter().enumerate() {
            if at == place {
                assert!(matches!(outcome, Outcome::Reject { .. }), "{outcome:?}");
            } else {
                assert_eq!(*outcome, Outcome::Delivered, "row {at}");
            }
        }
    }
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(500)));
}

pub(crate) async fn many_bad_rows_are_rejected_each_with_its_cause<S: Database>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    to.inspect().await.unwrap();
    subject.refuse_bad_paths().await;
    let bad: Vec<_> = (0..500)
        .map(|at| event(at, "/bad", b"secret-payload"))
        .collect();
    let outcome = to.deliver(&bad).await;
    assert_eq!(outcome.unavailable, None);
    for outcome in outcome.outcomes {
        let Outcome::Reject { cause } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(!cause.to_string().contains("secret"), "{cause}");
        assert!(!cause.to_string().contains("/bad"), "{cause}");
    }
    assert!(subject.bodies("webhook_events").await.is_empty());
    deliver_all(&*to, &[event(1000, "/good", b"{}")]).await;
}

/// Bodies of every kind, as they came.
pub(crate) fn odd_bodies() -> Vec<Vec<u8>> {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels)).into_bytes();
    vec![
        br#"{"b": 1,  "a": [true,null],"a": 2}"#.to_vec(),
        b" [1, 2]\n".to_vec(),
        b"\"text\"".to_vec(),
        "\"ä😀\"".into(),
        br#""\u0000""#.to_vec(),
        br#"{"half": "\ud83d", "escaped\u0000key": 1}"#.to_vec(),
        b"1e999999".to_vec(),
        format!("[{}]", "9".repeat(200_000)).into_bytes(),
        b"-0.10e-20000".to_vec(),
        deep(900),
        deep(5_000),
        deep(500_000),
        b"".to_vec(),
        b"not json".to_vec(),
        b"{\"a\": \"\xff\xfe\"}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"\0\x01\x02\xff".to_vec(),
        b"{\"a\": \"\0\"}".to_vec(),
        b"a=1&b=2".to_vec(),
        b"\\x00".to_vec(),
        b"\\.\n\\N\t".to_vec(),
        vec![b'x'; 3 << 20],
    ]
}

pub(crate) async fn every_body_arrives_byte_for_byte<S: Subject>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    let batch: Vec<_> = (0..)
        .zip(odd_bodies())
        .map(|(number, body)| event(number, "/in/gen\0esys", &body))
        .collect();
    let (fitting, larger) = by_size::<S>(batch);
    deliver_all(&*to, &fitting).await;
    deliver_all(&*to, &fitting).await;
    insist_too_large(&*to, &larger).await;
    assert_eq!(subject.arrived().await, bodies(&fitting));
}

/// Those that the subject takes, and those that are too large for it.
fn by_size<S: Subject>(batch: Vec<Delivery>) -> (Vec<Delivery>, Vec<Delivery>) {
    let fits = |one: &Delivery| one.stored.event.body.len() <= S::largest_body();
    batch.into_iter().partition(fits)
}

/// Each is refused for its size, and nothing else is.
async fn insist_too_large(to: &dyn Destination, larger: &[Delivery]) {
    let outcome = to.deliver(larger).await;
    assert_eq!(outcome.unavailable, None);
    for outcome in outcome.outcomes {
        let Outcome::Reject { cause } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(cause.code, "too-large");
    }
}

pub(crate) async fn odd_parts_are_kept_in_their_columns<S: Database>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    let batch: Vec<_> = (0..)
        .zip(odd_bodies())
        .map(|(number, body)| event(number, "/in/gen\0esys", &body))
        .collect();
    deliver_all(&*to, &batch).await;
    let raw = "SELECT count(*) || '' FROM webhook_events WHERE body_raw IS NOT NULL";
    assert_eq!(subject.texts(raw).await, ["12"]);
    let paths = "SELECT DISTINCT path FROM webhook_events";
    assert_eq!(subject.texts(paths).await, ["/in/gen%00esys"]);
    let header = |names: &[&str]| {
        let text = S::json_text("headers", names);
        format!("SELECT DISTINCT {text} FROM webhook_events")
    };
    let many: Vec<String> = subject.texts(&header(&["x-many"])).await;
    let many: Vec<String> = serde_json::from_str(&many[0]).unwrap();
    assert_eq!(many, ["one", "two \"quoted\""]);
    let odd = header(&["x-odd", "base64"]);
    assert_eq!(subject.texts(&odd).await, ["/wA="]);
}

pub(crate) async fn an_absent_destination_is_unavailable_until_it_is_back<S: Subject>() {
    let mut subject = S::start().await;
    let to = destination(&subject, json!({}));
    let batch = events(100);
    deliver_all(&*to, &batch[..50]).await;
    subject.stop().await;
    deliver_to_nobody(&*to, &batch).await;
    to.probe().await.unwrap_err();
    to.inspect().await.unwrap_err();
    subject.start_again().await;
    to.probe().await.unwrap();
    deliver_all(&*to, &batch).await;
    assert_eq!(subject.arrived().await, bodies(&batch));
}

pub(crate) async fn a_destination_made_while_it_is_away_works_later<S: Subject>() {
    let mut subject = S::start().await;
    subject.stop().await;
    let to = destination(&subject, json!({}));
    deliver_to_nobody(&*to, &events(3)).await;
    subject.start_again().await;
    deliver_all(&*to, &events(3)).await;
    assert_eq!(subject.arrived().await, bodies(&events(3)));
}

pub(crate) async fn repeats_arrive_once_or_carry_the_same_id<S: Subject>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    for _ in 0..3 {
        deliver_all(&*to, &events(20)).await;
    }
    let once = to.recognises_repeats() || S::KNOWS_SOON_REPEATS;
    let times = if once { 1 } else { 3 };
    assert_eq!(subject.count().await, times * 20);
    assert_eq!(subject.arrived().await, bodies(&events(20)));
}

pub(crate) async fn a_dead_letter_arrives_with_its_own_bytes<S: Subject>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    let batch: Vec<_> = (0..)
        .zip(odd_bodies())
        .map(|(number, body)| as_dead(event(number, "/in/genesys", &body)))
        .collect();
    let (fitting, larger) = by_size::<S>(batch);
    deliver_all(&*to, &fitting).await;
    insist_too_large(&*to, &larger).await;
    assert_eq!(subject.arrived().await, bodies(&fitting));
}

/// The request was sent and the answer is lost, at every place of a longer exchange.
pub(crate) async fn a_cut_connection_loses_nothing_and_what_was_finished_is_known<S: Served>() {
    let subject = S::start().await;
    let proxy = Proxy::start(subject.address()).await.unwrap();
    let to = made(&subject.section_at(proxy.addr()));
    deliver_all(&*to, &events(1)).await;
    for (round, pieces) in [0, 0, 1, 2, 4, 8].into_iter().enumerate() {
        let first = 1000 * u32::try_from(round + 1).unwrap();
        let batch: Vec<_> = (first..first + 100)
            .map(|number| event(number, "/in/genesys", b"{\"n\": 1}"))
            .collect();
        let seen = AtomicUsize::new(0);
        let trigger = Trigger::bytes(move |_| seen.fetch_add(1, Ordering::Relaxed) == pieces);
        proxy.cut_when(trigger).unwrap();
        let outcome = to.deliver(&batch).await;
        let why = &outcome.unavailable;
        let arrived = subject.arrived().await;
        for (delivery, outcome) in batch.iter().zip(&outcome.outcomes) {
            match outcome {
                Outcome::Delivered => {
                    let id = delivery.stored.id.to_string();
                    assert!(arrived.contains_key(&id), "{id} is said to be delivered");
                }
                Outcome::NotDone => assert!(why.is_some(), "not done, and nobody says why"),
                other => panic!("a cut is nothing that an event can help: {other:?}"),
            }
        }
        deliver_soon(&*to, &batch).await;
        let arrived = subject.arrived().await;
        for (id, body) in bodies(&batch) {
            assert_eq!(arrived.get(&id), Some(&body));
        }
    }
}

pub(crate) async fn no_error_keeps_a_secret<S: Served>() {
    // A port that was free a moment ago: nobody listens.
    let free = testbed::port::Lease::take().unwrap();
    let to = made(&S::secret_section(free.addr()));
    let outcome = to.deliver(&events(2)).await;
    let (probed, inspected) = (to.probe().await, to.inspect().await);
    assert!(outcome.unavailable.is_some() && probed.is_err() && inspected.is_err());
    let told = format!("{outcome:?} {probed:?} {inspected:?}");
    assert!(!told.contains("hunter2"), "{told}");
}

pub(crate) async fn a_read_only_database_is_unavailable<S: Database>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    deliver_all(&*to, &events(10)).await;
    subject.set_read_only(true).await;
    deliver_to_nobody(&*to, &events(20)).await;
    to.probe().await.unwrap_err();
    subject.set_read_only(false).await;
    to.probe().await.unwrap();
    deliver_all(&*to, &events(20)).await;
    assert_eq!(subject.bodies("webhook_events").await, bodies(&events(20)));
}

pub(crate) async fn columns_take_values_out_of_the_body<S: Database>() {
    let subject = S::start().await;
    subject
        .execute(
            "CREATE TABLE \"My Events\" (event varchar(36) PRIMARY KEY, \"conversationId\" varchar(5), n numeric(10, 2), whole text)",
        )
        .await;
    let to = destination(
        &subject,
        json!({
            "table": "My Events",
            "id_column": "event",
            "columns": {"conversationId": "/conversationId", "n": "/items/0/n", "whole": "$body"},
        }),
    );
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    let body = br#"{"conversationId": "c-1", "items": [{"n": 1.25}]}"#;
    let batch = [
        event(1, "/", body),
        event(2, "/", b"{}"),
        event(3, "/", b"not json"),
    ];
    for _ in 0..2 {
        let outcome = to.deliver(&batch).await;
        assert_eq!(outcome.unavailable, None);
        assert_eq!(
            outcome.outcomes[..2],
            [Outcome::Delivered, Outcome::Delivered]
        );
        let Outcome::Reject { cause } = &outcome.outcomes[2] else {
            panic!("{outcome:?}");
        };
        assert!(cause.detail.contains("not JSON"), "{cause}");
    }
    let rows = "SELECT coalesce(\"conversationId\", '-') || ' ' || coalesce(n || '', '-') FROM \"My Events\" ORDER BY event";
    assert_eq!(subject.texts(rows).await, ["c-1 1.25", "- -"]);
    let whole = "SELECT whole FROM \"My Events\" ORDER BY event";
    let whole = subject.texts(whole).await;
    assert_eq!(whole[0].as_bytes(), body);
}

pub(crate) async fn an_id_column_without_an_index_is_named_and_written_plainly<S: Database>() {
    let subject = S::start().await;
    subject
        .execute("CREATE TABLE log (id varchar(36), n text)")
        .await;
    let own = json!({"table": "log", "id_column": "id", "columns": {"n": "/number"}});
    let to = destination(&subject, own.clone());
    let findings = to.inspect().await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].text.contains("at least once"), "{findings:?}");
    deliver_all(&*to, &events(3)).await;
    deliver_all(&*to, &events(3)).await;
    assert_eq!(subject.texts("SELECT id FROM log").await.len(), 6);

    subject
        .execute("DELETE FROM log; CREATE UNIQUE INDEX own ON log (id)")
        .await;
    let to = destination(&subject, own);
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    deliver_all(&*to, &events(3)).await;
    deliver_all(&*to, &events(3)).await;
    assert_eq!(subject.texts("SELECT id FROM log").await.len(), 3);
}

pub(crate) async fn another_unique_conflict_is_rejected<S: Database>() {
    let subject = S::start().await;
    let to = destination(&subject, json!({}));
    to.inspect().await.unwrap();
    subject
        .execute("CREATE UNIQUE INDEX paths ON webhook_events (path)")
        .await;
    deliver_all(&*to, &[event(1, "/a", b"1")]).await;
    let outcome = to
        .deliver(&[event(2, "/a", b"2"), event(1, "/a", b"1")])
        .await;
    assert!(
        matches!(outcome.outcomes[0], Outcome::Reject { .. }),
        "{outcome:?}"
    );
    assert_eq!(outcome.outcomes[1], Outcome::Delivered);
    assert_eq!(subject.bodies("webhook_events").await.len(), 1);
}

pub(crate) async fn a_statement_runs_with_bound_parameters<S: Database>() {
    let subject = S::start().await;
    subject
        .execute("CREATE TABLE mine (id varchar(36) PRIMARY KEY, body text, kind text)")
        .await;
    let kind = S::together(&["$event_type", "'$id'", "$source"]);
    let statement = S::once(&format!("INSERT INTO mine VALUES ($id, $body, {kind})"));
    let to = destination(&subject, json!({"statement": statement}));
    let findings = to.inspect().await.unwrap();
    assert!(findings[0].text.contains("idempotent"), "{findings:?}");
    let batch = [
        event(1, "/", b"'); DROP TABLE mine; --"),
        event(2, "/", b"\xff"),
        event(3, "/", b"{}"),
    ];
    for _ in 0..2 {
        let outcome = to.deliver(&batch).await;
        assert_eq!(outcome.outcomes[0], Outcome::Delivered, "{outcome:?}");
        // $body alone cannot hold it: it must be seen, and not become a null.
        assert!(
            matches!(outcome.outcomes[1], Outcome::Reject { .. }),
            "{outcome:?}"
        );
        assert_eq!(outcome.outcomes[2], Outcome::Delivered);
    }
    let rows = subject.texts("SELECT body FROM mine ORDER BY id").await;
    assert_eq!(rows, ["'); DROP TABLE mine; --", "{}"]);
    let kinds = subject.texts("SELECT DISTINCT kind FROM mine").await;
    assert_eq!(kinds, ["message$idgenesys"]);
}

pub(crate) async fn a_table_that_does_not_fit_is_named_plainly<S: Database>() {
    let subject = S::start().await;
    subject
        .execute("CREATE TABLE small (id varchar(36) PRIMARY KEY)")
        .await;
    let to = destination(&subject, json!({"table": "small"}));
    let why = to.inspect().await.unwrap_err().to_string();
    assert!(why.contains("small has no column source"), "{why}");
    deliver_to_nobody(&*to, &events(1)).await;
    let columns = json!({"table": "absent", "id_column": "id", "columns": {"n": "/n"}});
    let why = destination(&subject, columns).inspect().await.unwrap_err();
    assert!(
        why.to_string().contains("there is no table absent"),
        "{why}"
    );
}

/// Every promise, as tests of one subject: `contract!(Subject)`, or `contract!(Subject, served)` for one that is
/// reached over a network, or `contract!(Database, sql)`, or `contract!(Database, served sql)`.
macro_rules! contract {
    ($subject:ty) => {
        crate::contract::contract!(contract $subject:
            a_batch_arrives_whole
            every_body_arrives_byte_for_byte
            an_absent_destination_is_unavailable_until_it_is_back
            a_destination_made_while_it_is_away_works_later
            repeats_arrive_once_or_carry_the_same_id
            a_dead_letter_arrives_with_its_own_bytes
        );
    };
    ($subject:ty, served) => {
        crate::contract::contract!($subject);
        crate::contract::contract!(served_contract $subject:
            a_cut_connection_loses_nothing_and_what_was_finished_is_known
            no_error_keeps_a_secret
        );
    };
    ($subject:ty, sql) => {
        crate::contract::contract!($subject);
        crate::contract::contract!($subject, only sql);
    };
    ($subject:ty, served sql) => {
        crate::contract::contract!($subject, served);
        crate::contract::contract!($subject, only sql);
    };
    ($subject:ty, only sql) => {
        crate::contract::contract!(sql_contract $subject:
            delivers_batches_and_repeats_are_single
            a_bad_row_is_rejected_alone
            many_bad_rows_are_rejected_each_with_its_cause
            odd_parts_are_kept_in_their_columns
            a_read_only_database_is_unavailable
            columns_take_values_out_of_the_body
            an_id_column_without_an_index_is_named_and_written_plainly
            another_unique_conflict_is_rejected
            a_statement_runs_with_bound_parameters
            a_table_that_does_not_fit_is_named_plainly
        );
    };
    ($name:ident $subject:ty: $($test:ident)+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::contract::$test::<$subject>().await;
                }
            )+
        }
    };
}
pub(crate) use contract;
