//! Bytes on a socket, for requests that no well-behaved client makes.

use std::net::SocketAddr;
use std::time::Duration;

use testbed::DEADLINE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came back, down to the end of the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// The `code` of a problem+json answer.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The id of an accepted event.
    pub(crate) fn id(&self) -> uuid::Uuid {
        let answer: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        answer["id"].as_str().unwrap().parse().unwrap()
    }
}

/// The address of a URL such as `http://127.0.0.1:8080/path`.
pub(crate) fn address(url: &str) -> SocketAddr {
    let rest = url.strip_prefix("http://").unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

/// Sends a request and reads until the server closes. The request should ask it to: `connection: close`.
pub(crate) async fn say(to: SocketAddr, request: &[u8]) -> Answer {
    let (mut from, mut into) = TcpStream::connect(to).await.unwrap().into_split();
    let request = request.to_vec();
    // Who refuses early may stop reading: what cannot be sent then is no fault.
    let sending = tokio::spawn(async move {
        let _refused_early = into.write_all(&request).await;
        into
    });
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(DEADLINE, from.read_to_end(&mut bytes)).await;
    // A reset after the answer is one way to close.
    let _closed_or_reset = read.expect("the server answers and closes");
    sending.abort();
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        body: body.to_owned(),
    }
}

/// Whether anybody listens there.
pub(crate) async fn is_listening(at: SocketAddr) -> bool {
    let connected = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(at)).await;
    matches!(connected, Ok(Ok(_)))
}
