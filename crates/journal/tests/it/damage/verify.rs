//! What `journal::verify` says of whole, torn and damaged journals, and that it only looks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use domain::Seq;
use journal::verify::{End, FindingKind, SegmentState, Verification, inspect, verify};
use journal::{DirectoryLock, OpenError};

use super::random::damage;
use super::{Ended, Indexes, Written};
use crate::sim::Dice;

fn verified(written: &Written) -> Verification {
    let directory = tempfile::tempdir().unwrap();
    written.export(directory.path());
    verify(directory.path()).unwrap()
}

fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn lost(report: &Verification) -> BTreeSet<Seq> {
    report
        .findings()
        .filter(|(_, finding)| finding.kind == FindingKind::Damaged)
        .filter_map(|(_, finding)| finding.lost)
        .flat_map(|range| (range.first.0..=range.last.0).map(Seq))
        .collect()
}

#[test]
fn a_whole_journal_is_listed_and_found_whole() {
    for indexes in [Indexes::Written, Indexes::Missing] {
        let written = Written::new(indexes, Ended::Closed);
        let directory = tempfile::tempdir().unwrap();
        written.export(directory.path());
        std::fs::write(directory.path().join("000001.spare"), [0; 100]).unwrap();
        let before = contents(directory.path());

        let listed = inspect(directory.path()).unwrap();
        assert_eq!(
            (listed.held, listed.installation),
            (false, Some(written.installation))
        );
        let states: Vec<_> = listed.segments.iter().map(|info| info.state).collect();
        let sealed = SegmentState::Sealed;
        let expected = [
            sealed,
            sealed,
            sealed,
            sealed,
            SegmentState::Active,
            SegmentState::Spare,
        ];
        assert_eq!(states, expected);
        let mut next = Seq(1);
        for (at, info) in listed.segments[..5].iter().enumerate() {
            assert_eq!(info.number, Some(at as u64 + 1));
            assert_eq!(info.first, Some(next));
            let last = info.last.unwrap();
            assert_eq!(info.records, Some(last.0 + 1 - next.0));
            let frames = written.frames(&info.file);
            let with_events = frames.iter().filter(|place| place.header.count > 0).count();
            assert_eq!(info.frames, Some(with_events as u64));
            assert_eq!(info.bytes, 14 << 10);
            next = last.next();
        }
        assert_eq!(next.previous(), *written.acked.last_key_value().unwrap().0);

        let report = verify(directory.path()).unwrap();
        assert_eq!(report.findings().count(), 0, "{report:?}");
        let infos: Vec<_> = report
            .segments
            .iter()
            .map(|report| report.info.clone())
            .collect();
        assert_eq!(infos, listed.segments);
        assert!(
            report.segments[..5]
                .iter()
                .all(|report| report.end == End::Whole)
        );
        assert_eq!(report.records(), written.acked.len() as u64);
        assert_eq!(contents(directory.path()), before, "it only looks");
    }
}

#[test]
fn as_json_a_segment_is_one_object_without_its_salt() {
    let written = Written::new(Indexes::Written, Ended::Killed);
    written.flip(&written.segment(1), 8200, 1);
    let report = verified(&written);
    let json = serde_json::to_value(&report.segments[1]).unwrap();
    assert_eq!(json["state"], "sealed");
    assert_eq!(json["end"], "whole");
    assert_eq!(json["findings"][0]["kind"], "damaged");
    assert_eq!(json["findings"][0]["offset"], 8192);
    assert_eq!(json["findings"][0]["lost"]["first"], json["first"]);
    assert!(!serde_json::to_string(&report).unwrap().contains("salt"));
}

#[test]
fn a_killed_and_a_torn_end_are_no_damage() {
    let written = Written::new(Indexes::Written, Ended::Killed);
    let report = verified(&written);
    assert!(!report.is_damaged());
    assert_eq!(report.segments[4].end, End::Open);

    let name = written.segment(4);
    let place = *written.frames(&name).last().unwrap();
    written.flip(&name, place.payload().start + 1, 1);
    let report = verified(&written);
    assert!(!report.is_damaged());
    assert_eq!(report.segments[4].end, End::Torn);
    let finding = &report.segments[4].findings[0];
    assert_eq!(finding.kind, FindingKind::Torn);
    assert_eq!(finding.offset, Some(place.offset as u64));
    assert!(
        finding.words.contains(&place.header.first.to_string()),
        "{}",
        finding.words
    );

    written.flip(&name, place.offset + 1, 1);
    let report = verified(&written);
    assert!(!report.is_damaged());
    assert_eq!(report.segments[4].end, End::Torn);
}

