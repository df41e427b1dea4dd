//! What HTTP/1.1 allows a client to do, and what it must not get away with.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::door::{Answered, Door, journal, sources, stored};

const POST: &str = "POST /in/open HTTP/1.1\r\nhost: x\r\n";

async fn door(directory: &std::path::Path) -> (Door, std::sync::Arc<journal::EmbeddedJournal>) {
    let journal = journal(directory);
    let open = sources(r#"{"open": {"type": "http"}}"#);
    (Door::open(&open, journal.clone(), |_| {}).await, journal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_side_after_sending_still_gets_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (door, journal) = door(directory.path()).await;
    let mut client = door.connect().await;
    let request = format!("{POST}content-length: 2\r\n\r\n{{}}");
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(Answered::read(&mut client).await.status, 200);
    assert_eq!(stored(&journal).await.len(), 1);
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_sent_ahead_are_answered_one_by_one_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let (door, journal) = door(directory.path()).await;
    let mut client = door.connect().await;
    let (first, second, third) = (
        format!("{POST}content-length: 1\r\n\r\n1"),
        "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n",
        format!("{POST}transfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\n3\r\n0\r\n\r\n"),
    );
    let all = format!("{first}{second}{third}");
    client.write_all(all.as_bytes()).await.unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    let statuses: Vec<_> = said
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &said[at + 9..at + 12])
        .collect();
    assert_eq!(statuses, ["200", "404", "200"], "{said}");
    let events = stored(&journal).await;
    let bodies: Vec<_> = events.iter().map(|event| &event.event.body[..]).collect();
    assert_eq!(bodies, [b"1", b"3"]);
    // The answers name the events in the same order.
    let at = |event: &domain::StoredEvent| said.find(&event.id.to_string()).unwrap();
    assert!(at(&events[0]) < at(&events[1]));
    assert!(door.close().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_first_is_told_to_go_on_and_not_when_it_would_be_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (door, journal) = door(directory.path()).await;
    let mut client = door.connect().await;
    let head = format!("{POST}expect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(Answered::read(&mut client).await.status, 100);
    client.write_all(b"{}").await.unwrap();
    assert_eq!(Answered::read(&mut client).await.status, 200);
    assert_eq!(stored(&journal).await.len(), 1);

    let too_large = head.replace("content-length: 2", "content-length: 99999999");
    assert_eq!(door.say(too_large.as_bytes()).await.status, 413);
    assert!(door.close().await);
}

/// What two readers could take for different requests (RFC 9112, 6.1 and 11.2). Where both lengths are
/// given, chunks count, and whatever follows on the connection is not a request any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_smuggled_behind_a_request_with_two_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (door, journal) = door(directory.path()).await;
    let smuggled = format!("0\r\n\r\n{POST}content-length: 1\r\n\r\n1");
    let length = smuggled.len();
    for (status, framing) in [
        (
            200,
            format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        ),
        (
            200,
            format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n"),
        ),
        (
            400,
            format!("content-length: {length}\r\ncontent-length: 5\r\n"),
        ),
        (400, "transfer-encoding: chunked, identity\r\n".into()),
        (400, "transfer-encoding: gzip\r\n".into()),
        (400, format!("content-length: +{length}\r\n")),
        (400, format!("content-length : {length}\r\n")),
    ] {
        let mut client = door.connect().await;
        let request = format!("{POST}{framing}\r\n{smuggled}");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status} ")),
            "{framing}: {said}"
        );
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{framing}: {said}");
    }
    let events = stored(&journal).await;
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|stored| stored.event.body.is_empty()));
    assert!(door.close().await);
}

