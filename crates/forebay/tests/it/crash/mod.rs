//! The process ends at every moment it can: killed, or by a system call that fails; and the judge after
//! hundreds of rounds.
//!
//! Segments are small and there is room for few, so that rotation, recycling and recovery go on during every
//! test. The seed and the number of rounds are printed; `FOREBAY_SEED` repeats a schedule,
//! though not the machine's timing.

mod faults;
mod kills;

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use testbed::process::Forebay;
use testbed::sender::Sender;

use crate::rig;

/// The smallest segments. Settled ones go when there is no room beside them, and not by the clock: what a
/// sender repeats after a kill, however late, is among the newest and still known.
fn small(max_bytes: &str) -> String {
    format!(
        "[journal]\nsegment_bytes = \"1MiB\"\nmax_bytes = \"{max_bytes}\"\nmin_free = \"0B\"\nretain = \"1d\"\n"
    )
}

/// Room for 16 segments, where a destination takes what comes in. Every start makes one.
const LITTLE: &str = "16MiB";

/// The same in bytes.
const LITTLE_BYTES: u64 = 16 << 20;

/// Room for the backlog of an outage.
const MUCH: &str = "1GiB";

/// A seed, printed so that a failed run can be repeated.
pub(crate) fn dice(rounds: u32) -> StdRng {
    let given = std::env::var("FOREBAY_SEED");
    let seed = given.map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("seed {seed}, {rounds} rounds");
    StdRng::seed_from_u64(seed)
}

/// Ten times as many with `dev/test --deep`.
pub(crate) fn rounds(usual: u32) -> u32 {
    if std::env::var_os("FOREBAY_DEEP").is_some() {
        usual * 10
    } else {
        usual
    }
}

/// A sender that never gives a payload up, as one with patience: each repeat must be recognised.
fn patient(forebay: &Forebay) -> Sender {
    rig::genesys(forebay, u64::MAX).retries(u32::MAX, Duration::from_millis(20))
}
