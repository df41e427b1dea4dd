//! Taking bodies apart and finding what a pointer points to: items are JSON, and lie within the body.
#![no_main]

use bytes::Bytes;
use ingest::fuzzing::{Split, is_json, items, text_at, texts};
use libfuzzer_sys::fuzz_target;

/// The pointer is what stands before the first line end; the rest is the body.
fuzz_target!(|input: &[u8]| {
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (pointer, body) = input.split_at(at);
    let body = Bytes::copy_from_slice(body.get(1..).unwrap_or_default());
    let pointer = String::from_utf8_lossy(pointer).into_owned();
    let _ = text_at(&body, &pointer);
    let name = pointer.trim_start_matches('/');
    // A pointer may also name a place in an array.
    let is_a_field = !name.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(['/', '~']);
    if is_a_field {
        let [found] = texts(&body, [name]);
        assert_eq!(found, text_at(&body, &format!("/{name}")), "{name}");
    }
    for split in [Split::Lines, Split::Array(pointer)] {
        for item in items(&body, &split).unwrap_or_default() {
            assert!(is_json(&item), "an item is JSON");
            let range = body.as_ptr_range();
            assert!(range.contains(&item.as_ptr()), "an item lies within its body");
        }
    }
});
