//! Answers against the OpenAPI description: every answer has what is described, and nothing else.

use std::sync::Arc;

use domain::ports::Fate;
use domain::{Cause, Reason};
use serde_json::Value;

use crate::ask::{Answer, Asker};
use crate::fakes::{World, at, event, id, route, subscription_id, troubles};
use crate::{dlq, quarantine, subscriptions};

struct Description(Value);

impl Description {
    /// Follows `$ref`.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let Some(name) = schema["$ref"].as_str() else {
            return schema;
        };
        let found = self.0.pointer(name.trim_start_matches('#'));
        found.unwrap_or_else(|| panic!("{name} leads nowhere"))
    }

    /// What is wrong with `value`, for the part of JSON Schema that the description uses.
    fn faults(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = |choice: &&Value| self.faults(choice, value, at).is_empty();
            return match choices.iter().filter(fits).count() {
                1 => Vec::new(),
                n => vec![format!("{at}: {n} choices fit {value}")],
            };
        }
        let types: Vec<_> = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        if !types.iter().any(|kind| is(kind, value)) {
            return vec![format!("{at}: {value} is not {types:?}")];
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return vec![format!("{at}: {value} is none of {words:?}")];
        }
        if schema["format"] == "date-time" && !value.is_null() {
            let time: Result<domain::Timestamp, _> = value.as_str().unwrap().parse();
            return time
                .err()
                .map(|error| format!("{at}: {error}"))
                .into_iter()
                .collect();
        }
        match value {
            Value::Array(items) => {
                let each = items.iter().enumerate();
                each.flat_map(|(n, item)| {
                    self.faults(&schema["items"], item, &format!("{at}[{n}]"))
                })
                .collect()
            }
            Value::Object(_) => self.object_faults(schema, value, at),
            _ => Vec::new(),
        }
    }

    fn object_faults(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let Some(properties) = schema["properties"].as_object() else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        for name in schema["required"].as_array().into_iter().flatten() {
            if value.get(name.as_str().unwrap()).is_none() {
                faults.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, value) in value.as_object().unwrap() {
            match properties.get(name) {
                Some(schema) => faults.extend(self.faults(schema, value, &format!("{at}.{name}"))),
                None => faults.push(format!("{at}: {name} is not described")),
            }
        }
        faults
    }

    /// Holds an answer to what the description says of the path, the method and the status.
    fn hold(&self, path: &str, method: &str, answer: &Answer) {
        let status = answer.status.as_str();
        let response = &self.0["paths"][path][method]["responses"][status];
        assert!(
            !response.is_null(),
            "{method} {path}: {status} is not described"
        );
        let Some(content) = self.resolve(response)["content"].as_object() else {
            assert!(answer.body.is_empty(), "{method} {path}: {answer:?}");
            return;
        };
        let kind = answer.header("content-type").split(';').next().unwrap();
        let schema = content.get(kind).map(|content| &content["schema"]);
        let schema = schema.unwrap_or_else(|| panic!("{method} {path}: {kind} is not described"));
        if kind.ends_with("json") {
            let faults = self.faults(schema, &answer.json(), "$");
            assert!(faults.is_empty(), "{method} {path}: {faults:#?}");
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

async fn description(asker: &Asker) -> Description {
    let answer = asker.get("/api/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    Description(answer.json())
}

fn world() -> Arc<World> {
    let world = World::default();
    let mut calm = route("t", &["a"]);
    (calm.last_error, calm.next_probe_at) = (None, None);
    world.routes.lock().unwrap().extend(
        ["r", "s", "u", "v"]
            .map(|name| route(name, &["a"]))
            .into_iter()
            .chain([calm]),
    );
    world.events.lock().unwrap().push(event(1, "a", "x"));
    let cause = Cause::new("http 500", "oops");
    world.set_fate("r", 1, Fate::Delivered { at: Some(at(1)) });
    world.set_fate("s", 1, Fate::Delivered { at: None });
    world.set_fate(
        "u",
        1,
        Fate::Parked {
            attempts: 1,
            due_at: at(2),
            cause: cause.clone(),
        },
    );
    let reason = Reason::Rejected;
    world.set_fate(
        "v",
        1,
        Fate::Dead {
            attempts: 1,
            reason,
            cause,
        },
    );
    world.set_fate("t", 1, Fate::Discarded);
    Arc::new(world)
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let world = world();
    let asker = Asker::new(world.ports());
    let description = description(&asker).await;
    assert_eq!(description.0["info"]["version"], "1.2.3");
    let one = format!("/api/v1/events/{}", id(1));
    let gone = format!("/api/v1/events/{}", id(2));
    let asks: &[(&str, &str, &str, u16)] = &[
        ("get", "/", "/", 200),
        ("get", "/healthz", "/healthz", 200),
        ("get", "/readyz", "/readyz", 200),
        ("get", "/metrics", "/metrics", 200),
        ("get", "/api/openapi.json", "/api/openapi.json", 200),
        ("get", "/api/v1/status", "/api/v1/status", 200),
        ("get", "/api/v1/events", "/api/v1/events", 200),
        ("get", "/api/v1/events", "/api/v1/events?x=1", 400),
        ("get", "/api/v1/events/{id}", &one, 200),
        ("get", "/api/v1/events/{id}", &gone, 404),
        ("get", "/api/v1/events/{id}", "/api/v1/events/1", 400),
        ("get", "/api/v1/routes", "/api/v1/routes", 200),
        (
            "post",
            "/api/v1/routes/{name}/pause",
            "/api/v1/routes/r/pause",
            200,
        ),
        (
            "post",
            "/api/v1/routes/{name}/pause",
            "/api/v1/routes/x/pause",
            404,
        ),
        (
            "post",
            "/api/v1/routes/{name}/resume",
            "/api/v1/routes/r/resume",
            200,
        ),
        ("get", "/api/v1/sources", "/api/v1/sources", 200),
    ];
    for (method, path, ask, status) in asks {
        let answer = asker.ask(&method.to_uppercase(), ask, "").await;
        assert_eq!(answer.status, *status, "{method} {ask}");
        description.hold(path, method, &answer);
    }
    let paths = description.0["paths"].as_object().unwrap().keys();
    for path in paths.filter(|path| !asked_apart(path)) {
        let asked = asks.iter().any(|(_, asked, ..)| asked == path);
        assert!(asked, "{path} was not asked");
    }
    *world.not_ready.lock().unwrap() = Some("starting".into());
    description.hold("/readyz", "get", &asker.get("/readyz").await);
    description.hold("/api/v1/status", "get", &asker.get("/api/v1/status").await);
}

#[tokio::test]
async fn every_answer_about_dead_letters_is_as_described() {
    let world = dlq::world().await;
    let asker = Asker::new(world.ports());
    let description = description(&asker).await;
    let one = format!("/api/v1/dlq/{}", id(1));
    let gone = format!("/api/v1/dlq/{}", id(77));
    let all = r#"{"filter":{}}"#;
    let dry = r#"{"filter":{},"dry_run":true}"#;
    let ids = format!("{{\"ids\":[\"{}\"]}}", id(1));
    let (list, groups) = ("/api/v1/dlq", "/api/v1/dlq/groups");
    let (purge, redrives) = ("/api/v1/dlq/purge", "/api/v1/redrives");
    let (letter, job) = ("/api/v1/dlq/{id}", "/api/v1/redrives/{id}");
    let (imports, import) = ("/api/v1/imports", "/api/v1/imports/{id}");
    let (backfills, backfill) = ("/api/v1/backfills", "/api/v1/backfills/{id}");
    let wanted = r#"{"source":"n","from":"2026-01-01T00:00:00Z","to":"2026-01-01T01:00:00Z"}"#;
    let nowhere = r#"{"source":"x","from":"2026-01-01T00:00:00Z","to":"2026-01-01T01:00:00Z"}"#;
    let (edit, history) = ("/api/v1/dlq/{id}/redrive", "/api/v1/dlq/{id}/history");
    let edit_one = format!("/api/v1/dlq/{}/redrive", id(1));
    let edit_gone = format!("/api/v1/dlq/{}/redrive", id(77));
    let history_gone = format!("/api/v1/dlq/{}/history", id(77));
    let history_one = format!("/api/v1/dlq/{}/history", id(1));
    let asks: &[(&str, &str, &str, &str, u16)] = &[
        ("get", list, list, "", 200),
        ("get", list, "/api/v1/dlq?include=body", "", 200),
        ("get", list, "/api/v1/dlq?x=1", "", 400),
        ("get", groups, groups, "", 200),
        ("get", groups, "/api/v1/dlq/groups?x=1", "", 400),
        ("get", letter, &one, "", 200),
        ("get", letter, &gone, "", 404),
        ("get", imports, imports, "", 200),
        ("post", imports, imports, r#"{"from":"ops"}"#, 202),
        ("post", imports, imports, r#"{"from":"ops"}"#, 409),
        ("post", imports, imports, r#"{"from":"nowhere"}"#, 404),
        ("post", imports, imports, "{}", 400),
        ("get", imports, imports, "", 200),
        ("get", import, "/api/v1/imports/1", "", 200),
        ("get", import, "/api/v1/imports/2", "", 404),
        ("delete", import, "/api/v1/imports/1", "", 200),
        ("delete", import, "/api/v1/imports/x", "", 400),
        ("get", "/api/v1/gaps", "/api/v1/gaps", "", 200),
        ("get", "/api/v1/gaps", "/api/v1/gaps?limit=0", "", 400),
        ("get", backfills, backfills, "", 200),
        ("get", backfills, "/api/v1/backfills?cursor=x", "", 400),
        ("post", backfills, backfills, wanted, 202),
        ("post", backfills, backfills, "{}", 400),
        ("post", backfills, backfills, nowhere, 404),
        ("get", backfill, "/api/v1/backfills/1", "", 200),
        ("get", backfill, "/api/v1/backfills/9", "", 404),
        ("get", backfill, "/api/v1/backfills/x", "", 400),
        ("delete", backfill, "/api/v1/backfills/1", "", 200),
        ("delete", backfill, "/api/v1/backfills/9", "", 404),
        ("post", edit, &edit_one, r#"{"body":"{}","by":"me"}"#, 200),
        ("post", edit, &edit_one, r#"{"body":1}"#, 400),
        ("post", edit, &edit_gone, r#"{"body":"{}"}"#, 404),
        ("get", history, &history_one, "", 200),
        ("get", history, "/api/v1/dlq/1/history", "", 400),
        ("get", history, &history_gone, "", 404),
        ("post", redrives, redrives, dry, 200),
        ("post", redrives, redrives, all, 202),
        ("post", redrives, redrives, &ids, 202),
        ("post", redrives, redrives, "{}", 400),
        ("get", redrives, redrives, "", 200),
        ("get", job, "/api/v1/redrives/1", "", 200),
        ("get", job, "/api/v1/redrives/9", "", 404),
        ("delete", job, "/api/v1/redrives/1", "", 200),
        ("get", job, "/api/v1/redrives/1", "", 200),
        ("delete", job, "/api/v1/redrives/9", "", 404),
        ("post", purge, purge, dry, 200),
        ("post", purge, purge, all, 200),
        ("post", purge, purge, "{}", 400),
    ];
    for (method, path, ask, body, status) in asks {
        let answer = asker.ask(&method.to_uppercase(), ask, body).await;
        assert_eq!(answer.status, *status, "{method} {ask} {body}");
        description.hold(path, method, &answer);
    }
    let paths = description.0["paths"].as_object().unwrap().iter();
    for (path, item) in paths.filter(|(path, _)| of_dead_letters(path)) {
        for method in item.as_object().unwrap().keys() {
            let mut asks = asks.iter();
            let asked = asks.any(|(how, what, ..)| how == method && what == path);
            assert!(asked, "{method} {path} was not asked");
        }
    }
}

/// These are asked by a test of their own.
fn of_dead_letters(path: &str) -> bool {
    ["/dlq", "/redrives", "/imports", "/gaps", "/backfills"]
        .iter()
        .any(|part| path.contains(part))
}

fn of_the_quarantine(path: &str) -> bool {
    path.starts_with("/api/v1/quarantine")
}

fn asked_apart(path: &str) -> bool {
    of_dead_letters(path) || of_subscriptions(path) || of_the_quarantine(path)
}

#[tokio::test]
async fn every_answer_about_the_quarantine_is_as_described() {
    let world = quarantine::world().await;
    let asker = Asker::new(world.ports());
    let description = description(&asker).await;
    let (list, one) = ("/api/v1/quarantine", "/api/v1/quarantine/{id}");
    let (release, purge) = ("/api/v1/quarantine/release", "/api/v1/quarantine/purge");
    let here = format!("{list}/{}", id(4));
    let gone = format!("{list}/{}", id(9));
    let of = |source: &str, dry_run: bool| {
        serde_json::json!({ "source": source, "dry_run": dry_run }).to_string()
    };
    let asks: &[(&str, &str, &str, &str, u16)] = &[
        ("get", list, list, "", 200),
        ("get", list, "/api/v1/quarantine?limit=1", "", 200),
        ("get", list, "/api/v1/quarantine?x=1", "", 400),
        ("get", one, &here, "", 200),
        ("get", one, &gone, "", 404),
        ("get", one, "/api/v1/quarantine/1", "", 400),
        ("post", release, release, &of("a", true), 200),
        ("post", release, release, &of("a", false), 200),
        ("post", release, release, &of("b", false), 404),
        ("post", release, release, &of("gone", false), 409),
        ("post", release, release, &of("full", false), 503),
        ("post", release, release, "{}", 400),
        ("post", purge, purge, &of("a", true), 200),
        ("post", purge, purge, &of("a", false), 200),
        ("post", purge, purge, &of("b", false), 404),
        ("post", purge, purge, "{}", 400),
    ];
    for (method, path, ask, body, status) in asks {
        let answer = asker.ask(&method.to_uppercase(), ask, body).await;
        assert_eq!(answer.status, *status, "{method} {ask} {body}");
        description.hold(path, method, &answer);
    }
    let paths = description.0["paths"].as_object().unwrap().keys();
    for path in paths.filter(|path| of_the_quarantine(path)) {
        let asked = asks.iter().any(|(_, asked, ..)| asked == path);
        assert!(asked, "{path} was not asked");
    }
}

fn of_subscriptions(path: &str) -> bool {
    path.starts_with(subscriptions::PATH)
}

#[tokio::test]
async fn every_answer_about_subscriptions_is_as_described() {
    let world = Arc::new(World::default());
    let asker = Asker::new(world.ports());
    let description = description(&asker).await;
    let (all, one) = (
        subscriptions::PATH,
        format!("{}/{{id}}", subscriptions::PATH),
    );
    let here = format!("{all}/{}", subscription_id(1));
    let gone = format!("{all}/{}", subscription_id(9));
    let drain = format!("{here}?pending=deliver");
    let bury = format!("{here}?pending=dead-letter");
    let whole = subscriptions::OF_THE_THREAD;
    let of_one = r#"{"name":"b","url":"https://h/","source":"a"}"#;
    let asks: &[(&str, &str, &str, &str, u16)] = &[
        ("get", all, all, "", 200),
        ("post", all, all, whole, 201),
        ("post", all, all, whole, 409),
        ("post", all, all, "{}", 400),
        ("get", all, all, "", 200),
        ("get", all, &format!("{all}?x=1"), "", 400),
        ("get", &one, &here, "", 200),
        ("get", &one, &gone, "", 404),
        ("get", &one, &format!("{all}/1"), "", 400),
        ("put", &one, &here, of_one, 200),
        ("put", &one, &here, "{}", 400),
        ("put", &one, &gone, of_one, 404),
        ("delete", &one, &here, "", 409),
        ("delete", &one, &drain, "", 202),
        ("put", &one, &here, of_one, 409),
        ("delete", &one, &bury, "", 204),
        ("delete", &one, &here, "", 404),
    ];
    *world.subscriptions.waiting.lock().unwrap() = 2;
    for (method, path, ask, body, status) in asks {
        let answer = asker.ask(&method.to_uppercase(), ask, body).await;
        assert_eq!(answer.status, *status, "{method} {ask} {body}");
        description.hold(path, method, &answer);
    }
    let paths = description.0["paths"].as_object().unwrap().keys();
    for path in paths.filter(|path| of_subscriptions(path)) {
        for (trouble, status, _) in troubles() {
            *world.subscriptions.fails.lock().unwrap() = Some(trouble);
            for method in description.0["paths"][path].as_object().unwrap().keys() {
                let ask = path.replace("{id}", &subscription_id(1).to_string());
                let body = if ["post", "put"].contains(&&**method) {
                    whole
                } else {
                    ""
                };
                let answer = asker.ask(&method.to_uppercase(), &ask, body).await;
                assert_eq!(answer.status, status, "{method} {ask}");
                description.hold(path, method, &answer);
            }
        }
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match value.as_str().filter(|_| name == "$ref") {
                        Some(target) => found.push(target.to_owned()),
                        None => references(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let Description(description) = description(&Asker::new(world().ports())).await;
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(found.len() > 20);
    for target in &found {
        assert!(description.pointer(&target[1..]).is_some(), "{target}");
    }
    for part in ["schemas", "responses"] {
        for name in description["components"][part].as_object().unwrap().keys() {
            let target = format!("#/components/{part}/{name}");
            assert!(found.contains(&target), "{target} is used nowhere");
        }
    }
    let items = description["paths"].as_object().unwrap().values();
    let mut names: Vec<_> = items
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}
