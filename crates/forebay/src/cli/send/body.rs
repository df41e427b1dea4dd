//! What is posted: a file's bytes, or a made-up event in the shape of the source's sender.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::SourceOptions;
use ingest::options::SplitOptions;
use ingest::verify::{Sample, Scheme};
use serde_json::Value;

use crate::cli::input;
use crate::exit::Outcome;

/// Gives one body after the other.
#[derive(Debug)]
pub(super) struct Bodies {
    file: Option<Vec<u8>>,
    count: AtomicU64,
    least_bytes: usize,
    /// Where the source has its array of events, if it has one.
    array: Option<String>,
}

impl Bodies {
    pub(super) fn new(
        file: Option<&Path>,
        least_bytes: usize,
        source: &SourceOptions,
    ) -> Outcome<Self> {
        Ok(Self {
            file: file.map(input::bytes).transpose()?,
            count: AtomicU64::new(0),
            least_bytes,
            array: match &source.split {
                Some(SplitOptions::Pointer(pointer)) => Some(pointer.clone()),
                _ => None,
            },
        })
    }

    /// The next body, and the id of the message.
    pub(super) fn next(&self, scheme: &dyn Scheme) -> (String, Sample) {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let text = format!("message {number}, sent by forebay send");
        let mut sample = scheme.sample(&id, &text);
        if let Some(bytes) = &self.file {
            sample.body.clone_from(bytes);
            return (id, sample);
        }
        let missing = self.least_bytes.saturating_sub(sample.body.len());
        if missing > 0 {
            sample = scheme.sample(&id, &(text + &" ".repeat(missing)));
        }
        if let Some(pointer) = &self.array
            && let Some(body) = in_array(&sample.body, pointer)
        {
            sample.body = body;
        }
        (id, sample)
    }
}

/// A made-up event as the only item of an array at this JSON pointer. One that has the array already stays as it is, and
/// so does one that is not JSON.
fn in_array(event: &[u8], pointer: &str) -> Option<Vec<u8>> {
    let event: Value = serde_json::from_slice(event).ok()?;
    if event.pointer(pointer).is_some_and(Value::is_array) {
        return None;
    }
    let names = pointer.split('/').skip(1);
    let names: Vec<String> = names
        .map(|name| name.replace("~1", "/").replace("~0", "~"))
        .collect();
    let around =
        |inner: Value, name: &String| Value::Object([(name.clone(), inner)].into_iter().collect());
    let whole = names.iter().rev().fold(Value::Array(vec![event]), around);
    Some(whole.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::in_array;

    #[test]
    fn a_made_up_event_stands_where_the_source_looks_for_events() {
        let wrapped = |event: &str, pointer: &str| {
            let body = in_array(event.as_bytes(), pointer)?;
            Some(String::from_utf8(body).unwrap())
        };
        for (pointer, expected) in [
            ("", r#"[{"id":1}]"#),
            ("/readings", r#"{"readings":[{"id":1}]}"#),
            ("/a/b~1c", r#"{"a":{"b/c":[{"id":1}]}}"#),
        ] {
            assert_eq!(wrapped(r#"{"id":1}"#, pointer).as_deref(), Some(expected));
        }
        assert_eq!(wrapped(r#"{"entry":[1]}"#, "/entry"), None);
        assert_eq!(wrapped("a=1&b=2", "/entry"), None);
    }
}
