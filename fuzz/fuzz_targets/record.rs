//! Record decoding: a payload whose checksum was right, with anything in it.
#![no_main]

use bytes::{Bytes, BytesMut};
use journal::format::record::{Records, encode, set_id};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let payload = Bytes::copy_from_slice(input);
    let mut at = 0;
    for record in Records::new(payload) {
        let size = record.size();
        assert!(
            size > 0 && at + size <= input.len(),
            "a record within its payload"
        );
        at += size;
        let Ok(event) = domain::event::decode(record.event()) else {
            continue;
        };
        // What was read is written again, and reads the same.
        let mut laid_out: BytesMut = encode(&event);
        set_id(&mut laid_out, record.id);
        let again = Records::new(laid_out.freeze()).next().expect("one record");
        assert_eq!(again.id, record.id);
        assert_eq!(again.source(), event.source.as_str());
        assert_eq!(domain::event::decode(again.event()).ok(), Some(event));
    }
});
