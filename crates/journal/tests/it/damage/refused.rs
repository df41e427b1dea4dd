//! What refuses to start, and the way out that it names.

use std::collections::BTreeSet;

use domain::{InstallationId, RouteName, Seq};
use journal::recovery::Known;

use super::{Ended, Indexes, Place, Written};

fn written() -> Written {
    Written::new(Indexes::Written, Ended::Killed)
}

fn assert_says(refusal: &str, words: &[&str]) {
    for word in words {
        assert!(refusal.contains(word), "{refusal:?} does not say {word:?}");
    }
}

fn crc(pieces: &[&[u8]]) -> [u8; 4] {
    crc_fast::crc32_iscsi(&pieces.concat()).to_le_bytes()
}

/// Writes a field of both header copies and makes their checksums right.
pub(super) fn reseal_header(written: &Written, name: &str, at: usize, value: u32) {
    written.disk.damage(name, |bytes| {
        for copy in [0, 4096] {
            let header = &mut bytes[copy..copy + 64];
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let crc = crc(&[&header[..60]]);
            header[60..].copy_from_slice(&crc);
        }
    });
}

/// Makes a frame's checksums right.
pub(super) fn reseal_frame(bytes: &mut [u8], place: &Place) {
    let salt: [u8; 16] = bytes[32..48].try_into().unwrap();
    let (start, payload) = (place.offset, place.payload());
    let checksum = crc(&[&salt, &bytes[start..start + 32], &bytes[payload]]);
    bytes[start + 32..start + 36].copy_from_slice(&checksum);
    let checksum = crc(&[&salt, &bytes[start..start + 36]]);
    bytes[start + 36..start + 40].copy_from_slice(&checksum);
}

#[test]
fn a_segment_of_another_version_or_with_an_unknown_flag_refuses_and_is_left_alone() {
    for segment in [0, 2, 4] {
        for (at, value, words) in [(8, 2, "format version 2"), (12, 4, "flags 0x4")] {
            let written = written();
            let name = written.segment(segment);
            reseal_header(&written, &name, at, value);
            let before = written.disk.content(&name);
            let way_out = "use the version of Forebay that wrote it";
            assert_says(&written.refusal(), &[&name, words, way_out]);
            assert_eq!(written.disk.content(&name), before);
        }
    }
}

#[test]
fn a_frame_with_an_unknown_flag_refuses_and_is_left_alone() {
    let written = written();
    let name = written.segment(4);
    let place = written.frames(&name)[1];
    written.disk.damage(&name, |bytes| {
        bytes[place.offset + 24] = 2;
        reseal_frame(bytes, &place);
    });
    let before = written.disk.content(&name);
    assert_says(
        &written.refusal(),
        &[&name, "flags 0x2", "use the version of Forebay"],
    );
    assert_eq!(written.disk.content(&name), before);
}

#[test]
fn a_damaged_or_missing_installation_file_refuses_with_the_way_out() {
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.clear(),
        |bytes| bytes.truncate(20),
        |bytes| bytes.fill(0),
        |bytes| bytes[3] ^= 0x80,
    ];
    for damage in damages {
        let written = written();
        written.disk.damage("installation", damage);
        assert_says(
            &written.refusal(),
            &["installation", "restore it", "state.db"],
        );
    }
    let written = written();
    let storage = written.disk.storage();
    storage.remove("installation").unwrap();
    assert_says(
        &written.refusal(),
        &["installation", "restore it", "state.db"],
    );
}

#[test]
fn a_journal_beside_the_state_of_another_installation_refuses() {
    let written = written();
    let mut known = written.known();
    known.installation = Some(InstallationId::random());
    let refusal = written.open(&known).unwrap_err().to_string();
    let own = written.installation.to_string();
    assert_says(&refusal, &[&own, "put back the one that belongs here"]);
}

#[test]
fn an_emptied_journal_beside_a_state_refuses() {
    let written = written();
    let storage = written.disk.storage();
    for name in written.disk.names() {
        storage.remove(&name).unwrap();
    }
    assert_says(
        &written.refusal(),
        &["restore the journal", "--accept-loss"],
    );
}

#[tokio::test]
async fn a_missing_middle_segment_refuses_until_its_loss_is_accepted_once() {
    for segment in [0, 1, 3] {
        let mut written = written();
        let name = written.segment(segment);
        let lost = written.touched(&name, &(0..usize::MAX));
        written.disk.storage().remove(&name).unwrap();
        let names = written.disk.names();
        let first = lost.first().unwrap().to_string();
        let words = [&*first, "route r", "restore the file", "--accept-loss"];
        for _ in 0..2 {
            assert_says(&written.refusal(), &words);
        }
        assert_eq!(written.disk.names(), names, "a refusal changes nothing");
        let mut known = written.known();
        known.accept_loss = true;
        let life = written.live(&known).await;
        assert_eq!(life.counted, i64::try_from(lost.len()).unwrap());
        // The next start needs no leave, though the route may not have come that far.
        written.expect(&lost, &name).await;
    }
}

