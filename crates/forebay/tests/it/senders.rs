//! Every provider that has a library of its own: what the library signs is taken, and what Forebay signs the library
//! takes.

use std::collections::BTreeMap;

use bytes::Bytes;
use testbed::process::Forebay;
use testbed::sdk::{self, Message};
use testbed::{Result, http};

use crate::rig;

/// As the senders have it.
const PUBLIC: &str = "https://hooks.example.com";

/// A sender: its scheme, two secrets of a rotation (the newest first), and a body as it sends.
struct Sender {
    scheme: &'static str,
    secrets: [&'static str; 2],
    body: &'static str,
    /// Whether an old time is refused.
    timed: bool,
}

const WHSEC: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
];
const PLAIN: [&str; 2] = [
    "a-new-secret-of-many-letters",
    "an-old-secret-of-many-letters",
];
const HEX: [&str; 2] = [
    "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056",
    "DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00",
];

/// Those whose libraries can sign.
const SIGNERS: [Sender; 9] = [
    Sender {
        scheme: "standard-webhooks",
        secrets: WHSEC,
        body: r#"{"type":"a.b","n":1}"#,
        timed: true,
    },
    Sender {
        scheme: "svix",
        secrets: WHSEC,
        body: r#"{"type":"a.b","n":1}"#,
        timed: true,
    },
    Sender {
        scheme: "stripe",
        secrets: WHSEC,
        body: r#"{"id":"evt_1","type":"charge.failed"}"#,
        timed: true,
    },
    Sender {
        scheme: "slack",
        secrets: PLAIN,
        body: r#"{"type":"event_callback","event_id":"Ev1"}"#,
        timed: true,
    },
    Sender {
        scheme: "twilio",
        secrets: PLAIN,
        body: "MessageSid=SM1&Body=hello+world&From=%2B14158675309",
        timed: false,
    },
    Sender {
        scheme: "paddle",
        secrets: PLAIN,
        body: r#"{"event_id":"evt_1","event_type":"a.b"}"#,
        timed: true,
    },
    Sender {
        scheme: "hubspot",
        secrets: PLAIN,
        body: r#"[{"eventId":1,"subscriptionType":"contact.creation"}]"#,
        timed: true,
    },
    Sender {
        scheme: "github",
        secrets: PLAIN,
        body: r#"{"action":"opened"}"#,
        timed: false,
    },
    Sender {
        scheme: "adyen",
        secrets: HEX,
        body: r#"{"live":"false","notificationItems":[{"NotificationRequestItem":{"amount":{"value":1130,"currency":"EUR"},"pspReference":"p1","eventCode":"AUTHORISATION","merchantAccountCode":"m","merchantReference":"r","success":"true"}}]}"#,
        timed: false,
    },
];

/// A source for each of these schemes, and one destination for all.
fn config(sources: &[(&str, Vec<String>)]) -> String {
    let mut config = String::from("[destinations.db]\ntype = \"sqlite\"\n");
    for (scheme, secrets) in sources {
        config += &format!(
            "[sources.{scheme}]\ntype = \"http\"\npublic_url = \"{PUBLIC}\"\nverify = {{ scheme = \"{scheme}\", secrets = {secrets:?} }}\n[routes.{scheme}]\nfrom = [\"{scheme}\"]\nto = \"db\"\n",
        );
    }
    config
}

/// A message that has not been signed yet. Its id is one of its own, or it would be a repeat.
fn message(sender: &Sender, secret: &str, at: i64, number: usize) -> Message {
    let id = format!("msg_{number}");
    Message {
        scheme: sender.scheme.into(),
        secret: secret.into(),
        url: format!("{PUBLIC}/in/{}", sender.scheme),
        body: sender
            .body
            .replace("p1", &id)
            .replace("evt_1", &id)
            .replace("Ev1", &id)
            .replace("SM1", &id),
        id,
        at,
        headers: Vec::new(),
    }
}

async fn post(forebay: &Forebay, message: &Message) -> Result<(u16, String)> {
    let headers: Vec<_> = message
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let url = forebay.ingest(&format!("/in/{}", message.scheme));
    let answer = http::post(&url, &headers, Bytes::from(message.body.clone())).await?;
    Ok((answer.status.as_u16(), answer.text()))
}

fn now() -> i64 {
    domain::Clock::now(&domain::SystemClock).as_second()
}

/// Which byte is changed: the first digit if there is one, which is the time's where one is signed, or the
/// last letter or digit.
#[derive(Clone, Copy)]
enum End {
    Digit,
    Last,
}

