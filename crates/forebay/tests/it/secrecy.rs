//! What must not be in the log at any level: nothing of an event, however the database and the libraries
//! on the way talk about it.

use bytes::Bytes;
use testbed::http;
use testbed::postgres::{Options, Server};
use testbed::{DEADLINE, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::rig;
use crate::wire::address;

/// In every body, and in a header's value.
const CANARY: &str = "4929-1337-0042-7";

/// Three ways to write the same events: COPY and arrays into Forebay's own table, parameters into the
/// user's statement, values out of the body into the user's table.
const CONFIG: &str = r#"
[sources.a]
type = "http"
dedup = { pointer = "/id" }
[routes.own]
from = ["a"]
to = "own"
[routes.statement]
from = ["a"]
to = "statement"
[routes.columns]
from = ["a"]
to = "columns"
"#;

/// Says every body aloud, and refuses one of them with its body in message, DETAIL and HINT.
const TALKATIVE: &str = r#"
CREATE FUNCTION talk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'got %', NEW.body USING DETAIL = NEW.body;
    RAISE WARNING 'got %', NEW.body;
    IF NEW.body::text LIKE '%poison%' THEN
        RAISE EXCEPTION 'will not have %', NEW.body USING DETAIL = NEW.body, HINT = NEW.body;
    END IF;
    RETURN NEW;
END $$;
CREATE TABLE events (id uuid PRIMARY KEY, source text NOT NULL, received_at timestamptz NOT NULL,
    method text NOT NULL, path text NOT NULL, headers jsonb NOT NULL, content_type text, body json,
    body_raw bytea);
CREATE TABLE stated (id uuid PRIMARY KEY, body json);
CREATE TABLE picked (id uuid PRIMARY KEY, body text);
CREATE TRIGGER talk BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION talk();
CREATE TRIGGER talk BEFORE INSERT ON stated FOR EACH ROW EXECUTE FUNCTION talk();
CREATE TRIGGER talk BEFORE INSERT ON picked FOR EACH ROW EXECUTE FUNCTION talk();
"#;

fn config(level: &str, url: &str) -> String {
    let destination = |name: &str, keys: &str| {
        format!("\n[destinations.{name}]\ntype = \"postgres\"\nurl = \"{url}\"\n{keys}\n")
    };
    [
        format!("[log]\nlevel = \"{level}\"\n"),
        CONFIG.to_owned(),
        destination("own", "table = \"events\""),
        destination(
            "statement",
            "statement = \"INSERT INTO stated VALUES ($id::uuid, $body::json) ON CONFLICT DO NOTHING\"",
        ),
        destination(
            "columns",
            "table = \"picked\"\nid_column = \"id\"\ncolumns = { body = \"/card\" }",
        ),
    ]
    .concat()
}

/// A request of HTTP/2 with a header that the protocol does not allow, spelt by hand: no client sends it.
fn odd_http2() -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // POST, http
    let mut field = |index: &[u8], name: &str, value: &str| {
        block.extend_from_slice(index);
        for text in [name, value].into_iter().filter(|text| !text.is_empty()) {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    };
    field(&[0x04], "", "/in/a");
    field(&[0x01], "", "x");
    field(&[0x00], "te", CANARY);
    let length = u8::try_from(block.len()).unwrap();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        &[0, 0, length, 1, 5, 0, 0, 0, 1],
        &block,
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_event_is_in_the_log_at_any_level() -> Result<()> {
    for level in ["info", "debug", "trace"] {
        let server = Server::start_new(Options::default()).await?;
        server.execute(TALKATIVE).await?;
        let forebay = rig::forebay(config(level, &server.url())).start().await?;
        let post = async |body: String| {
            let headers = [("x-card", CANARY)];
            http::post(&forebay.ingest("/in/a"), &headers, Bytes::from(body)).await
        };
        // One is refused, so the batch that it is in goes again by other ways; one is sent twice.
        for number in [1, 2, 3, 3] {
            let poison = if number == 2 { "poison" } else { "" };
            let body = format!("{{\"id\":{number},\"card\":\"{CANARY}{poison}\"}}");
            assert_eq!(post(body).await?.status, 200);
        }
        let mut odd = TcpStream::connect(address(&forebay.ingest("")))
            .await
            .unwrap();
        odd.write_all(&odd_http2()).await.unwrap();
        // Refused at the door, too.
        assert_eq!(
            http::post(
                &forebay.ingest(&format!("/in/{CANARY}")),
                &[],
                Bytes::from(CANARY)
            )
            .await?
            .status,
            404
        );
        let settled = |status: &serde_json::Value| {
            ["own", "statement", "columns"].iter().all(|name| {
                let count = |field| rig::count(status, name, field);
                (count("delivered"), count("dead")) == (2, 1)
            })
        };
        forebay
            .status_until("all is settled", DEADLINE, settled)
            .await?;
        drop(odd);
        let mut forebay = forebay;
        forebay.terminate()?;
        assert_eq!(forebay.wait().await?.code, Some(0), "{}", forebay.tail());

        let log = forebay.stderr();
        let talks = log.contains("connected to postgres");
        assert_eq!(talks, level != "info", "{level}: {log}");
        let told: Vec<&str> = log.lines().filter(|line| line.contains(CANARY)).collect();
        assert!(
            told.is_empty(),
            "{level}: {} lines, as {}",
            told.len(),
            told[0]
        );
    }
    Ok(())
}
