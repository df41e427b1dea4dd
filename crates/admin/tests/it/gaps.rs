//! Gaps and backfills by the API: paged, begun for a source that has them, ended once.

use std::sync::Arc;

use domain::ports::{Gaps, NewGap};
use serde_json::{Value, json};

use crate::ask::Asker;
use crate::fakes::{World, at, source};

/// Three gaps of source `n`, the last one open, and one backfill.
pub(crate) async fn world() -> Arc<World> {
    let world = Arc::new(World::default());
    for second in [1, 5, 9] {
        let gap = NewGap {
            source: source("n"),
            from: at(second),
            to: None,
            topics: vec!["v2.users.1.presence".into()],
            why: "the connection ended".into(),
        };
        let gap = world.letters().open_gap(gap).await.unwrap();
        if second < 9 {
            let fill = second == 1;
            world
                .letters()
                .close_gap(gap.id, at(second + 1), fill)
                .await
                .unwrap();
        }
    }
    world
}

#[tokio::test]
async fn gaps_and_backfills_are_paged_newest_first() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    let first = asker.get("/api/v1/gaps?limit=2").await.json();
    let ids = |page: &Value, list: &str| -> Vec<u64> {
        let all = page[list].as_array().unwrap().iter();
        all.map(|one| one["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids(&first, "gaps"), [3, 2]);
    assert_eq!(first["gaps"][0]["to"], json!(null));
    let next = first["next_cursor"].as_str().unwrap();
    let rest = asker
        .get(&format!("/api/v1/gaps?limit=2&cursor={next}"))
        .await
        .json();
    assert_eq!(
        (ids(&rest, "gaps"), &rest["next_cursor"]),
        (vec![1], &json!(null))
    );
    let none = asker.get("/api/v1/gaps?source=other").await.json();
    assert_eq!(ids(&none, "gaps"), [0; 0]);
    let backfills = asker.get("/api/v1/backfills").await.json();
    assert_eq!(ids(&backfills, "backfills"), [1]);
    assert_eq!(backfills["backfills"][0]["gap"], 1);
    for odd in ["limit=0", "cursor=x", "state=open", "source=a&source=b"] {
        let refused = asker.get(&format!("/api/v1/gaps?{odd}")).await;
        assert_eq!(refused.status, 400, "{odd}");
    }
}

#[tokio::test]
async fn a_backfill_is_begun_for_a_source_that_has_gaps_and_ended_once() {
    let world = world().await;
    let asker = Asker::new(world.ports());
    let asked = |name: &str, from: u64, to: u64| {
        json!({"source": name, "from": at(from).to_string(), "to": at(to).to_string()}).to_string()
    };
    let begun = asker
        .ask("POST", "/api/v1/backfills", &asked("n", 10, 20))
        .await;
    assert_eq!(begun.status, 202);
    let id = begun.json()["id"].clone();
    for (wrong, status, code) in [
        (asked("nobody", 1, 2), 404, "unknown-source"),
        (asked("a", 1, 2), 400, "not-fillable"),
        (asked("n", 2, 2), 400, "bad-body"),
        (asked("n", 2, 1_000_000), 400, "bad-body"),
    ] {
        let refused = asker.ask("POST", "/api/v1/backfills", &wrong).await;
        assert_eq!(refused.status, status, "{wrong}");
        assert_eq!(refused.json()["code"], code, "{wrong}");
    }
    let one = format!("/api/v1/backfills/{id}");
    assert_eq!(asker.get(&one).await.json()["status"], "running");
    let ended = asker.ask("DELETE", &one, "").await.json();
    assert_eq!(ended["status"], "cancelled");
    assert_eq!(
        asker.ask("DELETE", &one, "").await.json()["finished_at"],
        ended["finished_at"]
    );
    assert_eq!(
        asker.get("/api/v1/backfills/77").await.json()["code"],
        "no-such-backfill"
    );
    assert_eq!(
        asker.get("/api/v1/backfills/x").await.json()["code"],
        "bad-id"
    );
}