/// The same with one byte changed: of the body, or of the header's value at the given place.
fn flipped(message: &Message, header: Option<usize>, end: End) -> Message {
    let mut message = message.clone();
    let text = match header {
        Some(at) => &mut message.headers[at].1,
        None => &mut message.body,
    };
    let mut bytes = std::mem::take(text).into_bytes();
    let last = bytes.iter().rposition(u8::is_ascii_alphanumeric).unwrap();
    let at = match end {
        End::Digit => bytes.iter().position(u8::is_ascii_digit).unwrap_or(last),
        End::Last => last,
    };
    let byte = &mut bytes[at];
    *byte = if *byte == b'1' { b'2' } else { b'1' };
    *text = String::from_utf8(bytes).unwrap();
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_providers_library_signs_is_taken_with_either_secret_and_nothing_else_is()
-> Result<()> {
    let (private, public) = sdk::sendgrid_key().await?;
    let mut sources: Vec<(&str, Vec<String>)> = SIGNERS
        .iter()
        .map(|sender| (sender.scheme, sender.secrets.map(str::to_owned).to_vec()))
        .collect();
    sources.push(("sendgrid", vec![public]));
    let forebay = rig::forebay(config(&sources)).start().await?;

    let (mut good, mut stale) = (Vec::new(), Vec::new());
    for sender in &SIGNERS {
        for secret in sender.secrets {
            good.push(message(sender, secret, now(), good.len()));
        }
        if sender.timed {
            stale.push(message(sender, sender.secrets[0], now() - 3600, good.len()));
        }
    }
    let sendgrid = Sender {
        scheme: "sendgrid",
        secrets: ["", ""],
        body: r#"[{"sg_event_id":"Ev1","event":"open"}]"#,
        timed: false,
    };
    good.push(message(&sendgrid, &private, now(), good.len()));
    sdk::sign(&mut good).await?;
    sdk::sign(&mut stale).await?;

    // What is refused first: it must not count for anything later.
    let mut refused = BTreeMap::new();
    for message in &good {
        let places = (0..message.headers.len()).map(Some).chain([None]);
        let ends = [End::Digit, End::Last];
        for wrong in places.flat_map(|at| ends.map(|end| flipped(message, at, end))) {
            let (status, answer) = post(&forebay, &wrong).await?;
            assert_eq!(status, 401, "{wrong:?}: {answer}");
            *refused.entry(answer).or_insert(0) += 1;
        }
        let unsigned = Message {
            headers: Vec::new(),
            ..message.clone()
        };
        if message.scheme != "adyen" {
            let (status, answer) = post(&forebay, &unsigned).await?;
            assert_eq!(status, 401, "{unsigned:?}: {answer}");
            *refused.entry(answer).or_insert(0) += 1;
        }
    }
    for message in &stale {
        let (status, answer) = post(&forebay, message).await?;
        assert_eq!(status, 401, "{message:?}: {answer}");
        *refused.entry(answer).or_insert(0) += 1;
    }
    assert_eq!(
        refused.len(),
        1,
        "the answer tells which check failed: {refused:?}"
    );

    for message in &good {
        let (status, answer) = post(&forebay, message).await?;
        assert!(
            status == 200 && answer.contains("accepted"),
            "{message:?}: {status} {answer}"
        );
    }
    assert_eq!(forebay.status().await?["accepted"], good.len());
    Ok(())
}

/// `forebay send` posts to an endpoint that keeps what it got; the provider's library says whether it is good.
#[tokio::test(flavor = "multi_thread")]
async fn what_send_signs_is_good_to_the_providers_library() -> Result<()> {
    let others = [("square", PLAIN), ("linear", PLAIN)];
    let schemes = SIGNERS.iter().map(|sender| (sender.scheme, sender.secrets));
    let schemes: Vec<_> = schemes.chain(others).collect();
    let sources: Vec<(&str, Vec<String>)> = schemes
        .iter()
        .map(|(scheme, secrets)| (*scheme, secrets.map(str::to_owned).to_vec()))
        .collect();
    let receiver = testbed::endpoint::Endpoint::start().await?;
    let forebay = rig::forebay(config(&sources)).start().await?;
    let mut sent = Vec::new();
    for (scheme, secrets) in schemes {
        let base = format!("http://{}", receiver.addr());
        let args = ["send", "--source", scheme, "--url", &base];
        let output = forebay.cli(&args).await?;
        let requests = receiver.received();
        let request = requests
            .last()
            .unwrap_or_else(|| panic!("{scheme}: {output:?}"));
        let path = request.path.trim_start_matches('/');
        sent.push(Message {
            scheme: scheme.into(),
            secret: secrets[0].into(),
            url: format!("{PUBLIC}/{path}"),
            body: String::from_utf8(request.body.to_vec()).unwrap(),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
            ..Message::default()
        });
    }
    let good = sdk::verify(&sent).await?;
    for (message, good) in sent.iter().zip(good) {
        assert!(good, "{message:?}");
    }
    Ok(())
}
