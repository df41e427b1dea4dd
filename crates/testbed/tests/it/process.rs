//! Process, sender and judge together, against a stand-in that has Forebay's outside and can lie.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testbed::judge::{BodyHash, Judge};
use testbed::process::{Exit, Forebay, Launch, Strace, run};
use testbed::sender::Sender;
use testbed::{DEADLINE, Error, Result, until};
use uuid::Uuid;

fn stand_in(mode: &str) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_stand_in"))
        .unwrap()
        .config(mode)
}

/// What the stand-in has stored: its destination, so to say.
fn found(forebay: &Forebay) -> Vec<(Uuid, BodyHash)> {
    let log = std::fs::read_to_string(forebay.data_dir().join("log")).unwrap();
    log.lines()
        .map(|line| {
            let (id, body) = line.split_once(' ').unwrap();
            (
                id.parse().unwrap(),
                BodyHash::of(&STANDARD.decode(body).unwrap()),
            )
        })
        .collect()
}

fn sender(forebay: &Forebay, limit: u64) -> Sender {
    Sender::new(forebay.ingest("/in/default"), limit)
        .signed("secret")
        .connections(4)
}

#[tokio::test]
async fn an_honest_receiver_passes_the_judge() -> Result<()> {
    let forebay = stand_in("honest").start().await?;
    let judge = Arc::new(Judge::new());
    let report = sender(&forebay, 200).run(Arc::clone(&judge)).await?;
    assert_eq!(
        (report.sent, report.acked, report.unanswered),
        (200, 200, 0),
        "{report}"
    );
    let verdict = judge.judge(found(&forebay)).check()?;
    assert_eq!((verdict.acked, verdict.found), (200, 200));
    assert_eq!(judge.acked_ids().len(), 200);

    assert_eq!(forebay.status().await?["accepted"], 200);
    let metrics = forebay.metrics().await?;
    let labels = [("source", "default")];
    assert_eq!(
        metrics.get("forebay_events_accepted_total", &labels),
        Some(200.0)
    );
    Ok(())
}

