//! Objects: how they are named, and what is in them.
//!
//! A name follows from the event alone, or from the events of a batch, so that what is sent again is the same object
//! and is not written twice. What differs has another name, always: an object that is there already counts as
//! delivered.

use std::collections::BTreeMap;
use std::io::Write as _;

use aws_lc_rs::digest;
use domain::Timestamp;
use domain::ports::Delivery;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::carried;

/// What of a SHA-256 is enough to tell batches apart.
const HASH_BYTES: usize = 16;

/// Objects of one event are held under this name, and so is the one that shows that the bucket takes any.
pub(super) const MARK: &str = ".forebay";

/// One object to be written.
#[derive(Debug)]
pub(super) struct Object {
    /// The places of its events in the batch.
    pub(super) places: Vec<usize>,
    pub(super) key: String,
}

/// The objects of a batch, one an event.
pub(super) fn singly(prefix: &str, batch: &[Delivery], gzip: bool) -> Vec<Object> {
    let each = batch.iter().enumerate();
    each.map(|(place, delivery)| Object {
        places: vec![place],
        key: format!(
            "{}/{}.json{}",
            folder(prefix, delivery),
            name(delivery),
            end(gzip)
        ),
    })
    .collect()
}

/// The objects of a batch, one a folder.
pub(super) fn together(prefix: &str, batch: &[Delivery], gzip: bool) -> Vec<Object> {
    let mut folders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, delivery) in batch.iter().enumerate() {
        let folder = folder(prefix, delivery);
        folders.entry(folder).or_default().push(place);
    }
    let objects = folders.into_iter();
    objects
        .map(|(folder, places)| {
            let names: Vec<String> = places.iter().map(|place| name(&batch[*place])).collect();
            let first = names.first().map_or("", String::as_str);
            let hash = digest::digest(&digest::SHA256, names.join("\n").as_bytes());
            let hash = hash.as_ref().iter().take(HASH_BYTES);
            let hash: String = hash.map(|byte| format!("{byte:02x}")).collect();
            Object {
                key: format!("{folder}/{first}-{hash}.ndjson{}", end(gzip)),
                places,
            }
        })
        .collect()
}

fn end(gzip: bool) -> &'static str {
    if gzip { ".gz" } else { "" }
}

/// A letter that died again after a redrive is another one, and none is its event: in a folder of both, where a route is
/// called as a source is, each has its own.
fn name(delivery: &Delivery) -> String {
    let id = delivery.stored.id;
    match &delivery.letter {
        Some(letter) => format!("{id}-{}", letter.redrives),
        None => id.to_string(),
    }
}

/// By whose it is and the hour: of an event its source and when it came in, of a dead letter its route and when it
/// failed last.
fn folder(prefix: &str, delivery: &Delivery) -> String {
    let event = &delivery.stored.event;
    let (whose, when) = match &delivery.letter {
        Some(letter) => (letter.route.as_str(), letter.last_failure_at),
        None => (event.source.as_str(), event.received_at),
    };
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{prefix}{slash}{whose}/{}", hour(when))
}

fn hour(when: Timestamp) -> String {
    when.strftime("%Y/%m/%d/%H").to_string()
}

/// What goes into an object: one event, or a line each. Takes time where it compresses.
///
/// # Errors
/// Memory alone can fail here, and does not say so.
pub(super) fn content(events: &[Delivery], is_lines: bool, gzip: bool) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for event in events {
        carried::object(event, &mut text);
        if is_lines {
            text.push(b'\n');
        }
    }
    if !gzip {
        return Ok(text);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&text)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use domain::RouteName;

    use super::*;
    use crate::samples::{dead, live};

    #[test]
    fn a_key_is_whose_it_is_the_hour_and_the_id() {
        let id = "01010101-0101-0101-0101-010101010101";
        let key = |prefix: &str, delivery: &Delivery, gzip| {
            let mut objects = singly(prefix, std::slice::from_ref(delivery), gzip);
            objects.remove(0).key
        };
        let event = live(b"{}");
        assert_eq!(
            key("", &event, false),
            format!("shop/1970/01/01/00/{id}.json")
        );
        assert_eq!(
            key("a/b", &event, true),
            format!("a/b/shop/1970/01/01/00/{id}.json.gz")
        );
        let letter = dead(b"{}", 0);
        assert_eq!(
            key("dlq", &letter, false),
            format!("dlq/orders/1970/01/01/00/{id}-0.json")
        );
        let again = dead(b"{}", 2);
        assert_eq!(
            key("", &again, false),
            format!("orders/1970/01/01/00/{id}-2.json")
        );
    }

    #[test]
    fn a_letter_and_an_event_of_one_folder_are_two_objects() {
        let event = live(b"{}");
        let mut letter = dead(b"{}", 0);
        // The route is called as the source is.
        Arc::make_mut(letter.letter.as_mut().unwrap()).route = RouteName::new("shop").unwrap();
        let keys = |delivery: &Delivery| {
            let alone = std::slice::from_ref(delivery);
            let one = singly("", alone, false).remove(0).key;
            (one, together("", alone, false).remove(0).key)
        };
        assert_ne!(keys(&event).0, keys(&letter).0);
        assert_ne!(keys(&event).1, keys(&letter).1);
    }

    #[test]
    fn a_batch_has_an_object_a_folder_and_other_events_another_name() {
        let batch = [live(b"1"), dead(b"2", 0), live(b"3"), dead(b"4", 1)];
        let objects = together("", &batch, true);
        assert_eq!(objects.len(), 2);
        assert_eq!(
            (&objects[0].places, &objects[1].places),
            (&vec![1, 3], &vec![0, 2])
        );
        assert!(
            objects
                .iter()
                .all(|object| object.key.ends_with(".ndjson.gz"))
        );
        // The same events are the same object; fewer, more or in another order, another.
        let key = |batch: &[Delivery]| together("", batch, false).remove(0).key;
        assert_eq!(key(&batch[1..2]), key(&batch[1..2]));
        let both = [batch[1].clone(), batch[3].clone()];
        let turned = [batch[3].clone(), batch[1].clone()];
        let mut keys = vec![key(&both), key(&both[..1]), key(&both[1..]), key(&turned)];
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 4);
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let batch = [live(b"{\"a\": 1}"), live(b"\xff")];
        let plain = content(&batch, true, false).unwrap();
        assert_eq!(plain.iter().filter(|byte| **byte == b'\n').count(), 2);
        let packed = content(&batch, true, true).unwrap();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, plain);
        let one = content(&batch[..1], false, false).unwrap();
        let one: serde_json::Value = serde_json::from_slice(&one).unwrap();
        assert_eq!(one["body"], "{\"a\": 1}");
    }
}
