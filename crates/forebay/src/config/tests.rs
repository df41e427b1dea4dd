//! Mistakes and what is said about them, as a table; and what is taken from where.

use super::*;

fn read(text: &str) -> Result<Config, ConfigError> {
    let environment = |name: &str| match name {
        "DATABASE_URL" => Some("postgres://app:hunter2@localhost/app".to_owned()),
        _ => None,
    };
    parse(
        Some(Path::new("forebay.toml")),
        text,
        &Flags::default(),
        &environment,
    )
}

fn error(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

const WHOLE: &str = r#"
[server]
listen = "127.0.0.1:9000"
[journal]
segment_bytes = "16MiB"
[sources.gc]
type = "http"
paths = ["/webhook/gc"]
verify = { scheme = "genesys-open-messaging", secrets = ["a-secret-of-many-letters"] }
[destinations.db]
type = "postgres"
url = "${DATABASE_URL}"
[routes.gc-to-db]
from = ["gc"]
to = "db"
order = "none"
on_outage = "hold"
retry = { max_retries = 3, retry_interval = "5s" }
"#;

#[test]
fn a_whole_configuration_is_taken() {
    let config = read(WHOLE).unwrap();
    assert!(!config.built_in_route);
    assert_eq!(config.server.listen.port(), 9000);
    assert_eq!(config.journal.segment_bytes, 16 << 20);
    let route = &config.routes[&RouteName::new("gc-to-db").unwrap()];
    assert_eq!(route.policies.retry.max_retries, 3);
    assert_eq!(config.destinations[&route.to].port.kind(), "postgres");
}

#[test]
fn nothing_at_all_is_the_built_in_route() {
    let config = read("").unwrap();
    assert!(config.built_in_route);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.admin.to_string(), "127.0.0.1:8081");
    let source = config.sources.values().next().unwrap();
    assert_eq!(source.paths, ["/webhook"]);
    assert_eq!(
        config.destinations.values().next().unwrap().port.kind(),
        "sqlite"
    );
}

