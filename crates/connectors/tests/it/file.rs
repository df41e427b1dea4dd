//! The file destination: lines that are whole, synced, and alone in their file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::contract::odd_bodies;
use crate::events::{deliver_all, deliver_to_nobody, event, events, made};

fn section(path: &Path) -> Value {
    json!({"type": "file", "path": path})
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The body of a line, put together from the three fields.
fn body(line: &Value, raw: &str) -> Vec<u8> {
    let given = ["body", "body_text", "body_base64"].iter();
    let given: Vec<_> = given.filter(|key| line.get(**key).is_some()).collect();
    assert_eq!(given.len(), 1, "{raw}");
    match *given[0] {
        "body_text" => line["body_text"].as_str().unwrap().into(),
        "body_base64" => STANDARD
            .decode(line["body_base64"].as_str().unwrap())
            .unwrap(),
        _ => {
            // Byte for byte: the value stands at the line's end.
            let (_, rest) = raw.split_once("\"body\":").unwrap();
            rest.strip_suffix('}').unwrap().into()
        }
    }
}

#[tokio::test]
async fn each_event_is_a_line_and_every_body_is_kept_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    let to = made(&section(&path));
    let batch: Vec<_> = (0..)
        .zip(odd_bodies())
        .map(|(number, body)| event(number, "/in/genesys", &body))
        .collect();
    deliver_all(&*to, &batch).await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), batch.len());
    for (raw, delivery) in text.lines().zip(&batch) {
        // Bodies nest deeper than serde reads into a value, so only the fields are looked at.
        let fields: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(raw).unwrap();
        assert_eq!(fields["id"].get(), format!("\"{}\"", delivery.stored.id));
        let mut line = json!({});
        for key in ["body_text", "body_base64"] {
            if let Some(value) = fields.get(key) {
                line[key] = serde_json::from_str(value.get()).unwrap();
            }
        }
        if fields.contains_key("body") {
            line["body"] = json!(null);
        }
        assert_eq!(body(&line, raw), delivery.stored.event.body, "{raw:.200}");
    }
    assert_eq!(fields_of_first(&text)["headers"]["x-many"][0], "one");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds payloads");
    assert_eq!(to.inspect().await.unwrap(), vec![]);
}

fn fields_of_first(text: &str) -> Value {
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    let to = made(&section(&path));
    deliver_all(&*to, &events(3)).await;
    std::fs::rename(&path, dir.path().join("events.1")).unwrap();
    deliver_all(&*to, &events(2)).await;
    assert_eq!(lines(&dir.path().join("events.1")).len(), 3);
    assert_eq!(lines(&path).len(), 2);
    std::fs::remove_file(&path).unwrap();
    deliver_all(&*to, &events(1)).await;
    assert_eq!(lines(&path).len(), 1);
}

#[tokio::test]
async fn a_line_that_a_crash_cut_short_is_ended_and_nothing_of_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    std::fs::write(&path, "{\"id\":1}\n{\"id\":2,\"bo").unwrap();
    let to = made(&section(&path));
    deliver_all(&*to, &events(2)).await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\"id\":1}\n{\"id\":2,\"bo\n{"), "{text}");
    assert_eq!(text.lines().count(), 4);
}

#[tokio::test]
async fn two_writers_never_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    let (one, two) = (made(&section(&path)), made(&section(&path)));
    deliver_all(&*one, &events(1)).await;
    assert_eq!(deliver_to_nobody(&*two, &events(1)).await, "locked");
    drop(one);
    deliver_all(&*two, &events(1)).await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_unavailable_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later/events.ndjson");
    let to = made(&section(&path));
    assert_eq!(deliver_to_nobody(&*to, &events(1)).await, "file");
    let why = to.probe().await.unwrap_err().to_string();
    assert!(
        why.contains("later/events.ndjson") && why.contains("make its directory"),
        "{why}"
    );
    std::fs::create_dir(dir.path().join("later")).unwrap();
    to.probe().await.unwrap();
    deliver_all(&*to, &events(1)).await;
}
