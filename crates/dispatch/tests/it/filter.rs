//! What a route does not want is settled, counted, and never delivered.

use std::collections::BTreeSet;

use domain::ports::{Journal, State};
use domain::{Event, Outcome, RouteId, Seq, SourceName};

use crate::destination::{Act, Fake, LIMITS};
use crate::rig::{Rig, Wanted};
use crate::world::{World, event, name};

const EVENTS: u64 = 300;

fn numbered(n: u64) -> Event {
    Event {
        body: format!("{{\"n\":{n},\"even\":{}}}", n.is_multiple_of(2))
            .into_bytes()
            .into(),
        ..event("a", 0)
    }
}

async fn world(directory: &std::path::Path, routes: &[&str]) -> World {
    let world = World::open(directory);
    for route in routes {
        world.register(route).await;
    }
    for n in 1..=EVENTS {
        world.journal.append(vec![numbered(n)]).await.unwrap();
    }
    world
}

fn wanting<'a>(route: &'a str, filter: &'a str, fake: &'a std::sync::Arc<Fake>) -> Wanted<'a> {
    Wanted {
        filter: Some(filter),
        ..Wanted::new(route, &["a"], fake)
    }
}

fn delivered(fake: &Fake) -> BTreeSet<u64> {
    fake.delivered().into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_delivers_what_it_wants_and_counts_the_rest_as_discarded() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path(), &["even", "large", "all"]).await;
    let fakes: [_; 3] = std::array::from_fn(|_| Fake::new(LIMITS));
    let wanted = [
        wanting("even", "body.even", &fakes[0]),
        wanting("large", "body.n > 250", &fakes[1]),
        Wanted::new("all", &["a"], &fakes[2]),
    ];
    let rig = Rig::over(&world, &wanted).await;
    for route in ["even", "large", "all"] {
        rig.until(route, |status| status.ledger.pending == 0).await;
    }
    let even: BTreeSet<u64> = (1..=EVENTS).filter(|n| n % 2 == 0).collect();
    assert_eq!(delivered(&fakes[0]), even);
    assert_eq!(delivered(&fakes[1]), (251..=EVENTS).collect());
    assert_eq!(delivered(&fakes[2]).len() as u64, EVENTS);
    let ledger = rig.status("even").await.ledger;
    assert_eq!(
        (ledger.accepted, ledger.delivered, ledger.discarded),
        (EVENTS, 150, 150)
    );
    let routes = rig.dispatch.routes();
    let of = |n: u64| domain::StoredEvent {
        seq: Seq(n),
        id: domain::EventId::from_bytes([0; 16]),
        event: std::sync::Arc::new(numbered(n)),
    };
    assert!(routes.wants(&name("even"), &of(2)).await);
    assert!(!routes.wants(&name("even"), &of(3)).await);
    rig.stop().await;
    // However they alternate, what was delivered is a few rows.
    let rows = rusqlite::Connection::open(directory.path().join("state.db")).unwrap();
    let rows: i64 = rows
        .query_row("SELECT count(*) FROM delivered_ranges", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert!(rows < 60, "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_wanted_stays_settled_when_the_route_wants_more_and_what_hung_is_asked_again()
{
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path(), &["r"]).await;
    let fake = Fake::new(LIMITS);
    fake.script(|seq, _| match seq {
        100 => Act::Hang,
        _ => Act::Say(Outcome::Delivered),
    });
    let rig = Rig::over(&world, &[wanting("r", "body.even", &fake)]).await;
    rig.until("r", |status| status.ledger.pending <= 10).await;
    drop(rig);
    assert_eq!(world.state.imbalance(&name("r")).await.unwrap(), 0);
    let record = world.state.routes().await.unwrap().remove(0);
    let is_settled = |seq: u64| {
        let mut ranges = record.ranges.iter();
        Seq(seq) <= record.cursor || ranges.any(|settled| settled.range.contains(Seq(seq)))
    };
    let fake = Fake::new(LIMITS);
    let rig = Rig::over(&world, &[wanting("r", "body.n <= 300", &fake)]).await;
    rig.until("r", |status| status.ledger.pending == 0).await;
    let second = delivered(&fake);
    assert!(second.contains(&100));
    // Odd ones are settled under the old expression as well, below the cursor and in ranges above it.
    let again: Vec<_> = second.iter().filter(|seq| is_settled(**seq)).collect();
    assert!(again.is_empty(), "settled already: {again:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_for_one_route_reaches_that_one_whatever_it_wants_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    for route in ["one", "other"] {
        world.register(route).await;
    }
    let records = world.state.routes().await.unwrap();
    let one = records
        .iter()
        .find(|record| record.name == name("one"))
        .unwrap()
        .id;
    let for_one = Event {
        only: Some(one),
        ..numbered(1)
    };
    world.journal.append(vec![for_one.clone()]).await.unwrap();
    let nobodys = Event {
        only: Some(RouteId(9999)),
        ..numbered(2)
    };
    world.journal.append(vec![nobodys.clone()]).await.unwrap();
    let fakes: [_; 2] = std::array::from_fn(|_| Fake::new(LIMITS));
    let wanted = [
        wanting("one", "body.even", &fakes[0]),
        Wanted::new("other", &["a"], &fakes[1]),
    ];
    let rig = Rig::over(&world, &wanted).await;
    for route in ["one", "other"] {
        rig.until(route, |status| status.ledger.pending == 0).await;
    }
    assert_eq!(delivered(&fakes[0]), [1].into());
    assert!(delivered(&fakes[1]).is_empty());
    let backlogs = rig.dispatch.backlogs();
    assert!(backlogs.wants(&for_one) && !backlogs.wants(&nobodys));
    let source = SourceName::new("a").unwrap();
    assert_eq!(
        rig.dispatch.routes().route_id(&name("one"), &source),
        Some(one)
    );
    assert_eq!(rig.dispatch.routes().route_id(&name("none"), &source), None);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_asked_is_not_delivered_and_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path(), &["r"]).await;
    let fake = Fake::new(LIMITS);
    let rig = Rig::over(&world, &[wanting("r", "body.missing == 1", &fake)]).await;
    let status = rig.until("r", |status| status.ledger.pending == 0).await;
    assert!(delivered(&fake).is_empty());
    let error = status.last_error.unwrap();
    assert!(
        error.cause.detail.contains("has no \"missing\""),
        "{error:?}"
    );
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &rig.registry).unwrap();
    let counted = format!("forebay_filter_errors_total{{route=\"r\"}} {EVENTS}");
    assert!(metrics.contains(&counted), "{metrics}");
    rig.stop().await;
}
