//! Backfills: every conversation of the stretch, each once, whatever becomes of the job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::ports::{BackfillStatus, Gaps as _, Inlet as _, NewBackfill};
use domain::{SourceName, Timestamp};
use jiff::SignedDuration;
use serde_json::{Value, json};
use testbed::GenesysCloud;
use testbed::genesys::{Fate, Fault};

use crate::world::{SECRET, World, presence, section};

const CONVERSATIONS: usize = 450;

/// A cloud with conversations in the hour before now, and a source that fills gaps.
fn world(change: impl FnOnce(&GenesysCloud, &mut Value)) -> World {
    let cloud = GenesysCloud::in_memory();
    let _client = cloud.client("id", SECRET);
    let begin = cloud
        .now()
        .saturating_sub(SignedDuration::from_hours(1))
        .unwrap();
    for n in 0..CONVERSATIONS {
        let start = begin
            .saturating_add(SignedDuration::from_secs(n as i64))
            .unwrap();
        let record = json!({
            "conversationId": format!("c{n}"),
            "conversationStart": format!("{start:.3}"),
            "divisionIds": [if n % 3 == 0 { "south" } else { "north" }],
        });
        cloud.conversation(record).unwrap();
    }
    let mut options = section(&[presence(0)]);
    options["backfill"] = json!(true);
    change(&cloud, &mut options);
    World::on(cloud, options, SignedDuration::ZERO)
}

fn usual() -> World {
    world(|_, _| {})
}

/// Asks for the whole hour.
async fn ask(world: &World) -> u64 {
    let now = world.cloud.now();
    let asked = NewBackfill {
        source: SourceName::new("gc").unwrap(),
        from: now.saturating_sub(SignedDuration::from_hours(2)).unwrap(),
        to: now,
        gap: None,
        created_at: now,
    };
    world.gaps.begin_backfill(asked).await.unwrap().id
}

async fn until(world: &World, status: BackfillStatus) {
    world
        .until(|world| {
            world
                .gaps
                .all_backfills()
                .iter()
                .all(|one| one.status == status)
        })
        .await;
}

/// How often each conversation was stored.
fn stored(world: &World) -> BTreeMap<String, usize> {
    let store = world.store.lock().unwrap();
    let mut times = BTreeMap::new();
    for event in &store.events {
        if event.event_type.as_deref() == Some(genesys::CONVERSATION) {
            let record: Value = serde_json::from_slice(&event.body).unwrap();
            *times
                .entry(record["conversationId"].to_string())
                .or_default() += 1;
        }
    }
    times
}