/// What state has seen of `written`: everything, by a route that has settled it all.
fn seen_to_the_end(written: &Written) -> Known {
    let end = *written.acked.last_key_value().unwrap().0;
    let mut known = written.known();
    known.highest = end;
    known.holds.insert(RouteName::new("ahead").unwrap(), end);
    known
}

#[tokio::test]
async fn a_missing_newest_segment_refuses_until_its_loss_is_accepted_once() {
    // Its predecessor is known to be whole by its index, or by its end mark after a start.
    for (restarted, reopened) in [(false, false), (true, false), (false, true)] {
        let mut written = written();
        if restarted {
            let before = written.live(&written.known()).await;
            assert!(before.damaged.is_empty());
            let index = written.files(".index").pop().unwrap();
            written.disk.storage().remove(&index).unwrap();
        }
        let name = written.files(".journal").pop().unwrap();
        let lost = written.touched(&name, &(0..usize::MAX));
        written.disk.storage().remove(&name).unwrap();
        // But for a spare that was half written: any start removes that.
        let kept = || {
            let names = written.disk.names().into_iter();
            names
                .filter(|name| !name.ends_with(".tmp"))
                .collect::<Vec<_>>()
        };
        let names = kept();
        let known = seen_to_the_end(&written);
        let first = lost.first().unwrap().to_string();
        let words = [&*first, "route r", "restore the file", "--accept-loss"];
        for _ in 0..2 {
            let refusal = written.open(&known).map(|_| "it opened").unwrap_err();
            assert_says(&refusal.to_string(), &words);
        }
        assert_eq!(kept(), names, "a refusal changes nothing");
        let accepted = Known {
            accept_loss: true,
            ..known.clone()
        };
        if reopened {
            // A start that dies before its first event was meant, too.
            drop(written.open(&accepted).unwrap());
            written.disk.kill();
        }
        let leave = if reopened { &known } else { &accepted };
        let life = written.live(leave).await;
        assert_eq!(life.counted, i64::try_from(lost.len()).unwrap());
        // The next start needs no leave, though the route may not have come that far.
        written.expect(&lost, &name).await;
    }
}

/// The marker of a loss that was accepted says nothing of a later one at the same place.
#[tokio::test]
async fn a_newest_segment_that_goes_missing_behind_an_accepted_loss_refuses_again() {
    let mut written = written();
    let remove_newest = |written: &Written| {
        let name = written.files(".journal").pop().unwrap();
        written.disk.storage().remove(&name).unwrap();
    };
    remove_newest(&written);
    let accepted = Known {
        accept_loss: true,
        ..seen_to_the_end(&written)
    };
    written.live(&accepted).await;
    remove_newest(&written);
    let known = seen_to_the_end(&written);
    assert!(known.highest > accepted.highest);
    let refusal = written.open(&known).map(|_| "it opened").unwrap_err();
    assert_says(&refusal.to_string(), &["route r", "--accept-loss"]);
    let again = Known {
        accept_loss: true,
        ..known.clone()
    };
    drop(written.open(&again).unwrap());
    written.disk.kill();
    drop(written.open(&known).expect("it was accepted once"));
}

/// The first versions left empty markers.
#[tokio::test]
async fn an_empty_marker_explains_a_loss_as_it_did() {
    let written = written();
    let name = written.files(".journal").pop().unwrap();
    let storage = written.disk.storage();
    storage.remove(&name).unwrap();
    storage
        .create(&name.replace(".journal", ".damaged"))
        .unwrap();
    drop(written.open(&seen_to_the_end(&written)).unwrap());
}

#[test]
fn a_journal_that_ends_below_what_every_route_has_settled_numbers_on_above_it() {
    let written = written();
    let name = written.segment(4);
    let lost = written.touched(&name, &(0..usize::MAX));
    written.disk.storage().remove(&name).unwrap();
    let mut known = seen_to_the_end(&written);
    let end = known.highest;
    known.holds.insert(super::route(), end);
    let storage = written.disk.storage();
    let random = rand::SeedableRng::seed_from_u64(1);
    let opened = journal::recovery::open(&storage, &super::CONFIG, &known, random).unwrap();
    assert!(opened.recovered.damaged.is_empty());
    assert_eq!(opened.recovered.numbered_above, Some(end));
    assert_eq!(opened.recovered.end, lost.first().unwrap().previous());
}

/// What a killed process wrote last looks torn, unless state has seen it.
#[tokio::test]
async fn a_last_frame_gone_bad_that_state_has_seen_is_damage_and_is_kept_aside() {
    for reopened in [false, true] {
        let mut written = written();
        let name = written.segment(4);
        let place = *written.frames(&name).last().unwrap();
        written.flip(&name, place.payload().start + 3, 1);
        let damaged = written.disk.content(&name);
        let known = seen_to_the_end(&written);
        if reopened {
            drop(written.open(&known).unwrap());
            written.disk.kill();
        }
        let life = written.live(&known).await;
        let lost: BTreeSet<Seq> = super::numbers(&place.header).collect();
        assert!(lost.iter().all(|seq| life.damaged.contains(*seq)));
        assert_eq!(life.counted, i64::try_from(lost.len()).unwrap());
        let aside = name.replace(".journal", ".damaged");
        assert_eq!(written.disk.content(&aside), damaged);
        written.expect(&lost, &name).await;
    }
}

