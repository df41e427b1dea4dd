//! Redis in trouble: full, refusing, hung, killed, cut off.

use std::time::Duration;

use domain::Outcome;
use serde_json::json;
use testbed::DEADLINE;
use testbed::proxy::{Mode, Proxy, Trigger};
use testbed::redis::Options;

use crate::contract::{Served as _, Subject as _};
use crate::events::{
    bodies, context, deliver_all, deliver_soon, deliver_to_nobody, event, events, made,
};
use crate::redis::{KEY, List, Stream};

/// Delivers, insists that nothing is known, and gives the whole cause; the probe must say the same.
pub(crate) async fn refused(to: &dyn domain::ports::Destination) -> String {
    let outcome = to.deliver(&events(20)).await;
    assert_eq!(outcome.outcomes, vec![Outcome::NotDone; 20]);
    let why = outcome.unavailable.unwrap();
    assert_eq!(to.probe().await.unwrap_err(), why);
    assert_eq!(to.inspect().await.unwrap_err(), why);
    why.to_string()
}

#[tokio::test]
async fn a_full_server_is_unavailable_and_what_it_took_before_is_delivered() {
    let subject = Stream::with(Options::default()).await;
    let to = made(&subject.section());
    deliver_all(&*to, &events(1)).await;
    let memory: String = subject.server.ask(&["INFO", "memory"]).await.unwrap();
    let used = memory
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used.unwrap().trim().parse().unwrap();
    let limit = (used + (4 << 20)).to_string();
    let set = ["CONFIG", "SET", "maxmemory", &limit];
    subject.server.execute(&set).await.unwrap();
    let batch: Vec<_> = (1..400)
        .map(|number| event(number, "/", &[b'x'; 50_000]))
        .collect();
    let outcome = to.deliver(&batch).await;
    let why = outcome.unavailable.unwrap();
    assert_eq!(why.cause.code, "redis OOM");
    assert!(why.cause.detail.contains("raise maxmemory"), "{why}");
    let arrived = subject.arrived().await;
    let mut delivered = 0;
    for (one, outcome) in batch.iter().zip(&outcome.outcomes) {
        let id = one.stored.id.to_string();
        let is_there = arrived.contains_key(&id);
        assert_eq!(*outcome == Outcome::Delivered, is_there, "{outcome:?}");
        delivered += usize::from(is_there);
    }
    assert!(delivered > 0 && delivered < batch.len(), "{delivered}");
    let set = async |limit: &str| {
        let words = ["CONFIG", "SET", "maxmemory", limit];
        subject.server.execute(&words).await.unwrap();
    };
    set("1").await;
    assert!(refused(&*to).await.starts_with("redis OOM"));
    set("0").await;
    to.probe().await.unwrap();
    let rest: Vec<_> = batch
        .into_iter()
        .zip(outcome.outcomes)
        .filter(|(_, outcome)| *outcome != Outcome::Delivered)
        .map(|(one, _)| one)
        .collect();
    deliver_all(&*to, &rest).await;
    assert_eq!(subject.count().await, 400);
}

#[tokio::test]
async fn a_key_of_another_type_is_unavailable_by_its_name() {
    let subject = List::start().await;
    subject.server.execute(&["SET", KEY, "1"]).await.unwrap();
    let to = subject.made(json!({}));
    let why = refused(&*to).await;
    assert!(why.starts_with("redis WRONGTYPE"), "{why}");
    assert!(why.contains(KEY) && why.contains("`list`"), "{why}");
    let stream = made(&json!({"type": "redis", "url": subject.server.url(), "stream": KEY}));
    assert!(refused(&*stream).await.contains("`stream`"));
    subject.server.execute(&["DEL", KEY]).await.unwrap();
    deliver_all(&*to, &events(2)).await;
    assert!(refused(&*stream).await.contains("is no stream"));
}

