//! Brokers: that they come up, keep to themselves, and come back.

use testbed::{nats, rabbitmq};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn says(addr: std::net::SocketAddr, word: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(word).await.unwrap();
    let mut answer = vec![0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_rabbitmq_node_stops_starts_and_is_killed_with_its_port_kept() {
    let mut node = rabbitmq::Server::start_new(rabbitmq::Options::default())
        .await
        .unwrap();
    let addr = node.addr();
    // Connection.Start on channel 0.
    assert_eq!(says(addr, b"AMQP\0\0\x09\x01").await, b"\x01\0\0\0");
    node.set_memory_alarm(true).await.unwrap();
    node.set_memory_alarm(false).await.unwrap();
    node.stop().await.unwrap();
    TcpStream::connect(addr).await.unwrap_err();
    node.start().await.unwrap();
    node.kill().await.unwrap();
    TcpStream::connect(addr).await.unwrap_err();
    node.start().await.unwrap();
    assert_eq!(
        (node.addr(), node.ca(), node.tls_addr()),
        (addr, None, None)
    );
}

#[tokio::test]
async fn a_nats_server_stops_starts_and_is_killed_with_its_port_kept() {
    let mut server = nats::Server::start_new(nats::Options::default())
        .await
        .unwrap();
    let addr = server.addr();
    assert_eq!(says(addr, b"").await, b"INFO");
    server.stop().await.unwrap();
    TcpStream::connect(addr).await.unwrap_err();
    server.start().await.unwrap();
    server.pause().await.unwrap();
    server.resume().unwrap();
    server.kill().await.unwrap();
    TcpStream::connect(addr).await.unwrap_err();
    server.start().await.unwrap();
    assert_eq!((server.addr(), server.ca()), (addr, None));
}
