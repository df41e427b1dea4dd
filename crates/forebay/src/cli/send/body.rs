//! What is posted: a file's bytes, or a made-up event in the shape of the source's sender.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ingest::SplitOptions;
use ingest::verify::{Sample, Scheme};
use serde_json::{Value, json};

use crate::cli::input;
use crate::exit::Outcome;

/// Gives one body after the other.
#[derive(Debug)]
pub(super) struct Bodies {
    file: Option<Vec<u8>>,
    count: AtomicU64,
    least_bytes: usize,
    /// Where the source has its events in a body.
    split: Option<SplitOptions>,
}

impl Bodies {
    pub(super) fn new(
        file: Option<&Path>,
        least_bytes: usize,
        split: Option<SplitOptions>,
    ) -> Outcome<Self> {
        Ok(Self {
            file: file.map(input::bytes).transpose()?,
            count: AtomicU64::new(0),
            least_bytes,
            split,
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
        if let Some(SplitOptions::Pointer(pointer)) = &self.split {
            sample.body = in_array(sample.body, pointer);
        }
        (id, sample)
    }
}

/// The body with an array at this JSON pointer: as it is if it has one, else it is the array's only item.
fn in_array(body: Vec<u8>, pointer: &str) -> Vec<u8> {
    let Ok(event) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    if event.pointer(pointer).is_some_and(Value::is_array) {
        return body;
    }
    let names = pointer.split('/').skip(1).collect::<Vec<_>>();
    let wrapped = names.iter().rev().fold(json!([event]), |inner, name| {
        let name = name.replace("~1", "/").replace("~0", "~");
        json!({ name: inner })
    });
    wrapped.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_event_stands_where_the_source_looks_for_it() {
        let in_array = |body: &str, pointer| {
            String::from_utf8(in_array(body.as_bytes().to_vec(), pointer)).unwrap()
        };
        assert_eq!(in_array("{}", ""), "[{}]");
        assert_eq!(in_array("{}", "/readings"), r#"{"readings":[{}]}"#);
        assert_eq!(in_array("{}", "/a~1b/c"), r#"{"a/b":{"c":[{}]}}"#);
        let has_one = r#"{"entry" : [1]}"#;
        assert_eq!(in_array(has_one, "/entry"), has_one);
    }
}
