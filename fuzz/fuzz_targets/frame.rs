//! Frame decoding. Input: a salt of 16 bytes, then what may be a frame.
//!
//! The checksums keep a fuzzer from ever getting past them by chance, so the payload is also put into a
//! frame with right ones: whatever stands in it, it reads back, and its records are read.
#![no_main]

use bytes::Bytes;
use domain::Seq;
use journal::format::frame::{FRAME_HEADER_BYTES, FrameBuilder, decode, decode_header};
use journal::format::record::Records;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((salt, bytes)) = input.split_first_chunk::<16>() else {
        return;
    };
    let header = decode_header(salt, bytes);
    if let Ok((decoded, payload)) = decode(salt, &Bytes::copy_from_slice(bytes)) {
        assert_eq!(header, Some(decoded));
        assert!(decoded.first.0 > 0 && decoded.last() >= decoded.synced_through);
        assert!(Records::new(payload).count() <= decoded.count as usize);
    }

    let Some(payload) = bytes
        .get(FRAME_HEADER_BYTES..)
        .filter(|payload| !payload.is_empty())
    else {
        return;
    };
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    let (count, first) = (number(4).max(1), Seq(u64::from(number(8)) + 1));
    let mut builder = FrameBuilder::with_capacity(payload.len());
    builder.push_all(payload, count);
    let (sealed, bytes) = builder.finish(salt, first, first.previous(), number(28));
    let (read, again) = decode(salt, &bytes).expect("a frame reads back");
    assert_eq!((read, &again[..]), (sealed, payload));
    for record in Records::new(again) {
        let _ = domain::event::decode(record.event());
    }
    let mut shorter = salt.to_vec();
    shorter.extend_from_slice(&bytes[..bytes.len() - 1]);
    let cut = Bytes::from(shorter).slice(16..16 + FRAME_HEADER_BYTES + payload.len() - 1);
    assert!(
        decode(salt, &cut).is_err(),
        "a frame that is cut off is none"
    );
});