#[test]
fn each_mistake_is_one_line_with_file_line_key_and_remedy() {
    let with = |from: &str, to: &str| {
        assert!(WHOLE.contains(from), "{from}");
        WHOLE.replace(from, to)
    };
    let cases = [
        (
            with("listen =", "lisen ="),
            "forebay.toml:3: server.lisen: there is no such key; did you mean `listen`? The keys here are `listen`",
        ),
        (
            with("127.0.0.1:9000", "9000"),
            "forebay.toml:3: server.listen: \"9000\" must be an address and a port",
        ),
        (
            with("\"16MiB\"", "\"16 apples\""),
            "forebay.toml:5: journal.segment_bytes: ",
        ),
        (
            with("retry_interval = \"5s\"", "retry_interval = \"5 parsecs\""),
            "forebay.toml:18: routes.gc-to-db.retry.retry_interval: ",
        ),
        (
            with("to = \"db\"", "to = \"dbb\""),
            "forebay.toml:15: routes.gc-to-db.to: there is no destination dbb; there is db",
        ),
        (
            with("from = [\"gc\"]", "from = [\"cg\"]"),
            "forebay.toml:14: routes.gc-to-db.from: there is no source cg; there is gc",
        ),
        (
            with(
                "\"127.0.0.1:9000\"",
                "\"127.0.0.1:9000\"\nadmin = \"127.0.0.1:9000\"",
            ),
            "forebay.toml:4: server.admin: 127.0.0.1:9000 is server.listen's",
        ),
        (
            with("${DATABASE_URL}", "${NOT_THERE}"),
            "forebay.toml:12: destinations.db.url: the environment variable NOT_THERE is not set, or empty",
        ),
        (
            with("url =", "uri ="),
            "forebay.toml:12: destinations.db.uri: there is no such key; did you mean `url`?",
        ),
        (
            with(
                "secrets = [\"a-secret-of-many-letters\"]",
                "secret_files = [\"/nowhere/secret\"]",
            ),
            "forebay.toml:9: sources.gc.verify: secret_files: cannot read /nowhere/secret: No such file",
        ),
        (
            with("\"127.0.0.1:9000\"", "\"0.0.0.0:9000\"").replace("verify =", "#"),
            "forebay.toml:6: sources.gc.verify: the listener is on 0.0.0.0:9000",
        ),
        (
            with("[journal]", "admin = \"0.0.0.0:9001\"\n[journal]"),
            "forebay.toml:4: server.admin: 0.0.0.0:9001 is not on loopback",
        ),
        (
            with("[routes.gc-to-db]", "[routes.gc-to-db"),
            "forebay.toml:13: syntax: this is not TOML: ",
        ),
        (
            with("paths =", "max_body = \"1GiB\"\npaths ="),
            "forebay.toml:8: sources.gc.max_body: ",
        ),
        (
            with(
                "[journal]",
                "[server.limits]\nmax_in_flight_bytes = \"2MiB\"\n[journal]",
            )
            .replace("paths =", "max_body = \"2MiB\"\npaths ="),
            "forebay.toml:10: sources.gc.max_body: 2.0 MiB and a head never fit into the memory for requests",
        ),
        // The default does not fit, either.
        (
            with(
                "[journal]",
                "[server.limits]\nmax_in_flight_bytes = \"2MiB\"\n[journal]",
            ),
            "forebay.toml:8: sources.gc.max_body: 10.0 MiB, which it is unless it is written, and a head never fit into the memory for requests",
        ),
        // A message that has no room in the memory would be waited with for ever.
        (
            with(
                "[journal]",
                "[server.limits]\nmax_in_flight_bytes = \"2MiB\"\n[journal]",
            )
            .replace("paths =", "max_body = \"1MiB\"\npaths =")
            .replace("[destinations.db]", "[sources.q]\ntype = \"redis\"\nurl = \"redis://h\"\nlist = \"l\"\n[destinations.db]")
            .replace("from = [\"gc\"]", "from = [\"gc\", \"q\"]"),
            "forebay.toml:13: sources.q.max_body: 10.0 MiB, which it is unless it is written, and a head never fit into the memory for requests",
        ),
        (
            with("[journal]", "[log]\nlevel = \"loud=very\"\n[journal]"),
            "forebay.toml:5: log.level: ",
        ),
        (
            with("order = \"none\"", "start = \"yesterday\""),
            "forebay.toml:16: routes.gc-to-db.start: must be \"now\", \"oldest\" or a time",
        ),
        (
            with("from = [\"gc\"]", "from = [\"gh\"]").replace(
                "[destinations.db]",
                "[sources.gh]\ntype = \"http\"\n[destinations.db]",
            ),
            "forebay.toml:6: sources.gc: no route takes this source's events: add \"gc\" to a route's `from`, set subscriptions.enabled",
        ),
        (
            with(
                "[journal]",
                "[subscriptions]\nallow_https = true\n[journal]",
            ),
            "forebay.toml:5: subscriptions.allow_https: there is no such key; did you mean `allow_http`? The keys here are `enabled`",
        ),
        (
            with("[journal]", "[subscriptions]\nmax = 0\n[journal]"),
            "forebay.toml:5: subscriptions.max: must be from 1 to 10000; to have none, enabled = false",
        ),
    ];
    for (text, wanted) in cases {
        let error = error(&text);
        assert!(
            error.starts_with(wanted),
            "got     {error}\nwanted  {wanted}"
        );
        assert!(!error.contains('\n'), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn where_subscriptions_are_enabled_a_source_need_not_be_on_a_route() {
    let source = "[sources.gc]\ntype = \"http\"\n";
    let none_yet = error(source);
    assert!(none_yet.contains("subscriptions.enabled"), "{none_yet}");
    let enabled = format!("{source}[subscriptions]\nenabled = true\n");
    let config = read(&enabled).unwrap();
    assert!(config.routes.is_empty() && config.sources.len() == 1);
    let expected = SubscriptionOptions {
        enabled: true,
        ..SubscriptionOptions::default()
    };
    assert_eq!(config.subscriptions, expected);
    assert!(!(expected.allow_http || expected.allow_private));
    assert!(!read(WHOLE).unwrap().subscriptions.enabled);
}

/// A request whose body is as large as this, with a head as large as may be, is taken when it is alone.
#[test]
fn the_largest_body_that_is_allowed_fits_into_the_memory_for_requests() {
    let with = |max_body: u64| {
        let limits = "[server.limits]\nmax_in_flight_bytes = \"2MiB\"\n[journal]";
        WHOLE
            .replace("[journal]", limits)
            .replace("paths =", &format!("max_body = \"{max_body}\"\npaths ="))
    };
    let error = error(&with(2 << 20));
    let words = error.split_once("at most ").unwrap().1;
    let room: u64 = words.split_once('B').unwrap().0.parse().unwrap();
    assert!(
        room > 1 << 20 && error.contains("max_in_flight_bytes"),
        "{error}"
    );
    assert!(read(&with(room)).is_ok());
    assert!(read(&with(room + 1)).is_err());
}

#[test]
fn a_secret_in_the_wrong_place_is_not_quoted() {
    for text in [
        WHOLE.replace(
            "secrets = [\"a-secret-of-many-letters\"]",
            "secrets = \"hunter2\"",
        ),
        WHOLE.replace("url = \"${DATABASE_URL}\"", "url = [\"hunter2\"]"),
        WHOLE.replace("[journal]", "admin_token = [\"hunter2\"]\n[journal]"),
    ] {
        let error = error(&text);
        assert!(
            error.starts_with("forebay.toml:") && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let environment = |name: &str| match name {
        "DATABASE_URL" => Some("postgres://localhost/app".to_owned()),
        "FOREBAY_SERVER_LISTEN" => Some("127.0.0.1:9100".to_owned()),
        "FOREBAY_JOURNAL_RETAIN" => Some("2h".to_owned()),
        _ => None,
    };
    let read = |flags: &Flags| parse(None, WHOLE, flags, &environment);
    let config = read(&Flags::default()).unwrap();
    assert_eq!(config.server.listen.port(), 9100);
    assert_eq!(config.journal.retain, Duration::from_secs(7200));
    let flags = Flags {
        listen: Some("127.0.0.1:9200".into()),
        ..Flags::default()
    };
    assert_eq!(read(&flags).unwrap().server.listen.port(), 9200);
    let flags = Flags {
        admin: Some("here".into()),
        ..Flags::default()
    };
    assert!(
        read(&flags)
            .unwrap_err()
            .to_string()
            .starts_with("flag --admin: server.admin: ")
    );
    let environment = |name: &str| (name == "FOREBAY_SERVER_LISTEN").then(|| "there".to_owned());
    let error = parse(None, "", &Flags::default(), &environment).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("environment variable FOREBAY_SERVER_LISTEN: server.listen: "),
        "{error}"
    );
}

/// The two keys say the same thing: one from outside takes the place of the other in the file.
#[test]
fn an_admin_token_from_outside_overrides_the_files_however_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "from-a-file\n").unwrap();
    let path = token.display().to_string();
    let given = |in_file: &str, outside: &[(&str, &str)]| {
        let text = format!("[server]\nadmin = \"0.0.0.0:9001\"\n{in_file}\n");
        let environment = |name: &str| {
            let given = outside.iter().find(|(variable, _)| *variable == name);
            given.map(|(_, value)| (*value).to_owned())
        };
        parse(None, &text, &Flags::default(), &environment)
    };
    const TOKEN: &str = "FOREBAY_SERVER_ADMIN_TOKEN";
    const FILE: &str = "FOREBAY_SERVER_ADMIN_TOKEN_FILE";
    // The file's own cannot be read, or cannot be sent: they are not looked at.
    let config = given(
        "admin_token_file = \"/nowhere/token\"",
        &[(TOKEN, "from-outside")],
    );
    assert_eq!(config.unwrap().server.admin_token_file, None);
    let config = given("admin_token = \"two words\"", &[(FILE, &path)]);
    assert_eq!(config.unwrap().server.admin_token_file, Some(token.clone()));

    let both = given("", &[(TOKEN, "from-outside"), (FILE, &path)]).unwrap_err();
    assert!(both.to_string().contains("not both"), "{both}");
    let both = given(
        &format!("admin_token = \"a\"\nadmin_token_file = \"{path}\""),
        &[],
    );
    assert!(both.unwrap_err().to_string().contains("not both"));
}

#[test]
fn what_only_a_destination_needs_is_not_asked_of_commands_that_reach_none() {
    let nothing = |_: &str| None;
    let missing = parse(None, WHOLE, &Flags::default(), &nothing).unwrap_err();
    assert!(missing.to_string().contains("DATABASE_URL"), "{missing}");
    let flags = Flags {
        no_destinations: true,
        ..Flags::default()
    };
    let config = parse(None, WHOLE, &flags, &nothing).unwrap();
    assert!(!config.routes.is_empty() && config.destinations.is_empty());
    let other = WHOLE.replace("[journal]", "data_dir = \"${NOWHERE}\"\n[journal]");
    let missing = parse(None, &other, &flags, &nothing).unwrap_err();
    assert!(missing.to_string().contains("NOWHERE"), "{missing}");
}

#[test]
fn a_source_of_what_dead_letters_go_to_is_warned_of() {
    let text = r#"
[sources.q]
type = "redis"
url = "redis://h"
list = "letters"
[destinations.db]
type = "sqlite"
[destinations.dlq]
type = "redis"
url = "redis://h"
list = "LIST"
[routes.r]
from = ["q"]
to = "db"
dead_letter = { to = ["dlq"] }
"#;
    let another = read(&text.replace("LIST", "others")).unwrap();
    assert_eq!(another.warnings.len(), 0);
    let same = read(&text.replace("LIST", "letters")).unwrap();
    let told = same.warnings[0].to_string();
    assert!(
        told.starts_with("forebay.toml:2: sources.q: it reads the queue that the dead letters of route r go to, destination dlq"),
        "{told}"
    );
}

#[test]
fn quarantines_leave_routes_half_of_the_state() {
    let keeping = |state: &str, keys: &str| {
        let keeping = format!("type = \"http\"\non_invalid = \"quarantine\"\n{keys}");
        let whole = WHOLE.replacen("type = \"http\"", &keeping, 1);
        format!("{whole}[state]\nmax_bytes = \"{state}\"\n")
    };
    read(&keeping("128MiB", "")).unwrap();
    read(&keeping("16MiB", "quarantine_max_bytes = \"8MiB\"")).unwrap();
    let usual = error(&keeping("127MiB", ""));
    assert!(usual.contains("half of state.max_bytes"), "{usual}");
    let written = error(&keeping("16MiB", "quarantine_max_bytes = \"9MiB\""));
    assert!(written.contains("quarantine_max_bytes"), "{written}");
    // Of one that keeps nothing it does not matter.
    let refusing = WHOLE.to_owned() + "[state]\nmax_bytes = \"16MiB\"\n";
    read(&refusing).unwrap();
}