/// The only frame of the last segment gone bad, and nothing behind it.
fn with_a_bad_only_frame() -> (Written, String, BTreeSet<Seq>) {
    let written = written();
    let name = written.segment(4);
    let lost = written.touched(&name, &(0..usize::MAX));
    let first = written.frames(&name)[0];
    let len = written.disk.content(&name).len();
    written.zero(&name, first.payload().end..len);
    written.flip(&name, first.payload().start + 3, 1);
    (written, name, lost)
}

#[tokio::test]
async fn a_last_segment_with_nothing_readable_that_state_has_seen_is_kept_aside() {
    for reopened in [false, true] {
        let (mut written, name, lost) = with_a_bad_only_frame();
        let damaged = written.disk.content(&name);
        let known = seen_to_the_end(&written);
        if reopened {
            drop(written.open(&known).unwrap());
            written.disk.kill();
        }
        let aside = name.replace(".journal", ".damaged");
        let life = written.live(&known).await;
        assert!(written.disk.content(&aside) == damaged, "{reopened}");
        assert!(lost.iter().all(|seq| life.damaged.contains(*seq)));
        assert_eq!(life.counted, i64::try_from(lost.len()).unwrap());
        written.expect(&lost, &name).await;
        assert!(written.disk.content(&aside) == damaged, "{reopened}");
    }
}

#[tokio::test]
async fn of_a_last_segment_of_zeros_nothing_is_kept() {
    let written = written();
    let name = written.segment(4);
    let len = written.disk.content(&name).len();
    written.zero(
        &name,
        usize::try_from(journal::format::FIRST_FRAME).unwrap()..len,
    );
    let known = seen_to_the_end(&written);
    drop(written.open(&known).unwrap());
    let aside = name.replace(".journal", ".damaged");
    let marker = format!("{:020}\n", known.highest.0);
    assert_eq!(written.disk.content(&aside), marker.as_bytes());
}

/// Whatever a start that dies has done, the next one has the damaged original or keeps it.
#[test]
fn a_start_that_dies_at_any_change_does_not_lose_a_damaged_original() {
    for only_frame in [false, true] {
        for nth in 1.. {
            let (written, name) = if only_frame {
                let (written, name, _) = with_a_bad_only_frame();
                (written, name)
            } else {
                let written = written();
                let name = written.segment(4);
                let place = *written.frames(&name).last().unwrap();
                written.flip(&name, place.payload().start + 3, 1);
                (written, name)
            };
            let damaged = written.disk.content(&name);
            let known = seen_to_the_end(&written);
            let open = || {
                let random = rand::SeedableRng::seed_from_u64(nth);
                let storage = written.disk.storage();
                journal::recovery::open(&storage, &super::CONFIG, &known, random).map(drop)
            };
            written.disk.die_at(nth);
            let died = open().is_err();
            written.disk.kill();
            open().unwrap();
            let aside = name.replace(".journal", ".damaged");
            assert!(
                written.disk.content(&aside) == damaged,
                "{only_frame} {nth}"
            );
            if !died {
                break;
            }
        }
    }
}

#[test]
fn a_missing_segment_below_every_cursor_is_normal() {
    let written = written();
    let name = written.segment(1);
    let lost = written.touched(&name, &(0..usize::MAX));
    written.disk.storage().remove(&name).unwrap();
    let mut known = written.known();
    known
        .holds
        .values_mut()
        .for_each(|cursor| *cursor = *lost.last().unwrap());
    let storage = written.disk.storage();
    let random = rand::SeedableRng::seed_from_u64(1);
    let opened = journal::recovery::open(&storage, &super::CONFIG, &known, random).unwrap();
    assert!(opened.recovered.damaged.is_empty());
}

#[tokio::test]
async fn what_the_disk_does_not_read_refuses_and_as_zeros_it_is_damage() {
    let mut written = Written::new(Indexes::Missing, Ended::Closed);
    for segment in [1, 4] {
        let name = written.segment(segment);
        let place = written.frames(&name)[1];
        written.disk.make_unreadable(&name, place.payload());
        assert_says(
            &written.refusal(),
            &[&name, "good disk", "zeros", "counted"],
        );
        written.disk.make_readable(&name);
        written.zero(&name, place.payload());
    }
    let lost: BTreeSet<Seq> = [1, 4]
        .iter()
        .flat_map(|&segment| {
            let pristine = Written::new(Indexes::Missing, Ended::Closed);
            super::numbers(&pristine.frames(&pristine.segment(segment))[1].header)
        })
        .collect();
    written.expect(&lost, "zeros").await;
}