#[tokio::test]
async fn the_judge_sees_every_kind_of_lie() -> Result<()> {
    for mode in ["lossy", "altering", "doubling", "inventing"] {
        let forebay = stand_in(mode).start().await?;
        let judge = Arc::new(Judge::new());
        sender(&forebay, 50).run(Arc::clone(&judge)).await?;
        let Err(Error::Judged(verdict)) = judge.judge(found(&forebay)).check() else {
            panic!("{mode} was not noticed");
        };
        let seen = match mode {
            "lossy" => &verdict.missing,
            "altering" => &verdict.changed,
            "doubling" => &verdict.doubled,
            _ => &verdict.never_sent,
        };
        assert_eq!(seen.len(), 5, "{mode}: {verdict}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_not_acknowledged() -> Result<()> {
    let forebay = stand_in("honest").start().await?;
    let judge = Arc::new(Judge::new());
    let wrong = sender(&forebay, 3)
        .signed("wrong")
        .retries(5, Duration::ZERO);
    let report = wrong.run(Arc::clone(&judge)).await?;
    assert_eq!(
        (report.acked, report.refused.get(&401)),
        (0, Some(&3)),
        "{report}"
    );
    assert_eq!(judge.acked_count(), 0);
    Ok(())
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_after_kill_9_under_load() -> Result<()> {
    let mut forebay = stand_in("honest").start().await?;
    let judge = Arc::new(Judge::new());
    // More than it can send before it is stopped: the limit is only there to end a failed test.
    let running = sender(&forebay, 1_000_000).start(Arc::clone(&judge))?;
    for round in 1..=3 {
        let enough = judge.acked_count() + 20;
        until("events are acknowledged", DEADLINE, async || {
            match judge.acked_count() {
                count if count >= enough => Ok(()),
                count => Err(format!("{count} in round {round}")),
            }
        })
        .await?;
        forebay.kill9().await?;
        assert!(forebay.status().await.is_err(), "a killed process answered");
        forebay.start().await?;
    }
    let report = running.stop().await?;
    assert!(report.unanswered > 0, "the kills went unnoticed: {report}");
    judge.judge(found(&forebay)).check_without_dedup()?;
    Ok(())
}

#[tokio::test]
async fn a_payload_is_retried_until_it_is_acknowledged() -> Result<()> {
    let mut forebay = stand_in("honest").start().await?;
    forebay.kill9().await?;
    let judge = Arc::new(Judge::new());
    let patient = sender(&forebay, 4).retries(1_000, Duration::from_millis(20));
    let running = patient.start(Arc::clone(&judge))?;
    forebay.start().await?;
    let report = running.finish().await?;
    assert_eq!((report.sent, report.acked), (4, 4), "{report}");
    judge.judge(found(&forebay)).check()?;
    Ok(())
}

#[tokio::test]
async fn a_rate_is_kept() -> Result<()> {
    let forebay = stand_in("honest").start().await?;
    let report = sender(&forebay, 50)
        .rate(100.0)
        .run(Arc::new(Judge::new()))
        .await?;
    assert_eq!(report.acked, 50);
    // The last of fifty is due 490 ms after the first; only "too fast" is a fault of the sender's.
    assert!(report.elapsed >= Duration::from_millis(490), "{report}");
    Ok(())
}

#[tokio::test]
async fn exit_codes_and_output_are_seen() -> Result<()> {
    let mut forebay = stand_in("honest").env("GREETING", "hello").start().await?;
    let memory = forebay.memory()?;
    assert!(
        memory.resident > 100_000 && memory.peak >= memory.resident,
        "{memory:?}"
    );
    assert!(
        forebay.stderr().contains("greeting Some(\"hello\")"),
        "{}",
        forebay.stderr()
    );
    let output = forebay.cli(&["status", "--json"]).await?;
    assert_eq!(output.code, Some(3));
    assert_eq!(
        output.stdout,
        format!("status --json {}\n", forebay.admin(""))
    );

    forebay.restart().await?;
    assert_eq!(forebay.stderr().matches("mode honest").count(), 2);
    forebay.terminate()?;
    assert_eq!(
        forebay.wait().await?,
        Exit {
            code: Some(0),
            signal: None
        }
    );
    assert!(forebay.wait().await.is_err(), "it ended twice");

    forebay.launch().set_config("broken");
    forebay.spawn()?;
    assert_eq!(forebay.wait().await?.code, Some(2));
    let failure = forebay.start().await.unwrap_err().to_string();
    assert!(
        failure.contains("code: Some(2)") && failure.contains("mode broken"),
        "{failure}"
    );

    let nothing = run(
        "/bin/true",
        &[],
        &std::collections::BTreeMap::new(),
        Path::new("/"),
    )
    .await?;
    assert_eq!(nothing.code, Some(0));
    Ok(())
}

#[tokio::test]
async fn strace_makes_a_sync_fail() -> Result<()> {
    let strace = Strace::new().inject("fdatasync:error=EIO:when=1+");
    let mut forebay = stand_in("honest").strace(strace).start().await?;
    let judge = Arc::new(Judge::new());
    let report = sender(&forebay, 1)
        .connections(1)
        .run(Arc::clone(&judge))
        .await?;
    assert_eq!(
        (report.acked, report.refused.get(&503)),
        (0, Some(&1)),
        "{report}"
    );
    assert_eq!(
        forebay.wait().await?,
        Exit {
            code: Some(1),
            signal: None
        }
    );
    assert!(forebay.tail().contains("cannot sync"), "{}", forebay.tail());

    forebay.launch().set_strace(None);
    forebay.start().await?;
    let report = sender(&forebay, 5).run(judge).await?;
    assert_eq!(report.acked, 5, "{report}");
    Ok(())
}

#[tokio::test]
async fn strace_fails_only_calls_on_the_path() -> Result<()> {
    let elsewhere = Strace::new()
        .inject("fdatasync:error=EIO")
        .only_path("/nowhere");
    let mut forebay = stand_in("honest").strace(elsewhere).start().await?;
    let report = sender(&forebay, 5).run(Arc::new(Judge::new())).await?;
    assert_eq!(report.acked, 5, "{report}");
    forebay.kill9().await?;
    let log = forebay.data_dir().join("log");
    forebay.launch().set_strace(Some(
        Strace::new().inject("fdatasync:error=EIO").only_path(log),
    ));
    forebay.start().await?;
    let report = sender(&forebay, 1).run(Arc::new(Judge::new())).await?;
    assert_eq!(report.acked, 0, "{report}");
    Ok(())
}