fn assert_each_once(world: &World) {
    let stored = stored(world);
    assert_eq!(stored.len(), CONVERSATIONS);
    assert!(stored.values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn every_conversation_of_the_stretch_is_an_event_that_says_where_it_came_from() {
    let world = usual();
    let id = ask(&world).await;
    until(&world, BackfillStatus::Done).await;
    assert_each_once(&world);
    let done = &world.gaps.all_backfills()[0];
    assert_eq!(
        (done.events, done.error.clone(), done.cursor.clone()),
        (450, None, None)
    );
    let store = world.store.lock().unwrap();
    let event = &store.events[0];
    assert_eq!(event.attribute("genesys-origin"), Some("backfill"));
    assert_eq!(event.attribute("genesys-backfill"), Some(&*id.to_string()));
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_a_job_each_conversation_comes_once() {
    type Bad = (&'static str, fn(&GenesysCloud));
    let all: [Bad; 8] = [
        ("failed", |cloud| cloud.next_job(Fate::Failed)),
        ("cancelled", |cloud| cloud.next_job(Fate::Cancelled)),
        ("expired", |cloud| cloud.next_job(Fate::Expired)),
        ("pending for ever", |cloud| cloud.next_job(Fate::Pending)),
        ("a cursor twice", |cloud| cloud.repeat_cursor(2)),
        ("429", |cloud| {
            cloud.fault(
                "GET /api/v2/analytics",
                3,
                Fault::TooManyRequests(testbed::genesys::Wait::Unsaid),
            );
        }),
        ("503", |cloud| {
            cloud.fault("GET /api/v2/analytics", 4, Fault::Status(503));
        }),
        ("cut off after it was done", |cloud| {
            cloud.fault("POST /api/v2/analytics", 1, Fault::CutAfterwards);
        }),
    ];
    for (name, bad) in all {
        let world = usual();
        bad(&world.cloud);
        ask(&world).await;
        until(&world, BackfillStatus::Done).await;
        assert_eq!(stored(&world).len(), CONVERSATIONS, "{name}");
        assert_each_once(&world);
    }
    for status in [404, 410] {
        let world = usual();
        world.cloud.expire_jobs_after(2, status);
        ask(&world).await;
        world.until(|world| world.cloud.jobs().len() >= 2).await;
        world.cloud.jobs_last();
        until(&world, BackfillStatus::Done).await;
        assert_each_once(&world);
        assert!(
            world.store.lock().unwrap().repeats > 0,
            "from the beginning"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_in_the_middle_goes_on_behind_the_last_page_that_is_durable() {
    let mut world = usual();
    ask(&world).await;
    for _ in 0..3 {
        let before = world.gaps.all_backfills()[0].events;
        world
            .until(|world| {
                let one = &world.gaps.all_backfills()[0];
                one.events > before || one.status == BackfillStatus::Done
            })
            .await;
        world = world.restart(false, Duration::from_secs(1)).await;
    }
    until(&world, BackfillStatus::Done).await;
    assert_each_once(&world);
}

#[tokio::test(start_paused = true)]
async fn what_the_analytics_do_not_have_yet_is_waited_for() {
    let world = usual();
    let reaches = world
        .cloud
        .now()
        .saturating_sub(SignedDuration::from_mins(50))
        .unwrap();
    world.cloud.data_available_until(reaches);
    ask(&world).await;
    world
        .until(|world| world.notifications.trouble().is_some())
        .await;
    let told = world.notifications.trouble().unwrap();
    assert!(
        told.contains("the analytics of Genesys Cloud reach to"),
        "{told}"
    );
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.cloud.jobs().len(), 0, "no job for what is not there");
    assert_eq!(
        world.gaps.all_backfills()[0].status,
        BackfillStatus::Running
    );
    world.cloud.data_available_until(world.cloud.now());
    until(&world, BackfillStatus::Done).await;
    assert_each_once(&world);
    assert_eq!(world.notifications.trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn divisions_and_filters_go_with_the_query_and_a_wrong_one_fails_in_words() {
    let world = world(|_, options| options["divisions"] = json!(["south"]));
    ask(&world).await;
    until(&world, BackfillStatus::Done).await;
    assert_eq!(stored(&world).len(), CONVERSATIONS / 3);

    let world = self::world(|_, options| {
        options["backfill_filters"] = json!({"conversationFilters": [{"type": "nonsense"}]});
    });
    ask(&world).await;
    until(&world, BackfillStatus::Failed).await;
    let failed = &world.gaps.all_backfills()[0];
    assert!(
        failed.error.as_ref().unwrap().contains("refused with 400"),
        "{:?}",
        failed.error
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named_and_the_backfill_goes_on_once_it_is_given() {
    let cloud = GenesysCloud::in_memory();
    let client = cloud
        .client("id", SECRET)
        .without_permission("analytics:conversationDetail:view");
    let mut options = section(&[presence(0)]);
    options["backfill"] = json!(true);
    let world = World::on(cloud, options, SignedDuration::ZERO);
    ask(&world).await;
    world
        .until(|world| world.notifications.trouble().is_some())
        .await;
    let told = world.notifications.trouble().unwrap();
    assert!(
        told.contains("lack the permission analytics:conversationDetail:view"),
        "{told}"
    );
    let _client = client.with_permission("analytics:conversationDetail:view");
    until(&world, BackfillStatus::Done).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_an_operator_ends_makes_nothing_more() {
    let world = usual();
    world.cloud.next_job(Fate::Pending);
    let id = ask(&world).await;
    world.until(|world| !world.cloud.jobs().is_empty()).await;
    let now: Timestamp = world.cloud.now();
    world.gaps.cancel_backfill(id, now).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    assert_eq!(stored(&world).len(), 0);
    // The next one is not kept from its turn.
    ask(&world).await;
    world
        .until(|world| world.gaps.all_backfills()[1].status == BackfillStatus::Done)
        .await;
    assert_each_once(&world);
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_and_what_is_asked_for_is_one_event_if_the_record_is_the_same() {
    let world = usual();
    world.listens().await;
    let start = world.cloud.now();
    let record = json!({"conversationId": "heard", "conversationStart": format!("{start:.3}")});
    world.cloud.conversation(record.clone()).unwrap();
    world.cloud.emit(&presence(0), &record).await;
    world.until(|world| world.stored() == 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    ask(&world).await;
    until(&world, BackfillStatus::Done).await;
    assert_eq!(stored(&world).len(), CONVERSATIONS, "and not one more");
    assert_eq!(world.store.lock().unwrap().repeats, 1);
    let _ = Arc::strong_count(&world.gaps);
}