#[tokio::test]
async fn it_finds_what_a_start_finds_wherever_the_damage_is() {
    for seed in 1000..1300 {
        let mut dice = Dice::new(seed);
        let indexes = *dice.pick(&[Indexes::Written, Indexes::Missing]);
        let mut written = Written::new(indexes, Ended::Closed);
        let segment = dice.index(5);
        let name = written.segment(segment);
        let range = damage(&written, &name, &mut dice);
        let what = format!("seed {seed}: {name} {range:?}");
        let report = verified(&written);
        let mut known = written.known();
        if segment == 4 {
            // What nothing claims is lost to both, unless state knows of it; here it does not.
            known.highest = *written.acked.last_key_value().unwrap().0;
            let life = written.live(&known).await;
            let found = lost(&report);
            assert!(
                found.iter().all(|seq| life.damaged.contains(*seq)),
                "{what}: {report:?}"
            );
            continue;
        }
        let life = written.live(&known).await;
        let damaged: BTreeSet<_> = written
            .acked
            .keys()
            .copied()
            .filter(|seq| life.damaged.contains(*seq))
            .collect();
        assert_eq!(lost(&report), damaged, "{what}: {report:?}");
        assert!(damaged.is_empty() || report.is_damaged(), "{what}");
        // What a start left behind it is still reported, and the rest still counted.
        let after = verified(&written);
        assert_eq!(after.is_damaged(), report.is_damaged(), "{what}: {after:?}");
        assert_eq!(
            after.records(),
            life.seen.len() as u64 + 1,
            "{what}: {after:?}"
        );
    }
}

#[test]
fn each_kind_of_trouble_is_told_in_words() {
    type Trouble = (&'static str, fn(&Written), FindingKind, &'static str);
    let troubles: [Trouble; 6] = [
        (
            "one header",
            |written| written.zero(&written.segment(2), 0..64),
            FindingKind::Damaged,
            "the other is whole",
        ),
        (
            "both headers",
            |written| written.zero(&written.segment(2), 0..8192),
            FindingKind::Damaged,
            "no copy of the header can be read",
        ),
        (
            "a missing segment",
            |written| {
                let name = written.segment(2);
                written.disk.storage().remove(&name).unwrap();
            },
            FindingKind::Missing,
            "segments 3 to 3 are not there: normal if every route has settled them",
        ),
        (
            "an index",
            |written| written.flip(&written.files(".index")[1], 70, 1),
            FindingKind::Note,
            "the segment is read instead",
        ),
        (
            "the installation",
            |written| written.truncate("installation", 5),
            FindingKind::Damaged,
            "restore it",
        ),
        (
            "the end of a sealed segment",
            |written| {
                let name = written.segment(2);
                let place = *written.frames(&name).last().unwrap();
                written.truncate(&name, place.offset);
            },
            FindingKind::Damaged,
            "lost to damage at its end",
        ),
    ];
    for (what, make, kind, words) in troubles {
        let written = Written::new(Indexes::Written, Ended::Closed);
        make(&written);
        let report = verified(&written);
        let findings: Vec<_> = report.findings().map(|(_, finding)| finding).collect();
        assert_eq!(findings.len(), 1, "{what}: {findings:?}");
        assert_eq!(findings[0].kind, kind, "{what}");
        assert!(
            findings[0].words.contains(words),
            "{what}: {}",
            findings[0].words
        );
        assert_eq!(report.is_damaged(), kind == FindingKind::Damaged, "{what}");
    }
}

#[test]
fn it_needs_no_lock_and_says_who_has_it() {
    let written = Written::new(Indexes::Written, Ended::Killed);
    let directory = tempfile::tempdir().unwrap();
    written.export(directory.path());
    let lock = DirectoryLock::acquire(directory.path(), false).unwrap();
    assert!(verify(directory.path()).unwrap().held && inspect(directory.path()).unwrap().held);
    drop(lock);
    assert!(!verify(directory.path()).unwrap().held);
}

#[test]
fn what_another_version_wrote_is_refused_by_name() {
    let written = Written::new(Indexes::Written, Ended::Killed);
    let name = written.segment(3);
    super::refused::reseal_header(&written, &name, 8, 9);
    let directory = tempfile::tempdir().unwrap();
    written.export(directory.path());
    for error in [
        verify(directory.path()).unwrap_err(),
        inspect(directory.path()).unwrap_err(),
    ] {
        assert!(
            matches!(&error, OpenError::Format { name: file, .. } if *file == name),
            "{error}"
        );
    }
}
