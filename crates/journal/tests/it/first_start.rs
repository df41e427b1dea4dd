//! The very first openings of a journal, cut short at each change they make.

use std::sync::Arc;
use std::time::Duration;

use domain::InstallationId;
use journal::options::Config;
use journal::recovery::{self, Known};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::sim::{Dice, DirectoryLoss, Disk, Lie, Make, PageLoss};

fn open(disk: &Disk, installation: Option<InstallationId>) -> Result<InstallationId, String> {
    let config = Config {
        segment_bytes: 10 << 10,
        max_bytes: 100 << 10,
        min_free: 0,
        retain: Duration::ZERO,
        memory: 0,
    };
    let known = Known {
        installation,
        ..Known::default()
    };
    let storage: Arc<_> = disk.storage();
    recovery::open(&storage, &config, &known, StdRng::seed_from_u64(1))
        .map(|opened| opened.installation)
        .map_err(|error| error.to_string())
}

#[test]
fn an_installation_that_state_was_told_of_survives_any_crash_of_the_start_before() {
    for nth in 1..=12 {
        let make = Make {
            page: 4096,
            lie: Lie::None,
        };
        let disk = Disk::new(Dice::new(nth), make);
        disk.die_at(nth);
        let _ = open(&disk, None);
        disk.kill();
        let told = open(&disk, None).unwrap();
        disk.power_cut(PageLoss::All, DirectoryLoss::All);
        assert_eq!(open(&disk, Some(told)), Ok(told), "change {nth}");
    }
}
