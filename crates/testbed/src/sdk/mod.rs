//! Providers' own libraries, as their users have them: they sign as the provider does, or check a signature.
//!
//! Owns nothing that runs on: each call is one process of Python or Node, for any number of requests.

use std::process::Stdio;

use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::error::Doing;
use crate::{Error, Result, installed};

const PYTHON: &str = include_str!("sdk.py");
const NODE: &str = include_str!("sdk.mjs");

/// What a library is asked to sign or to check.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// The scheme's name in Forebay's configuration.
    pub scheme: String,
    /// The secret as the sender has it.
    pub secret: String,
    /// The URL that is posted to, as the sender has it.
    pub url: String,
    /// The body.
    pub body: String,
    /// The message's id.
    pub id: String,
    /// The time of sending, in seconds since 1970.
    pub at: i64,
    /// The headers; of a message to be signed, what signing adds.
    pub headers: Vec<(String, String)>,
}

impl Message {
    fn asked(&self, what: &str) -> Value {
        // Libraries look names up in lower case or in any.
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_lowercase(), Value::from(&**value)));
        json!({
            "do": what,
            "scheme": self.scheme,
            "secret": self.secret,
            "url": self.url,
            "body": self.body,
            "id": self.id,
            "at": self.at,
            "headers": headers.collect::<Map<_, _>>(),
        })
    }
}

/// Has every message signed by its provider's library: its headers, and its body where the signature stands there.
///
/// # Errors
///
/// When a library is not installed, with how to, or fails, with what it said.
pub async fn sign(messages: &mut [Message]) -> Result<()> {
    let said = ask(messages, "sign").await?;
    for (message, said) in messages.iter_mut().zip(said) {
        let headers = said["headers"].as_object().cloned().unwrap_or_default();
        let headers = headers.iter();
        message.headers = headers
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        message.body = said["body"].as_str().unwrap_or_default().to_owned();
    }
    Ok(())
}

/// Whether each message's signature is good to its provider's library.
///
/// # Errors
///
/// As [`sign`]; some libraries fail where others say no.
pub async fn verify(messages: &[Message]) -> Result<Vec<bool>> {
    let said = ask(messages, "verify").await?;
    Ok(said.iter().map(|said| said["valid"] == true).collect())
}

/// A new key of SendGrid's: what it signs with, and what it shows.
///
/// # Errors
///
/// As [`sign`].
pub async fn sendgrid_key() -> Result<(String, String)> {
    let mut asked = [Message {
        scheme: "sendgrid-key".into(),
        ..Message::default()
    }];
    sign(&mut asked).await?;
    let of = |name: &str| {
        let found = asked[0].headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    Ok((of("private"), of("public")))
}

/// Asks each library in its language, and gives the answers in the messages' order.
async fn ask(messages: &[Message], what: &str) -> Result<Vec<Value>> {
    let in_node = |message: &Message| ["github", "linear"].contains(&&*message.scheme);
    let mut answers = vec![Value::Null; messages.len()];
    for node in [false, true] {
        let chosen = messages.iter().enumerate();
        let chosen = chosen.filter(|(_, message)| in_node(message) == node);
        let (places, asked): (Vec<usize>, Vec<Value>) = chosen
            .map(|(at, message)| (at, message.asked(what)))
            .unzip();
        if places.is_empty() {
            continue;
        }
        let said = run(node, &Value::from(asked)).await?;
        for (place, said) in places.into_iter().zip(said) {
            answers[place] = said;
        }
    }
    Ok(answers)
}

async fn run(node: bool, asked: &Value) -> Result<Vec<Value>> {
    let mut command;
    if node {
        command = Command::new("node");
        command
            .args(["--input-type=module", "-e", NODE])
            .env("FOREBAY_NODE", installed::node()?);
    } else {
        command = Command::new(installed::python("python")?);
        command.args(["-c", PYTHON]);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut process = command
        .spawn()
        .doing(|| "start a provider's library: install it with dev/setup")?;
    let mut stdin = process
        .stdin
        .take()
        .ok_or_else(|| Error::Misuse("no standard input".into()))?;
    let text = asked.to_string();
    let (written, output) = tokio::join!(
        async move {
            stdin.write_all(text.as_bytes()).await?;
            stdin.shutdown().await
        },
        process.wait_with_output()
    );
    let output = output.doing(|| "run a provider's library")?;
    if !output.status.success() {
        return Err(Error::Command {
            command: "a provider's library".to_owned(),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    written.doing(|| "ask a provider's library")?;
    serde_json::from_slice(&output.stdout).map_err(|error| Error::Misuse(error.to_string()))
}
