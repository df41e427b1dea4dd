//! What is said of values that do not fit, as a table.

use std::path::Path;

use super::*;
use crate::config::{Flags, parse};

#[test]
fn no_value_is_quoted_that_may_be_secret_and_no_type_is_called_as_in_rust() {
    for (message, wanted) in [
        (
            "invalid type: string \"a, expected \\\"b\", expected a sequence",
            "is text; it must be a list, as in [\"…\"]",
        ),
        (
            "invalid type: integer `12345`, expected a string",
            "is a number; it must be text, in quotes",
        ),
        (
            "invalid type: floating point `0.5`, expected u32",
            "is a number with a fraction; it must be a whole number, 0 or more, without quotes",
        ),
        (
            "invalid value: integer `-1`, expected usize",
            "is out of bounds; it must be a whole number, 0 or more, without quotes",
        ),
        (
            "invalid type: string \"x\", expected struct Limits",
            "is text; it must be a table, as in { key = \"…\" }",
        ),
        ("missing field `to`", "`to` is missing: add to = …"),
        (
            "unknown variant `md5`, expected one of `sha1`, `sha256`",
            "there is no \"md5\"; it must be one of `sha1`, `sha256`",
        ),
        (
            "unknown variant `SHA1`, expected one of `sha1`, `sha256`",
            "there is no \"SHA1\"; did you mean \"sha1\"? It may be `sha1`, `sha256`",
        ),
    ] {
        assert_eq!(plain(message, "key", None, |_| None), wanted);
    }
}

#[test]
fn a_word_that_is_misspelt_a_little_is_guessed_and_another_is_not() {
    let known = ["url", "dead_letter", "batch_max", "concurrency", "github"];
    for (word, expected) in [
        ("dead_leter", Some("dead_letter")),
        ("dead-letter", Some("dead_letter")),
        ("concurency", Some("concurrency")),
        ("ulr", Some("url")),
        ("batchmax", Some("batch_max")),
        ("githb", Some("github")),
        ("GitHub", Some("github")),
        ("color", None),
        ("x", None),
    ] {
        assert_eq!(closest(word, known), expected, "{word}");
    }
    assert_eq!(closest("x", []), None);
}

/// What is said of a line put into its section of a configuration that is right.
fn told(section: &str, line: &str) -> String {
    let text = |own: &str| {
        let line = if section == own { line } else { "" };
        format!("[{own}]\n{line}\n")
    };
    let source = "type = \"http\"\nverify = { scheme = \"none\" }";
    let source = match section == "sources.a" && line.starts_with("verify") {
        true => "type = \"http\"",
        false => source,
    };
    let whole = [
        text("server.limits"),
        text("journal"),
        text("sources.a") + source + "\n",
        text("destinations.db") + "type = \"http\"\n",
        text("routes.r")
            + if line.contains("from") {
                ""
            } else {
                "from = [\"a\"]\nto = \"db\"\n"
            },
    ];
    let whole = whole.concat();
    let read = parse(
        Some(Path::new("f.toml")),
        &whole,
        &Flags::default(),
        &|_| None,
    );
    let error = read.unwrap_err();
    let header = format!("[{section}]");
    let header = whole.lines().position(|found| found == header).unwrap() + 1;
    // A key that is missing is told at the section, and a key that is there twice where it is the second time.
    let places =
        [0, 1, 1 + line.matches('\n').count()].map(|below| format!("f.toml:{}", header + below));
    assert!(places.contains(&error.place), "{error}");
    format!("{}: {}", error.key, error.reason)
}

