//! Every scheme, with any headers, path and body: none panics, and none takes what it did not sign.
#![no_main]

use bytes::Bytes;
use domain::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use ingest::verify::{Received, SCHEMES, Scheme, VerifyOptions};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static BUILT: LazyLock<Vec<Box<dyn Scheme>>> = LazyLock::new(|| {
    let build = |about: &&ingest::verify::About| {
        let text = format!("scheme = \"{}\"\n{}", about.name, about.least.replace(", ", "\n"));
        let options: VerifyOptions = toml::from_str(&text).expect("the least options");
        options.build().expect("a scheme")
    };
    let verifying = |about: &&&ingest::verify::About| about.name != "none";
    SCHEMES.iter().filter(verifying).map(build).collect()
});

/// A line a header as `name: value`, an empty line, and the body; the first line is the method and the path.
fuzz_target!(|input: &[u8]| {
    let head_end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let (head, body) = input.split_at(head_end);
    let body = Bytes::copy_from_slice(body.get(2..).unwrap_or_default());
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (method, path) = first.split_once(' ').unwrap_or((&first, "/"));
    let mut headers = HeaderMap::new();
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let url = format!("https://hooks.example.com{path}");
    let request = Received {
        method,
        path,
        url: Some(&url),
        client: None,
        headers: &headers,
        body: &body,
        now: Timestamp::from_second(1_790_000_000).expect("a time"),
    };
    for scheme in BUILT.iter() {
        assert!(scheme.verify(&request).is_err(), "{} took it", scheme.name());
        let _ = (scheme.handshake(&request), scheme.wants(&request));
        let _ = (scheme.identify(&request), scheme.identify_item(&body));
    }
});