#[tokio::test]
async fn a_login_that_is_missing_wrong_or_not_wanted_is_unavailable() {
    let locked = List::with(Options::default().with_password("hunter2")).await;
    let open = List::start().await;
    let addr = locked.server.addr();
    for (url, code) in [
        (format!("redis://{addr}"), "redis NOAUTH"),
        (format!("redis://:hunter3@{addr}"), "redis WRONGPASS"),
        (format!("redis://nobody:hunter2@{addr}"), "redis WRONGPASS"),
        (
            format!("redis://:hunter2@{}", open.server.addr()),
            "redis no password",
        ),
        (format!("redis://{}/16", open.server.addr()), "redis db"),
    ] {
        let to = made(&json!({"type": "redis", "url": url, "list": KEY}));
        let why = refused(&*to).await;
        assert!(why.starts_with(code), "{url}: {why}");
        assert!(why.contains("`url`") && !why.contains("hunter"), "{why}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("redis://:hunter3@{addr}")).unwrap();
    let to = made(&json!({"type": "redis", "url_file": file.path(), "list": KEY}));
    deliver_to_nobody(&*to, &events(1)).await;
    // A password that was changed is found in the file by itself.
    std::fs::write(&file, format!("redis://:hunter2@{addr}")).unwrap();
    deliver_all(&*to, &events(1)).await;
    std::fs::remove_file(&file).unwrap();
    deliver_all(&*to, &events(1)).await;
    locked
        .server
        .execute(&["CLIENT", "KILL", "TYPE", "normal"])
        .await
        .unwrap();
    testbed::until("the connection is gone", DEADLINE, async || {
        match to.deliver(&events(1)).await.unavailable {
            Some(why) if why.cause.code == "configuration" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_user_with_too_few_permissions_is_unavailable_and_one_with_just_enough_is_told_so() {
    let subject = List::start().await;
    let server = &subject.server;
    let section = |key: &str, kind: &str| {
        let url = format!("redis://app:hunter2@{}", server.addr());
        json!({"type": "redis", "url": url, (kind): key})
    };
    let user = async |rules: &str| {
        let words = format!("ACL SETUSER app reset on >hunter2 {rules}");
        let words: Vec<&str> = words.split(' ').collect();
        server.execute(&words).await.unwrap();
    };
    user("~shop:* +rpush +multi +discard").await;
    let why = refused(&*made(&section("other", "list"))).await;
    assert!(
        why.contains("redis NOPERM") && why.contains("~other"),
        "{why}"
    );
    let why = refused(&*made(&section("shop:stream", "stream"))).await;
    assert!(why.contains("+xadd"), "{why}");
    // Enough to deliver. What it may not ask is said, and nothing else is held against it.
    for rules in ["~shop:* +rpush +multi +discard", "~shop:* +rpush"] {
        user(rules).await;
        let to = made(&section(KEY, "list"));
        to.probe().await.unwrap();
        deliver_all(&*to, &events(3)).await;
        let found = to.inspect().await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].text.contains("+config|get"), "{found:?}");
    }
    user("~shop:* +rpush +multi +discard +config|get").await;
    let to = made(&section(KEY, "list"));
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    assert_eq!(subject.count().await, 6);
    // A permission that is taken away while the connection is open.
    deliver_all(&*to, &events(3)).await;
    user("~shop:* +xadd").await;
    let outcome = deliver_to_nobody(&*to, &events(3)).await;
    assert!(["redis NOPERM", "reset"].contains(&&*outcome), "{outcome}");
}

#[tokio::test]
async fn a_server_set_up_weaker_than_promised_says_how_to_mend_it() {
    let subject = List::with(Options::default().without_append_only_file()).await;
    let to = subject.made(json!({}));
    let found = async || {
        let found = to.inspect().await.unwrap();
        let texts: Vec<String> = found.into_iter().map(|one| one.text).collect();
        texts
    };
    let set = async |name: &str, value: &str| {
        let words = ["CONFIG", "SET", name, value];
        subject.server.execute(&words).await.unwrap();
    };
    let texts = found().await;
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("set appendonly yes"), "{texts:?}");
    set("appendonly", "yes").await;
    assert_eq!(found().await, Vec::<String>::new());
    for (name, weak, good, words) in [
        ("appendfsync", "everysec", "always", "a second or two"),
        ("appendfsync", "no", "always", "half minute"),
        ("no-appendfsync-on-rewrite", "yes", "no", "rewritten"),
        ("maxmemory-policy", "allkeys-lru", "noeviction", KEY),
    ] {
        set(name, weak).await;
        let texts = found().await;
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains(&format!("{name} = {weak}")), "{texts:?}");
        let words = words.trim_start_matches("a ");
        assert!(texts[0].contains(words), "{texts:?}");
        set(name, good).await;
    }
    deliver_all(&*to, &events(1)).await;
    subject
        .server
        .execute(&["EXPIRE", KEY, "1000"])
        .await
        .unwrap();
    let texts = found().await;
    assert!(
        texts.len() == 1 && texts[0].contains("PERSIST"),
        "{texts:?}"
    );
}

#[tokio::test]
async fn a_probe_and_an_inspection_leave_nothing_behind() {
    let subject = List::start().await;
    let to = subject.made(json!({}));
    for _ in 0..3 {
        to.probe().await.unwrap();
        to.inspect().await.unwrap();
    }
    let exists: usize = subject.server.ask(&["EXISTS", KEY]).await.unwrap();
    assert_eq!(exists, 0);
}

#[tokio::test]
async fn a_server_that_cannot_write_its_file_is_unavailable() {
    let subject = List::start().await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &events(1)).await;
    // A snapshot that fails: its file is a directory.
    let path = subject.server.dir().join("dump.rdb");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("in-the-way"), "").unwrap();
    subject
        .server
        .execute(&["CONFIG", "SET", "save", "3600 1"])
        .await
        .unwrap();
    subject.server.execute(&["BGSAVE"]).await.unwrap();
    testbed::until("the snapshot has failed", DEADLINE, async || {
        let info: String = subject.server.ask(&["INFO", "persistence"]).await.unwrap();
        let failed = info.contains("rdb_last_bgsave_status:err");
        failed.then_some(()).ok_or(info)
    })
    .await
    .unwrap();
    let why = refused(&*to).await;
    assert!(why.starts_with("redis MISCONF"), "{why}");
    assert!(why.contains("make room"), "{why}");
    subject
        .server
        .execute(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"])
        .await
        .unwrap();
    deliver_all(&*to, &events(2)).await;
}

#[tokio::test]
async fn an_event_larger_than_the_server_takes_is_rejected_alone() {
    let options = Options::default().with_setting("proto-max-bulk-len", "1mb");
    let subject = Stream::with(options).await;
    let to = made(&subject.section());
    let mut batch = events(9);
    batch[4] = event(100, "/", &vec![b'x'; (1 << 20) + 1]);
    let just_fits = event(101, "/", &vec![b'x'; 1 << 20]);
    batch.push(just_fits);
    let outcome = to.deliver(&batch).await;
    assert_eq!(outcome.unavailable, None);
    for (at, outcome) in outcome.outcomes.iter().enumerate() {
        match outcome {
            Outcome::Reject { cause } if at == 4 => {
                assert_eq!(cause.code, "too-large");
                assert!(cause.detail.contains("1048576"), "{cause}");
            }
            other => assert_eq!(*other, Outcome::Delivered, "{at}"),
        }
    }
    assert_eq!(subject.count().await, 9);
}

#[tokio::test]
async fn a_hung_server_is_unavailable_after_the_timeout_and_works_when_resumed() {
    let mut subject = List::start().await;
    let to = subject.made(json!({"timeout": "500ms", "connect_timeout": "500ms"}));
    deliver_soon(&*to, &events(10)).await;
    subject.server.pause().await.unwrap();
    assert_eq!(deliver_to_nobody(&*to, &events(50)).await, "timeout");
    let code = deliver_to_nobody(&*to, &events(50)).await;
    assert_eq!(code, "timeout", "a new connection to a hung server");
    assert_eq!(to.probe().await.unwrap_err().cause.code, "timeout");
    subject.server.resume().unwrap();
    deliver_soon(&*to, &events(50)).await;
    assert_eq!(subject.arrived().await, bodies(&events(50)));
}

#[tokio::test]
async fn a_server_that_is_reading_its_data_is_unavailable_until_it_has() {
    // Each key takes a tenth of a second to read, so that there is time to look.
    let options = Options::default()
        .with_setting("enable-debug-command", "local")
        .with_setting("loading-process-events-interval-bytes", "1024");
    let mut subject = List::with(options).await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &events(1)).await;
    let server = &mut subject.server;
    server
        .execute(&["DEBUG", "POPULATE", "2000", "filler", "1000"])
        .await
        .unwrap();
    server.execute(&["BGREWRITEAOF"]).await.unwrap();
    testbed::until("the file is rewritten", DEADLINE, async || {
        let info: String = server.ask(&["INFO", "persistence"]).await.unwrap();
        let done =
            info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
        done.then_some(()).ok_or(info)
    })
    .await
    .unwrap();
    let slow = ["CONFIG", "SET", "key-load-delay", "5000"];
    server.execute(&slow).await.unwrap();
    server.execute(&["CONFIG", "REWRITE"]).await.unwrap();
    server.stop().await.unwrap();
    server.start_without_waiting().unwrap();
    testbed::until("it says that it is loading", DEADLINE, async || {
        match to.deliver(&events(3)).await.unavailable {
            Some(why) if why.cause.code == "redis LOADING" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let why = to.probe().await.unwrap_err().to_string();
    assert!(why.contains("by itself"), "{why}");
    let fast = ["CONFIG", "SET", "key-load-delay", "0"];
    subject.server.execute(&fast).await.unwrap();
    deliver_soon(&*to, &events(3)).await;
    assert_eq!(subject.arrived().await, bodies(&events(3)));
}

#[tokio::test]
async fn a_killed_server_has_everything_that_was_delivered() {
    let mut subject = Stream::with(Options::default()).await;
    let to = made(&subject.section());
    let batch = events(2000);
    deliver_all(&*to, &batch[..100]).await;
    let (parts, known) = batch.split_at(1000);
    let deliver = async {
        let mut delivered = Vec::new();
        for part in parts.chunks(50).chain(known.chunks(50)) {
            let outcome = to.deliver(part).await;
            for (one, outcome) in part.iter().zip(&outcome.outcomes) {
                if *outcome == Outcome::Delivered {
                    delivered.push(one.clone());
                }
            }
            if outcome.unavailable.is_some() {
                break;
            }
        }
        delivered
    };
    let kill = async {
        let server = &mut subject.server;
        testbed::until("some have arrived", DEADLINE, async || {
            let there: usize = server.ask(&["XLEN", KEY]).await.unwrap();
            (there > 300).then_some(()).ok_or(there.to_string())
        })
        .await
        .unwrap();
        server.kill().await.unwrap();
    };
    let (delivered, ()) = tokio::join!(deliver, kill);
    subject.server.start().await.unwrap();
    let arrived = subject.arrived().await;
    for (id, body) in bodies(&delivered) {
        assert_eq!(arrived.get(&id), Some(&body), "{id}");
    }
    deliver_soon(&*to, &batch).await;
    assert_eq!(subject.arrived().await, bodies(&batch));
}

#[tokio::test]
async fn a_restart_between_batches_is_not_noticed() {
    let mut subject = List::start().await;
    let to = subject.made(json!({}));
    deliver_all(&*to, &events(10)).await;
    subject.server.stop().await.unwrap();
    subject.server.start().await.unwrap();
    // The old connection's end has long arrived; whoever finds it closed opens another.
    deliver_soon(&*to, &events(20)).await;
    assert_eq!(subject.arrived().await, bodies(&events(20)));
}

#[tokio::test]
async fn resets_refusals_and_silence_on_the_way_are_unavailable() {
    let subject = List::start().await;
    let proxy = Proxy::start(subject.server.addr()).await.unwrap();
    let section = subject.section_at(proxy.addr());
    let patient = made(&section);
    deliver_all(&*patient, &events(1)).await;
    for (mode, code) in [(Mode::Refuse, "refused"), (Mode::Reset, "reset")] {
        proxy.set(mode).await.unwrap();
        deliver_to_nobody(&*patient, &events(3)).await;
        assert_eq!(deliver_to_nobody(&*patient, &events(3)).await, code);
        assert_eq!(patient.probe().await.unwrap_err().cause.code, code);
        proxy.set(Mode::Pass).await.unwrap();
        deliver_all(&*patient, &events(3)).await;
    }
    let mut hasty = section.clone();
    hasty["timeout"] = "200ms".into();
    let hasty = made(&hasty);
    proxy.set(Mode::Hang).await.unwrap();
    assert_eq!(deliver_to_nobody(&*hasty, &events(3)).await, "timeout");
    proxy.set(Mode::Pass).await.unwrap();
    deliver_soon(&*patient, &events(3)).await;
}

#[tokio::test]
async fn what_was_answered_before_a_cut_is_delivered() {
    let subject = List::start().await;
    let proxy = Proxy::start(subject.server.addr()).await.unwrap();
    let to = made(&subject.section_at(proxy.addr()));
    deliver_all(&*to, &events(1)).await;
    // Answers come in several pieces, since the server reads 16 KiB at a time. The last is kept back.
    let batch: Vec<_> = (1..101)
        .map(|number| event(number, "/", &[b'x'; 4000]))
        .collect();
    let last = Trigger::bytes(|piece| piece.windows(6).any(|text| text == b":101\r\n"));
    proxy.cut_when(last).unwrap();
    let outcome = to.deliver(&batch).await;
    assert_eq!(outcome.unavailable.unwrap().cause.code, "reset");
    let delivered = outcome
        .outcomes
        .iter()
        .take_while(|outcome| **outcome == Outcome::Delivered)
        .count();
    assert!((1..100).contains(&delivered), "{delivered}");
    assert_eq!(
        outcome.outcomes[delivered..],
        vec![Outcome::NotDone; 100 - delivered]
    );
    assert_eq!(subject.count().await, 101);
}

#[tokio::test]
async fn a_call_that_is_dropped_disturbs_no_other() {
    let mut subject = List::start().await;
    let to = subject.made(json!({"concurrency": 1}));
    deliver_all(&*to, &events(1)).await;
    subject.server.pause().await.unwrap();
    for _ in 0..3 {
        let short = Duration::from_millis(50);
        let batch = events(50);
        let dropped = tokio::time::timeout(short, to.deliver(&batch)).await;
        assert!(dropped.is_err());
    }
    subject.server.resume().unwrap();
    deliver_soon(&*to, &events(50)).await;
    assert_eq!(subject.arrived().await, bodies(&events(50)));
}

#[tokio::test]
async fn a_server_with_as_many_clients_as_it_allows_is_unavailable() {
    let subject = List::start().await;
    let set = ["CONFIG", "SET", "maxclients", "1"];
    // Whoever is in stays in, and keeps the next one out.
    let inside = subject.made(json!({}));
    deliver_all(&*inside, &events(1)).await;
    subject.server.execute(&set).await.unwrap();
    let to = subject.made(json!({}));
    testbed::until("it is full", DEADLINE, async || {
        match to.deliver(&events(1)).await.unavailable {
            Some(why) if ["redis maxclients", "reset"].contains(&&*why.cause.code) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    deliver_all(&*inside, &events(1)).await;
}

#[tokio::test]
async fn tls_is_verified_by_the_certificates_that_were_named() {
    let options = || Options::default().with_tls();
    let (subject, other) = (List::with(options()).await, List::with(options()).await);
    let addr = subject.server.tls_addr().unwrap();
    let url = format!("rediss://{addr}");
    let (own, foreign) = (subject.server.ca().unwrap(), other.server.ca().unwrap());
    let with_ca =
        |ca: &std::path::Path| json!({"type": "redis", "url": url, "list": KEY, "ca_file": ca});
    let to = made(&with_ca(&own));
    assert_eq!(to.inspect().await.unwrap(), vec![]);
    deliver_all(&*to, &events(500)).await;
    assert_eq!(subject.arrived().await, bodies(&events(500)));
    let to = made(&with_ca(&foreign));
    let why = to.probe().await.unwrap_err();
    assert_eq!(why.cause.code, "tls");
    assert!(why.cause.detail.contains("`ca_file`"), "{why}");
    // TLS where there is none, and none where there is.
    let plain = subject.server.addr();
    for (url, codes) in [
        (format!("rediss://{plain}"), &["timeout"][..]),
        (format!("redis://{addr}"), &["protocol", "reset"]),
    ] {
        let mut section = json!({"type": "redis", "url": url, "list": KEY});
        if url.starts_with("rediss") {
            section["ca_file"] = json!(own);
            section["connect_timeout"] = "300ms".into();
        }
        let code = deliver_to_nobody(&*made(&section), &events(1)).await;
        assert!(codes.contains(&&*code), "{url}: {code}");
    }
    // A server that asks for a certificate.
    let ask = ["CONFIG", "SET", "tls-auth-clients", "yes"];
    subject.server.execute(&ask).await.unwrap();
    let why = made(&with_ca(&own)).probe().await.unwrap_err();
    assert!(["tls", "reset"].contains(&&*why.cause.code), "{why}");
    let mut section = with_ca(&own);
    section["cert_file"] = json!(subject.server.dir().join("server.pem"));
    section["key_file"] = json!(subject.server.dir().join("server.key"));
    deliver_all(&*made(&section), &events(2)).await;
}

#[tokio::test]
async fn a_file_that_is_missing_is_found_when_the_destination_is_made() {
    for (key, section) in [
        ("url_file", json!({"url_file": "/nonexistent/url"})),
        (
            "ca_file",
            json!({"url": "rediss://h", "ca_file": "/nonexistent/ca"}),
        ),
        (
            "sentinel",
            json!({"url": "redis://h", "sentinel": {"master": "m", "password_file": "/nonexistent/pw"}}),
        ),
    ] {
        let mut section = section;
        section["type"] = "redis".into();
        section["list"] = KEY.into();
        let options: connectors::DestinationOptions = serde_json::from_value(section).unwrap();
        let Err(error) = connectors::build(&options.validate().unwrap(), &context()) else {
            panic!("{key}");
        };
        assert_eq!(error.key, key);
        assert!(error.reason.contains("/nonexistent/"), "{error}");
    }
}

#[tokio::test]
async fn a_name_that_is_none_and_what_is_no_redis_are_unavailable() {
    // A label of more than 63 letters: no resolver needs to ask anybody.
    let host = format!("{}.invalid", "a".repeat(64));
    let section = |place: &str| {
        let url = format!("redis://app:hunter2@{place}");
        json!({"type": "redis", "url": url, "list": KEY})
    };
    let to = made(&section(&host));
    let why = to.deliver(&events(1)).await.unavailable.unwrap();
    assert_eq!(why.cause.code, "dns");
    assert!(why.cause.detail.contains(&format!("{host}:6379")), "{why}");
    let web = testbed::endpoint::Endpoint::start().await.unwrap();
    let code = deliver_to_nobody(&*made(&section(&web.addr().to_string())), &events(1)).await;
    assert!(["protocol", "reset"].contains(&&*code), "{code}");
}
