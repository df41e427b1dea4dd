//! Two hundred thousand letters: what chooses, groups and counts them reads indexes alone.

use domain::ports::{DeadFilter, DeadQuery, Letter, Selection};
use domain::{Event, Headers, Reason, RouteName, SourceName, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::pick::{BY_EVENT, STATEMENTS};
use super::tally::{counting, grouping};
use super::*;

const LETTERS: u64 = 200_000;

/// The odd letters are of route `a`, the even ones of `b`; each hundredth was given up on after its retries.
/// A letter a second.
fn many() -> (tempfile::TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let mut connection = crate::connection::open_writer(&path).unwrap();
    crate::schema::migrate(&mut connection, &path).unwrap();
    let event = Event {
        source: SourceName::new("s").unwrap(),
        received_at: Timestamp::UNIX_EPOCH,
        method: "POST".into(),
        path: "/".into(),
        headers: Headers::default(),
        body: bytes::Bytes::from_static(b"{}"),
        event_type: None,
        remote: None,
        dedup: None,
        only: None,
    };
    let routes = "INSERT INTO routes (id, name, start, cursor, created_at)
                  VALUES (1, 'a', 0, 0, 0), (2, 'b', 0, 0, 0)";
    connection.execute(routes, []).unwrap();
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO dead (route, seq, event_id, event, attempts, reason, first_failure_at, last_failure_at,
                          cause_code, cause_detail, fingerprint)
        SELECT 2 - i % 2, i, cast(printf('%016d', i) AS BLOB), ?2, 1,
               iif(i % 100, 'rejected', 'retries-exhausted'), 0, i * 1000000, 'c', 'd ' || i,
               'cause ' || (i % 7)
        FROM n";
    let event = &crate::row::encode(&event)[..];
    let made = connection.execute(rows, params![int(LETTERS), event]);
    assert_eq!(made.unwrap() as u64, LETTERS);
    (directory, connection)
}

fn plan(connection: &Connection, text: &str, values: &[Value]) -> Vec<String> {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {text}"))
        .unwrap();
    let given = statement.parameter_count();
    let values = (0..given).map(|n| values.get(n).cloned().unwrap_or(Value::Null));
    let lines = statement.query_map(params_from_iter(values), |row| row.get(3));
    lines.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Every filter there is, by which parts are given.
fn filters() -> impl Iterator<Item = DeadFilter> {
    (0..32_u8).map(|parts| {
        let part = |bit: u8| parts & (1 << bit) != 0;
        DeadFilter {
            route: part(0).then(|| RouteName::new("a").unwrap()),
            reason: part(1).then_some(Reason::Rejected),
            fingerprint: part(2).then(|| "cause 3".into()),
            after: part(3).then(|| Timestamp::from_second(1_000).unwrap()),
            before: part(4).then(|| Timestamp::from_second(190_000).unwrap()),
        }
    })
}

fn fits(filter: &DeadFilter, n: u64) -> bool {
    let at = Timestamp::from_second(i64::try_from(n).unwrap()).unwrap();
    (filter.route.is_none() || !n.is_multiple_of(2))
        && (filter.reason.is_none() || !n.is_multiple_of(100))
        && (filter.fingerprint.is_none() || n % 7 == 3)
        && filter.after.is_none_or(|after| at >= after)
        && filter.before.is_none_or(|before| at < before)
}

#[test]
fn among_many_letters_indexes_alone_choose_group_and_count() {
    let (_directory, connection) = many();
    for text in STATEMENTS.into_iter().chain([BY_EVENT]) {
        let plan = plan(&connection, text, &[]);
        let of_dead: Vec<_> = plan.iter().filter(|line| line.contains(" dead ")).collect();
        assert_eq!(of_dead.len(), 1, "{plan:?}");
        assert!(of_dead[0].starts_with("SEARCH"), "{plan:?}");
        assert!(of_dead[0].contains("COVERING INDEX"), "{plan:?}");
        assert!(
            !plan.iter().any(|line| line.contains("TEMP B-TREE")),
            "{plan:?}"
        );
    }
    for filter in filters() {
        for (text, values) in [counting(&filter, Whose::All), grouping(&filter, 10)] {
            let plan = plan(&connection, &text, &values);
            for line in plan.iter().filter(|line| line.contains(" dead ")) {
                assert!(line.starts_with("SEARCH"), "{filter:?}: {plan:?}");
                assert!(line.contains("COVERING INDEX"), "{filter:?}: {plan:?}");
                let narrow = !line.contains("dead_fingerprint") || filter.fingerprint.is_none();
                assert!(
                    narrow || line.contains("fingerprint=?"),
                    "{filter:?}: {plan:?}"
                );
            }
        }
    }
    let whole = counting(&DeadFilter::default(), Whose::All).0;
    assert!(
        !whole.contains("dead INDEXED"),
        "no row is counted: {whole}"
    );
}

#[test]
fn among_many_letters_pages_and_counts_are_right() {
    let (_directory, mut connection) = many();
    for filter in filters() {
        let expected: Vec<u64> = (1..=LETTERS).rev().filter(|n| fits(&filter, *n)).collect();
        let selection = Selection::Filter(filter.clone());
        let counted = count(&connection, &selection, Whose::All).unwrap();
        assert_eq!(counted, expected.len() as u64, "{filter:?}");
        let groups = groups(&connection, &filter, 100).unwrap();
        let grouped: u64 = groups.iter().map(|group| group.count).sum();
        assert_eq!(grouped, counted, "{filter:?}");
        let (mut found, mut below) = (Vec::new(), None);
        while found.len() < 200 {
            let filter = filter.clone();
            let query = DeadQuery {
                filter,
                below,
                limit: 90,
            };
            let page = page(&connection, &query).unwrap();
            found.extend(page.letters.iter().map(|letter| letter.letter.0));
            below = page.next;
            if below.is_none() {
                break;
            }
        }
        assert!(found.len() >= 180, "{filter:?}");
        assert_eq!(found, expected[..found.len()], "{filter:?}");
    }
    let few = Selection::Filter(DeadFilter {
        reason: Some(Reason::Outage),
        ..DeadFilter::default()
    });
    let through = Letter(LETTERS);
    let none = purge(&mut connection, &few, through, 100).unwrap();
    assert_eq!(none, 0, "looked through to the end");
    let rare = Selection::Filter(DeadFilter {
        reason: Some(Reason::RetriesExhausted),
        ..DeadFilter::default()
    });
    let mut purged = Vec::new();
    loop {
        match purge(&mut connection, &rare, through, 900).unwrap() {
            0 => break,
            some => purged.push(some),
        }
    }
    assert_eq!(purged.iter().sum::<u64>(), LETTERS / 100);
}
