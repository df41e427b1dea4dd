//! One system call fails at a random moment, anywhere: while starting, recovering, appending, rotating,
//! settling. Forebay gets over it or ends with an error; it never panics and never lies.

use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;
use testbed::judge::Judge;
use testbed::postgres::{Options, Server};
use testbed::process::{Forebay, Strace};
use testbed::{DEADLINE, Result, until};

use super::{LITTLE, dice, patient, rounds, small};
use crate::rig;

/// Calls on files that journal and state cannot do without, and how each may fail.
const CALLS: [(&str, &[&str]); 7] = [
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("fsync", &["EIO"]),
    ("pwrite64", &["EIO", "ENOSPC"]),
    ("pread64", &["EIO"]),
    ("rename", &["EIO", "ENOSPC"]),
    ("unlink", &["EIO"]),
    ("openat", &["EIO", "ENOSPC", "EMFILE"]),
];

/// Fails one call of each thread once. Those of starting come early, those of working later.
fn fault(dice: &mut StdRng) -> String {
    let (call, errors) = CALLS[dice.random_range(0..CALLS.len())];
    let error = errors[dice.random_range(0..errors.len())];
    let when = if dice.random_bool(0.5) {
        dice.random_range(1..=12)
    } else {
        dice.random_range(13..=150)
    };
    format!("{call}:error={error}:when={when}")
}

/// Waits until it has ended, or has acknowledged so much more that the fault is behind it.
async fn ended_or_over_it(forebay: &mut Forebay, judge: &Judge) -> Result<Option<i32>> {
    let enough = judge.acked_count() + 1_500;
    until("it ends or goes on", DEADLINE, async || {
        if let Some(exit) = forebay.try_wait() {
            assert_eq!(exit.signal, None, "{}", forebay.tail());
            return Ok(exit.code);
        }
        match judge.acked_count() {
            count if count >= enough => Ok(None),
            count => Err(format!("{count} of {enough}\n{}", forebay.tail())),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_call_that_fails_anywhere_loses_nothing() -> Result<()> {
    let server = Server::start_new(Options::default()).await?;
    let config = [small(LITTLE), rig::genesys_to(&server.url(), "")].concat();
    let mut forebay = rig::forebay(config).start().await?;
    let judge = Arc::new(Judge::new());
    let sending = patient(&forebay).start(Arc::clone(&judge))?;
    let rounds = rounds(30);
    let mut dice = dice(rounds);
    let mut ended = 0;
    for round in 0..rounds {
        forebay.kill9().await?;
        let fault = fault(&mut dice);
        let strace = Strace::new().inject(fault.as_str());
        forebay.launch().set_strace(Some(strace));
        let before = forebay.stderr().len();
        forebay.spawn()?;
        let code = ended_or_over_it(&mut forebay, &judge).await?;
        let said = forebay.stderr().split_off(before);
        println!("{round}: {fault}: {code:?}");
        assert!(!said.contains("panicked"), "{fault}: {said}");
        // SQLite takes a read that fails with EIO for a damaged file: that is for an operator, as is a
        // configuration that cannot be read.
        let unreadable = said.contains("forebay.toml")
            || fault.starts_with("pread64") && said.contains("state.db");
        // The fault may hit the dynamic loader, before Forebay has begun.
        let loading = said.contains("error while loading shared libraries");
        let expected = match (loading, unreadable) {
            (true, _) => &[127][..],
            (false, true) => &[1, 2],
            (false, false) => &[1],
        };
        assert!(
            code.is_none_or(|code| expected.contains(&code)),
            "{fault} ended with {code:?}: {said}"
        );
        forebay.launch().set_strace(None);
        if code.is_some() {
            ended += 1;
            // A failure is said, not only shown by the exit code.
            assert!(said.contains("forebay: "), "{fault}: {said}");
            forebay.start().await?;
        }
    }
    assert!(ended > 0, "no fault was met");
    let report = sending.stop().await?;
    println!("{report}");
    assert_eq!(report.acked, report.sent, "{report}");
    forebay.kill9().await?;
    forebay.start().await?;
    let verdict = rig::assert_delivered(&forebay, &server, &judge).await?;
    println!("{verdict}");
    assert_eq!(verdict.found as u64, report.acked, "{verdict}");
    Ok(())
}