#[test]
fn a_value_that_does_not_fit_is_told_by_its_key_with_the_way_to_write_it() {
    for (section, line, wanted) in [
        (
            "sources.a",
            "verify = \"github\"",
            "sources.a.verify: is text; write verify = { scheme = \"github\", secrets = [\"…\"] }",
        ),
        (
            "sources.a",
            "verify = { scheme = \"github\", secrets = \"hunter2\" }",
            "sources.a.verify.secrets: is text; write secrets = [\"…\"] (at least one, here or in `secret_files`)",
        ),
        (
            "sources.a",
            "verify = { scheme = \"stripe\", secrets = [\"x\"], tolerance = 5 }",
            "sources.a.verify.tolerance: is a number; write tolerance = \"10s\", a number with a unit in quotes",
        ),
        (
            "sources.a",
            "verify = { scheme = \"stripe\", secrets = [\"x\"], tolerance = \"5 parsecs\" }",
            "sources.a.verify.tolerance: is no duration: write a number with a unit, as in \"10s\"",
        ),
        (
            "sources.a",
            "verify = { scheme = \"hmac\", secrets = [\"x\"], header = \"h\", algorithm = \"md5\" }",
            "sources.a.verify.algorithm: there is no \"md5\"; it must be one of `sha1`, `sha256`, `sha512`",
        ),
        (
            "sources.a",
            "verify = { scheme = \"hmac\", secrets = [\"x\"] }",
            "sources.a.verify: `header` is missing: add header = \"…\", in quotes (a header's name)",
        ),
        (
            "sources.a",
            "verify = { scheme = \"githb\" }",
            "sources.a.verify.scheme: there is no \"githb\"; did you mean \"github\"?",
        ),
        (
            "sources.a",
            "verify = { scheme = \"GitHub\" }",
            "sources.a.verify.scheme: there is no \"GitHub\"; did you mean \"github\"?",
        ),
        (
            "sources.a",
            "verify = { secrets = [\"x\"] }",
            "sources.a.verify: `scheme` is missing: write verify = { scheme = ",
        ),
        (
            "sources.a",
            "rate_limit = 5",
            "sources.a.rate_limit: is a number; write rate_limit = { per_second = 100, burst = 200 }",
        ),
        (
            "sources.a",
            "rate_limit = { per_second = 0.5 }",
            "sources.a.rate_limit.per_second: is a number with a fraction; it must be a whole number, 0 or more, without quotes",
        ),
        (
            "sources.a",
            "rate_limit = { burst = 5 }",
            "sources.a.rate_limit: `per_second` is missing: write rate_limit = { per_second = 100, burst = 200 }",
        ),
        (
            "sources.a",
            "dedup = { header = \"a\", pointer = \"/b\" }",
            "sources.a.dedup: must have one key: it must be one of `\"scheme\"`, `\"off\"`, `{ header",
        ),
        (
            "sources.a",
            "retry_window = 10",
            "sources.a.retry_window: is a number; write retry_window = \"10s\"",
        ),
        (
            "sources.a",
            "max_body = 1000000",
            "sources.a.max_body: is a number; write max_body = \"10MiB\"",
        ),
        (
            "sources.a",
            "paths = [\"/a\", 5]",
            "sources.a.paths[1]: is a number; it must be text, in quotes",
        ),
        (
            "sources.a",
            "max_body = \"1MiB\"\nmax_body = \"1MiB\"",
            "syntax: this is not TOML: max_body is there twice: take one of them out",
        ),
        (
            "server.limits",
            "max_connections = \"ten\"",
            "server.limits.max_connections: is text; it must be a whole number without quotes",
        ),
        (
            "journal",
            "retain = \"forever\"",
            "journal.retain: is no duration: write a number with a unit, as in \"10s\"",
        ),
        (
            "destinations.db",
            "url = \"https://h\"\ntimeout = 5",
            "destinations.db.timeout: is a number; write timeout = \"10s\"",
        ),
        (
            "destinations.db",
            "headers = \"hunter2\"",
            "destinations.db.headers: is text; it must be a table of ",
        ),
        (
            "routes.r",
            "from = \"a\"",
            "routes.r.from: is text; write from = [\"…\"] (sources",
        ),
        (
            "routes.r",
            "from = [\"a\"]",
            "routes.r: `to` is missing: add to = \"…\", in quotes (a destination)",
        ),
        (
            "routes.r",
            "retry = 5",
            "routes.r.retry: is a number; write retry = { max_retries = 3, retry_interval = \"10s\" }",
        ),
        (
            "routes.r",
            "on_full = \"drop\"",
            "routes.r.on_full: there is no \"drop\"; it must be one of `refuse`, `dead_letter`",
        ),
    ] {
        let told = told(section, line);
        assert!(told.starts_with(wanted), "got     {told}\nwanted  {wanted}");
        assert!(!told.contains("hunter2") && !told.contains('\n'), "{told}");
        if wanted.ends_with('?') {
            assert_eq!(told, wanted);
        }
    }
}