/// A reader in front that takes a lone LF for no end of a line sees another request there than we would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_lf_is_refused_in_a_head_that_was_sent_ahead_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let (door, journal) = door(directory.path()).await;
    let hidden = format!("{POST}x: y\ncontent-length: 6\r\n\r\nhidden");
    let firsts = [
        "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        format!("{POST}content-length: 4\r\n\r\n1\n\n1"),
        format!("{POST}transfer-encoding: chunked\r\n\r\n2;x\r\n\n\n\r\n0\r\nx: y\r\n\r\n"),
        // Longer than what is read at once.
        format!("{POST}content-length: 20000\r\n\r\n{}", "\n".repeat(20_000)),
        // The first of them is known by then, and in its turn has one behind it.
        format!("{POST}content-length: 1\r\n\r\n1{POST}content-length: 1\r\n\r\n2"),
    ];
    let mut good = 0;
    for first in firsts {
        let answers = 1 + first.matches("HTTP/1.1\r\n").count();
        good += first.matches("POST ").count();
        // With and without a pause between the two.
        for cut in [0, first.len()] {
            let mut client = door.connect().await;
            let all = [first.as_bytes(), hidden.as_bytes()].concat();
            for part in [&all[..cut], &all[cut..]] {
                client.set_nodelay(true).unwrap();
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut said = String::new();
            client.read_to_string(&mut said).await.unwrap();
            let statuses: Vec<_> = said
                .match_indices("HTTP/1.1 ")
                .map(|(at, _)| &said[at + 9..at + 12])
                .collect();
            let (last, before) = statuses.split_last().unwrap();
            assert_eq!(
                (*last, statuses.len()),
                ("400", answers),
                "{first:.90}: {said}"
            );
            assert!(
                before.iter().all(|status| *status == "200"),
                "{first:.90}: {said}"
            );
        }
    }
    let events = stored(&journal).await;
    assert_eq!(events.len(), 2 * good);
    assert!(
        events
            .iter()
            .all(|stored| &stored.event.body[..] != b"hidden")
    );
    door.refused("request-unreadable", 10..=10).await;
    assert!(door.close().await);
}

/// hyper takes the lines behind the last chunk for whatever they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_lf_is_refused_behind_the_last_chunk() {
    let directory = tempfile::tempdir().unwrap();
    let (door, journal) = door(directory.path()).await;
    let chunked = format!("{POST}transfer-encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n");
    for trailers in ["x: y\n\r\n", "\n\r\n", "x: y\n\nGET / HTTP/1.1\r\n\r\n"] {
        let answered = door.say(format!("{chunked}{trailers}").as_bytes()).await;
        assert_eq!(answered.status, 400, "{trailers:?}: {answered:?}");
    }
    assert!(stored(&journal).await.is_empty());
    assert!(door.close().await);
}

/// Else anybody could make each restart take its whole time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_does_not_wait_for_heads_that_do_not_come() {
    let directory = tempfile::tempdir().unwrap();
    let open = sources(r#"{"open": {"type": "http"}}"#);
    let door = Door::open(&open, journal(directory.path()), |settings| {
        settings.limits.header_timeout = std::time::Duration::from_hours(1);
    })
    .await;
    let block = [&[0, 0, 4, 1, 0, 0, 0, 0, 1][..], &[0x83, 0x86, 0x04, 8]].concat();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut held = Vec::new();
    for half in [&hello[..], &[&hello[..], &block].concat()] {
        let mut client = door.connect().await;
        client.write_all(half).await.unwrap();
        held.push(client);
    }
    let mut heads = Vec::new();
    for _ in 0..10 {
        let mut client = door.connect().await;
        client.write_all(POST.as_bytes()).await.unwrap();
        heads.push(client);
    }
    // Those before have been read by then, or most of them.
    assert_eq!(door.post("/in/open", &[], b"{}").await.status, 200);
    assert!(door.close().await);
    let mut told = 0;
    for client in &mut heads {
        let mut said = String::new();
        client.read_to_string(&mut said).await.ok();
        if !said.is_empty() {
            told += 1;
            assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
            assert!(said.contains("\"code\":\"shutting-down\""), "{said}");
        }
    }
    assert!(told > 0, "closed without a word");
}
