//! The contract on a file of lines, and what is the file's own.

use std::fs::File as Handle;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ports::Destination;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::contract::{Subject, contract};
use crate::events::{Bodies, bodies, deliver_all, deliver_to_nobody, event, events, made};

struct File {
    dir: TempDir,
}

impl File {
    fn path(&self) -> PathBuf {
        self.dir.path().join("there/events.ndjson")
    }

    fn made(&self) -> Arc<dyn Destination> {
        made(&self.section())
    }

    fn text(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }
}

/// The bodies in lines, as a reader takes them out.
fn read(text: &[u8]) -> Bodies {
    #[derive(serde::Deserialize)]
    struct Line<'l> {
        id: String,
        #[serde(borrow)]
        body: Option<&'l RawValue>,
        body_text: Option<String>,
        body_base64: Option<String>,
    }
    assert!(text.is_empty() || text.ends_with(b"\n"));
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let Line {
                id,
                body,
                body_text,
                body_base64,
            } = serde_json::from_slice(line).unwrap();
            let body = match (body, body_text, body_base64) {
                (Some(_), None, None) => {
                    // As it stands in the line: a parser leaves out the blanks around it.
                    let at = line
                        .windows(8)
                        .position(|part| part == b",\"body\":")
                        .unwrap();
                    line[at + 8..line.len() - 1].to_vec()
                }
                (None, Some(text), None) => text.into_bytes(),
                (None, None, Some(text)) => STANDARD.decode(text).unwrap(),
                other => panic!("{other:?}"),
            };
            (id, body)
        })
        .collect()
}

impl Subject for File {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("there")).unwrap();
        Self { dir }
    }

    fn section(&self) -> Value {
        json!({"type": "file", "path": self.path()})
    }

    async fn arrived(&self) -> Bodies {
        read(&self.text())
    }

    async fn count(&self) -> usize {
        self.text().split_inclusive(|byte| *byte == b'\n').count()
    }

    async fn stop(&mut self) {
        std::fs::rename(self.dir.path().join("there"), self.dir.path().join("away")).unwrap();
    }

    async fn start_again(&mut self) {
        std::fs::rename(self.dir.path().join("away"), self.dir.path().join("there")).unwrap();
    }
}

contract!(File);

#[tokio::test]
async fn a_line_has_every_part_of_its_event() {
    let subject = File::start().await;
    deliver_all(
        &*subject.made(),
        &[event(1, "/in/g?\"x\"", b"{\"n\": 1.50}")],
    )
    .await;
    let line = String::from_utf8(subject.text()).unwrap();
    assert_eq!(
        line,
        concat!(
            r#"{"id":"01901234-5678-7000-8000-000000000001","source":"genesys","#,
            r#""received_at":"2026-03-01T12:00:00.123456Z","method":"POST","path":"/in/g?\"x\"","#,
            r#""headers":{"content-type":"application/json","x-odd":{"base64":"/wA="},"#,
            r#""x-many":["one","two \"quoted\""]},"content_type":"application/json","#,
            r#""body":{"n": 1.50}}"#,
            "\n"
        )
    );
    let mode = std::fs::metadata(subject.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_repeat_is_there_twice_under_one_id() {
    let subject = File::start().await;
    let to = subject.made();
    deliver_all(&*to, &events(2)).await;
    deliver_all(&*to, &events(2)).await;
    let text = subject.text();
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 4);
    assert_eq!(read(&text).len(), 2);
}

#[tokio::test]
async fn a_file_that_was_moved_away_or_removed_is_begun_anew() {
    let subject = File::start().await;
    let to = subject.made();
    let moved = subject.path().with_extension("1");
    deliver_all(&*to, &events(5)[..2]).await;
    std::fs::rename(subject.path(), &moved).unwrap();
    deliver_all(&*to, &events(5)[2..4]).await;
    assert_eq!(read(&std::fs::read(&moved).unwrap()), bodies(&events(2)));
    assert_eq!(subject.arrived().await, bodies(&events(5)[2..4]));
    std::fs::remove_file(subject.path()).unwrap();
    deliver_all(&*to, &events(5)[4..]).await;
    assert_eq!(subject.arrived().await, bodies(&events(5)[4..]));
}

#[tokio::test]
async fn a_line_that_was_cut_short_is_ended_and_kept() {
    let subject = File::start().await;
    std::fs::write(subject.path(), b"{\"id\":\"x\"}\n{\"id\":\"cut sh").unwrap();
    let to = subject.made();
    deliver_all(&*to, &events(1)).await;
    let kept = b"{\"id\":\"x\"}\n{\"id\":\"cut sh\n";
    let text = subject.text();
    assert_eq!(&text[..kept.len()], kept);
    assert_eq!(read(&text[kept.len()..]), bodies(&events(1)));

    // Also where another program left it so while the file is open, and when nothing is to be written.
    let mut other = Handle::options().append(true).open(subject.path()).unwrap();
    other.write_all(b"half").unwrap();
    to.probe().await.unwrap();
    assert!(subject.text().ends_with(b"\nhalf"));
    deliver_all(&*to, &events(2)[1..]).await;
    let after = &subject.text()[text.len()..];
    assert_eq!(&after[..5], b"half\n");
    assert_eq!(read(&after[5..]), bodies(&events(2)[1..]));
}

#[tokio::test]
async fn a_file_that_another_holds_is_unavailable_until_it_lets_go() {
    let subject = File::start().await;
    let first = subject.made();
    deliver_all(&*first, &events(1)).await;
    let second = subject.made();
    let why = second.deliver(&events(1)).await.unavailable.unwrap();
    assert_eq!(why.cause.code, "locked");
    assert!(why.cause.detail.contains("events.ndjson"), "{why}");
    assert!(second.probe().await.is_err() && second.inspect().await.is_err());
    drop(first);
    deliver_all(&*second, &events(2)[1..]).await;
    assert_eq!(subject.arrived().await, bodies(&events(2)));
}

#[tokio::test]
async fn what_is_no_file_is_unavailable_with_what_to_do() {
    let subject = File::start().await;
    let there = subject.path().parent().unwrap().to_owned();
    let pipe = there.join("pipe");
    let made_pipe = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made_pipe.unwrap().success());
    std::fs::write(there.join("plain"), "").unwrap();
    for (path, code, words) in [
        (there.clone(), "missing", "not a regular file"),
        (pipe, "missing", "not a regular file"),
        (there.join("no/such/file"), "missing", "make its directory"),
        (there.join("plain/file"), "missing", "name a file"),
    ] {
        let to = made(&json!({"type": "file", "path": path}));
        assert_eq!(deliver_to_nobody(&*to, &events(1)).await, code, "{path:?}");
        let why = to.inspect().await.unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
    }
}

#[tokio::test]
async fn a_full_disk_is_unavailable_until_there_is_room() {
    let disk = testbed::disk::SmallDisk::tmpfs(16 << 20).unwrap();
    let path = disk.path().join("events.ndjson");
    let to = made(&json!({"type": "file", "path": path}));
    deliver_all(&*to, &events(10)).await;
    disk.fill(1 << 20).unwrap();
    let big: Vec<_> = (0..4)
        .map(|number| event(number + 100, "/", &vec![b'x'; 1 << 20]))
        .collect();
    assert_eq!(deliver_to_nobody(&*to, &big).await, "full");
    disk.empty().unwrap();
    deliver_all(&*to, &big).await;
    deliver_all(&*to, &events(20)[10..]).await;
    // A part of a line may stand where the disk was full; every event is there whole as well.
    let text = std::fs::read(&path).unwrap();
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let whole: Vec<u8> = lines
        .filter(|line| serde_json::from_slice::<Value>(line).is_ok())
        .flatten()
        .copied()
        .collect();
    let mut expected = bodies(&big);
    expected.extend(bodies(&events(20)));
    assert_eq!(read(&whole), expected);
}
